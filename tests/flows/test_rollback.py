"""The rollback flow on a real database and Prefect server: what moves, what servers are told, and retries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.registry import channels
from catalyst_ml.registry.pointer import issue_pointer
from catalyst_ml.registry.served import follow_pointer
from catalyst_ml.registry.versions import publish
from catalyst_ml.store import runs
from flows.cli import run_flow
from flows.parameters import RollbackParameters
from flows.rollback import rollback
from tasks import connections, rolling_back
from tests.catalyst_ml.registry.registered_versions import FILES, GATE, LINE, sealed

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def promoted(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two versions, one promoted after the other, and servers that follow."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CATALYST_HOME", str(tmp_path))
    connections.forget()
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}):
        engine, stores = connections.engine(), connections.artifact_stores()
        ids = [publish(engine, stores, FILES, sealed(seed=seed)).version_id for seed in range(2)]
        for version_id in ids:
            channels.promote(engine, LINE, version_id, reason="better", actor="test", gate=GATE)
            issue_pointer(engine, stores, connections.signer(), LINE, reason="better")
        yield ids
        engine.dispose()
    connections.forget()


def roll_back(**changes: Any) -> dict[str, Any]:
    return run_flow(rollback, RollbackParameters(**{"dataset": "demo", "reason": "it lost money", **changes}))


def told() -> tuple[str | None, int, str]:
    pointer = follow_pointer(connections.artifact_stores(), connections.signer().public_keys, LINE).pointer
    return pointer.version_id, pointer.sequence, pointer.reason


def test_one_step_back_moves_production_tells_servers_and_is_in_the_audit(promoted: list[str]) -> None:
    summary = roll_back()

    assert (summary["before"], summary["production"], summary["changed"]) == (promoted[1], promoted[0], True)
    assert told() == (promoted[0], 3, "it lost money")
    (run,) = runs.list_runs(connections.engine(), dataset="demo")
    assert (run.flow, run.status) == ("rollback", "finished")
    assert run.summary is not None
    assert run.summary["message"] == summary["message"]
    entry = channels.history(connections.engine(), LINE)[-1]
    assert (entry.action, entry.reason, entry.actor) == ("rollback", "it lost money", f"rollback {run.run_id}")


def test_to_the_rules_leaves_every_model(promoted: list[str]) -> None:
    assert roll_back(to="rules")["production"] == "rules"
    assert told()[0] is None
    again = roll_back(to="rules")
    assert (again["changed"], told()[1]) == (False, 3)


def test_a_retry_after_the_move_was_made_goes_no_further_back(promoted: list[str]) -> None:
    given = RollbackParameters(dataset="demo", reason="it lost money").model_dump(mode="json")

    first = rolling_back.roll_back.fn(given, "run-1")
    second = rolling_back.roll_back.fn(given, "run-1")

    assert channels.current(connections.engine(), LINE).version_id == promoted[0]
    assert second["before"] == first["before"] == promoted[1]
    assert len(channels.history(connections.engine(), LINE)) == 3


def test_a_line_that_does_not_exist_is_named_and_nothing_moves(promoted: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="Known: demo/1d/atr1-h5-v1"):
        roll_back(dataset="other")
    assert channels.current(connections.engine(), LINE).version_id == promoted[1]
    (run,) = runs.list_runs(connections.engine(), dataset="other")
    assert run.status == "failed"


def test_the_deployment_gives_what_the_parameters_need() -> None:
    declared = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
    (deployment,) = [one for one in declared if one["name"] == "rollback"]
    assert deployment["entrypoint"] == "flows/rollback.py:rollback"
    assert "schedules" not in deployment
    RollbackParameters.model_validate(deployment["parameters"]["parameters"])

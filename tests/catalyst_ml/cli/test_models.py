"""``catalyst-ml models`` on a real database: what the trader reads, and what a script reads."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalyst_ml.cli.models import app
from catalyst_ml.errors import ConfigurationError, UnknownVersion
from catalyst_ml.registry import channels
from tests.catalyst_ml.cli.command_line import run_app
from tests.catalyst_ml.registry.registered_versions import FILES, LINE, published, sealed

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]

run = partial(run_app, app)


@pytest.fixture
def version_id(database: Engine, tmp_path: Path) -> str:
    return published(database, tmp_path)


def run_json(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def test_an_empty_registry_says_so() -> None:
    assert "No version is registered yet" in run("list").stdout
    assert "on the rules" in run("history").stdout
    assert run_json("list") == []
    assert run_json("history") == []


def test_list_marks_what_is_in_production(database: Engine, tmp_path: Path, version_id: str) -> None:
    challenger = published(database, tmp_path, seed=8)
    run("promote", version_id, "--reason", "gate")
    rows = {row["version_id"]: row["channels"] for row in run_json("list", "--dataset", "demo")}
    assert rows == {version_id: ["production"], challenger: []}
    (line,) = [line for line in run("list").stdout.splitlines() if version_id in line]
    assert "production" in line
    assert run_json("list", "--dataset", "catalyst") == []
    assert run_json("list", "--timeframe", "5m") == []


def test_show_prints_digest_metrics_gate_checks_and_files(version_id: str) -> None:
    shown = run("show", version_id).stdout
    for part in (version_id, "0.512", "Gate: promote", "Beats the rules", "model.onnx", sealed().files[0].sha256):
        assert part in shown
    document = run_json("show", version_id)
    assert document["manifest"] == sealed().model_dump(mode="json")
    assert document["manifest_sha256"] in shown
    assert {entry["name"] for entry in document["manifest"]["files"]} == set(FILES)


def test_text_from_a_manifest_is_never_read_as_markup(database: Engine, tmp_path: Path) -> None:
    odd = published(database, tmp_path, code_commit="[red]not[/red] [/x] markup")
    assert "[red]not[/red] [/x] markup" in run("show", odd).stdout


def test_promote_and_rollback_move_production_and_are_in_the_history(database: Engine, version_id: str) -> None:
    move = run_json("promote", version_id, "--reason", "the gate said so")
    assert (move["changed"], move["state"]["version_id"], move["state"]["sequence"]) == (True, version_id, 1)
    assert "already" in run("promote", version_id, "--reason", "again").stdout
    assert "rules" in run("rollback", "--reason", "it lost money").stdout
    assert channels.current(database, LINE).version_id is None
    entries = run_json("history", "--dataset", "demo")
    assert [(entry["action"], entry["reason"]) for entry in entries] == [
        ("promote", "the gate said so"),
        ("rollback", "it lost money"),
    ]
    assert entries[0]["line"] == LINE._asdict()
    assert entries[0]["gate"]["verdict"] == "promote"
    assert entries[0]["actor"].startswith("cli")


def test_a_version_the_gate_refused_needs_force(database: Engine, tmp_path: Path) -> None:
    refused = published(database, tmp_path, gate={"verdict": "stay"})
    result = run("promote", refused, "--reason", "I like it")
    assert isinstance(result.exception, ConfigurationError)
    assert run_json("promote", refused, "--reason", "I like it", "--force")["changed"]
    assert "promote (forced)" in run("history").stdout


def test_rollback_to_the_rules_by_name(database: Engine, tmp_path: Path, version_id: str) -> None:
    run("promote", version_id, "--reason", "first")
    run("promote", published(database, tmp_path, seed=8), "--reason", "second")
    assert run_json("rollback", "--to", "rules", "--reason", "stop")["state"]["version_id"] is None


def test_rollback_asks_which_line_where_there_are_several(database: Engine, tmp_path: Path, version_id: str) -> None:
    run("promote", version_id, "--reason", "demo")
    run("promote", published(database, tmp_path, dataset="catalyst"), "--reason", "catalyst")
    result = run("rollback", "--reason", "stop")
    assert isinstance(result.exception, ConfigurationError)
    assert "catalyst/1d" in str(result.exception)
    assert run("rollback", "--reason", "stop", "--dataset", "demo").exit_code == 0
    assert channels.current(database, LINE).version_id is None
    assert channels.current(database, LINE._replace(dataset="catalyst")).version_id is not None


def test_an_unknown_id_names_the_nearest(version_id: str) -> None:
    result = run("show", version_id[:-1])
    assert isinstance(result.exception, UnknownVersion)
    assert version_id in str(result.exception)


def test_a_version_of_another_dataset_than_asked_is_refused(version_id: str) -> None:
    result = run("promote", version_id, "--reason", "x", "--dataset", "catalyst")
    assert isinstance(result.exception, ConfigurationError)
    assert result.exit_code != 0


def test_a_reason_is_required(version_id: str) -> None:
    assert run("promote", version_id).exit_code == 2
    assert run("rollback").exit_code == 2

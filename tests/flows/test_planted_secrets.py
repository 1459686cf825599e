"""A run that fails half-way, with secrets planted in its settings: nothing that Prefect or we keep of it shows one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from catalyst_ml.errors import CatalystError
from catalyst_ml.store import runs
from flows import weekly_training as weekly
from flows.cli import run_flow
from flows.parameters import WeeklyTrainingParameters
from tasks import connections
from tests.flows.planted_secrets import (
    kept_by_prefect,
    kept_in_the_database,
    secrets_in,
    settings_with_secrets,
)
from tests.flows.small_market import SMALLEST_RUN, write_market

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a market too small to train on; the embedded server takes any password."""
    values = {
        **settings_with_secrets(database_url),
        "CATALYST_HOME": str(tmp_path),
        "SPACES_ENDPOINT": "http://127.0.0.1:9",
        "SPACES_BUCKET": "catalyst",
        "SPACES_KEY": "k",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    forget_connections()
    write_market(connections.engine(), dataset="too-small", preset="none", n_symbols=8, n_sessions=120)
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}):
        yield tmp_path
    connections.engine().dispose()
    forget_connections()


def test_no_secret_in_parameters_states_logs_artifacts_results_or_tables(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CatalystError):
        run_flow(weekly.weekly_training, WeeklyTrainingParameters(dataset="too-small", **SMALLEST_RUN))

    places = {
        "Prefect": kept_by_prefect(),
        "log": caplog.text,
        "files": b"\n".join(path.read_bytes() for path in home.rglob("*") if path.is_file()).decode(errors="replace"),
        "tables": kept_in_the_database(),
    }
    for place, kept in places.items():
        assert "there_are_enough_rows" in kept, f"nothing of the failure was found in {place}"
        assert secrets_in(kept) == [], place
    assert runs.list_runs(connections.engine())[0].status == "failed"


def forget_connections() -> None:
    for cached in (connections.settings, connections.engine, connections.snapshots, connections.artifact_stores):
        cached.cache_clear()

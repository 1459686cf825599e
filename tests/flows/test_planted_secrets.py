"""A run that fails half-way, with secrets planted in its settings: nothing that Prefect or we keep of it shows one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import make_url, text

from catalyst_ml.errors import CatalystError
from catalyst_ml.store import runs
from flows import weekly_training as weekly
from flows.cli import run_flow
from flows.parameters import WeeklyTrainingParameters
from tasks import connections
from tests.flows.small_market import SMALLEST_RUN, write_market

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

SECRETS = {
    "DATABASE_URL": "pl4nted-database/w@rd",
    "SPACES_SECRET": "pl4nted+spaces/secret",
    "ANTHROPIC_API_KEY": "sk-ant-pl4nted-claude-key",
}


@pytest.fixture
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a market too small to train on; the embedded server takes any password."""
    url = make_url(database_url).set(password=SECRETS["DATABASE_URL"])
    values = {
        **SECRETS,
        "DATABASE_URL": url.render_as_string(hide_password=False),
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
        found = [name for name, secret in SECRETS.items() if secret in kept or quote(secret, safe="") in kept]
        assert found == [], place
    assert runs.list_runs(connections.engine())[0].status == "failed"


def kept_by_prefect() -> str:
    """Everything the server keeps of the runs: parameters, states with their messages, logs, artifacts."""
    with get_client(sync_client=True) as client:
        kept = [
            client._client.post(f"/{kind}/filter", json={"limit": 200}).text
            for kind in ("flow_runs", "task_runs", "logs", "artifacts", "deployments")
        ]
    assert len(kept[1]) > 1000
    return "\n".join(kept)


def kept_in_the_database() -> str:
    with connections.engine().connect() as connection:
        tables = connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'catalyst_ml'")
        ).scalars()
        rows = [
            row
            for table in tables
            if table not in ("bars", "bar_values")
            for row in connection.execute(text(f'SELECT t::text FROM catalyst_ml."{table}" t')).scalars()
        ]
    return "\n".join(rows)


def forget_connections() -> None:
    for cached in (connections.settings, connections.engine, connections.snapshots, connections.artifact_stores):
        cached.cache_clear()

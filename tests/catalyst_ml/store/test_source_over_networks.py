"""Pulls through a real pgbouncer in transaction mode, and through a real sshd that is cut in the middle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, create_engine

from catalyst_ml.errors import SourceUnavailable
from catalyst_ml.settings import Settings, SourceSettings
from catalyst_ml.store import source_pull
from catalyst_ml.store.source_engine import open_source
from catalyst_ml.store.source_inspection import inspect_source
from catalyst_ml.store.source_snapshots import PullResult, SourceSnapshots
from catalyst_ml.store.tunnel_routes import close_tunnels
from tests.catalyst_ml.store import upstream_schemas as upstream
from tests.fakes.pooler import Pooler
from tests.fakes.postgres_server import PostgresServer
from tests.fakes.ssh_server import SshServer

pytestmark = pytest.mark.server

BARS = "public.security_data_daily"


@pytest.fixture
def database_name(postgres_server: PostgresServer) -> str:
    """A database with daily bars on the TCP server."""
    name = postgres_server.new_database()
    engine = create_engine(postgres_server.url(name))
    with engine.begin() as connection:
        upstream.run(connection, upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))
    engine.dispose()
    return name


def puller(engine: Engine, root: Path) -> tuple[SourceSnapshots, Callable[[], PullResult]]:
    snapshots = SourceSnapshots(root, "catalyst")
    table = next(t for t in inspect_source(engine)[0].tables if t.full_name == BARS)
    return snapshots, lambda: snapshots.pull(engine, table, now=datetime(2025, 6, 1, tzinfo=UTC))


def test_a_transaction_pooler_between_changes_nothing(
    postgres_server: PostgresServer, pooler: Pooler, database_name: str, tmp_path: Path
) -> None:
    url = postgres_server.url(database_name, port=pooler.port)
    engine = open_source(Settings(source=SourceSettings(database_url=url)))

    snapshots, pull = puller(engine, tmp_path)

    assert (pull().fetched, pull().fetched) == (130, 0)
    assert sum(pq.read_metadata(path).num_rows for _, path in snapshots.files(BARS)) == 130
    engine.dispose()


def test_a_tunnel_that_is_cut_in_the_middle_is_followed_by_a_pull_that_completes(
    ssh_server: SshServer,
    postgres_server: PostgresServer,
    database_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres_server.url(database_name)
    engine = open_source(
        Settings(source=SourceSettings(database_url=url), tunnel=ssh_server.settings(carries="source"))
    )
    snapshots, pull = puller(engine, tmp_path)
    monkeypatch.setattr(source_pull, "ROWS_AT_ONCE", 1)  # every month by itself
    copies = []
    original = source_pull.copy_batches

    def cut_at_the_second(*arguments: object, **options: object) -> object:
        copies.append(1)
        if len(copies) == 2:
            ssh_server.cut()
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(source_pull, "copy_batches", cut_at_the_second)

    with pytest.raises(SourceUnavailable, match="what was finished is kept"):
        pull()
    result = pull()

    assert result.resumed
    assert 0 < result.fetched < 130
    assert sum(pq.read_metadata(path).num_rows for _, path in snapshots.files(BARS)) == 130
    engine.dispose()
    close_tunnels()

"""Pulls that are cut off, damaged or refused: what is left, and what the next one makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Engine, create_engine

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable
from catalyst_ml.store import source_copy, source_pull
from catalyst_ml.store.embedded import EmbeddedServer
from catalyst_ml.store.source_inspection import inspect_source
from catalyst_ml.store.source_partitions import PartitionWriter
from tests.catalyst_ml.store import upstream_schemas as upstream
from tests.catalyst_ml.store.pulled_source import BARS, NOW, Source, same


@pytest.fixture
def bars(database: Engine, tmp_path: Path) -> Source:
    source = Source(database, tmp_path, BARS)
    source.change(upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))
    return source


@pytest.fixture
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every month is fetched by itself, so that some can be finished before a failure."""
    monkeypatch.setattr(source_pull, "ROWS_AT_ONCE", 1)


def fail_at_month(monkeypatch: pytest.MonkeyPatch, number: int, failure: Callable[[], None]) -> None:
    """Let ``failure`` happen when the COPY of the n-th month begins."""
    seen = []
    original = source_pull.copy_batches

    def counting(*arguments: Any, **options: Any) -> Any:
        seen.append(1)
        if len(seen) == number:
            failure()
        return original(*arguments, **options)

    monkeypatch.setattr(source_pull, "copy_batches", counting)


def test_a_connection_that_is_cut_leaves_finished_months_and_the_next_pull_completes(
    bars: Source, many_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        bars.change("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND datname = current_database()")  # fmt: skip

    with monkeypatch.context() as patched:
        fail_at_month(patched, 2, cut)
        with pytest.raises(SourceUnavailable, match="did not answer, or was lost"):
            bars.pull()
    with pytest.raises(ArtifactRefused, match="no snapshot"):
        bars.snapshots.manifest(BARS)

    result = bars.pull()

    assert result.resumed
    assert 0 < result.fetched < 130
    assert same(bars.held(), bars.stored())


def test_a_server_that_is_stopped_in_the_middle_is_followed_by_a_pull_that_completes_once_it_is_back(
    tmp_path: Path, many_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="catalyst-stopped-") as home:
        server = EmbeddedServer(Path(home))
        server.ensure_running()
        source = Source(create_engine(server.url()), tmp_path, BARS)
        try:
            source.change(upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))
            with monkeypatch.context() as patched:
                fail_at_month(patched, 2, server.stop)
                with pytest.raises(SourceUnavailable, match="did not answer, or was lost"):
                    source.pull()
                with pytest.raises(SourceUnavailable, match="did not answer, or was lost"):
                    source.pull()
            server.ensure_running()

            result = source.pull()

            assert result.resumed
            assert 0 < result.fetched < 130
            assert same(source.held(), source.stored())
        finally:
            source.engine.dispose()
            server.stop()


def test_a_writer_that_fails_leaves_nothing_half_written(
    bars: Source, many_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(self: PartitionWriter) -> tuple[str, str]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        fail_at_month(patched, 3, lambda: patched.setattr(PartitionWriter, "finish", no_space))
        with pytest.raises(SourceUnavailable, match="disk is full"):
            bars.pull()
    assert not list(bars.snapshots.folder(BARS).glob(".*.parquet"))

    result = bars.pull()

    assert result.resumed
    assert result.fetched < 130
    assert same(bars.held(), bars.stored())


def test_a_reader_that_fails_in_the_middle_of_a_copy_leaves_the_connection_usable(
    database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(database, tmp_path, "public.security_data_high_freq")
    source.change(
        upstream.G100_BARS + "INSERT INTO security_data_high_freq (symbol, timestamp, close) "
        "SELECT 'AAPL', timestamptz '2025-03-03' + i * interval '1 second', 1 FROM generate_series(1, 60000) i"
    )
    monkeypatch.setattr(source_copy, "_BLOCK_BYTES", 1 << 16)

    def refuse(self: PartitionWriter, batch: pa.RecordBatch) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(PartitionWriter, "add", refuse)
        with pytest.raises(RuntimeError, match="no"):
            source.pull()

    assert source.pull().rows == 60_000
    assert len(source.held()) == 60_000


_KILLED = """
import sys, time
from datetime import datetime, UTC
from pathlib import Path
from sqlalchemy import create_engine
from catalyst_ml.store import source_pull
from catalyst_ml.store.source_inspection import inspect_source
from catalyst_ml.store.source_snapshots import SourceSnapshots
source_pull.ROWS_AT_ONCE = 1
copy_batches, seen = source_pull.copy_batches, []
def waiting(*arguments, **options):
    seen.append(1)
    for batch in copy_batches(*arguments, **options):
        yield batch
        if len(seen) == 2:
            time.sleep(0.5)  # March is flushed beside us
            print("in the middle", flush=True)
            time.sleep(60)
source_pull.copy_batches = waiting
engine = create_engine(sys.argv[1])
table = next(t for t in inspect_source(engine, count=False)[0].tables if t.full_name == sys.argv[3])
SourceSnapshots(Path(sys.argv[2]), "catalyst").pull(engine, table, now=datetime(2025, 6, 2, tzinfo=UTC))
"""


def test_a_process_that_is_killed_is_followed_by_one_that_completes(bars: Source, tmp_path: Path) -> None:
    url = bars.engine.url.render_as_string(hide_password=False)
    repository = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, url, str(tmp_path), BARS], stdout=subprocess.PIPE, text=True, cwd=repository
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert list(bars.snapshots.folder(BARS).glob(".*.parquet"))  # what it was writing

    result = bars.pull()

    assert result.resumed
    assert result.fetched == 130 - 42  # March was finished
    assert same(bars.held(), bars.stored())
    assert not list(bars.snapshots.folder(BARS).glob(".*.parquet"))


_KILLED_AT_A_STEP = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlalchemy import create_engine
from catalyst_ml.store import source_pull
from catalyst_ml.store.source_inspection import inspect_source
from catalyst_ml.store.source_snapshots import SourceSnapshots
left = int(sys.argv[4])
def counted(original):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    return call
source_pull.ROWS_AT_ONCE = 50
engine = create_engine(sys.argv[1])
table = next(t for t in inspect_source(engine, count=False)[0].tables if t.full_name == sys.argv[3])
for name in ("replace", "fsync", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
now = datetime(2025, 6, 2, tzinfo=UTC)
SourceSnapshots(Path(sys.argv[2]), "catalyst").pull(engine, table, now=now, recheck_after=timedelta(0))
"""


def test_kills_before_any_step_to_the_disk_lose_and_double_nothing_while_the_source_changes(
    bars: Source, tmp_path: Path
) -> None:
    arguments = [bars.engine.url.render_as_string(hide_password=False), str(tmp_path), BARS]
    killed = []
    # Each kill finds what the one before left behind; the last step is after the end of a pull.
    for step in (3, 11, 1, 8, 1000):
        bars.change(
            f"UPDATE security_data_daily SET close = {step} WHERE extract(day FROM timestamp) = {step % 28};"
            f"DELETE FROM security_data_daily WHERE timestamp = date '2025-04-01' + {step % 28};"
            f"INSERT INTO security_data_daily (symbol, timestamp, close) VALUES ('NEW', '2025-05-{step % 28 + 1}', 1)"
        )
        process = subprocess.run(
            [sys.executable, "-c", _KILLED_AT_A_STEP, *arguments, str(step)], cwd=Path(__file__).parents[3]
        )
        killed.append(process.returncode)

    assert killed == [-signal.SIGKILL] * 4 + [0]
    assert same(bars.held(), bars.stored())
    assert not list(bars.snapshots.folder(BARS).glob(".*.*"))


def test_rows_that_go_missing_on_the_way_are_noticed(bars: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    original = source_pull.copy_batches

    def losing(*arguments: Any, **options: Any) -> Any:
        for batch in original(*arguments, **options):
            yield batch.slice(1)

    monkeypatch.setattr(source_pull, "copy_batches", losing)

    with pytest.raises(SourceUnavailable, match="did not come as the source had counted them"):
        bars.pull()
    with pytest.raises(ArtifactRefused):
        bars.snapshots.manifest(BARS)


def test_an_altered_or_missing_file_is_refused_and_fetched_anew(bars: Source) -> None:
    bars.pull()
    first, *_ = bars.files()
    first.write_bytes(b"PAR1 nothing")
    with pytest.raises(ArtifactRefused, match="altered"):
        bars.files()
    first.unlink()

    result = bars.pull(now=NOW + timedelta(hours=1))

    assert result.fetched == 42
    assert same(bars.held(), bars.stored())


def test_a_damaged_manifest_costs_a_pull_not_the_data(bars: Source) -> None:
    first = bars.pull()
    folder = bars.snapshots.folder(BARS)
    (folder / "current.json").write_text("{")

    second = bars.pull(now=NOW + timedelta(hours=1))

    assert second.fetched == 130
    assert second.sha256 == first.sha256


def test_old_files_go_when_no_kept_manifest_names_them(bars: Source) -> None:
    for day in range(10):
        bars.change(f"UPDATE security_data_daily SET close = {day} WHERE timestamp = '2025-05-28'")
        bars.pull(now=NOW + timedelta(hours=day))

    folder = bars.snapshots.folder(BARS)
    assert len(list(folder.glob("*.parquet"))) == 2 + source_pull.KEPT_MANIFESTS
    assert same(bars.held(), bars.stored())


def test_a_query_that_takes_too_long_is_cancelled_with_advice(bars: Source) -> None:
    from catalyst_ml.store.source_engine import reading

    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match="SOURCE_STATEMENT_TIMEOUT_S"), reading(bars.engine, timeout_s=1) as c:
        c.exec_driver_sql("SELECT pg_sleep(20)")
    assert time.monotonic() - started < 10


def test_a_closed_port_is_named_without_the_password() -> None:
    engine = create_engine("postgresql+psycopg2://reader:pl4nted-secret@127.0.0.1:9/catalyst")

    with pytest.raises(SourceUnavailable) as failure:
        inspect_source(engine)

    assert "127.0.0.1:9" in str(failure.value)
    assert "pl4nted" not in str(failure.value)
    assert failure.value.__cause__ is None

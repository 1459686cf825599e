from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, create_engine, text

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable
from catalyst_ml.store import source_copy, source_days, source_pull
from catalyst_ml.store.embedded import EmbeddedServer
from catalyst_ml.store.source_inspection import inspect_source
from catalyst_ml.store.source_partitions import PartitionWriter
from catalyst_ml.store.source_snapshots import PullResult, SourceSnapshots
from catalyst_ml.store.source_tables import SourceTable
from tests.catalyst_ml.store import upstream_schemas as upstream

NOW = datetime(2025, 6, 2, tzinfo=UTC)
BARS = "public.security_data_daily"


class Source:
    """A database with one table to pull, and the snapshots of it."""

    def __init__(self, engine: Engine, root: Path, name: str) -> None:
        self.engine, self.name = engine, name
        self.snapshots = SourceSnapshots(root, "catalyst")

    def table(self) -> SourceTable:
        catalogue, _ = inspect_source(self.engine, count=False)
        return next(table for table in catalogue.tables if table.full_name == self.name)

    def pull(self, *, now: datetime = NOW, **options: Any) -> PullResult:
        return self.snapshots.pull(self.engine, self.table(), now=now, **options)

    def change(self, statement: str) -> None:
        with self.engine.begin() as connection:
            upstream.run(connection, statement)

    def marks(self) -> list[tuple[Any, ...]]:
        """What PostgreSQL itself marks rows with: number of the table, place and transaction of the row."""
        with self.engine.connect() as connection:
            query = f"SELECT tableoid::text, ctid::text, xmin::text FROM {self.name}"
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def files(self) -> list[Path]:
        return [path for _, path in self.snapshots.files(self.name)]

    def held(self) -> list[dict[str, Any]]:
        """Rows of the snapshot, in the order of their id."""
        rows = [row for path in self.files() for row in pq.read_table(path).to_pylist()]
        return sorted(rows, key=lambda row: str(row["id"]))

    def stored(self) -> list[dict[str, Any]]:
        """Rows of the source as psycopg2 reads them, in the same order."""
        query = text(f"SELECT * FROM {self.name}")
        with self.engine.connect() as connection:
            connection.exec_driver_sql("SET timezone = 'UTC'")
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return sorted(rows, key=lambda row: str(row["id"]))


@pytest.fixture
def bars(database: Engine, tmp_path: Path) -> Source:
    source = Source(database, tmp_path, BARS)
    source.change(upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))
    return source


def same(held: list[dict[str, Any]], stored: list[dict[str, Any]]) -> bool:
    """True if every value is equal; decimals are compared as decimals, by their shortest text."""
    plain = [
        {name: Decimal(repr(value)) if isinstance(value, float) else value for name, value in row.items()}
        for row in held
    ]
    return plain == stored


def test_a_snapshot_equals_its_source_and_a_second_pull_fetches_nothing(bars: Source) -> None:
    first = bars.pull()
    second = bars.pull(now=NOW + timedelta(hours=1))

    assert same(bars.held(), bars.stored())
    assert (first.rows, first.fetched, first.was_full) == (130, 130, True)
    assert (second.rows, second.fetched, second.was_full) == (130, 0, False)
    assert first.sha256 == second.sha256
    assert sorted(bars.snapshots.manifest(BARS).months) == ["2025-03", "2025-04", "2025-05", "2025-05.2"]


def test_new_rows_are_fetched_with_their_days_only(bars: Source) -> None:
    bars.pull()
    bars.change("INSERT INTO security_data_daily (symbol, timestamp, close) VALUES ('AAPL', '2025-06-02', 1)")

    result = bars.pull(now=NOW + timedelta(hours=1))

    assert (result.fetched, result.days_new, result.days_changed) == (1, 1, 0)
    assert same(bars.held(), bars.stored())


def test_late_changes_are_found_by_the_next_full_comparison(bars: Source) -> None:
    now = NOW
    bars.pull(now=now)
    for change in (
        "UPDATE security_data_daily SET close = 7 WHERE symbol = 'AAPL' AND timestamp = '2025-03-05'",
        "DELETE FROM security_data_daily WHERE timestamp = '2025-03-05' AND symbol = 'MSFT'",
        "INSERT INTO security_data_daily (symbol, timestamp, close) VALUES ('AAPL', '2025-03-08', 1)",
        "UPDATE security_data_daily SET timestamp = '2025-05-06' WHERE timestamp = '2025-03-06'",
        "DELETE FROM security_data_daily WHERE timestamp < '2025-04-01'",
        "TRUNCATE security_data_daily",
    ):
        bars.change(change)
        within_the_day = bars.pull(now=now + timedelta(hours=1))
        now += timedelta(days=2)

        result = bars.pull(now=now)

        assert result.was_full
        assert not within_the_day.was_full or change.startswith("TRUNCATE")  # which makes the table anew
        assert same(bars.held(), bars.stored()), change


def test_whatever_changes_in_whatever_order_the_snapshot_follows(bars: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_pull, "PARTS_OF_A_MONTH", 2)
    monkeypatch.setattr(source_pull, "ROWS_AT_ONCE", 60)
    rng = np.random.default_rng(7)
    for step in range(16):
        day = f"'2025-{rng.integers(3, 7):02d}-{rng.integers(1, 29):02d}'::timestamptz"
        change = [
            f"INSERT INTO security_data_daily (symbol, timestamp, close) VALUES ('NEW', {day} + interval '5 h', 1)",
            f"UPDATE security_data_daily SET close = {step} WHERE timestamp >= {day} AND symbol = 'MSFT'",
            f"DELETE FROM security_data_daily WHERE timestamp BETWEEN {day} AND {day} + interval '9 days'",
            f"INSERT INTO security_data_daily (symbol, timestamp) SELECT 'X', d FROM "
            f"generate_series({day}, {day} + interval '40 days', '1 day') d",
        ][rng.integers(4)]
        bars.change(change)
        bars.pull(now=NOW + timedelta(hours=step))

        bars.pull(now=NOW + timedelta(hours=step), recheck_after=timedelta(0))

        assert same(bars.held(), bars.stored()), f"step {step}: {change}"


def test_late_rows_of_the_last_seven_days_are_found_at_once(bars: Source) -> None:
    bars.pull()
    bars.change("UPDATE security_data_daily SET close = 7 WHERE timestamp = '2025-05-26'")

    result = bars.pull(now=NOW + timedelta(hours=1))

    assert (result.was_full, result.days_changed) == (False, 1)
    assert same(bars.held(), bars.stored())


def test_a_row_of_a_far_future_does_not_hide_those_of_today(bars: Source) -> None:
    bars.change("INSERT INTO security_data_daily (symbol, timestamp) VALUES ('X', '2150-01-01')")
    bars.pull()
    bars.change("INSERT INTO security_data_daily (symbol, timestamp) VALUES ('AAPL', '2025-06-02')")

    result = bars.pull(now=NOW + timedelta(hours=1))

    assert (result.was_full, result.fetched) == (False, 1)
    assert same(bars.held(), bars.stored())


def test_a_role_that_may_read_some_columns_gets_those(bars: Source, tmp_path: Path) -> None:
    bars.change(
        "DROP ROLE IF EXISTS some_columns; CREATE ROLE some_columns LOGIN;"
        "GRANT SELECT (id, symbol, timestamp, open, high, low, close, volume) ON security_data_daily TO some_columns;"
        "ALTER TABLE security_data_daily ADD margin numeric(5,2)"
    )
    reader = Source(create_engine(bars.engine.url.set(username="some_columns")), tmp_path / "reader", BARS)

    reader.pull()
    bars.change("UPDATE security_data_daily SET close = 7 WHERE timestamp = '2025-05-28'")

    assert reader.pull(now=NOW + timedelta(hours=1)).fetched == 2
    assert len(reader.held()) == 130
    reader.engine.dispose()


def test_every_type_comes_back_exactly(database: Engine, tmp_path: Path) -> None:
    source = Source(database, tmp_path, "public.trading_signals")
    source.change(
        """
        CREATE TABLE trading_signals (id int, symbol text, timestamp timestamp, small smallint, big bigint, yes boolean,
            single real, double double precision, price numeric(10,4), long numeric(20,10), free numeric, day date,
            moment timestamptz, uid uuid, payload jsonb, words text[], raw bytea);
        INSERT INTO trading_signals VALUES
        (1, '', '2025-03-05 14:30:00.123456', -32768, 9223372036854775807, true, 1.1, 0.1, 12.3456,
         1234567890.0123456789, 0.1, '2025-03-05', '2025-03-05 14:30:00.000001+02',
         '00000000-0000-0000-0000-000000000001', '{"a": "x\\n,\\"y"}', '{"a,b",NULL}', '\\x00ff'),
        (2, E'a,"b"\nc', '1999-12-31', 0, 0, false, 'NaN', 'Infinity', 'NaN', NULL, 'NaN', NULL, 'infinity', NULL,
         NULL, NULL, NULL),
        (3, NULL, '2025-03-05 14:30:00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
         NULL)
        """
    )

    source.pull()

    second, first, third = (row for path in source.files() for row in pq.read_table(path).to_pylist())
    assert first == {
        "id": 1, "symbol": "", "timestamp": pd.Timestamp('2025-03-05 14:30:00.123456').to_pydatetime(), "small": -32768,
        "big": 9223372036854775807, "yes": True, "single": pytest.approx(1.1, abs=1e-7), "double": 0.1,
        "price": 12.3456, "long": "1234567890.0123456789", "free": "0.1", "day": date(2025, 3, 5),
        "moment": datetime(2025, 3, 5, 12, 30, 0, 1, tzinfo=UTC), "uid": "00000000-0000-0000-0000-000000000001",
        "payload": '{"a": "x\\n,\\"y"}', "words": '{"a,b",NULL}', "raw": "\\x00ff",
    }  # fmt: skip
    assert second["symbol"] == 'a,"b"\nc'
    assert [str(second[name]) for name in ("single", "double", "price", "free")] == ["nan", "inf", "nan", "NaN"]
    assert second["moment"] is None  # no place in 64 bits of microseconds
    assert {name for name, value in third.items() if value is not None} == {"id", "timestamp"}


def test_rows_without_a_usable_time_are_kept_apart_as_they_are_written(bars: Source) -> None:
    bars.change(
        "INSERT INTO security_data_daily (symbol, timestamp) VALUES ('A', NULL), ('B', 'infinity'), ('C', '9999-12-31')"
    )

    bars.pull()

    months = dict(bars.snapshots.files(BARS))
    undated = pq.read_table(months["undated"])
    assert undated["timestamp"].to_pylist() == [None, "infinity", "9999-12-31 00:00:00+00"]
    assert sum(pq.read_metadata(path).num_rows for path in months.values()) == 133


def test_an_altered_table_is_read_whole(bars: Source) -> None:
    bars.pull()
    bars.change("ALTER TABLE security_data_daily ADD vwap numeric(10,2) DEFAULT 5")

    assert bars.pull(now=NOW + timedelta(hours=1)).fetched == 130
    assert same(bars.held(), bars.stored())


def test_a_view_is_compared_by_its_values(database: Engine, tmp_path: Path) -> None:
    source = Source(database, tmp_path, "public.market_data")
    source.change(
        upstream.G100_BARS.replace("CREATE TABLE market_data", "CREATE TABLE kept")
        + upstream.DAILY_BARS.format(table="kept")
        + "CREATE VIEW market_data AS SELECT row_number() OVER (ORDER BY symbol, timestamp) AS id, * FROM kept"
    )
    source.pull()
    source.change("UPDATE kept SET close = 3 WHERE timestamp = '2025-05-28'")

    result = source.pull(now=NOW + timedelta(days=2))

    assert result.days_changed == 1
    assert same(source.held(), source.stored())


def test_normalised_rows_carry_their_symbol_and_time(database: Engine, tmp_path: Path) -> None:
    source = Source(database, tmp_path, "public.pattern_analysis")
    source.change(
        upstream.OCTOBER + "INSERT INTO securities (symbol) VALUES ('AAPL');"
        "INSERT INTO time_dimension (timestamp) VALUES ('2025-10-01');"
        "INSERT INTO pattern_analysis (security_id, time_id, pattern_type) VALUES (1, 1, 'doji'), (NULL, NULL, 'x')"
    )

    source.pull()

    assert [(row["symbol"], row["pattern_type"]) for row in source.held()] == [("AAPL", "doji"), (None, "x")]


def test_a_symbol_that_is_renamed_where_a_key_leads_is_read_again(database: Engine, tmp_path: Path) -> None:
    source = Source(database, tmp_path, "public.pattern_analysis")
    source.change(
        upstream.OCTOBER + "INSERT INTO securities (symbol) VALUES ('FB'), ('MSFT');"
        "INSERT INTO time_dimension (timestamp) VALUES ('2025-10-01'), ('2025-10-02');"
        "INSERT INTO pattern_analysis (security_id, time_id, pattern_type) VALUES (1, 1, 'doji'), (2, 2, 'doji')"
    )
    source.pull(now=datetime(2025, 10, 3, tzinfo=UTC))
    source.change("UPDATE securities SET symbol = 'META' WHERE symbol = 'FB'; UPDATE securities SET name = 'x'")

    result = source.pull(now=datetime(2025, 10, 3, 1, tzinfo=UTC))

    assert (result.fetched, result.days_changed) == (1, 1)
    assert [row["symbol"] for row in source.held()] == ["META", "MSFT"]


def test_another_server_made_by_the_same_script_is_not_taken_for_the_first(tmp_path: Path) -> None:
    closes = []
    for number in range(2):
        # The same numbers of tables and transactions, the same places of rows: only the servers differ.
        with tempfile.TemporaryDirectory(prefix="catalyst-twin-") as home:
            server = EmbeddedServer(Path(home))
            server.ensure_running()
            source = Source(create_engine(server.url()), tmp_path, BARS)
            try:
                source.change(
                    upstream.G100_BARS + "INSERT INTO security_data_daily (symbol, timestamp, close) "
                    f"SELECT 'AAPL', '2025-03-03', {number}"
                )
                marks = source.marks()
                source.pull(now=NOW + timedelta(hours=number))
                closes.append(([row["close"] for row in source.held()], marks))
            finally:
                source.engine.dispose()
                server.stop()

    (first, marks), (second, marks_of_second) = closes
    assert marks == marks_of_second
    assert (first, second) == ([0.0], [1.0])


def test_days_of_a_month_come_into_further_files_until_the_month_is_written_anew(bars: Source) -> None:
    bars.pull()
    seen = []
    for day in range(1, 12):
        values = f"('A', '2025-06-{day}', {day})"
        bars.change(f"INSERT INTO security_data_daily (symbol, timestamp, close) VALUES {values}")
        result = bars.pull(now=NOW + timedelta(hours=day))
        seen.append(sum(name.startswith("2025-06") for name in bars.snapshots.manifest(BARS).months))
        assert result.fetched == 1
    assert max(seen) == source_pull.PARTS_OF_A_MONTH + 1
    assert seen[-1] < source_pull.PARTS_OF_A_MONTH
    bars.change(
        "UPDATE security_data_daily SET close = 99 WHERE timestamp IN ('2025-06-01', '2025-06-10', '2025-06-12')"
    )
    bars.change("DELETE FROM security_data_daily WHERE timestamp = '2025-06-11'")

    bars.pull(now=NOW + timedelta(days=3))

    assert same(bars.held(), bars.stored())


def test_more_stretches_of_days_than_a_query_names_are_fetched_in_one(
    bars: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_days, "MAX_STRETCHES", 2)
    bars.pull()
    bars.change("UPDATE security_data_daily SET close = 7 WHERE extract(isodow FROM timestamp) IN (1, 3, 5)")

    result = bars.pull(now=NOW + timedelta(days=2))

    assert result.fetched == 2 * 39
    assert same(bars.held(), bars.stored())


# --- failures ---


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

from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, create_engine

from catalyst_ml.store import source_days, source_pull
from catalyst_ml.store.embedded import EmbeddedServer
from tests.catalyst_ml.store import upstream_schemas as upstream
from tests.catalyst_ml.store.pulled_source import BARS, NOW, Source, same


@pytest.fixture
def bars(database: Engine, tmp_path: Path) -> Source:
    source = Source(database, tmp_path, BARS)
    source.change(upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))
    return source


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

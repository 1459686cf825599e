from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.store.source_inspection import SourceReport, inspect_source
from tests.catalyst_ml.store import upstream_schemas as upstream


@pytest.fixture
def inspect(database: Engine) -> Callable[[str], SourceReport]:
    """Run statements, then inspect."""

    def look(statements: str) -> SourceReport:
        with database.begin() as connection:
            connection.exec_driver_sql("SET search_path = public")
            upstream.run(connection, statements)
        return inspect_source(database)[1]

    return look


def generations(report: SourceReport) -> dict[str, str]:
    return {finding.table: finding.generation for finding in report.findings}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (upstream.TRAINING, {"trading.pattern_training_data": "GML (schema trading)"}),
        (upstream.SKETCH, {"public.pattern_training_data": "strategy sketch"}),
        (upstream.G1, {"public.pattern_analysis": "G1", "public.news_raw": "G1", "public.trading_signals": "G1 or G2"}),
        (upstream.G2, {"public.pattern_analysis": "G2", "public.news_raw": "G2"}),
        (
            upstream.G3,
            dict.fromkeys(
                ("public.pattern_analysis", "public.news_raw", "public.trading_signals"), "G3 (made at run time)"
            ),
        ),
        (upstream.OCTOBER, {"public.pattern_analysis": "October 2025 (normalised)"}),
        (upstream.G100_BARS, {"public.security_data_daily": "G100", "public.security_data_high_freq": "G100"}),
        (upstream.BARS_ONLY, {"public.My Prices %": ""}),
    ],
)
def test_each_generation_of_upstreams_schema_is_recognised(
    inspect: Callable[[str], SourceReport], schema: str, expected: dict[str, str]
) -> None:
    found = generations(inspect(schema))

    assert expected.items() <= found.items()


def test_an_empty_database_says_what_is_missing_and_what_that_costs(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect("SELECT 1")

    assert {m.subject for m in report.missing} == {"bars", "news", "training", "detections", "sectors"}
    assert "sector_momentum" in report.to_text()
    assert "Import bars from files" in report.to_text()


def test_a_database_without_ml_tables_keeps_what_it_has(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect(upstream.G1 + upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))

    (training,) = (m for m in report.missing if m.subject == "training")
    assert training.why == "no such table"
    (daily,) = (f for f in report.findings if f.table == "public.security_data_daily")
    assert daily.rows == 2 * 65
    assert daily.timeframes == {"1d": 130}


def test_bars_only_are_found_under_any_name_and_said_to_be_all(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect(upstream.BARS_ONLY + """INSERT INTO "My Prices %" VALUES ('AAPL', '2025-03-03', 1, 2, 1, 2, 9)""")

    (finding,) = report.findings
    assert finding.subject == "bars"
    assert finding.rows == 1
    assert finding.timeframes == {"1d": 1}
    assert any("bars only" in note for note in report.notes)


def test_odd_rows_of_training_data_are_counted(inspect: Callable[[str], SourceReport]) -> None:
    columns = "symbol, timestamp, pattern_type, open_price, high_price, low_price, close_price, volume"
    row = "'AAPL', '2025-03-03 15:00+00', 'doji', 1, 2, 1, 2, 9"
    report = inspect(
        upstream.TRAINING
        + f"""
        INSERT INTO trading.pattern_training_data ({columns}) VALUES ({row}), ({row}), ({row});
        INSERT INTO trading.pattern_training_data ({columns}, rsi_14, pattern_completed, pattern_success, max_gain)
        VALUES ('MSFT', '2025-03-04', 'doji', 1, 2, 1, 2, 9, 'NaN', true, true, 99.9999),
               ('MSFT', '2025-03-05', 'doji', 1, 2, 1, 2, 9, 50, true, NULL, 1),
               ('MSFT', 'infinity', 'doji', 1, 2, 1, 2, 9, 50, false, true, 1)
        """
    )

    (finding,) = report.findings
    assert finding.rows == 6
    assert finding.counts == {
        "repeated": 2, "nan": 1, "at limit": 1, "settled": 1, "successes": 1, "labelled but open": 1, "without time": 1,
    }  # fmt: skip
    assert finding.first is not None
    assert finding.first.startswith("2025-03-03")
    assert "unlabelled, not failures" in report.to_text()


@pytest.mark.parametrize("kind", ["smallint", "text"])
def test_labels_of_other_types_than_upstreams_are_counted_too(
    inspect: Callable[[str], SourceReport], kind: str
) -> None:
    (finding,) = inspect(
        f"""
        CREATE TABLE pattern_training_data (symbol text, timestamp timestamptz, pattern_type text,
            pattern_completed {kind}, pattern_success {kind});
        INSERT INTO pattern_training_data SELECT 'A', '2025-03-05', 'doji', done::{kind}, y::{kind}
        FROM (VALUES (1, 1), (1, 0), (1, NULL), (0, 1)) v (done, y)
        """
    ).findings

    assert {name: finding.counts.get(name) for name in ("settled", "successes", "labelled but open")} == {
        "settled": 2, "successes": 1, "labelled but open": 1,
    }  # fmt: skip


def test_naive_times_are_named_with_the_zone_they_are_read_in(inspect: Callable[[str], SourceReport]) -> None:
    (finding,) = (f for f in inspect(upstream.G3).findings if f.table == "public.news_raw")

    assert any("read as UTC (SOURCE_TIMEZONE)" in remark for remark in finding.remarks)


def test_percent_and_fraction_twins_are_pointed_out(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect(
        upstream.G1 + "CREATE SCHEMA trading; CREATE TABLE trading.system_config (key text PRIMARY KEY, value text)"
    )

    assert any("a factor of 100 apart" in note for note in report.notes)


def test_normalised_keys_are_resolved_to_symbol_and_time(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect(
        upstream.OCTOBER
        + """
        INSERT INTO securities (symbol) VALUES ('AAPL'); INSERT INTO time_dimension (timestamp) VALUES ('2025-10-01');
        INSERT INTO pattern_analysis (security_id, time_id, pattern_type, confidence_score) VALUES (1, 1, 'doji', 0.7)
        """
    )

    (finding,) = (f for f in report.findings if f.subject == "detections")
    assert finding.fields["symbol"] == "symbol"
    assert finding.first is not None
    assert finding.first.startswith("2025-10-01")


def test_a_known_name_with_other_columns_is_left_alone_and_said_so(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect("CREATE TABLE market_data (id int, payload jsonb)")

    assert report.findings == ()
    assert any("public.market_data lacks a column for symbol, ts" in note for note in report.notes)


def test_prices_of_scans_are_not_taken_for_bars(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect(
        "CREATE TABLE market_data_daily (symbol text, date date, open numeric, high numeric, low numeric, "
        "close numeric, volume bigint)"
    )

    assert [finding.subject for finding in report.findings] == ["scan aggregates"]


def test_names_that_look_like_sql_are_only_names(inspect: Callable[[str], SourceReport]) -> None:
    report = inspect(
        'CREATE TABLE "x""; DROP TABLE victim; --" (symbol text, ts timestamptz, open numeric, high numeric, '
        'low numeric, close numeric, volume numeric, "a:b %(c)s" numeric(5,2)); CREATE TABLE victim (id int)'
    )

    (finding,) = report.findings
    assert finding.rows == 0
    assert "public.victim" in report.others


def test_the_reading_role_reads_and_every_write_is_refused(database: Engine) -> None:
    from pathlib import Path

    sql = (Path(__file__).parents[3] / "deployments/sql/source_role.sql").read_text()
    with database.begin() as connection:
        upstream.run(connection, upstream.TRAINING + "CREATE TABLE public.secret_of_later (id int);")
        for _ in range(2):  # running it again changes nothing
            upstream.run(connection, sql)
        connection.exec_driver_sql("CREATE TABLE trading.made_later (id int)")
    reader = create_engine(database.url.set(username="catalyst_ml_reader"))

    report = inspect_source(reader)[1]

    assert [finding.table for finding in report.findings] == ["trading.pattern_training_data"]
    assert report.closed == ()
    with reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM trading.made_later")).scalar() == 0
    for statement in (
        "INSERT INTO trading.made_later VALUES (1)",
        "UPDATE trading.pattern_training_data SET pattern_success = true",
        "DELETE FROM trading.pattern_training_data",
        "TRUNCATE trading.pattern_training_data",
        "DROP TABLE trading.pattern_training_data",
        "CREATE TABLE public.mine (id int)",
    ):
        for begin in ("SELECT 1", "SET TRANSACTION READ WRITE"):  # as it comes, and with its guard switched off
            with reader.connect() as connection:
                connection.exec_driver_sql(begin)
                with pytest.raises(DBAPIError, match=r"read-only|permission denied|must be owner"):
                    connection.exec_driver_sql(statement)
    reader.dispose()


def test_a_role_without_grants_is_told_which_file_grants(database: Engine) -> None:
    with database.begin() as connection:
        upstream.run(connection, upstream.G1)
        connection.exec_driver_sql("DROP ROLE IF EXISTS nobody_here")
        connection.exec_driver_sql("CREATE ROLE nobody_here LOGIN")
    stranger = create_engine(database.url.set(username="nobody_here"))

    report = inspect_source(stranger)[1]

    assert "public.news_raw" in report.closed
    assert "source_role.sql" in report.to_text()
    assert any(m.subject == "news" and "may not be read" in m.why for m in report.missing)
    stranger.dispose()


def test_our_own_transaction_refuses_to_write(database: Engine) -> None:
    from catalyst_ml.store.source_engine import reading

    with pytest.raises(ConfigurationError, match="only reads"), reading(database) as connection:
        connection.exec_driver_sql("CREATE TABLE public.mine (id int)")

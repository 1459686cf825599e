from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from catalyst_ml.errors import CatalystError, ConfigurationError, SourceUnavailable
from tests.catalyst_ml.cli.command_line import catalyst, printed
from tests.catalyst_ml.store import upstream_schemas as upstream

SECRET = "pl4nted-secret"

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def source(database_template: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Engine]:
    """Makes a source database of its own, sets ``SOURCE_DATABASE_URL``, runs statements in it."""
    admin = create_engine(database_template, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS source_of_tests WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE source_of_tests")
    admin.dispose()
    url = make_url(database_template).set(database="source_of_tests")
    monkeypatch.setenv("SOURCE_DATABASE_URL", url.render_as_string(hide_password=False))
    engine = create_engine(url)

    def run(statements: str) -> Engine:
        with engine.begin() as connection:
            upstream.run(connection, statements)
        return engine

    return run


HOURLY = """
CREATE TABLE market_data (symbol varchar(10), timestamp timestamptz, timeframe varchar(10), open decimal(10,4),
    high decimal(10,4), low decimal(10,4), close decimal(10,4), volume bigint);
INSERT INTO market_data SELECT s, d, '1Hour', 10, 11, 9, 10, 100
FROM unnest(ARRAY['AAPL', 'MSFT']) s,
    generate_series(timestamptz '2025-03-03 14:30+00', '2025-03-03 20:00+00', '1 h') d;
INSERT INTO market_data SELECT s, '2025-03-03', '1Day', 10, 11, 9, 10, 600 FROM unnest(ARRAY['AAPL', 'MSFT']) s;
"""
STORIES = """
INSERT INTO news_raw (news_id, symbol, headline, source, published_timestamp, mentioned_tickers) VALUES
    ('1', 'AAPL', 'Apple beats earnings estimates', 'rss', '2025-03-03 13:00+00', '["AAPL", "MSFT", "CEO"]'),
    ('2', NULL, 'Microsoft to be upgraded to buy', 'rss', '2025-04-01 13:00+00', '["MSFT", "FTC"]'),
    ('3', NULL, 'Nothing of ours', 'rss', '2025-04-02 13:00+00', '["FTC"]'),
    ('4', 'AAPL', 'Apple beats earnings estimates', 'rss', '2025-03-03 13:00+00', '[]');
INSERT INTO scan_market_data (scan_id, symbol, scan_timestamp, sector) VALUES
    ('a', 'AAPL', '2025-03-03', 'Unknown'), ('b', 'AAPL', '2025-03-04', 'Technology'),
    ('c', 'MSFT', '2025-03-04', 'Unknown');
"""


def counts(engine_url: str, query: str) -> list[tuple[object, ...]]:
    engine = create_engine(engine_url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return rows


def test_a_pull_brings_bars_news_and_sectors_in_and_a_second_changes_nothing(
    source: Callable[[str], Engine], database_url: str
) -> None:
    source(upstream.G1 + upstream.G100_BARS.partition("CREATE TABLE market_data")[0] + HOURLY + STORIES)
    source(upstream.DAILY_BARS.format(table="security_data_daily"))

    first = json.loads(printed("source", "pull", "--dataset", "catalyst", "--json"))
    second = json.loads(printed("source", "pull", "--dataset", "catalyst", "--json"))

    lines = "SELECT timeframe, source, count(*) FROM catalyst_ml.named_bars GROUP BY 1, 2 ORDER BY 1, 2"
    assert counts(database_url, lines) == [
        ("1d", "public.market_data", 2), ("1d", "public.security_data_daily", 2 * 63), ("1h", "public.market_data", 12),
    ]  # fmt: skip
    assert counts(database_url, "SELECT symbol, headline FROM catalyst_ml.news ORDER BY published_at, symbol") == [
        ("AAPL", "Apple beats earnings estimates"),
        ("MSFT", "Apple beats earnings estimates"),
        ("MSFT", "Microsoft to be upgraded to buy"),
    ]
    assert counts(database_url, "SELECT symbol, sector, taxonomy FROM catalyst_ml.sectors") == [
        ("AAPL", "Technology", "catalyst")
    ]
    assert sum(report["new"] for report in first["imported"]) == 2 + 126 + 12 + 3 + 1
    assert sum(report["new"] + report["corrected"] for report in second["imported"]) == 0
    assert sum(pulled["fetched"] for pulled in second["pulled"]) == 0
    assert any("1 of 4 stories" in note for note in first["notes"])


def test_an_intraday_bar_counts_from_its_end_when_its_time_is_its_start(
    source: Callable[[str], Engine], database_url: str
) -> None:
    source(HOURLY)

    printed("source", "pull", "--dataset", "catalyst", "--timeframe", "1h")

    times = "SELECT min(ts) AT TIME ZONE 'UTC', max(ts) AT TIME ZONE 'UTC' FROM catalyst_ml.named_bars"
    ((first, last),) = counts(database_url, times)
    assert (str(first), str(last)) == ("2025-03-03 15:30:00", "2025-03-03 20:30:00")


def test_a_late_correction_becomes_known_when_it_is_pulled(source: Callable[[str], Engine], database_url: str) -> None:
    source(upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))
    printed("source", "pull", "--dataset", "catalyst", "--only", "bars")
    source("UPDATE security_data_daily SET close = 101.5 WHERE symbol = 'AAPL' AND timestamp = '2025-03-05'")

    output = printed("source", "pull", "--dataset", "catalyst", "--only", "bars", "--check-all")

    assert "1 changed" in output
    values = (
        "SELECT close FROM catalyst_ml.named_bars WHERE symbol = 'AAPL' AND ts::date = '2025-03-05' ORDER BY known_at"
    )
    assert counts(database_url, values) == [(101.05,), (101.5,)]


def test_bad_rows_are_refused_by_name_and_good_ones_go_on(source: Callable[[str], Engine], database_url: str) -> None:
    source(
        upstream.G100_BARS
        + """
        INSERT INTO security_data_daily (symbol, timestamp, open, high, low, close, volume) VALUES
            ('AAPL', '2025-03-05', 10, 11, 9, 10, 5), ('AAPL', '2025-03-05', 10, 11, 9, 10, 5),
            ('MSFT', '2025-03-05', 'NaN', 11, 9, 10, 5), ('MSFT', '2025-03-06', 10, 9, 11, 10, 5),
            (NULL, '2025-03-05', 10, 11, 9, 10, 5), ('MSFT', '2025-03-08', 10, 11, 9, 10, 5),
            ('MSFT', NULL, 1, 1, 1, 1, 1)
        """
    )

    reports = json.loads(printed("source", "pull", "--dataset", "catalyst", "--json"))["imported"]

    assert [sum(r[name] for r in reports) for name in ("read", "new", "repeated", "refused")] == [6, 1, 1, 4]
    assert counts(database_url, "SELECT count(*) FROM catalyst_ml.named_bars") == [(1,)]


def test_naive_intraday_times_are_read_in_the_zone_that_is_set(
    source: Callable[[str], Engine], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_TIMEZONE", "America/New_York")
    source(
        "CREATE TABLE candles_5min (ticker text, ts timestamp, o real, h real, l real, c real, v bigint);"
        "INSERT INTO candles_5min VALUES ('AAPL', '2025-03-05 09:30', 10, 11, 9, 10, 5)"
    )

    printed("source", "pull", "--dataset", "catalyst")

    assert counts(database_url, "SELECT timeframe, ts AT TIME ZONE 'UTC' FROM catalyst_ml.named_bars")[0][0] == "5m"
    assert (
        str(counts(database_url, "SELECT ts AT TIME ZONE 'UTC' FROM catalyst_ml.named_bars")[0][0])
        == "2025-03-05 14:35:00"
    )


def test_bars_that_do_not_say_their_length_are_left_with_advice(source: Callable[[str], Engine]) -> None:
    source(
        "CREATE TABLE ticks (symbol text, ts timestamptz, open real, high real, low real, close real, volume bigint);"
        "INSERT INTO ticks VALUES ('AAPL', '2025-03-05 15:00', 1, 1, 1, 1, 1)"
    )

    output = printed("source", "pull", "--dataset", "catalyst")

    assert "--timeframe" in output


def test_a_length_that_is_asked_for_is_not_put_on_bars_that_say_another(
    source: Callable[[str], Engine], database_url: str
) -> None:
    source(upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily"))

    printed("source", "pull", "--dataset", "catalyst", "--timeframe", "5m")

    assert counts(database_url, "SELECT count(*) FROM catalyst_ml.named_bars") == [(0,)]


def test_a_table_that_cannot_be_read_does_not_keep_the_others_out(
    source: Callable[[str], Engine], database_url: str
) -> None:
    source(HOURLY + "CREATE VIEW bars_1d AS SELECT symbol, timestamp, open, high, low, close, "
           "volume / (volume - volume) AS volume FROM market_data")  # fmt: skip

    result = catalyst("source", "pull", "--dataset", "catalyst", "--timeframe", "1h")

    assert result.exit_code == 1
    assert "public.bars_1d refused: " in result.output
    assert counts(database_url, "SELECT count(*) FROM catalyst_ml.named_bars") == [(12,)]


def test_a_table_whose_name_no_file_can_have_does_not_keep_the_others_out(
    source: Callable[[str], Engine], database_url: str
) -> None:
    source(
        HOURLY + 'CREATE TABLE "bars/1d" (LIKE market_data); INSERT INTO "bars/1d" SELECT * FROM market_data;'
        'CREATE SCHEMA "it\'s"; CREATE TABLE "it\'s"."qu""ote" (LIKE market_data);'
        'INSERT INTO "it\'s"."qu""ote" SELECT * FROM market_data'
    )

    result = catalyst("source", "pull", "--dataset", "catalyst", "--timeframe", "1h")

    assert result.exit_code == 1
    assert "public.bars/1d refused: " in result.output
    lines = "SELECT source, count(*) FROM catalyst_ml.named_bars GROUP BY 1 ORDER BY 1"
    assert counts(database_url, lines) == [("it's.qu\"ote", 12), ("public.market_data", 12)]


def test_a_session_that_is_stamped_on_two_days_is_refused_once_and_never_corrected_to_and_fro(
    source: Callable[[str], Engine], database_url: str
) -> None:
    source(
        upstream.G100_BARS
        + upstream.DAILY_BARS.format(table="security_data_daily")
        # The session of 31 March once more, with other values, as the evening of New York sees it: 1 April in UTC.
        + "INSERT INTO security_data_daily (symbol, timestamp, open, high, low, close, volume) "
        "VALUES ('AAPL', '2025-04-01 01:00+00', 100, 102, 99, 101.99, 7)"
    )

    for _ in range(3):
        printed("source", "pull", "--dataset", "catalyst", "--only", "bars")

    stored = "SELECT symbol, close FROM catalyst_ml.named_bars WHERE ts::date = '2025-03-31'"
    assert counts(database_url, stored) == [("MSFT", 101.31)]
    assert counts(database_url, "SELECT sum(rows_corrected) FROM catalyst_ml.imports") == [(0,)]
    refused = "SELECT rule, count(*) FROM catalyst_ml.refused_rows WHERE rule = 'key_is_unique' GROUP BY 1"
    assert counts(database_url, refused) == [("key_is_unique", 2)]


def test_a_story_without_a_source_is_stored_once_when_its_month_is_cut_otherwise(
    source: Callable[[str], Engine], database_url: str
) -> None:
    story = "INSERT INTO news_raw (news_id, symbol, headline, published_timestamp) VALUES"
    source(upstream.G1 + f"{story} ('1', 'AAPL', 'First of all', '2025-03-03 13:00+00')")
    printed("source", "pull", "--dataset", "catalyst")
    source(f"{story} ('2', 'AAPL', 'Second of all', '2025-03-04 13:00+00')")
    printed("source", "pull", "--dataset", "catalyst")
    source("UPDATE news_raw SET headline = headline WHERE news_id = '1'")
    printed("source", "pull", "--dataset", "catalyst", "--check-all")

    assert counts(database_url, "SELECT headline, source FROM catalyst_ml.news ORDER BY published_at") == [
        ("First of all", "public.news_raw"), ("Second of all", "public.news_raw"),
    ]  # fmt: skip


def test_a_lone_story_at_midnight_keeps_its_moment_when_others_join_it(
    source: Callable[[str], Engine], database_url: str
) -> None:
    story = "INSERT INTO news_raw (news_id, symbol, headline, published_timestamp) VALUES"
    source(upstream.G1 + f"{story} ('1', 'AAPL', 'At midnight', '2025-03-03 00:00+00')")
    printed("source", "pull", "--dataset", "catalyst")
    source(f"{story} ('2', 'AAPL', 'At noon', '2025-03-03 17:00+00')")

    printed("source", "pull", "--dataset", "catalyst")

    query = "SELECT headline, published_at AT TIME ZONE 'UTC', is_date_only FROM catalyst_ml.news ORDER BY headline"
    assert [(text, str(at), only) for text, at, only in counts(database_url, query)] == [
        ("At midnight", "2025-03-04 04:59:59.999999", True), ("At noon", "2025-03-03 17:00:00", False),
    ]  # fmt: skip


def test_pulling_again_enters_no_import_and_no_refused_row_again(
    source: Callable[[str], Engine], database_url: str
) -> None:
    source(
        upstream.G1 + upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily") + STORIES
        + "INSERT INTO news_raw (news_id, symbol, headline, published_timestamp) VALUES ('9', 'AAPL', '', '2025-03-03')"
    )  # fmt: skip
    entered = "SELECT count(*) FROM catalyst_ml.imports UNION ALL SELECT count(*) FROM catalyst_ml.refused_rows"
    printed("source", "pull", "--dataset", "catalyst")
    first = counts(database_url, entered)

    printed("source", "pull", "--dataset", "catalyst", "--check-all")

    assert counts(database_url, entered) == first
    assert first[1][0] > 0


def test_what_a_pull_cannot_use_and_what_is_gone_is_said(source: Callable[[str], Engine]) -> None:
    source(
        upstream.G100_BARS + upstream.DAILY_BARS.format(table="security_data_daily")
        + "INSERT INTO security_data_daily (symbol) VALUES ('AAPL');"
        "CREATE TABLE candles (symbol text, ts bigint, open real, high real, low real, close real, volume bigint);"
        "INSERT INTO candles VALUES ('AAPL', 1741185000, 1, 1, 1, 1, 1)"
    )  # fmt: skip
    first = json.loads(printed("source", "pull", "--dataset", "catalyst", "--json"))["notes"]
    source("DELETE FROM security_data_daily WHERE timestamp = '2025-05-28' AND symbol = 'AAPL'")
    second = json.loads(printed("source", "pull", "--dataset", "catalyst", "--json"))["notes"]

    assert "public.security_data_daily: 1 rows have no usable time and are not used" in first
    assert any("public.candles: column ts holds bigint, no dates or times, so none of its 1 rows" in n for n in first)
    assert any("public.security_data_daily: 1 rows are gone" in note for note in second)
    assert not any("are gone" in note for note in first)


def test_inspect_prints_what_is_missing_and_its_json_says_the_same(source: Callable[[str], Engine]) -> None:
    source(upstream.G3)

    shown, document = printed("source", "inspect"), json.loads(printed("source", "inspect", "--json"))

    assert "Missing, and what that costs" in shown
    assert {m["subject"] for m in document["missing"]} >= {"bars", "training"}
    assert all(f["generation"] for f in document["findings"])


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (f"postgresql://reader:{SECRET}@127.0.0.1:9/catalyst", SourceUnavailable),
        (f"postgresql://reader:{SECRET}@nowhere.invalid/catalyst", SourceUnavailable),
        (f"postgresql://reader:p@{SECRET}@127.0.0.1/catalyst", ConfigurationError),
        (f"postgresql://reader:{SECRET}@127.0.0.1:port/catalyst", ConfigurationError),
        (f"postgresql://reader:{SECRET}/x@127.0.0.1/catalyst", CatalystError),
        (f"mysql://reader:{SECRET}@127.0.0.1/catalyst", ConfigurationError),
        (SECRET, ConfigurationError),
        (f"postgresql://reader:{SECRET}@127.0.0.1:9/catalyst?sslmode=nonsense", CatalystError),
        ("", ConfigurationError),
    ],
)
def test_a_source_that_cannot_be_opened_is_one_message_without_secrets(
    url: str, error: type[CatalystError], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOURCE_DATABASE_URL", url)

    with pytest.raises(error) as failure:
        catalyst("source", "pull", "--dataset", "catalyst")

    assert SECRET not in f"{failure.value} {failure.value.__cause__} {caplog.text}"


def test_an_unset_source_says_which_variable() -> None:
    with pytest.raises(ConfigurationError, match="SOURCE_DATABASE_URL is not set"):
        catalyst("source", "inspect")


def test_a_secret_reaches_neither_reports_nor_snapshots(
    source: Callable[[str], Engine], database_template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = source(upstream.G1 + HOURLY)
    monkeypatch.setenv(
        "SOURCE_DATABASE_URL", engine.url.set(password=SECRET).render_as_string(hide_password=False)
    )  # the server asks for none

    output = printed("source", "inspect", "--json") + printed("source", "pull", "--dataset", "catalyst", "--json")

    assert SECRET not in output
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]

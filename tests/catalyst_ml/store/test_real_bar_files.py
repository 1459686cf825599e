"""Every bar file of the data folder, imported: the reports say what its README counts."""

from __future__ import annotations

import os
from datetime import UTC, date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text

from catalyst_ml.market.bar_files import open_bar_file
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import parse_timeframe
from catalyst_ml.store.bar_import import import_bars
from catalyst_ml.store.bar_source import BarFileReport
from catalyst_ml.store.bars import extract_bars

pytestmark = [pytest.mark.real_data, pytest.mark.server]

NOW = pd.Timestamp("2026-01-02", tz="UTC")


@pytest.fixture(scope="module")
def folder() -> Path:
    value = os.environ.get("CATALYST_MARKET_DATA")
    if not value:
        pytest.skip("CATALYST_MARKET_DATA is not set")
    return Path(value)


@pytest.fixture(scope="module")
def calendar() -> TradingCalendar:
    return TradingCalendar()


def take(
    engine: Engine,
    path: Path,
    calendar: TradingCalendar,
    *,
    timeframe: str = "1d",
    said: dict | None = None,
    **reading: Any,
) -> BarFileReport:
    length = parse_timeframe(timeframe)
    file = open_bar_file(path, timeframe=length, calendar=calendar, now=NOW, **reading)
    return import_bars(engine, [file], dataset="real", timeframe=length.name, now=NOW, **(said or {})).files[0]


def clean(n_rows: int, **others: int) -> dict[str, int]:
    zero = dict.fromkeys(("unchanged", "corrected", "repeated", "refused", "out_of_order", "irregular"), 0)
    return {"read": n_rows, "new": n_rows} | zero | others


def told(report: BarFileReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in clean(0)}


@pytest.mark.parametrize(
    ("name", "n_rows", "n_symbols"),
    [("bars_daily", 783_644, 300), ("bars_daily_smallcap", 215_622, 97), ("bars_daily_recent", 12_720, 30)],
)
def test_a_daily_file_is_stored_row_by_row_and_value_by_value(
    database: Engine, folder: Path, calendar: TradingCalendar, name: str, n_rows: int, n_symbols: int
) -> None:
    path = folder / f"{name}.parquet"
    report = take(database, path, calendar)
    assert told(report) == clean(n_rows)
    assert any("PRICES LOOK ADJUSTED" in note for note in report.notes) == (name == "bars_daily_smallcap")

    stored = extract_bars(database, dataset="real", timeframe="1d", as_of=NOW)
    written = pd.read_parquet(path).sort_values(["symbol", "date"], ignore_index=True)
    assert stored["symbol"].nunique() == n_symbols
    assert (stored["symbol"].to_numpy() == written["symbol"].to_numpy()).all()
    sessions = stored["ts"].dt.tz_convert("America/New_York").dt.date
    assert (sessions.to_numpy() == written["date"].to_numpy()).all()
    for column in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(stored[column].to_numpy(), written[column].to_numpy())
    again = take(database, path, calendar)
    assert (again.recognised, again.unchanged, again.new) == (True, n_rows, 0)


def test_the_feed_becomes_the_history_its_archives_tell(
    database: Engine, folder: Path, calendar: TradingCalendar
) -> None:
    report = take(database, folder / "bars_feed.parquet", calendar)
    assert told(report) == clean(190_516, new=95_456, corrected=943, repeated=94_102, refused=15)
    assert report.refused_by_rule == {"date_is_a_session": 15}
    # The README counts the 9 pairs of the 15 holiday rows as well and their 4 duplicates; one more row of ours
    # differs from its twin in adj_close alone, which is not taken.
    assert (report.new + 9, report.exact_duplicates + 4 - 1) == (95_465, 1_435)
    assert (report.restated["close"], report.restated["volume"]) == (106, 782)

    feed = pd.read_parquet(folder / "bars_feed.parquet")
    feed = feed[calendar.is_session(pd.DatetimeIndex(feed["date"]).as_unit("us"))]
    for archive in (date(2015, 7, 1), date(2016, 2, 3)):
        known = feed[feed["archive_date"] <= archive]
        expected = known.sort_values("archive_date", kind="stable").groupby(["symbol", "date"]).last()
        as_of = calendar.closes(pd.DatetimeIndex([archive]))[0]
        seen = extract_bars(database, dataset="real", timeframe="1d", as_of=as_of)
        sessions = seen["ts"].dt.tz_convert("America/New_York").dt.date
        assert list(zip(seen["symbol"], sessions, strict=True)) == expected.index.tolist()
        for column in ("open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(seen[column].to_numpy(), expected[column].to_numpy())


def test_indices_are_taken_by_source_and_their_bad_rows_named(
    database: Engine, folder: Path, calendar: TradingCalendar
) -> None:
    options = {"volume_optional": True, "said": {"kind": "index"}}
    adjusted = {"volume_optional": True, "said": {"kind": "index", "prices": "adjusted"}, "source": "slow-turtle"}
    path = folder / "index_daily.parquet"
    assert told(take(database, path, calendar, **adjusted)) == clean(26_368)
    reports = {name: take(database, path, calendar, source=name, **options) for name in ("lean", "stockdatasave")}
    assert {name: report.new for name, report in reports.items()} == {"lean": 2_872, "stockdatasave": 424}
    vix = take(database, path, calendar, source="finance-vix", **options)
    assert (vix.read, vix.new) == (3_309, 3_295)
    assert vix.refused_by_rule == {"date_is_a_session": 13, "high_is_not_below_open_or_close": 1}
    with database.connect() as connection:
        query = text("SELECT source, price_basis FROM catalyst_ml.bar_lines ORDER BY 1")
        basis = {source: prices for source, prices in connection.execute(query)}
    assert basis == {"finance-vix": "raw", "lean": "raw", "slow-turtle": "adjusted", "stockdatasave": "raw"}


@pytest.mark.parametrize(
    ("source", "timeframe", "n_rows", "first", "last"),
    [
        ("alert_overlay", "1m", 108_303, "2025-09-15 13:31", "2025-12-05 21:00"),
        ("alert_overlay", "5m", 623_211, "2025-04-24 13:35", "2025-12-05 22:00"),
        ("lean", "1m", 13_163, "2008-03-07 13:55", "2015-12-29 00:47"),
        ("lean", "1h", 60_141, "2005-01-03 15:00", "2016-05-31 20:00"),
        ("orb", "5m", 91_281, "2025-06-04 08:05", "2025-08-29 00:00"),
    ],
)
def test_intraday_bars_are_taken_by_source_and_those_outside_the_session_marked(
    database: Engine,
    folder: Path,
    calendar: TradingCalendar,
    source: str,
    timeframe: str,
    n_rows: int,
    first: str,
    last: str,
) -> None:
    path = folder / "bars_intraday.parquet"
    report = take(database, path, calendar, timeframe=timeframe, source=source, stamp="start")

    # By hand: a bar is regular if it overlaps 09:30 to 16:00 in New York, 13:00 on early closes.
    minutes = parse_timeframe(timeframe).minutes
    rows = pq.read_table(path, columns=["ts"], filters=[("source", "==", source), ("interval_min", "==", minutes)])
    start = pd.DatetimeIndex(rows["ts"].to_pandas()).tz_convert("America/New_York").tz_localize(None)
    begin = start.hour * 60 + start.minute
    sessions = calendar.sessions(date(2005, 1, 1), date(2025, 12, 31))
    early = sessions[calendar.closes(sessions).tz_convert("America/New_York").hour < 16]
    outside = (begin + minutes <= 570) | (begin >= np.where(start.normalize().isin(early), 780, 960))
    assert told(report) == clean(n_rows, irregular=int(outside.sum()))
    assert report.read + report.skipped == 896_099

    query = text("SELECT min(ts), max(ts), count(*) FILTER (WHERE NOT is_regular) FROM catalyst_ml.bars")
    with database.connect() as connection:
        *span, n_irregular = connection.execute(query).one()
    assert ([f"{ts.astimezone(UTC):%Y-%m-%d %H:%M}" for ts in span], n_irregular) == ([first, last], report.irregular)
    if source == "orb":
        assert round(report.irregular / n_rows, 2) == 0.59


def test_coins_trade_around_the_clock(database: Engine, folder: Path) -> None:
    always = TradingCalendar("24/7", start=date(2017, 1, 1), end=date(2026, 12, 31))
    path = folder / "crypto_ohlcv.parquet"
    reports = [take(database, path, always, timeframe=t, stamp="start") for t in ("1m", "5m", "30m")]
    assert [told(report) for report in reports] == [clean(report.read) for report in reports]
    assert sum(report.read for report in reports) == 39_438
    # The file's own gap: 717 minutes between its first and last bar are absent.
    minutes = extract_bars(database, dataset="real", timeframe="1m", as_of=NOW)["ts"]
    assert (minutes.max() - minutes.min()) // pd.Timedelta(minutes=1) + 1 - len(minutes) == 717


def test_the_raw_sample_is_taken_out_of_order_with_its_mark_and_day_first_dates(
    database: Engine, folder: Path, calendar: TradingCalendar
) -> None:
    report = take(database, folder / "raw_sample.csv", calendar)
    written = pd.read_csv(folder / "raw_sample.csv")
    written["date"] = pd.to_datetime(written["date"], format="%d/%m/%Y")
    back = (written.groupby("symbol")["date"].diff() < pd.Timedelta(0)).sum()
    assert told(report) == clean(24_192, out_of_order=int(back))

    stored = extract_bars(database, dataset="real", timeframe="1d", as_of=NOW)
    written = written.sort_values(["symbol", "date"], ignore_index=True)
    assert (stored["ts"].dt.tz_convert("America/New_York").dt.date == written["date"].dt.date).all()
    columns = {"open": "open", "close": "close", "volume": "volume", "split_factor": "split_coefficient"}
    for ours, theirs in columns.items():
        np.testing.assert_array_equal(stored[ours].to_numpy(), written[theirs].to_numpy(dtype=float))
    assert (stored["split_factor"] != 1.0).sum() == 8
    assert (stored["volume"] == 0).sum() == 2

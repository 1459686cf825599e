from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.market.bar_files import BarFile, open_bar_file
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import parse_timeframe
from catalyst_ml.refused_rows import RefusedRow

NOW = pd.Timestamp("2015-12-01 12:00", tz="UTC")
HEADER = "symbol,date,open,high,low,close,volume"


@pytest.fixture(scope="module")
def calendar() -> TradingCalendar:
    return TradingCalendar(start=date(2010, 1, 1), end=date(2020, 12, 31))


def open_text(
    tmp_path: Path, calendar: TradingCalendar, content: str | bytes, name: str = "bars.csv", **options
) -> BarFile:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    timeframe = parse_timeframe(options.pop("timeframe", "1d"))
    return open_bar_file(path, timeframe=timeframe, calendar=calendar, now=NOW, **options)


def read(file: BarFile) -> tuple[pd.DataFrame, list[RefusedRow]]:
    batches = list(file.batches())
    bars = pd.concat([batch.bars for batch in batches], ignore_index=True)
    return bars, [row for batch in batches for row in batch.refused]


def day(row: str, symbol: str = "IBM") -> str:
    return f"{symbol},{row},10,12,9,11,100"


def test_daily_dates_become_the_close_of_their_session(tmp_path: Path, calendar: TradingCalendar) -> None:
    file = open_text(tmp_path, calendar, f"{HEADER}\n{day('2015-11-25')}\n{day('2015-11-27')}\n")
    bars, refused = read(file)
    assert [f"{ts:%d %H:%M}" for ts in bars["ts"]] == ["25 21:00", "27 18:00"]
    assert (refused, bars["row"].tolist(), bars["split_factor"].tolist()) == ([], [2, 3], [1.0, 1.0])
    assert bars[["open", "high", "low", "close", "volume"]].to_numpy().tolist()[0] == [10, 12, 9, 11, 100]


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("Ticker;Datetime;O;H;L;C;V;Adj Close;Stock Splits", "ibm;2015-11-25;10;12;9;11;100;5.5;0"),
        ("Symbol\tDate\tOpen\tHigh\tLow\tClose\tVolume\tsplit_coefficient", "IBM\t20151125\t10\t12\t9\t11\t1e2\t1"),
        (
            '"Symbol","Date","Open","High","Low","Close","Volume"',
            '"IBM","2015-11-25T00:00:00Z","10","12","9","11","100"',
        ),
        ("symbol,timestamp,open,high,low,close,volume", "IBM,1448409600,10,12,9,11,100"),
        ("symbol,date,open,high,low,close,volume", "IBM,2015-11-25T05:00:00Z,10,12,9,11,100"),
    ],
)
def test_common_column_names_separators_and_date_formats_mean_the_same_bar(
    tmp_path: Path, calendar: TradingCalendar, header: str, line: str
) -> None:
    bars, refused = read(open_text(tmp_path, calendar, f"\ufeff{header}\r\n{line}\r\n"))
    assert refused == []
    (bar,) = bars.to_dict("records")
    assert bar["ts"] == pd.Timestamp("2015-11-25 21:00", tz="UTC")
    assert (bar["symbol"], bar["close"], bar["volume"], bar["split_factor"]) == ("IBM", 11.0, 100.0, 1.0)


def test_an_adjusted_close_is_named_and_not_used(tmp_path: Path, calendar: TradingCalendar) -> None:
    file = open_text(tmp_path, calendar, f"{HEADER},adj_close\n{day('2015-11-25')},5\n")
    assert read(file)[0]["close"].tolist() == [11.0]
    assert any("adj_close ignored" in note and "restated" in note for note in file.notes)


def test_one_symbol_per_file_takes_its_name(tmp_path: Path, calendar: TradingCalendar) -> None:
    content = "date,open,high,low,close,volume\n2015-11-25,10,12,9,11,100\n"
    path = tmp_path / "brk.b_1d.csv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    file = open_bar_file(path, timeframe=parse_timeframe("1d"), calendar=calendar, now=NOW)
    assert read(file)[0]["symbol"].tolist() == ["BRK.B"]


def test_one_row_proves_the_order_of_day_and_month_for_the_whole_file(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    day_first = open_text(tmp_path, calendar, f"{HEADER}\n{day('03/11/2015')}\n{day('25/11/2015')}\n")
    other = f"{HEADER}\n{day('11/03/2015')}\n{day('11/25/2015')}\n"
    month_first = open_text(tmp_path, calendar, other, "other.csv")
    assert [f"{ts:%m-%d}" for ts in read(day_first)[0]["ts"]] == ["11-03", "11-25"]
    assert [f"{ts:%m-%d}" for ts in read(month_first)[0]["ts"]] == ["11-03", "11-25"]


def test_ambiguous_dates_are_refused_until_the_format_is_given(tmp_path: Path, calendar: TradingCalendar) -> None:
    content = f"{HEADER}\n{day('03/04/2015')}\n{day('01/05/2015')}\n"
    with pytest.raises(DataContractError, match=r"ambiguous dates, first row 2 '03/04/2015'.*--date-format"):
        open_text(tmp_path, calendar, content)
    file = open_text(tmp_path, calendar, content, date_format="%m/%d/%Y")
    assert [f"{ts:%m-%d}" for ts in read(file)[0]["ts"]] == ["03-04", "01-05"]


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["25/11/2015", "11/25/2015"], "day and month change places, row 2 .* and row 3"),
        (["2015-11-25", "25/11/2015"], "two date formats in one column"),
        (["2015-11-24T21:00:00Z", "2015-11-25"], "with and without a zone are mixed"),
        (["2015-11-24T21:00:00Z", "2015-11-25T16:00:00-05:00"], "mixed time zones, row 2 .* and row 3"),
        (["yesterday", "tomorrow"], "no date could be read, first row 2 'yesterday'"),
    ],
)
def test_contradicting_dates_refuse_the_file_and_name_the_rows(
    tmp_path: Path, calendar: TradingCalendar, dates: list[str], message: str
) -> None:
    with pytest.raises(DataContractError, match=message):
        open_text(tmp_path, calendar, "\n".join([HEADER, *map(day, dates)]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file is empty"),
        (b" \n \n", "file is empty"),
        (HEADER.encode(), "header and no rows"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary content"),
        (b"caf\xe9 au lait, 12\n", "not UTF-8"),
        (b"Error Message: invalid API call. Please retry.\n", "no header of a table of bars"),
        (b"symbol,date,open,high,low,volume\nIBM,2015-11-25,1,2,1,5\n", "column 'close' is missing"),
        (b"symbol,date,open,open,high,low,close,volume\nIBM,2015-11-25,1,1,2,1,1,5\n", "occurs twice"),
        (b"PAR1 and then nothing", "not a readable Parquet file"),
    ],
)
def test_what_is_no_table_of_bars_is_refused_in_one_message_with_the_file(
    tmp_path: Path, calendar: TradingCalendar, content: bytes, message: str
) -> None:
    with pytest.raises(DataContractError, match=rf"^bars\.csv.*{message}"):
        open_text(tmp_path, calendar, content)


@pytest.mark.parametrize(
    ("line", "rule", "detail"),
    [
        ("IBM,2015-11-25,10,8,9,10,5", "high_is_not_below_low", "high 8.0 < low 9.0"),
        ("IBM,2015-11-25,10,10.5,9,11,5", "high_is_not_below_open_or_close", "close 11"),
        ("IBM,2015-11-25,10,12,9.5,9,5", "low_is_not_above_open_or_close", "low 9.5"),
        ("IBM,2015-11-25,0,12,0,9,5", "prices_are_positive", "open 0"),
        ("IBM,2015-11-25,10,12,9,11,-5", "volume_is_not_negative", "volume -5"),
        ("IBM,2015-11-25,10,inf,9,11,5", "numbers_are_finite", "high = inf"),
        ("IBM,2015-11-25,NaN,12,9,11,5", "numbers_are_finite", "open = nan"),
        ("IBM,2015-11-25,10,12,9,eleven,5", "numbers_are_readable", "close = 'eleven'"),
        ("IBM,2015-11-25,10,12,,11,5", "values_are_given", "low is empty"),
        ("IBM,2015-11-25,10,12,9,11,", "values_are_given", "volume is empty"),
        ("IBM,2015-11-26,10,12,9,11,5", "date_is_a_session", "exchange was closed"),
        ("IBM,2015-13-40,10,12,9,11,5", "date_is_readable", "2015-13-40"),
        ("IBM,9999-12-31,10,12,9,11,5", "date_is_readable", "9999-12-31"),
        ("IBM,2015-12-01,10,12,9,11,5", "bar_is_not_in_the_future", "2015-12-01 21:00"),
        (",2015-11-25,10,12,9,11,5", "symbol_is_given", "empty"),
        ("I\u200bM,2015-11-25,10,12,9,11,5", "symbol_is_readable", "got 'I\\u200bM'"),
        ("I" * 41 + ",2015-11-25,10,12,9,11,5", "symbol_is_readable", "got 'III"),
        ("IBM,2015-11-25,10,12,9,11,5,7", "row_has_every_field", "8 fields, expected 7"),
    ],
)
def test_a_bad_row_is_refused_by_name_with_its_row_number_and_good_rows_go_on(
    tmp_path: Path, calendar: TradingCalendar, line: str, rule: str, detail: str
) -> None:
    content = f"{HEADER}\n{day('2015-11-23')}\n\n{line}\n{day('2015-11-24')}\n"
    bars, refused = read(open_text(tmp_path, calendar, content))
    assert bars["row"].tolist() == [2, 5]
    (row,) = refused
    assert (row.file, row.row, row.rule) == ("bars.csv", 4, rule)
    assert detail in row.detail


def test_intraday_starts_are_moved_to_the_close_of_the_bar_but_not_past_the_session(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    content = f"{HEADER}\n{day('2015-11-25T14:30:00Z')}\n{day('2015-11-25T20:30:00Z')}\n{day('2015-11-27T17:30:00Z')}\n"
    starts = open_text(tmp_path, calendar, content, timeframe="1h", stamp="start")
    ends = open_text(tmp_path, calendar, content, timeframe="1h", stamp="end")
    assert [f"{ts:%H:%M}" for ts in read(starts)[0]["ts"]] == ["15:30", "21:00", "18:00"]
    assert [f"{ts:%H:%M}" for ts in read(ends)[0]["ts"]] == ["14:30", "20:30", "17:30"]


def intraday(tmp_path: Path, calendar: TradingCalendar, times: list[str], **options) -> list[tuple[str, bool]]:
    """Close (UTC) of bars at some times, and whether they are regular."""
    content = "\n".join([HEADER, *map(day, times)])
    bars, refused = read(open_text(tmp_path, calendar, content, **options))
    assert refused == []
    return [(f"{bar.ts:%m-%d %H:%M}", bool(bar.is_regular)) for bar in bars.itertuples()]


def test_bars_that_overlap_the_session_are_regular_and_end_with_it(tmp_path: Path, calendar: TradingCalendar) -> None:
    # Clock-hour bars of a vendor on a usual day (session 14:30 to 21:00 UTC) and on an early close (18:00).
    starts = ["2015-11-25T13:00Z", "2015-11-25T14:00Z", "2015-11-25T20:00Z", "2015-11-25T21:00Z", "2015-11-27T18:00Z"]
    assert intraday(tmp_path, calendar, starts, timeframe="1h", stamp="start") == [
        ("11-25 14:00", False),
        ("11-25 15:00", True),
        ("11-25 21:00", True),
        ("11-25 22:00", False),
        ("11-27 19:00", False),
    ]
    ends = ["2015-11-25T14:30Z", "2015-11-25T15:00Z", "2015-11-25T21:30Z", "2015-11-27T18:05Z"]
    assert intraday(tmp_path, calendar, ends, timeframe="1h", stamp="end") == [
        ("11-25 14:30", False),
        ("11-25 15:00", True),
        ("11-25 21:00", True),
        ("11-27 18:00", True),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [("2015-03-06", "2015-03-09"), ("2015-10-30", "2015-11-02")],
    ids=["clocks go forward", "clocks go back"],
)
def test_the_session_keeps_its_new_york_hours_when_the_clocks_change(
    tmp_path: Path, calendar: TradingCalendar, before: str, after: str
) -> None:
    hours = [f"{date} {clock}" for date in (before, after) for clock in ("09:25", "09:30", "15:55", "16:00")]
    found = intraday(
        tmp_path, calendar, hours, timeframe="5m", stamp="start", timezone="America/New_York", name=f"{before}.csv"
    )
    assert [regular for _, regular in found] == [False, True, True, False] * 2
    utc = {ts[6:] for ts, _ in found[:4]}, {ts[6:] for ts, _ in found[4:]}
    winter, summer = {"14:30", "14:35", "21:00", "21:05"}, {"13:30", "13:35", "20:00", "20:05"}
    assert utc == ((winter, summer) if before < "2015-06" else (summer, winter))


def test_a_market_that_never_closes_has_bars_at_weekends_and_days_that_end_at_midnight(tmp_path: Path) -> None:
    always = TradingCalendar("24/7", start=date(2017, 11, 1), end=date(2017, 12, 31))
    now = pd.Timestamp("2017-12-01", tz="UTC")
    path = tmp_path / "coins.csv"
    path.write_text(f"{HEADER}\n{day('2017-11-04')}\n{day('2017-11-05')}\n")
    days, refused = read(open_bar_file(path, timeframe=parse_timeframe("1d"), calendar=always, now=now))
    assert (days["ts"].dt.strftime("%d %H").tolist(), refused) == (["05 00", "06 00"], [])
    path.write_text(f"{HEADER}\n{day('2017-11-04T23:55Z')}\n{day('2017-11-05T00:00Z')}\n")
    five = open_bar_file(path, timeframe=parse_timeframe("5m"), stamp="start", calendar=always, now=now)
    bars = read(five)[0]
    assert bars["ts"].dt.strftime("%d %H:%M").tolist() == ["05 00:00", "05 00:05"]
    assert bars["is_regular"].all()


def test_intraday_needs_the_meaning_of_its_times_and_their_zone(tmp_path: Path, calendar: TradingCalendar) -> None:
    content = f"{HEADER}\n{day('2015-11-25 09:30')}\n"
    with pytest.raises(ConfigurationError, match="--stamp"):
        open_text(tmp_path, calendar, content, timeframe="5m")
    with pytest.raises(DataContractError, match=r"without a zone, first row 2.*--timezone"):
        open_text(tmp_path, calendar, content, timeframe="5m", stamp="start")
    file = open_text(tmp_path, calendar, content, timeframe="5m", stamp="start", timezone="America/New_York")
    assert read(file)[0]["ts"].tolist() == [pd.Timestamp("2015-11-25 14:35", tz="UTC")]


def test_daylight_saving_offsets_of_one_zone_are_no_mixture(tmp_path: Path, calendar: TradingCalendar) -> None:
    content = f"{HEADER}\n{day('2015-10-30T16:00:00-04:00')}\n{day('2015-11-02T16:00:00-05:00')}\n"
    file = open_text(tmp_path, calendar, content, timeframe="5m", stamp="end")
    assert [f"{ts:%H:%M}" for ts in read(file)[0]["ts"]] == ["20:00", "21:00"]


def test_an_intraday_file_declared_as_daily_is_refused(tmp_path: Path, calendar: TradingCalendar) -> None:
    lines = [day(f"2015-11-25T{14 + i // 12}:{i % 12 * 5:02d}:00Z") for i in range(6, 30)]
    with pytest.raises(DataContractError, match=r"different times of day .* --timeframe"):
        open_text(tmp_path, calendar, "\n".join([HEADER, *lines]))


def test_parquet_with_several_intervals_and_sources_is_filtered_or_refused(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    path = tmp_path / "bars.parquet"
    ts = pa.array(pd.DatetimeIndex(["2015-11-25 14:30", "2015-11-25 14:30", "2015-11-25 14:35"], tz="UTC"))
    prices = {name: [10.0, 10.0, 10.0] for name in ("open", "high", "low", "close", "volume")}
    columns = {"symbol": ["A", "A", "A"], "ts": ts, "interval_min": [1, 5, 5], "source": ["x", "x", "y"], **prices}
    pq.write_table(pa.table(columns), path)
    options = {"calendar": calendar, "now": NOW, "stamp": "start"}

    five = open_bar_file(path, timeframe=parse_timeframe("5min"), **options)
    assert read(five)[0][["source", "row"]].to_numpy().tolist() == [["x", 3], ["y", 4]]
    one_source = open_bar_file(path, timeframe=parse_timeframe("5m"), source="y", **options)
    assert read(one_source)[0]["row"].tolist() == [4]
    with pytest.raises(DataContractError, match=r"interval minutes \['1', '5'\]"):
        open_bar_file(path, timeframe=parse_timeframe("1h"), **options)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([date(2015, 11, 25), None], pa.date32()), "11-25 21:00"),
        (pa.array([np.datetime64("2015-11-25", "ns"), None], pa.timestamp("ns")), "11-25 21:00"),
        (pa.array([datetime(2015, 11, 25, 5, tzinfo=UTC), None], pa.timestamp("ms", "UTC")), "11-25 21:00"),
        # 02:00 UTC is the evening before in New York; midnight there is the date as written.
        (pa.array([datetime(2015, 11, 25, 2, tzinfo=UTC), None], pa.timestamp("us", "UTC")), "11-24 21:00"),
        (
            pa.array([datetime(2015, 11, 25, 5, tzinfo=UTC), None], pa.timestamp("us", "America/New_York")),
            "11-25 21:00",
        ),
        (pa.array([1_448_409_600, None]), "11-25 21:00"),
        (pa.array(["2015-11-25", None]).dictionary_encode(), "11-25 21:00"),
    ],
    ids=["date", "naive", "utc", "utc evening", "new york", "epoch", "dictionary"],
)
def test_every_type_of_time_in_parquet_means_its_session(
    tmp_path: Path, calendar: TradingCalendar, times: pa.Array, expected: str
) -> None:
    prices = {name: [10, 10] for name in ("open", "high", "low", "close", "volume")}
    pq.write_table(pa.table({"symbol": ["ibm ", "IBM"], "date": times, **prices}), tmp_path / "bars.parquet")
    file = open_bar_file(tmp_path / "bars.parquet", timeframe=parse_timeframe("1d"), calendar=calendar, now=NOW)
    bars, (refused,) = read(file)
    assert [(bar.symbol, f"{bar.ts:%m-%d %H:%M}", bar.row) for bar in bars.itertuples()] == [("IBM", expected, 2)]
    assert (refused.rule, refused.row, refused.symbol) == ("date_is_readable", 3, "IBM")


def known_since(tmp_path: Path, calendar: TradingCalendar, *archives: str) -> tuple[list[str], list[RefusedRow]]:
    lines = [f"{day('2015-11-25')},{archive}" for archive in archives]
    content = "\n".join([f"{HEADER},archive_date", *lines])
    bars, refused = read(open_text(tmp_path, calendar, content))
    return [f"{known:%m-%d %H:%M}" for known in bars["known_at"]], refused


def test_an_archive_date_means_the_close_of_its_session_and_never_before_the_bar(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    # An early close; a Saturday, which ends at midnight in New York; a date before the bar closed.
    known, refused = known_since(tmp_path, calendar, "2015-11-25", "2015-11-27", "2015-11-28", "2015-11-20")
    assert (known, refused) == (["11-25 21:00", "11-27 18:00", "11-29 05:00", "11-25 21:00"], [])


def test_an_archive_of_today_is_known_now_and_one_of_tomorrow_is_refused(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    known, refused = known_since(tmp_path, calendar, "2015-12-01", "2015-12-02", "soon")
    assert known == ["12-01 12:00"]
    rules = [(row.row, row.rule) for row in refused]
    assert rules == [(3, "known_at_is_not_in_the_future"), (4, "known_at_is_readable")]


def test_moments_of_publication_are_taken_as_they_are_and_need_a_zone(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    known, refused = known_since(tmp_path, calendar, "2015-11-26T03:30:00Z", "2015-11-26T00:00:00Z")
    assert (known, refused) == (["11-26 03:30", "11-26 00:00"], [])
    with pytest.raises(DataContractError, match=r"column 'archive_date': times without a zone, first row 2 .*03:30"):
        known_since(tmp_path, calendar, "2015-11-26 03:30:00")


def test_closes_that_are_no_whole_cents_are_told_apart(tmp_path: Path, calendar: TradingCalendar) -> None:
    # A 32-bit float of 11.1 is a whole cent, a split-adjusted price is none, below a dollar nobody can tell.
    closes = ["11", "11.100000381", "11.123457"]
    lines = [f"IBM,2015-11-{23 + i},10,12,9,{close},5" for i, close in enumerate(closes)]
    file = open_text(tmp_path, calendar, "\n".join([HEADER, *lines, "A,2015-11-23,0.5,0.6,0.4,0.5123,5"]))
    (batch,) = file.batches()
    assert batch.off_cent.tolist() == [False, False, True, False]


def test_columns_that_hold_no_numbers_and_sources_that_are_no_names_refuse_the_file(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    columns = {"symbol": ["A"], "date": [date(2015, 11, 25)], "high": [12], "low": [9], "close": [11], "volume": [5]}
    path = tmp_path / "bars.parquet"

    def batches(**others: list) -> list:
        pq.write_table(pa.table({**columns, **others}), path)
        return list(open_bar_file(path, timeframe=parse_timeframe("1d"), calendar=calendar, now=NOW).batches())

    with pytest.raises(DataContractError, match=r"bars\.parquet: column 'open' holds list<.*expected numbers"):
        batches(open=[[10.0]])
    with pytest.raises(DataContractError, match="is no name; expected up to 60 printable"):
        batches(open=[10], source=["x\0y"])
    (batch,) = batches(open=[10], symbol=[b"ibm"])
    assert batch.bars["symbol"].tolist() == ["IBM"]
    with pytest.raises(ConfigurationError, match="time zone 'Mars/Base' is not known"):
        open_bar_file(path, timeframe=parse_timeframe("1d"), calendar=calendar, now=NOW, timezone="Mars/Base")


def test_an_index_without_volume_is_taken_with_volume_zero(tmp_path: Path, calendar: TradingCalendar) -> None:
    content = "symbol,date,open,high,low,close\nSPX,2015-11-25,10,12,9,11\n"
    with pytest.raises(DataContractError, match="'volume' is missing"):
        open_text(tmp_path, calendar, content)
    assert read(open_text(tmp_path, calendar, content, volume_optional=True))[0]["volume"].tolist() == [0.0]


@pytest.mark.parametrize("text", ["1w", "0m", "5", "7h", "d"])
def test_an_unknown_timeframe_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected 1d"):
        parse_timeframe(text)

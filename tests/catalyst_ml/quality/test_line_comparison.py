"""Two lines of one dataset: one venue's volume and a later split show side by side."""

import pandas as pd

from catalyst_ml.quality.line_comparison import LineComparison, compare_lines
from tests.catalyst_ml.quality.dirty_bars import CALENDAR
from tests.catalyst_ml.quality.test_bar_suite import intraday


def rolled(bars: pd.DataFrame) -> pd.DataFrame:
    """The same bars as one daily bar each, by a plain loop."""
    rows = []
    for date, own in bars.groupby(bars["ts"].dt.tz_convert("America/New_York").dt.date):
        close = CALENDAR.closes(pd.DatetimeIndex([pd.Timestamp(date)]))[0]
        rows.append(own.iloc[-1].to_dict() | {"ts": close, "volume": own["volume"].sum()})
    return pd.DataFrame(rows).astype({"symbol": "str"})


def compare(short: pd.DataFrame, long: pd.DataFrame) -> LineComparison:
    return compare_lines(short, long, calendar=CALENDAR, short_minutes=5, long_minutes=None)


def failed(found: LineComparison) -> set[str]:
    return {rule.name for rule in found.result.rules if not rule.passed}


def test_the_same_bars_in_two_lengths_agree():
    found = compare(intraday(), rolled(intraday()))

    assert failed(found) == set()
    assert found.symbols[["n_sessions", "volume_ratio", "share_apart"]].to_numpy().tolist() == [[8, 1.0, 0.0]]


def test_one_venues_volume_and_prices_adjusted_for_a_later_split_are_named():
    daily = rolled(intraday())

    assert failed(compare(intraday().assign(volume=20.0), daily)) == {"both_lines_have_the_volume_of_the_market"}
    assert failed(compare(intraday(), daily.assign(close=daily["close"] * 7.0))) == {"closes_of_both_lines_agree"}


def test_volume_outside_regular_hours_does_not_count_and_too_few_sessions_are_not_judged():
    bars = intraday()
    late = bars.tail(1).assign(ts=bars["ts"].iloc[-1] + pd.Timedelta(hours=1), volume=1e9, close=1.0)

    assert failed(compare(pd.concat([bars, late], ignore_index=True), rolled(bars))) == set()
    assert compare(intraday(3), rolled(intraday(3))).symbols.empty

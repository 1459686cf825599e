from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.publication import end_of_day, known_after_release


def utc(index: pd.DatetimeIndex) -> list[str]:
    return index.strftime("%m-%d %H:%M:%S").tolist()


def test_a_day_ends_at_midnight_in_new_york_in_winter_and_in_summer() -> None:
    days = pd.DatetimeIndex(["2015-01-05", "2015-07-06", "2015-03-08", "2015-11-01"])  # the last two change the clock
    assert utc(end_of_day(days)) == ["01-06 04:59:59", "07-07 03:59:59", "03-09 03:59:59", "11-02 04:59:59"]
    assert end_of_day(days).tz_convert("America/New_York").normalize().tz_localize(None).equals(days.as_unit("us"))


def test_an_early_report_is_known_at_the_open_and_a_late_one_after_that_days_last_bar() -> None:
    days = pd.DatetimeIndex(["2015-03-04"] * 3)
    known = known_after_release(days, np.array(["pre", "post", None], dtype=object), TradingCalendar())
    close = pd.Timestamp("2015-03-04 21:00", tz="UTC")
    next_open = pd.Timestamp("2015-03-05 14:30", tz="UTC")
    assert known[0] == pd.Timestamp("2015-03-04 14:30", tz="UTC")
    assert all(close < moment < next_open for moment in known[1:])


def test_a_report_dated_on_a_day_without_session_is_known_at_its_end() -> None:
    days = pd.DatetimeIndex(["2015-03-07", "2015-04-03"])  # Saturday, Good Friday
    known = known_after_release(days, np.array(["pre", "pre"], dtype=object), TradingCalendar())
    assert known.equals(end_of_day(days))


def test_nothing_stays_nothing_and_the_end_of_time_is_no_error() -> None:
    ends = end_of_day(pd.DatetimeIndex(np.array(["NaT", "9999-12-31"], dtype="datetime64[us]")))
    assert ends[0] is pd.NaT
    assert ends[1] > pd.Timestamp("9000-01-01", tz="UTC").as_unit("us")

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.market.calendar import TradingCalendar


@pytest.fixture(scope="module")
def calendar() -> TradingCalendar:
    return TradingCalendar(start=date(2010, 1, 1), end=date(2020, 12, 31))


def test_thanksgiving_week_has_four_sessions_and_an_early_close(calendar: TradingCalendar) -> None:
    sessions = calendar.sessions(date(2015, 11, 23), date(2015, 11, 29))
    assert [day.day for day in sessions] == [23, 24, 25, 27]
    assert calendar.closes(sessions)[-1] == pd.Timestamp("2015-11-27 18:00", tz="UTC")
    assert calendar.opens(sessions)[-1] == pd.Timestamp("2015-11-27 14:30", tz="UTC")
    assert (str(sessions.dtype), str(calendar.closes(sessions).dtype)) == ("datetime64[us]", "datetime64[us, UTC]")


def test_closes_follow_daylight_saving(calendar: TradingCalendar) -> None:
    closes = calendar.closes(pd.DatetimeIndex(["2015-03-06", "2015-03-09"]))
    assert [close.hour for close in closes] == [21, 20]


def test_a_moment_belongs_to_the_session_of_its_new_york_date_until_the_close(calendar: TradingCalendar) -> None:
    moments = pd.Series(
        pd.DatetimeIndex(
            [
                "2015-11-27 18:00",  # the early close itself
                "2015-11-27 18:01",  # after it
                "2015-11-27 09:00",  # before the open
                "2015-11-28 15:00",  # Saturday
                "2015-11-30 02:00",  # Sunday evening in New York
                None,
            ],
            tz="UTC",
        )
    )
    expected = [pd.Timestamp("2015-11-27"), pd.NaT, pd.Timestamp("2015-11-27"), pd.NaT, pd.NaT, pd.NaT]
    assert calendar.session_of(moments).equals(pd.DatetimeIndex(expected).as_unit("us"))


def test_shifting_counts_sessions_not_days(calendar: TradingCalendar) -> None:
    friday = pd.DatetimeIndex(["2015-11-25"])
    assert calendar.shift(friday, 2)[0] == pd.Timestamp("2015-11-30")
    assert calendar.shift(calendar.shift(friday, 2), -2).equals(friday.as_unit("us"))


def test_the_last_close_is_the_one_at_the_moment_or_before_it(calendar: TradingCalendar) -> None:
    close = pd.Timestamp("2015-11-27 18:00", tz="UTC")
    assert calendar.last_close_at_or_before(close) == close
    just_before = calendar.last_close_at_or_before(close - pd.Timedelta(microseconds=1))
    assert just_before == pd.Timestamp("2015-11-25 21:00", tz="UTC")


def test_questions_outside_the_calendar_are_refused(calendar: TradingCalendar) -> None:
    with pytest.raises(DataContractError, match=r"no sessions, first 2015-11-26"):
        calendar.closes(pd.DatetimeIndex(["2015-11-25", "2015-11-26"]))
    with pytest.raises(DataContractError, match="wider range"):
        calendar.shift(pd.DatetimeIndex(["2020-12-31"]), 1)
    with pytest.raises(DataContractError, match="wider range"):
        calendar.last_close_at_or_before(pd.Timestamp("2021-01-05", tz="UTC"))


def test_a_day_that_never_closes_ends_at_the_midnight_after_it() -> None:
    always = TradingCalendar("24/7", start=date(2017, 1, 1), end=date(2017, 12, 31))
    saturday = pd.DatetimeIndex(["2017-11-04"])
    assert always.closes(saturday)[0] == pd.Timestamp("2017-11-05", tz="UTC")
    moments = pd.DatetimeIndex(["2017-11-05 00:00", "2017-11-05 00:01"], tz="UTC")
    assert [f"{session:%m-%d}" for session in always.session_of(moments)] == ["11-04", "11-05"]


def test_an_unknown_calendar_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'NYSE-ish' is not known; expected XNYS.*XLON"):
        TradingCalendar("NYSE-ish")

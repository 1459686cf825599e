"""Which closes a back-test stands at, and when what followed is known."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market.backtest_weeks import LABEL_SESSIONS, backtest_weeks
from catalyst_ml.market.calendar import TradingCalendar

CALENDAR = TradingCalendar()
NEWEST = pd.Timestamp("2016-05-31T20:00", tz="UTC")


def days(closes) -> list[str]:
    return [f"{close:%Y-%m-%d}" for close in closes]


def test_each_week_ends_at_its_last_close_a_holiday_moves_it() -> None:
    found = backtest_weeks(CALENDAR, newest=NEWEST, since="2015-03-23", until="2015-04-17")

    # Good Friday was the 3rd of April.
    assert days(found.weeks) == ["2015-03-27", "2015-04-02", "2015-04-10", "2015-04-17"]
    assert days([found.end, found.settled_at]) == ["2015-04-24", "2015-05-01"]
    assert found.pending == ()


def test_a_week_that_is_not_over_is_not_decided_yet() -> None:
    assert days(backtest_weeks(CALENDAR, newest=NEWEST, since="2015-11-02", until="2015-11-12").weeks) == ["2015-11-06"]
    # The newest bar is a Tuesday's.
    assert days(backtest_weeks(CALENDAR, newest=NEWEST, since="2016-05-16").weeks) == ["2016-05-20", "2016-05-27"]


def test_every_other_week_acts_for_two() -> None:
    found = backtest_weeks(CALENDAR, newest=NEWEST, since="2015-11-02", until="2015-12-04", every=2)

    assert days(found.weeks) == ["2015-11-06", "2015-11-20", "2015-12-04"]
    assert days([found.end]) == ["2015-12-18"]


def test_where_the_data_ends_the_last_weeks_are_pending() -> None:
    found = backtest_weeks(CALENDAR, newest=NEWEST, since="2016-05-09")

    assert days(found.weeks) == ["2016-05-13", "2016-05-20", "2016-05-27"]
    # Events of the week up to the 20th are settled on the 27th; those up to the 27th on the 6th of June.
    assert days(found.pending) == ["2016-05-20", "2016-05-27"]
    assert found.settled_at == found.end == NEWEST


@settings(max_examples=40, deadline=None)
@given(first=st.integers(0, 1_500), length=st.integers(14, 400), every=st.integers(1, 8), behind=st.integers(0, 60))
def test_nothing_is_pending_that_is_surely_known_and_nothing_else_is_not(first, length, every, behind) -> None:
    since = pd.Timestamp("2010-01-04") + pd.Timedelta(days=first)
    until = since + pd.Timedelta(days=length)
    newest = CALENDAR.last_close_at_or_before((until + pd.Timedelta(days=behind)).tz_localize("UTC"))

    found = backtest_weeks(CALENDAR, newest=newest, since=since.date(), until=until.date(), every=every)

    moments = [*found.weeks, found.end]
    assert moments == sorted(moments)
    for week, following in zip(found.weeks, moments[1:], strict=True):
        session = CALENDAR.session_of(pd.DatetimeIndex([following]))
        known_at = CALENDAR.closes(CALENDAR.shift(session, LABEL_SESSIONS))[0]
        assert (week in found.pending) == (known_at > newest)
        assert week in found.pending or known_at <= found.settled_at
    assert found.settled_at <= newest


def test_a_range_without_a_whole_week_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no whole week"):
        backtest_weeks(CALENDAR, newest=NEWEST, since="2015-11-03", until="2015-11-05")
    with pytest.raises(ConfigurationError, match="every=0"):
        backtest_weeks(CALENDAR, newest=NEWEST, since="2015-11-03", every=0)

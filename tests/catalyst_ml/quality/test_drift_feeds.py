from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.quality.drift_alarms import budget, feed_report
from catalyst_ml.quality.drift_feeds import feed_state

CALENDAR = pd.bdate_range("2024-01-01", periods=504)
ALPHA = budget("feed", 2)


def test_a_feed_that_never_missed_a_session_alarms_on_the_second_silent_one() -> None:
    states = [feed_state("bars", CALENDAR[: 504 - k], CALENDAR, ALPHA) for k in range(4)]

    assert [state.silent_sessions for state in states] == [0, 1, 2, 3]
    assert [finding.alarms for finding in feed_report(states[:2]).findings] == [False, False]
    assert [finding.alarms for finding in feed_report(states[2:]).findings] == [True, True]
    assert (states[0].usual, states[0].bound) == ("never silent in 504 sessions", 2)


def test_an_import_that_is_one_session_late_is_no_alarm_however_long_the_history() -> None:
    calendar = pd.bdate_range("2005-01-03", periods=5_000)
    late, gone = (feed_state("bars", calendar[:-k], calendar, ALPHA) for k in (1, 2))

    assert [finding.alarms for finding in feed_report([late, gone]).findings] == [False, True]
    assert (late.bound, gone.bound) == (2, 2)


def test_a_feed_that_is_often_quiet_is_given_as_much_time_as_it_usually_takes() -> None:
    rng = np.random.default_rng(0)
    filled = rng.random(504) < 0.6
    filled[0] = filled[-12] = True
    filled[-11:] = False
    steady, sparse = (feed_state("news", CALENDAR[mask], CALENDAR, ALPHA) for mask in (np.arange(504) < 493, filled))

    assert (steady.p or 0.0) < 1e-5 < (sparse.p or 0.0)
    assert (sparse.bound or 0) > (steady.bound or 99)


def test_the_bound_is_the_first_length_that_alarms() -> None:
    filled = np.ones(504, dtype=bool)
    filled[[50, 51, 200, 300]] = False
    bound = feed_state("news", CALENDAR[filled], CALENDAR, ALPHA).bound
    assert bound is not None

    p = []
    for silent in (bound - 1, bound):
        rows = CALENDAR[filled & (np.arange(504) < 504 - silent)]
        p.append(feed_state("news", rows, CALENDAR, ALPHA).p or 0.0)

    assert p[0] > ALPHA >= p[1]


def test_the_sessions_before_the_first_row_are_not_held_against_a_feed() -> None:
    state = feed_state("news", CALENDAR[300:], CALENDAR, ALPHA)

    assert (state.n_sessions, state.usual) == (204, "never silent in 204 sessions")


def test_a_feed_without_rows_or_with_a_short_history_is_not_judged_and_says_so() -> None:
    none, young = feed_state("news", CALENDAR[:0], CALENDAR, ALPHA), feed_state("vix", CALENDAR[-30:], CALENDAR, ALPHA)
    report = feed_report([none, young])

    assert report.findings == ()
    assert [reason.split(":")[0] for reason in report.unjudged] == ["feed news", "feed vix"]
    assert "30 sessions of history are too few" in report.unjudged[1]


def test_an_alarm_of_a_feed_names_its_last_session() -> None:
    (finding,) = feed_report([feed_state("bars", CALENDAR[:490], CALENDAR, budget("feed", 1))]).findings

    assert finding.alarms
    assert finding.meaning == f"bars: silent for 14 sessions, last {CALENDAR[489].date()}; never silent in 490 sessions"
    assert finding.value > finding.bound


def test_a_calendar_out_of_order_is_refused() -> None:
    with pytest.raises(DataContractError, match="not ascending"):
        feed_state("bars", CALENDAR, CALENDAR[::-1], ALPHA)

from __future__ import annotations

import pandas as pd
import pytest

from catalyst_ml.evaluation.drift_watch import watch_feeds
from catalyst_ml.market.calendar import TradingCalendar

CALENDAR = TradingCalendar()
SESSIONS = CALENDAR.sessions(pd.Timestamp("2024-01-02"), pd.Timestamp("2025-11-26"))
CLOSES = pd.Series(CALENDAR.closes(SESSIONS))


def silent(moments: pd.Series, until: str) -> float:
    (finding,) = watch_feeds({"feed": moments}, pd.Timestamp(until), CALENDAR).findings
    return finding.value


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2025-11-26T22:30:00Z", 0),  # Wednesday evening, all there
        ("2025-11-28T13:00:00Z", 0),  # over Thanksgiving, before Friday's close
        ("2025-11-28T19:00:00Z", 1),  # after the early close of the Friday that is missing
        ("2025-11-30T12:00:00Z", 1),  # Sunday
        ("2025-12-01T22:00:00Z", 2),
    ],
)
def test_silence_is_counted_in_sessions_that_have_closed(until: str, expected: int) -> None:
    assert silent(CLOSES, until) == expected


def test_news_of_an_evening_a_weekend_or_a_holiday_belong_to_the_next_close() -> None:
    # A story every evening at 23:00 UTC, Sundays included, keeps each next session filled.
    evenings = pd.Series(pd.date_range("2024-01-02T23:00Z", "2025-11-25T23:00Z", freq="D"))

    assert silent(evenings, "2025-11-26T21:30:00Z") == 0
    assert silent(evenings, "2025-11-28T21:30:00Z") == 1
    fresh = pd.concat([evenings, pd.Series([pd.Timestamp("2025-11-28T21:10Z")])])
    assert silent(fresh, "2025-11-28T21:30:00Z") == 0, "a story after the close is no silence"


def test_what_comes_after_the_moment_is_not_known_and_a_feed_without_rows_is_not_judged() -> None:
    assert silent(CLOSES, "2025-11-20T22:00:00Z") == 0
    assert silent(pd.concat([CLOSES[:-10], CLOSES[-2:]]), "2025-11-20T22:00:00Z") == 6
    report = watch_feeds({"news": CLOSES[:0]}, pd.Timestamp("2025-11-26T22:00:00Z"), CALENDAR)

    assert report.findings == ()
    assert "no row yet" in report.unjudged[0]

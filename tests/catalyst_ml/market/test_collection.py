"""Which closes are collected: of the exchange, known, and the last of each period."""

from __future__ import annotations

import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market.collection import closes_to_collect, on_bars
from tests.catalyst_ml.market.bar_frames import CALENDAR, CLOSES, QUIET, make_bars

MIDDAY = pd.Timestamp("2015-11-27T15:00", tz="UTC")
"""Friday after Thanksgiving, before its early close at 18:00 UTC."""


def test_without_a_range_it_is_the_last_known_close() -> None:
    (close,) = closes_to_collect(CALENDAR, newest=MIDDAY, since=None, until=None, every="month")

    assert close == pd.Timestamp("2015-11-25T21:00", tz="UTC")


def test_a_backfill_takes_the_last_session_of_each_month_and_what_is_known_of_the_last() -> None:
    closes = closes_to_collect(CALENDAR, newest=MIDDAY, since="2015-09-15", until="2015-11-30", every="month")

    assert [f"{close:%m-%d %H:%M}" for close in closes] == ["09-30 20:00", "10-30 20:00", "11-25 21:00"]


def test_a_week_ends_with_its_early_close() -> None:
    evening = MIDDAY + pd.Timedelta(hours=6)

    closes = closes_to_collect(CALENDAR, newest=evening, since="2015-11-16", until="2015-11-30", every="week")

    assert [f"{close:%m-%d %H:%M}" for close in closes] == ["11-20 21:00", "11-27 18:00"]


def test_by_session_every_close_of_the_range_comes_once() -> None:
    closes = closes_to_collect(CALENDAR, newest=MIDDAY, since="2015-11-23", until="2015-11-25", every="session")

    assert [f"{close:%m-%d}" for close in closes] == ["11-23", "11-24", "11-25"]


@pytest.mark.parametrize(
    ("since", "until"), [("2015-11-26", "2015-11-26"), ("2015-11-20", "2015-11-19"), ("2015-12-01", None)]
)
def test_a_range_without_a_known_close_is_refused_with_the_newest_one(since: str, until: str | None) -> None:
    with pytest.raises(ConfigurationError, match="2015-11-25T21:00"):
        closes_to_collect(CALENDAR, newest=MIDDAY, since=since, until=until, every="session")


def test_an_event_whose_bar_is_gone_is_left_out() -> None:
    bars = make_bars([QUIET] * 3)
    events = pd.DataFrame({"symbol": ["AAA", "AAA", "BBB"], "ts": [CLOSES[1], CLOSES[5], CLOSES[1]]})

    assert on_bars(events, bars)["ts"].tolist() == [CLOSES[1]]

"""Suspected price breaks in the bars that came: an event that training would hold out is judged by no model here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.event_rows import microseconds
from catalyst_ml.market.price_breaks import MAX_RANGE_TO_GAP, MIN_GAP, sessions_of, suspected_breaks
from catalyst_ml.market.timeframes import DAILY
from catalyst_ml.quality.exposure import MEMORY_BARS, exposure_of


def breaks_seen(
    events: pd.DataFrame,
    bars: pd.DataFrame,
    *,
    timeframe: str,
    calendar: TradingCalendar,
    released: pd.DataFrame | None = None,
) -> list[str]:
    """Say of each event which break its history holds, by the criterion and the memory of training.

    Parameters
    ----------
    events : EVENTS
    bars : BARS
        Adjusted bars, the events' symbols among them, sorted by symbol and ts.
    released : DataFrame, optional
        ``symbol`` and ``ts`` of bars that a person called real (``store.quarantine``).

    Returns
    -------
    list of str
        The reason in words, one per event in their order; empty where there is no break.
    """
    own = bars[bars["symbol"].isin(events["symbol"].unique())].reset_index(drop=True)
    daily = own if timeframe == DAILY else sessions_of(own, calendar=calendar)
    if not may_hold_a_break(daily):
        return [""] * len(events)
    breaks = suspected_breaks(daily)
    if released is not None and len(released) and len(breaks):
        real = set(zip(released["symbol"], microseconds(released["ts"]), strict=True))
        is_real = [key in real for key in zip(breaks["symbol"], microseconds(breaks["ts"]), strict=True)]
        breaks = breaks[[not one for one in is_real]]
    if breaks.empty:
        return [""] * len(events)
    # What is ahead of the last bar nobody knows yet: the history alone counts.
    seen = exposure_of(events[["symbol", "ts"]], breaks, own, calendar=calendar, horizon_sessions=0)
    about = {(one["symbol"], one["ts"]): one for one in breaks.to_dict("records")}
    return [
        _told(about[symbol, at]) if where else ""
        for symbol, at, where in zip(events["symbol"], seen["break_ts"], seen["where"], strict=True)
    ]


def may_hold_a_break(bars: pd.DataFrame) -> bool:
    """False if no bar opens far from the close before and then trades calmly; the whole criterion takes 7 ms to say so.

    Needed for a break, not enough: from one symbol to the next there is a jump too, and turnover is not looked at.
    Adjusted bars carry no factor that could be bogus.
    """
    opened, high, low, close = (bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    gap = np.abs(np.log(opened[1:] / close[:-1]))
    return bool(((gap >= MIN_GAP) & (np.log(high[1:] / low[1:]) <= MAX_RANGE_TO_GAP * gap)).any())


def _told(found: dict[Any, Any]) -> str:
    return (
        f"a split or the like seems to be missing in these bars: {found['ts']:%Y-%m-%d} opens at {found['open']:g} "
        f"after a close of {found['previous_close']:g}, and {MEMORY_BARS} bars remember it; send adjusted bars"
    )

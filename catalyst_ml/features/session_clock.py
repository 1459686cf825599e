"""Where in which session each bar of an intraday panel stands. A bar belongs to the exchange's day that it ends in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.calendar import TradingCalendar

BEFORE, REGULAR, AFTER = 0, 1, 2
"""Phases: a bar that ends at the open or earlier, up to the close, later."""

_DAY = pd.Timedelta(days=1)


class SessionClock(NamedTuple):
    """Arrays of shape (n_bars,); moments and lengths in microseconds."""

    session: np.ndarray
    """Number of the session, counted over the calendar's sessions: neighbours differ by 1."""
    phase: np.ndarray
    since_open: np.ndarray
    """From the session's open to the bar's end; 0 or less before the open."""
    length: np.ndarray
    """From the session's open to its close; short on days of early closing."""


def session_clock(bars: pd.DataFrame, calendar: TradingCalendar) -> SessionClock:
    """Place each bar, by its end ``ts``, in the sessions of a calendar.

    Raises
    ------
    DataContractError
        If a bar lies on a day without a session: then the calendar is another exchange's.
    """
    moments = pd.DatetimeIndex(bars["ts"])
    # The midnight that ends a session of a market that never closes is the next day's date.
    days = (moments - pd.Timedelta(microseconds=1)).tz_convert(calendar.zone).tz_localize(None).normalize()
    if not len(days):
        nothing = np.empty(0, dtype=np.int64)
        return SessionClock(nothing, nothing.astype(np.int8), nothing, nothing)
    sessions = calendar.sessions(days.min(), days.max())
    at = np.searchsorted(sessions.asi8, days.as_unit("us").asi8).clip(max=max(len(sessions) - 1, 0))
    is_session = (sessions[at] == days) if len(sessions) else np.zeros(len(days), dtype=bool)
    if not is_session.all():
        first = bars.iloc[int(np.argmin(is_session))]
        raise DataContractError(
            f"market panel: {int((~is_session).sum())} of {len(bars)} bars lie on days without a session of calendar "
            f"{calendar.name}, first {first['symbol']} at {first['ts']}; expected bars of its sessions. Name the "
            "calendar of this market (24/7 for crypto), or leave those bars out."
        )
    opens, closes = calendar.opens(sessions).asi8[at], calendar.closes(sessions).asi8[at]
    ts = moments.as_unit("us").asi8
    phase = np.where(ts <= opens, BEFORE, np.where(ts <= closes, REGULAR, AFTER)).astype(np.int8)
    # Counted from the start of the calendar, whichever bars are at hand.
    before = len(calendar.sessions(calendar.start, days.min() - _DAY))
    return SessionClock(at + before, phase, ts - opens, closes - opens)

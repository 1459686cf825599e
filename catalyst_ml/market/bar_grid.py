"""How many bars lie between two bars: their places in the exchange's time, not in a list of rows.

A row that is missing leaves a hole in a symbol's rows but not in time: after a month without trading the row
before is not "the previous bar".
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import parse_timeframe


def bar_slots(ts: pd.Series | pd.DatetimeIndex, *, timeframe: str, calendar: TradingCalendar) -> np.ndarray:
    """Number the places for bars in the calendar, counted through sessions, nights and holidays.

    Parameters
    ----------
    ts : (n_bars,) aware moments
        Closes of bars, in any order.
    timeframe : str
        ``1d``: one place per session. Intraday: as many as the session has bars, the last one possibly short; the
        first bar of a session follows the last one of the session before.
    calendar : TradingCalendar

    Returns
    -------
    (n_bars,) int64
        Differences count bars; the numbers themselves depend on the earliest moment given.

    Raises
    ------
    DataContractError
        If a moment lies in no session.

    Examples
    --------
    >>> ts = pd.DatetimeIndex(["2015-11-25 21:00", "2015-11-27 18:00", "2015-11-30 21:00"], tz="UTC")
    >>> bar_slots(ts, timeframe="1d", calendar=TradingCalendar())
    array([0, 1, 2])
    """
    minutes = parse_timeframe(timeframe).minutes
    which, moments = pd.factorize(pd.DatetimeIndex(ts))
    moments = pd.DatetimeIndex(moments)
    if moments.empty:
        return np.empty(0, dtype=np.int64)
    session = calendar.session_of(moments)
    if minutes is None:
        _refuse_outside(moments, np.asarray(session.isna()), calendar)
        return _ordinals(session, calendar)[which]
    is_outside = np.asarray(session.isna())
    length = minutes * 60_000_000
    opens = np.zeros(len(moments), dtype=np.int64)
    opens[~is_outside] = calendar.opens(session[~is_outside]).as_unit("us").asi8
    since_open = moments.as_unit("us").asi8 - opens
    _refuse_outside(moments, is_outside | (since_open <= 0), calendar)
    days = calendar.sessions(session.min(), session.max())
    hours = calendar.closes(days).as_unit("us").asi8 - calendar.opens(days).as_unit("us").asi8
    before = np.concatenate(([0], np.cumsum(-(-hours // length))[:-1]))  # (n_days,) places before each session
    return (before[_ordinals(session, calendar)] + -(-since_open // length) - 1)[which]


def _ordinals(session: pd.DatetimeIndex, calendar: TradingCalendar) -> np.ndarray:
    """Return the number of each session, counted from the earliest."""
    days = calendar.sessions(session.min(), session.max())
    return np.searchsorted(days.asi8, session.as_unit(days.unit).asi8).astype(np.int64)


def _refuse_outside(moments: pd.DatetimeIndex, is_outside: np.ndarray, calendar: TradingCalendar) -> None:
    if is_outside.any():
        raise DataContractError(
            f"{int(is_outside.sum())} of {len(moments)} bar times lie in no session of calendar {calendar.name}, first "
            f"{moments[int(is_outside.argmax())]}; expected bars of regular sessions, stamped at their close. Leave "
            "bars outside regular hours aside, or pass the calendar that the bars belong to."
        )

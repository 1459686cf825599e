"""Which bars and events see a price break: through what indicators remember, or through the trade's own life.

Across a break a return, an ATR or an RSI is not of this stock. Held out by *time*, never by outcome: the horizon
counts whole, also for a trade that would have met a barrier before the break, or quick winners would stay.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.event_rows import microseconds

MEMORY_BARS = 150
"""Bars until a missed 2-for-1 split has left every feature (60 real stocks, 95th percentile of the difference in
standard deviations of the feature): ADX 1.8 after 60 bars, 0.35 after 100, 0.11 after 120, 0.015 after 150."""

HORIZON_SESSIONS = 5
"""Sessions a daily trade may live after its decision, as in the default labels."""

_NONE = np.datetime64("NaT", "us").astype(np.int64)
HISTORY, HORIZON = "in its history", "before its horizon ends"


def exposure_of(
    rows: pd.DataFrame,
    breaks: pd.DataFrame,
    bars: pd.DataFrame,
    *,
    calendar: TradingCalendar,
    memory_bars: int = MEMORY_BARS,
    horizon_sessions: int = HORIZON_SESSIONS,
) -> pd.DataFrame:
    """Say for each row which break it sees, if any.

    Parameters
    ----------
    rows : DataFrame
        ``symbol`` and ``ts`` of bars or events, each a bar of ``bars``.
    breaks : DataFrame
        ``symbol`` and ``ts`` of the first bar on the new scale; bars that are not there are ignored.
    bars : BARS
        Sorted by symbol and ts.
    horizon_sessions : int
        0 for trades that are flat by their session's close.

    Returns
    -------
    frame
        ``break_ts`` (the newest break in its history, else the next within its horizon; missing if none) and
        ``where`` (``HISTORY``, ``HORIZON`` or empty), one row per row of ``rows``, in its order, with its index.
    """
    row_ts, seen = microseconds(rows["ts"]), np.full(len(rows), _NONE, dtype=np.int64)
    where = np.full(len(rows), "", dtype=object)
    if len(rows) and len(breaks):
        horizon = _horizon_ends(rows["ts"], calendar, horizon_sessions)
        own_rows = rows.groupby("symbol", sort=False).indices
        own_bars = bars.groupby("symbol", sort=False).indices
        bar_ts, break_ts = microseconds(bars["ts"]), microseconds(breaks["ts"])
        for symbol, at in breaks.groupby("symbol", sort=False).indices.items():
            if symbol not in own_rows or symbol not in own_bars:
                continue
            own, known = own_rows[symbol], bar_ts[own_bars[symbol]]
            for start in np.intersect1d(known, break_ts[at]):
                past = int(np.searchsorted(known, start)) + memory_bars
                end = known[past] if past < len(known) else np.iinfo(np.int64).max
                in_history = (row_ts[own] >= start) & (row_ts[own] < end)
                # A break in the history is certain; one ahead is only named where there is none.
                ahead = (row_ts[own] < start) & (horizon[own] >= start) & (where[own] == "")
                for mask, name in ((in_history, HISTORY), (ahead, HORIZON)):
                    seen[own[mask]], where[own[mask]] = start, name
    return pd.DataFrame(
        {
            "break_ts": pd.DatetimeIndex(seen.astype("datetime64[us]")).tz_localize("UTC"),
            "where": pd.Series(where, dtype="str"),
        }
    ).set_axis(rows.index, axis=0)


def exposed_bars(
    bars: pd.DataFrame, stocks: Collection[str], breaks: pd.DataFrame, *, calendar: TradingCalendar
) -> pd.DataFrame:
    """Return ``symbol`` and ``ts`` of the stocks' bars (BARS) that see a break, for what learns from every bar."""
    rows = bars.loc[bars["symbol"].isin(stocks), ["symbol", "ts"]].reset_index(drop=True)
    sees = exposure_of(rows, breaks, bars, calendar=calendar)["where"] != ""
    return rows[sees.to_numpy()].reset_index(drop=True)


def _horizon_ends(ts: pd.Series, calendar: TradingCalendar, sessions: int) -> np.ndarray:
    """Close of the last session of each row's horizon, microseconds; its own ``ts`` if it lies in no session."""
    codes, moments = pd.factorize(ts)
    of = calendar.session_of(pd.DatetimeIndex(moments))
    ends = microseconds(pd.DatetimeIndex(moments)).copy()
    is_known = np.asarray(of.notna())
    ends[is_known] = microseconds(calendar.closes(calendar.shift(of[is_known], sessions)))
    return np.asarray(ends[codes])

"""What kind of day it was, as it could be told at that day's close: how nervous, and which way the market went.

For cutting a record into parts. Nothing here looks past the moment it speaks of: a "calm" that is defined with the
year after it would explain mistakes by what nobody knew.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

VOLATILITY_SESSIONS = 252
MIN_VOLATILITY_SESSIONS = 60
TREND_BARS = 50
STALE_AFTER = pd.Timedelta(days=7)
"""An index level older than a week is unknown, as in the features."""

CALM, USUAL, NERVOUS = "calm", "usual", "nervous"
RISING, FALLING = "rising", "falling"


def volatility_terciles(session: pd.Series, level: pd.Series) -> pd.Series:
    """Third of the year before that each session's volatility level falls into.

    Parameters
    ----------
    session, level
        Session and volatility level (VIX) of each row, (n,), in any order; NaN where unknown. Rows of one session
        carry one level.

    Returns
    -------
    Series (n,) of str
        ``calm``, ``usual`` or ``nervous``, by the share of the `VOLATILITY_SESSIONS` sessions before with a lower
        level; missing where the level, or `MIN_VOLATILITY_SESSIONS` earlier ones, are unknown. Index of ``session``.
    """
    by_session = level.groupby(session.to_numpy()).first().sort_index().dropna()
    values = by_session.to_numpy(dtype="float64")
    name = np.full(len(values), None, dtype=object)
    for k in range(MIN_VOLATILITY_SESSIONS, len(values)):
        before = values[max(k - VOLATILITY_SESSIONS, 0) : k]
        # Ties count half, so that a level that never moves is usual.
        share = float(np.mean(before < values[k]) + 0.5 * np.mean(before == values[k]))
        name[k] = CALM if share < 1 / 3 else NERVOUS if share >= 2 / 3 else USUAL
    named = pd.Series(name, index=by_session.index, dtype="str")
    return session.map(named).astype("str").where(session.map(named).notna())


def market_trend(ts: pd.Series, index_bars: pd.DataFrame) -> pd.Series:
    """Which way the market went: its last close against the mean of its last `TREND_BARS` closes.

    Parameters
    ----------
    ts
        Moments to speak of, UTC, (n,).
    index_bars : BARS
        Of one index or its fund (SPY), split-adjusted, sorted by ts; bars after a moment say nothing about it.

    Returns
    -------
    Series (n,) of str
        ``rising`` or ``falling``; missing without so many bars, or where the last one is older than a week.
    """
    close = index_bars["close"].to_numpy(dtype="float64")
    mean = pd.Series(close).rolling(TREND_BARS).mean().to_numpy()
    moments = pd.DatetimeIndex(index_bars["ts"])
    place = moments.searchsorted(pd.DatetimeIndex(ts), side="right") - 1
    name = np.full(len(ts), None, dtype=object)
    if len(close):
        is_fresh = (place >= 0) & np.asarray(pd.DatetimeIndex(ts) - moments[place.clip(min=0)] <= STALE_AFTER)
        is_known = is_fresh & ~np.isnan(mean[place])
        name[is_known] = np.where(close[place] >= mean[place], RISING, FALLING)[is_known]
    return pd.Series(name, index=ts.index, dtype="str")

"""Inputs of intraday panels that are counted in sessions: volume at the time of day, gaps, moves since past closes.

Laid out like ``panel.bars``, one value per bar, from what was known at the bar's end only. A symbol's sessions are
those in which it has bars, as a symbol's days are with daily bars. A window of sessions never counts bars: sessions
have more or fewer of them, by early closing, by holes, by length of the bars.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from catalyst_ml.features.cross_section import (
    SECTOR_RETURN_BARS,
    VOLATILITY_SYMBOL,
    balance_of_moves,
    flag_rows,
    last_level,
    sector_codes,
    sector_return,
)
from catalyst_ml.features.extended_inputs import VOLATILITY_CHANGE_BARS, ranks_of_moment
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.session_clock import BEFORE, REGULAR, SessionClock, session_clock
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices

VOLUME_SESSIONS = 20
MIN_SESSIONS_OPEN = 10
"""Of the 20: a time of day at which the exchange was open less often than that has no usual volume."""

SESSIONS_BACK = VOLUME_SESSIONS + 2
"""Sessions of a symbol before a bar that its inputs are made of: the first one of all is left out, it may be a part."""

INTRADAY_INPUTS: dict[str, str] = {
    "volume_at_time": "volume over its mean at the same time of day in the symbol's 20 sessions before",
    "session_gap": "percent from the last regular close before the session to the last price before its open",
    "sector_return_sessions": "mean return of the sector's other members since their close 5 sessions before",
    "breadth_of_session": "(advancing - declining) / stocks with a bar, against their last session's close",
    "volatility_change_sessions": "last close of VIX over its last close 5 sessions before, minus 1",
    "rank_volume_at_time": "place of volume_at_time among the stocks with a bar at that moment, 0-1",
    "time_of_session": "time since the session's open over its length",
}


def intraday_inputs(panel: MarketPanel, needed: Collection[str]) -> dict[str, FloatArray]:
    """Return those of ``INTRADAY_INPUTS`` that are needed, each of shape (n_bars,); none of a panel of daily bars."""
    wanted = [name for name in INTRADAY_INPUTS if name in needed]
    if not wanted or panel.calendar is None:
        return {}
    bars, clock = panel.bars, session_clock(panel.bars, panel.calendar)
    ts, close = bars["ts"].array.asi8, bars["close"].to_numpy(np.float64)
    slices = dict(symbol_slices(bars["symbol"]))
    moments, moment_of = np.unique(ts, return_inverse=True)
    is_stock = flag_rows(slices, panel.stocks, len(ts))

    def at_time() -> FloatArray:
        return _by_symbol(slices, clock, lambda rows, own: volume_at_time(volume[rows], own))

    def moves(n: int) -> FloatArray:
        return _by_symbol(slices, clock, lambda rows, own: change_over_sessions(close[rows], own, n))

    volume = bars["volume"].to_numpy(np.float64)
    makers: dict[str, Callable[[], FloatArray]] = {
        "volume_at_time": at_time,
        "session_gap": lambda: _by_symbol(
            slices, clock, lambda rows, own: session_gap(bars["open"].to_numpy(np.float64)[rows], close[rows], own)
        ),
        "sector_return_sessions": lambda: sector_return(
            moves(SECTOR_RETURN_BARS), moment_of, len(moments), sector_codes(panel, slices)
        ),
        "breadth_of_session": lambda: balance_of_moves(moves(1), moment_of, len(moments), is_stock)[moment_of],
        "volatility_change_sessions": lambda: last_level(
            slices.get(VOLATILITY_SYMBOL), ts, moves(VOLATILITY_CHANGE_BARS), moments
        )[moment_of],
        "rank_volume_at_time": lambda: ranks_of_moment(at_time(), moment_of, is_stock),
        "time_of_session": lambda: clock.since_open / clock.length,
    }
    return {name: makers[name]() for name in wanted}


def volume_at_time(volume: FloatArray, clock: SessionClock) -> FloatArray:
    """Return one symbol's volume over its mean at the same time of day in its 20 sessions before.

    Parameters
    ----------
    volume : (n_bars,) float64
        Of one symbol, in time order.
    clock : SessionClock
        Of the same bars.

    Returns
    -------
    (n_bars,) float64
        A session in which the symbol traded, but not at that time, counts with 0; one in which the exchange had closed
        by then (early close) does not count. NaN with fewer than 20 sessions before, its first one not counted (history
        may begin in the middle of it), or without volume at that time in all of them.
    """
    out = np.full(volume.size, np.nan)
    if not volume.size:
        return out
    numbers, session = np.unique(clock.session, return_inverse=True)
    if len(numbers) < VOLUME_SESSIONS + 2:
        return out
    # A time of day after the close is another one than the same time while the exchange is open.
    slots, slot = np.unique(clock.since_open * 4 + clock.phase, return_inverse=True)
    traded = np.zeros((len(numbers), len(slots)))
    # Two bars of one time (the last ones before an early close) are one.
    np.add.at(traded, (session, slot), volume)
    length = np.zeros(len(numbers), dtype=np.int64)
    length[session] = clock.length
    is_open = ((slots % 4 != REGULAR) | (slots // 4 <= length[:, None])).astype(np.float64)
    first = VOLUME_SESSIONS + 1
    total, count = np.zeros_like(traded[first:]), np.zeros_like(traded[first:])
    for back in range(VOLUME_SESSIONS, 0, -1):
        total += traded[first - back : len(numbers) - back]
        count += is_open[first - back : len(numbers) - back]
    mean = np.where((count >= MIN_SESSIONS_OPEN) & (total > 0.0), total / np.maximum(count, 1.0), np.nan)
    known = session >= first
    out[known] = volume[known] / mean[session[known] - first, slot[known]]
    return out


def session_gap(open_: FloatArray, close: FloatArray, clock: SessionClock) -> FloatArray:
    """Return one symbol's gap in percent: the last price before the session's open against the last regular close.

    That price is the close of the last bar before the open, or, of a symbol without such bars that day, the session's
    first price. Before the open it is the last one so far; from the first regular bar on it stays.
    """
    prior = _close_of_session_before(close, clock, 1)
    is_before = clock.phase == BEFORE
    starts = np.flatnonzero(np.diff(clock.session, prepend=-1))
    price = np.empty(close.size)
    for start, stop in zip(starts, [*starts[1:], close.size], strict=True):
        n_before = int(is_before[start:stop].sum())
        price[start : start + n_before] = close[start : start + n_before]
        price[start + n_before : stop] = close[start + n_before - 1] if n_before else open_[start]
    return 100.0 * (price / prior - 1.0)


def change_over_sessions(close: FloatArray, clock: SessionClock, n: int) -> FloatArray:
    """Return close over the last regular close of the symbol's session ``n`` sessions before, minus 1."""
    return close / _close_of_session_before(close, clock, n) - 1.0


def _close_of_session_before(close: FloatArray, clock: SessionClock, n: int) -> FloatArray:
    """Return the last regular close of the ``n``-th session with regular bars before each bar's own; NaN without."""
    at = np.flatnonzero(clock.phase == REGULAR)
    last = at[np.append(np.diff(clock.session[at]) != 0, True)] if len(at) else at
    position = np.searchsorted(clock.session[last], clock.session) - n
    return np.append(close[last], np.nan)[np.maximum(position, -1)]


def _by_symbol(
    slices: dict[str, slice], clock: SessionClock, measure: Callable[[slice, SessionClock], FloatArray]
) -> FloatArray:
    out = np.full(len(clock.session), np.nan)
    for rows in slices.values():
        out[rows] = measure(rows, SessionClock(*(values[rows] for values in clock)))
    return out

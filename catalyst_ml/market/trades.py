"""The trade of each event, followed through the bars: between barriers, or against its universe.

Entered at the symbol's next open within the horizon, never later than the horizon's end. Nothing here knows an
``as_of``: whoever asks passes only the bars that were known, and judges by ``label_end`` what is settled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numba import njit

from catalyst_ml.indicators import kernels
from catalyst_ml.indicators.segments import symbol_slices
from catalyst_ml.market.event_rows import microseconds, rows_of_events
from catalyst_ml.market.label_specs import LabelSpec, MarketNeutralSpec

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

TARGET, STOP, TIMEOUT, NOT_ENTERED = 0, 1, 2, 3

SHORT_HISTORY = "short_history"
"""Too few bars for an ATR; no later bar mends it."""
NO_RANGE = "no_range"
"""An ATR of zero."""
NO_ENTRY = "no_bar_within_horizon"
SMALL_UNIVERSE = "small_universe"
"""Too few stocks traded at both ends to say what the market did."""
FINAL_AT_DECISION = (SHORT_HISTORY, NO_RANGE)
"""Reasons that are known at once; the others when the horizon is over."""

_PAIRS_AT_ONCE = 1_024


class Trades(NamedTuple):
    """One trade per event: how it ended, why there is none, what it earned, when. Times are int64 microseconds.

    Where ``reason`` is not empty the other fields but ``label_end`` mean nothing.
    """

    outcome: np.ndarray
    reason: np.ndarray
    gross_return: np.ndarray
    entry_ts: np.ndarray
    label_end: np.ndarray


def follow_barriers(events: pd.DataFrame, bars: pd.DataFrame, spec: LabelSpec, horizon_end: IntArray) -> Trades:
    """Follow each event's trade to the first barrier touched, or to the horizon's end.

    Parameters
    ----------
    events : event key
        Each has its bar in ``bars``.
    bars : BARS
        Sorted by symbol and ts; only what was known.
    horizon_end : (n_events,) int64
        Microseconds.
    """
    ts = microseconds(bars["ts"])
    open_, high, low, close = (np.array(bars[c], dtype=np.float64) for c in ("open", "high", "low", "close"))
    atr = np.empty(len(bars))
    last_row = np.empty(len(bars), dtype=np.int64)
    for _, rows in symbol_slices(bars["symbol"]):
        atr[rows] = kernels.atr(high[rows], low[rows], close[rows], spec.atr_period)
        last_row[rows] = rows.stop - 1
    row = rows_of_events(events, bars)
    side = events["direction"].to_numpy()
    outcome, entry_row, exit_row, exit_price = _walk(
        row, last_row[row], side, atr[row], horizon_end, open_, high, low, close, ts, spec.barrier_atr, spec.target_atr
    )
    reason = np.full(len(events), "", dtype=object)
    reason[outcome == NOT_ENTERED] = NO_ENTRY
    reason[atr[row] <= 0.0] = NO_RANGE
    reason[np.isnan(atr[row])] = SHORT_HISTORY
    entry_price = open_[entry_row]
    label_end = np.where(outcome <= STOP, ts[exit_row], horizon_end)
    return Trades(outcome, reason, side * (exit_price - entry_price) / entry_price, ts[entry_row], label_end)


def follow_universe(
    events: pd.DataFrame, bars: pd.DataFrame, stocks: pd.Series, spec: MarketNeutralSpec, horizon_end: IntArray
) -> Trades:
    """Hold each event's stock to its last bar within the horizon, against the mean of all stocks from bar to bar.

    Parameters
    ----------
    events, bars, horizon_end
        As in :func:`follow_barriers`.
    stocks : Series of str
        Symbols of the universe. A stock counts for a trade if it has a bar at the trade's entry and at its exit.
    """
    ts = microseconds(bars["ts"])
    open_, close = bars["open"].to_numpy(dtype=np.float64), bars["close"].to_numpy(dtype=np.float64)
    last_row = np.empty(len(bars), dtype=np.int64)
    for _, rows in symbol_slices(bars["symbol"]):
        last_row[rows] = rows.stop - 1
    row = rows_of_events(events, bars)
    entry_row, exit_row, is_entered = _held(row, last_row[row], horizon_end, ts)
    mean, n_stocks = _universe_returns(bars, ts, open_, close, stocks, ts[entry_row], ts[exit_row])
    own = close[exit_row] / open_[entry_row] - 1.0
    reason = np.full(len(events), "", dtype=object)
    reason[n_stocks < spec.min_universe] = SMALL_UNIVERSE
    reason[~is_entered] = NO_ENTRY
    outcome = np.full(len(events), TIMEOUT, dtype=np.int64)
    gross = events["direction"].to_numpy() * (own - mean)
    return Trades(outcome, reason, gross, ts[entry_row], horizon_end)


def _held(
    row: IntArray, last_row: IntArray, horizon_end: IntArray, ts: IntArray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first and last row after each decision within its horizon, and whether there is one."""
    first = np.minimum(row + 1, last_row)
    is_entered = (row < last_row) & (ts[first] <= horizon_end)
    exit_row = first.copy()
    while True:
        onward = np.minimum(exit_row + 1, last_row)
        can_go = is_entered & (onward > exit_row) & (ts[onward] <= horizon_end)
        if not can_go.any():
            return np.where(is_entered, first, row), np.where(is_entered, exit_row, row), is_entered
        exit_row = np.where(can_go, onward, exit_row)


def _universe_returns(
    bars: pd.DataFrame,
    ts: IntArray,
    open_: np.ndarray,
    close: np.ndarray,
    stocks: pd.Series,
    entry_ts: np.ndarray,
    exit_ts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean return of the stocks from each entry to each exit, and over how many.  # (n_events,) each"""
    is_stock = bars["symbol"].isin(stocks).to_numpy()
    moments, moment = np.unique(ts[is_stock], return_inverse=True)
    codes, names = pd.factorize(bars["symbol"][is_stock])
    opened = np.full((len(moments), len(names)), np.nan)
    closed = opened.copy()
    opened[moment, codes], closed[moment, codes] = open_[is_stock], close[is_stock]
    entry, is_entry = _places(moments, entry_ts)
    leave, is_exit = _places(moments, exit_ts)
    pairs, pair_of_event = np.unique(entry * (len(moments) + 1) + leave, return_inverse=True)
    entry, leave = np.divmod(pairs, len(moments) + 1)
    mean, n_stocks = np.full(len(pairs), np.nan), np.zeros(len(pairs), dtype=np.int64)
    for start in range(0, len(pairs) if len(moments) else 0, _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        returns = closed[leave[part]] / opened[entry[part]] - 1.0  # (n_pairs_at_once, n_stocks)
        is_known = np.isfinite(returns)
        n_stocks[part] = is_known.sum(axis=1)
        total = np.where(is_known, returns, 0.0).sum(axis=1)
        mean[part] = np.divide(total, n_stocks[part], out=np.full(len(total), np.nan), where=n_stocks[part] > 0)
    return mean[pair_of_event], np.where(is_entry & is_exit, n_stocks[pair_of_event], 0)


def _places(moments: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each wanted moment stands among the sorted ``moments``, and whether it is there at all."""
    if not len(moments):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    place = np.searchsorted(moments, wanted).clip(max=len(moments) - 1)
    return place, moments[place] == wanted


@njit(cache=True, nogil=True)
def _walk(
    row: IntArray,
    last_row: IntArray,
    direction: IntArray,
    atr: FloatArray,
    horizon_end: IntArray,
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    ts: IntArray,
    stop_atr: float,
    target_atr: float,
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return outcome, entry row, exit row and exit price of each event's trade; (n_events,) each.

    Arrays up to ``horizon_end`` are per event, the ones after it per bar. Where a trade has not
    begun or the ATR is unknown, entry and exit row are the decision bar's and mean nothing.
    """
    n = row.size
    outcome = np.full(n, NOT_ENTERED, dtype=np.int64)
    entry_row, exit_row = row.copy(), row.copy()
    exit_price = np.full(n, np.nan)
    for i in range(n):
        first = row[i] + 1
        if not atr[i] > 0.0 or first > last_row[i] or ts[first] > horizon_end[i]:
            continue
        side = direction[i]
        # Signed prices: a short trade becomes a long one in -price, so that one rule serves both.
        entry = side * open_[first]
        stop, target = entry - stop_atr * atr[i], entry + target_atr * atr[i]
        outcome[i], entry_row[i] = TIMEOUT, first
        for j in range(first, last_row[i] + 1):
            if ts[j] > horizon_end[i]:
                break
            opened = side * open_[j]
            worst, best = (low[j], high[j]) if side > 0 else (-high[j], -low[j])
            exit_row[i], exit_price[i] = j, close[j]
            if worst <= stop:
                outcome[i], exit_price[i] = STOP, side * min(opened, stop)
                if opened >= target:
                    outcome[i], exit_price[i] = TARGET, side * opened
                break
            if best >= target:
                outcome[i], exit_price[i] = TARGET, side * max(opened, target)
                break
    return outcome, entry_row, exit_row, exit_price

"""Inputs that a symbol's own bars cannot give: index and volatility levels, breadth, sector returns, news.

Computed once for the whole panel and laid out like ``panel.bars``: one value per bar. A value at ``ts`` uses
only what was known at ``ts``: bars that closed and news that was published by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices

MARKET_SYMBOL = "SPY"
VOLATILITY_SYMBOL = "VIX"

MARKET_STALE_AFTER_US = 7 * 86_400 * 1_000_000
"""An index level older than a week (the exchange's longest closing since 1933) is missing, not carried on."""

BREADTH_MIN_STOCKS = 20
"""Fewer stocks with a known move describe no market: the balance then has a standard error above 0.22."""

SECTOR_RETURN_BARS = 5
NEWS_WINDOW_US = 24 * 3_600 * 1_000_000

INPUT_LOOKBACK_BARS: dict[str, int] = {"breadth": 1, "sector_return": SECTOR_RETURN_BARS}
"""Bars of each stock before a moment that its input at that moment is made of; 0 for the others."""


def cross_sectional_inputs(panel: MarketPanel, needed: Collection[str] | None = None) -> dict[str, FloatArray]:
    """Return the inputs named in ``catalogue.INPUTS`` that join symbols, each of shape (n_bars,).

    Parameters
    ----------
    panel : MarketPanel
        Bars, instruments and news.
    needed : collection of str, optional
        Names of the inputs wanted, others are passed over; all of them if None.

    Returns
    -------
    dict of str to (n_bars,) float64
        ``market_close`` (SPY), ``volatility_close`` (VIX), ``breadth``, ``sector_return`` and ``has_news``;
        NaN where the source is absent at that moment.
    """
    bars = panel.bars
    ts = bars["ts"].array.asi8
    close = bars["close"].to_numpy()
    slices = dict(symbol_slices(bars["symbol"]))
    makers: dict[str, Callable[[], FloatArray]] = {
        "market_close": lambda: last_level(slices.get(MARKET_SYMBOL), ts, close, moments)[moment_of],
        "volatility_close": lambda: last_level(slices.get(VOLATILITY_SYMBOL), ts, close, moments)[moment_of],
        "breadth": lambda: balance_of_moves(
            change(close, slices, 1), moment_of, len(moments), flag_rows(slices, panel.stocks, len(bars))
        )[moment_of],
        "sector_return": lambda: sector_return(
            change(close, slices, SECTOR_RETURN_BARS), moment_of, len(moments), sector_codes(panel, slices)
        ),
        "has_news": lambda: _has_news(panel.news, slices, ts),
    }
    wanted = [name for name in makers if needed is None or name in needed]
    if not wanted:
        return {}
    moments, moment_of = np.unique(ts, return_inverse=True)
    return {name: makers[name]() for name in wanted}


def flag_rows(slices: dict[str, slice], symbols: frozenset[str], n_rows: int) -> np.ndarray:
    flags = np.zeros(n_rows, dtype=bool)
    for symbol, rows in slices.items():
        flags[rows] = symbol in symbols
    return flags


def change(close: FloatArray, slices: dict[str, slice], n_bars: int) -> FloatArray:
    """Return close over the close ``n_bars`` bars of the same symbol earlier, minus 1."""
    out = np.full(close.size, np.nan)
    for rows in slices.values():
        own = close[rows]
        out[rows][n_bars:] = own[n_bars:] / own[:-n_bars] - 1.0
    return out


def last_level(rows: slice | None, ts: np.ndarray, close: FloatArray, moments: np.ndarray) -> FloatArray:
    """Return an instrument's last close at or before each moment; NaN if older than a week or absent."""
    if rows is None:
        return np.full(len(moments), np.nan)
    position = np.searchsorted(ts[rows], moments, side="right") - 1
    is_known = position >= 0
    age = moments - ts[rows][position]
    return np.where(is_known & (age <= MARKET_STALE_AFTER_US), close[rows][position], np.nan)


def balance_of_moves(moves: FloatArray, moment_of: np.ndarray, n_moments: int, is_stock: np.ndarray) -> FloatArray:
    """Return (advancing - declining) / stocks with a known move, per moment."""
    counted = is_stock & ~np.isnan(moves)
    balance = np.bincount(moment_of[counted], np.sign(moves[counted]), minlength=n_moments)
    n_stocks = np.bincount(moment_of[counted], minlength=n_moments)
    return np.where(n_stocks >= BREADTH_MIN_STOCKS, balance / np.maximum(n_stocks, 1), np.nan)


def sector_codes(panel: MarketPanel, slices: dict[str, slice]) -> np.ndarray:
    """Return one sector number per bar; -1 for unknown sectors and for what is no stock."""
    stocks = panel.instruments[panel.instruments["symbol"].isin(panel.stocks)]
    codes, _ = pd.factorize(stocks["sector"], use_na_sentinel=True)
    code_of = dict(zip(stocks["symbol"], codes, strict=True))
    out = np.full(len(panel.bars), -1)
    for symbol, rows in slices.items():
        out[rows] = code_of.get(symbol, -1)
    return out


def sector_return(moves: FloatArray, moment_of: np.ndarray, n_moments: int, sector: np.ndarray) -> FloatArray:
    """Return the mean change of the OTHER members of the bar's sector at that moment; NaN without any."""
    counted = (sector >= 0) & ~np.isnan(moves)
    n_sectors = int(sector.max(initial=0)) + 1
    cell = moment_of * n_sectors + np.maximum(sector, 0)
    total = np.bincount(cell[counted], moves[counted], minlength=n_moments * n_sectors)[cell]
    members = np.bincount(cell[counted], minlength=n_moments * n_sectors)[cell]
    others = members - counted
    own = np.where(counted, moves, 0.0)
    return np.where((sector >= 0) & (others > 0), (total - own) / np.maximum(others, 1), np.nan)


def _has_news(news: pd.DataFrame, slices: dict[str, slice], ts: np.ndarray) -> FloatArray:
    """Return 1 with a story in (ts - 24 h, ts], else 0; NaN before the dataset's first story.

    Before its first story a news source did not exist as far as we know. Deciding this from the whole sample
    instead would let a later story change earlier rows.
    """
    if news.empty:
        return np.full(len(ts), np.nan)
    published = news["published_at"].array.asi8
    stories = {symbol: np.sort(published[rows]) for symbol, rows in symbol_slices(news["symbol"])}
    flags = np.zeros(len(ts))
    for symbol in slices.keys() & stories.keys():
        moments = ts[slices[symbol]]
        upto = np.searchsorted(stories[symbol], moments, side="right")
        before = np.searchsorted(stories[symbol], moments - NEWS_WINDOW_US, side="right")
        flags[slices[symbol]] = upto > before
    return np.where(ts >= published.min(), flags, np.nan)

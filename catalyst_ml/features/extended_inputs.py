"""Inputs of the second set that a symbol's own bars cannot give: ranks, regimes, earnings, news in more detail.

Laid out like ``panel.bars``, one value per bar, from what was known at the bar's close only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from catalyst_ml.features.catalogue import relative_volume
from catalyst_ml.features.cross_section import (
    BREADTH_MIN_STOCKS,
    MARKET_SYMBOL,
    VOLATILITY_SYMBOL,
    change,
    flag_rows,
    last_level,
    sector_codes,
    sector_return,
)
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.indicators import kernels
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices

MOMENTUM_BARS = 20
TREND_BARS = 50
VOLATILITY_CHANGE_BARS = 5
DAY_US = 86_400 * 1_000_000
NEWS_DAYS = 5
NEWS_FORGOTTEN_DAYS = 30
"""A story older than this says nothing of today, and how much older cannot be told from a gap of the archive."""

QUARTERS_REMEMBERED = 4
OVERDUE_DAYS = 45
"""A report later than expected by more than this: the rhythm is broken, nothing is expected."""

EXTENDED_INPUTS: dict[str, str] = {
    "sector_return_20": "mean 20-session return of the other members of the sector",
    "rank_return_1": "place of the 1-bar return among the stocks of that close, 0-1",
    "rank_return_20": "place of the 20-bar return among the stocks of that close, 0-1",
    "rank_volume": "place of the volume over its 20-bar mean among the stocks of that close, 0-1",
    "market_trend": "SPY's last close over the mean of its 50 closes, minus 1",
    "volatility_change": "last close of VIX over its close 5 sessions before, minus 1",
    "dispersion": "standard deviation of the stocks' 1-bar returns at that close",
    "days_since_report": "days from the last earnings report known at ts",
    "days_to_expected_report": "days to the report expected from the rhythm of those known at ts",
    "news_count": "stories in (ts - 5 days, ts]",
    "news_age_hours": "hours since the last story, up to 30 days",
    "news_top_score": "largest score of the stories in (ts - 5 days, ts]",
}

EXTENDED_LOOKBACK_BARS: dict[str, int] = {
    "sector_return_20": MOMENTUM_BARS,
    "rank_return_1": 1,
    "rank_return_20": MOMENTUM_BARS,
    "rank_volume": 20,
    "dispersion": 1,
}
"""Bars of each stock before a moment that its input at that moment is made of; 0 for the others."""


def extended_inputs(panel: MarketPanel, needed: Collection[str]) -> dict[str, FloatArray]:
    """Return those of ``EXTENDED_INPUTS`` that are needed, each of shape (n_bars,); NaN where nothing was known."""
    wanted = [name for name in EXTENDED_INPUTS if name in needed]
    if not wanted:
        return {}
    ts = panel.bars["ts"].array.asi8
    close = panel.bars["close"].to_numpy()
    slices = dict(symbol_slices(panel.bars["symbol"]))
    moments, moment_of = np.unique(ts, return_inverse=True)
    is_stock = flag_rows(slices, panel.stocks, len(ts))

    def ranks(values: FloatArray) -> FloatArray:
        return ranks_of_moment(values, moment_of, is_stock)

    makers: dict[str, Callable[[], FloatArray]] = {
        "sector_return_20": lambda: sector_return(
            change(close, slices, MOMENTUM_BARS), moment_of, len(moments), sector_codes(panel, slices)
        ),
        "rank_return_1": lambda: ranks(change(close, slices, 1)),
        "rank_return_20": lambda: ranks(change(close, slices, MOMENTUM_BARS)),
        "rank_volume": lambda: ranks(_relative_volumes(panel, slices)),
        "market_trend": lambda: _of_index(slices.get(MARKET_SYMBOL), _trend, ts, close, moments)[moment_of],
        "volatility_change": lambda: _of_index(slices.get(VOLATILITY_SYMBOL), _change_5, ts, close, moments)[moment_of],
        "dispersion": lambda: _dispersion(change(close, slices, 1), moment_of, len(moments), is_stock)[moment_of],
        "days_since_report": lambda: _report_days(panel.earnings, slices, ts)[0],
        "days_to_expected_report": lambda: _report_days(panel.earnings, slices, ts)[1],
        "news_count": lambda: _news(panel.news, slices, ts)[0],
        "news_age_hours": lambda: _news(panel.news, slices, ts)[1],
        "news_top_score": lambda: _news(panel.news, slices, ts)[2],
    }
    return {name: makers[name]() for name in wanted}


def ranks_of_moment(values: FloatArray, moment_of: np.ndarray, is_stock: np.ndarray) -> FloatArray:
    """Return (mean rank - 1/2) / stocks with a value at that moment; NaN with too few of them."""
    known = pd.Series(np.where(is_stock, values, np.nan))
    by_moment = known.groupby(moment_of)
    n_stocks = by_moment.transform("count")
    return ((by_moment.rank() - 0.5) / n_stocks).where(n_stocks >= BREADTH_MIN_STOCKS).to_numpy(np.float64)


def _relative_volumes(panel: MarketPanel, slices: dict[str, slice]) -> FloatArray:
    volume = panel.bars["volume"].to_numpy(np.float64, copy=True)
    out = np.full(volume.size, np.nan)
    for rows in slices.values():
        out[rows] = relative_volume(volume[rows])
    return out


def _of_index(
    rows: slice | None,
    measure: Callable[[FloatArray], FloatArray],
    ts: np.ndarray,
    close: FloatArray,
    moments: np.ndarray,
) -> FloatArray:
    """Return a measure of an instrument's own bars as of each moment; NaN if older than a week or absent."""
    values = np.full(close.size, np.nan)
    if rows is not None:
        values[rows] = measure(close[rows].copy())
    return last_level(rows, ts, values, moments)


def _trend(close: FloatArray) -> FloatArray:
    return kernels.distance(close, kernels.sma(close, TREND_BARS))


def _change_5(close: FloatArray) -> FloatArray:
    out = np.full(close.size, np.nan)
    n = VOLATILITY_CHANGE_BARS
    out[n:] = close[n:] / close[:-n] - 1.0
    return out


def _dispersion(moves: FloatArray, moment_of: np.ndarray, n_moments: int, is_stock: np.ndarray) -> FloatArray:
    counted = is_stock & ~np.isnan(moves)
    at, of = moment_of[counted], moves[counted]
    n_stocks = np.bincount(at, minlength=n_moments)
    mean = np.bincount(at, of, minlength=n_moments) / np.maximum(n_stocks, 1)
    squares = np.bincount(at, (of - mean[at]) ** 2, minlength=n_moments)
    return np.where(n_stocks >= BREADTH_MIN_STOCKS, np.sqrt(squares / np.maximum(n_stocks, 1)), np.nan)


def _report_days(
    earnings: pd.DataFrame | None, slices: dict[str, slice], ts: np.ndarray
) -> tuple[FloatArray, FloatArray]:
    """Return days since the last report known, and days to the one expected from the rhythm of those known.

    Of future reports the table only tells when they took place, not since when their date was announced: using it
    would be knowing the future. Expected is the last report plus the median of the last gaps between reports.
    """
    since, until = np.full(len(ts), np.nan), np.full(len(ts), np.nan)
    if earnings is None or earnings.empty:
        return since, until
    for symbol, own in earnings.groupby("symbol", sort=False):
        rows = slices.get(str(symbol))
        if rows is None:
            continue
        known = own.sort_values("known_at")
        known_at = known["known_at"].array.asi8
        # A correction of an older report does not make it the last one.
        last = np.maximum.accumulate(known["report_date"].array.asi8 // DAY_US)
        expected = np.array([_expected(last[: k + 1]) for k in range(len(last))])
        position = np.searchsorted(known_at, ts[rows], side="right") - 1
        is_known = position >= 0
        today = ts[rows] // DAY_US
        since[rows] = np.where(is_known, today - last[position], np.nan)
        days = expected[position] - today
        until[rows] = np.where(is_known & (days >= -OVERDUE_DAYS), days, np.nan)
    return since, until


def _expected(report_days: np.ndarray) -> float:
    days = np.unique(report_days)[-(QUARTERS_REMEMBERED + 1) :]
    return float(days[-1] + np.median(np.diff(days))) if len(days) > 1 else np.nan


def _news(news: pd.DataFrame, slices: dict[str, slice], ts: np.ndarray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return count, age in hours and largest score of a symbol's stories; NaN before the dataset's first story."""
    count, age, top = (np.full(len(ts), np.nan) for _ in range(3))
    if news.empty:
        return count, age, top
    count[ts >= news["published_at"].array.asi8.min()] = 0.0
    published, score = news["published_at"].array.asi8, news["score"].to_numpy()
    for symbol, stories in symbol_slices(news["symbol"]):
        rows = slices.get(symbol)
        if rows is None:
            continue
        moments, own = ts[rows], published[stories]
        upto = np.searchsorted(own, moments, side="right")
        before = np.searchsorted(own, moments - NEWS_DAYS * DAY_US, side="right")
        count[rows] = np.where(np.isnan(count[rows]), np.nan, upto - before)
        hours = (moments - own[np.maximum(upto - 1, 0)]) / (3_600 * 1e6)
        age[rows] = np.where((upto > 0) & (hours <= NEWS_FORGOTTEN_DAYS * 24), hours, np.nan)
        for at in np.flatnonzero(upto > before):
            top[rows.start + at] = score[stories][before[at] : upto[at]].max()
    return count, age, top

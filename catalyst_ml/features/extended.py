"""The second set of features, declared but not yet in the models' inputs: each must show its worth first.

Same rules as ``catalogue.CATALOGUE``: one declaration per feature, formulas over the arrays of one symbol, missing
where a source is absent. Hand ``EXTENDED`` to ``compute_features`` as catalogue to compute them. A horizon stands
in the name in bars.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from catalyst_ml.features import extended_inputs
from catalyst_ml.features.catalogue import RECURSIVE_LOOKBACK_BARS, FeatureSpec, Oscillators, as_given
from catalyst_ml.features.catalogue import returns as simple_returns
from catalyst_ml.indicators import kernels, windows
from catalyst_ml.indicators.kernels import FloatArray

CODE_BEHIND = (windows, extended_inputs)
"""Modules whose text is part of the version of these features (``catalogue.feature_set_version``)."""

BETA_BARS = 60
LONGEST_RUN = 20


def change_over(n: int) -> Callable[[FloatArray], FloatArray]:
    """Return the formula of the return over ``n`` bars."""

    def compute(close: FloatArray) -> FloatArray:
        out = np.full(close.size, np.nan)
        out[n:] = close[n:] / close[:-n] - 1.0
        return out

    return compute


def realised_volatility(close: FloatArray) -> FloatArray:
    moves = np.full(close.size, np.nan)
    moves[1:] = np.log(close[1:] / close[:-1])
    return kernels.rolling_std(moves, 20)


def parkinson_volatility(high: FloatArray, low: FloatArray) -> FloatArray:
    return np.sqrt(windows.window_mean(np.log(high / low) ** 2, 20) / (4.0 * np.log(2.0)))


def garman_klass_volatility(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    variance = 0.5 * np.log(high / low) ** 2 - (2.0 * np.log(2.0) - 1.0) * np.log(close / open_) ** 2
    # Split adjustment rounds each price on its own; a flat bar may then come out below zero by a rounding.
    return np.sqrt(np.maximum(windows.window_mean(variance, 20), 0.0))


def sma_ratio_20(close: FloatArray, bands: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
    return kernels.distance(close, bands[0])


def sma_ratio_50(close: FloatArray) -> FloatArray:
    return kernels.distance(close, windows.window_mean(close, 50))


def atr_ratio(lines: Oscillators, close: FloatArray) -> FloatArray:
    return kernels.ratio(lines.atr, close, 0.0)


def range_to_atr(high: FloatArray, low: FloatArray, atr: FloatArray) -> FloatArray:
    return kernels.ratio(high - low, _prior(atr), np.nan)


def gap_to_atr(open_: FloatArray, close: FloatArray, atr: FloatArray) -> FloatArray:
    return kernels.ratio(open_ - _prior(close), _prior(atr), np.nan)


def range_contraction(high: FloatArray, low: FloatArray) -> FloatArray:
    return kernels.ratio(windows.window_mean(high - low, 5), windows.window_mean(high - low, 20), np.nan)


def overnight_share(open_: FloatArray, close: FloatArray) -> FloatArray:
    prior = _prior(close)
    overnight = windows.window_mean(np.abs(open_ / prior - 1.0), 20)
    return kernels.ratio(overnight, overnight + windows.window_mean(np.abs(close / open_ - 1.0), 20), np.nan)


def below_high(n: int) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Return the formula of the distance to the highest high of ``n`` bars."""

    def compute(high: FloatArray, close: FloatArray) -> FloatArray:
        return kernels.distance(close, windows.rolling_max(high, n))

    return compute


def above_low(n: int) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Return the formula of the distance to the lowest low of ``n`` bars."""

    def compute(low: FloatArray, close: FloatArray) -> FloatArray:
        return kernels.distance(close, windows.rolling_min(low, n))

    return compute


def range_position(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    return kernels.position(close, windows.rolling_min(low, 20), windows.rolling_max(high, 20), 0.5)


def vwap_distance(high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray) -> FloatArray:
    typical = (high + low + close) / 3.0
    vwap = kernels.ratio(windows.window_mean(typical * volume, 20), windows.window_mean(volume, 20), np.nan)
    return kernels.distance(close, vwap)


def volume_above_close(high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray) -> FloatArray:
    return windows.share_above((high + low + close) / 3.0, volume, close, 60)


def market_relative_return(close: FloatArray, market_close: FloatArray) -> FloatArray:
    """Both returns span the same bars of the symbol."""
    return change_over(20)(close) - change_over(20)(market_close)


def sector_relative_return(close: FloatArray, sector_return: FloatArray) -> FloatArray:
    return change_over(20)(close) - sector_return


def idiosyncratic_return(close_returns: FloatArray, market_close: FloatArray) -> FloatArray:
    """The slope comes from the bars before: with the day itself in it, the day would explain a part of itself."""
    market = simple_returns(market_close)
    return close_returns - _prior(windows.rolling_beta(close_returns, market, BETA_BARS)) * market


def market_beta(close_returns: FloatArray, market_close: FloatArray) -> FloatArray:
    return windows.rolling_beta(close_returns, simple_returns(market_close), BETA_BARS)


def close_run(close: FloatArray) -> FloatArray:
    return windows.run_length(close, LONGEST_RUN)


def trend_into_bar(close: FloatArray, atr: FloatArray) -> FloatArray:
    """What a reversal pattern reverses: the move of the ten bars before the bar, in their ATR."""
    prior = _prior(close)
    out = np.full(close.size, np.nan)
    out[10:] = prior[10:] - prior[:-10]
    return kernels.ratio(out, _prior(atr), np.nan)


def _prior(values: FloatArray) -> FloatArray:
    out = np.full(values.size, np.nan)
    out[1:] = values[:-1]
    return out


_OHLC = ("open", "high", "low", "close")
_MURPHY = "Murphy (1999), Technical Analysis of the Financial Markets; TA-Lib"
_WILDER = "Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib"
_JT = "Jegadeesh & Titman (1993), Journal of Finance 48; Jegadeesh (1990) for the short horizons"
_PARKINSON = "Parkinson (1980), Journal of Business 53"
_GK = "Garman & Klass (1980), Journal of Business 53, eq. 19a without its last term"
_GH = "George & Hwang (2004), Journal of Finance 59"
_LPS = "Lou, Polk & Skouras (2019), Journal of Financial Economics 134"
_STEIDL = "Steidlmayer (1984), Market Profile; daily typical prices instead of ticks"
_OWN = "own definition"
_SOURCES_OF_DAY = "Blitz, Huij & Martens (2011), Journal of Empirical Finance 18 (residual momentum)"
_ATR = RECURSIVE_LOOKBACK_BARS
"""Also for the ATR of the bar before: of its start 499 bars ago (13/14)^485 < 1e-15 is left."""
_FRACTION = "fraction, signed"

TREND: tuple[FeatureSpec, ...] = (
    *(
        FeatureSpec(f"return_{n}", "price_action", ("close",), n + 1, _FRACTION, _JT, 1, change_over(n))
        for n in (1, 5, 20, 60)
    ),
    FeatureSpec("sma_ratio_20", "technical", ("close", "bollinger"), 20, _FRACTION, _MURPHY, 1, sma_ratio_20),
    FeatureSpec("sma_ratio_50", "technical", ("close",), 50, _FRACTION, _MURPHY, 1, sma_ratio_50),
    *(
        FeatureSpec(
            f"distance_high_{n}", "technical", ("high", "close"), n, "fraction, 0 or less", _GH, 1, below_high(n)
        )
        for n in (20, 60, 252)
    ),
    *(
        FeatureSpec(f"distance_low_{n}", "technical", ("low", "close"), n, "fraction, 0 or more", _GH, 1, above_low(n))
        for n in (20, 60, 252)
    ),
    FeatureSpec("range_position_20", "technical", ("high", "low", "close"), 20, "0-1", _OWN, 1, range_position),
    FeatureSpec("close_run", "price_action", ("close",), LONGEST_RUN + 1, "bars, -20..20", _OWN, 1, close_run),
    FeatureSpec(
        "trend_into_bar", "price_action", ("close", "atr_14"), _ATR, "ATR(14), signed", _OWN, 1, trend_into_bar
    ),
)
"""Returns and where the price stands in its history."""

VOLATILITY: tuple[FeatureSpec, ...] = (
    FeatureSpec(
        "volatility_realised_20", "technical", ("close",), 21, "log return a bar", _OWN, 1, realised_volatility
    ),
    FeatureSpec(
        "volatility_parkinson_20",
        "technical",
        ("high", "low"),
        20,
        "log return a bar",
        _PARKINSON,
        1,
        parkinson_volatility,
    ),
    FeatureSpec(
        "volatility_garman_klass_20", "technical", _OHLC, 20, "log return a bar", _GK, 1, garman_klass_volatility
    ),
    FeatureSpec("atr_ratio", "technical", ("oscillators", "close"), _ATR, "fraction", _WILDER, 1, atr_ratio),
    FeatureSpec(
        "range_to_atr",
        "price_action",
        ("high", "low", "atr_14"),
        _ATR,
        "ATR(14) of the bar before",
        _OWN,
        1,
        range_to_atr,
    ),
    FeatureSpec(
        "range_contraction", "price_action", ("high", "low"), 20, "mean range of 5 over 20", _OWN, 1, range_contraction
    ),
    FeatureSpec(
        "gap_to_atr",
        "price_action",
        ("open", "close", "atr_14"),
        _ATR,
        "ATR(14) of the bar before, signed",
        _OWN,
        1,
        gap_to_atr,
    ),
    FeatureSpec("overnight_share_20", "price_action", ("open", "close"), 21, "0-1", _LPS, 1, overnight_share),
)
"""Size of moves, ranges and gaps."""

VOLUME: tuple[FeatureSpec, ...] = (
    FeatureSpec(
        "vwap_distance_20", "technical", ("high", "low", "close", "volume"), 20, _FRACTION, _OWN, 1, vwap_distance
    ),
    FeatureSpec(
        "volume_above_close_60",
        "technical",
        ("high", "low", "close", "volume"),
        60,
        "0-1, share of the volume",
        _STEIDL,
        1,
        volume_above_close,
    ),
)
"""Where the volume was traded."""

AGAINST_OTHERS: tuple[FeatureSpec, ...] = (
    FeatureSpec(
        "market_relative_return_20", "market", ("close", "market_close"), 21, _FRACTION, _JT, 1, market_relative_return
    ),
    FeatureSpec(
        "sector_relative_return_20",
        "market",
        ("close", "sector_return_20"),
        21,
        _FRACTION,
        "Moskowitz & Grinblatt (1999), Journal of Finance 54",
        1,
        sector_relative_return,
    ),
    FeatureSpec(
        "market_beta_60",
        "market",
        ("returns", "market_close"),
        BETA_BARS + 1,
        "slope on SPY",
        "Sharpe (1964), Journal of Finance 19",
        1,
        market_beta,
    ),
    FeatureSpec(
        "idiosyncratic_return",
        "market",
        ("returns", "market_close"),
        BETA_BARS + 2,
        _FRACTION,
        _SOURCES_OF_DAY,
        1,
        idiosyncratic_return,
    ),
    *(
        FeatureSpec(f"{name}_of_day", "market", (name,), n, "0-1, place among the day's stocks", _OWN, 1, as_given)
        for name, n in (("rank_return_1", 2), ("rank_return_20", 21), ("rank_volume", 21))
    ),
)
"""A stock against the market, its sector and the stocks of the day."""

REGIME: tuple[FeatureSpec, ...] = (
    FeatureSpec("market_trend_50", "market", ("market_trend",), 1, _FRACTION, _MURPHY, 1, as_given),
    FeatureSpec("vix_change_5", "market", ("volatility_change",), 1, _FRACTION, _OWN, 1, as_given),
    FeatureSpec(
        "return_dispersion",
        "market",
        ("dispersion",),
        1,
        "standard deviation of returns",
        "Stivers & Sun (2010), Journal of Financial and Quantitative Analysis 45",
        1,
        as_given,
    ),
)
"""The same for every stock of a close."""

CATALYSTS: tuple[FeatureSpec, ...] = (
    FeatureSpec(
        "days_since_earnings",
        "catalyst",
        ("days_since_report",),
        1,
        "days",
        "Bernard & Thomas (1989), Journal of Accounting Research 27",
        1,
        as_given,
    ),
    FeatureSpec(
        "days_to_expected_earnings",
        "catalyst",
        ("days_to_expected_report",),
        1,
        "days, negative if overdue",
        "Frazzini & Lamont (2007), NBER 13090; expected from past reports, no dated calendar is at hand",
        1,
        as_given,
    ),
    FeatureSpec("news_count_5d", "catalyst", ("news_count",), 1, "stories in 5 days", _OWN, 1, as_given),
    FeatureSpec("news_age_hours", "catalyst", ("news_age_hours",), 1, "hours, to 720", _OWN, 1, as_given),
    FeatureSpec("news_top_score_5d", "catalyst", ("news_top_score",), 1, "0-100", _OWN, 1, as_given),
)
"""Earnings and news."""

EXTENDED: tuple[FeatureSpec, ...] = (*TREND, *VOLATILITY, *VOLUME, *AGAINST_OTHERS, *REGIME, *CATALYSTS)

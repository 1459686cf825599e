"""One declaration per feature: what it is, what it needs, how far back it looks, whose formula it is.

The engine resolves ``inputs`` by name: columns of the bars, cross-sectional inputs, or intermediates, which
are computed once per symbol and shared. ``compute`` takes the arrays of one symbol in the order of ``inputs``
and returns one value per bar. The engine blanks the first ``lookback_bars - 1`` bars of each symbol, so a
declared lookback is a fact, not a comment. A feature whose source is absent is missing (NaN), never zero.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from catalyst_ml.features import cross_section
from catalyst_ml.indicators import kernels, one_pass
from catalyst_ml.indicators.kernels import FloatArray

RECURSIVE_LOOKBACK_BARS = 500
"""Wilder's means remember their start; (13/14)^472 < 1e-15 of it is left after ADX's warm-up."""

VOLUME_BARS = 20
CORRELATION_BARS = 60
UNUSUAL_VOLUME_RATIO = 2.0

INPUTS: dict[str, str] = {
    "open": "bars, US dollars per share, adjusted for splits",
    "high": "bars, US dollars per share, adjusted for splits",
    "low": "bars, US dollars per share, adjusted for splits",
    "close": "bars, US dollars per share, adjusted for splits",
    "volume": "bars, shares, adjusted for splits",
    "market_close": "last close of SPY at or before ts",
    "volatility_close": "last close of VIX at or before ts, index points",
    "breadth": "(advancing - declining) / tracked stocks of that session",
    "sector_return": "mean 5-session return of the other members of the sector",
    "has_news": "1 with a story in (ts - 24 h, ts], else 0",
    "options_volume": "no source yet: features on it are missing",
}
"""What the engine can be asked for. A name outside this list is a typing error, not an absent source."""


@dataclass(frozen=True)
class Intermediate:
    """An array, or tuple of arrays, that several features share; computed once per symbol."""

    name: str
    inputs: tuple[str, ...]
    compute: Callable[..., Any]


@dataclass(frozen=True)
class FeatureSpec:
    """Declaration of one feature.

    Parameters
    ----------
    name, group : str
        Column name; ``price_action``, ``technical``, ``market`` or ``catalyst``.
    inputs : tuple of str
        Names from ``INPUTS`` or ``INTERMEDIATES``, in the order ``compute`` takes them.
    lookback_bars : int
        Bars needed, the current one included; with fewer the value is missing.
    unit, source : str
        Unit and range in words; where the formula comes from.
    version : int
        Raised when the meaning changes while the source text does not.
    compute : callable
        Arrays of one symbol, shape (n_bars,), to one float64 array of the same shape.
    """

    name: str
    group: str
    inputs: tuple[str, ...]
    lookback_bars: int
    unit: str
    source: str
    version: int
    compute: Callable[..., FloatArray]


def returns(close: FloatArray) -> FloatArray:
    """Simple return from the prior bar's close; NaN for the first bar."""
    out = np.full(close.size, np.nan)
    out[1:] = close[1:] / close[:-1] - 1.0
    return out


def relative_volume(volume: FloatArray) -> FloatArray:
    """Volume over the mean of the 20 bars before it: including the bar itself would dampen its own surge."""
    mean = np.full(volume.size, np.nan)
    mean[1:] = kernels.sma(volume, VOLUME_BARS)[:-1]
    return kernels.ratio(volume, mean, np.nan)


class Oscillators(NamedTuple):
    """What one pass of ``one_pass.oscillators`` gives: RSI and ADX 0-100, MACD histogram and ATR in price units."""

    rsi: FloatArray
    macd_histogram: FloatArray
    adx: FloatArray
    atr: FloatArray


def oscillators(high: FloatArray, low: FloatArray, close: FloatArray) -> Oscillators:
    """RSI(14), MACD(12, 26, 9), ADX(14) and ATR(14)."""
    return Oscillators(*one_pass.oscillators(high, low, close, 14, 12, 26, 9))


def bollinger(close: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    return kernels.bollinger(close, 20, 2.0)


def atr_14(lines: Oscillators) -> FloatArray:
    return lines.atr


def body_to_range_ratio(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    return kernels.ratio(np.abs(close - open_), high - low, 0.0)


def upper_shadow_ratio(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    return kernels.ratio(high - np.maximum(open_, close), high - low, 0.0)


def lower_shadow_ratio(open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    return kernels.ratio(np.minimum(open_, close) - low, high - low, 0.0)


def rsi_14(lines: Oscillators) -> FloatArray:
    return lines.rsi


def bb_position(close: FloatArray, bands: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
    _, upper, lower = bands
    # Bands of zero width lie on the price: it is in their middle.
    return kernels.position(close, lower, upper, 0.5)


def macd_histogram(lines: Oscillators) -> FloatArray:
    """Histogram in units of ATR: in dollars it would rank symbols by their price."""
    return kernels.ratio(lines.macd_histogram, lines.atr, 0.0)


def adx_strength(lines: Oscillators) -> FloatArray:
    return lines.adx


def spy_correlation(close_returns: FloatArray, market_close: FloatArray) -> FloatArray:
    """Both returns span the same two bars of the symbol, so a session it missed does not shift the pairs."""
    return kernels.rolling_corr(close_returns, returns(market_close), CORRELATION_BARS)


def premarket_gap(open_: FloatArray, close: FloatArray) -> FloatArray:
    out = np.full(close.size, np.nan)
    out[1:] = 100.0 * (open_[1:] / close[:-1] - 1.0)
    return out


def unusual_volume(ratio: FloatArray) -> FloatArray:
    return np.where(np.isnan(ratio), np.nan, (ratio >= UNUSUAL_VOLUME_RATIO).astype(np.float64))


def as_given(values: FloatArray) -> FloatArray:
    return values


INTERMEDIATES: tuple[Intermediate, ...] = (
    Intermediate("returns", ("close",), returns),
    Intermediate("relative_volume", ("volume",), relative_volume),
    Intermediate("bollinger", ("close",), bollinger),
    Intermediate("oscillators", ("high", "low", "close"), oscillators),
    Intermediate("atr_14", ("oscillators",), atr_14),
)

_OHLC = ("open", "high", "low", "close")
_OSCILLATORS = ("oscillators",)
_PLAN = "plan, pattern_features"
_WILDER = "Wilder (1978), New Concepts in Technical Trading Systems; TA-Lib"

CATALOGUE: tuple[FeatureSpec, ...] = (
    FeatureSpec("body_to_range_ratio", "price_action", _OHLC, 1, "0-1; 0 without range", _PLAN, 1, body_to_range_ratio),
    FeatureSpec("upper_shadow_ratio", "price_action", _OHLC, 1, "0-1; 0 without range", _PLAN, 1, upper_shadow_ratio),
    FeatureSpec("lower_shadow_ratio", "price_action", _OHLC, 1, "0-1; 0 without range", _PLAN, 1, lower_shadow_ratio),
    FeatureSpec(
        "volume_surge",
        "price_action",
        ("relative_volume",),
        VOLUME_BARS + 1,
        "ratio to the mean of the 20 bars before",
        _PLAN,
        1,
        as_given,
    ),
    FeatureSpec("rsi_14", "technical", _OSCILLATORS, RECURSIVE_LOOKBACK_BARS, "0-100", _WILDER, 1, rsi_14),
    FeatureSpec(
        "bb_position",
        "technical",
        ("close", "bollinger"),
        20,
        "0 lower band, 1 upper band (20 bars, 2 sigma); may leave 0-1",
        "Bollinger (2001); TA-Lib",
        1,
        bb_position,
    ),
    FeatureSpec(
        "macd_histogram",
        "technical",
        _OSCILLATORS,
        RECURSIVE_LOOKBACK_BARS,
        "ATR(14), signed",
        "Appel (1979), 12/26/9; TA-Lib",
        1,
        macd_histogram,
    ),
    FeatureSpec("adx_strength", "technical", _OSCILLATORS, RECURSIVE_LOOKBACK_BARS, "0-100", _WILDER, 1, adx_strength),
    FeatureSpec("vix_level", "market", ("volatility_close",), 1, "index points", _PLAN, 1, as_given),
    FeatureSpec(
        "spy_correlation",
        "market",
        ("returns", "market_close"),
        CORRELATION_BARS + 1,
        "-1..1, Pearson, 60 close-to-close returns",
        _PLAN,
        1,
        spy_correlation,
    ),
    FeatureSpec(
        "sector_momentum",
        "market",
        ("sector_return",),
        1,
        "fraction, signed; mean of the sector's other members over 5 sessions",
        _PLAN,
        1,
        as_given,
    ),
    FeatureSpec("market_breadth", "market", ("breadth",), 1, "-1..1", _PLAN, 1, as_given),
    FeatureSpec("news_present", "catalyst", ("has_news",), 1, "0 or 1", _PLAN, 1, as_given),
    FeatureSpec(
        "premarket_gap",
        "catalyst",
        ("open", "close"),
        2,
        "percent of the prior close",
        _PLAN,
        1,
        premarket_gap,
    ),
    FeatureSpec(
        "unusual_volume",
        "catalyst",
        ("relative_volume",),
        VOLUME_BARS + 1,
        "1 if volume is at least twice its mean, else 0",
        _PLAN,
        1,
        unusual_volume,
    ),
    FeatureSpec("options_activity", "catalyst", ("options_volume",), 1, "no source yet", _PLAN, 1, as_given),
)
"""The plan's 16, in its order."""

FEATURE_NAMES: tuple[str, ...] = tuple(spec.name for spec in CATALOGUE)


def feature_set_version(catalogue: tuple[FeatureSpec, ...] = CATALOGUE) -> str:
    """Return 16 hexadecimal digits that change when a declaration, or code behind it, changes.

    Hashed are the declarations, the source text of each ``compute`` and of the intermediates, and the modules
    with the kernels and the cross-sectional inputs; so the digits are the same in every process and on every
    machine with this code. Of a declaration made in another module that whole module is hashed, with the modules
    that it names in ``CODE_BEHIND``.
    """
    declared = [
        [
            s.name,
            s.group,
            s.inputs,
            s.lookback_bars,
            s.unit,
            s.source,
            s.version,
            inspect.getsource(s.compute),
        ]
        for s in catalogue
    ]
    shared = [[i.name, i.inputs, inspect.getsource(i.compute)] for i in INTERMEDIATES]
    modules = [inspect.getsource(module) for module in (kernels, one_pass, cross_section)]
    for name in sorted({s.compute.__module__ for s in catalogue} - {__name__}):
        elsewhere = sys.modules[name]
        modules += [inspect.getsource(module) for module in (elsewhere, *getattr(elsewhere, "CODE_BEHIND", ()))]
    text = json.dumps([declared, shared, INPUTS, modules])
    return hashlib.sha256(text.encode()).hexdigest()[:16]

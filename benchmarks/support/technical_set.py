"""The technical set as a user would write it without this library: TA-Lib in a loop, pandas groupby, Polars.

All give the same seven columns in the order of ``NAMES``. TA-Lib's agree with ours to rounding; pandas and Polars use
their own exponential means, which start elsewhere and agree behind some hundred bars: they are here for their time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.extended import EXTENDED

NAMES = ("rsi_14", "macd_histogram", "bb_position", "adx_strength", "atr_ratio", "sma_ratio_20", "sma_ratio_50")
_DECLARED = {spec.name: spec for spec in (*CATALOGUE, *EXTENDED)}
TECHNICAL: tuple[FeatureSpec, ...] = tuple(_DECLARED[name] for name in NAMES)

Arrays = dict[str, np.ndarray]


def random_walks(n_symbols: int, n_bars: int, *, seed: int = 1, n_different: int = 50) -> Arrays:
    """Open, high, low, close and volume of ``n_symbols`` x ``n_bars`` bars, symbol after symbol.

    ``n_different`` walks are drawn and tiled, each at another price: drawing takes longer than the features.
    """
    rng = np.random.default_rng(seed)
    moves = rng.standard_t(5, (min(n_different, n_symbols), n_bars)) * 0.008
    walk = np.exp(np.cumsum(moves - moves.mean(), axis=1))
    prior = np.concatenate((np.ones((len(walk), 1)), walk[:, :-1]), axis=1)
    open_ = prior * np.exp(rng.normal(0, 0.004, walk.shape))
    reach = np.abs(rng.normal(0, 0.005, (2, *walk.shape)))
    high, low = np.maximum(open_, walk) * (1 + reach[0]), np.minimum(open_, walk) * (1 - reach[1])
    volume = rng.lognormal(13, 0.6, walk.shape).round()
    source = np.arange(n_symbols) % len(walk)
    price = rng.uniform(5, 400, n_symbols)[:, None]
    prices = {"open": open_, "high": high, "low": low, "close": walk}
    return {name: (values[source] * price).ravel() for name, values in prices.items()} | {
        "volume": volume[source].ravel()
    }


def with_talib(arrays: Arrays, slices: list[slice], out: np.ndarray) -> None:
    """TA-Lib symbol by symbol, ratios in numpy; written into ``out`` (n_bars, 7)."""
    import talib

    for rows in slices:
        high, low, close = (arrays[name][rows] for name in ("high", "low", "close"))
        atr = talib.ATR(high, low, close, 14)
        upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
        out[rows, 0] = talib.RSI(close, 14)
        out[rows, 1] = talib.MACD(close, 12, 26, 9)[2] / atr
        out[rows, 2] = (close - lower) / (upper - lower)
        out[rows, 3] = talib.ADX(high, low, close, 14)
        out[rows, 4] = atr / close
        out[rows, 5] = close / middle - 1.0
        out[rows, 6] = close / talib.SMA(close, 50) - 1.0


def with_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns at a time, grouped by symbol; Wilder's means as exponential means of weight 1/14."""
    by = frame["symbol"]

    def grouped(values: pd.Series) -> pd.core.groupby.SeriesGroupBy:
        return values.groupby(by, sort=False, observed=True)

    def wilder(values: pd.Series) -> pd.Series:
        return grouped(values).ewm(alpha=1 / 14, adjust=False).mean().droplevel(0)

    def ema(values: pd.Series, span: int) -> pd.Series:
        return grouped(values).ewm(span=span, adjust=False).mean().droplevel(0)

    def mean(values: pd.Series, n: int) -> pd.Series:
        return grouped(values).rolling(n).mean().droplevel(0)

    high, low, close = frame["high"], frame["low"], frame["close"]
    prior = grouped(close).shift()
    move = close - prior
    gain, loss = wilder(move.clip(lower=0)), wilder((-move).clip(lower=0))
    true_range = np.maximum(high - low, np.maximum((high - prior).abs(), (low - prior).abs()))
    atr = wilder(true_range)
    line = ema(close, 12) - ema(close, 26)
    rise, fall = grouped(high).diff(), -grouped(low).diff()
    plus = wilder(rise.where((rise > fall) & (rise > 0), 0.0)) / atr
    minus = wilder(fall.where((fall > rise) & (fall > 0), 0.0)) / atr
    middle = mean(close, 20)
    width = 2.0 * grouped(close).rolling(20).std(ddof=0).droplevel(0)
    return pd.DataFrame(
        {
            "rsi_14": 100 * gain / (gain + loss),
            "macd_histogram": (line - ema(line, 9)) / atr,
            "bb_position": (close - middle + width) / (2 * width),
            "adx_strength": wilder(100 * (plus - minus).abs() / (plus + minus)),
            "atr_ratio": atr / close,
            "sma_ratio_20": close / middle - 1,
            "sma_ratio_50": close / mean(close, 50) - 1,
        }
    )


def with_polars(frame: object) -> object:
    """Lazy expressions over the symbol, on Polars' own threads; ``frame`` and result are polars frames."""
    import polars as pl

    close, high, low = pl.col("close"), pl.col("high"), pl.col("low")
    by = "symbol"

    def wilder(column: str) -> pl.Expr:
        return pl.col(column).ewm_mean(alpha=1 / 14, adjust=False, ignore_nulls=True).over(by)

    def ema(column: str, span: int) -> pl.Expr:
        return pl.col(column).ewm_mean(span=span, adjust=False).over(by)

    prior = close.shift().over(by)
    rise, fall = high.diff().over(by), -low.diff().over(by)
    lazy = frame.lazy()  # type: ignore[attr-defined]
    lazy = lazy.with_columns(
        up=(close - prior).clip(lower_bound=0.0),
        down=(prior - close).clip(lower_bound=0.0),
        reach=pl.max_horizontal(high - low, (high - prior).abs(), (low - prior).abs()),
        rise=pl.when((rise > fall) & (rise > 0)).then(rise).otherwise(0.0),
        fall=pl.when((fall > rise) & (fall > 0)).then(fall).otherwise(0.0),
        line=ema("close", 12) - ema("close", 26),
        middle=close.rolling_mean(20).over(by),
        width=2.0 * close.rolling_std(20, ddof=0).over(by),
        long=close.rolling_mean(50).over(by),
    )
    lazy = lazy.with_columns(
        gain=wilder("up"),
        loss=wilder("down"),
        atr=wilder("reach"),
        plus=wilder("rise"),
        minus=wilder("fall"),
        signal=ema("line", 9),
    )
    lazy = lazy.with_columns(dx=100 * (pl.col("plus") - pl.col("minus")).abs() / (pl.col("plus") + pl.col("minus")))
    return lazy.select(
        rsi_14=100 * pl.col("gain") / (pl.col("gain") + pl.col("loss")),
        macd_histogram=(pl.col("line") - pl.col("signal")) / pl.col("atr"),
        bb_position=(close - pl.col("middle") + pl.col("width")) / (2 * pl.col("width")),
        adx_strength=wilder("dx"),
        atr_ratio=pl.col("atr") / close,
        sma_ratio_20=close / pl.col("middle") - 1,
        sma_ratio_50=close / pl.col("long") - 1,
    ).collect()

"""Stock splits: prices on one scale as known at a moment, and jumps that no known split explains.

Bars are stored raw, as they traded, with the split factor beside them. A factor is effective at its own
bar's open: that bar already trades after the split, all earlier ones before it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError

PRICE_COLUMNS = ("open", "high", "low", "close")

JUMP_THRESHOLD = 0.4
"""Overnight moves beyond it are rarer than missed splits: a 2-for-1 is -50 %, a 3-for-2 already -33 %."""


def adjust_for_splits(bars: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Return the bars known at ``as_of`` on the share scale of that moment.

    Parameters
    ----------
    bars : BARS
        Raw prices and volumes, sorted by symbol and ts.
    as_of : Timestamp, UTC
        Later bars are left out: neither they nor their splits were known, and they trade on another scale.

    Returns
    -------
    BARS
        Prices divided, volumes multiplied by the product of the split factors of the symbol's *later* bars;
        ``split_factor`` is 1.0 everywhere. Order kept.

    Raises
    ------
    DataContractError
        If a split factor is not a finite number above zero.

    Notes
    -----
    A later split multiplies all earlier prices of its symbol by one constant, so returns, candle shapes and
    every other ratio within a symbol stay what they were before the split was known.
    """
    known = bars[bars["ts"] <= as_of].reset_index(drop=True)
    factors = known["split_factor"].to_numpy()
    _refuse_bad_factors(known, factors)
    later = _product_of_later_factors(known["symbol"], factors)
    prices = {column: known[column].to_numpy() / later for column in PRICE_COLUMNS}
    return known.assign(**prices, volume=known["volume"].to_numpy() * later, split_factor=1.0)


def unexplained_jumps(bars: pd.DataFrame, *, threshold: float = JUMP_THRESHOLD) -> pd.DataFrame:
    """Name the overnight jumps that the recorded split factors do not explain.

    A missed split, a spin-off, a wrong factor and a real crash look alike here; a person decides.

    Parameters
    ----------
    bars : BARS
        Raw bars, sorted by symbol and ts.
    threshold : float
        Smallest |jump| to name, as a fraction of the previous close.

    Returns
    -------
    frame
        symbol, ts, previous_close, open (raw dollars), split_factor, and ``jump`` = open * split_factor /
        previous close - 1, in the order of ``bars``.
    """
    previous_close = bars.groupby("symbol", sort=False)["close"].shift(1)
    jump = bars["open"] * bars["split_factor"] / previous_close - 1.0
    named = bars.assign(previous_close=previous_close, jump=jump)[jump.abs() > threshold]
    columns = ["symbol", "ts", "previous_close", "open", "split_factor", "jump"]
    return named[columns].reset_index(drop=True)


def _refuse_bad_factors(bars: pd.DataFrame, factors: np.ndarray) -> None:
    """Raise on a factor that would erase or turn around a price."""
    is_bad = ~(np.isfinite(factors) & (factors > 0.0))
    if is_bad.any():
        first = bars.iloc[int(is_bad.argmax())]
        raise DataContractError(
            f"{first['symbol']}: split factor {first['split_factor']} on {first['ts']:%Y-%m-%d} "
            f"({int(is_bad.sum())} such rows); expected new shares per old share, above 0, 1.0 for none. "
            "Mend or exclude the rows."
        )


def _product_of_later_factors(symbols: pd.Series, factors: np.ndarray) -> np.ndarray:
    """Return, for each bar, the product of the factors of the bars after it in its symbol.  # (n_bars,)"""
    backwards = pd.Series(factors[::-1])
    own_and_later = backwards.groupby(symbols.to_numpy()[::-1], sort=False).cumprod().to_numpy()[::-1]
    is_last = symbols.to_numpy()[:-1] != symbols.to_numpy()[1:]
    later = np.ones(len(factors))
    later[:-1] = np.where(is_last, 1.0, own_and_later[1:])
    return later

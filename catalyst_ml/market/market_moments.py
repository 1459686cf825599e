"""How a market moves, in one line of numbers: one measure for real and simulated bars alike.

Returns, tails, memory of volatility, what stocks share, gaps, volume, the volatility index. What patterns and
labels make of the bars is measured by ``event_statistics``. Numbers are medians over stocks, so that a few
unrecorded corporate actions in a real file move nothing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError, InsufficientHistory

MIN_RETURNS = 250
"""Stocks with fewer returns are left out."""
WINDOW_SESSIONS = 63
"""Correlations are measured within quarters: over years they would mix calm and stress."""
MIN_STOCKS_IN_WINDOW = 8
GAP = 0.01
VOLUME_SESSIONS = 20
LEVERAGE_SESSIONS = 10


@dataclass(frozen=True)
class MarketMoments:
    """Moments of one market. Standard deviations per session, as fractions; everything else without unit.

    Parameters
    ----------
    return_sd, excess_kurtosis, skew
        Of a stock's daily logarithmic returns; the median over stocks.
    absolute_acf_1, absolute_acf_5, absolute_acf_20
        Autocorrelation of the size of a stock's return at these lags; the median over stocks.
    overnight_share
        Variance from close to open over that plus the variance from open to close.
    gap_rate
        Share of opens at least 1 % away from the previous close.
    leverage
        Correlation of a stock's return with the mean size of its next ten returns: falls raise volatility.
    volume_size_correlation
        Correlation of the log of volume over the mean of the 20 sessions before with the size of the return.
    pair_correlation
        Mean correlation of two stocks within a quarter; the mean over quarters.
    pair_correlation_in_stress
        Mean over the quarter of the quarters with the wildest market, minus that of the calmest.
    market_share
        Share of a stock's variance explained by the equal-weighted mean of the others.
    sector_pair_excess
        Mean correlation of two stocks of one sector minus that of two of different sectors, the market's part
        taken out; NaN without sectors.
    market_sd, market_leverage
        Of the equal-weighted mean return.
    vix_mean, vix_sd, vix_memory
        Level, spread and lag-one autocorrelation of the volatility index's close; NaN without one.
    """

    n_stocks: int
    n_sessions: int
    return_sd: float
    excess_kurtosis: float
    skew: float
    absolute_acf_1: float
    absolute_acf_5: float
    absolute_acf_20: float
    overnight_share: float
    gap_rate: float
    leverage: float
    volume_size_correlation: float
    pair_correlation: float
    pair_correlation_in_stress: float
    market_share: float
    sector_pair_excess: float
    market_sd: float
    market_leverage: float
    vix_mean: float
    vix_sd: float
    vix_memory: float


def market_moments(bars: pd.DataFrame, instruments: pd.DataFrame) -> MarketMoments:
    """Measure a market.

    Parameters
    ----------
    bars : BARS
        Daily and split-adjusted (``adjust_for_splits``).
    instruments : INSTRUMENTS
        Kinds decide who is a stock and who the volatility index (the first of its kind).

    Returns
    -------
    MarketMoments

    Raises
    ------
    DataContractError
        If the bars still carry split factors.
    InsufficientHistory
        If fewer than 8 stocks have 250 returns.

    Notes
    -----
    A return runs from a symbol's bar to its next bar on the next session of the frame; where a session is
    missing, the return is. Bars without volume count in everything but the volume's correlation.
    """
    if (bars["split_factor"] != 1.0).any():
        raise DataContractError(
            f"market moments: {int((bars['split_factor'] != 1.0).sum())} bars still carry a split factor; expected "
            "bars on one share scale. Call market.corporate_actions.adjust_for_splits first."
        )
    kinds = instruments.set_index("symbol")["kind"]
    stocks = bars[bars["symbol"].map(kinds).eq("stock")]
    opened, closed, volume = (_table(stocks, name) for name in ("open", "close", "volume"))
    returns = _log(closed).diff()
    is_long = returns.notna().sum() >= MIN_RETURNS
    if is_long.sum() < MIN_STOCKS_IN_WINDOW:
        raise InsufficientHistory(
            f"market moments: {int(is_long.sum())} of {len(is_long)} stocks have {MIN_RETURNS} returns; expected at "
            f"least {MIN_STOCKS_IN_WINDOW}. Measure a longer or wider market."
        )
    names = is_long.index[is_long]
    returns, opened, closed, volume = returns[names], opened[names], closed[names], volume[names]
    size = returns.abs()
    night = _log(opened / closed.shift(1))
    day = _log(closed / opened)
    earlier = volume.rolling(VOLUME_SESSIONS).mean().shift(1)
    surge = _log(volume.where(volume > 0.0) / earlier.where(earlier > 0.0))
    market = returns.mean(axis=1)
    pairs, wildness = _pair_correlations(returns)
    order = np.argsort(wildness)
    quarter = max(1, len(order) // 4)
    vix = _volatility_index(bars, kinds)
    return MarketMoments(
        n_stocks=int(is_long.sum()),
        n_sessions=len(returns),
        return_sd=_median(returns.std()),
        excess_kurtosis=_median(returns.kurt()),
        skew=_median(returns.skew()),
        absolute_acf_1=_median(size.corrwith(size.shift(1))),
        absolute_acf_5=_median(size.corrwith(size.shift(5))),
        absolute_acf_20=_median(size.corrwith(size.shift(20))),
        overnight_share=_median(night.var() / (night.var() + day.var())),
        gap_rate=float((np.abs(np.expm1(night.to_numpy())) >= GAP).sum() / night.notna().to_numpy().sum()),
        leverage=_median(returns.corrwith(_mean_size_ahead(size))),
        volume_size_correlation=_median(size.corrwith(surge)),
        pair_correlation=float(pairs.mean()),
        pair_correlation_in_stress=float(pairs[order[-quarter:]].mean() - pairs[order[:quarter]].mean()),
        market_share=_market_share(returns),
        sector_pair_excess=_sector_pair_excess(returns, instruments.set_index("symbol")["sector"]),
        market_sd=float(market.std()),
        market_leverage=float(market.corr(_mean_size_ahead(market.abs().to_frame()).iloc[:, 0])),
        vix_mean=float(vix.mean()),
        vix_sd=float(vix.std()),
        vix_memory=float(vix.corr(vix.shift(1))),
    )


def _table(stocks: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return one column with a row per session and a column per stock."""
    return stocks.pivot_table(index="ts", columns="symbol", values=column, aggfunc="first")


def _log(values: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(np.log(values.to_numpy()), index=values.index, columns=values.columns)


def _median(by_stock: pd.Series) -> float:
    return float(by_stock.median())


def _mean_size_ahead(size: pd.DataFrame) -> pd.DataFrame:
    """Return the mean size of the returns after each session."""
    return size.rolling(LEVERAGE_SESSIONS).mean().shift(-LEVERAGE_SESSIONS)


def _pair_correlations(returns: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean correlation of two stocks, and the market's volatility, of each whole quarter."""
    means, wildness = [], []
    for start in range(1, len(returns) - WINDOW_SESSIONS + 1, WINDOW_SESSIONS):
        window = returns.iloc[start : start + WINDOW_SESSIONS].dropna(axis=1).to_numpy()
        window = window[:, window.std(axis=0) > 0.0]
        n = window.shape[1]
        if n >= MIN_STOCKS_IN_WINDOW:
            means.append((np.corrcoef(window, rowvar=False).sum() - n) / (n * (n - 1)))
            wildness.append(window.mean(axis=1).std())
    if not means:
        return np.array([np.nan]), np.array([np.nan])
    return np.array(means), np.array(wildness)


def _market_share(returns: pd.DataFrame) -> float:
    """Return the median squared correlation of a stock with the mean of all others."""
    n = returns.notna().sum(axis=1)
    others = returns.rsub(returns.sum(axis=1), axis=0).div(n - 1, axis=0)
    return _median(returns.corrwith(others) ** 2)


def _sector_pair_excess(returns: pd.DataFrame, sectors: pd.Series) -> float:
    """Return how much more two stocks of one sector move together, beyond the market."""
    sector = sectors.reindex(returns.columns)
    known = returns.loc[:, sector.notna().to_numpy()]
    if known.shape[1] < MIN_STOCKS_IN_WINDOW:
        return float("nan")
    rest = known.sub(known.mean(axis=1), axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # two stocks that never traded on the same session
        correlation = rest.corr(min_periods=MIN_RETURNS).to_numpy()
    names = sector.dropna().to_numpy()
    is_same = names[:, None] == names[None, :]
    is_pair = ~np.eye(len(names), dtype=bool)
    if not (is_same & is_pair).any() or is_same.all():
        return float("nan")
    return float(np.nanmean(correlation[is_same & is_pair]) - np.nanmean(correlation[~is_same]))


def _volatility_index(bars: pd.DataFrame, kinds: pd.Series) -> pd.Series:
    """Return the closes of the first volatility index, NaN without one."""
    names = kinds.index[kinds == "volatility"]
    if names.empty:
        return pd.Series([np.nan])
    return bars.loc[bars["symbol"] == names[0], "close"].reset_index(drop=True)

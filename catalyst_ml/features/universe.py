"""The day's universe: what a feature is on average over all stocks at the same close.

An RSI of 30 says one thing about a stock while the market falls and another while it rises. The difference to the
universe is what sets a stock apart; the common part says which *day* it is, and a model that learns from some 500
days which of them were good swings whole days the wrong way (docs/decisions/0009).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.features.catalogue import CATALOGUE
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.panel import MarketPanel

MARKET_WIDE: tuple[str, ...] = ("vix_level", "market_breadth", "news_present", "options_activity")
"""Features without a universe mean: the same for every stock, or a fact about news and orders."""

RELATIVE_FEATURES: tuple[str, ...] = tuple(spec.name for spec in CATALOGUE if spec.name not in MARKET_WIDE)
UNIVERSE_PREFIX = "universe_"
MIN_UNIVERSE = 10
"""Fewer stocks with a value than this make no universe; the mean is then missing."""


def add_universe_means(panel: MarketPanel, features: pd.DataFrame) -> pd.DataFrame:
    """Return ``features`` with ``universe_<name>``: the mean of each relative feature over all stocks of that close.

    Parameters
    ----------
    panel
        The panel that ``features`` was computed from; a mean at ``ts`` uses bars that closed at ``ts`` or before.
    features
        Result of ``compute_features``: ``symbol``, ``ts`` and the features.

    Returns
    -------
    DataFrame
        The same rows in the same order; float64, NaN where fewer than ``MIN_UNIVERSE`` stocks have a value.
    """
    catalogue = tuple(spec for spec in CATALOGUE if spec.name in RELATIVE_FEATURES)
    bars = panel.bars[["symbol", "ts"]]
    of_stocks = bars[bars["symbol"].isin(panel.stocks) & bars["ts"].isin(features["ts"])]
    everywhere = compute_features(panel, of_stocks, catalogue=catalogue)
    by_close = everywhere.groupby("ts")[list(RELATIVE_FEATURES)]
    means = by_close.mean().where(by_close.count() >= MIN_UNIVERSE)
    at_rows = means.reindex(pd.DatetimeIndex(features["ts"])).to_numpy(dtype=np.float64)
    columns = pd.DataFrame(at_rows, columns=[f"{UNIVERSE_PREFIX}{name}" for name in RELATIVE_FEATURES])
    return pd.concat([features.reset_index(drop=True), columns], axis=1)

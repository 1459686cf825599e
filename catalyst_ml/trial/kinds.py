"""Ways of cutting the signals: by pattern, direction, catalyst and regime, each as it was known at the event."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.regimes import market_trend, volatility_terciles
from catalyst_ml.features.cross_section import MARKET_SYMBOL, VOLATILITY_SYMBOL
from catalyst_ml.frames import EVENT_KEY, PATTERNS, pattern_column
from catalyst_ml.market.rule_news import catalysts_of_events

Part = tuple[str, str, np.ndarray]
"""Kind, name, and mask (n_rows,) of the rows that belong to it."""


def parts_of_signals(
    rows: pd.DataFrame, events: pd.DataFrame, bars: pd.DataFrame, instruments: pd.DataFrame, news: pd.DataFrame
) -> list[Part]:
    """Name the parts that each signal belongs to.

    Parameters
    ----------
    rows
        Signals: event key and session.
    events : EVENTS
        As detected now; a signal whose event a correction took away belongs to no pattern.
    bars, instruments, news
        Split-adjusted BARS, INSTRUMENTS, NEWS; nothing published or closed after an event speaks of it.

    Returns
    -------
    list of Part
        Parts may overlap: an event has one or more patterns.
    """
    flags = [pattern_column(name) for name in PATTERNS]
    seen = rows[list(EVENT_KEY)].merge(events[[*EVENT_KEY, *flags]], on=list(EVENT_KEY), how="left")
    parts: list[Part] = [
        ("pattern", name, seen[pattern_column(name)].fillna(False).to_numpy(dtype=bool)) for name in PATTERNS
    ]
    direction = rows["direction"].to_numpy()
    parts += [("direction", "long", direction == 1), ("direction", "short", direction == -1)]
    has_news = catalysts_of_events(rows[["symbol", "ts"]], news).is_present
    parts += [("catalyst", "news", has_news), ("catalyst", "no news", ~has_news)]
    regimes = {
        "volatility": volatility_terciles(rows["session"], _level(rows["ts"], bars)),
        "market": market_trend(rows["ts"], bars[(bars["symbol"] == MARKET_SYMBOL).to_numpy()]),
        "sector": rows["symbol"].map(instruments.set_index("symbol")["sector"]),
    }
    for kind, names in regimes.items():
        for name in sorted(names.dropna().unique()):
            parts.append((kind, str(name), (names == name).fillna(False).to_numpy(dtype=bool)))
    return [part for part in parts if part[2].any()]


def _level(ts: pd.Series, bars: pd.DataFrame) -> pd.Series:
    """Last close of the volatility index at each moment, NaN before its first."""
    index = bars[(bars["symbol"] == VOLATILITY_SYMBOL).to_numpy()]
    place = pd.DatetimeIndex(index["ts"]).searchsorted(pd.DatetimeIndex(ts), side="right") - 1
    closes = np.append(index["close"].to_numpy(dtype="float64"), np.nan)
    return pd.Series(closes[place], index=ts.index)

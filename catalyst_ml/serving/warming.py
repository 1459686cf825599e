"""A made-up window of bars, seen once: it loads the compiled kernels, or compiles them where no cache has them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.rules import rule_arm
from catalyst_ml.serving.bars_in import SymbolBars, see_events
from catalyst_ml.serving.bars_messages import Seen

N_BARS, N_SYMBOLS = 520, 12


def warm(calendar: TradingCalendar) -> Seen:
    """Detect, score and compute the features of events and stock-days of daily bars that nobody traded."""
    closes = pd.DatetimeIndex(calendar.closes(calendar.sessions("2023-01-01", "2025-12-05")))[-N_BARS:]
    rng = np.random.default_rng(1)
    symbols = []
    for i in range(N_SYMBOLS):
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, N_BARS)))
        open_ = close * (1.0 + rng.normal(0.0, 0.01, N_BARS))
        symbols.append(
            SymbolBars(
                symbol=f"W{i:02d}", ts=closes, open=open_, high=np.maximum(open_, close) * 1.01,
                low=np.minimum(open_, close) * 0.99, close=close, volume=rng.uniform(1e5, 1e6, N_BARS), sector="Warm",
            )
        )  # fmt: skip
    return see_events(
        symbols, [], arm=rule_arm(), timeframe="1d", calendar=calendar, context=None, with_days=True
    )  # fmt: skip

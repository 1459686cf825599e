"""A market small enough to train on in half a minute."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sqlalchemy import Engine

from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import write_instruments, write_news

SMALLEST_RUN: dict[str, Any] = {"record_sessions": 65, "burn_in_sessions": 40, "training_days": 365, "threads": 1}
"""The shortest record and burn-in that the parameters allow."""


def write_market(engine: Engine, *, dataset: str, preset: str, n_symbols: int = 16, n_sessions: int = 860) -> None:
    """Simulate a market and store it as an import would."""
    market = simulate_market(preset, seed=1, n_symbols=n_symbols, n_sessions=n_sessions)
    now = market.bars["ts"].max() + pd.Timedelta(days=1)
    write_bars(engine, market.bars, dataset=dataset, timeframe="1d", source=SIMULATED_SOURCE, name=preset, now=now)
    write_instruments(engine, market.instruments, dataset=dataset)
    write_news(engine, market.news, dataset=dataset)

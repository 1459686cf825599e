"""Settled signals of a trial with a known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd


def settled_signals(*, n_sessions: int = 120, a_day: int = 30, skill: float = 0.6, seed: int = 3) -> pd.DataFrame:
    """Signals of two arms with a common day in their outcomes; only ML knows something."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2025-01-06", periods=n_sessions)
    session = days.repeat(a_day)
    n = len(session)
    signal = rng.standard_normal(n)
    day = np.repeat(0.3 * rng.standard_normal(n_sessions), a_day)
    y = rng.random(n) < 1.0 / (1.0 + np.exp(-(skill * signal + day)))
    iso = pd.DatetimeIndex(session).isocalendar()
    return pd.DataFrame(
        {
            "symbol": [f"S{i % a_day:03d}" for i in range(n)],
            "ts": (session + pd.Timedelta(hours=21)).tz_localize("UTC").astype("datetime64[us, UTC]"),
            "direction": np.where(np.arange(n) % 2, 1, -1).astype("int8"),
            "session": session,
            "fold": (iso["year"].astype(str) + "-W" + iso["week"].astype(str).str.zfill(2)).to_numpy(),
            "y": y.astype("float64"),
            "net_return": np.where(y, 0.02, -0.02) + 0.001 * rng.standard_normal(n),
            "p_ml": 1.0 / (1.0 + np.exp(-skill * signal)),
            "p_rules": np.clip(0.5 + 0.1 * rng.standard_normal(n), 0.05, 0.95),
        }
    )

"""Quiet bars of a few stocks, into which one fault at a time is planted."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from catalyst_ml.frames import BARS, INSTRUMENTS
from catalyst_ml.market.calendar import TradingCalendar

CALENDAR = TradingCalendar()
CLOSES = CALENDAR.closes(CALENDAR.sessions(date(2013, 1, 2), date(2015, 12, 31)))
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")


def quiet_bars(n_sessions: int = 200, *, symbols: tuple[str, ...] = SYMBOLS, seed: int = 1) -> pd.DataFrame:
    """BARS around 100 dollars on whole cents, 1 % of noise a day, a million shares."""
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in symbols:
        close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.008, n_sessions))), 2)
        opened = np.round(np.append(close[0], close[:-1]) * np.exp(rng.normal(0.0, 0.003, n_sessions)), 2)
        frames.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "ts": CLOSES[:n_sessions],
                    "open": opened,
                    "high": np.round(np.maximum(opened, close) * 1.004, 2),
                    "low": np.round(np.minimum(opened, close) * 0.996, 2),
                    "close": close,
                    "volume": np.round(1e6 * np.exp(rng.normal(0.0, 0.2, n_sessions))),
                    "split_factor": 1.0,
                }
            )
        )
    return BARS.validate(pd.concat(frames, ignore_index=True).astype({"symbol": "str"}))


def with_price_scale(bars: pd.DataFrame, symbol: str, session: int, factor: float) -> pd.DataFrame:
    """From this session on the symbol trades at ``1 / factor`` of its price, in ``factor`` times its shares."""
    after = (bars["symbol"] == symbol) & (bars["ts"] >= CLOSES[session])
    changed = bars.copy()
    for name in ("open", "high", "low", "close"):
        changed.loc[after, name] = np.round(changed.loc[after, name] / factor, 2)
    changed.loc[after, "volume"] *= factor
    return changed


def with_value(bars: pd.DataFrame, symbol: str, session: int, **values: float) -> pd.DataFrame:
    """One bar holds other values."""
    row = (bars["symbol"] == symbol) & (bars["ts"] == CLOSES[session])
    changed = bars.copy()
    for name, value in values.items():
        changed.loc[row, name] = value
    return changed


def stocks(bars: pd.DataFrame) -> pd.DataFrame:
    """INSTRUMENTS: every symbol a stock."""
    symbols = sorted(bars["symbol"].unique())
    frame = pd.DataFrame({"symbol": symbols, "kind": "stock", "sector": "Energy"})
    return INSTRUMENTS.validate(frame.astype({"symbol": "str", "kind": "str", "sector": "str"}))

"""Small BARS and INSTRUMENTS frames for the market tests."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from catalyst_ml.frames import BARS, INSTRUMENTS
from catalyst_ml.market.calendar import TradingCalendar

CALENDAR = TradingCalendar()
CLOSES = CALENDAR.closes(CALENDAR.sessions(date(2014, 1, 2), date(2015, 12, 31)))
QUIET = (100.0, 101.0, 99.0, 100.8, 1_000.0)
"""A bar that shows no pattern after another of its kind: open, high, low, close, volume."""


def make_bars(
    candles: list[tuple[float, float, float, float, float]],
    *,
    symbol: str = "AAA",
    closes: pd.DatetimeIndex = CLOSES,
    splits: dict[int, float] | None = None,
) -> pd.DataFrame:
    """BARS of one symbol from (open, high, low, close, volume) tuples on consecutive sessions."""
    frame = pd.DataFrame(candles, columns=["open", "high", "low", "close", "volume"], dtype="float64")
    frame = frame.assign(symbol=symbol, ts=closes[: len(frame)], split_factor=1.0)
    for row, factor in (splits or {}).items():
        frame.loc[row, "split_factor"] = factor
    return BARS.validate(frame.astype({"symbol": "str"})[BARS.column_names])


def make_instruments(**kinds: str) -> pd.DataFrame:
    """INSTRUMENTS from symbol=kind pairs."""
    frame = pd.DataFrame({"symbol": list(kinds), "kind": list(kinds.values()), "sector": "Energy"})
    return INSTRUMENTS.validate(frame.astype({"symbol": "str", "kind": "str", "sector": "str"}))


def intraday_closes(first: str, last: str, minutes: int) -> pd.DatetimeIndex:
    """Close of every regular bar in the sessions from ``first`` to ``last``."""
    sessions = CALENDAR.sessions(pd.Timestamp(first), pd.Timestamp(last))
    hours = zip(CALENDAR.opens(sessions), CALENDAR.closes(sessions), strict=True)
    step = pd.Timedelta(minutes=minutes)
    days = [pd.date_range(opened + step, closed, freq=step, unit="us").to_series() for opened, closed in hours]
    return pd.DatetimeIndex(pd.concat(days))


def random_bars(
    rng: np.random.Generator,
    *,
    symbols: tuple[str, ...] = ("AAA", "BBB"),
    n_sessions: int = 60,
    tick: float = 0.25,
    closes: pd.DatetimeIndex = CLOSES,
    hole: int = 0,
) -> pd.DataFrame:
    """Rough bars on a coarse price grid, so that ties, flat bars and exact touches happen; some are missing.

    ``hole``: so many bars in a row are missing as well, at another place in each symbol.
    """
    frames = []
    for symbol in symbols:
        close = 40.0 + np.cumsum(rng.normal(0.0, 0.6, n_sessions))
        opened = np.append(close[0], close[:-1]) + rng.normal(0.0, 0.4, n_sessions) * (rng.random(n_sessions) < 0.6)
        opened, close = np.round(opened / tick) * tick, np.round(close / tick) * tick
        up, down = (np.round(rng.exponential(0.5, n_sessions) / tick) * tick for _ in range(2))
        volume = np.round(rng.lognormal(7.0, 0.6, n_sessions)) * (rng.random(n_sessions) < 0.98)
        high, low = np.maximum(opened, close) + up, np.minimum(opened, close) - down
        bars = make_bars(list(zip(opened, high, low, close, volume, strict=True)), symbol=symbol, closes=closes)
        is_there = rng.random(n_sessions) < 0.95
        if hole:
            start = rng.integers(0, n_sessions - hole)
            is_there[start : start + hole] = False
        frames.append(bars[is_there])
    return BARS.validate(pd.concat(frames, ignore_index=True))

"""A simulated stock market with known truth: real noise, and an edge of chosen size that a model can find.

Market, sector and own moves with stochastic volatility and fat tails, volume surges, news (some of it
matters), splits, missing bars and a newcomer, on real exchange sessions. The noise depends on the seed alone,
not on the preset: presets differ by the drift that follows a pattern, and by nothing else.

The edge. At a close that shows a pattern, the drift of the next five sessions takes the pattern's direction,
times a judgement of it from what is on the screen at that close: a full body (the more so with news), high
volume, a stretched RSI against the move (much more so when the VIX is high, the reverse when it is low) and
the sector's momentum. A newer pattern replaces the drift of an older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.detector import (
    BULLISH,
    DOJI_LOOKBACK,
    MIN_BARS,
    Candle,
    directional_patterns,
    is_doji,
)
from catalyst_ml.market.simulated_noise import MarketNoise, draw_noise

HOLDING_SESSIONS = 5
SECTOR_MOMENTUM_SESSIONS = 5
ATR_PERIOD = RSI_PERIOD = 14
INDEX_SYMBOL, VOLATILITY_SYMBOL = "SPY", "VIX"


@dataclass(frozen=True)
class SimulatorPreset:
    """Size of the planted edge: drift per session in ATR per unit of signal, and the AUC it gives the oracle.

    ``oracle_auc`` is that of ranking the symmetric labels of detected events by the true drift.
    """

    name: str
    strength: float
    oracle_auc: float


PRESETS: dict[str, SimulatorPreset] = {
    preset.name: preset
    for preset in (
        SimulatorPreset("none", 0.0, 0.50),
        SimulatorPreset("weak", 0.083, 0.56),
        SimulatorPreset("middle", 0.147, 0.60),
        SimulatorPreset("strong", 0.237, 0.65),
    )
}


@dataclass(frozen=True)
class SimulatedMarket:
    """Bars (raw, with split factors), instruments and news as an import would bring them, and the truth.

    ``truth`` has one row per stock bar, sorted by symbol and ts: ``signal``, what the screen says about the
    next sessions (signed as a return), and ``score`` = strength * signal, the drift per session in ATR.
    """

    bars: pd.DataFrame
    instruments: pd.DataFrame
    news: pd.DataFrame
    truth: pd.DataFrame


def simulate_market(
    preset: str,
    *,
    seed: int,
    n_symbols: int = 120,
    n_sessions: int = 1_250,
    end: date = date(2025, 12, 5),
    calendar: TradingCalendar | None = None,
) -> SimulatedMarket:
    """Simulate daily bars of ``n_symbols`` stocks, one index and its volatility index.

    Parameters
    ----------
    preset : str
        Name in :data:`PRESETS`.
    seed : int
        The same seed gives the same bits; presets share the noise of a seed.
    n_symbols, n_sessions : int
        Stocks (at least 8, one per sector) and exchange sessions up to ``end`` (at least 60).
    end : date
        Last day of the history.
    calendar : TradingCalendar, optional
        New York by default.

    Returns
    -------
    SimulatedMarket

    Raises
    ------
    ConfigurationError
        If the preset is unknown or the market is too small.
    """
    if preset not in PRESETS:
        raise ConfigurationError(f"simulator preset {preset!r}: expected one of {list(PRESETS)}. Choose one.")
    exchange = calendar or TradingCalendar()
    closes = exchange.closes(exchange.sessions(exchange.start, end)[-n_sessions:])
    if n_symbols < 8 or n_sessions < 60 or len(closes) < n_sessions:
        raise ConfigurationError(
            f"simulator: {n_symbols} symbols over {n_sessions} sessions, {len(closes)} of them in the calendar "
            f"from {exchange.start} to {end}; expected at least 8 symbols and 60 sessions, all of them there."
        )
    noise = draw_noise(np.random.default_rng(seed), n_sessions=len(closes), n_symbols=n_symbols)
    paths = walk_prices(noise, PRESETS[preset].strength)
    symbols = [f"S{i:03d}" for i in range(n_symbols)]
    return SimulatedMarket(
        bars=_bars_frame(noise, paths, symbols, closes),
        instruments=_instruments_frame(noise, symbols),
        news=_news_frame(noise, symbols, closes),
        truth=_truth_frame(noise, paths, symbols, closes, PRESETS[preset].strength),
    )


class Paths(NamedTuple):
    """Split-adjusted stock prices and the signal in force at each close, (n_sessions, n_symbols) each."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    signal: np.ndarray


def walk_prices(noise: MarketNoise, strength: float) -> Paths:
    """Walk all stocks through the sessions; each close decides the drift of the sessions after it.

    Prices and signal of session t depend on the noise up to session t only.
    """
    n_sessions, n_symbols = noise.overnight.shape
    paths = Paths(*(np.zeros((n_sessions, n_symbols)) for _ in Paths._fields))
    screen = _Screen(noise, paths)
    last_close = noise.first_price
    signal, sessions_left = np.zeros(n_symbols), np.zeros(n_symbols, dtype=np.int64)
    for t in range(n_sessions):
        drift = strength * np.where(sessions_left > 0, signal, 0.0) * screen.atr / last_close
        opened = last_close * np.exp(noise.overnight[t])
        last_close = opened * np.exp(noise.intraday[t] + drift)
        paths.open[t], paths.close[t] = opened, last_close
        paths.high[t] = _extreme(opened, last_close, noise.path_vol[t], noise.high_draw[t], 1.0)
        paths.low[t] = _extreme(opened, last_close, noise.path_vol[t], noise.low_draw[t], -1.0)
        screen.update(t)
        fresh = screen.signal(t) if t >= 2 * MIN_BARS else np.zeros(n_symbols)
        sessions_left = np.where(fresh != 0.0, HOLDING_SESSIONS, sessions_left - 1)
        signal = np.where(fresh != 0.0, fresh, np.where(sessions_left > 0, signal, 0.0))
        paths.signal[t] = signal
    return paths


def _extreme(opened: np.ndarray, closed: np.ndarray, vol: np.ndarray, draw: np.ndarray, side: float) -> np.ndarray:
    """Draw the high (side +1) or low (-1) of a log-Brownian path with known ends.

    References
    ----------
    Maximum of a Brownian bridge: P(max > m) = exp(-2 (m - a)(m - b) / vol^2), inverted at a uniform draw.
    """
    move = np.log(closed / opened)
    reach = 0.5 * (side * move + np.sqrt(move**2 - 2.0 * vol**2 * np.log(draw)))
    return opened * np.exp(side * reach)


class _Screen:
    """What a trader sees at a close: indicators carried along the walk, from the bars so far only."""

    def __init__(self, noise: MarketNoise, paths: Paths) -> None:
        self._noise, self._paths = noise, paths
        n_symbols = noise.overnight.shape[1]
        self.atr = noise.first_price * noise.typical_vol
        self._gain = np.full(n_symbols, 0.5) * self.atr
        self._loss = self._gain.copy()
        self._last_close = noise.first_price
        self._in_sector = np.eye(noise.n_sectors)[noise.sector]  # (n_symbols, n_sectors)
        self._in_sector /= self._in_sector.sum(axis=0)

    def update(self, t: int) -> None:
        """Take in the bar of session ``t``."""
        high, low, close = self._paths.high[t], self._paths.low[t], self._paths.close[t]
        span = np.maximum(high, self._last_close) - np.minimum(low, self._last_close)
        move = close - self._last_close
        self.atr = self.atr + (span - self.atr) / ATR_PERIOD
        self._gain = self._gain + (np.maximum(move, 0.0) - self._gain) / RSI_PERIOD
        self._loss = self._loss + (np.maximum(-move, 0.0) - self._loss) / RSI_PERIOD
        self._last_close = close

    def signal(self, t: int) -> np.ndarray:
        """Return the signed signal at close ``t``; 0 without a pattern or with as many of each side."""
        direction = self._pattern_direction(t)
        bar = self._candle(t)
        body = (np.abs(bar.close - bar.open) / np.maximum(bar.high - bar.low, 1e-12) - 0.5) / 0.28
        volume = np.log(np.clip(self._noise.volume_ratio[t], 0.25, 4.0)) / 0.4
        rsi = 100.0 * self._gain / (self._gain + self._loss)
        stretch = -direction * (rsi - 50.0) / 11.0
        fear = np.tanh((self._noise.vix_close[t] - 19.0) / 6.0)
        momentum = np.log(bar.close / self._paths.close[t - SECTOR_MOMENTUM_SESSIONS])
        sector = direction * (self._in_sector @ (momentum @ self._in_sector)) / 0.025
        news = self._noise.has_news[t]
        merit = 0.2 + 0.6 * volume + body * (0.5 + 0.8 * news) + stretch * (0.2 + 0.35 * fear) + 0.25 * sector
        return direction * 2.0 * np.tanh(0.5 * merit)

    def _candle(self, t: int) -> Candle:
        return Candle(self._paths.open[t], self._paths.high[t], self._paths.low[t], self._paths.close[t])

    def _pattern_direction(self, t: int) -> np.ndarray:
        """Return the side with more patterns at close ``t``; a lone doji turns against the last five bars."""
        bar = self._candle(t)
        seen = directional_patterns(bar, self._candle(t - 1), self._candle(t - 2), self._noise.volume_ratio[t])
        n_bull = np.sum([hit for (_, side), hit in seen.items() if side == BULLISH], axis=0)
        n_bear = np.sum([hit for (_, side), hit in seen.items() if side != BULLISH], axis=0)
        turn = -np.sign(bar.close - self._paths.close[t - DOJI_LOOKBACK])
        alone = is_doji(bar) & (n_bull + n_bear == 0)
        return np.where(alone, turn, np.sign(n_bull - n_bear))


def _bars_frame(noise: MarketNoise, paths: Paths, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return raw bars of all instruments: prices in cents, splits in, missing sessions out."""
    later = np.cumprod(noise.split_factor[::-1], axis=0)[::-1] / noise.split_factor
    columns = {name: np.maximum(np.round(getattr(paths, name) * later, 2), 0.01) for name in Candle._fields}
    columns["volume"] = np.round(noise.volume / later)
    columns["split_factor"] = noise.split_factor
    stocks = _long_frame(symbols, closes, columns)[noise.is_traded.T.ravel()]
    index = _long_frame([INDEX_SYMBOL], closes, noise.index_bars)
    volatility = _long_frame([VOLATILITY_SYMBOL], closes, noise.vix_bars)
    return pd.concat([stocks, index, volatility], ignore_index=True)[BARS.column_names]


def _long_frame(symbols: list[str], closes: pd.DatetimeIndex, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Stack (n_sessions, n_symbols) arrays into one frame sorted by symbol and ts."""
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(np.repeat(np.array(symbols, dtype=object), len(closes)), dtype="str"),
            "ts": closes[np.tile(np.arange(len(closes)), len(symbols))],
        }
    )
    return frame.assign(**{name: values.T.ravel() for name, values in columns.items()})


def _instruments_frame(noise: MarketNoise, symbols: list[str]) -> pd.DataFrame:
    """Return INSTRUMENTS of the stocks, the index and the volatility index."""
    kinds = ["stock"] * len(symbols) + ["index", "volatility"]
    sectors = [*(noise.sector_names[i] for i in noise.sector), None, None]
    frame = pd.DataFrame({"symbol": [*symbols, INDEX_SYMBOL, VOLATILITY_SYMBOL], "kind": kinds, "sector": sectors})
    return frame.astype({column.name: column.dtype for column in INSTRUMENTS.columns})


def _news_frame(noise: MarketNoise, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return NEWS, each story published within the 24 hours up to its session's close."""
    stories = noise.stories
    ahead = pd.to_timedelta(stories["seconds_before_close"].to_numpy(), unit="s")
    frame = pd.DataFrame(
        {
            "symbol": np.array(symbols, dtype=object)[stories["symbol"]],
            "published_at": closes[stories["session"]] - ahead,
            "catalyst_type": stories["catalyst_type"].to_numpy(),
            "sentiment": stories["sentiment"].to_numpy(),
            "score": stories["score"].to_numpy(),
        }
    )
    frame = frame.assign(news_id=[f"sim-{i:06d}" for i in range(len(frame))])
    frame = frame.astype({column.name: column.dtype for column in NEWS.columns})
    return frame[NEWS.column_names].sort_values(list(NEWS.key), ignore_index=True)


def _truth_frame(
    noise: MarketNoise, paths: Paths, symbols: list[str], closes: pd.DatetimeIndex, strength: float
) -> pd.DataFrame:
    """Return the signal and the drift in force at each stock's close."""
    frame = _long_frame(symbols, closes, {"signal": paths.signal, "score": strength * paths.signal})
    return frame[noise.is_traded.T.ravel()].reset_index(drop=True)

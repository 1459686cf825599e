"""Prices of the simulated stocks, and the planted edge: what is seen at a close drifts the sessions after it.

The edge. At a close that shows a pattern, the drift of the next five sessions takes the pattern's direction,
times a judgement of it from what is on the screen at that close: a full body (the more so with news), high
volume, a stretched RSI against the move (much more so when the VIX is high, the reverse when it is low) and
the sector's momentum. A newer pattern replaces the drift of an older one. From one session on, a third into the
history, the judgement changes (:data:`RELATIONS`): sectors turn back instead of going on, a stretched RSI goes on
instead of turning back, news says less, and a model of the old relation loses part of its worth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from catalyst_ml.market.detector import (
    BULLISH,
    DOJI_LOOKBACK,
    MIN_BARS,
    Candle,
    directional_patterns,
    is_doji,
)
from catalyst_ml.market.simulated_noise import MarketNoise
from catalyst_ml.market.simulated_probability import HOLDING_SESSIONS

SECTOR_MOMENTUM_SESSIONS = 5
ATR_PERIOD = RSI_PERIOD = 14
LARGEST_RANGE = 0.12
"""The drift counts no ATR above this share of the price: after a crash it would feed on itself."""


class Relation(NamedTuple):
    """Weights of the judgement of a pattern."""

    constant: float
    volume: float
    body: float
    body_with_news: float
    stretch: float
    stretch_in_fear: float
    sector: float
    news: float = 0.0


RELATIONS = (
    Relation(0.2, volume=0.6, body=0.5, body_with_news=0.8, stretch=0.2, stretch_in_fear=0.35, sector=0.25),
    Relation(0.2, volume=0.6, body=0.5, body_with_news=0.3, stretch=-0.1, stretch_in_fear=0.35, sector=-0.25),
)
"""Before and after the change."""


class Paths(NamedTuple):
    """Split-adjusted stock prices and the signal in force after each close, (n_sessions, n_symbols) each."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    signal: np.ndarray
    signal_before_change: np.ndarray
    sessions_left: np.ndarray


def walk_prices(
    noise: MarketNoise,
    strength: float,
    relations: tuple[Relation, Relation] = RELATIONS,
    *,
    turn_session: int | None = None,
) -> Paths:
    """Walk all stocks through the sessions; each close decides the drift of the sessions after it.

    Prices and signal of session t depend on the noise up to session t only. From ``turn_session`` on the second
    relation is turned round: what spoke for a move speaks against it.
    """
    turned = Relation(*(-weight for weight in relations[1]))
    judged_by = relations if turn_session is None else (*relations, turned)
    turn = len(noise.overnight) if turn_session is None else turn_session
    n_sessions, n_symbols = noise.overnight.shape
    paths = Paths(*(np.zeros((n_sessions, n_symbols)) for _ in Paths._fields))
    screen = _Screen(noise, paths, judged_by)
    last_close = noise.first_price
    signals, sessions_left = np.zeros((len(judged_by), n_symbols)), np.zeros(n_symbols, dtype=np.int64)
    relation = 0
    for t in range(n_sessions):
        range_share = np.minimum(screen.atr / last_close, LARGEST_RANGE)
        drift = strength * np.where(sessions_left > 0, signals[relation], 0.0) * range_share
        opened = last_close * np.exp(noise.overnight[t])
        last_close = opened * np.exp(noise.intraday[t] + drift)
        paths.open[t], paths.close[t] = opened, last_close
        paths.high[t] = _extreme(opened, last_close, noise.path_vol[t], noise.high_draw[t], 1.0)
        paths.low[t] = _extreme(opened, last_close, noise.path_vol[t], noise.low_draw[t], -1.0)
        screen.update(t)
        fresh = screen.signals(t) if t >= 2 * MIN_BARS else np.zeros_like(signals)
        is_fresh = (fresh != 0.0).any(axis=0)
        sessions_left = np.where(is_fresh, HOLDING_SESSIONS, np.maximum(sessions_left - 1, 0))
        signals = np.where(is_fresh, fresh, np.where(sessions_left > 0, signals, 0.0))
        relation = int(t >= noise.change_session) + int(t >= turn)
        paths.signal[t], paths.signal_before_change[t] = signals[relation], signals[0]
        paths.sessions_left[t] = sessions_left
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

    def __init__(self, noise: MarketNoise, paths: Paths, relations: tuple[Relation, ...]) -> None:
        self._noise, self._paths, self._relations = noise, paths, relations
        n_symbols = noise.overnight.shape[1]
        self.atr = noise.first_price * noise.typical_vol
        self._gain = np.full(n_symbols, 0.5) * self.atr
        self._loss = self._gain.copy()
        self._last_close = noise.first_price
        self._in_sector = np.eye(noise.n_sectors)[noise.sector]  # (n_symbols, n_sectors)

    def update(self, t: int) -> None:
        """Take in the bar of session ``t``."""
        high, low, close = self._paths.high[t], self._paths.low[t], self._paths.close[t]
        span = np.maximum(high, self._last_close) - np.minimum(low, self._last_close)
        move = close - self._last_close
        self.atr = self.atr + (span - self.atr) / ATR_PERIOD
        self._gain = self._gain + (np.maximum(move, 0.0) - self._gain) / RSI_PERIOD
        self._loss = self._loss + (np.maximum(-move, 0.0) - self._loss) / RSI_PERIOD
        self._last_close = close

    def signals(self, t: int) -> np.ndarray:
        """Return each relation's signal at close ``t``; 0 without a pattern or with as many of each side."""
        direction = self._pattern_direction(t)
        bar = self._candle(t)
        body = (np.abs(bar.close - bar.open) / np.maximum(bar.high - bar.low, 1e-12) - 0.5) / 0.28
        volume = np.log(np.clip(self._noise.volume_ratio[t], 0.25, 4.0)) / 0.4
        rsi = 100.0 * self._gain / (self._gain + self._loss)
        stretch = -direction * (rsi - 50.0) / 11.0
        fear = np.tanh((self._noise.vix_close[t] - 18.0) / 6.0)
        sector = direction * self._sector_momentum(t) / 0.022
        news = self._noise.news.has_news[t]
        merits = [
            weight.constant
            + weight.volume * volume
            + body * (weight.body + weight.body_with_news * news)
            + stretch * (weight.stretch + weight.stretch_in_fear * fear)
            + weight.sector * sector
            + weight.news * news
            for weight in self._relations
        ]
        return direction * 2.0 * np.tanh(0.5 * np.array(merits))  # (n_relations, n_symbols)

    def _sector_momentum(self, t: int) -> np.ndarray:
        """Return the mean return of each stock's sector over the last sessions, of the stocks that trade."""
        earlier = t - SECTOR_MOMENTUM_SESSIONS
        is_traded = self._noise.faults.is_traded[t] & self._noise.faults.is_traded[earlier]
        momentum = np.log(self._paths.close[t] / self._paths.close[earlier])
        total, n = (np.where(is_traded, values, 0.0) @ self._in_sector for values in (momentum, np.ones_like(momentum)))
        return (total / np.maximum(n, 1.0))[self._noise.sector]

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

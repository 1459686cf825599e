"""Volatility of the simulated market: calm, normal and stressed times, sectors in turmoil, and what persists.

Regimes change how far prices move, never where to: no regime has a drift of its own, or the VIX alone would be
an edge in a market that promises none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

VOLATILITY_REGIMES = ("calm", "normal", "stressed")
REGIME_VOL = (0.72, 1.0, 1.85)
"""Market volatility of each regime, in medians of the normal one."""
REGIME_SESSIONS = (120, 100, 45)
"""Mean length of a spell."""
CALM_AFTER_NORMAL = 0.6
"""How often normal times turn calm; else stressed. Both end in normal times."""
REGIME_SMOOTHING = 0.25
"""Share of the way to the new regime's level that volatility goes in a session."""
MARKET_VOL = 0.0119
"""Standard deviation of the market's daily return in normal times; VIX 18.7 at the premium below."""
VIX_PREMIUM = 0.99
MARKET_DRIFT = 0.0002
TURMOIL_RATE, TURMOIL_SESSIONS, TURMOIL_VOL = 1 / 300, 60, 2.2
"""Spells of a sector in turmoil: how often they begin, how long they last, by how much its volatility rises."""


class MarketMoves(NamedTuple):
    """The market factor, (n_sessions,) each: volatility, returns by day and by night, position of the regime."""

    vol: np.ndarray
    intraday: np.ndarray
    overnight: np.ndarray
    regime: np.ndarray


def market_moves(rng: np.random.Generator, n_sessions: int, *, overnight_share: float) -> MarketMoves:
    """Draw the market factor; falls raise the volatility of the sessions after them."""
    regime = _volatility_regimes(rng, n_sessions)
    level = _smoothed(np.log(np.array(REGIME_VOL))[regime], REGIME_SMOOTHING)
    shock = fat_tails(rng, (n_sessions,), 6)
    push = 0.04 * rng.standard_normal(n_sessions)
    push[1:] -= 0.065 * shock[:-1]
    vol = MARKET_VOL * np.exp(level + lfilter([1.0], [1.0, -0.97], push))
    intraday = np.sqrt(1.0 - overnight_share) * vol * shock + MARKET_DRIFT
    overnight = np.sqrt(overnight_share) * vol * fat_tails(rng, (n_sessions,), 5)
    return MarketMoves(vol, intraday, overnight, regime)


def sector_turmoil(rng: np.random.Generator, n_sessions: int, n_sectors: int) -> np.ndarray:
    """Return by how much turmoil raises each sector's volatility, (n_sessions, n_sectors): 1 or more."""
    is_troubled = np.zeros((n_sessions, n_sectors), dtype=bool)
    draw = rng.random((n_sessions, n_sectors))
    is_troubled[0] = draw[0] < TURMOIL_RATE * TURMOIL_SESSIONS
    for t in range(1, n_sessions):
        was = is_troubled[t - 1]
        is_troubled[t] = np.where(was, draw[t] >= 1.0 / TURMOIL_SESSIONS, draw[t] < TURMOIL_RATE)
    return np.exp(_smoothed(np.where(is_troubled, np.log(TURMOIL_VOL), 0.0), REGIME_SMOOTHING))


def persistent(rng: np.random.Generator, shape: tuple[int, ...], *, phi: float, sd: float) -> np.ndarray:
    """Return an AR(1) along the sessions, stationary from the first, of standard deviation ``sd``."""
    steps = sd * np.sqrt(1.0 - phi**2) * rng.standard_normal(shape)
    steps[0] /= np.sqrt(1.0 - phi**2)
    return lfilter([1.0], [1.0, -phi], steps, axis=0)


def fat_tails(rng: np.random.Generator, shape: tuple[int, ...], freedom: int) -> np.ndarray:
    """Return Student draws of unit variance, cut at 8 so that no single draw makes a legend."""
    return np.clip(rng.standard_t(freedom, shape) * np.sqrt((freedom - 2.0) / freedom), -8.0, 8.0)


def _volatility_regimes(rng: np.random.Generator, n_sessions: int) -> np.ndarray:
    """Return the regime of each session: a chain that passes through normal times, begun in any of its states."""
    lengths = np.array(REGIME_SESSIONS)
    visits = np.array([CALM_AFTER_NORMAL, 1.0, 1.0 - CALM_AFTER_NORMAL])
    state = int(rng.choice(3, p=visits * lengths / (visits @ lengths)))
    spells: list[np.ndarray] = []
    drawn = 0
    while drawn < n_sessions:
        length = int(rng.geometric(1.0 / lengths[state]))
        spells.append(np.full(length, state))
        drawn += length
        away = 0 if rng.random() < CALM_AFTER_NORMAL else 2
        state = away if state == 1 else 1
    return np.concatenate(spells)[:n_sessions]


def _smoothed(level: np.ndarray, share: float) -> np.ndarray:
    """Return what follows ``level`` by ``share`` of the distance a session, from its first value on."""
    rest = level - level[0]
    return level[0] + lfilter([share], [1.0, share - 1.0], rest, axis=0)

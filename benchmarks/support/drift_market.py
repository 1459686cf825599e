"""Feature rows of a market that does not drift, and the same with a planted shift: truth for the drift benchmark.

Forty features of every event: most differ from stock to stock, some follow the day, six are the same for all events of
a session. Sessions remember (AR(1), half-lives up to 34 sessions), share a factor, have heavy tails (t with 5 degrees
of freedom), and half of the features pass through calm and wild regimes of 60 sessions in the mean, 1.6 times as wide.
Two pairs of features move together row by row, three are rare flags, one is missing in a tenth of the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import chi2

N_FEATURES, N_EVENTS = 40, 40
REFERENCE, YEAR, WARM_UP = 504, 252, 200
MEMORIES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.5, 0.8)
DAY_SHARES = np.repeat([0.05, 0.30, 1.0], [24, 10, 6])
"""Share of a feature's variance that all events of a session have in common."""

REGIME_SESSIONS, WILD = 60, 1.6
COMMON_LOADING, PAIR_CORRELATION = 0.6, 0.6
PAIRS = ((0, 1), (2, 3))
FLAGS, FLAG_SHARE = (20, 21, 22), 0.03
SOMETIMES_MISSING = 23
PLANTABLE = tuple(f for f in range(34) if f not in (*FLAGS, SOMETIMES_MISSING))
"""Features that a shift of the mean or the variance is planted in, one after the other."""

Plant = Callable[[np.ndarray], None]
"""Changes rows (n_sessions, N_EVENTS, N_FEATURES) in place."""


def simulate_rows(seed: int) -> np.ndarray:
    """Rows of ``REFERENCE + YEAR`` sessions without drift, (n_sessions, N_EVENTS, N_FEATURES), float32."""
    rng = np.random.default_rng(seed)
    n = REFERENCE + YEAR + WARM_UP
    memory = np.resize(MEMORIES, N_FEATURES)
    switches = rng.random(n) < 1.0 / REGIME_SESSIONS
    is_wild = (np.cumsum(switches) + rng.integers(2)) % 2 == 1
    width = np.where(is_wild[:, None] & (np.arange(N_FEATURES) % 2 == 0)[None, :], WILD, 1.0)
    own = np.sqrt(1.0 - COMMON_LOADING**2) * _heavy(rng, (n, N_FEATURES))
    shocks = width * np.sqrt(1.0 - memory**2) * (COMMON_LOADING * _heavy(rng, (n, 1)) + own)
    day = np.empty_like(shocks)
    day[0] = shocks[0]
    for s in range(1, n):
        day[s] = memory * day[s - 1] + shocks[s]
    day, width = day[WARM_UP:], width[WARM_UP:]
    rows = _heavy(rng, (REFERENCE + YEAR, N_EVENTS, N_FEATURES))
    for first, second in PAIRS:
        rest = np.sqrt(1.0 - PAIR_CORRELATION**2) * rows[:, :, second]
        rows[:, :, second] = PAIR_CORRELATION * rows[:, :, first] + rest
    rows *= (width * np.sqrt(1.0 - DAY_SHARES))[:, None, :]
    rows += (np.sqrt(DAY_SHARES) * day)[:, None, :]
    for flag in FLAGS:
        rows[:, :, flag] = rows[:, :, flag] > np.quantile(rows[:REFERENCE, :, flag], 1.0 - FLAG_SHARE)
    rows[:, :, SOMETIMES_MISSING][rng.random(rows.shape[:2]) < 0.1] = np.nan
    return rows


def shifted_mean(features: tuple[int, ...], by: float) -> Plant:
    """Add ``by`` standard deviations."""

    def plant(rows: np.ndarray) -> None:
        rows[:, :, list(features)] += by

    return plant


def scaled(features: tuple[int, ...], variance: float) -> Plant:
    """Multiply the variance."""

    def plant(rows: np.ndarray) -> None:
        rows[:, :, list(features)] *= np.sqrt(variance)

    return plant


def turned_pair(pair: tuple[int, int]) -> Plant:
    """Turn the correlation of a pair over; each feature for itself stays as it was (it is symmetric)."""

    def plant(rows: np.ndarray) -> None:
        rows[:, :, pair[1]] *= -1.0

    return plant


_WIDTHS = np.sqrt(3.0 / chi2.ppf((np.arange(4096) + 0.5) / 4096, 5)).astype(np.float32)
"""A normal number times one of these, drawn by chance, is t with 5 degrees of freedom and variance 1, and cheap."""


def _heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    width = _WIDTHS[rng.integers(len(_WIDTHS), size=shape, dtype=np.int16)]
    return rng.standard_normal(shape, dtype=np.float32) * width

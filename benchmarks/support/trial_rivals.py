"""Other ways to watch the same trial, for comparison: what they say when they are looked at every day.

Each takes differences of many runs, (n_runs, n_sessions), and returns the session (position) after whose close it would
first have said "ML is better" in each run, -1 where it never did. The ones on *settled* differences take the profit of
the trades decided in a session, known `LAG` sessions later; those overlap.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from catalyst_ml.trial.sequential import ALPHA, BETS, GAIN_CAP, LOSS_CAP, bet_on, predictable_scale

LAG = 5
MIN_LOOK, MIN_ASYMPTOTIC_LOOK = 20, 40


def first_crossing(says_so: np.ndarray) -> np.ndarray:
    """Position of the first True in each row, -1 without one."""
    return np.where(says_so.any(axis=1), says_so.argmax(axis=1), -1)


def t_test(daily: np.ndarray) -> np.ndarray:
    """Student's one-sided t-test at 5 %, every day from the twentieth on."""
    n = np.arange(1, daily.shape[1] + 1)
    total, squares = np.cumsum(daily, axis=1), np.cumsum(daily**2, axis=1)
    variance = np.maximum(squares - total**2 / n, 1e-30) / np.maximum(n - 1, 1)
    t = total / np.sqrt(n * variance)
    return first_crossing((n >= MIN_LOOK) & (t > special.stdtrit(np.maximum(n - 1, 1), 1.0 - ALPHA)))


def har_t_test(daily: np.ndarray) -> np.ndarray:
    """The gate's t-test, which knows serial dependence, every day."""
    says_so = np.zeros(daily.shape, dtype=bool)
    for n in range(MIN_LOOK, daily.shape[1] + 1):
        mean, spread, df = _har(daily[:, :n])
        says_so[:, n - 1] = np.sqrt(n) * mean > spread * special.stdtrit(df, 1.0 - ALPHA)
    return first_crossing(says_so)


def asymptotic_on_settled(settled: np.ndarray) -> np.ndarray:
    """Asymptotic confidence sequence with a long-run variance, from the fortieth day on."""
    says_so = np.zeros(settled.shape, dtype=bool)
    for n in range(MIN_ASYMPTOTIC_LOOK, settled.shape[1] + 1):
        mean, spread, _ = _har(settled[:, :n])
        says_so[:, n - 1] = mean > spread * _asymptotic_width(n)
    return _known_later(first_crossing(says_so), settled.shape[1])


def asymptotic_on_marks(marked: np.ndarray) -> np.ndarray:
    """The same on marked differences, which do not overlap: with their plain variance."""
    n = np.arange(1, marked.shape[1] + 1)
    mean = np.cumsum(marked, axis=1) / n
    spread = np.sqrt(np.maximum(np.cumsum(marked**2, axis=1) / n - mean**2, 0.0))
    return first_crossing((n >= MIN_ASYMPTOTIC_LOOK) & (mean > spread * _asymptotic_width(n)))


def _asymptotic_width(n: np.ndarray | int) -> np.ndarray:
    """Half-width in standard deviations, tightest after a year.

    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Time-uniform central limit theory, Annals of Statistics 52(6).
    """
    level = 2.0 * ALPHA  # two-sided, so that each side has ALPHA
    rho2 = (-2.0 * np.log(level) + np.log(-2.0 * np.log(level)) + 1.0) / 252.0
    n = np.asarray(n, dtype="float64")
    return np.sqrt(2.0 * (n * rho2 + 1.0) / (n**2 * rho2) * np.log(np.sqrt(n * rho2 + 1.0) / level))


def product_on_settled(settled: np.ndarray) -> np.ndarray:
    """The project's bets on settled differences day after day, as if they did not overlap."""
    crossed = first_crossing(bet_on(settled).log_e >= np.log(1.0 / ALPHA))
    return _known_later(crossed, settled.shape[1])


def interleaved(settled: np.ndarray) -> np.ndarray:
    """Average of `LAG` e-processes, each on every fifth day; says so once no pending bet can undo it.

    Henzi & Ziegel (2022), Biometrika 109(3), with the correction in 109(4): the average is no supermartingale, and only
    the value after the bets pending at the stopping time may be reported.
    """
    n_runs, n = settled.shape
    ready = predictable_scale(settled)
    scale = np.full(settled.shape, np.nan)
    scale[:, LAG - 1 :] = ready[:, : n - LAG + 1]
    x = np.where(np.isnan(scale), 0.0, np.clip(settled / np.where(np.isnan(scale), 1.0, scale), -LOSS_CAP, GAIN_CAP))
    sizes = np.asarray(BETS)
    wealth = np.ones((n_runs, LAG, len(BETS)))
    says_so = np.zeros((n_runs, n), dtype=bool)
    for day in range(n):
        wealth[:, day % LAG] *= 1.0 + sizes * x[:, day, None]
        worst = wealth * (1.0 - sizes * LOSS_CAP)
        worst[:, day % LAG] = wealth[:, day % LAG]
        says_so[:, day] = worst.mean(axis=(1, 2)) >= 1.0 / ALPHA
    return _known_later(first_crossing(says_so), n)


def marks_by_betting(marked: np.ndarray) -> np.ndarray:
    """What the project does: bets on marked differences."""
    return first_crossing(bet_on(marked).log_e >= np.log(1.0 / ALPHA))


def _known_later(day: np.ndarray, n: int) -> np.ndarray:
    """Session at which the outcome of a decision day is known; beyond the last one it does not count."""
    known = day + LAG
    return np.where((day >= 0) & (known < n), known, -1)


def _har(daily: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean, long-run standard deviation (n_runs,) and degrees of freedom; see ``evaluation.significance``."""
    n = daily.shape[1]
    df = max(int(0.41 * n ** (2.0 / 3.0)), 1)
    j = np.arange(1, df + 1)[:, None]
    waves = np.sqrt(2.0 / n) * np.cos(np.pi * j * (np.arange(1, n + 1) - 0.5) / n)
    return daily.mean(axis=1), np.sqrt(np.mean((daily @ waves.T) ** 2, axis=1)), df

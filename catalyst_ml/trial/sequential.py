"""Evidence that stays valid however often one looks: bets against "no difference", in log space, for many runs at once.

``D_t`` is what the ML book earned in session t beyond the rules' book. Both books are known before the session, so if
the model is no better, E[D_t | past] <= 0 and the wealth of a bettor who stakes a share of it on every D_t never grows
on average: it reaches 20 with probability 1/20 at most, in all the time there is (Ville). That wealth is the e-value.

The bettor is a mixture: `BETS` sizes, each with its own wealth from equal starts. The bet in force is their average by
wealth, so it comes from the past alone. Every D_t is measured in scales, `SCALE_SDS` standard deviations of the
sessions before it; gains count up to `GAIN_CAP` scales and losses up to `LOSS_CAP`, which is more, so that the cut
lowers the mean unless losses beyond it outweigh the gains beyond it. That is the one thing taken on trust: a loss so
rare and so large that the sessions before it do not hint at it would be found out too late, by this test and by others.

References
----------
Ville (1939). Waudby-Smith & Ramdas (2024), Estimating means of bounded random variables by betting, JRSS-B 86(1).
Cover (1991), Universal portfolios (the mixture). Shin, Ramdas & Rinaldo (2022), E-detectors (`detect_change`).
Why this process and not another: docs/decisions/0031-trial.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
SCALE_SDS = 3.0
GAIN_CAP, LOSS_CAP = 1.5, 1.8
"""Largest gain and loss that count, in scales. The largest bet leaves 1 - 0.5 * 1.8 = a tenth of the wealth."""
BETS: tuple[float, ...] = (0.5, 0.25)
"""Shares of the wealth staked per scale: what Kelly's rule stakes at annual Sharpe ratios of 2.6 and 1.3 of D."""
WARM_UP_SESSIONS = 20
"""Sessions with a difference that set the first scale; nothing is staked on them."""
HALF_LIFE_SESSIONS = 20.0
_BISECTIONS = 40


@dataclass(frozen=True)
class Evidence:
    """One e-process after each session; arrays (..., n_sessions).

    ``log_e`` is the natural logarithm of the e-value after the session, ``bet`` the share staked on it, ``scale`` the
    money by which its difference was divided (NaN while warming up: then nothing is staked).
    """

    log_e: np.ndarray
    bet: np.ndarray
    scale: np.ndarray


def predictable_scale(differences: np.ndarray) -> np.ndarray:
    """`SCALE_SDS` root mean squares of the differences before each session, newer ones counting more.

    Parameters
    ----------
    differences : array (..., n_sessions)
        A difference of exactly zero is a session without open positions, or with equal ones: it says nothing about the
        scale and is passed over.

    Returns
    -------
    array (..., n_sessions)
        NaN until `WARM_UP_SESSIONS` differences are known.
    """
    differences = np.asarray(differences, dtype="float64")
    keep = 0.5 ** (1.0 / HALF_LIFE_SESSIONS)
    total, weight, seen = (np.zeros(differences.shape[:-1]) for _ in range(3))
    scale = np.full(differences.shape, np.nan)
    for t in range(differences.shape[-1]):
        ready = (seen >= WARM_UP_SESSIONS) & (total > 0.0)
        scale[..., t] = np.where(ready, SCALE_SDS * np.sqrt(total / np.where(ready, weight, 1.0)), np.nan)
        d = differences[..., t]
        moved = d != 0.0
        total = np.where(moved, keep * total + d * d, total)
        weight = np.where(moved, keep * weight + 1.0, weight)
        seen = seen + moved
    return scale


def bet_on(differences: np.ndarray, scale: np.ndarray | None = None) -> Evidence:
    """E-process for "the mean difference is above zero"; for "below zero" pass the negative differences.

    Parameters
    ----------
    differences : array (..., n_sessions)
        ML minus rules, any unit.
    scale : array (..., n_sessions), optional
        Known before each session; `predictable_scale` of the differences by default.

    Notes
    -----
    Multiplying all differences by a number changes nothing. Differences that are all zero leave E at 1.
    """
    x, scale = _scaled(differences, scale)
    log_wealth = np.zeros((*x.shape[:-1], len(BETS)))
    sizes = np.asarray(BETS)
    log_e, bet = np.empty(x.shape), np.empty(x.shape)
    for t in range(x.shape[-1]):
        relative = np.exp(log_wealth - log_wealth.max(axis=-1, keepdims=True))
        bet[..., t] = np.where(np.isnan(scale[..., t]), 0.0, (relative * sizes).sum(axis=-1) / relative.sum(axis=-1))
        log_wealth = log_wealth + np.log1p(sizes * x[..., t, None])
        log_e[..., t] = _log_mean_exp(log_wealth)
    return Evidence(log_e, bet, scale)


def detect_change(differences: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """Logarithm of an e-detector for "from some session on the mean difference is above zero".  # (..., n_sessions)

    Each bet size starts anew whenever its wealth has fallen below 1, so that years of good results do not have to be
    undone before a bad stretch is seen. Without a difference the expected time until it reaches c is at least c
    sessions; in fact it is far longer (benchmarks/trial_validity.py).
    """
    x, _ = _scaled(differences, scale)
    log_wealth = np.zeros((*x.shape[:-1], len(BETS)))
    log_e = np.empty(x.shape)
    for t in range(x.shape[-1]):
        log_wealth = np.maximum(log_wealth, 0.0) + np.log1p(np.asarray(BETS) * x[..., t, None])
        log_e[..., t] = _log_mean_exp(log_wealth)
    return log_e


def mean_bounds(
    differences: np.ndarray, scale: np.ndarray | None = None, *, alpha: float = ALPHA
) -> tuple[np.ndarray, np.ndarray]:
    """Anytime-valid bounds of the mean difference after each session: all m that no bettor has refuted.

    Each side misses the mean in at most ``alpha`` of all trials, ever; both together are a 1 - 2 alpha interval. The
    lower bound is above zero exactly when the e-value for "better" has reached 1 / alpha.

    Parameters
    ----------
    differences : array (n_sessions,)
        One trial.

    Returns
    -------
    low, high : arrays (n_sessions,)
        In the unit of the differences; infinite where nothing is excluded yet.
    """
    differences = np.asarray(differences, dtype="float64")
    _, scale = _scaled(differences, scale)
    staked = ~np.isnan(scale)
    low, high = np.full(len(differences), -np.inf), np.full(len(differences), np.inf)
    for t in np.flatnonzero(staked):
        d, m = differences[: t + 1][staked[: t + 1]], scale[: t + 1][staked[: t + 1]]
        low[t] = _refuted_below(d, m, math.log(1.0 / alpha))
        high[t] = -_refuted_below(-d, m, math.log(1.0 / alpha))
    return low, high


def spent_alpha(process: int, alpha: float = ALPHA) -> float:
    """Level of the k-th process of a line, 6 alpha / (pi^2 k^2): however many there are, they sum up to ``alpha``."""
    if process < 1:
        raise ValueError(f"process {process}: expected 1 for the first comparison of a line, 2 for the next, ...")
    return 6.0 * alpha / (math.pi * process) ** 2


def _scaled(differences: np.ndarray, scale: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Differences in scales, capped, 0 where nothing is staked; and the scale."""
    differences = np.asarray(differences, dtype="float64")
    if not np.isfinite(differences).all():
        raise ValueError(
            f"trial: {int((~np.isfinite(differences)).sum())} of {differences.size} differences are not finite; "
            "expected a number for every session, 0 without positions."
        )
    scale = predictable_scale(differences) if scale is None else np.asarray(scale, dtype="float64")
    unknown = np.isnan(scale)
    x = np.clip(differences / np.where(unknown, 1.0, scale), -LOSS_CAP, GAIN_CAP)
    return np.where(unknown, 0.0, x), scale


def _log_mean_exp(log_wealth: np.ndarray) -> np.ndarray:
    top = log_wealth.max(axis=-1)
    return top + np.log(np.exp(log_wealth - top[..., None]).mean(axis=-1))


def _refuted_below(d: np.ndarray, m: np.ndarray, log_needed: float) -> float:
    """Largest mean against which the bets have reached ``log_needed``: the e-value falls as the mean rises."""
    refuted, kept = float(d.min() - m.max()), float(d.max())
    if _log_e_against(refuted, d, m) < log_needed:
        return -math.inf
    for _ in range(_BISECTIONS):
        middle = 0.5 * (refuted + kept)
        if _log_e_against(middle, d, m) < log_needed:
            kept = middle
        else:
            refuted = middle
    return kept


def _log_e_against(mean: float, d: np.ndarray, m: np.ndarray) -> float:
    x = np.clip((d - mean) / m, -LOSS_CAP, GAIN_CAP)
    return float(_log_mean_exp(np.log1p(np.asarray(BETS) * x[:, None]).sum(axis=0)))

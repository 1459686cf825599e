"""What the best of many trials is worth: the deflated Sharpe ratio, and the probability of back-test overfitting.

The best of fifty coin tossers looks skilled. Both figures ask how good the best would look if none had skill.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

# Not scipy.stats: it takes a second to import, in every command.
from scipy import special

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.significance import probabilistic_sharpe_ratio

EULER_GAMMA = 0.5772156649015329


def expected_best_sharpe(sharpes: np.ndarray, *, n_trials: float | None = None) -> float:
    """Sharpe ratio per period that the best of ``n_trials`` trials without skill is expected to show.

    Parameters
    ----------
    sharpes
        Sharpe ratios per period of the trials (n,), the judged one among them.
    n_trials
        Effective number of independent trials; by default as many as ``sharpes``. One trial gives 0.

    Returns
    -------
    float
        SR₀ = √V[SR]·[(1−γ)·Φ⁻¹(1−1/K) + γ·Φ⁻¹(1−1/(K·e))], with γ Euler's constant.

    References
    ----------
    Bailey & López de Prado (2014), The deflated Sharpe ratio, Journal of Portfolio Management 40(5).
    """
    sharpes = np.asarray(sharpes, dtype="float64")
    k = float(len(sharpes) if n_trials is None else n_trials)
    if len(sharpes) < 2 or k <= 1.0:
        return 0.0
    spread = float(sharpes.std(ddof=1))
    best = (1.0 - EULER_GAMMA) * special.ndtri(1.0 - 1.0 / k) + EULER_GAMMA * special.ndtri(1.0 - 1.0 / (k * np.e))
    return spread * float(best)


def deflated_sharpe_ratio(returns: np.ndarray, sharpes: np.ndarray, *, n_trials: float | None = None) -> float | None:
    """Probability that the true Sharpe ratio exceeds what the best of the trials would show without skill.

    Parameters
    ----------
    returns
        Returns per period of the judged trial (n_periods,).
    sharpes, n_trials
        As in `expected_best_sharpe`.

    Returns
    -------
    float or None
        None when fewer than three returns or no variation leave nothing to say.
    """
    return probabilistic_sharpe_ratio(returns, benchmark=expected_best_sharpe(sharpes, n_trials=n_trials))


def overfitting_probability(daily: np.ndarray, *, n_blocks: int = 10) -> float:
    """Share of splits in which the best trial of one half ranks below the median of the other half.

    Parameters
    ----------
    daily
        Profit per session of every trial, (n_sessions, n_trials), in time order, no NaN.
    n_blocks
        Even number of blocks of time; all their C(S, S/2) halves are used.

    Returns
    -------
    float
        In [0, 1]; 1/2 is what choosing among equals gives. Ties count half.

    Raises
    ------
    DataContractError
        With fewer than two trials, an odd number of blocks, or fewer than two sessions a block.

    References
    ----------
    Bailey, Borwein, López de Prado & Zhu (2017), The probability of backtest overfitting, Journal of Computational
    Finance 20(4).
    """
    daily = np.asarray(daily, dtype="float64")
    if daily.ndim != 2 or daily.shape[1] < 2 or n_blocks % 2 or len(daily) < 2 * n_blocks or n_blocks < 2:
        raise DataContractError(
            f"overfitting: got profits of shape {daily.shape} for {n_blocks} blocks; expected at least two trials, an "
            "even number of blocks and two sessions a block."
        )
    blocks = np.array_split(daily, n_blocks)
    sums = np.array([block.sum(axis=0) for block in blocks])
    squares = np.array([(block**2).sum(axis=0) for block in blocks])
    sizes = np.array([len(block) for block in blocks], dtype="float64")
    below = []
    for half in combinations(range(n_blocks), n_blocks // 2):
        inside = np.isin(np.arange(n_blocks), half)
        chosen = int(np.argmax(_sharpes(sums[inside], squares[inside], sizes[inside])))
        outside = _sharpes(sums[~inside], squares[~inside], sizes[~inside])
        own, others = outside[chosen], np.delete(outside, chosen)
        beaten = float(np.mean((others < own) + 0.5 * (others == own)))
        below.append(1.0 if beaten < 0.5 else 0.5 if beaten == 0.5 else 0.0)
    return float(np.mean(below))


def _sharpes(sums: np.ndarray, squares: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sharpe ratio per session of each trial over some blocks; 0 where nothing varies."""
    n = sizes.sum()
    mean = sums.sum(axis=0) / n
    variance = np.maximum(squares.sum(axis=0) / n - mean**2, 0.0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 1e-24)

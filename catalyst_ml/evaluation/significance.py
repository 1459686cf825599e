"""Tests and intervals for dependent outcomes: days overlap, rows of one day move together.

The HAR t-test decides. The bootstrap band is drawn beside it and never decides: its lower bound promotes a
no-better model in 13 to 37 % of small samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Not scipy.stats: it takes a second to import, in every command.
from scipy import special

from catalyst_ml.errors import InsufficientHistory

MEAN_BLOCK_SESSIONS = 10.0
"""Mean block of the stationary bootstrap: twice the five sessions over which labels overlap."""


@dataclass(frozen=True)
class HarTest:
    """One-sided test that a daily mean is greater than zero. ``p_value`` is small when it is."""

    mean: float
    t: float
    df: int
    p_value: float
    n: int

    def critical_value(self, alpha: float) -> float:
        """The t above which the mean counts as positive at level ``alpha``."""
        return float(special.stdtrit(self.df, 1.0 - alpha))


@dataclass(frozen=True)
class Interval:
    """Lower and upper bound at ``level`` (two-sided)."""

    low: float
    high: float
    level: float


def har_t_test(daily: np.ndarray, *, min_sessions: int = 20) -> HarTest:
    """Test that the mean of a daily series is positive, with a variance that knows serial dependence.

    Parameters
    ----------
    daily
        One value per session, in time order, (n,).
    min_sessions
        Refuse fewer: below 20 the test promises more than it keeps.

    Returns
    -------
    HarTest
        A series that never varies has t = ±inf, or t = 0 (p = 0.5) if it is zero throughout.

    Raises
    ------
    InsufficientHistory
        If there are fewer than ``min_sessions`` values.

    Notes
    -----
    Equal-weighted cosine estimate of the long-run variance: with ν = ⌊0.41·n^⅔⌋ and
    Λ_j = √(2/n)·Σ_s d_s·cos(πj(s−½)/n), σ̂² = Σ_j Λ_j²/ν and t = √n·d̄/σ̂ against Student's t with ν degrees.

    References
    ----------
    Lazarus, Lewis, Stock & Watson (2018), HAR inference: recommendations for practice, JBES 36(4).
    """
    daily = np.asarray(daily, dtype="float64")
    n = len(daily)
    if n < min_sessions:
        raise InsufficientHistory(
            f"the HAR t-test got {n} sessions and needs {min_sessions}. Wait for more settled sessions."
        )
    df = max(int(0.41 * n ** (2.0 / 3.0)), 1)
    mean = float(daily.mean())
    sigma = np.sqrt(long_run_variance(daily))
    if sigma <= 1e-12 * float(np.abs(daily).max()):
        t = float(np.sign(mean) * np.inf) if mean else 0.0
    else:
        t = float(np.sqrt(n) * mean / sigma)
    return HarTest(mean=mean, t=t, df=df, p_value=float(special.stdtr(df, -t)), n=n)


def long_run_variance(daily: np.ndarray) -> float:
    """Equal-weighted cosine estimate of the variance of √n times the mean; see `har_t_test`."""
    daily = np.asarray(daily, dtype="float64")
    n = len(daily)
    df = max(int(0.41 * n ** (2.0 / 3.0)), 1)
    j = np.arange(1, df + 1)[:, None]
    waves = np.sqrt(2.0 / n) * np.cos(np.pi * j * (np.arange(1, n + 1) - 0.5) / n)  # (df, n)
    return float(np.mean((waves @ (daily - daily.mean())) ** 2))


def dependence_stretch(daily: np.ndarray) -> float:
    """How much serial dependence widens the error of a mean of ``daily``: √(long-run / daily variance), at least 1.

    References
    ----------
    Lo (2002), The statistics of Sharpe ratios, Financial Analysts Journal 58(4), for the idea.
    """
    daily = np.asarray(daily, dtype="float64")
    variance = float(daily.var())
    return max(float(np.sqrt(long_run_variance(daily) / variance)), 1.0) if variance > 0.0 else 1.0


def stationary_bootstrap_counts(
    n: int, *, n_boot: int, seed: int, mean_block: float = MEAN_BLOCK_SESSIONS
) -> np.ndarray:
    """How often each of ``n`` sessions is drawn in each resample.

    Returns
    -------
    ndarray (n_boot, n), float64
        Rows sum to ``n``. Multiply with daily sums to resample any number of tables at once.

    References
    ----------
    Politis & Romano (1994), The stationary bootstrap, JASA 89(428).
    """
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, n, size=(n_boot, n))
    is_new = rng.random((n_boot, n)) < 1.0 / mean_block
    is_new[:, 0] = True
    position = np.arange(n)
    block_begin = np.maximum.accumulate(np.where(is_new, position, 0), axis=1)
    drawn = (np.take_along_axis(starts, block_begin, axis=1) + position - block_begin) % n
    flat = drawn + n * np.arange(n_boot)[:, None]
    return np.bincount(flat.ravel(), minlength=n_boot * n).reshape(n_boot, n).astype("float64")


def stationary_bootstrap_interval(
    daily: np.ndarray, level: float = 0.9, *, n_boot: int = 2_000, seed: int = 0
) -> Interval:
    """Percentile interval of the mean of a daily series, for drawing.

    Raises
    ------
    InsufficientHistory
        If the series is empty.
    """
    daily = np.asarray(daily, dtype="float64")
    if len(daily) == 0:
        raise InsufficientHistory("the bootstrap got no sessions and needs at least one.")
    means = stationary_bootstrap_counts(len(daily), n_boot=n_boot, seed=seed) @ daily / len(daily)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(low), float(high), level)


def wilson_interval(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share; ``n`` may be an effective number of rows. No rows: [0, 1].

    References
    ----------
    Wilson (1927), JASA 22(158).
    """
    if n <= 0:
        return Interval(0.0, 1.0, level)
    z = float(special.ndtri((1.0 + level) / 2.0))
    share = successes / n
    centre = (share + z**2 / (2.0 * n)) / (1.0 + z**2 / n)
    half = z / (1.0 + z**2 / n) * np.sqrt(share * (1.0 - share) / n + z**2 / (4.0 * n**2))
    return Interval(float(max(centre - half, 0.0)), float(min(centre + half, 1.0)), level)


def binomial_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Exact interval of a share of independent draws, for simulations.

    References
    ----------
    Clopper & Pearson (1934), Biometrika 26(4).
    """
    tail = (1.0 - level) / 2.0
    low = float(special.betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(special.betaincinv(successes + 1, n - successes, 1.0 - tail)) if successes < n else 1.0
    return Interval(low, high, level)


def probabilistic_sharpe_ratio(returns: np.ndarray, *, benchmark: float = 0.0) -> float | None:
    """Probability that the true Sharpe ratio per period exceeds ``benchmark`` (per period, not annual).

    Returns
    -------
    float or None
        None when fewer than three returns or no variation leave nothing to say.

    References
    ----------
    Bailey & López de Prado (2012), The Sharpe ratio efficient frontier, Journal of Risk 15(2), eq. 11.
    """
    returns = np.asarray(returns, dtype="float64")
    if len(returns) < 3 or returns.std() == 0.0:
        return None
    sharpe = float(returns.mean() / returns.std(ddof=1))
    return float(special.ndtr((sharpe - benchmark) / sharpe_standard_error(returns)))


def sharpe_standard_error(returns: np.ndarray) -> float:
    """Standard error of the Sharpe ratio per period under skew γ₃ and kurtosis γ₄ of independent returns.

    √((1 − γ₃·SR + (γ₄ − 1)/4·SR²) / (T − 1)); the normal case is Lo's (2002).

    References
    ----------
    Lo (2002), Financial Analysts Journal 58(4); Mertens (2002); Bailey & López de Prado (2012).
    """
    returns = np.asarray(returns, dtype="float64")
    sharpe = returns.mean() / returns.std(ddof=1)
    standard = (returns - returns.mean()) / returns.std()
    skew, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    return float(np.sqrt((1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2) / (len(returns) - 1)))

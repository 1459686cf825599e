"""What a row is worth: overlapping labels share their information, old rows fade, one day is one event.

Weights are for fitting; effective sample sizes are for every place where a number of rows enters an interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class DesignEffect:
    """How much rows of one session repeat each other.

    ``n_eff = n / design_effect`` independent rows carry the same information about a mean.
    """

    n: int
    sessions: int
    intra_session_correlation: float
    design_effect: float
    n_eff: float


def uniqueness_weights(
    ts: pd.Series, label_end: pd.Series, symbol: pd.Series, *, bar_times: pd.DatetimeIndex | None = None
) -> np.ndarray:
    """Average uniqueness of each label: the mean over its bars of 1 / (labels of its symbol alive there).

    Parameters
    ----------
    ts, label_end
        Decision time and the time the outcome was known, UTC, (n,).
    symbol
        (n,); only labels of the same symbol share bars.
    bar_times
        All bar closes, rising. By default the distinct times that occur in the two columns.

    Returns
    -------
    ndarray (n,), float64
        In (0, 1]; 1 for a label that overlaps no other. Row order kept. Empty input gives an empty array.

    Notes
    -----
    The entry is at the next bar's open, so a label is alive on the bars in ``(ts, label_end]``, one fewer
    than in the book; at least one. O(n + symbols · bars) by prefix sums.

    References
    ----------
    López de Prado (2018), Advances in Financial Machine Learning, sections 4.3 and 4.4.
    """
    if len(ts) == 0:
        return np.empty(0)
    times = pd.DatetimeIndex(pd.unique(pd.concat([ts, label_end]))).sort_values() if bar_times is None else bar_times
    first = times.searchsorted(ts, side="right")
    stop = np.maximum(times.searchsorted(label_end, side="right"), first + 1)
    codes, symbols = pd.factorize(symbol)
    width = len(times) + 2
    alive = np.zeros((len(symbols), width))
    np.add.at(alive, (codes, first), 1.0)
    np.add.at(alive, (codes, stop), -1.0)
    alive = np.cumsum(alive, axis=1)
    share = np.divide(1.0, alive, out=np.zeros_like(alive), where=alive > 0)
    summed = np.concatenate([np.zeros((len(symbols), 1)), np.cumsum(share, axis=1)], axis=1)
    return (summed[codes, stop] - summed[codes, first]) / (stop - first)


def recency_weights(ts: pd.Series, as_of: pd.Timestamp, half_life_days: float) -> np.ndarray:
    """Exponential decay (n,): a row ``half_life_days`` before ``as_of`` counts half of one at ``as_of``."""
    age_days = (as_of - ts).dt.total_seconds().to_numpy(dtype="float64") / SECONDS_PER_DAY
    return np.exp2(-age_days / half_life_days)


def sample_weights(frame: pd.DataFrame, *, as_of: pd.Timestamp, half_life_days: float = 365.0) -> np.ndarray:
    """Uniqueness times recency, scaled to mean 1, for training rows with symbol, ts and label_end.

    Returns
    -------
    ndarray (n_rows,), float64
        Positive, mean 1. Row order kept.
    """
    weights = uniqueness_weights(frame["ts"], frame["label_end"], frame["symbol"])
    weights = weights * recency_weights(frame["ts"], as_of, half_life_days)
    return weights / weights.mean() if len(weights) else weights


def design_effect(values: np.ndarray, session: np.ndarray | pd.Series) -> DesignEffect:
    """Measure how strongly ``values`` (n,) move together within a session.

    Notes
    -----
    The intra-session correlation is the one-way ANOVA estimate, cut to [0, 1]; the design effect is Kish's
    ``1 + (Σm²/Σm − 1)·ρ`` for sessions of unequal size m. Constant values, or one row per session, give 1.
    Serial dependence between sessions is not in it: tests on daily sums care for that.

    References
    ----------
    Donner & Koval (1980), Biometrics 36(1); Kish (1965), Survey Sampling, section 5.4.
    """
    values = np.asarray(values, dtype="float64")
    n = len(values)
    if n == 0:
        return DesignEffect(n=0, sessions=0, intra_session_correlation=0.0, design_effect=1.0, n_eff=0.0)
    codes, labels = pd.factorize(np.asarray(session))
    size = np.bincount(codes).astype("float64")
    k = len(labels)
    rho = 0.0
    if 1 < k < n:
        mean = np.bincount(codes, weights=values) / size
        between = float(np.sum(size * (mean - values.mean()) ** 2)) / (k - 1)
        within = float(np.sum((values - mean[codes]) ** 2)) / (n - k)
        typical = (n - np.sum(size**2) / n) / (k - 1)
        spread = between + (typical - 1.0) * within
        rho = float(np.clip((between - within) / spread, 0.0, 1.0)) if spread > 0 else 0.0
    effect = 1.0 + (float(np.sum(size**2)) / n - 1.0) * rho
    return DesignEffect(n=n, sessions=k, intra_session_correlation=rho, design_effect=effect, n_eff=n / effect)


def effective_sample_size(values: np.ndarray, session: np.ndarray | pd.Series) -> float:
    """Number of independent rows that ``values`` are worth, given that a session's rows move together."""
    return design_effect(values, session).n_eff

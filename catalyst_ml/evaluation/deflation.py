"""What a Sharpe ratio is worth after everything that was tried: deflated by the ledger's trials, with PBO beside it.

A *trial* is a procedure or idea whose trades were ever looked at on a line of data. Its weekly repetitions are one
trial; trials whose daily profits move together are counted as one cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from catalyst_ml.evaluation.many_trials import expected_best_sharpe, overfitting_probability
from catalyst_ml.evaluation.significance import dependence_stretch, sharpe_standard_error
from catalyst_ml.evaluation.trading import SESSIONS_PER_YEAR

SAME_TRIAL_CORRELATION = 0.5
"""Trials whose daily profits correlate at least so much are one cluster (average linkage)."""
MIN_COMMON_SESSIONS = 20
"""Two trials with fewer common sessions count as unrelated, which deflates more."""
MAX_COMPARED = 1_000
"""At most so many trials are compared pair by pair; further ones count as unrelated, which deflates more."""
OVERFITTING_BLOCKS = 10
MIN_COVERED = 0.9
"""Share of the judged sessions that a trial must cover to take part in the probability of overfitting."""


@dataclass(frozen=True)
class Trial:
    """Something whose trades were looked at: Sharpe ratio per session, profit per session where it was kept."""

    name: str
    sharpe: float
    daily: pd.Series | None = None


@dataclass(frozen=True)
class Deflation:
    """A Sharpe ratio and what is left of it.

    ``sharpe`` is per year. ``n_trials`` counts the judged one, ``n_effective`` its clusters. ``n_same_record`` counts
    those judged on days of the same record, or on days not known: as many chances to be promoted by luck.
    ``best_of_noise`` is the annual Sharpe ratio that the best of all is expected to show without skill. ``probability``
    is that of a true Sharpe ratio above zero, ``deflated`` above ``best_of_noise``; both know that outcomes overlap.
    ``overfitting`` is the probability of back-test overfitting over ``n_overfitting`` trials on common sessions, None
    with fewer than two.
    """

    sharpe: float | None
    sessions: int
    n_trials: int
    n_same_record: int
    n_effective: int
    best_of_noise: float
    probability: float | None
    deflated: float | None
    overfitting: float | None
    n_overfitting: int

    @property
    def words(self) -> str:
        """How much was tried, and what that leaves of the Sharpe ratio."""
        if self.sharpe is None or self.deflated is None:
            return "no Sharpe ratio: fewer than 20 sessions with a threshold, or no trade"
        if self.n_trials == 1:
            return (
                "1 attempt on record: nothing to deflate; "
                f"the chance of a true Sharpe above zero is {_spoken(self.deflated)}"
            )
        return (
            f"{self.n_trials} attempts on record, worth {self.n_effective} independent: the best of them would show "
            f"{self.best_of_noise:+.2f} a year without skill; the chance of a true Sharpe above that is "
            f"{_spoken(self.deflated)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return asdict(self) | {"words": self.words}


def deflate(daily: pd.Series, others: Sequence[Trial] = ()) -> Deflation:
    """Deflate the Sharpe ratio of ``daily`` by everything else that was tried on its line.

    Parameters
    ----------
    daily
        Profit per session of the judged trial; index: sessions, rising.
    others
        The other trials; the judged one is not among them.

    Notes
    -----
    The spread of Sharpe ratios in SR₀ is never taken smaller than the judged ratio's own standard error: two or three
    trials that happen to lie close together say nothing about how far noise would spread them. Both probabilities
    divide by that error stretched by the serial dependence of the profits.

    References
    ----------
    Bailey & López de Prado (2014), The deflated Sharpe ratio; López de Prado (2019), A data science solution to the
    multiple-testing crisis in financial research, for clusters of trials.
    """
    values = daily.to_numpy(dtype="float64")
    n_trials = 1 + len(others)
    same_record = 1 + sum(trial.daily is None or _common(trial.daily, daily) >= MIN_COMMON_SESSIONS for trial in others)
    overfitting, n_overfitting = _overfitting(daily, others)
    if len(values) < MIN_COMMON_SESSIONS or values.std() == 0.0:
        return Deflation(
            None, len(values), n_trials, same_record, n_trials, 0.0, None, None, overfitting, n_overfitting
        )
    sharpe = float(values.mean() / values.std(ddof=1))
    error = sharpe_standard_error(values) * dependence_stretch(values)
    trials = [Trial("judged", sharpe, daily), *others]
    cluster = cluster_trials(trials)
    n_effective = int(cluster.max()) + 1
    means = np.bincount(cluster, weights=[trial.sharpe for trial in trials]) / np.bincount(cluster)
    spread = float(means.std(ddof=1)) if n_effective > 1 else 0.0
    # Of a unit spread, so that the floor can be set.
    best = expected_best_sharpe(np.array([-1.0, 1.0]) / np.sqrt(2.0), n_trials=n_effective) * max(spread, error)
    year = float(np.sqrt(SESSIONS_PER_YEAR))
    return Deflation(
        sharpe=sharpe * year,
        sessions=len(values),
        n_trials=n_trials,
        n_same_record=same_record,
        n_effective=n_effective,
        best_of_noise=best * year,
        probability=float(special.ndtr(sharpe / error)),
        deflated=float(special.ndtr((sharpe - best) / error)),
        overfitting=overfitting,
        n_overfitting=n_overfitting,
    )


def cluster_trials(trials: Sequence[Trial]) -> np.ndarray:
    """Cluster (n_trials,) of each trial, numbered from 0: those that move together share one.

    Trials without daily profits, or without enough sessions in common with another, are clusters of their own.
    """
    # Not at the top: it takes a quarter of a second, in every command.
    from scipy.cluster.hierarchy import fcluster, linkage

    n = min(len(trials), MAX_COMPARED)
    if n == 1:
        return np.zeros(1, dtype="int64")
    empty = pd.Series(dtype="float64")
    table = pd.DataFrame({k: empty if t.daily is None else t.daily for k, t in enumerate(trials[:n])})
    correlation = table.corr(min_periods=MIN_COMMON_SESSIONS).reindex(index=range(n), columns=range(n)).to_numpy()
    distance = 1.0 - np.nan_to_num(correlation, nan=0.0)
    pairs = np.clip(distance[np.triu_indices(n, 1)], 0.0, 2.0)
    labels = fcluster(linkage(pairs, method="average"), t=1.0 - SAME_TRIAL_CORRELATION, criterion="distance")
    compared = np.unique(labels, return_inverse=True)[1].astype("int64")
    return np.concatenate([compared, compared.max() + 1 + np.arange(len(trials) - n)])


def _spoken(chance: float) -> str:
    """A chance as a person says it: never certain."""
    return "over 99 %" if chance > 0.99 else "under 1 %" if chance < 0.01 else f"{100 * chance:.0f} %"


def _common(one: pd.Series, other: pd.Series) -> int:
    """Sessions that both series hold."""
    return int(one.index.isin(other.index).sum())


def _overfitting(daily: pd.Series, others: Sequence[Trial]) -> tuple[float | None, int]:
    """Probability of overfitting over the trials that cover the judged sessions, and how many they are."""
    needed = MIN_COVERED * len(daily)
    covering = [t.daily for t in others if t.daily is not None and _common(t.daily, daily) >= needed]
    series = [daily, *covering]
    common = pd.concat(series, axis=1, join="inner").dropna().sort_index()
    if len(series) < 2 or len(common) < 2 * OVERFITTING_BLOCKS:
        return None, len(series)
    return overfitting_probability(common.to_numpy(), n_blocks=OVERFITTING_BLOCKS), len(series)

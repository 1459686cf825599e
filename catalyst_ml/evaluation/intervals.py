"""Intervals for scores on dependent rows: what a number is worth when rows of one day move together.

Each score is linearised into one influence per session, whose mean has the score's own error; its long-run
variance then knows both the dependence within a day and over the days that labels overlap. These intervals
are drawn and printed; the gate decides by its own paired test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from catalyst_ml.evaluation.significance import long_run_variance

MIN_SESSIONS = 20
"""Below this many sessions a long-run variance is a guess; the interval is left out and said to be missing."""


@dataclass(frozen=True)
class ScoreInterval:
    """A score with its two-sided interval; bounds are None where they cannot be estimated."""

    value: float | None
    low: float | None
    high: float | None
    level: float


def mean_interval(
    values: np.ndarray,
    session: pd.Series | np.ndarray,
    *,
    weight: np.ndarray | None = None,
    level: float = 0.90,
) -> ScoreInterval:
    """Interval of the mean of ``values`` (n,), clustered by session.

    ``weight`` (n,) >= 0 is what each value counts; by default all count alike.

    Notes
    -----
    Sessions hold different numbers of rows, so the mean is a ratio of sums; its influence per session is
    Σw(v − v̄)/Σw (Cochran 1977, ch. 6).
    """
    values = np.asarray(values, dtype="float64")
    w = np.ones(len(values)) if weight is None else np.asarray(weight, dtype="float64")
    total = float(w.sum())
    if total == 0.0:
        return ScoreInterval(None, None, None, level)
    mean = float(w @ values) / total
    return _interval(mean, w * (values - mean) / total, session, level)


@dataclass(frozen=True)
class MeanTest:
    """A mean with the standard error of its days, and the two-sided p-value of "it is zero" (Student's t, ``df``)."""

    mean: float
    error: float
    df: int
    p_value: float


def mean_test(values: np.ndarray, session: pd.Series | np.ndarray) -> MeanTest | None:
    """Test that the mean of ``values`` (n,) is zero, with the error of `mean_interval`.

    Returns
    -------
    MeanTest or None
        None with fewer than `MIN_SESSIONS` sessions. Values that are all zero have p = 1.
    """
    values = np.asarray(values, dtype="float64")
    daily = _daily((values - values.mean()) / len(values), session) if len(values) else np.empty(0)
    if len(daily) < MIN_SESSIONS:
        return None
    df, error = _df(len(daily)), _standard_error(daily)
    mean = float(values.mean())
    if error <= 1e-12 * float(np.abs(values).max()):
        return MeanTest(mean, error, df, 0.0 if mean else 1.0)
    return MeanTest(mean, error, df, float(2.0 * special.stdtr(df, -abs(mean / error))))


def auc_interval(
    y: np.ndarray, p: np.ndarray, session: pd.Series | np.ndarray, *, level: float = 0.90
) -> ScoreInterval:
    """Interval of the AUC of ``p`` (n,) for outcomes ``y`` (n,), clustered by session.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson (1988); Obuchowski (1997), Nonparametric analysis of clustered ROC data.
    """
    is_success = np.asarray(y) == 1
    n_success, n_failure = int(is_success.sum()), int((~is_success).sum())
    if n_success == 0 or n_failure == 0:
        return ScoreInterval(None, None, None, level)
    p = np.asarray(p, dtype="float64")
    overall = pd.Series(p).rank().to_numpy()
    within = np.empty(len(p))
    within[is_success] = pd.Series(p[is_success]).rank().to_numpy()
    within[~is_success] = pd.Series(p[~is_success]).rank().to_numpy()
    # Placement: the share of the other class that lies below (for a success) or above (for a failure).
    placement = np.where(is_success, (overall - within) / n_failure, 1.0 - (overall - within) / n_success)
    auc = float(placement[is_success].mean())
    influence = (placement - auc) / np.where(is_success, n_success, n_failure)
    return _interval(auc, influence, session, level)


def auc_within_interval(
    y: np.ndarray,
    p: np.ndarray,
    session: pd.Series | np.ndarray,
    direction: pd.Series | np.ndarray,
    *,
    level: float = 0.90,
) -> ScoreInterval:
    """Interval of the AUC over pairs of the same session and direction: a ratio of sums over sessions."""
    frame = pd.DataFrame(
        {
            "y": np.asarray(y) == 1,
            "p": np.asarray(p, dtype="float64"),
            "s": np.asarray(session),
            "d": np.asarray(direction),
        }
    )
    frame["rank"] = frame.groupby(["s", "d"])["p"].rank()
    groups = frame.assign(rank_success=frame["rank"] * frame["y"]).groupby(["s", "d"])
    n_success = groups["y"].sum().astype("float64")
    pairs = n_success * (groups["y"].size() - n_success)
    wins = (groups["rank_success"].sum() - n_success * (n_success + 1) / 2).where(pairs > 0, 0.0)
    if not pairs.sum():
        return ScoreInterval(None, None, None, level)
    value = float(wins.sum() / pairs.sum())
    influence = (wins - value * pairs) / pairs.sum()
    return _interval(value, influence.to_numpy(), influence.index.get_level_values("s"), level)


def influence_interval(
    value: float, influence: np.ndarray, session: pd.Series | np.ndarray | pd.Index, *, level: float = 0.90
) -> ScoreInterval:
    """Interval of a score of one's own, from the influence of each row (n,) on it: they sum to the score's error."""
    return _interval(value, np.asarray(influence, dtype="float64"), session, level)


def _interval(
    value: float, influence: np.ndarray, session: pd.Series | np.ndarray | pd.Index, level: float
) -> ScoreInterval:
    """Interval from row influences that sum to the score's error."""
    daily = _daily(influence, session)
    if len(daily) < MIN_SESSIONS:
        return ScoreInterval(value, None, None, level)
    half = float(special.stdtrit(_df(len(daily)), 0.5 + level / 2.0)) * _standard_error(daily)
    return ScoreInterval(value, value - half, value + half, level)


def _daily(influence: np.ndarray, session: pd.Series | np.ndarray | pd.Index) -> np.ndarray:
    return pd.Series(influence).groupby(np.asarray(session), sort=True).sum().to_numpy()


def _df(n_sessions: int) -> int:
    return max(int(0.41 * n_sessions ** (2.0 / 3.0)), 1)


def _standard_error(daily: np.ndarray) -> float:
    """Of a score whose influences sum to ``daily`` (n_sessions,)."""
    return float(np.sqrt(len(daily) * long_run_variance(daily)))

"""Selective accuracy: how sure must the model be for its calls to keep a promise, and was the promise kept afterwards?

A *call* is "success" at p >= 1/2, else "failure"; its *confidence* is max(p, 1 - p). A threshold promises an accuracy
on the calls at or above it. It is chosen with an upper bound on the risk, frozen, and followed on later weeks. If no
threshold can promise it, the model abstains, which is a result and not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from catalyst_ml.evaluation.intervals import ScoreInterval, mean_interval
from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.evaluation.significance import long_run_variance, wilson_interval
from catalyst_ml.evaluation.weights import effective_sample_size

TARGET_ACCURACY = 0.70
"""What the trader's plan hopes for; public results for all signals are 51 to 55 %."""
LEVEL = 0.95
CHOICE_COVERAGES: tuple[float, ...] = (0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.60, 0.80, 1.0)
"""Shares of calls whose thresholds are tried. Quantiles of the confidence alone: no outcome chooses the grid."""
MIN_CHOICE_SESSIONS = 65
"""Settled sessions before a threshold is chosen at all, as in the gate."""
MIN_BOUND_SESSIONS = 20
"""Sessions that must hold a chosen call; fewer say nothing about how days move together."""
OVERLAP_SESSIONS = 5
"""Sessions over which outcomes overlap: without a single wrong call, so many sessions count as one trial."""

Outcome = Literal["kept", "broken", "undecided", "abstained"]
Reach = Literal["yes", "no", "undecided"]


@dataclass(frozen=True)
class Threshold:
    """What one choice of a threshold found.

    ``tau`` is None if the model must abstain; ``risk`` and ``bound`` (upper, at 95 % over the whole grid) are those of
    ``tau``, or of the grid's lowest bound when it abstains. ``coverage`` is the share of the calls it was chosen on.
    """

    tau: float | None
    target: float
    coverage: float | None
    risk: float | None
    bound: float | None
    n: int
    n_eff: float | None
    sessions: int

    @property
    def words(self) -> str:
        """As a trader reads it."""
        promise = f"{100 * self.target:.0f} % accuracy"
        if self.bound is None or self.risk is None or self.coverage is None:
            return f"too few settled sessions ({self.sessions}) to promise {promise}: the model abstains"
        if self.tau is None:
            return (
                f"no threshold keeps {promise}: the model abstains (the best one was right in "
                f"{100 * (1 - self.risk):.1f} %, which proves {100 * (1 - self.bound):.1f} %)"
            )
        return (
            f"calls with confidence {self.tau:.3f} or more keep {promise} (right in {100 * (1 - self.risk):.1f} %, "
            f"which proves {100 * (1 - self.bound):.1f} %) on {100 * self.coverage:.0f} % of events"
        )


@dataclass(frozen=True)
class FollowedWeek:
    """One later week under the threshold frozen before it. ``accuracy`` is None without a call."""

    fold: str
    tau: float | None
    events: int
    calls: int
    accuracy: float | None
    low: float | None
    high: float | None
    base_rate: float | None


@dataclass(frozen=True)
class FollowUp:
    """All weeks with a threshold against the promise. ``base_rate``: accuracy of the better constant call there."""

    weeks: tuple[FollowedWeek, ...]
    too_early: int
    abstained: int
    calls: int
    coverage: float | None
    accuracy: ScoreInterval
    base_rate: float | None
    outcome: Outcome


def confidence(p: np.ndarray | pd.Series) -> np.ndarray:
    """Confidence of each call, max(p, 1 - p), in [1/2, 1]."""
    p = np.asarray(p, dtype="float64")
    return np.maximum(p, 1.0 - p)


def is_wrong(y: np.ndarray | pd.Series, p: np.ndarray | pd.Series) -> np.ndarray:
    """True (n,) where the call at one half missed the outcome."""
    return np.asarray((np.asarray(p, dtype="float64") >= 0.5) != (np.asarray(y) == 1))


def risk_bound(wrong: np.ndarray, taken: np.ndarray, day: np.ndarray, *, alpha: float) -> tuple[float, float, float]:
    """Risk of the taken calls, its upper bound at 1 - ``alpha``, and how many independent calls they are worth.

    Parameters
    ----------
    wrong, taken
        Masks (n,): the call missed; the call is taken.
    day
        Position of the session (n,), 0..n_sessions-1 in time order.

    Returns
    -------
    (float, float, float)
        Bound 1 with fewer than `MIN_BOUND_SESSIONS` sessions holding a taken call.

    Notes
    -----
    Exact binomial bound on an effective number of calls: risk·(1 − risk) over the variance of the risk, which knows
    that a day's calls move together and that outcomes overlap (long-run variance of the daily influences), times
    (z/t)² because that variance is itself estimated with few degrees of freedom.

    References
    ----------
    Korn & Graubard (1998), Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data, Survey Methodology 24(2). Clopper & Pearson (1934). Geifman & El-Yaniv (2017).
    """
    n_sessions = int(day[-1]) + 1 if len(day) else 0
    count = np.bincount(day[taken], minlength=n_sessions).astype("float64")
    n = float(count.sum())
    held = int((count > 0).sum())
    if not n:
        return 1.0, 1.0, 0.0
    lost = np.bincount(day[taken], weights=wrong[taken], minlength=n_sessions)
    risk = float(lost.sum() / n)
    if held < MIN_BOUND_SESSIONS:
        return risk, 1.0, float(held)
    # No wrong call, or only wrong ones: the data say nothing of their dependence, so count stretches of sessions.
    n_eff = held / OVERLAP_SESSIONS
    variance = n_sessions * long_run_variance((lost - risk * count) / n)
    if variance > 0.0 and 0.0 < risk < 1.0:
        df = max(int(0.41 * n_sessions ** (2.0 / 3.0)), 1)
        shrink = (special.ndtri(1.0 - alpha) / special.stdtrit(df, 1.0 - alpha)) ** 2
        n_eff = min(risk * (1.0 - risk) / variance * float(shrink), n)
    misses = risk * n_eff
    bound = 1.0 if risk >= 1.0 else float(special.betaincinv(misses + 1.0, n_eff - misses, 1.0 - alpha))
    return risk, bound, n_eff


def choose_threshold(
    y: np.ndarray | pd.Series,
    p: np.ndarray | pd.Series,
    session: np.ndarray | pd.Series,
    *,
    target: float = TARGET_ACCURACY,
    level: float = LEVEL,
    coverages: Sequence[float] = CHOICE_COVERAGES,
) -> Threshold:
    """Choose the smallest threshold whose risk is at most 1 - ``target``, with confidence ``level`` over the grid.

    Parameters
    ----------
    y, p, session
        Settled outcomes, probabilities and sessions (n,), in time order.

    Returns
    -------
    Threshold
        ``tau`` None if no threshold of the grid can promise it, or there are fewer than `MIN_CHOICE_SESSIONS`
        sessions.

    Notes
    -----
    All thresholds of the grid are tried, so each gets (1 - level) over their number (Bonferroni).
    """
    day, days = pd.factorize(np.asarray(session), sort=True)
    if len(days) < MIN_CHOICE_SESSIONS:
        return Threshold(None, target, None, None, None, len(day), None, len(days))
    sure, wrong = confidence(p), is_wrong(y, p)
    taus = np.unique(np.quantile(sure, [1.0 - share for share in coverages]))
    alpha = (1.0 - level) / len(taus)
    best: Threshold | None = None
    for tau in taus:
        taken = sure >= tau
        risk, bound, n_eff = risk_bound(wrong, taken, day, alpha=alpha)
        found = Threshold(
            float(tau), target, float(taken.mean()), risk, bound, int(taken.sum()), float(n_eff), len(days)
        )
        if bound <= 1.0 - target:
            return found
        if best is None or best.bound is None or bound < best.bound:
            best = found
    assert best is not None
    return Threshold(None, target, best.coverage, best.risk, best.bound, best.n, best.n_eff, len(days))


def follow_thresholds(
    record: pd.DataFrame, p_column: str = P_CHALLENGER, *, target: float = TARGET_ACCURACY, level: float = LEVEL
) -> FollowUp:
    """Freeze a threshold before each fold, on what was settled by then, and see what its calls were worth.

    Parameters
    ----------
    record
        Record rows in time order: session, fold, ts, label_end, y and ``p_column``.

    Notes
    -----
    A fold's threshold sees only rows whose ``label_end`` is at or before the fold's first decision.
    """
    fold = pd.factorize(record["fold"].to_numpy())[0]
    begins = np.flatnonzero(np.diff(fold, prepend=-1))
    ts, label_end = record["ts"].to_numpy(), record["label_end"].to_numpy()
    y, p, session = record["y"].to_numpy(), record[p_column].to_numpy(), record["session"].to_numpy()
    sure, right = confidence(p), ~is_wrong(y, p)
    taken = np.zeros(len(record), dtype=bool)
    weeks: list[FollowedWeek] = []
    n_events = too_early = abstained = 0
    for begin, end in zip(begins, [*begins[1:], len(record)], strict=True):
        known = np.flatnonzero(label_end[:begin] <= ts[begin])
        frozen = choose_threshold(y[known], p[known], session[known], target=target, level=level)
        if frozen.bound is None:
            too_early += 1
            continue
        n_events += int(end - begin)
        abstained += frozen.tau is None
        if frozen.tau is not None:
            taken[begin:end] = sure[begin:end] >= frozen.tau
        of_week = np.flatnonzero(taken[begin:end]) + begin
        weeks.append(_week(str(record["fold"].iloc[begin]), frozen, int(end - begin), of_week, right, y, session))
    accuracy = share_right(right[taken], session[taken])
    return FollowUp(
        weeks=tuple(weeks),
        too_early=too_early,
        abstained=abstained,
        calls=int(taken.sum()),
        coverage=float(taken.sum() / n_events) if n_events else None,
        accuracy=accuracy,
        base_rate=constant_accuracy(y[taken]) if taken.any() else None,
        outcome=_outcome(accuracy, target),
    )


def _week(
    fold: str,
    frozen: Threshold,
    events: int,
    rows: np.ndarray,
    right: np.ndarray,
    y: np.ndarray,
    session: np.ndarray,
) -> FollowedWeek:
    if not len(rows):
        return FollowedWeek(fold, frozen.tau, events, 0, None, None, None, None)
    accuracy = float(right[rows].mean())
    low, high = _week_interval(right[rows], session[rows])
    return FollowedWeek(fold, frozen.tau, events, len(rows), accuracy, low, high, constant_accuracy(y[rows]))


def _week_interval(right: np.ndarray, session: np.ndarray) -> tuple[float, float]:
    """90 % interval of a week's accuracy: Wilson on the calls it is worth, given that a day's calls move together.

    Five sessions cannot show how far days overlap, so a week's interval is somewhat too short; that of all weeks
    together is not.
    """
    n_eff = effective_sample_size(right.astype("float64"), session)
    interval = wilson_interval(float(right.mean()) * n_eff, n_eff, 0.90)
    return interval.low, interval.high


def share_right(right: np.ndarray, session: np.ndarray) -> ScoreInterval:
    """Accuracy of calls (n,) with its 90 % interval over days."""
    return mean_interval(right.astype("float64"), session)


def constant_accuracy(y: np.ndarray) -> float:
    """Accuracy of the better of the two constant calls."""
    share = float(np.mean(y == 1))
    return max(share, 1.0 - share)


def reaches_target(accuracy: ScoreInterval, target: float) -> Reach:
    """Whether the whole interval lies at or above the target, below it, or on both sides."""
    if accuracy.low is not None and accuracy.low >= target:
        return "yes"
    return "no" if accuracy.high is not None and accuracy.high < target else "undecided"


def _outcome(accuracy: ScoreInterval, target: float) -> Outcome:
    if accuracy.value is None:
        return "abstained"
    return {"yes": "kept", "no": "broken", "undecided": "undecided"}[reaches_target(accuracy, target)]  # type: ignore[return-value]

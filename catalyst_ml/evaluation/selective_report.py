"""What abstaining buys an arm on a record: threshold, follow-up, area under risk-coverage, accuracy at coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.evaluation.selective import (
    LEVEL,
    TARGET_ACCURACY,
    FollowUp,
    Reach,
    Threshold,
    choose_threshold,
    confidence,
    constant_accuracy,
    follow_thresholds,
    is_wrong,
    reaches_target,
    share_right,
)
from catalyst_ml.evaluation.significance import stationary_bootstrap_counts

SHOWN_COVERAGES: tuple[float, ...] = (0.05, 0.10, 0.20, 0.50, 1.0)


@dataclass(frozen=True)
class CoveragePoint:
    """Accuracy of the surest calls at one coverage, beside the better constant call on the same rows."""

    coverage: float
    n: int
    accuracy: ScoreInterval
    base_rate: float
    reaches_target: Reach


@dataclass(frozen=True)
class SelectiveReport:
    """Everything about abstaining, of one arm on one record."""

    target: float
    level: float
    base_rate: float
    now: Threshold
    followed: FollowUp
    at_coverage: tuple[CoveragePoint, ...]
    aurc: ScoreInterval
    error_of_all: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON: lists, not tuples."""
        stored = asdict(self)
        stored["now"]["words"] = self.now.words
        stored["followed"]["weeks"] = list(stored["followed"]["weeks"])
        stored["at_coverage"] = list(stored["at_coverage"])
        return stored


def report_selective(
    record: pd.DataFrame,
    p_column: str = P_CHALLENGER,
    *,
    target: float = TARGET_ACCURACY,
    level: float = LEVEL,
    coverages: Sequence[float] = SHOWN_COVERAGES,
) -> SelectiveReport:
    """Say what abstaining buys: the threshold for the weeks to come, the earlier ones followed up, the whole curve.

    Parameters
    ----------
    record
        Settled record rows in time order.

    Raises
    ------
    DataContractError
        If there are no rows.
    """
    if record.empty:
        raise DataContractError(
            "selective accuracy: no rows; expected at least one settled event. Check the folds and as_of."
        )
    y, p, session = record["y"].to_numpy(), record[p_column].to_numpy(), record["session"].to_numpy()
    wrong = is_wrong(y, p)
    surest = np.argsort(-confidence(p), kind="stable")
    points = []
    for share in coverages:
        rows = np.sort(surest[: max(round(share * len(y)), 1)])
        accuracy = share_right(~wrong[rows], session[rows])
        points.append(
            CoveragePoint(share, len(rows), accuracy, constant_accuracy(y[rows]), reaches_target(accuracy, target))
        )
    return SelectiveReport(
        target=target,
        level=level,
        base_rate=float(y.mean()),
        now=choose_threshold(y, p, session, target=target, level=level),
        followed=follow_thresholds(record, p_column, target=target, level=level),
        at_coverage=tuple(points),
        aurc=area_under_risk_coverage(y, p, session),
        error_of_all=float(wrong.mean()),
    )


def area_under_risk_coverage(
    y: np.ndarray | pd.Series,
    p: np.ndarray | pd.Series,
    session: np.ndarray | pd.Series,
    *,
    level: float = 0.90,
    n_boot: int = 200,
    seed: int = 0,
) -> ScoreInterval:
    """Mean risk over all coverages (AURC), with a band of the stationary bootstrap over sessions.

    Notes
    -----
    Calls of equal confidence are taken together: each counts with the mean error of its group. Confidence that tells
    nothing gives the error of all calls.

    References
    ----------
    Geifman, Uziel & El-Yaniv (2019), Bias-reduced uncertainty estimation for deep neural classifiers.
    """
    sure, wrong = confidence(p), is_wrong(y, p).astype("float64")
    order = np.argsort(-sure, kind="stable")
    day, days = pd.factorize(np.asarray(session), sort=True)
    day = day[order]
    ties = np.flatnonzero(np.diff(sure[order], prepend=np.inf))
    value = _area(wrong[order], np.ones(len(wrong)), ties)
    draws = stationary_bootstrap_counts(len(days), n_boot=n_boot, seed=seed)
    drawn = [_area(wrong[order], draw[day], ties) for draw in draws]
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return ScoreInterval(value, float(low), float(high), level)


def _area(wrong: np.ndarray, weight: np.ndarray, ties: np.ndarray) -> float:
    """Area from the sums of groups of equal confidence, surest group first."""
    lost, count = np.add.reduceat(wrong * weight, ties), np.add.reduceat(weight, ties)
    lost_before, count_before = np.cumsum(lost) - lost, np.cumsum(count) - count
    # Within a group the expected risk at its middle; exact without ties.
    half = np.where(count > 0, (count + 1.0) / 2.0 / np.maximum(count, 1e-300), 0.0)
    reached = np.maximum(count_before + half * count, 1e-300)
    risk = (lost_before + half * lost) / reached
    return float((risk * count).sum() / count.sum())

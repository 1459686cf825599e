"""Scores of one contender on the rows of a market, each difference to ours with a day-block interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.support.model_markets import P_TRUE
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_within_interval, mean_interval
from catalyst_ml.evaluation.metrics import auc, calibration_curve, calibration_error
from catalyst_ml.evaluation.record import P_BASE_RATE, P_FLOOR, log_losses

LEVEL = 0.95
COVERAGES = (0.1, 0.2, 0.5)
MIN_POSSIBLE_GAIN = 0.001
"""Nats an event; the oracle of a market without an edge knows the two directions' base rates and gains less."""


@dataclass(frozen=True)
class OracleShare:
    """Share of the oracle's log-loss gain over the base rate, and how far ours is ahead (interval of the difference).

    ``expected`` takes each row's loss in the mean over its known probability, which leaves the luck of the outcomes
    out; ``realised`` takes the outcomes as they fell.
    """

    expected: float
    realised: float
    ours_ahead: ScoreInterval


@dataclass(frozen=True)
class ContenderScores:
    """Figures of one contender. ``difference``: its log-loss minus ours; above zero ours is better."""

    log_loss: float
    difference: ScoreInterval
    auc: float | None
    auc_within: ScoreInterval
    accuracy_at: dict[float, float]
    ece: float
    oracle: OracleShare | None


def pool(records: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the records of several simulated markets one after the other; no two share a session."""
    shifted = [
        record.assign(session=record["session"] + pd.DateOffset(years=20 * k)) for k, record in enumerate(records)
    ]
    return pd.concat(shifted, ignore_index=True)


def score(record: pd.DataFrame, column: str, ours: str) -> ContenderScores:
    """Score the probabilities in ``column`` against the outcomes, and against those in ``ours``."""
    y, p, session = record["y"].to_numpy(), record[column].to_numpy(), record["session"]
    losses = log_losses(y, p)
    return ContenderScores(
        log_loss=float(losses.mean()),
        difference=mean_interval(losses - log_losses(y, record[ours]), session, level=LEVEL),
        auc=auc(y, p),
        auc_within=auc_within_interval(y, p, session, record["direction"], level=LEVEL),
        accuracy_at=accuracy_at_coverage(y, p),
        ece=calibration_error(calibration_curve(y, p, session)),
        oracle=_oracle_share(record, column, ours) if P_TRUE in record else None,
    )


def expected_log_losses(p_true: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Log-loss of each row (n,) in the mean over its known probability: what is left without the luck of outcomes."""
    return p_true * log_losses(np.ones(len(p)), p) + (1.0 - p_true) * log_losses(np.zeros(len(p)), p)


def accuracy_at_coverage(y: np.ndarray, p: np.ndarray) -> dict[float, float]:
    """Share of right calls (at 1/2) among the surest by |p - 1/2|; of equally sure rows a fair share is taken."""
    sureness = np.abs(p - 0.5)
    is_right = (p >= 0.5) == (y == 1)
    found = {}
    for coverage in COVERAGES:
        limit = np.quantile(sureness, 1.0 - coverage)
        above, ties = sureness > limit, sureness == limit
        # Forecasts with few distinct values tie: each tied row counts the fraction that makes the coverage exact.
        size = above + ties * max(coverage * len(p) - above.sum(), 0.0) / max(ties.sum(), 1)
        found[coverage] = float((size * is_right).sum() / size.sum())
    return found


def _oracle_share(record: pd.DataFrame, column: str, ours: str) -> OracleShare | None:
    """None where there is nothing to know: the market without an edge."""
    p_true, y = record[P_TRUE].to_numpy(), record["y"].to_numpy()

    def expected(p: np.ndarray) -> np.ndarray:
        return expected_log_losses(p_true, p)

    p, base, mine = (np.clip(record[name].to_numpy(), P_FLOOR, 1.0 - P_FLOOR) for name in (column, P_BASE_RATE, ours))
    possible = expected(base) - expected(p_true)
    if possible.mean() < MIN_POSSIBLE_GAIN:
        return None
    possible_realised = float((log_losses(y, base) - log_losses(y, p_true)).mean())
    ahead = mean_interval((expected(p) - expected(mine)) / possible.mean(), record["session"], level=LEVEL)
    return OracleShare(
        expected=float((expected(base) - expected(p)).mean() / possible.mean()),
        realised=float((log_losses(y, base) - log_losses(y, p)).mean()) / possible_realised,
        ours_ahead=ahead,
    )

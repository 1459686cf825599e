"""Does a fit get worse with age? Older fits of one procedure against the freshest, on the same rows.

This is the question behind "every week": if a fit of eight weeks ago predicts this week as well as last night's does,
re-fitting every week buys nothing; if it is clearly worse, waiting costs what the curve says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.comparison import MIN_TEST_SESSIONS, compare_log_loss
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_within_interval, mean_interval
from catalyst_ml.evaluation.record import log_losses

AGES_WEEKS: tuple[int, ...] = (0, 1, 2, 4, 8, 13)
"""How many weeks older than the freshest a fit is; the freshest is itself up to a week old when it is asked."""
FRESH = 0
ALPHA = 0.05


@dataclass(frozen=True)
class AgePoint:
    """One age on the curve.

    ``excess`` is the aged fit's log-loss minus the freshest's, per event and in nats, with its 90 % interval over days:
    above zero, age hurts. ``t`` and ``p_value`` are of the one-sided HAR test "the aged fit is worse"; all None for the
    freshest itself.
    """

    age_weeks: int
    n: int
    sessions: int
    log_loss: float
    auc_within: ScoreInterval
    excess: ScoreInterval | None
    t: float | None
    p_value: float | None

    @property
    def is_worse(self) -> bool:
        """True if the aged fit is worse than the freshest at the 5 % level."""
        return self.p_value is not None and self.p_value < ALPHA

    def to_dict(self) -> dict[str, Any]:
        """Return the point as JSON; an infinite t (two fits that differ by a constant) becomes None."""
        return asdict(self) | {"t": self.t if self.t is not None and np.isfinite(self.t) else None}


def age_column(age_weeks: int) -> str:
    """Column of the predictions by the fit that is so much older than the freshest."""
    return f"p_age_{age_weeks}"


def ageing_curve(rows: pd.DataFrame, ages: Sequence[int] = AGES_WEEKS) -> tuple[AgePoint, ...]:
    """Compare fits of several ages on the rows that all of them predicted.

    An age of which there is not yet enough is left out, so that it does not take the rows from the others: with the
    younger ones it must share half the sessions that the freshest predicted, and at least 20.

    Parameters
    ----------
    rows
        Settled rows with y, session, direction and `age_column` of each age; NaN where there was no such fit.
    ages
        In weeks, rising, 0 first.

    Returns
    -------
    tuple of AgePoint
        One per age that there is enough of, the freshest first.

    Raises
    ------
    DataContractError
        If the freshest fit's predictions are missing.
    InsufficientHistory
        If the freshest fit predicted fewer than 20 sessions.
    """
    if age_column(FRESH) not in rows.columns:
        raise DataContractError(
            f"ageing: the column {age_column(FRESH)!r} of the freshest fit is missing, got {list(rows.columns)}."
        )
    there = _enough_of(rows, ages)
    columns = [age_column(age) for age in there]
    same = rows.dropna(subset=columns).reset_index(drop=True)
    y, session = same["y"].to_numpy(), same["session"]
    fresh = log_losses(y, same[age_column(FRESH)])
    points = []
    for age, column in zip(there, columns, strict=True):
        # Positive t: the freshest is better, that is, the aged one is worse. Refuses records that are too short.
        test = compare_log_loss(same, age_column(FRESH), column)
        losses = log_losses(y, same[column])
        is_fresh = age == FRESH
        points.append(
            AgePoint(
                age_weeks=age,
                n=len(same),
                sessions=int(session.nunique()),
                log_loss=float(losses.mean()),
                auc_within=auc_within_interval(y, same[column].to_numpy(), session, same["direction"]),
                excess=None if is_fresh else mean_interval(losses - fresh, session),
                t=None if is_fresh else test.t,
                p_value=None if is_fresh else test.p_better,
            )
        )
    return tuple(points)


def _enough_of(rows: pd.DataFrame, ages: Sequence[int]) -> list[int]:
    """Ages, rising, as long as the rows that all of them predicted are enough."""
    is_common = rows[age_column(FRESH)].notna()
    needed = max(MIN_TEST_SESSIONS, rows.loc[is_common, "session"].nunique() / 2)
    kept = [FRESH]
    for age in ages:
        if age == FRESH or age_column(age) not in rows.columns:
            continue
        with_age = is_common & rows[age_column(age)].notna()
        if rows.loc[with_age, "session"].nunique() >= needed:
            kept, is_common = [*kept, age], with_age
    return kept


def read_curve(points: Sequence[AgePoint]) -> str:
    """Say in a sentence what the curve says about refitting every week."""
    aged = [point for point in points if point.age_weeks != FRESH]
    if not aged:
        return "There is no older fit to compare with yet."
    worse = [point.age_weeks for point in aged if point.is_worse]
    if not worse:
        return (
            f"No fit up to {aged[-1].age_weeks} weeks old is clearly worse than the freshest: on these rows, refitting "
            "every week is harmless and not proven to be needed."
        )
    return (
        f"A fit {worse[0]} {'week' if worse[0] == 1 else 'weeks'} older than the freshest is already clearly worse: "
        "refit at least that often."
    )

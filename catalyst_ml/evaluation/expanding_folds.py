"""Quarterly refits with an expanding window: each fold learns from everything known before it.

The grid is that of ``splits`` (ISO weeks counted from 1970-01-05), in blocks of 13 weeks, so that two runs on different
days agree on every fold but the newest. The newest fold also holds rows whose outcome is still open: they can be
predicted, and judged later.
"""

from __future__ import annotations

import pandas as pd

from catalyst_ml.errors import ConfigurationError, InsufficientHistory
from catalyst_ml.evaluation.splits import FIRST_MONDAY, Fold

QUARTER_WEEKS = 13


def expanding_folds(
    *,
    history_start: pd.Timestamp,
    as_of: pd.Timestamp,
    min_training_days: int = 365,
    weeks: int = QUARTER_WEEKS,
    embargo: pd.Timedelta = pd.Timedelta("1D"),  # noqa: B008 - Timedelta is immutable
) -> tuple[Fold, ...]:
    """Lay folds of ``weeks`` weeks over the history, the last one around ``as_of``.

    Parameters
    ----------
    history_start : Timestamp, UTC
        First row. Every fold trains from there.
    as_of : Timestamp, UTC
        Last row.
    min_training_days : int
        Days between the first row and the first fold's test window, at least.
    weeks : int
        Length of a test window, and time between two refits.
    embargo : Timedelta
        Between the last known outcome of the training and the first decision of the test.

    Returns
    -------
    tuple of Fold
        In time order; test windows do not overlap and leave no moment out. ``train_rows`` and ``test_rows`` of
        ``splits`` read them.

    Raises
    ------
    InsufficientHistory
        If the history is too short for one fold.
    ConfigurationError
        If a length is not positive, or the embargo negative.
    """
    if weeks < 1 or min_training_days < 1 or embargo < pd.Timedelta(0):
        raise ConfigurationError(
            f"weeks={weeks} and min_training_days={min_training_days} must be at least 1, "
            f"embargo={embargo} not negative."
        )
    origin, length = FIRST_MONDAY.tz_localize("UTC"), pd.Timedelta(weeks=weeks)
    earliest = history_start + pd.Timedelta(days=min_training_days)
    first, last = -(-(earliest - origin) // length), (as_of - origin) // length
    if last < first:
        raise InsufficientHistory(
            f"quarterly folds: {min_training_days} days of training after {history_start:%Y-%m-%d} reach beyond "
            f"{as_of:%Y-%m-%d}. Import earlier bars, or ask for less training before the first fold."
        )
    return tuple(_fold(origin + number * length, length, history_start, embargo) for number in range(first, last + 1))


def _fold(start: pd.Timestamp, length: pd.Timedelta, history_start: pd.Timestamp, embargo: pd.Timedelta) -> Fold:
    year, week, _ = start.isocalendar()
    return Fold(
        name=f"quarter-{year}-W{week:02d}",
        kind="record",
        train_start=history_start,
        known_before=start - embargo,
        test_start=start,
        test_end=start + length,
    )

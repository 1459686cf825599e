"""Walk-forward folds: which rows a fit may learn from and which rows judge it.

A fold is defined by times only, never by row counts, and lies on a fixed grid of ISO weeks. So two runs
one week apart agree on every fold but the newest (and, every fourth week, the oldest burn-in): results
cached by content are found again. What is fitted inside a fold is not this module's business.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, InsufficientHistory

SESSIONS_PER_WEEK = 5
RECORD_SESSIONS = 260
"""Length of the record the gate judges by default, a year: four times the least it accepts, for power."""
BURN_IN_SESSIONS = 80
"""Sessions before the record whose out-of-fold rows teach the first weights and calibration."""
MIN_TRAINING_SESSIONS = 120
"""Least history before the first fold: half a year of daily events."""
INTRADAY_RECORD_SESSIONS, INTRADAY_BURN_IN_SESSIONS, INTRADAY_TRAINING_DAYS = 65, 40, 90
"""The same for intraday bars: the least that the gate accepts, and the 2,160 hours of the trader's plan. Intraday
history is short; where there is more of it, more may be asked for."""
INTRADAY_MIN_TRAINING_SESSIONS = 20
"""A month of five-minute bars of 50 stocks has as many events as two years of daily ones."""
FIRST_MONDAY = pd.Timestamp("1970-01-05")
"""Origin of the week grid. Any Monday would do; it must never change, or every cached fold is lost."""


class SessionCalendar(Protocol):
    """What folds need of a trading calendar; ``market.calendar.TradingCalendar`` fits."""

    def sessions(self, first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
        """Sessions from ``first`` to ``last``, both included: naive midnights, rising."""
        ...

    def closes(self, sessions: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Closing moment of each session, UTC."""
        ...


@dataclass(frozen=True)
class Fold:
    """One step of the walk: train on what was known before, predict the weeks after.

    Test rows have ``test_start <= ts < test_end`` where ``ts`` is the decision time (close of the bar).
    Training rows have ``ts >= train_start`` and ``label_end < known_before``, with
    ``known_before = test_start - embargo``: their outcome was public before the first test decision.
    All times are UTC; ``test_start`` and ``test_end`` are Mondays, 00:00.
    """

    name: str
    kind: Literal["search", "burn_in", "record"]
    train_start: pd.Timestamp
    known_before: pd.Timestamp
    test_start: pd.Timestamp
    test_end: pd.Timestamp

    def to_dict(self) -> dict[str, str]:
        """Return the fold as JSON: times in ISO 8601."""
        return {k: v.isoformat() if isinstance(v, pd.Timestamp) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Fold:
        """Inverse of `to_dict`."""
        times = {k: pd.Timestamp(v) for k, v in stored.items() if k not in ("name", "kind")}
        return cls(name=stored["name"], kind=stored["kind"], **times)


def walk_forward_folds(
    *,
    as_of: pd.Timestamp,
    calendar: SessionCalendar,
    record_sessions: int = RECORD_SESSIONS,
    record_fold_sessions: int = 5,
    burn_in_sessions: int = BURN_IN_SESSIONS,
    burn_in_fold_sessions: int = 20,
    training_days: int = 730,
    embargo: pd.Timedelta = pd.Timedelta("1D"),  # noqa: B008 - Timedelta is immutable
    label_sessions: int = 5,
    history_start: pd.Timestamp | None = None,
    min_training_sessions: int = MIN_TRAINING_SESSIONS,
) -> tuple[Fold, ...]:
    """Lay the burn-in and record folds that end at ``as_of``.

    Parameters
    ----------
    as_of
        UTC moment whose knowledge may be used; usually the last session's close.
    record_sessions
        The record holds at least this many sessions. It starts on the burn-in grid, so it may hold up to
        one burn-in fold more.
    record_fold_sessions, burn_in_fold_sessions
        Length of one test window: whole weeks, hence multiples of 5; a holiday week simply has fewer
        sessions.
    burn_in_sessions
        Rounded up to whole burn-in folds, directly before the record. Their predictions teach the first
        ensemble weights and calibration and are not judged.
    label_sessions
        Sessions after a decision by which its label is surely known. A week enters the record only when
        *all* its sessions are that old: rows that settled early are the fast barrier touches, not a fair
        sample.
    history_start
        First moment with data, UTC, if known; then the first fold must find ``min_training_sessions``
        sessions before it.

    Returns
    -------
    tuple of Fold
        In time order, burn-in first. Test windows do not overlap and leave no week out, so an eligible row
        is tested exactly once.

    Raises
    ------
    InsufficientHistory
        If the calendar or the data begins too late for the record, the burn-in or the first training window.
    ConfigurationError
        If a fold is not made of whole weeks, or a length or the embargo is negative.

    References
    ----------
    López de Prado (2018), Advances in Financial Machine Learning, ch. 7 (purging, embargo).
    """
    weeks_per_record_fold = _whole_weeks("record_fold_sessions", record_fold_sessions)
    weeks_per_burn_in_fold = _whole_weeks("burn_in_fold_sessions", burn_in_fold_sessions)
    if weeks_per_burn_in_fold % weeks_per_record_fold:
        raise ConfigurationError(
            f"burn_in_fold_sessions={burn_in_fold_sessions} is not a multiple of "
            f"record_fold_sessions={record_fold_sessions}; the two grids would not meet. Use e.g. 20 and 5."
        )
    if record_sessions < 1 or burn_in_sessions < 0 or label_sessions < 1 or embargo < pd.Timedelta(0):
        raise ConfigurationError(
            f"record_sessions={record_sessions} and label_sessions={label_sessions} must be at least 1, "
            f"burn_in_sessions={burn_in_sessions} and embargo={embargo} not negative."
        )
    n_burn_in_folds = -(-burn_in_sessions // burn_in_fold_sessions)
    days_back = 7 * (record_sessions // 4 + (n_burn_in_folds + 2) * weeks_per_burn_in_fold + label_sessions)
    settled = _settled_sessions(as_of, calendar, pd.Timedelta(days=days_back), label_sessions)
    week_of_session = _week_number(settled)
    record_end = _last_whole_week(settled, week_of_session, as_of, calendar) + 1
    record_end -= record_end % weeks_per_record_fold
    record_start = _record_start(week_of_session, record_end, record_sessions, weeks_per_burn_in_fold)
    burn_in_start = record_start - n_burn_in_folds * weeks_per_burn_in_fold
    if week_of_session[0] > burn_in_start:
        raise InsufficientHistory(
            f"the burn-in of {n_burn_in_folds} folds must begin in the week of "
            f"{_monday(burn_in_start):%Y-%m-%d}, but the calendar's first session is {settled[0]:%Y-%m-%d}. "
            "Open the calendar earlier."
        )
    training = pd.Timedelta(days=training_days)
    folds = [
        _fold("burn_in", week, weeks_per_burn_in_fold, training, embargo)
        for week in range(burn_in_start, record_start, weeks_per_burn_in_fold)
    ] + [
        _fold("record", week, weeks_per_record_fold, training, embargo)
        for week in range(record_start, record_end, weeks_per_record_fold)
    ]
    if history_start is not None:
        _check_first_training_window(folds[0], calendar, history_start, min_training_sessions)
    return tuple(folds)


def search_blocks(
    *,
    before: pd.Timestamp,
    n_blocks: int,
    block_weeks: int,
    training_days: int,
    history_start: pd.Timestamp,
    embargo: pd.Timedelta = pd.Timedelta("1D"),  # noqa: B008 - Timedelta is immutable
    min_training_days: int = 180,
) -> tuple[Fold, ...]:
    """Lay ``n_blocks`` blocks of whole weeks that end at the last Monday at or before ``before``.

    Parameters
    ----------
    before
        UTC moment at which the search must end: the first decision of what will be judged, or earlier.
    history_start
        First moment with data, UTC. The first block must find ``min_training_days`` calendar days behind it.

    Returns
    -------
    tuple of Fold
        In time order, of kind ``search``; test windows touch and do not overlap. Each is trained on what was known
        ``embargo`` before it, so later blocks may learn from earlier ones.

    Raises
    ------
    InsufficientHistory
        If the first block lies too close to the start of the data.
    """
    last = int((before.tz_convert("UTC").tz_localize(None) - FIRST_MONDAY).days // 7)
    first = last - n_blocks * block_weeks
    if _monday(first).tz_localize("UTC") - history_start < pd.Timedelta(days=min_training_days):
        raise InsufficientHistory(
            f"the search needs {min_training_days} days of history before its first block of "
            f"{_monday(first):%Y-%m-%d}, but data begins {history_start:%Y-%m-%d}. Import earlier bars, or leave "
            "the search out."
        )
    training = pd.Timedelta(days=training_days)
    return tuple(_fold("search", week, block_weeks, training, embargo) for week in range(first, last, block_weeks))


def search_end(folds: tuple[Fold, ...]) -> pd.Timestamp:
    """Return where a search for ``folds`` must end: the start of the quarter that the first of them tests in.

    On a grid of quarters, so that thirteen weekly runs share one search and the folds that follow from it.
    """
    first = min(fold.test_start for fold in folds).tz_convert("UTC").tz_localize(None)
    return first.to_period("Q").start_time.tz_localize("UTC")


def train_rows(frame: pd.DataFrame, fold: Fold) -> np.ndarray:
    """Mask (n_rows,) of rows the fold may learn from: decided in its window, known before its test."""
    return ((frame["ts"] >= fold.train_start) & (frame["label_end"] < fold.known_before)).to_numpy(dtype=bool)


def test_rows(frame: pd.DataFrame, fold: Fold) -> np.ndarray:
    """Mask (n_rows,) of rows the fold predicts; needs only the decision time ``ts``."""
    return ((frame["ts"] >= fold.test_start) & (frame["ts"] < fold.test_end)).to_numpy(dtype=bool)


test_rows.__test__ = False  # type: ignore[attr-defined]  # the field's name, not a pytest test


def _whole_weeks(name: str, sessions: int) -> int:
    if sessions < SESSIONS_PER_WEEK or sessions % SESSIONS_PER_WEEK:
        raise ConfigurationError(
            f"{name}={sessions}: folds are whole weeks so that next week's run finds them cached; "
            f"expected a positive multiple of {SESSIONS_PER_WEEK}."
        )
    return sessions // SESSIONS_PER_WEEK


def _settled_sessions(
    as_of: pd.Timestamp, calendar: SessionCalendar, back: pd.Timedelta, label_sessions: int
) -> pd.DatetimeIndex:
    today = as_of.tz_convert("UTC").tz_localize(None).normalize()
    sessions = calendar.sessions(today - back, today)
    closed = sessions[np.asarray(calendar.closes(sessions) <= as_of)]
    if len(closed) <= label_sessions:
        raise InsufficientHistory(
            f"{len(closed)} sessions closed by {as_of.isoformat()}; labels take {label_sessions} sessions "
            "to settle. Choose a later as_of or import earlier bars."
        )
    return closed[:-label_sessions]


def _last_whole_week(
    settled: pd.DatetimeIndex, weeks: np.ndarray, as_of: pd.Timestamp, calendar: SessionCalendar
) -> int:
    """Newest week with every session settled."""
    last = settled[-1]
    following = calendar.sessions(last + pd.Timedelta(days=1), as_of.tz_convert("UTC").tz_localize(None).normalize())
    newest = int(weeks[-1])
    is_whole = _week_number(following[:1])[0] > newest
    return newest if is_whole else newest - 1


def _record_start(weeks: np.ndarray, record_end: int, record_sessions: int, weeks_per_burn_in_fold: int) -> int:
    in_record = weeks[weeks < record_end]
    if len(in_record) < record_sessions:
        raise InsufficientHistory(
            f"the record needs {record_sessions} sessions with settled labels, the calendar offers "
            f"{len(in_record)}. Ask for a shorter record or open the calendar earlier."
        )
    start = int(in_record[-record_sessions])
    return start - start % weeks_per_burn_in_fold


def _fold(
    kind: Literal["search", "burn_in", "record"], week: int, n_weeks: int, training: pd.Timedelta, embargo: pd.Timedelta
) -> Fold:
    test_start = _monday(week).tz_localize("UTC")
    year, iso_week, _ = test_start.isocalendar()
    return Fold(
        name=f"{kind}-{year}-W{iso_week:02d}",
        kind=kind,
        train_start=test_start - training,
        known_before=test_start - embargo,
        test_start=test_start,
        test_end=test_start + pd.Timedelta(weeks=n_weeks),
    )


def _check_first_training_window(
    fold: Fold, calendar: SessionCalendar, history_start: pd.Timestamp, min_training_sessions: int
) -> None:
    first = max(history_start, fold.train_start).tz_convert("UTC").tz_localize(None).normalize()
    last = fold.known_before.tz_localize(None).normalize()
    available = len(calendar.sessions(first, last)) if first <= last else 0
    if available < min_training_sessions:
        raise InsufficientHistory(
            f"fold {fold.name} tests from {fold.test_start:%Y-%m-%d} and needs {min_training_sessions} "
            f"sessions of history before it, but data begins {history_start:%Y-%m-%d}: {available} sessions. "
            "Import earlier bars, or ask for fewer record or burn-in sessions."
        )


def _week_number(sessions: pd.DatetimeIndex) -> np.ndarray:
    return np.asarray((sessions - FIRST_MONDAY).days // 7)


def _monday(week: int) -> pd.Timestamp:
    return FIRST_MONDAY + pd.Timedelta(weeks=week)

"""Combinatorial purged cross-validation: how far a score moves when history is cut differently.

A walk-forward is one path through history, and its score one draw. Here time is cut into groups, every choice of test
groups is predicted by a fit on the others, and the predictions are put together into several whole histories. Their
scores show the spread. They do not show a forecast's worth: most fits have seen the future of their test groups, so the
headline stays the walk-forward's.

References
----------
López de Prado (2018), Advances in Financial Machine Learning, ch. 7 (purging, embargo) and ch. 12 (CPCV).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_within_interval, mean_interval
from catalyst_ml.evaluation.record import log_losses

PUBLICATION_DELAY = pd.Timedelta(days=1)
"""An outcome teaches from a day after it was known on, as the embargo of the walk-forward has it."""
EMBARGO = pd.Timedelta(days=30)
"""Calendar days left out after a test group: 20 sessions, the window over which most features look back, and slack."""


@dataclass(frozen=True)
class CpcvSplit:
    """One fit: its test groups by number, and first and last session of each (naive midnights)."""

    name: str
    groups: dict[int, tuple[pd.Timestamp, pd.Timestamp]]

    def to_dict(self) -> dict[str, Any]:
        """Return the split as JSON: dates in ISO 8601."""
        groups = {str(number): [day.isoformat() for day in span] for number, span in self.groups.items()}
        return {"name": self.name, "groups": groups}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> CpcvSplit:
        """Inverse of `to_dict`."""
        groups = {
            int(number): (pd.Timestamp(first), pd.Timestamp(last)) for number, (first, last) in stored["groups"].items()
        }
        return cls(stored["name"], groups)


@dataclass(frozen=True)
class PathScore:
    """One history put together from test groups: gain over an opponent (nats per event) and AUC within the day."""

    path: int
    n: int
    sessions: int
    gain: ScoreInterval
    auc_within: ScoreInterval

    def to_dict(self) -> dict[str, Any]:
        """Return the score as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """How far one score moves over the paths. Paths share fits, so ``sd`` is no standard error of anything."""

    lowest: float
    median: float
    highest: float
    sd: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread:
        """Sum up the values there are.

        Raises
        ------
        InsufficientHistory
            If none of them could be measured.
        """
        known = np.array([value for value in values if value is not None], dtype="float64")
        if not len(known):
            raise InsufficientHistory("CPCV: no path could be scored. Use fewer groups or a longer history.")
        sd = float(known.std(ddof=1)) if len(known) > 1 else 0.0
        return cls(float(known.min()), float(np.median(known)), float(known.max()), sd)


def combinatorial_splits(session: pd.Series, *, n_groups: int = 6, n_test: int = 2) -> tuple[CpcvSplit, ...]:
    """Cut the sessions that occur into groups of equal length in time and choose the test groups in every way.

    Parameters
    ----------
    session
        Exchange date of each row, naive midnight, in any order.
    n_groups, n_test
        N groups, k of them tested at a time: C(N, k) splits, k/N·C(N, k) paths.

    Raises
    ------
    ConfigurationError
        If ``n_test`` is not between 1 and ``n_groups`` - 1.
    InsufficientHistory
        If there are fewer sessions than groups.
    """
    if not 1 <= n_test < n_groups:
        raise ConfigurationError(
            f"CPCV: n_test={n_test} of n_groups={n_groups}; expected at least 1 and fewer than the groups, e.g. 2 of 6."
        )
    sessions = np.sort(session.unique())
    if len(sessions) < n_groups:
        raise InsufficientHistory(
            f"CPCV: {len(sessions)} sessions for {n_groups} groups. Use fewer groups or a longer history."
        )
    spans = [(pd.Timestamp(part[0]), pd.Timestamp(part[-1])) for part in np.array_split(sessions, n_groups)]
    return tuple(
        CpcvSplit(
            "cpcv-" + "-".join(str(number + 1) for number in chosen), {number: spans[number] for number in chosen}
        )
        for chosen in combinations(range(n_groups), n_test)
    )


def group_of_rows(frame: pd.DataFrame, split: CpcvSplit) -> np.ndarray:
    """Number of the test group (n_rows,) that each row's session lies in; -1 for rows the split does not test."""
    number = np.full(len(frame), -1)
    for group, span in split.groups.items():
        number[_within(frame, span)] = group
    return number


def learnt_rows(
    frame: pd.DataFrame,
    split: CpcvSplit,
    *,
    delay: pd.Timedelta = PUBLICATION_DELAY,
    embargo: pd.Timedelta = EMBARGO,
) -> np.ndarray:
    """Mask (n_rows,) of the rows that the split may learn from.

    Parameters
    ----------
    frame
        Rows with ts, label_end and session.
    delay
        A row before a test group is kept if ``label_end`` + delay is before the group's first decision.
    embargo
        A row after a test group is kept if it was decided more than this after the last outcome of the group.

    Notes
    -----
    With a test group decided in [a, b] whose last outcome is known at e, row i is kept if e_i + delay < a or
    t_i > e + embargo; the rows of the group are neither.
    """
    keep = np.ones(len(frame), dtype=bool)
    for span in split.groups.values():
        inside = frame[_within(frame, span)]
        known_before = frame["label_end"] + delay < inside["ts"].min()
        decided_after = frame["ts"] > inside["label_end"].max() + embargo
        keep &= (known_before | decided_after).to_numpy(dtype=bool)
    return keep


def paths(splits: Sequence[CpcvSplit]) -> tuple[dict[int, str], ...]:
    """Put the splits together: for each path, which split predicts each group.

    Each group is tested by the same number of splits; its j-th belongs to path j. So every path covers all groups, and
    every prediction is used once.
    """
    by_group: dict[int, list[str]] = {}
    for split in splits:
        for group in split.groups:
            by_group.setdefault(group, []).append(split.name)
    counts = {len(names) for names in by_group.values()}
    if len(counts) != 1:
        raise DataContractError(
            f"CPCV: the groups are tested {sorted(counts)} times; expected all equally often. "
            "Hand in all splits of one call to combinatorial_splits."
        )
    n_paths = counts.pop()
    return tuple({group: by_group[group][j] for group in sorted(by_group)} for j in range(n_paths))


def path_scores(
    predictions: Mapping[str, pd.DataFrame], splits: Sequence[CpcvSplit], *, arm: str, opponent: str
) -> tuple[PathScore, ...]:
    """Score ``arm`` against ``opponent`` on every path.

    Parameters
    ----------
    predictions
        By name of the split its predicted rows: y, session, direction, ``group`` (number of the test group) and the
        probabilities ``arm`` and ``opponent``.

    Returns
    -------
    tuple of PathScore
        ``gain`` is the opponent's log-loss minus the arm's, positive if the arm is better; 90 % intervals over days.
    """
    scores = []
    for number, path in enumerate(paths(splits)):
        parts = [predictions[name][predictions[name]["group"] == group] for group, name in path.items()]
        rows = pd.concat(parts, ignore_index=True)
        y, session = rows["y"].to_numpy(), rows["session"]
        gain = log_losses(y, rows[opponent]) - log_losses(y, rows[arm])
        scores.append(
            PathScore(
                path=number + 1,
                n=len(rows),
                sessions=int(session.nunique()),
                gain=mean_interval(gain, session),
                auc_within=auc_within_interval(y, rows[arm].to_numpy(), session, rows["direction"]),
            )
        )
    return tuple(scores)


def _within(frame: pd.DataFrame, span: tuple[pd.Timestamp, pd.Timestamp]) -> np.ndarray:
    return frame["session"].between(*span).to_numpy(dtype=bool)

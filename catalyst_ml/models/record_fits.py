"""The record's own fits, made again at a few of its folds, so that what they said can be explained.

The walk-forward keeps predictions, not models. A refit of a fold is the same fit: same rows, members, weights and
calibration, and the same probabilities on the fold's rows. Explanations look at rows decided after it, never at
rows it learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.models.final_fit import FittedEnsemble, assemble_ensemble
from catalyst_ml.models.members import FittedMembers
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.walk_forward import learn_fold, share_threads

N_FITS = 4
N_SESSIONS = 20
MAX_ROWS = 1_500
"""Fits spread over the record, sessions each is looked at, rows drawn from those: four months of a year's record."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RecordFit:
    """One fold's fit and settled rows decided after it; ``members`` holds those left out of ``fitted`` too."""

    fold: Fold
    members: FittedMembers
    fitted: FittedEnsemble
    rows: pd.DataFrame


def refit_record(
    training_set: pd.DataFrame,
    folds: Sequence[Fold],
    procedure: Procedure,
    oof: pd.DataFrame,
    *,
    n_fits: int = N_FITS,
    n_sessions: int = N_SESSIONS,
    max_rows: int = MAX_ROWS,
    n_threads: int,
) -> tuple[RecordFit, ...]:
    """Fit ``n_fits`` folds of the record again, spread evenly over it, side by side where that is faster.

    Parameters
    ----------
    folds
        All folds of the walk-forward, in time order.
    oof
        Out-of-fold rows of the same procedure (`CombinedFolds.oof`).
    n_sessions
        Each fit is looked at on so many sessions from its fold's first on, all within the record; at the last of
        them it is ``n_sessions`` sessions old instead of a week.
    max_rows
        Rows drawn per fit where those sessions hold more, the same for the same seed.

    Returns
    -------
    tuple of RecordFit
        In time order; fewer than ``n_fits`` if the record is too short for so many without overlap.

    Raises
    ------
    InsufficientHistory
        If there is no record fold with a settled row.
    """
    record = [fold for fold in folds if fold.kind == "record"]
    is_judged = np.zeros(len(training_set), dtype=bool)
    if record:
        ts = training_set["ts"]
        is_judged = ((ts >= record[0].test_start) & (ts < record[-1].test_end)).to_numpy(dtype=bool)
    if not is_judged.any():
        raise InsufficientHistory(
            f"explanations: {len(record)} record folds hold no settled row to explain. "
            "Ask for a longer record or a later as_of."
        )
    judged = training_set.loc[is_judged]
    share = share_threads(n_threads, n_rows=len(training_set))

    def refit(fold: Fold) -> RecordFit:
        learned = learn_fold(training_set, fold, procedure, n_threads=share.of_each)
        is_known = (oof["ts"] < fold.test_start) & (oof["label_end"] < fold.known_before)
        fitted = assemble_ensemble(learned, procedure, oof.loc[is_known.to_numpy()], as_of=fold.known_before)
        rows = _rows_after(judged, fold, n_sessions, max_rows, procedure.seed)
        return RecordFit(fold, learned.fitted, fitted, rows)

    return tuple(side_by_side(refit, _spread(judged, record, n_fits, n_sessions), at_most=share.side_by_side))


def require_unseen(fits: Sequence[RecordFit]) -> None:
    """Raise `DataContractError` unless every row was decided after the fit that explains it."""
    for fit in fits:
        if fit.rows.empty or fit.rows["ts"].min() <= fit.fitted.as_of:
            raise DataContractError(
                f"explanations: expected rows decided after the fit of {fit.fitted.as_of.isoformat()}, got "
                f"{len(fit.rows)} from {fit.rows['ts'].min()}. Use fits made before them (refit_record)."
            )


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], *, at_most: int) -> list[Result]:
    """Do ``work`` on every item in ``at_most`` threads; results in the order of the items."""
    with ThreadPoolExecutor(max_workers=max(at_most, 1)) as pool:
        return list(pool.map(work, items))


def _spread(judged: pd.DataFrame, record: Sequence[Fold], n_fits: int, n_sessions: int) -> list[Fold]:
    """Folds that begin as many equal stretches of the record, each long enough for its sessions where possible."""
    starts = judged.groupby("session")["ts"].min()
    n = min(n_fits, max(len(starts) // n_sessions, 1), len(record))
    begins = starts.iloc[np.linspace(0, max(len(starts) - n_sessions, 0), n).astype("int64")]
    holding = (next(fold for fold in record if fold.test_start <= begin < fold.test_end) for begin in begins)
    return list(dict.fromkeys(holding))


def _rows_after(judged: pd.DataFrame, fold: Fold, n_sessions: int, max_rows: int, seed: int) -> pd.DataFrame:
    after = judged.loc[(judged["ts"] >= fold.test_start).to_numpy()]
    sessions = np.unique(after["session"].to_numpy())[:n_sessions]
    rows = after.loc[after["session"].isin(sessions).to_numpy()]
    if len(rows) <= max_rows:
        return rows
    return rows.iloc[np.sort(np.random.default_rng(seed).choice(len(rows), max_rows, replace=False))]

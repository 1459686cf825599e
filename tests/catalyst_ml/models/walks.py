"""A small walk-forward over a synthetic market, to be explained."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.walk_forward import CombinedFolds, combine_folds, fit_fold
from tests.catalyst_ml.models.conftest import make_fold, make_training_set


@dataclass(frozen=True)
class Walk:
    """Training set, folds in time order and what they predicted."""

    rows: pd.DataFrame
    folds: tuple[Fold, ...]
    combined: CombinedFolds
    procedure: Procedure


def walk(procedure: Procedure, *, strength: float = 0.0, seed: int = 1, n_sessions: int = 160, first: int = 60) -> Walk:
    """Two burn-in folds of ten sessions, then record folds of five to the end."""
    rows = make_training_set(n_sessions=n_sessions, strength=strength, seed=seed)
    burn_in = [make_fold(rows, first + 10 * k, first + 10 * k + 9, kind="burn_in") for k in range(2)]
    record = [make_fold(rows, k, k + 4) for k in range(first + 20, n_sessions, 5)]
    folds = (*burn_in, *record)
    combined = combine_folds([fit_fold(rows, fold, procedure, n_threads=1) for fold in folds], procedure)
    return Walk(rows, folds, combined, procedure)

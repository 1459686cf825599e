"""The leak contrast: the same rows judged three ways, so that readers see what honest evaluation costs.

One flexible XGBoost model, as the field likes it, is evaluated on the newest sessions: with those sessions
inside the training set, with shuffled folds, and purged forward. Only the last could have been traded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure

N_SHUFFLED_FOLDS = 3
MIN_TRAINING_ROWS = 100
_PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 6,
    "eta": 0.3,
    "max_bin": 64,
    "verbosity": 0,
}
_N_TREES = 50
_WORDS = {
    "week inside training": "the judged sessions were trained on: this is memory, not forecasting",
    "shuffled folds": "rows of the same days and overlapping labels were trained on: the day's luck leaks",
    "purged forward": "only outcomes known before the first judged decision were trained on: tradable",
}


@dataclass(frozen=True)
class LeakRow:
    """One way of evaluating; ``auc`` is None when the judged rows have one outcome only."""

    evaluation: str
    accuracy: float
    auc: float | None
    log_loss: float
    words: str


@dataclass(frozen=True)
class LeakContrast:
    """Three evaluations on the same ``n_rows`` rows of the newest sessions, beside the base rate."""

    rows: tuple[LeakRow, ...]
    base_rate: float
    base_rate_log_loss: float
    n_rows: int
    n_sessions: int

    def to_dict(self) -> dict[str, Any]:
        """Return the contrast as JSON."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}


def leak_contrast(
    training_set: pd.DataFrame,
    procedure: Procedure,
    *,
    n_sessions: int = 40,
    max_rows: int = 15_000,
    n_threads: int,
) -> LeakContrast:
    """Evaluate one model three ways on the newest ``n_sessions`` sessions.

    Parameters
    ----------
    training_set
        Settled rows, sorted by time; the newest ``max_rows`` are used so that the contrast stays cheap. Where they
        span fewer than 2 * ``n_sessions`` sessions of a longer set, their newer half is judged.

    Raises
    ------
    InsufficientHistory
        If fewer than 100 outcomes were known before the judged sessions.
    """
    rows = training_set.tail(max_rows)
    session = rows["session"].to_numpy()
    sessions = np.unique(session)
    # A wide universe fills max_rows within n_sessions; the older half must still be there to train on.
    n_judged = n_sessions if len(rows) == len(training_set) else min(n_sessions, max(len(sessions) // 2, 1))
    is_judged = session >= sessions[-min(n_judged, len(sessions))]
    first_decision = rows["ts"].to_numpy()[is_judged].min()
    is_known_before = rows["label_end"].to_numpy() < first_decision
    if int(is_known_before.sum()) < MIN_TRAINING_ROWS:
        raise InsufficientHistory(
            f"leak contrast: {int(is_known_before.sum())} outcomes known before the newest {n_judged} "
            f"sessions, {MIN_TRAINING_ROWS} needed. Import more history."
        )
    X, y = model_matrix(rows, procedure.shared_inputs), rows["y"].to_numpy()
    fit = _model_fitter(X, y, procedure.seed, n_threads)
    everything = np.ones(len(rows), dtype=bool)
    predictions = {
        "week inside training": fit(everything)(is_judged),
        "shuffled folds": _shuffled(fit, is_judged, procedure.seed),
        "purged forward": fit(is_known_before)(is_judged),
    }
    judged = y[is_judged]
    base_rate = float(y[is_known_before].mean())
    return LeakContrast(
        rows=tuple(_judge(name, judged, p) for name, p in predictions.items()),
        base_rate=float(judged.mean()),
        base_rate_log_loss=float(log_losses(judged, np.full(len(judged), base_rate)).mean()),
        n_rows=int(is_judged.sum()),
        n_sessions=len(np.unique(session[is_judged])),
    )


Predictor = Callable[[np.ndarray], np.ndarray]


def _model_fitter(X: np.ndarray, y: np.ndarray, seed: int, n_threads: int) -> Callable[[np.ndarray], Predictor]:
    import xgboost as xgb

    def fit(is_training: np.ndarray) -> Predictor:
        rows = xgb.QuantileDMatrix(X[is_training], y[is_training], max_bin=_PARAMETERS["max_bin"], nthread=n_threads)
        booster = xgb.train({**_PARAMETERS, "seed": seed, "nthread": n_threads}, rows, _N_TREES)
        return lambda mask: booster.predict(xgb.DMatrix(X[mask], nthread=n_threads)).astype("float64")

    return fit


def _shuffled(fit: Callable[[np.ndarray], Predictor], is_judged: np.ndarray, seed: int) -> np.ndarray:
    """Predictions of the judged rows, each by the model of its random fold, trained on all other folds."""
    fold = np.random.default_rng(seed).integers(0, N_SHUFFLED_FOLDS, size=len(is_judged))
    p = np.empty(len(is_judged))
    for k in range(N_SHUFFLED_FOLDS):
        mask = is_judged & (fold == k)
        if mask.any():
            p[mask] = fit(fold != k)(mask)
    return p[is_judged]


def _judge(name: str, y: np.ndarray, p: np.ndarray) -> LeakRow:
    from sklearn.metrics import roc_auc_score

    auc = float(roc_auc_score(y, p)) if y.min() < y.max() else None
    accuracy = float(((p >= 0.5) == (y == 1)).mean())
    return LeakRow(name, accuracy, auc, float(log_losses(y, p).mean()), _WORDS[name])

"""All contenders and our procedure through the folds of one market: the same rows, the same inputs, one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.support.contenders import Contender
from benchmarks.support.model_markets import P_TRUE, ModelMarket
from catalyst_ml.evaluation.record import MEMBER_PREFIX, P_CHALLENGER
from catalyst_ml.evaluation.splits import Fold, test_rows, train_rows
from catalyst_ml.models.final_fit import fit_final
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.walk_forward import CombinedFolds, FoldPredictions, combine_folds, fit_fold, member_matrix

P_RAW = "p_ensemble"
"""The weighted probability before calibration."""
PEER_PREFIX = "p_peer_"


class Cost(NamedTuple):
    """CPU seconds on one thread: of one fold's fit (mean), and of predicting 10,000 rows."""

    fit_s: float
    predict_s: float


@dataclass(frozen=True)
class Walked:
    """``record``: rows of the record folds with one probability column per contender, stage and member."""

    described: str
    record: pd.DataFrame
    costs: dict[str, Cost]
    n_train: list[int]
    steps: list[dict[str, Any]]

    def keep(self, file: Path) -> None:
        """Write the record as Parquet and the rest as JSON beside it; `kept` reads them back."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.record.to_parquet(file.with_suffix(".parquet"))
        rest = {"described": self.described, "costs": self.costs, "n_train": self.n_train, "steps": self.steps}
        file.with_suffix(".json").write_text(json.dumps(rest))

    @classmethod
    def kept(cls, file: Path) -> Walked | None:
        """Read what `keep` wrote; None if it did not."""
        if not file.with_suffix(".json").exists():
            return None
        rest = json.loads(file.with_suffix(".json").read_text())
        costs = {name: Cost(*cost) for name, cost in rest["costs"].items()}
        return cls(
            rest["described"], pd.read_parquet(file.with_suffix(".parquet")), costs, rest["n_train"], rest["steps"]
        )


def walk(market: ModelMarket, peers: Sequence[Contender], *, n_threads: int = 1) -> Walked:
    """Fit everybody on what was known before each fold, predict the fold."""
    ours, costs = walk_ours(market.rows, market.folds, market.procedure, n_threads=n_threads)
    record_folds = [fold for fold in market.folds if fold.kind == "record"]
    columns: dict[str, np.ndarray] = {}
    for peer in peers:
        columns[PEER_PREFIX + peer.name], costs[peer.name] = _walk_peer(market, record_folds, peer)
    asked = np.flatnonzero(np.any([test_rows(market.rows, fold) for fold in record_folds], axis=0))
    truth = {P_TRUE: market.rows[P_TRUE].to_numpy()[asked]} if P_TRUE in market.rows else {}
    return Walked(
        market.described,
        stages(ours, market.procedure).assign(**columns, **truth),
        costs,
        [int(train_rows(market.rows, fold).sum()) for fold in record_folds],
        [{"fold": s.fold, **s.weights.to_dict(), "calibrator": s.calibrator.to_dict()} for s in ours.steps],
    )


def walk_ours(
    rows: pd.DataFrame, folds: Sequence[Fold], procedure: Procedure, *, n_threads: int = 1
) -> tuple[CombinedFolds, dict[str, Cost]]:
    """Walk our procedure through burn-in and record; its cost under the name ``ours``.

    The fit's cost holds the arms that need no model, the choice of weights and the prediction of the fold's rows too.
    """
    started = time.process_time()
    predicted: list[FoldPredictions] = [fit_fold(rows, fold, procedure, n_threads=n_threads) for fold in folds]
    combined = combine_folds(predicted, procedure)
    fit_s = (time.process_time() - started) / len(folds)
    last = folds[-1]
    fitted = fit_final(rows, procedure, combined.oof, as_of=last.known_before, n_threads=n_threads)
    X = model_matrix(rows.loc[test_rows(rows, last)], procedure.inputs)
    return combined, {"ours": Cost(fit_s, _predict_seconds(lambda: fitted.predict(X).p, len(X)))}


def stages(combined: CombinedFolds, procedure: Procedure) -> pd.DataFrame:
    """Return the record with every stage of our answer: members, their weighted mean, the calibrated probability."""
    weights = {step.fold: step.weights for step in combined.steps}
    raw = [
        weights[str(name)].combine(member_matrix(rows, procedure), procedure.members)
        for name, rows in combined.record.groupby("fold", sort=False)
    ]
    return combined.record.assign(**{P_RAW: np.concatenate(raw)})


def stage_columns(record: pd.DataFrame) -> dict[str, str]:
    """Columns of `stages` by the name of the stage; the constant member is none."""
    members = {
        f"member {name.removeprefix(MEMBER_PREFIX)}": name
        for name in record.columns
        if name.startswith(MEMBER_PREFIX) and name != f"{MEMBER_PREFIX}base_rate"
    }
    return members | {
        "ensemble": P_RAW,
        "calibrated": P_CHALLENGER,
        "pattern base rate": "p_pattern_base_rate",
        "rules, calibrated": "p_rules",
    }


def _walk_peer(market: ModelMarket, folds: Sequence[Fold], peer: Contender) -> tuple[np.ndarray, Cost]:
    inputs = market.procedure.inputs
    parts: list[np.ndarray] = []
    fit_s = predict_s = 0.0
    n_asked = 0
    for fold in folds:
        known = market.rows.loc[train_rows(market.rows, fold)]
        X, y = model_matrix(known, inputs), known["y"].to_numpy()
        asked = model_matrix(market.rows.loc[test_rows(market.rows, fold)], inputs)
        started = time.process_time()
        fitted = peer.fit(X, y)
        fit_s += time.process_time() - started
        started = time.process_time()
        parts.append(fitted.predict(asked))
        predict_s += time.process_time() - started
        n_asked += len(asked)
    return np.concatenate(parts), Cost(fit_s / len(folds), 10_000 * predict_s / n_asked)


def _predict_seconds(predict: Callable[[], np.ndarray], n_rows: int) -> float:
    started = time.process_time()
    predict()
    return 10_000 * (time.process_time() - started) / n_rows

"""Trees on stock-days: one binned matrix of the training rows, boosted for one target, and the sum as an ONNX node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb

from catalyst_ml.indicators.ranks import group_bounds
from catalyst_ml.models.companion_settings import DayTreeSettings
from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.trees import add_trees, count_nodes


@dataclass(frozen=True)
class DayTrees:
    """Sum of tree outputs; what it means is the business of the model it belongs to."""

    booster: xgb.Booster
    n_threads: int

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        target: np.ndarray,
        settings: DayTreeSettings,
        *,
        objective: Mapping[str, Any],
        margin: np.ndarray | None = None,
        max_bin: int,
        seed: int,
        n_threads: int,
    ) -> DayTrees:
        """Boost on ``X`` (n_rows, n_inputs) float32 with NaN and ``target`` (n_rows,), from ``margin`` (n_rows,) on.

        ``objective`` names XGBoost's objective and what it needs to know. No early stopping: an inner block by time
        would cost the newest rows, and a fixed budget makes a fit repeatable.
        """
        rows = xgb.QuantileDMatrix(
            X,
            target.astype(np.float32),
            base_margin=np.zeros(len(X), dtype=np.float32) if margin is None else margin.astype(np.float32),
            max_bin=max_bin,
            nthread=n_threads,
        )
        booster = xgb.train(
            {
                "tree_method": "hist",
                "device": "cpu",
                "max_depth": settings.max_depth,
                "eta": settings.learning_rate,
                # Both objectives have Hessians around 1 a row, so the limit counts rows.
                "min_child_weight": max(settings.min_leaf_share * len(X), 5.0),
                "subsample": settings.subsample,
                "colsample_bytree": settings.colsample_bytree,
                "reg_lambda": settings.reg_lambda,
                "max_bin": max_bin,
                "nthread": n_threads,
                "seed": seed,
                "verbosity": 0,
                **objective,
            },
            rows,
            num_boost_round=settings.n_trees,
        )
        return cls(booster, n_threads)

    @property
    def n_nodes(self) -> int:
        """Nodes of all trees."""
        return count_nodes(self.booster)

    def sums(self, X: np.ndarray) -> np.ndarray:
        """Sum of tree outputs (n_rows,) float64, without any margin."""
        rows = xgb.DMatrix(X, base_margin=np.zeros(len(X), dtype=np.float32), nthread=self.n_threads)
        return self.booster.predict(rows, output_margin=True).astype("float64")

    def add_to_graph(self, graph: GraphBuilder, features: str, *, base_value: float) -> str:
        """Add ``base_value`` plus the sum of the trees; return the name of the (n_rows, 1) tensor."""
        return add_trees(graph, self.booster, features, base_value=base_value)


def every_nth_session(session: np.ndarray, n: int) -> np.ndarray:
    """Mask (n_rows,) of every n-th session, counted backwards from the newest; sessions rising."""
    bounds = group_bounds(session)
    number = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    return (number[-1] - number) % n == 0 if len(number) else np.zeros(0, dtype=bool)

"""Size of the move: the expected absolute market-neutral return over five sessions, as a fraction of the price.

ATR says most of it; trees say what to multiply it with. Gamma deviance makes the forecast a mean in the units of the
price (moves are positive, and their spread grows with their size), so no calibrator follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalyst_ml.errors import DataContractError
from catalyst_ml.models.companion_settings import DayTreeSettings
from catalyst_ml.models.day_trees import DayTrees
from catalyst_ml.models.graph_builder import GraphBuilder

LEVEL_INPUT = "log_atr_ratio"
"""Input that the trees' factor is applied to, on a logarithmic scale; never missing in stock-days."""

SMALLEST_MOVE = 1e-4
"""A basis point: the gamma deviance knows no move of zero."""

LARGEST_IN_ATR = 20.0
"""Moves beyond this many times the ATR of the day count as this many in training. On real daily bars 43 of 635,040
stock-days lie beyond, nearly all of them spin-offs and splits that no one booked."""


@dataclass(frozen=True)
class MoveSizeModel:
    """Expected size = exp(``intercept`` + log ATR + sum of trees). ``level`` is the column of `LEVEL_INPUT`.

    exp(``intercept``) x ATR is the forecast of ATR alone, fitted on the same rows.
    """

    trees: DayTrees
    level: int
    intercept: float

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        move: np.ndarray,
        inputs: tuple[str, ...],
        settings: DayTreeSettings,
        *,
        max_bin: int,
        seed: int,
        n_threads: int,
    ) -> MoveSizeModel:
        """Fit on stock-days ``X`` (n_rows, n_inputs) float32 and absolute returns ``move`` (n_rows,), fractions.

        Raises
        ------
        DataContractError
            If `LEVEL_INPUT` is no input or is missing in a row.
        """
        if LEVEL_INPUT not in inputs:
            raise DataContractError(f"size of move: input {LEVEL_INPUT!r} is needed; got {len(inputs)} others. Add it.")
        level = inputs.index(LEVEL_INPUT)
        log_atr = X[:, level].astype("float64")
        if not np.isfinite(log_atr).all():
            raise DataContractError(
                f"size of move: {LEVEL_INPUT!r} is missing in {int((~np.isfinite(log_atr)).sum())} of {len(X)} rows; "
                "expected stock-days with history. Build them with features.stock_days."
            )
        atr = np.exp(log_atr)
        size = np.clip(move, SMALLEST_MOVE, np.maximum(LARGEST_IN_ATR * atr, SMALLEST_MOVE))
        intercept = float(np.log(np.mean(size / atr)))
        trees = DayTrees.fit(
            X,
            size,
            settings,
            # base_score is on the scale of the outcome: 1 leaves the margin as it is.
            objective={"objective": "reg:gamma", "base_score": 1.0},
            margin=log_atr + intercept,
            max_bin=max_bin,
            seed=seed,
            n_threads=n_threads,
        )
        return cls(trees, level, intercept)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Expected absolute return (n_rows,), fraction of the price, float64; NaN where the ATR is missing."""
        return np.exp(self.trees.sums(X) + self.intercept + X[:, self.level].astype("float64"))

    def predict_from_atr(self, X: np.ndarray) -> np.ndarray:
        """Forecast of ATR alone (n_rows,), the baseline."""
        return np.exp(self.intercept + X[:, self.level].astype("float64"))

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        """Add the same arithmetic as nodes; return the name of the (n_rows, 1) tensor."""
        factor = self.trees.add_to_graph(graph, features, base_value=self.intercept)
        level = graph.node("Gather", [features, graph.constant(np.array([self.level], dtype=np.int64))], axis=1)
        return graph.node("Exp", [graph.node("Add", [factor, level])])

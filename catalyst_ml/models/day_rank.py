"""Order of the day: a score that ranks the stocks of one close by the market-neutral return that follows.

Trained on the return's place among the day's returns, so that a wild day counts as much as a calm one and an
unbooked split cannot shout. A score means nothing by itself: its place among the scores of the same close does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalyst_ml.indicators.ranks import group_bounds, places_within
from catalyst_ml.models.companion_serving import MIN_STOCKS
from catalyst_ml.models.companion_settings import DayTreeSettings
from catalyst_ml.models.day_trees import DayTrees
from catalyst_ml.models.graph_builder import GraphBuilder


@dataclass(frozen=True)
class DayRankModel:
    """Score = sum of trees; higher is better."""

    trees: DayTrees

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        place: np.ndarray,
        settings: DayTreeSettings,
        *,
        max_bin: int,
        seed: int,
        n_threads: int,
    ) -> DayRankModel:
        """Fit on stock-days ``X`` (n_rows, n_inputs) float32 and the returns' places in their day (n_rows,), 0-1."""
        trees = DayTrees.fit(
            X,
            np.asarray(place) - 0.5,
            settings,
            objective={"objective": "reg:squarederror", "base_score": 0.0},
            max_bin=max_bin,
            seed=seed,
            n_threads=n_threads,
        )
        return cls(trees)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Score (n_rows,), float64."""
        return self.trees.sums(X)

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        """Add the same arithmetic as nodes; return the name of the (n_rows, 1) tensor."""
        return self.trees.add_to_graph(graph, features, base_value=0.0)


def place_in_day(values: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Return the place of each value among those of its session, 0 lowest to 1 highest; NaN where it is unknown.

    Parameters
    ----------
    values, session : (n_rows,)
        Rows of a session stand together.
    """
    return places_within(np.asarray(values, dtype="float64"), group_bounds(session), MIN_STOCKS)

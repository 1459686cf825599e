"""The catalyst predictor: boosting on events with news alone, which speaks there and abstains elsewhere.

What it predicts is the label of its line: the trade of an event with news earns money after costs. Sustained is a
move that gets as far as the target, or is on its side when time is up; ``docs/decisions/0027`` compares it with the
sign of the return at the horizon's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from catalyst_ml.features.catalysts import NEWS_FLAG
from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.member import FittedMember, TrainedOn, TrainingSide, logit
from catalyst_ml.models.procedure import CatalystSettings

if TYPE_CHECKING:
    from catalyst_ml.models.trees import TreeMember


def has_news(X: np.ndarray, inputs: Sequence[str]) -> np.ndarray:
    """Mask (n_rows,) of rows with news; a missing flag (no source was there) is not news."""
    return np.asarray(X[:, list(inputs).index(NEWS_FLAG)] > 0.0)


@dataclass(frozen=True)
class CatalystMember:
    """Odds of ``start``, a member that learned from all rows, times the odds that trees give what news adds.

    NaN where ``flag``, a column of the model matrix, is not above zero.
    """

    start: FittedMember
    trees: TreeMember
    flag: int

    @classmethod
    def fit(
        cls, side: TrainingSide, settings: CatalystSettings, inputs: Sequence[str], *, start: FittedMember
    ) -> CatalystMember:
        """Learn, from the rows of ``side`` that have news, what ``start`` and the session's effect leave open.

        Notes
        -----
        Events with news are a tenth of all: what holds for every event is learned from all of them, by ``start``, and
        the trees are left with what is different. Their first guess is even odds: nothing is.
        """
        from catalyst_ml.models.boosting import fit_boosting

        mask = has_news(side.X, inputs)
        weight = side.sample_weight[mask]
        known = logit(start.predict_proba1(side.X[mask])) - logit(np.array(side.base_rate))
        on_news = replace(
            side, X=side.X[mask], y=side.y[mask], sample_weight=weight / weight.mean(), offset=side.offset[mask] + known
        )
        trees = replace(fit_boosting(on_news, settings), base_logit=0.0)
        return cls(start, trees, list(inputs).index(NEWS_FLAG))

    @property
    def n_tree_nodes(self) -> int:
        return self.trees.n_tree_nodes

    @property
    def trained_on(self) -> TrainedOn:
        """Where its trees were really trained."""
        return self.trees.trained_on

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        p = np.full(len(X), np.nan)
        speaks = X[:, self.flag] > 0.0
        if speaks.any():
            one, other = self.start.predict_proba1(X[speaks]), self.trees.predict_proba1(X[speaks])
            success = one * other
            p[speaks] = success / (success + (1.0 - one) * (1.0 - other))
        return p

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        one, other = graph.once(self.start, features), self.trees.add_to_graph(graph, features)
        unit = graph.constant(np.float32(1.0))
        success = graph.node("Mul", [one, other])
        failure = graph.node("Mul", [graph.node("Sub", [unit, one]), graph.node("Sub", [unit, other])])
        p = graph.node("Div", [success, graph.node("Add", [success, failure])])
        flag = graph.node("Gather", [features, graph.constant(np.array([self.flag], dtype=np.int64))], axis=1)
        speaks = graph.node("Greater", [flag, graph.constant(np.float32(0.0))])  # a missing flag is not greater
        return graph.node("Where", [speaks, p, graph.constant(np.float32(np.nan))])


@dataclass(frozen=True)
class SilentMember:
    """A catalyst predictor without enough to learn from: it abstains everywhere."""

    n_tree_nodes: int = 0

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), np.nan)

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        first = graph.node("Gather", [features, graph.constant(np.array([0], dtype=np.int64))], axis=1)
        missing = graph.constant(np.array([[np.nan]], dtype=np.float32))
        return graph.node("Expand", [missing, graph.node("Shape", [first])])


def why_silent(n_rows: int, n_sessions: int | None, settings: CatalystSettings) -> str:
    """Say why there is too little news to learn from, or return ""; None: sessions are not counted."""
    if n_rows >= settings.min_rows and (n_sessions is None or n_sessions >= settings.min_sessions):
        return ""
    sessions = "" if n_sessions is None else f" in {n_sessions} sessions"
    return (
        f"the catalyst predictor abstains: {n_rows} events with news{sessions}, {settings.min_rows} in "
        f"{settings.min_sessions} needed"
    )

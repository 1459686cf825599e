"""The part of the session effects that lasts: whether long events succeed more often than short ones.

Members do not learn it, because what the rows of a session and direction have in common is taken out before they
learn (``session_effects``). How far the two directions differ is estimated as in the pattern base rate, sceptically
and period by period, and moves the odds of every member's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from catalyst_ml.evaluation.base_rates import direction_rates
from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.member import logit, smoothed_rate

DIRECTION_INPUT = "event_direction"
"""Model input that is +1 for a bullish event and -1 for a bearish one."""


@dataclass(frozen=True)
class DirectionLevel:
    """Log-odds of either direction minus those of the base rate; both 0: members answer for themselves.

    ``column`` of the model matrix holds `DIRECTION_INPUT`; where it is missing nothing is moved.
    """

    column: int = 0
    long: float = 0.0
    short: float = 0.0

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray,
        session: np.ndarray,
        inputs: Sequence[str],
    ) -> DirectionLevel:
        """Learn from training rows (n_rows, n_inputs), outcomes, weights and sessions (n_rows,).

        `NO_LEVEL` if the direction is not among ``inputs`` or the rows show only one.
        """
        if DIRECTION_INPUT not in inputs:
            return NO_LEVEL
        column = list(inputs).index(DIRECTION_INPUT)
        base_rate = smoothed_rate(y, sample_weight)
        rates = direction_rates(y.astype("float64"), sample_weight, session, X[:, column], base_rate)
        long, short = (float(logit(np.array(rates[side])) - logit(np.array(base_rate))) for side in ("+1", "-1"))
        return cls(column, long, short)

    @property
    def moves(self) -> bool:
        """Whether any answer is changed."""
        return bool(self.long or self.short)

    def move(self, p: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Probabilities (n_rows, n_members), moved; NaN stays NaN."""
        if not self.moves:
            return p
        direction = X[:, [self.column]]
        factor = np.where(direction > 0.0, np.exp(self.long), np.where(direction < 0.0, np.exp(self.short), 1.0))
        return p * factor / (p * factor + (1.0 - p))

    def add_to_graph(self, graph: GraphBuilder, features: str, p: str) -> str:
        """Add the same arithmetic as nodes; return the moved tensor, of the shape of ``p``."""
        if not self.moves:
            return p
        zero, one, long, short = (
            graph.constant(np.float32(value)) for value in (0.0, 1.0, np.exp(self.long), np.exp(self.short))
        )
        column = graph.constant(np.array([self.column], dtype=np.int64))
        direction = graph.node("Gather", [features, column], axis=1)
        if_short = graph.node("Where", [graph.node("Greater", [zero, direction]), short, one])
        factor = graph.node("Where", [graph.node("Greater", [direction, zero]), long, if_short])
        success = graph.node("Mul", [p, factor])
        return graph.node("Div", [success, graph.node("Add", [success, graph.node("Sub", [one, p])])])

    def to_dict(self) -> dict[str, Any]:
        """Return the level as JSON."""
        return asdict(self)


NO_LEVEL = DirectionLevel()

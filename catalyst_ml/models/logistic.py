"""Regularised logistic regression on scaled inputs: the honest floor of what features can say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.member import TrainingSide, sigmoid
from catalyst_ml.models.preprocessing import Preprocessing
from catalyst_ml.models.procedure import LogisticSettings


@dataclass(frozen=True)
class LogisticMember:
    """σ(Xβ + b) on the scaled matrix. ``coefficients`` (n_outputs,) float32."""

    preprocessing: Preprocessing
    coefficients: np.ndarray
    intercept: float
    n_tree_nodes: int = 0

    @classmethod
    def fit(cls, side: TrainingSide, settings: LogisticSettings) -> LogisticMember:
        """Minimise the weighted log-loss plus ``l2``/2·|β|²; the intercept is free."""
        model = LogisticRegression(C=1.0 / settings.l2, max_iter=300, tol=1e-5)
        with threadpool_limits(side.n_threads):
            model.fit(side.preprocessing.transform(side.X), side.y, sample_weight=side.sample_weight)
        return cls(side.preprocessing, model.coef_[0].astype(np.float32), float(model.intercept_[0]))

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        return sigmoid(self.preprocessing.transform(X) @ self.coefficients + np.float32(self.intercept))

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        scaled = graph.once(self.preprocessing, features)
        weights = graph.constant(self.coefficients[:, None])
        logits = graph.node("Gemm", [scaled, weights, graph.constant(np.array([self.intercept], dtype=np.float32))])
        return graph.node("Sigmoid", [logits])

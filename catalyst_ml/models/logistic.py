"""Regularised logistic regression on scaled inputs: the honest floor of what features can say.

It has no form on a GPU: a dozen Newton steps are products of float64 matrices of some 60 columns, seconds at 1,000,000
rows, and float64 is what consumer cards are slow at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.logit_regression import fit_logit
from catalyst_ml.models.member import TrainingSide, logit, sigmoid
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
        scaled = side.preprocessing.transform(side.X).astype("float64")
        design = np.column_stack([scaled, np.ones(len(scaled))])
        precision = np.full(design.shape[1], settings.l2)
        precision[-1] = 1e-6
        # Our own Newton steps: scikit-learn's logistic regression takes no offset.
        with threadpool_limits(side.n_threads):
            beta = fit_logit(
                design,
                side.y,
                side.sample_weight,
                prior_mean=np.zeros(design.shape[1]),
                prior_precision=precision,
                offset=side.offset,
            )
        base_logit = float(logit(np.array(side.base_rate)))
        return cls(side.preprocessing, beta[:-1].astype(np.float32), base_logit + float(beta[-1]))

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        return sigmoid(self.preprocessing.transform(X) @ self.coefficients + np.float32(self.intercept))

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        scaled = graph.once(self.preprocessing, features)
        weights = graph.constant(self.coefficients[:, None])
        logits = graph.node("Gemm", [scaled, weights, graph.constant(np.array([self.intercept], dtype=np.float32))])
        return graph.node("Sigmoid", [logits])

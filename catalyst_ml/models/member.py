"""What every member of the ensemble is: the rows it learns from, and the contract of a fitted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.preprocessing import Preprocessing


class TrainedOn(NamedTuple):
    """Where a member was really trained, and why not on the device of the run; plain values, so that a run keeps it."""

    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    note: str = ""
    """Empty if it ran where the run wanted it, or has no form on a device."""


TRAINED_ON_CPU = TrainedOn()


@dataclass(frozen=True)
class TrainingSide:
    """The rows a member may learn from, and nothing else.

    ``X`` (n_rows, n_inputs) float32 with NaN, ``y`` (n_rows,) 0/1, ``sample_weight`` (n_rows,) of mean 1,
    rows in time order. ``preprocessing`` was fitted on the same rows and is shared by the members that scale.
    ``device`` (``cpu`` or ``cuda``) is where members with a form on a GPU are fitted.
    """

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray
    preprocessing: Preprocessing
    offset: np.ndarray
    random_state: int
    n_threads: int
    device: str = "cpu"

    @property
    def base_rate(self) -> float:
        """Weighted share of successes, as `evaluation.base_rates.BaseRate` has it: never 0 or 1."""
        return smoothed_rate(self.y, self.sample_weight)


class FittedMember(Protocol):
    """A fitted member: pure, deterministic, indifferent to row order; NaN inputs are allowed."""

    @property
    def n_tree_nodes(self) -> int:
        """Tree nodes it adds to the served file; 0 for members without trees."""
        ...

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        """Probability of success (n_rows,), float64 in (0, 1), for a float32 matrix (n_rows, n_inputs).

        Only the catalyst predictor may abstain from a row: NaN.
        """
        ...

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        """Add the same arithmetic as nodes; return the name of the (n_rows, 1) probability tensor."""
        ...


@dataclass(frozen=True)
class BaseRateMember:
    """The constant member: the share of successes in training. Its weight is the ensemble's shrinkage."""

    rate: float
    n_tree_nodes: int = 0

    @classmethod
    def fit(cls, side: TrainingSide) -> BaseRateMember:
        """Learn the weighted base rate."""
        return cls(side.base_rate)

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), self.rate)

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        first = graph.node("Gather", [features, graph.constant(np.array([0], dtype=np.int64))], axis=1)
        shape = graph.node("Shape", [first])
        rate = graph.constant(np.array([self.rate], dtype=np.float32).reshape(1, 1))
        return graph.node("Expand", [rate, shape])


def smoothed_rate(y: np.ndarray, sample_weight: np.ndarray) -> float:
    """Weighted share of successes after adding one success and one failure; 1/2 without rows."""
    return float((sample_weight @ y.astype("float64") + 1.0) / (sample_weight.sum() + 2.0))


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Logistic function in float64, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(z, dtype="float64")))


def logit(p: np.ndarray, *, floor: float = 1e-6) -> np.ndarray:
    """Log-odds with ``p`` cut to [floor, 1 - floor]."""
    p = np.clip(np.asarray(p, dtype="float64"), floor, 1.0 - floor)
    return np.log(p) - np.log1p(-p)

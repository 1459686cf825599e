"""XGBoost trees as a member: fit, predict, and the same trees as one ONNX node.

Both boosting and forest are XGBoost models; only their parameters differ (`boosting`, `forest`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb

from catalyst_ml.errors import DeviceUnavailable
from catalyst_ml.models.graph_builder import ML_DOMAIN, GraphBuilder
from catalyst_ml.models.member import TRAINED_ON_CPU, TrainedOn, TrainingSide, logit, sigmoid
from catalyst_ml.models.training_device import first_line, fit_on

LEAF = -1
"""Child number of a leaf in XGBoost's JSON."""


@dataclass(frozen=True)
class TreeMember:
    """Sum of tree outputs in log-odds, added to the log-odds of the base rate."""

    booster: xgb.Booster
    base_logit: float
    n_tree_nodes: int
    n_threads: int
    trained_on: TrainedOn = TRAINED_ON_CPU

    @classmethod
    def fit(cls, side: TrainingSide, parameters: Mapping[str, Any], *, n_rounds: int) -> TreeMember:
        """Train on the raw matrix, on the side's device; missing values take the learned default branch."""
        name = "XGBoost's forest" if "num_parallel_tree" in parameters else "XGBoost's boosting"
        needs = device_bytes(*side.X.shape, max_bin=parameters["max_bin"], max_depth=parameters["max_depth"])
        return fit_on(name, side, lambda own: cls._fit(own, parameters, n_rounds), needs_bytes=needs)

    @classmethod
    def _fit(cls, side: TrainingSide, parameters: Mapping[str, Any], n_rounds: int) -> TreeMember:
        try:
            booster = _train(side, parameters, n_rounds)
        except xgb.core.XGBoostError as error:
            if side.device == "cpu":
                raise
            # Memory, driver, a broken context: XGBoost has one class for all. What is wrong with the rows or the
            # parameters fails on the CPU again, and there it is raised.
            raise DeviceUnavailable(f"XGBoost failed on the device: {first_line(error)}") from error
        trained_on = TrainedOn(_device_that_ran(booster))
        # From here on the trees are the CPU's: what is predicted is what the served file will say.
        booster.set_param({"device": "cpu"})
        base_logit = float(logit(np.array(side.base_rate)))
        return cls(booster, base_logit, count_nodes(booster), side.n_threads, trained_on)

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        return self.predict_after(X, n_rounds=0)

    def predict_after(self, X: np.ndarray, *, n_rounds: int) -> np.ndarray:
        """Probability (n_rows,) by the trees of the first ``n_rounds`` rounds; 0 means all."""
        margins = self.booster.predict(
            xgb.DMatrix(X, nthread=self.n_threads), output_margin=True, iteration_range=(0, n_rounds)
        )
        return sigmoid(margins.astype("float64") + self.base_logit)

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """Exact Shapley values of the trees in log-odds (n_rows, n_inputs + 1); the last column is the constant part.

        Rows sum to the log-odds of `predict_proba1`. What is not known of a row is averaged as the training rows
        went through each tree.

        References
        ----------
        Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees, Nature
        Machine Intelligence 2 (path-dependent TreeSHAP, as in XGBoost's ``pred_contribs``).
        """
        parts = self.booster.predict(xgb.DMatrix(X, nthread=self.n_threads), pred_contribs=True).astype("float64")
        parts[:, -1] += self.base_logit
        return parts

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        return graph.node("Sigmoid", [add_trees(graph, self.booster, features, base_value=self.base_logit)])


def add_trees(graph: GraphBuilder, booster: xgb.Booster, features: str, *, base_value: float) -> str:
    """Add ``base_value`` plus the sum of the booster's trees; return the name of the (n_rows, 1) tensor."""
    return graph.node(
        "TreeEnsembleRegressor",
        [features],
        domain=ML_DOMAIN,
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[base_value],
        **_tree_attributes(_stored_trees(booster)),
    )


def count_nodes(booster: xgb.Booster) -> int:
    """Nodes of all trees, leaves included."""
    return sum(len(tree["left_children"]) for tree in _stored_trees(booster))


def leaf_weight(side: TrainingSide, share: float) -> float:
    """Smallest Hessian sum of a leaf that holds ``share`` of the training rows, at least 5 rows.

    A row near p = 1/2 has Hessian p(1-p) = 1/4; so the limit grows with the training set.
    """
    return 0.25 * max(share * len(side.y), 5.0)


def device_bytes(n_rows: int, n_inputs: int, *, max_bin: int, max_depth: int) -> float:
    """Estimate the device memory of one fit, in bytes; generous, and never measured on a device.

    Binned values of 4 bytes while they are packed, 64 bytes a row for gradients, positions and predictions, a histogram
    of two float64 sums per bin for every node of the widest level and its parents, and what the runtime takes.
    """
    histograms = 16.0 * n_inputs * max_bin * 2 ** (max_depth + 1)
    return n_rows * (4.0 * n_inputs + 64.0) + histograms + 300e6


def _train(side: TrainingSide, parameters: Mapping[str, Any], n_rounds: int) -> xgb.Booster:
    # Built on the CPU for a device too: both then cut the inputs at the same values. The offset is added by us,
    # not by XGBoost's base_score: its stored form changed between versions.
    rows = xgb.QuantileDMatrix(
        side.X,
        side.y,
        weight=side.sample_weight,
        base_margin=side.offset.astype(np.float32),
        max_bin=parameters["max_bin"],
        nthread=side.n_threads,
    )
    return xgb.train(
        {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "device": side.device,
            "base_score": 0.5,
            "nthread": side.n_threads,
            "seed": side.random_state,
            "verbosity": 0,
            **parameters,
        },
        rows,
        num_boost_round=n_rounds,
    )


def _device_that_ran(booster: xgb.Booster) -> str:
    """Return ``cpu`` or ``cuda`` as the booster has it: without a device XGBoost trains on the CPU, here silently."""
    device: str = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    return device.partition(":")[0]


def _stored_trees(booster: xgb.Booster) -> list[dict[str, Any]]:
    stored = json.loads(booster.save_raw(raw_format="json"))
    trees: list[dict[str, Any]] = stored["learner"]["gradient_booster"]["model"]["trees"]
    return trees


def _tree_attributes(trees: list[dict[str, Any]]) -> dict[str, Any]:
    """Attributes of TreeEnsembleRegressor: left when x < threshold, where told when x is missing."""
    tree_of_node = np.concatenate([np.full(len(t["left_children"]), k) for k, t in enumerate(trees)])
    number = np.concatenate([np.arange(len(t["left_children"])) for t in trees])
    left = _concatenated(trees, "left_children")
    right = _concatenated(trees, "right_children")
    values = _concatenated(trees, "split_conditions")
    is_leaf = left == LEAF
    return {
        "nodes_treeids": tree_of_node.tolist(),
        "nodes_nodeids": number.tolist(),
        "nodes_featureids": np.where(is_leaf, 0, _concatenated(trees, "split_indices")).tolist(),
        "nodes_modes": np.where(is_leaf, "LEAF", "BRANCH_LT").tolist(),
        "nodes_values": np.where(is_leaf, 0.0, values).tolist(),
        "nodes_truenodeids": np.where(is_leaf, 0, left).tolist(),
        "nodes_falsenodeids": np.where(is_leaf, 0, right).tolist(),
        "nodes_missing_value_tracks_true": np.where(is_leaf, 0, _concatenated(trees, "default_left")).tolist(),
        "target_treeids": tree_of_node[is_leaf].tolist(),
        "target_nodeids": number[is_leaf].tolist(),
        "target_ids": [0] * int(is_leaf.sum()),
        "target_weights": values[is_leaf].tolist(),
    }


def _concatenated(trees: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.concatenate([np.asarray(tree[key]) for tree in trees])

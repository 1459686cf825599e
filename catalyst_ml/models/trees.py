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

from catalyst_ml.models.graph_builder import ML_DOMAIN, GraphBuilder
from catalyst_ml.models.member import TrainingSide, logit, sigmoid

LEAF = -1
"""Child number of a leaf in XGBoost's JSON."""


@dataclass(frozen=True)
class TreeMember:
    """Sum of tree outputs in log-odds, added to the log-odds of the base rate."""

    booster: xgb.Booster
    base_logit: float
    n_tree_nodes: int
    n_threads: int

    @classmethod
    def fit(cls, side: TrainingSide, parameters: Mapping[str, Any], *, n_rounds: int) -> TreeMember:
        """Train on the raw matrix; missing values take the learned default branch."""
        # The offset is added by us, not by XGBoost's base_score: its stored form changed between versions.
        rows = xgb.QuantileDMatrix(
            side.X,
            side.y,
            weight=side.sample_weight,
            base_margin=side.offset.astype(np.float32),
            max_bin=parameters["max_bin"],
            nthread=side.n_threads,
        )
        booster = xgb.train(
            {
                "objective": "binary:logistic",
                "tree_method": "hist",
                "device": "cpu",
                "base_score": 0.5,
                "nthread": side.n_threads,
                "seed": side.random_state,
                "verbosity": 0,
                **parameters,
            },
            rows,
            num_boost_round=n_rounds,
        )
        return cls(booster, float(logit(np.array(side.base_rate))), count_nodes(booster), side.n_threads)

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        margins = self.booster.predict(xgb.DMatrix(X, nthread=self.n_threads), output_margin=True)
        return sigmoid(margins.astype("float64") + self.base_logit)

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

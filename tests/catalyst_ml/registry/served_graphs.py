"""A small graph of the exporter's making, and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx

from catalyst_ml.models.graph_builder import GraphBuilder, GraphOutput

INPUTS = ("rsi_14", "bb_position")
Change = Callable[[onnx.ModelProto], None]

TREES = {
    "nodes_treeids": [0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 0],
    "nodes_featureids": [1, 0, 0, 0],
    "nodes_modes": ["BRANCH_LT", "LEAF", "LEAF", "LEAF"],
    "nodes_values": [0.5, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 0],
    "nodes_missing_value_tracks_true": [1, 0, 0, 0],
    "target_treeids": [0, 0, 1],
    "target_nodeids": [1, 2, 0],
    "target_ids": [0, 0, 0],
    "target_weights": [-1.0, 2.0, 0.25],
}


def small_graph() -> bytes:
    """Two members, a linear one and two trees; p = p_raw = their mean."""
    graph = GraphBuilder()
    nan = graph.constant(np.float32(np.nan))
    clean = graph.node("Where", [graph.node("IsInf", ["features"]), nan, "features"])
    zero = graph.constant(np.float32(0.0))
    filled = graph.node("Where", [graph.node("IsNaN", [clean]), zero, clean])
    column, shift = graph.constant(np.array([[0.4], [-0.2]], dtype=np.float32)), graph.constant(np.zeros(1, np.float32))
    linear = graph.node("Sigmoid", [graph.node("Gemm", [filled, column, shift])])
    sums = graph.node(
        "TreeEnsembleRegressor",
        [clean],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[0.1],
        **TREES,
    )
    members = graph.node("Concat", [linear, graph.node("Sigmoid", [sums])], axis=1)
    mean = graph.node("MatMul", [members, graph.constant(np.array([[0.5], [0.5]], dtype=np.float32))])
    flat = graph.node("Squeeze", [mean, graph.constant(np.array([1], dtype=np.int64))])
    for name in ("p", "p_raw"):
        graph.name_output(flat, name)
    graph.name_output(members, "p_members")
    outputs = [GraphOutput("p"), GraphOutput("p_raw"), GraphOutput("p_members", 2)]
    metadata = {"inputs": json.dumps(list(INPUTS)), "members": json.dumps(["logistic", "xgboost"])}
    return graph.build(input_name="features", n_inputs=len(INPUTS), outputs=outputs, metadata=metadata)


def small_companions(*, outputs: tuple[str, ...] = ("expected_move", "rank_score", "rank_score_5")) -> bytes:
    """A graph like that of the companions: three columns in, one number each out."""
    graph = GraphBuilder()
    column = graph.constant(np.array([[0.1], [0.2], [0.3]], dtype=np.float32))
    scores = graph.node("MatMul", ["features", column])
    flat = graph.node("Squeeze", [scores, graph.constant(np.array([1], dtype=np.int64))])
    for name in outputs:
        graph.name_output(flat, name)
    metadata = {"inputs": json.dumps(["atr", "beta", "turnover"])}
    return graph.build(
        input_name="features", n_inputs=3, outputs=[GraphOutput(name) for name in outputs], metadata=metadata
    )


def spoiled(change: Change) -> bytes:
    """The small graph after ``change``, written by ONNX's own serialiser and not checked by it."""
    model = onnx.load_from_string(small_graph())
    change(model)
    return bytes(model.SerializeToString(deterministic=True))


def node_of(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op_type)


def attribute_of(model: onnx.ModelProto, name: str) -> onnx.AttributeProto:
    trees = node_of(model, "TreeEnsembleRegressor")
    return next(attribute for attribute in trees.attribute if attribute.name == name)

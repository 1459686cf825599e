"""One ONNX file per version: preprocessing, members, weights and calibration in a single graph."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from catalyst_ml.models.final_fit import FittedEnsemble
from catalyst_ml.models.graph_builder import GraphBuilder, GraphOutput
from catalyst_ml.models.graph_names import INPUT as INPUT
from catalyst_ml.models.graph_names import OUTPUT_P as OUTPUT_P
from catalyst_ml.models.graph_names import OUTPUT_P_MEMBERS as OUTPUT_P_MEMBERS
from catalyst_ml.models.graph_names import OUTPUT_P_RAW as OUTPUT_P_RAW
from catalyst_ml.models.procedure import CATALYST


def export(fitted: FittedEnsemble, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise a fitted ensemble.

    Parameters
    ----------
    metadata
        Further entries of ``metadata_props``; they may not replace ours.

    Returns
    -------
    bytes
        A model with input ``features`` float32 (n, n_inputs) in the order of ``procedure.inputs``, NaN or any
        infinity for missing; outputs ``p`` (n,), ``p_raw`` (n,) and ``p_members`` (n, m), NaN where the catalyst
        predictor abstains. The same fit gives the same bytes.
    """
    graph = GraphBuilder()
    features = _infinite_to_missing(graph)
    members = [member.add_to_graph(graph, features) for member in fitted.members.values()]
    alone = graph.node("Concat", members, axis=1) if len(members) > 1 else graph.node("Identity", members)
    p_members = fitted.level.add_to_graph(graph, features, alone)
    p_raw = _weighted(graph, p_members, fitted)
    p = fitted.calibrator.add_to_graph(graph, p_raw)
    last_axis = graph.constant(np.array([1], dtype=np.int64))
    graph.name_output(graph.node("Squeeze", [p, last_axis]), OUTPUT_P)
    graph.name_output(graph.node("Squeeze", [p_raw, last_axis]), OUTPUT_P_RAW)
    graph.name_output(p_members, OUTPUT_P_MEMBERS)
    return graph.build(
        input_name=INPUT,
        n_inputs=len(fitted.procedure.inputs),
        outputs=[
            GraphOutput(OUTPUT_P),
            GraphOutput(OUTPUT_P_RAW),
            GraphOutput(OUTPUT_P_MEMBERS, len(members)),
        ],
        metadata={**(metadata or {}), **graph_metadata(fitted)},
    )


def graph_metadata(fitted: FittedEnsemble) -> dict[str, str]:
    """What a loader must know to feed the graph and to read its answer; JSON where a value has parts."""
    procedure = fitted.procedure
    return {
        "inputs": json.dumps(list(procedure.inputs)),
        "members": json.dumps(list(fitted.members)),
        "weights": json.dumps(fitted.weights.to_dict()),
        "calibrator": json.dumps(fitted.calibrator.to_dict()),
        "direction_level": json.dumps(fitted.level.to_dict()),
        "rules": json.dumps(fitted.rules.to_dict()),
        "base_rate": json.dumps(fitted.base_rate.to_dict()),
        "feature_set_version": procedure.feature_set_version,
        "label_version": procedure.label_version,
        "procedure_id": procedure.procedure_id,
        "as_of": fitted.as_of.isoformat(),
    }


def _weighted(graph: GraphBuilder, p_members: str, fitted: FittedEnsemble) -> str:
    """Add the weighted mean (n, 1): one set of weights, or two and a ``Where`` if the catalyst predictor has a say."""

    def mean(p: str, weights: Mapping[str, float]) -> str:
        column = np.array([[weights.get(name, 0.0)] for name in fitted.members], dtype=np.float32)  # (m, 1)
        return graph.node("MatMul", [p, graph.constant(column)])

    if not fitted.weights.with_news:
        return mean(p_members, fitted.weights.weights)
    absent = graph.node("IsNaN", [p_members])
    spoken = graph.node("Where", [absent, graph.constant(np.float32(0.0)), p_members])
    catalyst = graph.constant(np.array([list(fitted.members).index(CATALYST)], dtype=np.int64))
    abstains = graph.node("Gather", [absent, catalyst], axis=1)
    with_news = mean(spoken, fitted.weights.with_news)
    return graph.node("Where", [abstains, mean(spoken, fitted.weights.weights), with_news])


def _infinite_to_missing(graph: GraphBuilder) -> str:
    nan = graph.constant(np.float32(np.nan))
    return graph.node("Where", [graph.node("IsInf", [INPUT]), nan, INPUT])

"""A version whose graph is small enough to check by hand, in the registry and its channels."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import onnx
import pandas as pd
from onnx import TensorProto, helper
from sqlalchemy import Engine

from catalyst_ml.features.events import MODEL_INPUTS, model_input_version
from catalyst_ml.market.labels import default_spec
from catalyst_ml.market.rules import rule_arm
from catalyst_ml.models.onnx_graph import INPUT, OUTPUT_P, OUTPUT_P_MEMBERS
from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import ArtifactStore
from catalyst_ml.registry.manifest import TrainingWindow, VersionFacts, seal_manifest
from catalyst_ml.registry.versions import ModelLine, publish

RULES = {"coefficients": [0.4, 0.1, -0.1, 0.2, -0.05], "base_rate": 0.48}
SPREAD = 0.02
"""Standard deviation of the two members of `speaking_graph`."""


def line_of(dataset: str) -> ModelLine:
    return ModelLine(dataset, "1d", default_spec("1d", "symmetric", cost_bps_per_side=5.0).version)


def speaking_graph(level: float) -> bytes:
    """A graph whose answer is ``level`` + 0.1 * the event's direction, with two members around it."""

    def constant(name: str, values: list[float], shape: list[int]) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.FLOAT, shape, values)

    place = helper.make_tensor("place", TensorProto.INT64, [1], [MODEL_INPUTS.index("event_direction")])
    nodes = [
        helper.make_node("Gather", [INPUT, "place"], ["direction"], axis=1),
        helper.make_node("Mul", ["direction", "slope"], ["tilt"]),
        helper.make_node("Add", ["tilt", "level"], ["column"]),
        helper.make_node("Add", ["column", "around"], [OUTPUT_P_MEMBERS]),
        helper.make_node("Squeeze", ["column", "axis"], [OUTPUT_P]),
    ]
    graph = helper.make_graph(
        nodes,
        "speaking",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", len(MODEL_INPUTS)])],
        [
            helper.make_tensor_value_info(OUTPUT_P, TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info(OUTPUT_P_MEMBERS, TensorProto.FLOAT, ["n", 2]),
        ],
        initializer=[
            place,
            constant("slope", [0.1], [1]),
            constant("level", [level], [1]),
            constant("around", [-SPREAD, SPREAD], [1, 2]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"rules": json.dumps(RULES), "base_rate": json.dumps({"rate": 0.48, "n": 1000})})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def publish_speaking(
    engine: Engine,
    stores: list[ArtifactStore],
    dataset: str,
    *,
    as_of: datetime,
    level: float = 0.5,
    verdict: str = "stay",
    feature_set_version: str | None = None,
) -> str:
    """Register such a version of the line and put it into the shadow; with verdict ``promote`` into production too."""
    line = line_of(dataset)
    gate = {"verdict": verdict}
    facts = VersionFacts(
        **line._asdict(), as_of=as_of, procedure_id="p-1", procedure={"rule_arm": rule_arm().version},
        feature_set_version=feature_set_version or model_input_version(), inputs=MODEL_INPUTS,
        data_fingerprint="d" * 16,
        training_window=TrainingWindow(start=as_of.replace(year=as_of.year - 1), end=as_of, n_rows=1_000),
        code_commit="abc", packages={}, seed=7, metrics={}, gate=gate, parity={"passed": True},
    )  # fmt: skip
    empty = io.BytesIO()
    pd.DataFrame({"p_challenger": [0.5]}).to_parquet(empty, index=False)
    files = {"model.onnx": speaking_graph(level), "record.parquet": empty.getvalue()}
    sealed = seal_manifest(facts, files, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    version_id = publish(engine, stores, files, sealed).version_id
    channels.enter_shadow(engine, line, version_id, reason="test", actor="test", gate=gate)
    if verdict == "promote":
        channels.promote(engine, line, version_id, reason="test", actor="test", gate=gate)
    return version_id

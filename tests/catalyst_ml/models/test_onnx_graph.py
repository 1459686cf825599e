"""The served file against the trainer, and its trees against another converter."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.record import MEMBER_PREFIX
from catalyst_ml.models.calibration import Calibrator
from catalyst_ml.models.ensemble import EnsembleWeights
from catalyst_ml.models.final_fit import FittedEnsemble, fit_final
from catalyst_ml.models.onnx_graph import export
from catalyst_ml.models.parity import certify, single_thread_session
from catalyst_ml.models.preprocessing import as_model_matrix
from catalyst_ml.models.procedure import Procedure

MakeTrainingSet = Callable[..., pd.DataFrame]
BETA = Calibrator("beta", a=1.3, b=0.8, c=0.1)


def hostile_rows(rows: pd.DataFrame, procedure: Procedure) -> np.ndarray:
    """Ordinary rows, then missing, infinite, huge and tiny ones."""
    X = rows[list(procedure.inputs)].to_numpy(dtype="float64", copy=True)
    n = X.shape[1]
    odd = [np.nan, np.inf, -np.inf, 1e300, 3.4e38, -3.4e38, 1e-45, 0.0]
    mixed = np.where(np.random.default_rng(4).random((200, n)) < 0.3, np.nan, X[:200])
    return np.vstack([X, mixed, np.repeat(np.array(odd)[:, None], n, axis=1)])


@pytest.fixture
def fitted(make_training_set: MakeTrainingSet, procedure: Procedure) -> FittedEnsemble:
    rows = make_training_set(n_sessions=50, strength=1.0)
    oof = rows.head(0).assign(**{MEMBER_PREFIX + name: np.empty(0) for name in procedure.members})
    equal = fit_final(rows, procedure, oof, as_of=rows["label_end"].max(), n_threads=1)
    weights = dict(zip(procedure.members, (0.1, 0.2, 0.3, 0.25, 0.15), strict=True))
    return replace(equal, weights=EnsembleWeights(weights, {}, "by hand"), calibrator=BETA)


def test_the_graph_agrees_with_the_trainer_on_ordinary_and_hostile_rows(
    fitted: FittedEnsemble, make_training_set: MakeTrainingSet
) -> None:
    rows = make_training_set(n_sessions=60, strength=1.0, seed=7)
    certificate = certify(fitted, export(fitted), hostile_rows(rows, fitted.procedure), thresholds=(0.4, 0.5, 0.6))
    assert certificate.passed
    assert certificate.max_abs_diff_p < 1e-5
    assert certificate.max_abs_diff_p_members < 1e-5
    assert certificate.decision_flips == 0
    assert certificate.n_rows == 60 * 20 + 208
    assert 0.0 < certificate.latency_p50_ms <= certificate.latency_p99_ms


def test_a_graph_of_other_weights_fails_the_certificate(
    fitted: FittedEnsemble, make_training_set: MakeTrainingSet
) -> None:
    rows = make_training_set(n_sessions=60, strength=1.0, seed=7)
    other = replace(fitted, calibrator=Calibrator("beta", a=1.3, b=0.8, c=0.2))
    certificate = certify(fitted, export(other), hostile_rows(rows, fitted.procedure))
    assert not certificate.passed
    assert certificate.decision_flips > 0
    assert certificate.max_abs_diff_p > 0.01


def test_a_certificate_over_no_rows_is_refused(fitted: FittedEnsemble) -> None:
    with pytest.raises(InsufficientHistory, match="no rows"):
        certify(fitted, export(fitted), np.empty((0, len(fitted.procedure.inputs))))


def test_outputs_have_the_promised_names_shapes_and_metadata(fitted: FittedEnsemble) -> None:
    session = single_thread_session(export(fitted, metadata={"dataset": "demo"}))
    X = np.zeros((3, len(fitted.procedure.inputs)), dtype=np.float32)
    p, p_raw, p_members = session.run(["p", "p_raw", "p_members"], {"features": X})
    assert (p.shape, p_raw.shape, p_members.shape) == ((3,), (3,), (3, 5))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["inputs"]) == list(fitted.procedure.inputs)
    assert json.loads(metadata["members"]) == list(fitted.members)
    assert metadata["procedure_id"] == fitted.procedure.procedure_id
    assert metadata["dataset"] == "demo"


def test_dropped_members_are_not_in_the_file(fitted: FittedEnsemble) -> None:
    kept = {name: fitted.members[name] for name in ("base_rate", "logistic")}
    small = replace(
        fitted, members=kept, weights=EnsembleWeights({"base_rate": 0.4, "logistic": 0.6}, {"forest": "idle"}, "")
    )
    graph = onnx.load_from_string(export(small)).graph
    assert "TreeEnsembleRegressor" not in {node.op_type for node in graph.node}
    X = np.random.default_rng(1).normal(size=(50, len(small.procedure.inputs)))
    assert certify(small, export(small), X).passed


def test_a_base_rate_alone_is_a_valid_file(fitted: FittedEnsemble) -> None:
    alone = replace(
        fitted,
        members={"base_rate": fitted.members["base_rate"]},
        weights=EnsembleWeights({"base_rate": 1.0}, {}, ""),
        calibrator=Calibrator("identity"),
    )
    certificate = certify(alone, export(alone), np.full((4, len(alone.procedure.inputs)), np.nan))
    assert certificate.passed


def test_the_same_fit_gives_the_same_bytes(fitted: FittedEnsemble) -> None:
    assert export(fitted) == export(fitted)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tree_nodes_agree_with_the_converter_of_onnxmltools(
    fitted: FittedEnsemble, make_training_set: MakeTrainingSet
) -> None:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    member = fitted.members["xgboost"]
    inputs = len(fitted.procedure.inputs)
    booster = member.booster  # type: ignore[attr-defined]
    converted = convert_xgboost(booster, initial_types=[("features", FloatTensorType([None, inputs]))])
    peer = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    X = as_model_matrix(hostile_rows(make_training_set(n_sessions=20, seed=7), fitted.procedure))
    without_offset = peer.run(["probabilities"], {"features": X})[0][:, 1].astype("float64")
    logits = np.log(without_offset) - np.log1p(-without_offset) + member.base_logit  # type: ignore[attr-defined]
    served = single_thread_session(export(fitted)).run(["p_members"], {"features": X})[0][:, 2]
    np.testing.assert_allclose(served, 1.0 / (1.0 + np.exp(-logits)), atol=1e-5)

"""The look at a graph before its session: every graph of ours passes, and nothing else does."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from catalyst_ml import models
from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.evaluation.record import MEMBER_PREFIX
from catalyst_ml.models import graph_builder, procedure
from catalyst_ml.models.calibration import Calibrator
from catalyst_ml.models.companion_graph import export_companions
from catalyst_ml.models.companions import fit_companions
from catalyst_ml.models.final_fit import FittedEnsemble, fit_final
from catalyst_ml.models.onnx_graph import INPUT, OUTPUT_P, OUTPUT_P_MEMBERS, OUTPUT_P_RAW, export
from catalyst_ml.models.procedure import default_procedure
from catalyst_ml.registry import graph_check
from catalyst_ml.registry.graph_check import check_companions, check_files, check_graph
from catalyst_ml.registry.wire_format import Field, read_message
from tests.catalyst_ml.models.conftest import INPUTS as TRAINED_INPUTS
from tests.catalyst_ml.models.conftest import make_training_set
from tests.catalyst_ml.models.test_companions import SETTINGS, make_stock_days
from tests.catalyst_ml.registry.served_graphs import (
    INPUTS,
    Change,
    attribute_of,
    node_of,
    small_companions,
    small_graph,
    spoiled,
)


@pytest.fixture(scope="module")
def fitted() -> FittedEnsemble:
    rows = make_training_set(n_sessions=50, strength=1.0)
    fast = default_procedure(TRAINED_INPUTS, feature_set_version="t", label_version="t", profile="fast")
    oof = rows.head(0).assign(**{MEMBER_PREFIX + name: np.empty(0) for name in fast.members})
    return fit_final(rows, fast, oof, as_of=rows["label_end"].max(), n_threads=1)


def test_a_trained_ensemble_passes_and_its_size_is_told_as_onnx_tells_it(fitted: FittedEnsemble) -> None:
    data = export(replace(fitted, calibrator=Calibrator("beta", a=1.2, b=0.9, c=0.1)))
    facts = check_graph(data, inputs=TRAINED_INPUTS)
    graph = onnx.load_from_string(data).graph
    trees = [node for node in graph.node if node.op_type == "TreeEnsembleRegressor"]
    assert facts.n_nodes == len(graph.node)
    assert facts.n_members == len(fitted.members) == 5
    assert facts.n_tree_nodes == sum(
        len(attribute.ints) for node in trees for attribute in node.attribute if attribute.name == "nodes_nodeids"
    )
    assert facts.metadata["procedure_id"] == fitted.procedure.procedure_id


@pytest.mark.parametrize("kind", ["identity", "temperature"])
def test_other_calibrations_pass_too(fitted: FittedEnsemble, kind: str) -> None:
    check_graph(export(replace(fitted, calibrator=Calibrator(kind, a=0.8))), inputs=TRAINED_INPUTS)  # type: ignore[arg-type]


def test_the_trust_list_is_what_the_members_ask_the_builder_for_and_no_more() -> None:
    sources = "\n".join(path.read_text() for path in Path(models.__path__[0]).glob("*.py"))
    # The list is read off the sources here, and written by hand there: neither follows the other by itself.
    asked = set(re.findall(r'\.node\(\s*"(\w+)"', sources)) - {"TreeEnsembleRegressor"}
    assert {"": asked, "ai.onnx.ml": {"TreeEnsembleRegressor"}} == graph_check.OPERATORS
    assert graph_check.OPSETS == {"": graph_builder.OPSET, graph_builder.ML_DOMAIN: graph_builder.ML_OPSET}
    assert graph_check.IR_VERSION == graph_builder.IR_VERSION
    assert (graph_check.INPUT, *graph_check.OUTPUTS) == (INPUT, OUTPUT_P, OUTPUT_P_RAW, OUTPUT_P_MEMBERS)
    assert graph_check.MAX_TREE_NODES >= procedure.MAX_TREE_NODES


def test_the_small_graph_is_a_model_that_runs_and_passes() -> None:
    session = onnxruntime.InferenceSession(small_graph(), providers=["CPUExecutionProvider"])
    rows = np.array([[0.0, 0.4], [1.0, np.nan], [np.inf, 0.9]], dtype=np.float32)
    p_members = session.run(["p_members"], {"features": rows})[0]
    expected = 1.0 / (1.0 + np.exp(-np.array([0.1 - 1.0 + 0.25, 0.1 - 1.0 + 0.25, 0.1 + 2.0 + 0.25])))
    np.testing.assert_allclose(p_members[:, 1], expected, rtol=1e-6)
    assert check_graph(small_graph(), inputs=INPUTS).n_tree_nodes == 4


def test_companions_pass_by_their_own_inputs_and_outputs_and_neither_graph_passes_for_the_other() -> None:
    facts = check_companions(small_companions())
    assert (facts.n_inputs, facts.n_members) == (3, 0)
    with pytest.raises(ArtifactRefused, match="expected p, p_raw, p_members"):
        check_graph(small_companions(), inputs=("atr", "beta", "turnover"))
    with pytest.raises(ArtifactRefused, match="expected expected_move, rank_score, rank_score_5"):
        check_companions(small_graph())
    with pytest.raises(ArtifactRefused, match="outputs"):
        check_companions(small_companions(outputs=("expected_move", "rank_score")))


def test_trained_companions_pass() -> None:
    exported = export_companions(fit_companions(make_stock_days(), SETTINGS, n_threads=1))
    assert check_companions(exported).n_inputs > 3
    check_files({"model.onnx": small_graph(), "companions.onnx": exported}, inputs=INPUTS)
    with pytest.raises(ArtifactRefused, match=r"companions\.onnx"):
        check_files({"model.onnx": small_graph(), "companions.onnx": small_graph()}, inputs=INPUTS)


def add_node(op_type: str, domain: str = "", **attributes: object) -> Change:
    return lambda model: model.graph.node.append(
        helper.make_node(op_type, ["features"], ["more"], domain=domain, **attributes)
    )


def retype(tensor: TensorProto, to: int) -> None:
    tensor.data_type = to


def constant(model: onnx.ModelProto, value: np.ndarray) -> None:
    model.graph.initializer.append(numpy_helper.from_array(value, "more"))


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def branching(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("If", ["features"], ["more"], then_branch=body, else_branch=body))


def hidden_branch(model: onnx.ModelProto) -> None:
    node_of(model, "Concat").attribute.append(helper.make_attribute("g", helper.make_graph([], "body", [], [])))


def local_function(model: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("own", "Relu", ["x"], ["y"], [], opsets))


HOSTILE: dict[str, tuple[Change, str]] = {
    "an operator that is not on the list": (add_node("Loop"), "'Loop' of domain '' is not on the trust list"),
    "an operator that sleeps or prints": (add_node("Print", "com.microsoft"), "domain 'com.microsoft'"),
    "an operator of a domain of its own": (add_node("Relu", "evil"), "'Relu' of domain 'evil'"),
    "an alias of the standard domain": (add_node("Relu", "ai.onnx"), "'Relu' of domain 'ai.onnx'"),
    "a name that looks like an operator": (add_node("Rеlu"), "not plain ASCII"),
    "an opset of another domain": (lambda m: m.opset_import.add(domain="evil", version=1), "opsets"),
    "a newer opset": (lambda m: setattr(m.opset_import[0], "version", 23), "opsets"),
    "a newer IR version": (lambda m: setattr(m, "ir_version", 13), "IR version 13"),
    "data in another file": (external, "field 1[34] of wire type"),
    "a branch": (branching, "'If' of domain '' is not on the trust list"),
    "a branch hidden in an attribute": (hidden_branch, "field 6 of wire type 2"),
    "a function in place of an operator": (local_function, "field 25"),
    "training steps": (lambda m: m.training_info.add(), "field 20"),
    "a documentation text": (lambda m: setattr(m, "doc_string", "x"), "field 6"),
    "a sparse constant": (lambda m: m.graph.sparse_initializer.add(), "field 15"),
    "text as a constant": (
        lambda m: constant(m, np.array(["__import__"], dtype=object)),
        "field 6|data type 8",
    ),
    "NaN among the weights": (lambda m: constant(m, np.array([0.1, np.nan], dtype=np.float32)), "not finite"),
    "an infinite weight": (lambda m: constant(m, np.array([[np.inf], [1]], dtype=np.float32)), "not finite"),
    "a constant of doubles": (lambda m: constant(m, np.zeros(2)), "data type 11"),
    "a constant larger than its bytes": (lambda m: m.graph.initializer[1].dims.append(2**40), "does not fit"),
    "a constant of negative size": (lambda m: m.graph.initializer[1].dims.extend([-1, -1]), "does not fit"),
    "a constant of another type": (lambda m: retype(m.graph.initializer[1], TensorProto.FLOAT8E4M3FN), "data type"),
    "too many constants": (lambda m: constant(m, np.zeros(2_000_001, dtype=np.float32)), "constant values"),
    "a constant in the place of the input": (
        lambda m: setattr(m.graph.initializer[0], "name", "features"),
        "'features' is empty or made twice",
    ),
    "another input name": (lambda m: setattr(m.graph.input[0], "name", "x"), "expected one float matrix 'features'"),
    "a second input": (lambda m: m.graph.input.append(m.graph.input[0]), "expected one float matrix"),
    "another number of columns": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 3),
        "with 2 columns",
    ),
    "an input of doubles": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE),
        "expected float32",
    ),
    "an output too many": (lambda m: m.graph.output.append(m.graph.output[0]), "outputs"),
    "an output too few": (lambda m: m.graph.output.pop(), "outputs"),
    "an output that nothing makes": (lambda m: m.graph.node.pop(), "no node makes"),
    "columns in another order": (
        lambda m: setattr(m.metadata_props[0], "value", '["bb_position", "rsi_14"]'),
        "names other inputs than the manifest",
    ),
    "metadata too large": (lambda m: m.metadata_props.add(key="x", value="x" * 1_000_001), "bytes of metadata"),
    "metadata twice": (lambda m: m.metadata_props.append(m.metadata_props[0]), "occurs twice"),
    "too many nodes": (
        lambda m: m.graph.node.extend([helper.make_node("Relu", ["features"], [f"r{n}"]) for n in range(2_000)]),
        "nodes, allowed are 2,000",
    ),
    "a node that reads its own output": (
        lambda m: m.graph.node.append(helper.make_node("Relu", ["more"], ["more"])),
        "which nothing before it makes",
    ),
    "a tensor made twice": (
        lambda m: m.graph.node.append(helper.make_node("Relu", ["features"], ["p"])),
        "'p' is empty or made twice",
    ),
    "a tree that runs in a circle": (
        lambda m: attribute_of(m, "nodes_truenodeids").ints.__setitem__(0, 0),
        "leads backwards or out of its tree",
    ),
    "a tree that leaves its arrays": (
        lambda m: attribute_of(m, "nodes_falsenodeids").ints.__setitem__(0, 3),
        "leads backwards or out of its tree",
    ),
    "a tree that asks for another column": (
        lambda m: attribute_of(m, "nodes_featureids").ints.__setitem__(0, 2),
        "asks for a column",
    ),
    "a tree that reads memory before its row": (
        lambda m: attribute_of(m, "nodes_featureids").ints.__setitem__(0, -(2**40)),
        "asks for a column",
    ),
    "leaves that belong to nobody": (
        lambda m: attribute_of(m, "target_nodeids").ints.__setitem__(0, 9),
        "do not belong to the leaves",
    ),
    "a leaf of infinite weight": (
        lambda m: attribute_of(m, "target_weights").floats.__setitem__(0, np.inf),
        "not finite",
    ),
    "a node kind of another release": (
        lambda m: attribute_of(m, "nodes_modes").strings.__setitem__(0, b"BRANCH_MEMBER"),
        "kinds other than",
    ),
    "tree arrays of two lengths": (lambda m: attribute_of(m, "nodes_values").floats.pop(), "do not have one length"),
    "trees out of order": (
        lambda m: attribute_of(m, "nodes_treeids").ints.__setitem__(3, 0),
        "not numbered one after the other",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused_for_its_reason(name: str) -> None:
    change, reason = HOSTILE[name]
    with pytest.raises(ArtifactRefused, match=reason):
        check_graph(spoiled(change), inputs=INPUTS)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


RAW: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda data: b"", "IR version None"),
    "a pickled object": (
        lambda data: b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
        "field 64 of wire type 0",
    ),
    "half of it": (lambda data: data[: len(data) // 2], "beyond the end|cut off|inside a number"),
    "one byte less": (lambda data: data[:-1], "beyond the end|cut off|inside a number"),
    # Parsers made for everything merge a second graph into the first: what was checked alone would not be what runs.
    "a second graph behind the first": (lambda data: data + field(7, b""), "graph occurs twice"),
    "a second IR version": (lambda data: data + b"\x08\x09", "ir_version occurs twice"),
    "a group of old": (lambda data: data + b"\x13\x14", "wire type 3"),
    "a number of eleven bytes": (lambda data: data + b"\xff" * 10 + b"\x01", "more than 10 bytes"),
    "a number in two spellings": (lambda data: b"\x88\x00" + data[1:], "not spelled as our exporter does"),
    "a length beyond all memory": (lambda data: data + b"\x3a" + varint(2**62), "beyond the end|twice"),
}


@pytest.mark.parametrize("name", RAW)
def test_hostile_bytes_are_refused_for_their_reason(name: str) -> None:
    change, reason = RAW[name]
    with pytest.raises(ArtifactRefused, match=reason):
        check_graph(change(small_graph()), inputs=INPUTS)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_bytes_are_damaged_it_is_refused_or_still_a_graph_of_ours(data: st.DataObject) -> None:
    original = bytearray(small_graph())
    for place in data.draw(st.lists(st.integers(0, len(original) - 1), min_size=1, max_size=4)):
        original[place] = data.draw(st.integers(0, 255))
    try:
        check_graph(bytes(original), inputs=INPUTS)
    except ArtifactRefused:
        return
    parsed = onnx.load_from_string(bytes(original))  # what we let pass, ONNX reads the same way
    assert {node.op_type for node in parsed.graph.node} <= set().union(*graph_check.OPERATORS.values())
    assert not parsed.functions
    assert all(not tensor.external_data for tensor in parsed.graph.initializer)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_graph_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(ArtifactRefused):
        check_graph(data, inputs=INPUTS)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30), st.lists(st.floats(width=32), max_size=30))
@settings(max_examples=100, deadline=None)
def test_runs_of_numbers_are_read_as_protobuf_reads_them(ints: list[int], floats: list[float]) -> None:
    message = onnx.AttributeProto(ints=ints, floats=floats, name="x", i=-5)
    read = read_message(message.SerializeToString(), graph_check._ATTRIBUTE, "a message")
    assert read["ints"].tolist() == ints
    np.testing.assert_array_equal(read["floats"], np.array(floats, dtype=np.float32))
    assert (read["name"], read["i"]) == (b"x", -5)


def test_a_run_that_ends_inside_a_number_is_refused() -> None:
    fields = {1: Field("n", "int", many=True), 2: Field("x", "float", many=True)}
    for data in (b"\x08", b"\x08\x80", b"\x08\x01\x08", b"\x08\x01\x08\xff\xff", b"\x15\x00\x00", b"\x15\0\0\0\0\x15"):
        with pytest.raises(ArtifactRefused, match=r"number|beyond the end"):
            read_message(data, fields, "a message")

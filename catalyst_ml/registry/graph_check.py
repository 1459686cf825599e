"""Reading an ONNX file before any session is made of it: only what our exporter writes may be in it.

The signature says who made the file. This says what the file can do, should the key or the trainer be in other hands:
arithmetic on one matrix of known width, of bounded size, that always comes to an end. No other operators, no domains of
others, no functions or branches, no files beside it.

A server has onnxruntime but not ``onnx``, and onnxruntime offers no look at a graph before its session; so the file is
read here (``wire_format``), in the one spelling that the exporter uses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.registry.wire_format import Field, read_message, read_text

MODEL_NAME, COMPANIONS_NAME = "model.onnx", "companions.onnx"
INPUT, OUTPUTS = "features", ("p", "p_raw", "p_members")
COMPANION_OUTPUTS = ("expected_move", "rank_score", "rank_score_5")
IR_VERSION = 9
OPSETS = {"": 18, "ai.onnx.ml": 3}
# fmt: off
OPERATORS: dict[str, frozenset[str]] = {
    "": frozenset((
        "Add", "Cast", "Clip", "Concat", "Div", "Exp", "Expand", "Gather", "Gemm", "Greater", "Identity", "IsInf",
        "IsNaN", "Log", "MatMul", "Mean", "Mul", "Relu", "Shape", "Sigmoid", "Squeeze", "Sub", "Where",
    )),
    "ai.onnx.ml": frozenset(("TreeEnsembleRegressor",)),
}
# fmt: on
"""The trust list: what ``models.graph_builder`` is asked for by any member. A test compares the two."""

MAX_NODES = 2_000
MAX_TREE_NODES = 600_000
"""Twice what a procedure may have (``models.procedure.MAX_TREE_NODES``)."""
MAX_MEMBERS = 32
MAX_CONSTANT_VALUES = 2_000_000
MAX_METADATA_BYTES = 1_000_000

_ITEM_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8"), 9: np.dtype("?")}
"""TensorProto's numbers of float32, int64 and bool."""
_FLOAT = 1

_MODEL = {
    1: Field("ir_version", "int"),
    2: Field("producer_name", "bytes"),
    7: Field("graph", "bytes"),
    8: Field("opset_import", "bytes", many=True),
    14: Field("metadata_props", "bytes", many=True),
}
_OPSET = {1: Field("domain", "bytes"), 2: Field("version", "int")}
_PAIR = {1: Field("key", "bytes"), 2: Field("value", "bytes")}
_GRAPH = {
    1: Field("node", "bytes", many=True),
    2: Field("name", "bytes"),
    5: Field("initializer", "bytes", many=True),
    11: Field("input", "bytes", many=True),
    12: Field("output", "bytes", many=True),
}
_NODE = {
    1: Field("input", "bytes", many=True),
    2: Field("output", "bytes", many=True),
    4: Field("op_type", "bytes"),
    5: Field("attribute", "bytes", many=True),
    7: Field("domain", "bytes"),
}
_ATTRIBUTE = {
    1: Field("name", "bytes"),
    2: Field("f", "float"),
    3: Field("i", "int"),
    4: Field("s", "bytes"),
    7: Field("floats", "float", many=True),
    8: Field("ints", "int", many=True),
    9: Field("strings", "bytes", many=True),
    20: Field("type", "int"),
}
_TENSOR = {
    1: Field("dims", "int", many=True),
    2: Field("data_type", "int"),
    8: Field("name", "bytes"),
    9: Field("raw_data", "bytes"),
}
_VALUE_INFO = {1: Field("name", "bytes"), 2: Field("type", "bytes")}
_TYPE = {1: Field("tensor_type", "bytes")}
_TENSOR_TYPE = {1: Field("elem_type", "int"), 2: Field("shape", "bytes")}
_SHAPE = {1: Field("dim", "bytes", many=True)}
_DIMENSION = {1: Field("value", "int"), 2: Field("parameter", "bytes")}

_BRANCH, _LEAF = b"BRANCH_LT", b"LEAF"


@dataclass(frozen=True)
class GraphFacts:
    """What was found in a graph that holds: how large it is, and its metadata. Companions have no members."""

    n_inputs: int
    n_members: int
    n_nodes: int
    n_tree_nodes: int
    metadata: Mapping[str, str]


def check_files(files: Mapping[str, bytes], *, inputs: Sequence[str]) -> None:
    """Check every graph of a version. Raises like `check_graph`."""
    check_graph(files[MODEL_NAME], inputs=inputs)
    if COMPANIONS_NAME in files:
        check_companions(files[COMPANIONS_NAME])


def check_companions(data: bytes, *, what: str = COMPANIONS_NAME) -> GraphFacts:
    """As `check_graph`, for the graph of the companions, which names its inputs itself and has other outputs."""
    return _check(data, None, what)


def check_graph(data: bytes, *, inputs: Sequence[str], what: str = MODEL_NAME) -> GraphFacts:
    """Return the facts of an ONNX file that only does what our exporter's graphs do.

    Parameters
    ----------
    inputs
        Names of the columns as the manifest says them; the file must name the same in the same order.

    Raises
    ------
    ArtifactRefused
        If anything in it is not on the trust list, malformed, too large, or not finite; says what and where.
    """
    return _check(data, inputs, what)


def _check(data: bytes, inputs: Sequence[str] | None, what: str) -> GraphFacts:
    """Check the model's graph, or that of the companions where nobody names the ``inputs``."""
    model = read_message(data, _MODEL, what)
    _check_versions(model, what)
    metadata = _metadata(model["metadata_props"], what)
    named = _named_inputs(metadata, inputs, what)
    graph = read_message(_required(model, "graph", what), _GRAPH, f"{what}, graph")
    if len(graph["node"]) > MAX_NODES:
        raise ArtifactRefused(f"{what}: {len(graph['node']):,} nodes, allowed are {MAX_NODES:,}.")
    outputs = COMPANION_OUTPUTS if inputs is None else OUTPUTS
    n_members = _check_borders(graph, len(named), outputs, what)
    known = {INPUT, *_check_constants(graph["initializer"], what)}
    n_tree_nodes = 0
    for number, node in enumerate(graph["node"]):
        n_tree_nodes += _check_node(node, known, len(named), f"{what}, node {number}")
    if not known.issuperset(outputs):
        raise ArtifactRefused(f"{what}: no node makes {sorted(set(outputs) - known)}.")
    if n_tree_nodes > MAX_TREE_NODES:
        raise ArtifactRefused(f"{what}: {n_tree_nodes:,} tree nodes, allowed are {MAX_TREE_NODES:,}.")
    return GraphFacts(len(named), n_members, len(graph["node"]), n_tree_nodes, metadata)


def _check_versions(model: Mapping[str, Any], what: str) -> None:
    found = {}
    for entry in model["opset_import"]:
        opset = read_message(entry, _OPSET, f"{what}, opset")
        domain = read_text(opset.get("domain", b""), f"{what}, opset")
        if domain in found:
            raise ArtifactRefused(f"{what}: opset of domain {domain!r} occurs twice.")
        found[domain] = opset.get("version", 0)
    if (model.get("ir_version"), found) != (IR_VERSION, OPSETS):
        raise ArtifactRefused(
            f"{what}: IR version {model.get('ir_version')} and opsets {found}, expected {IR_VERSION} and {OPSETS}. "
            "A newer trainer wrote it (update the server first), or it is not ours."
        )


def _metadata(entries: Sequence[bytes], what: str) -> dict[str, str]:
    if sum(map(len, entries)) > MAX_METADATA_BYTES:
        raise ArtifactRefused(f"{what}: more than {MAX_METADATA_BYTES:,} bytes of metadata.")
    metadata: dict[str, str] = {}
    for entry in entries:
        pair = read_message(entry, _PAIR, f"{what}, metadata")
        key = read_text(pair.get("key", b""), f"{what}, metadata")
        if key in metadata:
            raise ArtifactRefused(f"{what}: metadata {key!r} occurs twice.")
        try:
            metadata[key] = pair.get("value", b"").decode()
        except UnicodeDecodeError:
            raise ArtifactRefused(f"{what}: metadata {key!r} is not text.") from None
    return metadata


def _named_inputs(metadata: Mapping[str, str], inputs: Sequence[str] | None, what: str) -> list[str]:
    """Names of the columns as the metadata says them; those of ``inputs`` if they are given."""
    try:
        named = json.loads(metadata.get("inputs", "null"))
    except (ValueError, RecursionError):
        named = None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ArtifactRefused(f"{what}: its metadata does not name its inputs.")
    if inputs is not None and named != list(inputs):
        raise ArtifactRefused(
            f"{what}: its metadata names other inputs than the manifest, or in another order; "
            "columns would be fed in the wrong places."
        )
    return named


def _check_borders(graph: Mapping[str, Any], n_inputs: int, outputs: Sequence[str], what: str) -> int:
    """Check names, types and shapes of input and outputs; return the number of members, 0 for companions."""
    declared = {side: [_value_info(entry, f"{what}, {side}") for entry in graph[side]] for side in ("input", "output")}
    if declared["input"] != [(INPUT, (None, n_inputs))]:
        raise ArtifactRefused(
            f"{what}: inputs {declared['input']}, expected one float matrix {INPUT!r} with {n_inputs} columns."
        )
    members = dict(declared["output"]).get("p_members", ())
    n_members = members[1] if len(members) == 2 and members[1] is not None else 0
    expected = [(name, (None, n_members) if name == "p_members" else (None,)) for name in outputs]
    has_members = 1 <= n_members <= MAX_MEMBERS
    if declared["output"] != expected or has_members != ("p_members" in outputs):
        raise ArtifactRefused(f"{what}: outputs {declared['output']}, expected {', '.join(outputs)} as floats.")
    return n_members


def _value_info(data: bytes, what: str) -> tuple[str, tuple[int | None, ...]]:
    info = read_message(data, _VALUE_INFO, what)
    kind = read_message(_required(info, "type", what), _TYPE, what)
    tensor = read_message(_required(kind, "tensor_type", what), _TENSOR_TYPE, what)
    if tensor.get("elem_type") != _FLOAT:
        raise ArtifactRefused(f"{what}: element type {tensor.get('elem_type')}, expected float32.")
    shape = read_message(_required(tensor, "shape", what), _SHAPE, what)
    dimensions = (read_message(entry, _DIMENSION, what) for entry in shape["dim"])
    return read_text(info.get("name", b""), what), tuple(one.get("value") for one in dimensions)


def _check_constants(entries: Sequence[bytes], what: str) -> set[str]:
    names: set[str] = set()
    total = 0
    for number, entry in enumerate(entries):
        place = f"{what}, constant {number}"
        tensor = read_message(entry, _TENSOR, place)
        name = read_text(tensor.get("name", b""), place)
        _refuse_taken(name, names | {INPUT}, place)
        item = _ITEM_TYPES.get(tensor.get("data_type", 0))
        if item is None:
            raise ArtifactRefused(f"{place}: data type {tensor.get('data_type')}, expected float32, int64 or bool.")
        dims = [int(size) for size in tensor["dims"]]
        raw = tensor.get("raw_data", b"")
        if any(size < 0 for size in dims) or prod(dims) * item.itemsize != len(raw):
            raise ArtifactRefused(f"{place}: shape {dims} of {item} does not fit its {len(raw):,} bytes.")
        total += prod(dims)
        if item.kind == "f":
            _refuse_not_finite(np.frombuffer(raw, dtype=item), place)
        names.add(name)
    if total > MAX_CONSTANT_VALUES:
        raise ArtifactRefused(f"{what}: {total:,} constant values, allowed are {MAX_CONSTANT_VALUES:,}.")
    return names


def _check_node(data: bytes, known: set[str], n_inputs: int, what: str) -> int:
    """Check one node and add its output to ``known``; return how many tree nodes it holds."""
    node = read_message(data, _NODE, what)
    domain, operator = (read_text(node.get(part, b""), what) for part in ("domain", "op_type"))
    if operator not in OPERATORS.get(domain, ()):
        raise ArtifactRefused(f"{what}: operator {operator!r} of domain {domain!r} is not on the trust list.")
    for name in node["input"]:
        if read_text(name, what) not in known:
            raise ArtifactRefused(f"{what}: {operator} reads {name.decode()!r}, which nothing before it makes.")
    if len(node["output"]) != 1:
        raise ArtifactRefused(f"{what}: {operator} has {len(node['output'])} outputs, expected one.")
    output = read_text(node["output"][0], what)
    _refuse_taken(output, known, what)
    attributes = {}
    for entry in node["attribute"]:
        attribute = read_message(entry, _ATTRIBUTE, what)
        name = read_text(attribute.get("name", b""), what)
        if name in attributes:
            raise ArtifactRefused(f"{what}: attribute {name!r} occurs twice.")
        attributes[name] = attribute
        _refuse_not_finite(np.append(attribute["floats"], attribute.get("f", 0.0)), f"{what}, {name}", scalars=False)
    known.add(output)
    return _check_trees(attributes, n_inputs, what) if operator == "TreeEnsembleRegressor" else 0


def _check_trees(attributes: Mapping[str, Mapping[str, Any]], n_inputs: int, what: str) -> int:
    """Check that every tree ends, stays inside its arrays and asks for columns that exist; return its node count."""

    def values(name: str, form: str = "ints") -> np.ndarray:
        return np.asarray(attributes.get(name, {}).get(form, ()))

    trees, numbers, features = (values(f"nodes_{part}") for part in ("treeids", "nodeids", "featureids"))
    n = len(trees)
    children = [values(f"nodes_{side}nodeids") for side in ("true", "false")]
    modes = attributes.get("nodes_modes", {}).get("strings", [])
    others = [values("nodes_values", "floats"), values("nodes_missing_value_tracks_true"), modes]
    if n == 0 or n > MAX_TREE_NODES or any(len(one) != n for one in (numbers, features, *children, *others)):
        raise ArtifactRefused(f"{what}: the arrays of {n:,} tree nodes do not have one length, or are too many.")
    if set(modes) - {_BRANCH, _LEAF}:
        raise ArtifactRefused(f"{what}: tree nodes of kinds other than {_BRANCH.decode()} and {_LEAF.decode()}.")
    is_leaf = np.array([mode == _LEAF for mode in modes])
    starts = np.flatnonzero(np.diff(trees, prepend=trees[0] - 1))
    sizes = np.diff(np.append(starts, n))
    in_order = np.array_equal(trees, np.repeat(np.arange(len(starts)), sizes)) and np.array_equal(
        numbers, np.arange(n) - np.repeat(starts, sizes)
    )
    if not in_order:
        raise ArtifactRefused(f"{what}: tree nodes are not numbered one after the other.")
    size = np.repeat(sizes, sizes)
    for child in children:
        # A child has a higher number than its parent, so no walk through a tree comes back to where it was.
        if (~is_leaf & ((child <= numbers) | (child >= size))).any():
            raise ArtifactRefused(f"{what}: a tree node leads backwards or out of its tree.")
    if (~is_leaf & ((features < 0) | (features >= n_inputs))).any():
        raise ArtifactRefused(f"{what}: a tree asks for a column that is not among the {n_inputs} inputs.")
    targets = [values(f"target_{part}") for part in ("treeids", "nodeids", "ids")]
    weights = values("target_weights", "floats")
    fits = all(np.array_equal(one, own[is_leaf]) for one, own in zip(targets[:2], (trees, numbers), strict=True))
    if not fits or len(weights) != len(targets[0]) or not np.array_equal(targets[2], np.zeros(len(weights))):
        raise ArtifactRefused(f"{what}: the weights of the leaves do not belong to the leaves.")
    return n


def _refuse_not_finite(values: np.ndarray, what: str, *, scalars: bool = True) -> None:
    """One lone value may be NaN: that is how a graph says "missing"."""
    if not (scalars and values.size == 1) and not np.isfinite(values).all():
        raise ArtifactRefused(f"{what}: holds numbers that are not finite; its answers would be no probabilities.")


def _refuse_taken(name: str, taken: set[str], what: str) -> None:
    if not name or name in taken:
        raise ArtifactRefused(f"{what}: the name {name!r} is empty or made twice.")


def _required(message: Mapping[str, Any], name: str, what: str) -> bytes:
    if name not in message:
        raise ArtifactRefused(f"{what}: it has no {name}. The file is cut off, or no model.")
    return bytes(message[name])

"""A small collector of ONNX nodes, so that every member can say its own arithmetic once, beside its fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPSET = 18
ML_OPSET = 3
IR_VERSION = 9
"""Old enough for any onnxruntime of the last three years: the served file outlives the trainer's packages."""
ML_DOMAIN = "ai.onnx.ml"


@dataclass(frozen=True)
class GraphOutput:
    """A named float output; ``width`` is None for shape (n,), else the shape is (n, width)."""

    name: str
    width: int | None = None


@dataclass
class GraphBuilder:
    """Collects nodes and constants; state lives from the first node to `build`."""

    FLOAT = 1  # onnx.TensorProto.FLOAT, spelled out so that fitting does not import onnx
    _nodes: list[tuple[str, list[str], list[str], str, dict[str, Any]]] = field(default_factory=list)
    _constants: dict[str, np.ndarray] = field(default_factory=dict)
    _shared: dict[int, str] = field(default_factory=dict)

    def node(self, op: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any) -> str:
        """Add one node with one output; return the output's name."""
        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append((op, list(inputs), [name], domain, attributes))
        return name

    def constant(self, value: np.ndarray | np.generic) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self._constants)}"
        self._constants[name] = np.asarray(value)
        return name

    def once(self, part: Any, features: str) -> str:
        """Add a shared part (`Preprocessing`) at its first use; later uses get the same tensor."""
        if id(part) not in self._shared:
            self._shared[id(part)] = part.add_to_graph(self, features)
        return self._shared[id(part)]

    def name_output(self, tensor: str, name: str) -> None:
        """Give a tensor the public name of an output."""
        self._nodes.append(("Identity", [tensor], [name], "", {}))

    def build(
        self,
        *,
        input_name: str,
        n_inputs: int,
        outputs: Sequence[GraphOutput],
        metadata: Mapping[str, str],
    ) -> bytes:
        """Assemble, check and serialise the model.

        Raises
        ------
        onnx.checker.ValidationError
            If the graph is not valid ONNX: an error of this package, never of the data.
        """
        import onnx
        from onnx import helper, numpy_helper

        graph = helper.make_graph(
            [helper.make_node(op, i, o, domain=domain, **a) for op, i, o, domain, a in self._nodes],
            "catalyst_ml",
            [helper.make_tensor_value_info(input_name, onnx.TensorProto.FLOAT, ["n", n_inputs])],
            [
                helper.make_tensor_value_info(
                    o.name, onnx.TensorProto.FLOAT, ["n"] if o.width is None else ["n", o.width]
                )
                for o in outputs
            ],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)],
            ir_version=IR_VERSION,
            producer_name="catalyst-ml",
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

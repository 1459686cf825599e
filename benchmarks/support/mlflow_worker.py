"""Runs in MLflow's own environment: wrap an ONNX file as an MLflow model that takes named columns, or one tensor."""

from __future__ import annotations

import sys

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec


def main() -> None:
    source, target, form, *names = sys.argv[1:]
    model = onnx.load(source)
    if form == "columns":
        # Its frames of answers hold one value a row and output: it is spared the members' probabilities.
        kept = [output for output in model.graph.output if output.name == "p"]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        features = Schema([ColSpec("double", name, required=False) for name in names])
    else:
        features = Schema([TensorSpec(np.dtype(np.float32), (-1, len(names)), "features")])
    signature = ModelSignature(inputs=features)
    # One thread, as ours: on a busy machine a second one costs more than it brings.
    options = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    mlflow.onnx.save_model(
        model,
        target,
        signature=signature,
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options=options,
    )


if __name__ == "__main__":
    main()

"""Names of the served graph's input and outputs, and how it is opened; for readers that must not import a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

INPUT = "features"
OUTPUT_P = "p"
OUTPUT_P_RAW = "p_raw"
OUTPUT_P_MEMBERS = "p_members"


def single_thread_session(onnx_bytes: bytes) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU with one thread: on a busy machine OpenMP costs 28 ms at p99."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])

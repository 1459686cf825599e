"""A server needs the extra ``serve`` alone: what trains, plots or orchestrates must not be imported by it."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ("prefect", "torch", "sklearn", "xgboost", "matplotlib", "great_expectations", "onnx", "skl2onnx", "optuna")
SCRIPT = """
import sys
import catalyst_ml.cli.main
import catalyst_ml.cli.serve
import catalyst_ml.serving.app
import catalyst_ml.serving.assembly
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_server_imports_no_trainer_no_plotter_and_no_prefect() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "fastapi" in loaded
    assert "onnxruntime" not in FORBIDDEN
    assert loaded.isdisjoint(FORBIDDEN), sorted(loaded & set(FORBIDDEN))

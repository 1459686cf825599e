"""A server needs the extra ``serve`` alone, and loads frames and compiled kernels only where bars are worked on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import create_key
from tests.catalyst_ml.serving.small_versions import LINE, Promoter, tiny_onnx

FORBIDDEN = ("prefect", "torch", "sklearn", "xgboost", "matplotlib", "great_expectations", "onnx", "skl2onnx", "optuna")
OF_BARS = ("pandas", "pyarrow", "numba", "llvmlite", "scipy", "exchange_calendars")
"""Packages that only the process for bars may load: 200 MB."""
SCRIPT = """
import sys
import catalyst_ml.cli.main
import catalyst_ml.cli.serve
import catalyst_ml.serving.app
import catalyst_ml.serving.assembly
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
ANSWERING = """
import json, sys
from catalyst_ml.serving.assembly import assemble
from catalyst_ml.serving.health import health
from catalyst_ml.serving.page import render_page
from catalyst_ml.serving.requests import SignalRequest
from catalyst_ml.settings import Settings

def loaded():
    return sorted({name.partition(".")[0] for name in sys.modules})

server = assemble(Settings())
service = server.service
bars = [{"ts": "2026-11-25T21:00:00Z", "open": 5.0, "high": 5.0, "low": 5.0, "close": 5.0, "volume": 1.0}]
inputs = {"symbol": "A", "direction": 1, "features": {"rule_score": 65.0, "rule_agreement": 1.0}}
by_inputs = service.answer(SignalRequest.model_validate(inputs)).to_dict()
before = loaded()
by_bars = service.answer(SignalRequest.model_validate({"symbol": "A", "bars": bars})).to_dict()
page = render_page(service, None, "no trial")
state = health(service, in_full=True)["bars_process"]["state"]
server.stop()
print(json.dumps([by_inputs["signals"][0]["arm"], by_bars["signals"][0]["reason"], state, before, loaded()]))
"""


def test_the_server_imports_no_trainer_no_plotter_and_no_prefect() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "fastapi" in loaded
    assert "onnxruntime" not in FORBIDDEN
    assert loaded.isdisjoint(FORBIDDEN), sorted(loaded & set(FORBIDDEN))


def test_frames_and_kernels_are_loaded_by_the_process_for_bars_alone(tmp_path: Path) -> None:
    store, promoter = FolderStore(tmp_path / "artifacts"), Promoter(create_key(tmp_path / "keys" / "signing.pem"))
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.85)))
    named = {"CATALYST_HOME": str(tmp_path), "SERVE_DATASET": LINE.dataset, "SERVE_LABEL_VERSION": LINE.label_version}
    done = subprocess.run(
        [sys.executable, "-c", ANSWERING], capture_output=True, text=True, check=True, env={**os.environ, **named}
    )
    arm, reason, state, before, after = json.loads(done.stdout)
    said: dict[str, Any] = {"arm": arm, "reason": reason, "state": state}
    assert said == {"arm": "ml", "reason": "1 bars, patterns need 20", "state": "ready"}
    assert "onnxruntime" in before
    for loaded in (before, after):
        assert set(loaded).isdisjoint(OF_BARS), sorted(set(loaded) & set(OF_BARS))


def test_the_default_label_needs_no_frames_either() -> None:
    told = (
        "import sys; from catalyst_ml.serving.assembly import served_line; from catalyst_ml.settings import Settings; "
        "print(served_line(Settings()).label_version, 'pandas' in sys.modules)"
    )
    unset = {name: value for name, value in os.environ.items() if not name.startswith("SERVE_")}
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=unset)
    assert done.stdout.split() == ["symmetric-1.0atr-5s-5bp.b4d9e8", "False"]

"""Small versions for the tests of the registry and of its commands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.manifest import Manifest, TrainingWindow, VersionFacts, seal_manifest
from catalyst_ml.registry.versions import publish

LINE = ModelLine("demo", "1d", "atr1-h5-v1")
FILES = {"model.onnx": b"\x08\x01graph", "report.html": b"<html></html>"}
SEALED_AT = datetime(2026, 6, 7, 6, 30, tzinfo=UTC)
GATE = {
    "verdict": "promote",
    "checks": [
        {
            "name": "vs_rules",
            "title": "Beats the rules",
            "value": 2.5,
            "bound": 1.7,
            "passed": True,
            "reason": "t above",
        }
    ],
}


def make_facts(**changes: Any) -> VersionFacts:
    facts: dict[str, Any] = {
        **LINE._asdict(),
        "as_of": datetime(2026, 6, 5, 20, tzinfo=UTC),
        "procedure_id": "p-1",
        "procedure": {"members": ["base_rate", "xgboost"]},
        "feature_set_version": "f1",
        "inputs": ("rsi_14", "bb_position"),
        "data_fingerprint": "d" * 16,
        "training_window": TrainingWindow(
            start=datetime(2024, 6, 5, tzinfo=UTC), end=datetime(2026, 6, 5, tzinfo=UTC), n_rows=1000
        ),
        "code_commit": "abc",
        "packages": {"numpy": "2.4.6"},
        "seed": 7,
        "metrics": {"auc": 0.512, "skill": None},
        "gate": GATE,
        "parity": {"max_abs_diff": 1e-7},
    }
    return VersionFacts(**{**facts, **changes})


def sealed(files: dict[str, bytes] | None = None, **changes: Any) -> Manifest:
    return seal_manifest(make_facts(**changes), FILES if files is None else files, created_at=SEALED_AT)


def published(engine: Engine, root: Path, **changes: Any) -> str:
    """Publish a version into the folder ``root`` and return its id; ``seed`` alone makes another version."""
    return publish(engine, [FolderStore(root)], FILES, sealed(**changes), run_id="run-1").version_id

"""Tiny signed versions and a promoter that needs no database: documents as ``registry`` writes them, into any store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from catalyst_ml.features.events import CATALYST_INPUTS, MODEL_INPUTS, model_input_version
from catalyst_ml.models.graph_builder import GraphBuilder, GraphOutput
from catalyst_ml.registry.lines import ModelLine, version_key
from catalyst_ml.registry.manifest import (
    MANIFEST_NAME,
    MANIFEST_SIGNATURE,
    Manifest,
    TrainingWindow,
    VersionFacts,
    manifest_bytes,
    manifest_sha256,
    seal_manifest,
)
from catalyst_ml.registry.pointer_document import CEILINGS, Pointer, pointer_bytes, pointer_key
from catalyst_ml.registry.signatures import SIGNATURE_SUFFIX, Signer, signature_file

LINE = ModelLine("demo", "1d", "atr1-h5-v1")
INPUTS = (*MODEL_INPUTS, *CATALYST_INPUTS)
RULES = {"coefficients": [0.8, 0.1, -0.2, 0.3, -0.3], "base_rate": 0.49}


def tiny_onnx(p: float, *, inputs: Sequence[str] = INPUTS, slope: float = 0.0, **metadata: str) -> bytes:
    """A graph whose members are the constant ``p`` and ``p`` moved by ``slope`` times the first input."""
    graph = GraphBuilder()
    missing = graph.node("IsNaN", ["features"])
    known = graph.node("Where", [missing, graph.constant(np.float32(0.0)), "features"])
    weights = np.zeros((len(inputs), 2), dtype=np.float32)
    weights[0, 1] = slope
    start = np.full((1, 2), np.log(p / (1.0 - p)), dtype=np.float32)
    logits = graph.node("Add", [graph.node("MatMul", [known, graph.constant(weights)]), graph.constant(start)])
    p_members = graph.node("Sigmoid", [logits])
    mean = graph.node("MatMul", [p_members, graph.constant(np.full((2, 1), 0.5, dtype=np.float32))])
    axis = graph.constant(np.array([1], dtype=np.int64))
    graph.name_output(graph.node("Squeeze", [mean, axis]), "p")
    graph.name_output(graph.node("Squeeze", [mean, axis]), "p_raw")
    graph.name_output(p_members, "p_members")
    about = {
        "inputs": json.dumps(list(inputs)),
        "members": json.dumps(["base_rate", "logistic"]),
        "rules": json.dumps(RULES),
        "base_rate": json.dumps({"rate": 0.49}),
        "feature_set_version": model_input_version(),
        "label_version": LINE.label_version,
        "procedure_id": "p-1",
        "as_of": "2026-06-05T20:00:00+00:00",
    }
    outputs = [GraphOutput("p"), GraphOutput("p_raw"), GraphOutput("p_members", 2)]
    return graph.build(input_name="features", n_inputs=len(inputs), outputs=outputs, metadata={**about, **metadata})


def facts(line: ModelLine = LINE, **changes: Any) -> VersionFacts:
    given: dict[str, Any] = {
        **line._asdict(),
        "as_of": datetime(2026, 6, 5, 20, tzinfo=UTC),
        "procedure_id": "p-1",
        "procedure": {"members": ["base_rate", "logistic"], "rule_arm": "rules_intended_v213"},
        "feature_set_version": "f1",
        "inputs": INPUTS,
        "data_fingerprint": "d" * 16,
        "training_window": TrainingWindow(
            start=datetime(2024, 6, 5, tzinfo=UTC), end=datetime(2026, 6, 5, tzinfo=UTC), n_rows=1000
        ),
        "code_commit": "abc",
        "packages": {"numpy": "2.4.6"},
        "seed": 7,
        "metrics": {},
        "gate": {},
        "parity": {},
    }
    return VersionFacts(**{**given, **changes})


class Promoter:
    """Signs versions and pointers and writes them where it is told; the sequence rises by itself."""

    def __init__(self, signer: Signer, line: ModelLine = LINE) -> None:
        self.signer, self.line = signer, line
        self.sequence = 0

    def publish(self, store: Any, onnx: bytes, *, companions: bytes | None = None, **changes: Any) -> Manifest:
        """Write a version; returns its manifest."""
        graphs = {"model.onnx": onnx} | ({} if companions is None else {"companions.onnx": companions})
        manifest = seal_manifest(facts(self.line, **changes), graphs, created_at=datetime(2026, 6, 7, tzinfo=UTC))
        data = manifest_bytes(manifest)
        documents = {
            **graphs,
            MANIFEST_SIGNATURE: signature_file([self.signer.sign(data)]),
            MANIFEST_NAME: data,
        }
        for name, content in documents.items():
            store.put_bytes(version_key(manifest.version_id, name), content)
        return manifest

    def pointer(
        self, manifest: Manifest | None, *, stage: str = "100", sequence: int | None = None
    ) -> dict[str, bytes]:
        """Sign a pointer to a version, or to the rules; its documents, pointer first."""
        if sequence is None:
            self.sequence += 1
        stage = stage if manifest else "shadow"
        pointer = Pointer(
            **self.line._asdict(),
            channel="production",
            version_id=manifest.version_id if manifest else None,
            manifest_sha256=manifest_sha256(manifest) if manifest else None,
            sequence=sequence or self.sequence,
            stage=stage,  # type: ignore[arg-type]
            share=CEILINGS[stage],  # type: ignore[index]
            issued_at=datetime.now(UTC),
            reason="a test",
        )
        data = pointer_bytes(pointer)
        key = pointer_key(self.line, "production")
        return {key: data, key + SIGNATURE_SUFFIX: signature_file([self.signer.sign(data)])}

    def promote(self, store: Any, manifest: Manifest | None, **options: Any) -> dict[str, bytes]:
        """Point production of ``store`` to a version, or to the rules."""
        documents = self.pointer(manifest, **options)
        for key, data in reversed(list(documents.items())):
            store.put_bytes(key, data)
        return documents

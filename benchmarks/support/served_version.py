"""A signed version of realistic size, promoted in a home and on a line of its own: what a server is started on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.support.generated_rows import generate_rows
from catalyst_ml.evaluation.record import MEMBER_PREFIX
from catalyst_ml.features.events import MODEL_INPUTS, model_input_version
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.stock_days import build_stock_days
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.simulator import SimulatedMarket
from catalyst_ml.models.companion_graph import export_companions
from catalyst_ml.models.companions import default_companion_settings, fit_companions
from catalyst_ml.models.final_fit import FittedEnsemble, fit_final
from catalyst_ml.models.onnx_graph import export
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import default_procedure
from catalyst_ml.quality.novelty import graph_entry
from catalyst_ml.registry.artifact_store import ArtifactStore, FolderStore
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
from catalyst_ml.registry.pointer_document import Pointer, pointer_bytes, pointer_key
from catalyst_ml.registry.signatures import SIGNATURE_SUFFIX, Signer, create_key, signature_file

LINE = ModelLine("bench", "1d", "generated-1")
SEED = 11


@dataclass(frozen=True)
class MadeModel:
    """The served bytes, raw inputs that no fit has seen (n, n_inputs), and how many tree nodes are in them."""

    onnx: bytes
    X: np.ndarray
    n_nodes: int


def make_model(n_rows: int, *, profile: str) -> MadeModel:
    """Fit all five members at equal weights on generated rows under the names of the models' inputs."""
    generated = generate_rows(n_rows, len(MODEL_INPUTS), seed=SEED)
    rows = generated.rows
    named = {
        name: rows[source]
        for name, source in zip(MODEL_INPUTS, generated.inputs, strict=True)
        if name not in ("rule_score", "rule_agreement")
    }
    named["rule_agreement"] = (rows["rule_action"] * rows["direction"]).astype("float64")
    rows = rows.assign(**named)
    procedure = default_procedure(
        MODEL_INPUTS,
        feature_set_version=model_input_version(),
        label_version=LINE.label_version,
        profile=profile,  # type: ignore[arg-type]
    )
    oof = rows.head(0).assign(**{MEMBER_PREFIX + name: np.empty(0) for name in procedure.members})
    fitted: FittedEnsemble = fit_final(rows[~generated.judged], procedure, oof, as_of=generated.as_of, n_threads=2)
    onnx = export(fitted, metadata=graph_entry(rows[~generated.judged], MODEL_INPUTS))
    unseen = model_matrix(rows[generated.judged], procedure.inputs)[:2_000]
    return MadeModel(onnx, unseen, fitted.n_tree_nodes)


def make_companions(market: SimulatedMarket, *, seed: int = SEED) -> bytes:
    """Fit companions at their standing settings on the stock-days of a simulated market."""
    as_of = market.bars["ts"].max()
    panel = MarketPanel(adjust_for_splits(market.bars, as_of=as_of), market.instruments, market.news)
    rows = build_stock_days(panel, calendar=TradingCalendar(), as_of=as_of, n_threads=2).rows
    return export_companions(fit_companions(rows, default_companion_settings(seed=seed), n_threads=2))


class Home:
    """A server's home with a signing key; versions are published and promoted without a database."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.signer: Signer = create_key(root / "keys" / "signing.pem")
        self.store: ArtifactStore = FolderStore(root / "artifacts")
        self._sequence = 0

    def publish(self, onnx: bytes, *, companions: bytes | None = None, seed: int = 1) -> Manifest:
        moment = datetime(2026, 6, 5, 20, tzinfo=UTC)
        facts = VersionFacts(
            **LINE._asdict(), as_of=moment, procedure_id="bench", procedure={"rule_arm": "rules_intended_v213"},
            feature_set_version=model_input_version(), inputs=MODEL_INPUTS, data_fingerprint="generated",
            training_window=TrainingWindow(start=moment, end=moment, n_rows=1), code_commit="", packages={}, seed=seed,
            metrics={}, gate={}, parity={},
        )  # fmt: skip
        graphs = {"model.onnx": onnx} | ({} if companions is None else {"companions.onnx": companions})
        manifest = seal_manifest(facts, graphs, created_at=moment)
        data = manifest_bytes(manifest)
        signature = signature_file([self.signer.sign(data)])
        for name, content in (*graphs.items(), (MANIFEST_SIGNATURE, signature), (MANIFEST_NAME, data)):
            self.store.put_bytes(version_key(manifest.version_id, name), content)
        return manifest

    def promote(self, manifest: Manifest | None) -> int:
        """Point production to a version, or to the rules; returns the sequence."""
        self._sequence += 1
        stage = "100" if manifest else "shadow"
        pointer = Pointer(
            **LINE._asdict(), channel="production", version_id=manifest.version_id if manifest else None,
            manifest_sha256=manifest_sha256(manifest) if manifest else None, sequence=self._sequence,
            stage=stage, share=1.0 if manifest else 0.0, issued_at=datetime.now(UTC), reason="benchmark",
        )  # fmt: skip
        data, key = pointer_bytes(pointer), pointer_key(LINE, "production")
        self.store.put_bytes(key + SIGNATURE_SUFFIX, signature_file([self.signer.sign(data)]))
        self.store.put_bytes(key, data)
        return self._sequence


def shifted(onnx: bytes, factor: float) -> bytes:
    """The same graph with its probability times ``factor``: another version that gives other answers."""
    import onnx as library

    model = library.load_from_string(onnx)
    nodes = model.graph.node
    place = next(i for i, node in enumerate(nodes) if "p" in node.output)
    nodes[place].output[:] = ["unshifted" if name == "p" else name for name in nodes[place].output]
    model.graph.initializer.append(library.numpy_helper.from_array(np.float32(factor), "factor"))
    nodes.insert(place + 1, library.helper.make_node("Mul", ["unshifted", "factor"], ["p"]))
    return bytes(model.SerializeToString(deterministic=True))

"""Training a recorded version again: what was recorded, whether the surroundings are the same, and what came out."""

from __future__ import annotations

import hashlib
import os
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
from prefect import task

from catalyst_ml.errors import ArtifactRefused, ConfigurationError
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.manifest import Manifest
from catalyst_ml.registry.versions import get_version, load_version, read_manifest_of
from catalyst_ml.store import runs
from tasks.connections import artifact_stores, engine, load_bytes, load_frame, settings
from tasks.delivery import code_commit, to_parquet
from tasks.retrying import RETRY_TEMPORARY
from tasks.scope import scope_at

COMPARED_ROWS = 20_000


@task(name="read-recorded", timeout_seconds=300, **RETRY_TEMPORARY)
def read_recorded(version_id: str) -> dict[str, Any]:
    """Read the version's manifest and the parameters of the run that made it."""
    manifest, record = read_manifest_of(engine(), version_id), get_version(engine(), version_id)
    run = None if record.run_id is None else runs.find_run(engine(), record.run_id)
    if run is None:
        raise ConfigurationError(
            f"version {version_id}: the run {record.run_id} that made it is not in this database, so its parameters "
            "are not known. Rebuild it where it was trained, or with DATABASE_URL of that database."
        )
    return {
        "version_id": version_id,
        "manifest": manifest.model_dump(mode="json"),
        "parameters": run.parameters,
        "threads": manifest.threads or run.parameters.get("threads") or os.cpu_count() or 1,
        "threads_recorded": bool(manifest.threads or run.parameters.get("threads")),
        "pruned": record.pruned_at is not None,
    }


@task(name="compare-surroundings", timeout_seconds=600, **RETRY_TEMPORARY)
def compare_surroundings(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return the scope to train on, and every difference between then and now; refuse other data.

    Raises
    ------
    ConfigurationError
        If the bars, instruments or news that were known then are not those in this database: training on others
        would rebuild another version.
    """
    manifest = Manifest.model_validate(recorded["manifest"])
    scope = scope_at(pd.Timestamp(manifest.as_of), recorded["parameters"])
    if scope["fingerprint"] != manifest.data_fingerprint:
        raise ConfigurationError(
            f"version {manifest.version_id} was trained on data of fingerprint {manifest.data_fingerprint[:12]}, this "
            f"database now gives {scope['fingerprint'][:12]} for the same moment: rows were added with an earlier "
            "known_at, or deleted, or it is another database. On other data it cannot be rebuilt."
        )
    return scope | {"differences": _differences(manifest, recorded)}


def with_recorded_procedure(plan: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """Return the plan with the procedure of then: defaults and standing settings may have moved since."""
    manifest = recorded["manifest"]
    return plan | {"procedure": manifest["procedure"], "procedure_id": manifest["procedure_id"]}


@task(name="compare-rebuilt", timeout_seconds=1800)
def compare_rebuilt(
    recorded: dict[str, Any],
    scope: dict[str, Any],
    rows: dict[str, Any],
    combined: dict[str, Any],
    model: dict[str, Any],
) -> dict[str, Any]:
    """Compare the files that training makes with those of the manifest, by their hashes; keep the rebuilt model."""
    manifest = Manifest.model_validate(recorded["manifest"])
    rebuilt = {"model.onnx": load_bytes(model["onnx"]), "record.parquet": to_parquet(load_frame(combined["record"]))}
    expected = {entry.name: entry.sha256 for entry in manifest.files}
    files = [
        {
            "name": name,
            "expected": expected.get(name, ""),
            "got": hashlib.sha256(data).hexdigest(),
            "same": hashlib.sha256(data).hexdigest() == expected.get(name),
        }
        for name, data in rebuilt.items()
    ]
    folder = FolderStore(settings().home.path("rebuilt"))
    for name, data in rebuilt.items():
        folder.put_bytes(f"{manifest.version_id}/{name}", data)
    identical = all(file["same"] for file in files)
    return {
        "version_id": manifest.version_id,
        "identical": identical,
        "files": files,
        "differences": scope["differences"],
        "largest_difference": None if identical else _largest_difference(manifest, rebuilt["model.onnx"], rows),
        "threads": recorded["threads"],
        "folder": str(folder.root / manifest.version_id),
    }


def _differences(manifest: Manifest, recorded: dict[str, Any]) -> list[str]:
    found = []
    now = code_commit()
    if now != manifest.code_commit:
        found.append(f"code: {manifest.code_commit} then, {now} now")
    elif now.endswith("-dirty"):
        found.append(f"code: {now} both times, with uncommitted changes that nobody recorded")
    for name, then in sorted(manifest.packages.items()):
        present = _installed(name)
        if present != then:
            found.append(f"package {name}: {then} then, {present} now")
    if not recorded["threads_recorded"]:
        found.append(f"threads: not recorded then, {recorded['threads']} now")
    for member, device in sorted(manifest.trained_on.items()):
        if device != "cpu":
            found.append(f"{member}: trained on {device} then; devices agree in their metrics, not in bits")
    return found


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _largest_difference(manifest: Manifest, rebuilt: bytes, rows: dict[str, Any]) -> float | None:
    """Largest difference of p on the newest rows; None if the stored model is gone."""
    from catalyst_ml.models.onnx_graph import INPUT, OUTPUT_P
    from catalyst_ml.models.parity import single_thread_session

    try:
        stored = load_version(engine(), artifact_stores(), manifest.version_id).files["model.onnx"]
    except ArtifactRefused:
        return None
    X = model_matrix(load_frame(rows["training"]).tail(COMPARED_ROWS), manifest.inputs)
    then, now = (single_thread_session(graph).run([OUTPUT_P], {INPUT: X})[0] for graph in (stored, rebuilt))
    return float(np.abs(then.astype("float64") - now.astype("float64")).max())

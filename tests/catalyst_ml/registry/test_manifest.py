"""The manifest: one spelling, one identity, and no file that differs from what it says."""

import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst_ml.errors import ArtifactRefused, DataContractError
from catalyst_ml.registry.manifest import (
    MAX_ARTIFACT_BYTES,
    Manifest,
    canonical_json,
    manifest_bytes,
    manifest_sha256,
    read_manifest,
    seal_manifest,
    verify_files,
)
from tests.catalyst_ml.registry.registered_versions import FILES, SEALED_AT, make_facts, sealed


def verify(manifest: Manifest, files: dict[str, bytes]) -> dict[str, bytes]:
    return verify_files(manifest, names=files, read=files.__getitem__)


def test_the_version_id_names_lineage_day_and_content() -> None:
    manifest = sealed()
    stem, digest = manifest.version_id.rsplit("-", 1)
    assert stem == "demo-1d-20260605"
    content = json.loads(manifest_bytes(manifest))
    del content["version_id"], content["created_at"]
    assert digest == hashlib.sha256(canonical_json(content)).hexdigest()[:8]


def test_the_same_content_sealed_later_is_the_same_version() -> None:
    later = seal_manifest(make_facts(), FILES, created_at=SEALED_AT + timedelta(days=1))
    assert later.version_id == sealed().version_id


def test_another_time_zone_of_the_same_moment_is_the_same_version() -> None:
    new_york = timezone(-timedelta(hours=4))
    assert sealed(as_of=datetime(2026, 6, 5, 16, tzinfo=new_york)).version_id == sealed().version_id


@pytest.mark.parametrize("change", [{"seed": 8}, {"metrics": {"auc": 0.513}}, {"inputs": ("rsi_14",)}])
def test_other_content_is_another_version(change: dict[str, Any]) -> None:
    assert sealed(**change).version_id != sealed().version_id


def test_where_members_were_trained_is_content_and_versions_sealed_before_keep_their_spelling() -> None:
    before, recorded = sealed(), sealed(trained_on={"forest": "cuda", "logistic": "cpu"})
    assert b"trained_on" not in manifest_bytes(before)
    assert read_manifest(manifest_bytes(recorded)).trained_on == {"forest": "cuda", "logistic": "cpu"}
    assert recorded.version_id != before.version_id


def test_a_changed_file_is_another_version() -> None:
    assert sealed({**FILES, "model.onnx": b"other"}).version_id != sealed().version_id


def test_stored_bytes_read_back_to_the_same_manifest() -> None:
    manifest = sealed()
    assert read_manifest(manifest_bytes(manifest), sha256=manifest_sha256(manifest)) == manifest


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON_VALUES, max_size=4))
def test_any_finite_metrics_survive_the_round_trip_byte_for_byte(metrics: dict[str, Any]) -> None:
    stored = manifest_bytes(sealed(metrics=metrics))
    assert manifest_bytes(read_manifest(stored)) == stored


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_carry_is_named(value: float) -> None:
    with pytest.raises(DataContractError, match=r"metrics\.by_month\[1\]"):
        sealed(metrics={"by_month": [0.5, value]})


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(seed=8),
        lambda d: d.update(surprise=1),
        lambda d: d.pop("gate"),
        lambda d: d.update(schema_version=2),
        lambda d: d.update(as_of="2026-06-05T20:00:00"),
        lambda d: d["files"].reverse(),
        lambda d: d["files"][0].update(name="../../etc/passwd"),
        lambda d: d["files"][0].update(bytes=MAX_ARTIFACT_BYTES + 1),
    ],
)
def test_an_edited_manifest_is_refused(edit: Any) -> None:
    document = json.loads(manifest_bytes(sealed()))
    edit(document)
    with pytest.raises(ArtifactRefused):
        read_manifest(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\x80\x04pickle", b"<html>", b"null"])
def test_what_is_not_a_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactRefused):
        read_manifest(data)


def test_the_digest_of_the_registry_decides() -> None:
    with pytest.raises(ArtifactRefused, match="the registry says"):
        read_manifest(manifest_bytes(sealed()), sha256="0" * 64)


def test_verified_files_are_returned_as_they_were_hashed() -> None:
    assert verify(sealed(), FILES) == FILES
    assert verify(sealed(), {**FILES, "manifest.json": b"not read here"}) == FILES


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({"model.onnx": FILES["model.onnx"]}, r"missing files \['report.html'\]"),
        ({**FILES, "extra.json": b"{}"}, r"extra files \['extra.json'\]"),
        ({**FILES, "model.onnx": b"\x08\x02graph"}, "model.onnx: 7 bytes"),
        ({**FILES, "model.onnx": b"\x08\x01grap"}, "model.onnx: 6 bytes"),
    ],
)
def test_files_that_differ_from_the_manifest_are_refused(found: dict[str, bytes], problem: str) -> None:
    with pytest.raises(ArtifactRefused, match=problem):
        verify(sealed(), found)


@pytest.mark.parametrize(
    "name",
    ["model.pkl", "model.joblib", "model.pt", "model", "a/model.onnx", "..onnx", "manifest.json", "modèl.onnx", ""],
)
def test_names_with_paths_and_formats_off_the_trust_list_are_refused(name: str) -> None:
    with pytest.raises(ArtifactRefused):
        sealed({name: b"x"})


def test_a_file_above_64_mb_is_refused() -> None:
    with pytest.raises(ArtifactRefused, match="67,108,865 bytes"):
        sealed({"model.onnx": bytes(MAX_ARTIFACT_BYTES + 1)})

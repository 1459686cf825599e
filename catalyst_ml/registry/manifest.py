"""The manifest of a version: what it is, from which data, code and parameters, and the hash of every file.

The manifest is stored as canonical JSON, ``manifest.json`` beside the files it names; the database row keeps
the SHA-256 of exactly these bytes. The detached signature beside it, ``manifest.sig``, covers the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from catalyst_ml.errors import ArtifactRefused, DataContractError
from catalyst_ml.registry.artifact_store import MAX_ARTIFACT_BYTES

MANIFEST_NAME = "manifest.json"
MANIFEST_SIGNATURE = "manifest.sig"
"""Detached signature over the stored bytes of the manifest; beside it, never in its list of files."""
ALLOWED_SUFFIXES: tuple[str, ...] = (".onnx", ".json", ".html", ".parquet", ".md")
"""The trust list: formats that are read without running anything they contain."""

_FIRST_EXPONENT = 1e16
"""From here on Python spells a float with an exponent."""


def _utc_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


UtcTime = Annotated[AwareDatetime, PlainSerializer(_utc_text, when_used="json")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Record):
    """One file of a version: plain name, SHA-256 and size in bytes."""

    name: FileName
    sha256: Sha256
    bytes: int = Field(ge=0, le=MAX_ARTIFACT_BYTES)


class TrainingWindow(_Record):
    """First and last decision time of the rows trained on, and how many there were."""

    start: UtcTime
    end: UtcTime
    n_rows: int = Field(ge=0)


class VersionFacts(_Record):
    """What is known of a version before its files are sealed: everything but identity, time and hashes."""

    dataset: Name
    timeframe: Name
    label_version: Name
    as_of: UtcTime
    procedure_id: Name
    procedure: dict[str, JsonValue]
    feature_set_version: str
    inputs: tuple[str, ...]
    data_fingerprint: str
    training_window: TrainingWindow
    code_commit: str
    packages: dict[str, str]
    seed: int
    metrics: dict[str, JsonValue]
    gate: dict[str, JsonValue]
    parity: dict[str, JsonValue]
    parent_version_id: str | None = None
    trained_on: dict[str, str] = Field(default_factory=dict)
    """Device that really trained each member, ``cpu`` or ``cuda``; empty in versions sealed before it was recorded."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of the fit, which a rebuild repeats; None in versions sealed before it was recorded."""


class Manifest(VersionFacts):
    """A sealed version. Its ``version_id`` ends in eight hex digits of its own content, so an edit shows."""

    schema_version: Literal[1] = 1
    version_id: Name
    created_at: UtcTime
    files: tuple[FileEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _identity_is_content(self) -> Self:
        expected = _version_id(_document(self, without={"version_id", "created_at"}))
        if self.version_id != expected:
            raise ValueError(f"version_id is {self.version_id!r}, the content says {expected!r}")
        names = [entry.name for entry in self.files]
        if names != sorted(set(names)):
            raise ValueError(f"file names must be sorted and unique, got {names}")
        return self


def seal_manifest(facts: VersionFacts, files: Mapping[str, bytes], *, created_at: datetime) -> Manifest:
    """Return the manifest of ``files``: hashes, sizes and the version id that follows from the content.

    The same facts and bytes give the same ``version_id`` whenever they are sealed: ``created_at`` does not
    count as content.

    Raises
    ------
    ArtifactRefused
        If a file name is not plain, its format is not on the trust list, or it is too large.
    DataContractError
        If a metric or another number is not finite, which JSON cannot carry; use None for "missing".
    """
    for name, data in files.items():
        _refuse_file(name, len(data))
    entries = [
        {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(files.items())
    ]
    content = {**_document(facts), "schema_version": 1, "files": entries}
    identity = {"version_id": _version_id(content), "created_at": _utc_text(created_at)}
    return Manifest.model_validate_json(canonical_json({**content, **identity}))


def canonical_json(value: Any) -> bytes:
    """Return the one JSON spelling of ``value``: sorted keys, no spaces, UTF-8, finite numbers only.

    Negative zero and whole floats that JSON writes with an exponent are spelled as PostgreSQL's ``jsonb``
    gives them back, so that the registered document hashes like the stored file.

    >>> canonical_json({"b": -0.0, "a": None, "c": 1e16})
    b'{"a":null,"b":0.0,"c":10000000000000000}'

    Raises
    ------
    DataContractError
        If a number is not finite; names its place.
    """
    plain = _plain(value, "")
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the canonical bytes that are stored and hashed."""
    return canonical_json(_document(manifest))


def manifest_sha256(manifest: Manifest) -> str:
    """Return the SHA-256 of the stored bytes, in hex."""
    return hashlib.sha256(manifest_bytes(manifest)).hexdigest()


def read_manifest(data: bytes, *, sha256: str | None = None) -> Manifest:
    """Parse stored bytes.

    Raises
    ------
    ArtifactRefused
        If the digest is not ``sha256``, the bytes are not a manifest of a schema we know, a field is missing,
        unknown or malformed, or the version id does not follow from the content.
    """
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ArtifactRefused(f"{MANIFEST_NAME}: SHA-256 is {digest}, the registry says {sha256}. Never load it.")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactRefused(
            f"{MANIFEST_NAME}: {error.error_count()} problems, first at {place}: {first['msg']}. "
            "It was edited, damaged or written by another release; publish the version again."
        ) from error


def verify_files(
    manifest: Manifest,
    *,
    names: Iterable[str],
    read: Callable[[str], bytes],
    only: Collection[str] | None = None,
) -> dict[str, bytes]:
    """Return the bytes of every file of ``manifest``, each checked; what is returned is what was hashed.

    Parameters
    ----------
    names : iterable of str
        Names that lie in the version's folder, those of manifest and signature among them or not.
    read : callable
        Name to bytes; raises ``UnknownVersion`` or ``ArtifactRefused`` by itself where it must.
    only : collection of str, optional
        Files that are needed; the others are not read, and may be missing, as in a server's own cache.

    Raises
    ------
    ArtifactRefused
        If a file is missing, extra, of another size or hash, too large, of a format that is not on the trust
        list, or named with a path.
    """
    expected = {entry.name for entry in manifest.files}
    for entry in manifest.files:
        _refuse_file(entry.name, entry.bytes)
    needed = expected if only is None else set(only)
    found = set(names) - {MANIFEST_NAME, MANIFEST_SIGNATURE}
    if found - expected or needed - (found & expected):
        raise ArtifactRefused(
            f"version {manifest.version_id}: missing files {sorted(needed - (found & expected))}, "
            f"extra files {sorted(found - expected)}. Never load it; publish it again."
        )
    verified = {}
    for entry in (entry for entry in manifest.files if entry.name in needed):
        data = read(entry.name)
        digest = hashlib.sha256(data).hexdigest()
        if (len(data), digest) != (entry.bytes, entry.sha256):
            raise ArtifactRefused(
                f"version {manifest.version_id}, {entry.name}: {len(data):,} bytes, SHA-256 {digest[:12]}…; "
                f"the manifest says {entry.bytes:,}, {entry.sha256[:12]}…. Never load it; publish it again."
            )
        verified[entry.name] = data
    return verified


def _refuse_file(name: str, size: int) -> None:
    plain = name.isascii() and name[:1].isalnum() and all(c.isalnum() or c in "_.-" for c in name)
    if not plain or name in (MANIFEST_NAME, MANIFEST_SIGNATURE):
        raise ArtifactRefused(
            f"file name {name!r}: expected a plain name, no path, not {MANIFEST_NAME} or its signature."
        )
    if not name.endswith(ALLOWED_SUFFIXES):
        raise ArtifactRefused(f"file {name!r}: only {', '.join(ALLOWED_SUFFIXES)} may be part of a version.")
    if size > MAX_ARTIFACT_BYTES:
        raise ArtifactRefused(f"file {name!r}: {size:,} bytes, at most {MAX_ARTIFACT_BYTES:,} are allowed.")


def _document(facts: VersionFacts, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return what is spelled and hashed: no field that older releases did not write."""
    document = facts.model_dump(mode="json", exclude=set(without))
    if not facts.trained_on:
        del document["trained_on"]
    if facts.threads is None:
        del document["threads"]
    return document


def _version_id(content: Mapping[str, Any]) -> str:
    day = content["as_of"][:10].replace("-", "")
    digest = hashlib.sha256(canonical_json(content)).hexdigest()
    return f"{content['dataset']}-{content['timeframe']}-{day}-{digest[:8]}"


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{place}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise DataContractError(f"manifest field {place!r} is {value}. Use None for what is missing.")
    return int(value) if abs(value) >= _FIRST_EXPONENT else value + 0.0

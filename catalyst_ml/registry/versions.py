"""Versions: immutable artifact sets, published blobs first and row last, loaded only after every hash agrees.

A version exists when its row in ``catalyst_ml.versions`` is committed; files without a row belong to a
publication that never finished, and nothing loads them.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from catalyst_ml.errors import ArtifactRefused, CatalystError, UnknownVersion
from catalyst_ml.registry.artifact_store import ArtifactStore
from catalyst_ml.registry.lines import ModelLine, line_of, version_key
from catalyst_ml.registry.manifest import (
    MANIFEST_NAME,
    MANIFEST_SIGNATURE,
    Manifest,
    manifest_bytes,
    manifest_sha256,
    read_manifest,
    verify_files,
)
from catalyst_ml.registry.signatures import MAX_SIGNATURE_BYTES, Signer, read_signatures, signature_file
from catalyst_ml.store.engine import database_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionRecord:
    """One row of ``catalyst_ml.versions``; times are UTC-aware. ``pruned_at``: since when its files are deleted."""

    version_id: str
    line: ModelLine
    procedure_id: str
    as_of: datetime
    run_id: str | None
    manifest_sha256: str
    artifact_uri: str
    created_at: datetime
    pruned_at: datetime | None = None


@dataclass(frozen=True)
class LoadedVersion:
    """A version whose every byte agreed with its manifest, and the manifest with the registry."""

    record: VersionRecord
    manifest: Manifest
    files: Mapping[str, bytes]


def publish(
    engine: Engine,
    stores: Sequence[ArtifactStore],
    files: Mapping[str, bytes],
    manifest: Manifest,
    *,
    run_id: str | None = None,
    signer: Signer | None = None,
    address: ArtifactStore | None = None,
) -> Manifest:
    """Store a sealed version everywhere and register it; the row moves last.

    Per store: the files, ``manifest.json``, its signature; then everything is read back and verified as a loader would.
    Idempotent: publishing the same content again checks and mends the stored copies and returns the manifest
    that was registered first. Two publishers of one version take turns.

    Parameters
    ----------
    stores : sequence of ArtifactStore
        All of them must hold the verified version before it exists.
    files : mapping of str to bytes
        Exactly the files that ``manifest`` was sealed with.
    signer : Signer, optional
        Without it the copies carry no signature, and no server loads them before they are signed.
    address : ArtifactStore, optional
        Whose address is recorded, if not the last store's: of one that the version is sent to later.

    Raises
    ------
    ArtifactRefused
        If ``files`` do not match ``manifest``, or a store does not give back what was written.
    SourceUnavailable
        If a store or the database does not answer; no version exists then, and publishing can be repeated.
    """
    if not stores:
        raise ArtifactRefused(f"version {manifest.version_id}: there is no artifact store to publish it to.")
    with database_errors(engine), engine.begin() as connection:
        _take_turns(connection, manifest.version_id)  # two manifests must not cross on their way
        registered = _registered_manifest(connection, manifest.version_id)
        published = registered or manifest
        verify_files(published, names=files, read=files.__getitem__)
        for store in stores:
            _store_verified(store, files, published, signer)
        if registered is None:
            _insert(connection, manifest, (address or stores[-1]).uri(version_key(manifest.version_id)), run_id)
        else:
            connection.execute(text(_KEPT), {"version_id": manifest.version_id})
    log.info("version %s is published in %d stores", published.version_id, len(stores))
    return published


def get_version(engine: Engine, version_id: str) -> VersionRecord:
    """Return the row of ``version_id``.

    Raises
    ------
    UnknownVersion
        If there is none; names the nearest known ids.
    """
    with database_errors(engine), engine.connect() as connection:
        return find_version(connection, version_id)


def find_version(connection: Connection, version_id: str, *, lock: bool = False) -> VersionRecord:
    """``get_version`` inside a transaction that is already open; with ``lock`` nobody prunes it before that ends."""
    query = f"{_SELECT} WHERE version_id = :id" + (" FOR SHARE" if lock else "")
    row = connection.execute(text(query), {"id": version_id}).first()
    if row is None:
        raise _unknown(connection, version_id)
    return _record(row)


def list_versions(
    engine: Engine,
    *,
    dataset: str | None = None,
    timeframe: str | None = None,
    label_version: str | None = None,
) -> list[VersionRecord]:
    """Return the versions that match every given filter, newest ``as_of`` first."""
    filters = {"dataset": dataset, "timeframe": timeframe, "label_version": label_version}
    given = {name: value for name, value in filters.items() if value is not None}
    where = " AND ".join(f"{name} = :{name}" for name in given) or "true"
    query = text(f"{_SELECT} WHERE {where} ORDER BY as_of DESC, created_at DESC, version_id")
    with database_errors(engine), engine.connect() as connection:
        return [_record(row) for row in connection.execute(query, given)]


def read_manifest_of(engine: Engine, version_id: str) -> Manifest:
    """Return the manifest as registered, without touching an artifact store.

    Raises
    ------
    UnknownVersion
        If the version is not registered.
    ArtifactRefused
        If the registered document is not a manifest whose id follows from its content.
    """
    with database_errors(engine), engine.connect() as connection:
        manifest = _registered_manifest(connection, version_id)
        if manifest is None:
            raise _unknown(connection, version_id)
    return manifest


def load_version(engine: Engine, stores: Sequence[ArtifactStore], version_id: str) -> LoadedVersion:
    """Return a version's bytes from the first store whose copy is whole.

    Raises
    ------
    UnknownVersion
        If the version is not registered.
    ArtifactRefused
        If no store holds a copy in which every hash agrees; says what is wrong in each, or that it was pruned.
    """
    record = get_version(engine, version_id)
    refuse_pruned(record)
    problems = []
    for store in stores:
        try:
            manifest, files = _read_verified(store, version_id, sha256=record.manifest_sha256)
        except CatalystError as error:
            log.warning("version %s is not usable from %s: %s", version_id, store.uri("versions"), error)
            problems.append(str(error))
            continue
        return LoadedVersion(record, manifest, files)
    raise ArtifactRefused(f"version {version_id}: no store holds a whole copy. " + " | ".join(problems))


def copy_version(
    engine: Engine, sources: Sequence[ArtifactStore], target: ArtifactStore, version_id: str, signer: Signer
) -> None:
    """Bring a registered version to ``target``: files, manifest, signature, then read back and verified.

    Files that are there with the right bytes are written again; publishers and copiers of one version take turns.

    Raises
    ------
    UnknownVersion, ArtifactRefused, SourceUnavailable
        As ``load_version`` and ``publish``.
    """
    loaded = load_version(engine, sources, version_id)
    with database_errors(engine), engine.begin() as connection:
        _take_turns(connection, version_id)
        _store_verified(target, loaded.files, loaded.manifest, signer)


def require_signed_copy(connection: Connection, store: ArtifactStore, version_id: str, signer: Signer) -> None:
    """Check that ``store`` holds the registered manifest, and sign it there if our signature is missing or old.

    Raises
    ------
    UnknownVersion
        If the version is not in the store (yet), or not registered.
    ArtifactRefused
        If what lies there is not the registered manifest.
    """
    manifest = _registered_manifest(connection, version_id)
    if manifest is None:
        raise _unknown(connection, version_id)
    data = manifest_bytes(manifest)
    if store.get_bytes(version_key(version_id, MANIFEST_NAME)) != data:
        raise ArtifactRefused(
            f"{store.uri(version_key(version_id))}: its {MANIFEST_NAME} is not the registered one. "
            "Send the version again with `catalyst-ml registry send`."
        )
    key = version_key(version_id, MANIFEST_SIGNATURE)
    try:
        stored = read_signatures(key, store.get_bytes(key, max_bytes=MAX_SIGNATURE_BYTES))
    except (UnknownVersion, ArtifactRefused):
        stored = ()
    if not any(signer.public_keys.verifies(data, one) for one in stored):
        store.put_bytes(key, signature_file([signer.sign(data)]))


def refuse_pruned(record: VersionRecord) -> None:
    """Raise if the files of a version were pruned.

    Raises
    ------
    ArtifactRefused
        With the day and the way back.
    """
    if record.pruned_at is not None:
        raise ArtifactRefused(
            f"version {record.version_id}: its files were pruned on {record.pruned_at:%Y-%m-%d}; the table keeps its "
            f"manifest. `catalyst-ml models rebuild {record.version_id}` trains it again from the recorded data."
        )


_COLUMNS = (
    "version_id, dataset, timeframe, label_version, procedure_id, as_of, run_id, manifest_sha256, artifact_uri,"
    " created_at, pruned_at"
)
_SELECT = f"SELECT {_COLUMNS} FROM catalyst_ml.versions"  # noqa: S608 - constants of this module
_INSERT = f"""
    INSERT INTO catalyst_ml.versions ({_COLUMNS}, manifest)
    VALUES (:version_id, :dataset, :timeframe, :label_version, :procedure_id, :as_of, :run_id, :sha256,
        :uri, :created_at, NULL, CAST(:manifest AS jsonb))
"""  # noqa: S608 - constants of this module
_KEPT = "UPDATE catalyst_ml.versions SET pruned_at = NULL WHERE version_id = :version_id AND pruned_at IS NOT NULL"


def _take_turns(connection: Connection, version_id: str) -> None:
    """Wait for other writers of the version's files; the lock lives and dies with the transaction."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended(:version_id, 0))"
    connection.execute(text(lock), {"version_id": version_id})


def _store_verified(
    store: ArtifactStore, files: Mapping[str, bytes], manifest: Manifest, signer: Signer | None
) -> None:
    for name, data in sorted(files.items()):
        store.put_bytes(version_key(manifest.version_id, name), data)
    data = manifest_bytes(manifest)
    store.put_bytes(version_key(manifest.version_id, MANIFEST_NAME), data)
    if signer is not None:
        store.put_bytes(version_key(manifest.version_id, MANIFEST_SIGNATURE), signature_file([signer.sign(data)]))
    _read_verified(store, manifest.version_id, sha256=manifest_sha256(manifest))


def _read_verified(store: ArtifactStore, version_id: str, *, sha256: str) -> tuple[Manifest, dict[str, bytes]]:
    manifest = read_manifest(store.get_bytes(version_key(version_id, MANIFEST_NAME)), sha256=sha256)
    folder = version_key(version_id) + "/"
    names = [key.removeprefix(folder) for key in store.list_keys(folder)]
    sizes = {entry.name: entry.bytes for entry in manifest.files}
    files = verify_files(
        manifest,
        names=names,
        read=lambda name: store.get_bytes(version_key(version_id, name), max_bytes=sizes[name]),
    )
    return manifest, files


def _registered_manifest(connection: Connection, version_id: str) -> Manifest | None:
    # As text, so that the manifest's own parser reads the numbers, not the driver.
    query = "SELECT manifest::text AS document, manifest_sha256 FROM catalyst_ml.versions WHERE version_id = :id"
    row = connection.execute(text(query), {"id": version_id}).first()
    if row is None:
        return None
    manifest = read_manifest(row.document.encode())
    if manifest_sha256(manifest) != row.manifest_sha256:
        raise ArtifactRefused(f"version {version_id}: the registered manifest and its SHA-256 do not match.")
    return manifest


def _insert(connection: Connection, manifest: Manifest, uri: str, run_id: str | None) -> None:
    connection.execute(
        text(_INSERT),
        {
            **line_of(manifest)._asdict(),
            "version_id": manifest.version_id,
            "procedure_id": manifest.procedure_id,
            "as_of": manifest.as_of,
            "run_id": run_id,
            "manifest": manifest_bytes(manifest).decode(),
            "sha256": manifest_sha256(manifest),
            "uri": uri,
            "created_at": manifest.created_at,
        },
    )


def _record(row: Row[Any]) -> VersionRecord:
    return VersionRecord(
        version_id=row.version_id,
        line=ModelLine(row.dataset, row.timeframe, row.label_version),
        procedure_id=row.procedure_id,
        as_of=row.as_of.astimezone(UTC),
        run_id=row.run_id,
        manifest_sha256=row.manifest_sha256,
        artifact_uri=row.artifact_uri,
        created_at=row.created_at.astimezone(UTC),
        pruned_at=row.pruned_at and row.pruned_at.astimezone(UTC),
    )


def _unknown(connection: Connection, version_id: str) -> UnknownVersion:
    known = connection.execute(text("SELECT version_id FROM catalyst_ml.versions")).scalars().all()
    if not known:
        return UnknownVersion(f"version {version_id!r} is not known: no version is registered yet. Train one.")
    nearest = difflib.get_close_matches(version_id, known, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(nearest)}?" if nearest else "List the versions to see what exists."
    return UnknownVersion(f"version {version_id!r} is not among the {len(known)} registered ones. {hint}")

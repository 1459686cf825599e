"""What a server without a database needs: follow a channel's pointer to a model whose every byte is proved.

The chain: the pinned public key signs the pointer and the manifest; the pointer names the manifest's SHA-256; the
manifest names size and SHA-256 of ``model.onnx`` (and ``companions.onnx``); and a graph is itself read before any
session is made of it.
Whatever does not hold is refused with the reason, and the caller keeps the last good model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from catalyst_ml.errors import ArtifactRefused, CatalystError, SourceUnavailable, UnknownVersion
from catalyst_ml.registry.graph_check import COMPANIONS_NAME, MODEL_NAME, check_companions, check_graph
from catalyst_ml.registry.lines import ModelLine, line_of, version_key
from catalyst_ml.registry.manifest import (
    MANIFEST_NAME,
    MANIFEST_SIGNATURE,
    Manifest,
    manifest_bytes,
    read_manifest,
    verify_files,
)
from catalyst_ml.registry.pointer_document import MAX_POINTER_BYTES, Pointer, pointer_key, read_pointer
from catalyst_ml.registry.signatures import (
    MAX_SIGNATURE_BYTES,
    SIGNATURE_SUFFIX,
    PublicKeys,
    require_signature,
)

log = logging.getLogger(__name__)

MAX_MANIFEST_BYTES = 4 * 1024 * 1024


class ReadableStore(Protocol):
    """The reading half of an ``ArtifactStore``; see there for what is raised."""

    def get_bytes(self, key: str, *, max_bytes: int = ...) -> bytes: ...

    def list_keys(self, prefix: str) -> list[str]: ...

    def uri(self, key: str) -> str: ...


@dataclass(frozen=True)
class FollowedPointer:
    """The newest valid pointer of a channel.

    ``documents`` are the stored bytes by key, to be kept in a cache of the server's own. ``problems`` says what was
    wrong with other stores' copies.
    """

    pointer: Pointer
    documents: Mapping[str, bytes]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServedModel:
    """What a channel serves: the rules (``manifest`` and ``onnx`` None), or a model of which every byte is proved.

    ``documents`` are all stored bytes by key, pointer first; written in reverse order into another store, they can be
    followed there. ``source`` is the address the model came from. ``companions`` is the graph beside the model, if the
    version has one.
    """

    pointer: Pointer
    manifest: Manifest | None
    onnx: bytes | None
    documents: Mapping[str, bytes] = field(repr=False)
    source: str | None = None
    problems: tuple[str, ...] = ()
    companions: bytes | None = None

    @property
    def is_rules(self) -> bool:
        """True if the channel is on the rules by decision."""
        return self.manifest is None


def follow(
    stores: Sequence[ReadableStore],
    public_key: PublicKeys,
    line: ModelLine,
    *,
    channel: str = "production",
    last_sequence: int = 0,
) -> ServedModel:
    """Return what ``channel`` of ``line`` serves now: ``follow_pointer``, then ``load_served``.

    Raises
    ------
    UnknownVersion, SourceUnavailable, ArtifactRefused
        As these two. In every case the caller keeps what it served before.
    """
    followed = follow_pointer(stores, public_key, line, channel=channel, last_sequence=last_sequence)
    return load_served(stores, public_key, followed)


def follow_pointer(
    stores: Sequence[ReadableStore],
    public_key: PublicKeys,
    line: ModelLine,
    *,
    channel: str = "production",
    last_sequence: int = 0,
) -> FollowedPointer:
    """Return the valid pointer with the highest sequence among ``stores``; two small reads a store.

    Parameters
    ----------
    last_sequence : int
        Sequence of the last pointer that was followed; kept by the caller, also over restarts. A lower one is refused
        as a replay, the same one is returned.

    Raises
    ------
    UnknownVersion
        If every store answers that there is no pointer: nothing was ever promoted, the rules serve.
    ArtifactRefused
        If a pointer was found but none is valid and new enough; says what is wrong with each.
    SourceUnavailable
        If no store answers with a pointer and one did not answer at all.
    """
    found: list[FollowedPointer] = []
    failures: list[CatalystError] = []
    for store in stores:
        try:
            found.append(_read_pointer(store, public_key, line, channel, last_sequence))
        except CatalystError as error:
            failures.append(error)
    refusals = [error for error in failures if not isinstance(error, UnknownVersion)]
    for refusal in refusals:
        log.warning("channel %s of %s: a pointer is not usable: %s", channel, line, refusal)
    if found:
        newest = max(found, key=lambda one: one.pointer.sequence)
        return FollowedPointer(newest.pointer, newest.documents, tuple(map(str, refusals)))
    raise _sorted_failure(f"channel {channel} of {line}: no usable pointer", failures)


def load_served(stores: Sequence[ReadableStore], public_key: PublicKeys, followed: FollowedPointer) -> ServedModel:
    """Return the model that a pointer names, from the first store whose copy holds.

    Only the graphs are read; of the version's other files it is checked that no stranger lies among them.

    Raises
    ------
    ArtifactRefused
        If a copy was found, and in every one of them a signature, digest, size, name or the graph is not as it must be.
    SourceUnavailable
        If no store has a good copy and one did not answer.
    """
    pointer = followed.pointer
    if pointer.version_id is None:
        return ServedModel(pointer, None, None, followed.documents, None, followed.problems)
    failures: list[CatalystError] = []
    for store in stores:
        try:
            manifest, documents = _read_version(store, public_key, pointer)
        except CatalystError as error:
            log.warning("version %s is not usable from %s: %s", pointer.version_id, store.uri("versions"), error)
            failures.append(error)
            continue
        return ServedModel(
            pointer,
            manifest,
            documents[version_key(pointer.version_id, MODEL_NAME)],
            {**followed.documents, **documents},
            store.uri(version_key(pointer.version_id)),
            (*followed.problems, *map(str, failures)),
            documents.get(version_key(pointer.version_id, COMPANIONS_NAME)),
        )
    failure = _sorted_failure(f"version {pointer.version_id}: no store holds a usable copy", failures)
    # A pointer to a version that no store has: not "nothing was ever promoted", but a copy that is not whole.
    raise ArtifactRefused(str(failure)) if isinstance(failure, UnknownVersion) else failure


def _read_pointer(
    store: ReadableStore, public_keys: PublicKeys, line: ModelLine, channel: str, last_sequence: int
) -> FollowedPointer:
    key = pointer_key(line, channel)
    documents = {}
    for name, limit in ((key, MAX_POINTER_BYTES), (key + SIGNATURE_SUFFIX, MAX_SIGNATURE_BYTES)):
        try:
            documents[name] = store.get_bytes(name, max_bytes=limit)
        except UnknownVersion:
            if name == key:
                raise
            raise ArtifactRefused(f"{store.uri(key)} has no signature beside it. Never follow it.") from None
    pointer = read_pointer(documents[key], documents[key + SIGNATURE_SUFFIX], public_keys, line, channel=channel)
    if pointer.sequence < last_sequence:
        raise ArtifactRefused(
            f"{store.uri(key)}: sequence {pointer.sequence}, already seen was {last_sequence}. "
            "An old pointer was put back, or the store lags behind; the newer one stays in force."
        )
    return FollowedPointer(pointer, documents)


def _read_version(store: ReadableStore, public_keys: PublicKeys, pointer: Pointer) -> tuple[Manifest, dict[str, bytes]]:
    version_id = str(pointer.version_id)
    manifest_key, signature_key = (version_key(version_id, name) for name in (MANIFEST_NAME, MANIFEST_SIGNATURE))
    data = store.get_bytes(manifest_key, max_bytes=MAX_MANIFEST_BYTES)
    try:
        signature = store.get_bytes(signature_key, max_bytes=MAX_SIGNATURE_BYTES)
    except UnknownVersion:
        raise ArtifactRefused(f"{store.uri(manifest_key)} has no signature beside it. Never load it.") from None
    require_signature(manifest_key, data, signature, public_keys)
    manifest = read_manifest(data, sha256=str(pointer.manifest_sha256))
    if manifest_bytes(manifest) != data:
        raise ArtifactRefused(f"{manifest_key}: not spelled as we spell it (a key twice, spaces). Never load it.")
    if (manifest.version_id, line_of(manifest)) != (version_id, pointer.line):
        raise ArtifactRefused(
            f"{manifest_key}: it is version {manifest.version_id} of {line_of(manifest)}, the pointer names "
            f"{version_id} of {pointer.line}. Never load it."
        )
    folder = version_key(version_id) + "/"
    names = [key.removeprefix(folder) for key in store.list_keys(folder)]
    sizes = {entry.name: entry.bytes for entry in manifest.files}
    verified = verify_files(
        manifest,
        names=names,
        read=lambda name: store.get_bytes(version_key(version_id, name), max_bytes=sizes[name]),
        only={MODEL_NAME} | ({COMPANIONS_NAME} & sizes.keys()),
    )
    check_graph(verified[MODEL_NAME], inputs=manifest.inputs, what=version_key(version_id, MODEL_NAME))
    if COMPANIONS_NAME in verified:
        check_companions(verified[COMPANIONS_NAME], what=version_key(version_id, COMPANIONS_NAME))
    graphs = {version_key(version_id, name): graph for name, graph in verified.items()}
    return manifest, {**graphs, signature_key: signature, manifest_key: data}


def _sorted_failure(what: str, failures: Sequence[CatalystError]) -> CatalystError:
    """One error for all stores, of the class whose reaction is the right one."""
    text = f"{what}. " + " | ".join(map(str, failures))
    for kind in (ArtifactRefused, SourceUnavailable):
        if any(isinstance(error, kind) for error in failures):
            return kind(text)
    others = [error for error in failures if not isinstance(error, UnknownVersion)]
    return type(others[0])(text) if others else UnknownVersion(text)

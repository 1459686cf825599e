"""Getting versions and pointers to every store, now or later: this machine's folder first, others by the outbox.

A version exists when the folder of this machine and the database have it. What another store did not take is noted and
sent at the next start of a run, or by ``catalyst-ml registry send``: versions first, pointers last.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from catalyst_ml.errors import CatalystError, SourceUnavailable, UnknownVersion
from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import ArtifactStore
from catalyst_ml.registry.lines import version_key
from catalyst_ml.registry.manifest import MANIFEST_NAME, Manifest
from catalyst_ml.registry.outbox import Note, Outbox, address
from catalyst_ml.registry.pointer import renew_pointers
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.registry.versions import copy_version, get_version, publish

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SendReport:
    """What one round did: in words what was sent, and the notes that still wait."""

    sent: tuple[str, ...]
    waiting: tuple[Note, ...]


def publish_and_send(
    engine: Engine,
    stores: Sequence[ArtifactStore],
    outbox: Outbox,
    signer: Signer,
    files: Mapping[str, bytes],
    manifest: Manifest,
    *,
    run_id: str | None = None,
) -> Manifest:
    """Publish a sealed version to the first store, then send it to the others; only the first can fail this.

    Idempotent as ``publish``, whose errors it raises.
    """
    home, *others = stores
    for store in others:
        # Noted before the row is there: killed from here on, the version is sent at the next start.
        outbox.add_version(store, manifest.version_id)
    published = publish(engine, [home], files, manifest, run_id=run_id, signer=signer, address=stores[-1])
    for note in outbox.notes():
        if note.version_id == published.version_id:
            _send_version(engine, stores, outbox, signer, note)
    return published


def send_waiting(
    engine: Engine,
    stores: Sequence[ArtifactStore],
    outbox: Outbox,
    signer: Signer,
    *,
    replace_key: bool = False,
    above: int = 0,
) -> SendReport:
    """Send what waits, versions first; then issue and send whatever pointer is missing anywhere.

    A store that does not answer is not asked a second time in one round. Notes for stores that are not configured any
    more stay, and are shown. With ``replace_key`` this machine's key takes over channels that another one signed; with
    ``above`` pointers get numbers above what a server has seen.
    """
    down = _note_missing(engine, stores, outbox)
    before = outbox.notes()
    for note in before:
        if note.version_id is not None and note.store not in down:
            error = _send_version(engine, stores, outbox, signer, note)
            if isinstance(error, SourceUnavailable):
                down.add(note.store)
    reached = [store for store in stores if address(store) not in down]
    reason = "the signing key was replaced" if replace_key else "issued again at the next start"
    issued = renew_pointers(engine, reached, signer, reason=reason, outbox=outbox, replace_key=replace_key, above=above)
    waiting = outbox.notes()
    names = {note.name for note in waiting}
    sent = [f"{note.subject} to {note.store}" for note in before if note.name not in names]
    sent += [f"pointer {one.pointer.sequence} of {one.pointer.channel} of {one.pointer.line}, which was missing"
             for one in issued if one.is_new]  # fmt: skip
    return SendReport(tuple(sent), tuple(waiting))


def _note_missing(engine: Engine, stores: Sequence[ArtifactStore], outbox: Outbox) -> set[str]:
    """Note the channels' versions that a store lacks, as one that was configured later; return who did not answer."""
    held = {state.version_id for state in channels.current_channels(engine)} - {None}
    down = set()
    for store in stores[1:]:
        try:
            for version_id in sorted(map(str, held)):
                if not store.exists(version_key(version_id, MANIFEST_NAME)):
                    outbox.add_version(store, version_id)
        except CatalystError as error:
            log.warning("%s does not answer: %s", address(store), error)
            down.add(address(store))
    return down


def waiting_sentences(notes: Sequence[Note]) -> list[str]:
    """What waits, one sentence each, for a summary."""
    return [
        f"{note.subject} waits for {note.store} since {note.added_at:%Y-%m-%d %H:%M} UTC"
        + (f" ({note.attempts} tries): {note.last_problem}" if note.last_problem else "")
        for note in notes
    ]


def _send_version(
    engine: Engine, stores: Sequence[ArtifactStore], outbox: Outbox, signer: Signer, note: Note
) -> CatalystError | None:
    target = next((store for store in stores if address(store) == note.store), None)
    if target is None:
        return None
    try:
        if get_version(engine, str(note.version_id)).pruned_at is None:
            sources = [store for store in stores if store is not target]
            copy_version(engine, sources, target, str(note.version_id), signer)
    except UnknownVersion:
        # Its publication never came to its row, so there is nothing to send; publishing again notes it again.
        log.info("outbox: version %s was never registered and is not sent", note.version_id)
    except CatalystError as error:
        outbox.failed(note, error)
        return error
    outbox.remove(note)
    return None

"""What still has to reach a store: one small durable note each, in ``CATALYST_HOME/outbox``.

A note names what is to be sent and where to; it holds no copy. The bytes come from the folder of this machine and from
the database when they are sent, so a note that waited long never sends what is out of date. A note is written before
the work that it stands for and removed after it: a killed process leaves a note too many, never one too few.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalyst_ml.errors import CatalystError
from catalyst_ml.registry.artifact_store import ArtifactStore, FolderStore
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.manifest import Name, UtcTime, canonical_json
from catalyst_ml.settings import Settings

log = logging.getLogger(__name__)

_MAX_NOTE_BYTES = 16_384
_MAX_PROBLEM = 2_000


class Note(BaseModel):
    """One thing to send to one store: a version, or the newest pointer of a channel (``channel`` is set then)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    store: str = Field(description="Address of the store's root, as its uri() says it.")
    version_id: Name | None = None
    dataset: Name | None = None
    timeframe: Name | None = None
    label_version: Name | None = None
    channel: Name | None = None
    added_at: UtcTime
    attempts: int = Field(default=0, ge=0)
    last_problem: str = ""

    @property
    def line(self) -> ModelLine:
        """The line of a pointer."""
        return ModelLine(str(self.dataset), str(self.timeframe), str(self.label_version))

    @property
    def subject(self) -> str:
        """What is to be sent, in words."""
        return f"version {self.version_id}" if self.version_id else f"pointer of {self.channel} of {self.line}"

    @property
    def name(self) -> str:
        """File name of the note: the same thing for the same store is one note."""
        content = canonical_json([self.store, self.version_id, *self.line, self.channel])
        kind = "version" if self.version_id else "pointer"
        return f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}.json"


class Outbox:
    """The notes of this machine; safe to use from several processes."""

    def __init__(self, folder: Path) -> None:
        self._store = FolderStore(folder.parent)
        self._prefix = folder.name

    def add_version(self, store: ArtifactStore, version_id: str) -> Note:
        """Note that a version must go to ``store``; an older note of it stays as it is."""
        return self._add(Note(store=address(store), version_id=version_id, added_at=datetime.now(UTC)))

    def add_pointer(self, store: ArtifactStore, line: ModelLine, channel: str) -> Note:
        """Note that the newest pointer of a channel must go to ``store``."""
        return self._add(Note(store=address(store), **line._asdict(), channel=channel, added_at=datetime.now(UTC)))

    def remove(self, note: Note) -> None:
        """Forget a note: it was sent, or there is nothing to send any more."""
        self._store.delete(self._key(note))

    def failed(self, note: Note, error: CatalystError) -> None:
        """Keep the note, and with it why it could not be sent this time."""
        log.warning("%s waits in the outbox for %s: %s", note.subject, note.store, error)
        changes = {"attempts": note.attempts + 1, "last_problem": str(error)[:_MAX_PROBLEM]}
        self._put(note.model_copy(update=changes))

    def notes(self) -> list[Note]:
        """Everything that waits: versions first, then pointers, each oldest first."""
        notes = [note for key in self._store.list_keys(self._prefix) if (note := self._read(key)) is not None]
        return sorted(notes, key=lambda note: (note.version_id is None, note.added_at, note.name))

    def _add(self, note: Note) -> Note:
        key = self._key(note)
        earlier = self._read(key) if self._store.exists(key) else None
        if earlier is None:
            self._put(note)
        return earlier or note

    def _put(self, note: Note) -> None:
        self._store.put_bytes(self._key(note), canonical_json(note.model_dump(mode="json")))

    def _key(self, note: Note) -> str:
        return f"{self._prefix}/{note.name}"

    def _read(self, key: str) -> Note | None:
        try:
            return Note.model_validate_json(self._store.get_bytes(key, max_bytes=_MAX_NOTE_BYTES))
        except (ValidationError, CatalystError) as error:
            # Sent and removed meanwhile by another process, or not ours. What is missing in a store is found again
            # from the database by `catalyst-ml registry send`, so no note is worth failing for.
            log.warning("outbox: note %s cannot be read and is left alone: %s", key, error)
            return None


def open_outbox(settings: Settings) -> Outbox:
    """Return the outbox of this machine; nothing is created before the first note."""
    return Outbox(settings.home.path("outbox"))


def address(store: ArtifactStore) -> str:
    """Which store a note is for: where its versions lie."""
    return store.uri("versions")

"""What says which files make up a snapshot of a source table, and how it comes to the disk whole.

A manifest is stored under the hash of its content; ``current.json`` names the one that holds and is replaced last.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from catalyst_ml.store.source_partitions import UNDATED, sync_folder

log = logging.getLogger(__name__)

TRACE_MODULUS = 1 << 64


class Day(BaseModel):
    """Rows of one day, and the sum of their traces modulo 2^64."""

    model_config = ConfigDict(frozen=True)

    rows: int
    trace: int


class Month(BaseModel):
    """One file: a month (``2025-05``), days of it that came later (``2025-05.2``), or the rows ``undated``."""

    model_config = ConfigDict(frozen=True)

    path: str
    sha256: str
    rows: int
    days: dict[str, Day]


class Manifest(BaseModel):
    """A snapshot: which files hold which days of which table. Equal content has an equal hash."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    database: str
    table: str
    identity: str
    columns: tuple[tuple[str, str], ...]
    time_column: str | None
    months: dict[str, Month]

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(month.rows for month in self.months.values())

    @property
    def days(self) -> dict[str, Day]:
        """All days of all months."""
        return {name: day for month in self.months.values() for name, day in month.days.items()}


class Pointer(BaseModel):
    """Which manifest is the current one, those before it, and when all days and the newest were last compared."""

    manifest: str
    history: tuple[str, ...]
    checked_at: datetime
    pulled_at: datetime


def month_of(name: str) -> str:
    """Month of a day, or of a file of days; rows without a time have the month ``undated``."""
    return UNDATED if name == UNDATED else name[:7]


def folder_name(name: str) -> str:
    """A folder for any name: readable, and never the same for two."""
    plain = re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-.")[:60]
    return plain if plain == name else f"{plain or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def as_json(manifest: Manifest) -> bytes:
    """Bytes of a manifest; equal ones are equal."""
    return manifest.model_dump_json().encode()


def is_there(folder: Path, month: Month) -> bool:
    """True if the file of a month has not been removed."""
    return (folder / month.path).is_file()


def manifest_path(folder: Path, pointer: Pointer | None) -> Path | None:
    """File of the current manifest, if there is a pointer to one."""
    return folder / f"{pointer.manifest}.json" if pointer else None


def read_pointer(folder: Path) -> Pointer | None:
    """The pointer of a table's folder; ``None`` if there is none that can be read."""
    path = folder / "current.json"
    if not path.is_file():
        return None
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except ValidationError:
        log.warning("%s is damaged and left aside; the table is read whole", path)
        return None


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that is whole once it has its name."""
    temporary = path.with_name(f".{uuid4().hex}.json")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)

"""Monthly Parquet files of a source table: written beside each other, whole when they have their name.

A file is written under a temporary name, flushed to the disk, and renamed to the hash of its content.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalyst_ml.errors import ArtifactRefused

UNDATED = "undated"
"""Month of rows without a usable time, and of tables without times."""

_ROWS_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 32 << 20
_DAY_US = 86_400_000_000
NO_DAY = np.iinfo(np.int64).min


class PartitionWriter:
    """One month on its way to the disk; either :meth:`finish` or :meth:`discard` ends it."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema
        self.rows = 0
        self._waiting: list[pa.RecordBatch] = []
        self._n_waiting = self._bytes_waiting = 0
        self._temporary = folder / f".{uuid4().hex}.parquet"
        texts = [field.name for field in schema if pa.types.is_string(field.type) and field.name not in ("id", "uuid")]
        # Without statistics, which nobody asks for: finding them costs half as much as compressing. Decision 0017.
        self._writer = pq.ParquetWriter(
            self._temporary, schema, compression="lz4", use_dictionary=texts, write_statistics=False
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows; they are written in groups of a size that compresses well."""
        if batch.num_rows == 0:
            return
        self._waiting.append(batch)
        self.rows += batch.num_rows
        self._n_waiting += batch.num_rows
        self._bytes_waiting += batch.get_total_buffer_size()
        if self._n_waiting >= _ROWS_AT_ONCE or self._bytes_waiting >= _BYTES_AT_ONCE:
            self._flush()

    def finish(self) -> tuple[str, str]:
        """Make the file durable under its content's hash; returns (file name, SHA-256)."""
        self._flush()
        self._writer.close()
        with self._temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        name = f"{digest}.parquet"
        self._temporary.replace(self.folder / name)
        sync_folder(self.folder)
        return name, digest

    def discard(self) -> None:
        """Leave nothing behind."""
        self._writer.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self.schema))
            self._waiting = []
            self._n_waiting = self._bytes_waiting = 0


def day_numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Days since 1970 of a column of dates or timestamps, int64, by its own clock; ``NO_DAY`` where it is missing."""
    if pa.types.is_date(column.type):
        days = pc.cast(column, pa.int32()).cast(pa.int64())
        return np.asarray(pc.fill_null(days, NO_DAY))
    micros = pc.cast(column, pa.int64())
    missing = np.asarray(pc.is_null(micros))
    return np.where(missing, NO_DAY, np.asarray(pc.fill_null(micros, 0)) // _DAY_US)


def day_name(number: int) -> str:
    """``YYYY-MM-DD`` of a day since 1970."""
    return str(np.datetime64(number, "D"))


def day_number(name: str) -> int:
    """Inverse of :func:`day_name`."""
    return int(np.datetime64(name, "D").astype(np.int64))


def verified_file(folder: Path, name: str, digest: str) -> Path:
    """Path of a partition whose content is what was stored.

    Raises
    ------
    ArtifactRefused
        If the file is gone or was altered.
    """
    path = folder / name
    remedy = "Pull again; what is missing is fetched anew."
    try:
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ArtifactRefused(f"source snapshot {name} is gone from {folder}. {remedy}") from error
    if found != digest:
        raise ArtifactRefused(
            f"source snapshot {name} in {folder}: expected sha256 {digest[:12]}…, found {found[:12]}…; it was altered. "
            f"Remove it. {remedy}"
        )
    return path


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

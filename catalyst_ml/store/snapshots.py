"""Frames and small results on disk, under the hash of their content; tasks hand each other the references.

A file is written under a temporary name, flushed to the disk and renamed, so that what has its final name is
whole. It is verified when it is read. Parquet and JSON only; nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from catalyst_ml.errors import ArtifactRefused, DataContractError, SourceUnavailable
from catalyst_ml.frames import FrameSchema

_DTYPES_KEY = b"catalyst_ml.dtypes"


class FrameRef(BaseModel):
    """Small, JSON-friendly reference to a stored frame; equal frames of one name have equal references."""

    model_config = ConfigDict(frozen=True)

    path: str  # below the store's root
    sha256: str
    rows: int
    schema_name: str
    schema_version: int


class BytesRef(BaseModel):
    """Reference to stored bytes: a model graph, a page, a JSON result."""

    model_config = ConfigDict(frozen=True)

    path: str  # below the store's root
    sha256: str
    n_bytes: int


class SnapshotStore:
    """Content-addressed files below ``root``; made on the first write. Safe for several writers at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, frame: pd.DataFrame, schema: FrameSchema | None = None) -> FrameRef:
        """Store a frame and return its reference; storing it again writes nothing new.

        Parameters
        ----------
        name : str
            What the frame is, e.g. ``bars``; names its folder, and its schema if none is given.
        frame : DataFrame
            With a default index; the index is not stored.
        schema : FrameSchema, optional
            Contract to validate against before writing.

        Raises
        ------
        DataContractError
            If the frame breaks ``schema``, has an index of its own or a column type Parquet cannot hold.
        SourceUnavailable
            If the disk is full; no file is left behind.
        """
        if schema is not None:
            schema.validate(frame)
        if not frame.index.equals(pd.RangeIndex(len(frame))):
            raise DataContractError(f"snapshot {name!r}: the index would be lost. Call reset_index first.")
        table = _as_table(name, frame)
        path, digest = self._write(name, ".parquet", lambda handle: _write_parquet(table, handle))
        return FrameRef(
            path=path,
            sha256=digest,
            rows=len(frame),
            schema_name=schema.name if schema else name,
            schema_version=schema.version if schema else 1,
        )

    def get(self, ref: FrameRef) -> pd.DataFrame:
        """The frame as it was stored: values, dtypes and order.

        Raises
        ------
        ArtifactRefused
            If the file is gone or its content is not what was stored.
        """
        table = pq.read_table(pa.BufferReader(self._read(ref.path, ref.sha256)))
        dtypes = json.loads(table.schema.metadata[_DTYPES_KEY])
        return table.replace_schema_metadata(None).to_pandas().astype(dtypes)

    def put_json(self, name: str, value: Any) -> BytesRef:
        """Store a JSON value (dicts with text keys, lists, numbers, texts); keys are sorted, NaN is refused.

        Raises
        ------
        DataContractError
            If the value is no JSON.
        """
        try:
            content = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=1).encode()
        except (TypeError, ValueError) as error:
            raise DataContractError(f"result {name!r} is no JSON: {error}. Convert it, write None for NaN.") from error
        return self.put_bytes(name, content, suffix=".json")

    def get_json(self, ref: BytesRef) -> Any:
        """The value as it was stored. Raises like :meth:`get`."""
        return json.loads(self._read(ref.path, ref.sha256))

    def put_bytes(self, name: str, content: bytes, *, suffix: str) -> BytesRef:
        """Store bytes that have a format of their own, e.g. ``suffix=".onnx"``. Raises like :meth:`put`."""
        path, digest = self._write(name, suffix, lambda handle: handle.write(content))
        return BytesRef(path=path, sha256=digest, n_bytes=len(content))

    def get_bytes(self, ref: BytesRef) -> bytes:
        """The bytes as they were stored. Raises like :meth:`get`."""
        return self._read(ref.path, ref.sha256)

    def discard(self, name: str) -> None:
        """Remove all files stored under ``<name>.<anything>``; a task whose stored result names one runs again."""
        for folder in self.root.glob(f"{_checked_name(name)}.*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, name: str, suffix: str, write: Callable[[IO[bytes]], object]) -> tuple[str, str]:
        if not re.fullmatch(r"\.[a-z0-9.]+", suffix):
            raise DataContractError(f"snapshot {name + suffix!r}: expected a suffix like .html.")
        folder = self.root / _checked_name(name)
        temporary = folder / f".{uuid4().hex}{suffix}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as handle:
                write(handle)
                handle.flush()
                os.fsync(handle.fileno())
            with temporary.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            temporary.replace(folder / f"{digest}{suffix}")
            _sync_folder(folder)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise SourceUnavailable(
                f"{folder}: the disk is full while writing {name!r}. Nothing half-written is kept; free some space and "
                "run the same command again."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        return f"{name}/{digest}{suffix}", digest

    def _read(self, path: str, digest: str) -> bytes:
        remedy = "Run again with refresh_from set to the task that makes it."
        try:
            content = (self.root / path).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactRefused(f"snapshot {path} is gone from {self.root}. {remedy}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise ArtifactRefused(
                f"snapshot {path} in {self.root}: expected sha256 {digest[:12]}…, found {found[:12]}…; it was altered. "
                f"Remove it. {remedy}"
            )
        return content


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        raise DataContractError(f"snapshot {name!r}: expected lower-case letters, digits, '_', '-' and '.'.")
    return name


def _as_table(name: str, frame: pd.DataFrame) -> pa.Table:
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataContractError(f"snapshot {name!r}: {error}. Give the column one plain type.") from error
    # pandas' own metadata names its version, which would change the bytes of an equal frame.
    dtypes = {str(column): str(dtype) for column, dtype in frame.dtypes.items()}
    return table.replace_schema_metadata({_DTYPES_KEY: json.dumps(dtypes, sort_keys=True).encode()})


def _write_parquet(table: pa.Table, handle: IO[bytes]) -> None:
    pq.write_table(table, handle, compression="zstd", version="2.6", store_schema=True, row_group_size=1 << 20)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

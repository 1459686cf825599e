"""PostgreSQL's binary COPY format for rows of fixed-size numbers, to and from NumPy without text in between.

Printing and parsing decimal floats is most of the cost of a textual COPY; here a row is a packed record.
Texts travel as positions in a short list (symbols, sources).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from catalyst_ml.errors import DataContractError

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_EPOCH_SHIFT_US = 946_684_800_000_000
"""Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's timestamps start."""


def to_postgres_time(unix_us: np.ndarray) -> np.ndarray:
    """Microseconds since 1970 (int64) as PostgreSQL counts them, since 2000."""
    return unix_us - _EPOCH_SHIFT_US


def from_postgres_time(postgres_us: np.ndarray) -> np.ndarray:
    """Inverse of :func:`to_postgres_time`."""
    return postgres_us + _EPOCH_SHIFT_US


def pack(columns: Sequence[tuple[str, np.ndarray]]) -> io.BytesIO:
    """Rows as a complete binary COPY stream.

    Parameters
    ----------
    columns : sequence of (type, values)
        Type is ``i4``, ``i8`` or ``f8``; all arrays have shape (n_rows,).
    """
    record = _record([kind for kind, _ in columns])
    rows = np.empty(len(columns[0][1]), dtype=record)
    rows["n"] = len(columns)
    for i, (kind, values) in enumerate(columns):
        rows[f"size{i}"] = int(kind[1])
        rows[f"value{i}"] = values
    return io.BytesIO(_SIGNATURE + rows.tobytes() + _TRAILER)


def unpack(stream: bytes, kinds: Sequence[str]) -> list[np.ndarray]:
    """Columns of a binary COPY stream whose values are all present, in machine byte order.

    Raises
    ------
    DataContractError
        If a value is missing or of another size, so that rows are not of equal length.
    """
    record = _record(kinds)
    body = memoryview(stream)[len(_SIGNATURE) : -len(_TRAILER)]
    whole = len(body) % record.itemsize == 0
    rows = np.frombuffer(body, dtype=record) if whole else np.empty(0, dtype=record)
    if not whole or any((rows[f"size{i}"] != int(kind[1])).any() for i, kind in enumerate(kinds)):
        raise DataContractError("a stored row holds a missing value where the schema allows none; check the table.")
    return [rows[f"value{i}"].astype(f"={kind}") for i, kind in enumerate(kinds)]


def _record(kinds: Sequence[str]) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = [("n", ">i2")]
    for i, kind in enumerate(kinds):
        fields += [(f"size{i}", ">i4"), (f"value{i}", f">{kind}")]
    return np.dtype(fields)

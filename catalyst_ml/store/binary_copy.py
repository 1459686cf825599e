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
from sqlalchemy import Connection

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


def pack(columns: Sequence[tuple[str, np.ndarray | int]]) -> io.BytesIO:
    """Rows as a complete binary COPY stream.

    Parameters
    ----------
    columns : sequence of (type, values)
        Type is ``i4``, ``i8``, ``f8`` or ``b1`` (boolean); values are arrays of shape (n_rows,), or one value for
        all rows.
    """
    record = _record([kind for kind, _ in columns])
    n_rows = next(len(values) for _, values in columns if isinstance(values, np.ndarray))
    template = np.zeros((), dtype=record)
    template["n"] = len(columns)
    for i, (kind, values) in enumerate(columns):
        template[f"size{i}"] = int(kind[1])
        if not isinstance(values, np.ndarray):
            template[f"value{i}"] = values
    rows = np.full(n_rows, template)
    for i, (_, values) in enumerate(columns):
        if isinstance(values, np.ndarray):
            rows[f"value{i}"] = values
    return io.BytesIO(b"".join((_SIGNATURE, rows.data, _TRAILER)))


def copy_out(connection: Connection, query: str, parameters: dict[str, Any]) -> bytes:
    """Binary COPY stream of a query's rows; ``parameters`` as psycopg2 writes them, ``%(name)s``."""
    stream = io.BytesIO()
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        statement = cursor.mogrify(query, parameters).decode()
        cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT binary)", stream)
    return stream.getvalue()


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

"""Reading protobuf's wire format strictly: only the fields that a table names, each in the one form that we write.

A parser made for everything merges repeated fields, skips unknown ones and accepts several spellings; whoever checks a
file with one such parser and runs it with another can be shown two different files. This reader refuses all of that, so
that what was checked is what any parser sees. It is small because ONNX graphs of ours use little of the format.

References
----------
Protocol Buffers, Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from catalyst_ml.errors import ArtifactRefused

Kind = Literal["int", "float", "bytes"]

_WIRE_TYPES: dict[Kind, int] = {"int": 0, "bytes": 2, "float": 5}
_MAX_VARINT = 10
_FLOAT_BYTES = 4
_LAST_BYTE = 0x80
"""Bytes of a varint below this one end it."""


class Field(NamedTuple):
    """A field that may occur: its name, how it is written, and whether more than once."""

    name: str
    kind: Kind
    many: bool = False


def read_message(data: bytes, fields: Mapping[int, Field], what: str) -> dict[str, Any]:
    """Return the values of one message by field name; those that do not occur are absent, or empty if ``many``.

    Values are int (of 64 bits, signed), bytes, or float; many numbers come as one array, many bytes as a list.

    Raises
    ------
    ArtifactRefused
        If a field is not in ``fields``, of another wire type, occurs twice, or leads beyond the end.
    """
    found: dict[str, Any] = {field.name: [] for field in fields.values() if field.many}
    position = 0
    while position < len(data):
        tag, start = _varint(data, position, what)
        field = fields.get(tag >> 3)
        if field is None or tag & 7 != _WIRE_TYPES[field.kind]:
            known = field.name if field else f"field {tag >> 3}"
            raise ArtifactRefused(f"{what}: {known} of wire type {tag & 7} is not what our exporter writes.")
        if not field.many and field.name in found:
            raise ArtifactRefused(f"{what}: {field.name} occurs twice; readers would not agree which one counts.")
        if field.many and field.kind != "bytes":
            values, position = _run(data, position, start, field, what)
            found[field.name].append(values)
            continue
        value, position = _value(data, start, field, what)
        if field.many:
            found[field.name].append(value)
        else:
            found[field.name] = value
    for field in fields.values():
        if field.many and field.kind != "bytes":
            none = np.empty(0, dtype=np.int64 if field.kind == "int" else np.float32)
            found[field.name] = np.concatenate([none, *found[field.name]])
    return found


def read_text(data: bytes, what: str) -> str:
    """Return a name as text.

    Raises
    ------
    ArtifactRefused
        If it is not plain printable ASCII: two names that look alike must be alike.
    """
    text = data.decode("latin-1")
    if not text.isascii() or not text.isprintable():
        raise ArtifactRefused(f"{what}: the name {text[:40]!r} is not plain ASCII.")
    return text


def _value(data: bytes, start: int, field: Field, what: str) -> tuple[Any, int]:
    if field.kind == "int":
        value, end = _varint(data, start, what)
        return (value - 2**64 if value >= 2**63 else value), end
    if field.kind == "float":
        end = start + _FLOAT_BYTES
        _refuse_beyond(data, end, field, what)
        return float(np.frombuffer(data[start:end], dtype="<f4")[0]), end
    size, start = _varint(data, start, what)
    _refuse_beyond(data, start + size, field, what)
    return data[start : start + size], start + size


def _varint(data: bytes, position: int, what: str) -> tuple[int, int]:
    value = 0
    for place in range(_MAX_VARINT):
        if position + place >= len(data):
            raise ArtifactRefused(f"{what}: it ends inside a number. The file is cut off or damaged.")
        byte = data[position + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < _LAST_BYTE:
            if value >= 2**64 or (byte == 0 and place > 0):
                raise ArtifactRefused(f"{what}: a number is not spelled as our exporter does.")
            return value, position + place + 1
    raise ArtifactRefused(f"{what}: a number of more than {_MAX_VARINT} bytes. The file is damaged.")


def _run(data: bytes, tagged: int, start: int, field: Field, what: str) -> tuple[np.ndarray, int]:
    """Read as many values of a repeated number as follow each other, each behind its own tag: at array speed.

    A graph holds millions of them. The tags have one byte, as all of ours.
    """
    if start != tagged + 1:
        raise ArtifactRefused(f"{what}: {field.name} has a tag of more than one byte.")
    rest = np.frombuffer(data, dtype=np.uint8)[tagged:]
    if field.kind == "float":
        stride = 1 + _FLOAT_BYTES
        n = _leading(rest[::stride] == rest[0])
        _refuse_beyond(data, tagged + n * stride, field, what)
        cells = rest[: n * stride].reshape(n, stride)[:, 1:]
        return np.ascontiguousarray(cells).view("<f4").ravel().astype(np.float32), tagged + n * stride
    # Tags and last bytes of numbers are the only bytes below 0x80, and they alternate: tag, number, tag, number ...
    ends = np.flatnonzero(rest < _LAST_BYTE)
    tags, lasts = ends[0::2], ends[1::2]
    tags = tags[: len(lasts)]  # a tag at the very end has no number
    follows = np.concatenate([[0], lasts[:-1] + 1]) if len(lasts) else lasts
    n = _leading((tags == follows) & (rest[tags] == rest[0]))
    sizes = lasts[:n] - tags[:n]
    if n == 0 or sizes.max() > _MAX_VARINT:
        raise ArtifactRefused(f"{what}: {field.name} ends inside a number, or holds one that is too long.")
    values = np.zeros(n, dtype=np.uint64)
    for place in range(int(sizes.max())):
        longer = sizes > place
        digits = rest[tags[:n][longer] + 1 + place] & 0x7F
        values[longer] |= digits.astype(np.uint64) << np.uint64(7 * place)
    return values.view(np.int64), tagged + int(lasts[n - 1]) + 1


def _leading(holds: np.ndarray) -> int:
    """How many of the first values are True in a row."""
    return len(holds) if bool(holds.all()) else int(np.argmin(holds))


def _refuse_beyond(data: bytes, end: int, field: Field, what: str) -> None:
    if end > len(data):
        raise ArtifactRefused(f"{what}: {field.name} leads beyond the end. The file is cut off or damaged.")

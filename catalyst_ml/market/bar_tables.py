"""Tables out of CSV and Parquet files, batch by batch, with the row number of every row.

Knows nothing about bars: columns are picked and renamed as asked, texts are trimmed, malformed lines are
named by their row.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from catalyst_ml.errors import DataContractError

BAR_TABLE = "bars; expected columns for date, open, high, low, close and volume"
_BATCH_ROWS = 65_536
_BLOCK_BYTES = 4 << 20
_NONE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class RawBatch:
    """Some rows; ``row`` is their number in the file (header = 1), ``malformed`` the lines of another field count."""

    table: pa.Table
    row: np.ndarray
    malformed: tuple[tuple[int, str], ...] = ()


def is_parquet(path: Path) -> bool:
    """True if the file begins like Parquet, whatever it is called."""
    with path.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def parquet_header(path: Path) -> list[str]:
    """Column names; raises ``DataContractError`` if the file is damaged."""
    try:
        return list(_parquet().read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataContractError(f"{path.name}: not a readable Parquet file ({error}). Fetch it again.") from error


def text_header(path: Path, *, at_least: int = 5, of: str = BAR_TABLE) -> tuple[str, list[str]]:
    """Separator and column names of a CSV file that has ``at_least`` so many columns; ``of`` is for the message.

    Raises
    ------
    DataContractError
        If the file is empty, binary, not UTF-8, no table, or has no rows.
    """
    with _open_stream(path) as stream:
        try:
            head = stream.read(65_536)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataContractError(f"{path.name}: not readable ({error}). Fetch it again.") from error
    if not head.strip():
        raise DataContractError(f"{path.name}: the file is empty; expected a header and at least one row.")
    try:
        if b"\0" in head:
            raise DataContractError(f"{path.name}: binary content; expected CSV text or Parquet. Export it as CSV.")
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError as error:
        raise DataContractError(
            f"{path.name}: not UTF-8 text (byte {error.start}); expected CSV in UTF-8, or Parquet. Save it as UTF-8."
        ) from error
    line, *others = text.splitlines()
    delimiter = max(",;\t|", key=line.count)
    header = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
    if len(header) < at_least:
        raise DataContractError(f"{path.name}: row 1 is {line[:60]!r}, which is no header of a table of {of}.")
    if not "".join(others).strip():
        raise DataContractError(f"{path.name}: the file has a header and no rows; expected at least one.")
    return delimiter, header


def raw_batches(
    path: Path, columns: dict[str, str], delimiter: str | None, *, encoded: frozenset[str] = frozenset()
) -> Iterator[RawBatch]:
    """Read some columns, named by the keys of ``columns``; ``delimiter`` is ``None`` for Parquet.

    Texts of the columns in ``encoded`` (by our names) may come dictionary-encoded, see :func:`encode_texts`.

    Raises
    ------
    DataContractError
        If the table breaks off or changes its shape.
    """
    try:
        if delimiter is None:
            yield from _parquet_batches(path, columns, encoded)
        else:
            yield from _text_batches(path, columns, delimiter)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataContractError(f"{path.name}: the table is broken: {error}. Nothing was taken from it.") from error


def _parquet_batches(path: Path, columns: dict[str, str], encoded: frozenset[str]) -> Iterator[RawBatch]:
    row = 2  # as in a spreadsheet: the header is row 1
    file = _parquet().ParquetFile(path, read_dictionary=[columns[name] for name in sorted(encoded & set(columns))])
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(dict.fromkeys(columns.values()))):
        table = pa.Table.from_batches([batch])
        read = {ours: _as_text(table[theirs]) for ours, theirs in columns.items()}
        table = pa.table({name: column if name in encoded else _plain(column) for name, column in read.items()})
        yield RawBatch(table, np.arange(row, row + table.num_rows))
        row += table.num_rows


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts that the writer forgot to mark as such (Parquet's plain BYTE_ARRAY)."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return _plain(column).cast(pa.string()) if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else column


def _text_batches(path: Path, columns: dict[str, str], delimiter: str) -> Iterator[RawBatch]:
    malformed: list[tuple[int, str]] = []

    def keep(row: pacsv.InvalidRow) -> str:
        found = f"{row.actual_columns} fields, expected {row.expected_columns}: {row.text[:80]!r}"
        malformed.append((int(row.number), found))
        return "skip"

    theirs = dict.fromkeys(columns.values(), pa.string())
    with _open_stream(path) as stream:
        batches = pacsv.open_csv(
            stream,
            # One thread: only then does Arrow number the malformed rows.
            read_options=pacsv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter,
                invalid_row_handler=keep,
                ignore_empty_lines=False,
                newlines_in_values=False,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=theirs, include_columns=list(theirs), strings_can_be_null=True, null_values=[""]
            ),
        )
        row = 2
        for batch in batches:
            table = pa.table({o: pc.utf8_trim_whitespace(batch.column(t)) for o, t in columns.items()})
            numbers, row = _row_numbers(table.num_rows, row, [number for number, _ in malformed])
            empty = np.logical_and.reduce([np.asarray(pc.is_null(column)) for column in table.columns])
            lines = tuple(malformed)
            malformed.clear()
            yield RawBatch(table.filter(pa.array(~empty)), numbers[~empty], lines)


def _row_numbers(n_rows: int, first: int, malformed: list[int]) -> tuple[np.ndarray, int]:
    """File rows of the well-formed rows of a batch, and the row after it."""
    numbers = np.arange(first, first + n_rows + len(malformed))
    numbers = numbers[~np.isin(numbers, malformed)]
    return numbers[:n_rows], first + n_rows + len(malformed)


def _open_stream(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None)


def encode_texts(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Different texts of a column (nothing is ``""``), and for each row the position of its text."""
    if pa.types.is_dictionary(column.type):
        encoded = column.combine_chunks()
    else:
        encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    texts = [_text(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices
    if codes.null_count:
        texts.append("")
        codes = pc.fill_null(codes, len(texts) - 1)
    return texts, np.asarray(codes)


def typed_times(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray] | None:
    """Wall clock and UTC offset (int64 microseconds) of each row of a column of dates or timestamps.

    The smallest int64 stands for "none": an empty time, a column without a zone. ``None`` if the column holds texts or
    numbers, which are for :class:`~catalyst_ml.market.bar_stamps.StampReader` to read.
    """
    kind = column.type
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        return None
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    values = column.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
    utc = np.array(pc.fill_null(values, _NONE) if values.null_count else values)
    if zone is None:
        return utc, np.full(len(utc), _NONE)
    if zone in ("UTC", "Z", "+00:00"):
        return utc, np.where(utc == _NONE, _NONE, 0)
    # Not pc.local_timestamp: it wants the system's time zone files, which slim images lack.
    local = pd.DatetimeIndex(utc.astype("datetime64[us]")).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    return local.as_unit("us").asi8, np.where(utc == _NONE, _NONE, local.as_unit("us").asi8 - utc)


def time_text(column: pa.ChunkedArray, i: int) -> str:
    """How row ``i`` writes its time, for messages."""
    return _text(column[i].as_py())


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _parquet() -> ModuleType:
    """Imported at its first use: 6 MB that a server, which reads no files, does without."""
    import pyarrow.parquet

    return pyarrow.parquet

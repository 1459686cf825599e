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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from catalyst_ml.errors import DataContractError

_BATCH_ROWS = 65_536
_BLOCK_BYTES = 4 << 20


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
        return list(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataContractError(f"{path.name}: not a readable Parquet file ({error}). Fetch it again.") from error


def text_header(path: Path) -> tuple[str, list[str]]:
    """Separator and column names of a CSV file.

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
        raise DataContractError(f"{path.name}: the file is empty; expected a header and at least one bar.")
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
    if len(header) < 5:
        raise DataContractError(
            f"{path.name}: row 1 is {line[:60]!r}, which is no header of a table of bars; expected columns for date, "
            "open, high, low, close and volume."
        )
    if not "".join(others).strip():
        raise DataContractError(f"{path.name}: the file has a header and no rows; expected at least one bar.")
    return delimiter, header


def raw_batches(path: Path, columns: dict[str, str], delimiter: str | None) -> Iterator[RawBatch]:
    """Read some columns, named by the keys of ``columns``; ``delimiter`` is ``None`` for Parquet.

    Raises
    ------
    DataContractError
        If the table breaks off or changes its shape.
    """
    try:
        if delimiter is None:
            yield from _parquet_batches(path, columns)
        else:
            yield from _text_batches(path, columns, delimiter)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataContractError(f"{path.name}: the table is broken: {error}. Nothing was taken from it.") from error


def _parquet_batches(path: Path, columns: dict[str, str]) -> Iterator[RawBatch]:
    row = 2  # as in a spreadsheet: the header is row 1
    for batch in pq.ParquetFile(path).iter_batches(batch_size=_BATCH_ROWS, columns=list(columns.values())):
        table = pa.Table.from_batches([batch])
        table = pa.table({ours: _plain(table[theirs]) for ours, theirs in columns.items()})
        yield RawBatch(table, np.arange(row, row + table.num_rows))
        row += table.num_rows


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


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


def encode_times(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Different texts of a time column, and for each row the position of its text."""
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    values = encoded.dictionary.to_pylist()
    texts = [value if isinstance(value, str) else _time_text(value) for value in values]
    return texts, np.asarray(encoded.indices)


def _time_text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

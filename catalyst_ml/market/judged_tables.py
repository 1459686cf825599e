"""Small tables out of files: columns found by their common names, rows judged by named rules.

For everything but bars (those have ``bar_files``): news, earnings, sectors, index members, other names of symbols.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.bar_stamps import NOT_A_TIME, StampReader
from catalyst_ml.market.bar_tables import (
    RawBatch,
    encode_texts,
    is_parquet,
    parquet_header,
    raw_batches,
    text_header,
    time_text,
)
from catalyst_ml.refused_rows import RefusedRow

_TICKER = re.compile(r"[^\s\0]{1,16}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class NamedTable:
    """One file with the columns we know of; ``columns`` maps our names to the file's."""

    path: Path
    sha256: str
    columns: dict[str, str]
    unused: tuple[str, ...]
    delimiter: str | None

    @property
    def name(self) -> str:
        """File name without its folder."""
        return self.path.name

    def batches(self, only: Sequence[str] | None = None) -> Iterator[RawBatch]:
        """Read the file once, in order, with bounded memory; ``only`` some of our columns, or all."""
        wanted = {ours: theirs for ours, theirs in self.columns.items() if only is None or ours in only}
        return raw_batches(self.path, wanted, self.delimiter)

    def whole(self) -> RawBatch:
        """All rows at once, for tables of reference data."""
        batches = list(self.batches())
        if not batches:
            raise DataContractError(f"{self.name}: the file has a header and no rows; expected at least one.")
        return RawBatch(
            pa.concat_tables([batch.table for batch in batches]),
            np.concatenate([batch.row for batch in batches]),
            tuple(line for batch in batches for line in batch.malformed),
        )


def open_table(
    path: Path, aliases: Mapping[str, tuple[str, ...]], *, required: Sequence[tuple[str, ...]], of: str
) -> NamedTable:
    """Find our columns in a CSV or Parquet file.

    Parameters
    ----------
    aliases : mapping of str to tuple of str
        Our name to the names seen in the wild, without case, spaces and underscores; the first match wins.
    required : sequence of tuple of str
        Of each tuple at least one of our columns must be there.
    of : str
        What the table holds, for messages.

    Raises
    ------
    DataContractError
        If there is no such file, it is no table, or a required column is missing or occurs twice.
    """
    if not path.is_file():
        raise DataContractError(f"{path}: no such file. Check the path.")
    delimiter, header = (None, parquet_header(path)) if is_parquet(path) else text_header(path, at_least=2, of=of)
    simple = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(header)}
    columns = {ours: simple[alias] for ours, names in aliases.items() for alias in reversed(names) if alias in simple}
    twice = sorted({name for name in columns.values() if header.count(name) > 1})
    if twice:
        raise DataContractError(f"{path.name}: column {twice[0]!r} occurs twice in row 1; expected once. Rename one.")
    for group in required:
        if not set(group) & set(columns):
            known = ", ".join(alias for ours in group for alias in aliases[ours])
            raise DataContractError(
                f"{path.name}: column {group[0]!r} is missing; row 1 has {header}. Rename the column that holds it; "
                f"known names are: {known}."
            )
    unused = tuple(name for name in header if name not in columns.values())
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return NamedTable(path, digest, columns, unused, delimiter)


def texts_of(table: pa.Table, name: str) -> np.ndarray:
    """Trimmed texts of a column, shape (n_rows,), dtype object; ``""`` where there is nothing or no such column."""
    if name not in table.column_names:
        return np.full(table.num_rows, "", dtype=object)
    column = _chunked(table[name])
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        trimmed = pc.fill_null(pc.utf8_trim_whitespace(column), "")
        return np.asarray(trimmed.to_numpy(), dtype=object)
    texts, codes = encode_texts(column)
    return np.asarray(texts, dtype=object)[codes]


def symbols_of(table: pa.Table, name: str = "symbol") -> np.ndarray:
    """Symbols in capitals, as :func:`texts_of`."""
    texts, codes = encode_texts(_chunked(table[name]))
    return np.asarray([text.strip().upper() for text in texts], dtype=object)[codes]


def numbers_of(texts: np.ndarray) -> np.ndarray:
    """Numbers as float64; NaN where the text is empty or no number, so compare with ``texts == ""``."""
    return np.array([float(text) if _NUMBER.fullmatch(text) else np.nan for text in texts], dtype=np.float64)


def is_given(column: pa.ChunkedArray) -> np.ndarray:
    """Rows in which a column holds something."""
    empty = pc.is_null(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        empty = pc.or_(empty, pc.fill_null(pc.equal(column, ""), False))
    return ~np.asarray(empty)


@dataclass(frozen=True)
class TimeColumn:
    """A column of dates or moments, surveyed whole before its first row is believed."""

    name: str
    reader: StampReader

    @property
    def holds_dates(self) -> bool:
        """True if every time in it is a midnight as written: a date, not a moment."""
        return self.reader.holds_dates

    def text(self, table: pa.Table, i: int) -> str:
        """How row ``i`` writes its time, for messages."""
        return time_text(_chunked(table[self.name]), i)

    def read(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Wall clock and UTC offset of every row, int64 microseconds; ``NOT_A_TIME`` if absent or unreadable."""
        times = self.reader.read(_chunked(table[self.name]))
        return times.wall, times.offset

    def read_dates(self, table: pa.Table) -> pd.DatetimeIndex:
        """Dates as written, naive midnights; NaT if absent or unreadable."""
        wall, _ = self.read(table)
        return pd.DatetimeIndex(np.where(wall == NOT_A_TIME, NOT_A_TIME, wall - wall % 86_400_000_000).astype("M8[us]"))


def survey_times(
    table: NamedTable, name: str, *, date_format: str | None, timezone: str | None = None, unless: str | None = None
) -> TimeColumn | None:
    """Survey one time column of a file; rows in which column ``unless`` holds something do not count.

    Returns
    -------
    TimeColumn or None
        ``None`` if the column is absent, or empty in every row that counts.

    Raises
    ------
    DataContractError
        If its dates are ambiguous or mixed, or its moments name no zone and ``timezone`` is not given.
    """
    if name not in table.columns:
        return None
    reader = StampReader(table.name, None, date_format, timezone)
    n_given = 0
    for raw in table.batches([name, *([unless] if unless else [])]):
        column = _chunked(raw.table[name])
        counts = is_given(column)
        if unless and unless in raw.table.column_names:
            counts &= ~is_given(raw.table[unless])
        if counts.any():
            reader.survey(column.filter(pa.array(counts)), raw.row[counts])
            n_given += int(counts.sum())
    if not n_given:
        return None
    reader.settle()
    return TimeColumn(name, reader)


@dataclass
class RowJudge:
    """Applies rules to the rows of one batch; the first broken rule of a row is reported."""

    file: str
    row: np.ndarray
    symbol: np.ndarray
    ts_text: Callable[[int], str]
    good: np.ndarray = field(init=False)
    refused: list[RefusedRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.good = np.ones(len(self.row), dtype=bool)
        self.refuse("symbol_is_given", self.symbol == "", lambda i: "the symbol is empty")
        names, codes = np.unique(self.symbol.astype(str), return_inverse=True)
        no_ticker = np.array([_TICKER.fullmatch(name) is None for name in names], dtype=bool)[codes]
        self.refuse("symbol_is_a_ticker", no_ticker, lambda i: "expected at most 16 characters and no space")

    def refuse(self, rule: str, broken: np.ndarray, detail: Callable[[int], str]) -> None:
        """Refuse the rows of the mask ``broken`` that no rule has refused yet."""
        hit = np.flatnonzero(np.asarray(broken, dtype=bool) & self.good)
        self.good[hit] = False
        for i in hit:
            symbol, ts_text = str(self.symbol[i])[:40], self.ts_text(int(i))[:40]
            self.refused.append(RefusedRow(self.file, int(self.row[i]), symbol, ts_text, rule, detail(int(i))))

    def refuse_contradictions(self, key: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> int:
        """Refuse good rows that repeat a key with other values; drop all but the first of equal ones.

        Returns
        -------
        int
            Number of rows dropped because an equal one stands before them.
        """
        # Texts, so that missing values are equal to each other.
        rows = pd.DataFrame({i: np.asarray(column).astype(str) for i, column in enumerate([*key, *values])})[self.good]
        on_key = list(range(len(key)))
        n_rows = rows.groupby(on_key)[0].transform("size").to_numpy()
        n_equal = rows.groupby(list(rows.columns))[0].transform("size").to_numpy()
        differs = np.zeros(len(self.row), dtype=bool)
        differs[self.good] = n_rows != n_equal
        first = pd.Series(self.row[self.good]).groupby([rows[i].to_numpy() for i in on_key]).transform("min").to_numpy()
        places = np.zeros(len(self.row), dtype=np.int64)
        places[self.good] = first
        repeats = np.zeros(len(self.row), dtype=bool)
        repeats[self.good] = rows.duplicated(on_key).to_numpy()

        def detail(i: int) -> str:
            place = "further down" if places[i] == self.row[i] else f"in row {places[i]}"
            return f"the same key stands {place} with other values"

        self.refuse("key_is_unique", differs, detail)
        dropped = repeats & self.good
        self.good &= ~dropped
        return int(dropped.sum())


def malformed_rows(file: str, raw: RawBatch) -> list[RefusedRow]:
    """Lines with another number of fields than the header."""
    return [RefusedRow(file, row, "", "", "row_has_every_field", found) for row, found in raw.malformed]


def _chunked(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])

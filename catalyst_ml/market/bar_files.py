"""Bars out of CSV and Parquet files: found columns, settled dates, judged rows, batch by batch.

A file is either refused whole, with one message (no table, no such column, ambiguous or mixed dates), or read
in batches of bounded size: good bars in the shape of ``frames.BARS`` and the refused rows with their reasons.
Prices are taken raw. An adjusted close is recognised and left: it is restated by every later dividend and
split, so using it would look ahead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import BARS
from catalyst_ml.market.bar_rules import PRICES, ParsedRows, RefusedRow, refuse_rows
from catalyst_ml.market.bar_stamps import NOT_A_TIME, Stamp, StampReader, Timeframe, bar_closes
from catalyst_ml.market.bar_tables import encode_times, is_parquet, parquet_header, raw_batches, text_header
from catalyst_ml.market.calendar import TradingCalendar

ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "sym", "name"),
    "ts": ("ts", "timestamp", "datetime", "date", "time", "day"),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice"),
    "low": ("low", "l", "lowprice"),
    "close": ("close", "c", "closeprice"),
    "volume": ("volume", "v", "vol"),
    "split_factor": ("splitfactor", "splitcoefficient", "stocksplits", "splitratio", "split"),
    "interval": ("intervalmin", "intervalminutes"),
    "source": ("source",),
}
"""Column names seen in the wild, without case, spaces and underscores; the first match wins."""

_ADJUSTED = re.compile(r"adj(usted)?(close|open|high|low|volume|closeprice)|close(adj|adjusted)")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NOT_FINITE = {
    "nan": np.nan,
    "inf": np.inf,
    "+inf": np.inf,
    "-inf": -np.inf,
    "infinity": np.inf,
    "-infinity": -np.inf,
}
_SYMBOL_IN_NAME = re.compile(
    r"([A-Za-z0-9^][A-Za-z0-9.^=-]{0,15}?)(?:[_ ](?:daily|\d+ ?(?:m|min|h|d)))?", re.IGNORECASE
)


@dataclass(frozen=True)
class BarBatch:
    """Some rows of a file.

    ``bars`` has the columns of ``frames.BARS`` plus ``source`` and ``row`` (row number in the file, header = 1),
    in file order; keys may repeat across the file, the store decides about those.
    """

    bars: pd.DataFrame
    refused: tuple[RefusedRow, ...]
    n_read: int
    n_skipped: int
    n_out_of_order: int
    fraction_done: float


@dataclass(frozen=True)
class BarFile:
    """One surveyed file, ready to be read; made by :func:`open_bar_file`."""

    path: Path
    sha256: str
    timeframe: Timeframe
    stamp: Stamp
    n_rows: int
    notes: tuple[str, ...]
    columns: dict[str, str]
    calendar: TradingCalendar
    now: pd.Timestamp
    reader: StampReader = field(repr=False)
    symbol: str | None = None
    source: str | None = None
    default_source: str = "file"
    timezone: str | None = None
    volume_optional: bool = False
    delimiter: str | None = None

    @property
    def name(self) -> str:
        """File name without its folder."""
        return self.path.name

    def batches(self) -> Iterator[BarBatch]:
        """Read the file once, in order, at most 65,536 Parquet rows or 4 MB of text at a time.

        Raises
        ------
        DataContractError
            If a later part of the file turns out to be no table after all.
        """
        done = 0
        last: dict[str, int] = {}
        for raw in raw_batches(self.path, self.columns, self.delimiter):
            wanted = _wanted(raw.table, self.timeframe, self.source)
            table, row = raw.table.filter(pa.array(wanted)), raw.row[wanted]
            malformed = [RefusedRow(self.name, n, "", "", "row_has_every_field", line) for n, line in raw.malformed]
            n_read = len(wanted) + len(malformed)
            done += n_read
            parsed = self._parse(table, row)
            good, refused = refuse_rows(parsed, file=self.name, now=self.now, zone=self.calendar.zone)
            bars = _as_bars(parsed, good, self._sources(table))
            yield BarBatch(
                bars=bars,
                refused=tuple(sorted((*malformed, *refused), key=lambda r: r.row)),
                n_read=n_read,
                n_skipped=int((~wanted).sum()),
                n_out_of_order=_count_out_of_order(bars, last),
                fraction_done=min(1.0, done / max(1, self.n_rows)),
            )

    def _parse(self, table: pa.Table, row: np.ndarray) -> ParsedRows:
        texts, codes = encode_times(table["ts"])
        wall, offset = self.reader.read(texts)
        stamped = bar_closes(
            wall,
            offset,
            timeframe=self.timeframe,
            stamp=self.stamp,
            timezone=self.timezone,
            calendar=self.calendar,
        )
        values, missing, unreadable, raw = {}, {}, {}, {}
        for name in (*PRICES, "volume", "split_factor"):
            raw[name] = _texts_of(table, name)
            values[name], missing[name], unreadable[name] = _numbers(table, name)
        if self.volume_optional:
            values["volume"] = np.where(missing["volume"], 0.0, values["volume"])
            missing["volume"] = np.zeros(len(row), dtype=bool)
        absent = missing["split_factor"] | (values["split_factor"] == 0.0)  # some vendors write 0 for "no split"
        values["split_factor"] = np.where(absent, 1.0, values["split_factor"])
        missing["split_factor"] = np.zeros(len(row), dtype=bool)
        return ParsedRows(
            row=row,
            symbol=_symbols(table, self.symbol),
            ts_text=np.asarray(texts, dtype=object)[codes],
            ts=stamped.ts[codes],
            numbers=values,
            missing=missing,
            unreadable=unreadable,
            raw=raw,
            date_unreadable=(wall == NOT_A_TIME)[codes],
            not_a_session=stamped.not_a_session[codes],
            not_in_zone=stamped.not_in_zone[codes],
        )

    def _sources(self, table: pa.Table) -> np.ndarray:
        if "source" not in table.column_names:
            return np.full(table.num_rows, self.source or self.default_source, dtype=object)
        return np.asarray(pc.fill_null(table["source"], self.default_source).to_pylist(), dtype=object)


def open_bar_file(
    path: Path,
    *,
    timeframe: Timeframe,
    calendar: TradingCalendar,
    now: pd.Timestamp,
    stamp: Stamp | None = None,
    date_format: str | None = None,
    timezone: str | None = None,
    source: str | None = None,
    volume_optional: bool = False,
) -> BarFile:
    """Survey a file of bars and say how it will be read, without keeping its rows.

    Parameters
    ----------
    path : Path
        CSV (any of ``, ; tab |``, optional UTF-8 byte-order mark, ``.gz``) or Parquet, long format or one symbol
        per file; then the symbol is the file's name (``AAPL.csv``, ``AAPL_5m.csv``).
    stamp : 'start', 'end' or None
        What an intraday time means. ``None`` is accepted for daily bars only.
    source : str or None
        Name of the bars' source. If the file has a ``source`` column, only its rows of that name are read;
        without ``source`` each row keeps its own.
    volume_optional : bool
        True for indices: a missing volume is then stored as 0.

    Raises
    ------
    DataContractError
        If the file is empty, no table, lacks a column, or its dates are ambiguous or mixed.
    ConfigurationError
        If ``stamp`` is missing for intraday bars.
    """
    if timeframe.minutes is not None and stamp is None:
        raise ConfigurationError(
            f"{path.name}: {timeframe.name} bars need --stamp start or --stamp end: does the time of a bar mean its "
            "first or its last moment?"
        )
    if not path.is_file():
        raise DataContractError(f"{path}: no such file. Check the path.")
    delimiter, header = (None, parquet_header(path)) if is_parquet(path) else text_header(path)
    columns = _match_columns(path, header, volume_optional=volume_optional)
    symbol = None if "symbol" in columns else _symbol_from_name(path)
    reader = StampReader(path.name, timeframe, date_format, timezone)
    survey = _survey(path, columns, delimiter, reader, timeframe, source)
    reader.settle()
    return BarFile(
        path=path,
        sha256=_sha256(path),
        timeframe=timeframe,
        stamp=stamp or "end",
        n_rows=survey.n_rows,
        notes=(*_notes(header, columns, symbol), *survey.notes),
        columns=columns,
        calendar=calendar,
        now=now,
        reader=reader,
        symbol=symbol,
        source=source,
        timezone=timezone,
        volume_optional=volume_optional,
        delimiter=delimiter,
    )


# --- its columns -----------------------------------------------------------------------------------------


def _match_columns(path: Path, header: list[str], *, volume_optional: bool) -> dict[str, str]:
    """Map our names to the file's, or raise naming what is missing."""
    simple = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(header)}
    found = {ours: simple[alias] for ours, names in ALIASES.items() for alias in reversed(names) if alias in simple}
    repeated = sorted({name for name in found.values() if header.count(name) > 1})
    if repeated:
        raise DataContractError(
            f"{path.name}: column {repeated[0]!r} occurs twice in row 1; expected once. Rename one."
        )
    required = ("ts", *PRICES) if volume_optional else ("ts", *PRICES, "volume")
    missing = [name for name in required if name not in found]
    if missing:
        shown = ["date" if name == "ts" else name for name in missing]
        raise DataContractError(
            f"{path.name}: column {', '.join(map(repr, shown))} is missing; row 1 has {header}. Rename the column "
            "that holds it, or import an index (no volume) with --kind index."
        )
    return found


def _symbol_from_name(path: Path) -> str:
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    match = _SYMBOL_IN_NAME.fullmatch(stem)
    if not match:
        raise DataContractError(
            f"{path.name}: no symbol column, and the file's name is no symbol; expected e.g. AAPL.csv or AAPL_5m.csv. "
            "Rename the file or add a symbol column."
        )
    return match[1].upper()


def _notes(header: list[str], columns: dict[str, str], symbol: str | None) -> tuple[str, ...]:
    adjusted = [name for name in header if _ADJUSTED.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower()))]
    others = [name for name in header if name not in columns.values() and name not in adjusted]
    notes = [f"symbol {symbol} taken from the file's name"] if symbol else []
    if adjusted:
        notes.append(f"{', '.join(adjusted)} ignored: adjusted values are restated later and would look ahead")
    if others:
        notes.append(f"not used: {', '.join(others)}")
    if "split_factor" not in columns:
        notes.append("no split column: prices are taken as they are, a split in them looks like a crash")
    return tuple(notes)


# --- the survey -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Survey:
    n_rows: int
    notes: tuple[str, ...]


def _survey(
    path: Path,
    columns: dict[str, str],
    delimiter: str | None,
    reader: StampReader,
    timeframe: Timeframe,
    source: str | None,
) -> _Survey:
    """Read only time, interval and source of every row, and show the times to ``reader``."""
    looked_at = {ours: theirs for ours, theirs in columns.items() if ours in ("ts", "interval", "source")}
    seen: dict[str, set[str]] = {"interval": set(), "source": set()}
    n_rows = n_wanted = 0
    for raw in raw_batches(path, looked_at, delimiter):
        n_rows += raw.table.num_rows + len(raw.malformed)
        for name in seen.keys() & set(raw.table.column_names):
            seen[name] |= {str(value) for value in pc.unique(raw.table[name]).to_pylist()}
        wanted = _wanted(raw.table, timeframe, source)
        n_wanted += int(wanted.sum())
        texts, codes = encode_times(raw.table["ts"].filter(pa.array(wanted)))
        first = np.unique(codes, return_index=True)[1]
        reader.survey([texts[i] for i in codes[first]], raw.row[wanted][first].tolist())
    if n_rows == 0:
        raise DataContractError(f"{path.name}: the file has a header and no rows; expected at least one bar.")
    if n_wanted == 0:
        raise DataContractError(
            f"{path.name}: none of {n_rows} rows is of timeframe {timeframe.name}"
            + (f" and source {source!r}" if source else "")
            + f"; the file holds interval minutes {sorted(seen['interval'])}, sources {sorted(seen['source'])}. "
            "Choose with --timeframe and --source."
        )
    skipped = n_rows - n_wanted
    return _Survey(n_rows, (f"{skipped:,} rows of other timeframes or sources skipped",) if skipped else ())


def _wanted(table: pa.Table, timeframe: Timeframe, source: str | None) -> np.ndarray:
    wanted = np.ones(table.num_rows, dtype=bool)
    if "interval" in table.column_names:
        minutes = str(timeframe.minutes or 1440)
        wanted &= np.asarray(pc.fill_null(pc.equal(pc.cast(table["interval"], pa.string()), minutes), False))
    if source is not None and "source" in table.column_names:
        wanted &= np.asarray(pc.fill_null(pc.equal(pc.cast(table["source"], pa.string()), source), False))
    return wanted


# --- rows ------------------------------------------------------------------------------------------------


def _texts_of(table: pa.Table, name: str) -> np.ndarray:
    """Texts as written, for messages only; an empty array where the column holds numbers."""
    if name in table.column_names and _is_text(table[name].type):
        return np.asarray(table[name].to_numpy(), dtype=object)
    return np.empty(0, dtype=object)


def _numbers(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values as float64 (NaN if missing or unreadable) and the masks of missing and unreadable rows."""
    nothing = np.zeros(table.num_rows, dtype=bool)
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan), ~nothing, nothing
    column = table[name]
    missing = np.array(pc.is_null(column))
    if not _is_text(column.type):
        return np.array(pc.cast(column, pa.float64(), safe=False).to_numpy()), missing, nothing
    numeric = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)
    kept = pc.if_else(numeric, column, pa.scalar(None, column.type))
    values = np.array(pc.cast(kept, pa.float64()).to_numpy())
    unreadable = ~np.array(numeric) & ~missing
    for i in np.flatnonzero(unreadable):
        known = _NOT_FINITE.get(str(column[int(i)].as_py()).lower())
        if known is not None:
            values[i], unreadable[i] = known, False
    return values, missing, unreadable


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _symbols(table: pa.Table, symbol: str | None) -> np.ndarray:
    if symbol is not None:
        return np.full(table.num_rows, symbol, dtype=object)
    encoded = pc.dictionary_encode(table["symbol"].combine_chunks(), null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = ["" if s is None else str(s).strip().upper() for s in encoded.dictionary.to_pylist()]
    return np.asarray(names, dtype=object)[np.asarray(encoded.indices)]


def _as_bars(parsed: ParsedRows, good: np.ndarray, source: np.ndarray) -> pd.DataFrame:
    columns: dict[str, object] = {
        "symbol": pd.array(parsed.symbol[good], dtype="str"),
        "ts": parsed.ts[good],
        **{name: values[good] for name, values in parsed.numbers.items()},
        "source": pd.array(source[good], dtype="str"),
        "row": parsed.row[good],
    }
    return pd.DataFrame(columns)[[*BARS.column_names, "source", "row"]]


def _count_out_of_order(bars: pd.DataFrame, last: dict[str, int]) -> int:
    """Rows that are earlier than the row before them of the same symbol; ``last`` carries over batches."""
    if bars.empty:
        return 0
    ts = pd.Series(pd.DatetimeIndex(bars["ts"]).as_unit("us").asi8)
    before = ts.groupby(bars["symbol"].to_numpy()).shift(1)
    first = before.isna()
    before[first] = [last.get(symbol, NOT_A_TIME) for symbol in bars["symbol"].to_numpy()[first.to_numpy()]]
    newest = ts.groupby(bars["symbol"].to_numpy()).last()
    last.update(zip(map(str, newest.index), newest.to_numpy(), strict=True))
    return int((ts < before).sum())


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""Bars out of CSV and Parquet files: found columns, settled dates, judged rows, batch by batch.

A file is either refused whole, with one message (no table, no such column, ambiguous or mixed dates), or read
in batches of bounded size: good bars in the shape of ``frames.BARS`` and the refused rows with their reasons.
Prices are taken raw. An adjusted close is recognised and left: it is restated by every later dividend and
split, so using it would look ahead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.market.bar_columns import header_notes, match_columns, read_numbers, symbol_from_name
from catalyst_ml.market.bar_rules import PRICES, ParsedRows, off_cent, refuse_rows
from catalyst_ml.market.bar_stamps import (
    NOT_A_TIME,
    Stamp,
    StampReader,
    Timeframe,
    WrittenTimes,
    as_microseconds,
    bar_closes,
    known_moments,
)
from catalyst_ml.market.bar_tables import encode_texts, is_parquet, parquet_header, raw_batches, text_header
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.refused_rows import RefusedRow

READING_REVISION = 2
"""Raise it when the same file would give other bars or other refusals than before: files are then read again."""

_ENCODED = frozenset({"symbol", "source"})
_MAX_SOURCE_LENGTH = 60


@dataclass(frozen=True)
class BarBatch:
    """Some rows of a file.

    ``bars`` has the columns of ``frames.BARS`` plus ``source``, ``row`` (row number in the file, header = 1),
    ``is_regular`` and, where the file says it, ``known_at``, in file order; symbols and sources are categories. Keys
    may repeat across the file, the store decides about those. ``off_cent`` says which closes are no whole cents.
    """

    bars: pd.DataFrame
    refused: tuple[RefusedRow, ...]
    n_read: int
    n_skipped: int
    fraction_done: float
    off_cent: np.ndarray


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
    options: dict[str, Any]
    reader: StampReader = field(repr=False)
    known_reader: StampReader | None = field(default=None, repr=False)
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
        """Read the file from the start, in order, at most 65,536 Parquet rows or 4 MB of text at a time.

        Raises
        ------
        DataContractError
            If a later part of the file turns out to be no table after all.
        """
        done = 0
        for raw in raw_batches(self.path, self.columns, self.delimiter, encoded=_ENCODED):
            wanted = _wanted(raw.table, self.timeframe, self.source)
            table, row = raw.table, raw.row
            if not wanted.all():
                table, row = table.filter(pa.array(wanted)), row[wanted]
            malformed = [RefusedRow(self.name, n, "", "", "row_has_every_field", line) for n, line in raw.malformed]
            n_read = len(wanted) + len(malformed)
            done += n_read
            parsed, is_regular = self._parse(table, row)
            good, refused = refuse_rows(parsed, file=self.name, now=self.now, zone=self.calendar.zone)
            yield BarBatch(
                bars=_as_bars(parsed, good, is_regular, self._sources(table)),
                refused=tuple(sorted((*malformed, *refused), key=lambda r: r.row)),
                n_read=n_read,
                n_skipped=len(wanted) - len(row),
                fraction_done=min(1.0, done / max(1, self.n_rows)),
                off_cent=off_cent(parsed.numbers["close"][good]),
            )

    def _parse(self, table: pa.Table, row: np.ndarray) -> tuple[ParsedRows, np.ndarray]:
        written = self.reader.read(table["ts"])
        stamped = bar_closes(
            written.wall,
            written.offset,
            timeframe=self.timeframe,
            stamp=self.stamp,
            timezone=self.timezone,
            calendar=self.calendar,
        )
        values: dict[str, np.ndarray] = {}
        missing: dict[str, np.ndarray] = {}
        unreadable: dict[str, np.ndarray] = {}
        for name in (*PRICES, "volume", "split_factor"):
            numbers = read_numbers(table, name, self.name)
            values[name] = numbers.value
            if name == "split_factor":
                absent = numbers.missing | (values[name] == 0.0)  # some vendors write 0 for "no split"
                values[name] = np.where(absent, 1.0, values[name]) if absent.any() else values[name]
            elif name == "volume" and self.volume_optional:
                values[name] = np.where(numbers.missing, 0.0, values[name])
            elif numbers.missing.any():
                missing[name] = numbers.missing
            if numbers.unreadable.any():
                unreadable[name] = numbers.unreadable
        symbols, symbol = _symbols(table, self.symbol)
        known = self._known(table, stamped.ts)
        parsed = ParsedRows(
            row=row,
            symbol=symbol,
            symbols=symbols,
            ts=stamped.ts,
            numbers=values,
            missing=missing,
            unreadable=unreadable,
            texts=lambda name, i: _shown(table, name, i, written, known.written if known else None),
            date_unreadable=written.wall == NOT_A_TIME,
            not_a_session=stamped.not_a_session,
            not_in_zone=stamped.not_in_zone,
            known_at=known.at if known else None,
            known_unreadable=known.unreadable if known else None,
            known_in_future=known.in_future if known else None,
        )
        return parsed, stamped.is_regular

    def _known(self, table: pa.Table, ts: np.ndarray) -> _Known | None:
        """Since when each row was known: as the file says, yet never before the bar closed nor after now."""
        if self.known_reader is None:
            return None
        written = self.known_reader.read(table["known_at"])
        as_dates, now = self.known_reader.holds_dates, as_microseconds(self.now)
        known = known_moments(
            written.wall, written.offset, as_dates=as_dates, timezone=self.timezone, calendar=self.calendar
        )
        unreadable = known == NOT_A_TIME
        # What carries today's date is in our hands before the session closes.
        begun = known_moments(written.wall, written.offset, as_dates=False, timezone=self.calendar.zone,
                              calendar=self.calendar) if as_dates else known  # fmt: skip
        in_future = ~unreadable & (begun > now)
        return _Known(np.maximum(np.minimum(known, now), ts), unreadable, in_future, written)

    def _sources(self, table: pa.Table) -> tuple[list[str], np.ndarray]:
        if "source" not in table.column_names:
            return [self.source or self.default_source], np.zeros(table.num_rows, dtype=np.int32)
        texts, codes = encode_texts(table["source"])
        return _renamed([_checked_source(self.name, text or self.default_source) for text in texts], codes)


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
    _check_path(path)
    if timezone is not None:
        _check_timezone(timezone)
    if source is not None:
        _checked_source(path.name, source)
    delimiter, header = (None, parquet_header(path)) if is_parquet(path) else text_header(path)
    columns = match_columns(path, header, volume_optional=volume_optional)
    symbol = None if "symbol" in columns else symbol_from_name(path)
    reader = StampReader(path.name, timeframe, date_format, timezone)
    known_reader = None
    if "known_at" in columns:
        known_reader = StampReader(f"{path.name}, column {columns['known_at']!r}", None, date_format, timezone)
    survey = _survey(path, columns, delimiter, reader, known_reader, timeframe, source)
    reader.settle()
    if known_reader is not None:
        known_reader.settle()
    return BarFile(
        path=path,
        sha256=file_sha256(path),
        timeframe=timeframe,
        stamp=stamp or "end",
        n_rows=survey.n_rows,
        notes=(*header_notes(header, columns, symbol, known_reader), *survey.notes),
        columns=columns,
        calendar=calendar,
        now=now,
        options=reading_options(
            stamp=stamp,
            date_format=date_format,
            timezone=timezone,
            source=source,
            volume_optional=volume_optional,
            calendar=calendar.name,
        ),
        reader=reader,
        known_reader=known_reader,
        symbol=symbol,
        source=source,
        timezone=timezone,
        volume_optional=volume_optional,
        delimiter=delimiter,
    )


def reading_options(
    *,
    stamp: Stamp | None = None,
    date_format: str | None = None,
    timezone: str | None = None,
    source: str | None = None,
    volume_optional: bool = False,
    calendar: str = "XNYS",
) -> dict[str, Any]:
    """All that decides, besides its bytes and its name, which bars a file gives; a file read so once is recognised."""
    return {
        "stamp": stamp or "end",
        "date_format": date_format,
        "timezone": timezone,
        "source": source,
        "volume_optional": volume_optional,
        "calendar": calendar,
        "calendars": version("exchange_calendars"),
        "revision": READING_REVISION,
    }


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of the bytes of a file.

    Raises
    ------
    DataContractError
        If there is no such file.
    """
    _check_path(path)
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _check_path(path: Path) -> None:
    if not path.name.isprintable():
        raise DataContractError(f"{path.name!a}: the file's name holds characters that cannot be kept. Rename it.")
    if not path.is_file():
        raise DataContractError(f"{path}: no such file. Check the path.")


def _check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"time zone {name!r} is not known; expected a name such as America/New_York or UTC."
        ) from error


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
    known_reader: StampReader | None,
    timeframe: Timeframe,
    source: str | None,
) -> _Survey:
    """Read only times, interval and source of every row, and show the times to their readers."""
    looked_at = {o: theirs for o, theirs in columns.items() if o in ("ts", "interval", "source", "known_at")}
    seen: dict[str, set[str]] = {"interval": set(), "source": set()}
    n_rows = n_wanted = 0
    for raw in raw_batches(path, looked_at, delimiter, encoded=_ENCODED):
        n_rows += raw.table.num_rows + len(raw.malformed)
        for name in seen.keys() & set(raw.table.column_names):
            seen[name] |= {str(value) for value in pc.unique(raw.table[name]).to_pylist()}
        wanted = _wanted(raw.table, timeframe, source)
        table, row = raw.table.filter(pa.array(wanted)), raw.row[wanted]
        n_wanted += len(row)
        reader.survey(table["ts"], row)
        if known_reader is not None:
            known_reader.survey(table["known_at"], row)
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
    for name, value in (("interval", str(timeframe.minutes or 1440)), ("source", source)):
        if value is None or name not in table.column_names:
            continue
        column = table[name]
        if pa.types.is_floating(column.type):
            column = column.cast(pa.string())  # 5.0 becomes "5"
        texts, codes = encode_texts(column)
        wanted &= np.array([text == value for text in texts], dtype=bool)[codes]
    return wanted


# --- rows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    at: np.ndarray
    unreadable: np.ndarray
    in_future: np.ndarray
    written: WrittenTimes


def _shown(table: pa.Table, name: str, i: int, ts: WrittenTimes, known_at: WrittenTimes | None) -> str:
    """What stands in a row, for messages."""
    if name == "ts":
        return ts.text(i)
    return known_at.text(i) if name == "known_at" and known_at else str(table[name][i].as_py())


def _checked_source(file: str, source: str) -> str:
    if not source.isprintable() or len(source) > _MAX_SOURCE_LENGTH:
        raise DataContractError(
            f"{file}: source {source[:_MAX_SOURCE_LENGTH]!r} is no name; expected up to {_MAX_SOURCE_LENGTH} printable "
            "characters. Name it with --source, or mend the column."
        )
    return source


def _symbols(table: pa.Table, symbol: str | None) -> tuple[list[str], np.ndarray]:
    if symbol is not None:
        return [symbol], np.zeros(table.num_rows, dtype=np.int32)
    texts, codes = encode_texts(table["symbol"])
    return _renamed([text.strip().upper() for text in texts], codes)


def _renamed(names: list[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Codes into a list without repetitions: two spellings may have become one name."""
    different = list(dict.fromkeys(names))
    if len(different) == len(names):
        return different, codes
    place = {name: i for i, name in enumerate(different)}
    return different, np.array([place[name] for name in names], dtype=np.int32)[codes]


def _as_bars(
    parsed: ParsedRows, good: np.ndarray, is_regular: np.ndarray, sources: tuple[list[str], np.ndarray]
) -> pd.DataFrame:
    source_names, source = sources
    every = bool(good.all())

    def kept(values: np.ndarray) -> np.ndarray:
        return values if every else values[good]

    columns: dict[str, Any] = {
        "symbol": pd.Categorical.from_codes(kept(parsed.symbol), categories=pd.Index(parsed.symbols, dtype="str")),
        "ts": _moments(kept(parsed.ts)),
        **{name: kept(values) for name, values in parsed.numbers.items()},
        "source": pd.Categorical.from_codes(kept(source), categories=pd.Index(source_names, dtype="str")),
        "row": kept(parsed.row),
        "is_regular": kept(is_regular),
    }
    if parsed.known_at is not None:
        columns["known_at"] = _moments(kept(parsed.known_at))
    return pd.DataFrame(columns, copy=False)


def _moments(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.view("datetime64[us]")).tz_localize("UTC")

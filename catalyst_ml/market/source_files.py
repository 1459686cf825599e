"""Files of our own form out of the trading system's tables, month by month, for the readers of bars, news and sectors.

A table's Parquet files hold what upstream wrote under upstream's names. What it means is decided by the readers that
decide it for files of any origin; here columns are named as they want them, timeframes told apart, and tickers that a
story mentions turned into its symbols.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalyst_ml.market.timeframes import DAILY

_BAR_COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume", "split_factor")
_SORTED_UP_TO_ROWS = 2_000_000
_TICKER = re.compile(r"[A-Z][A-Z0-9.\-]{0,9}")
UNKNOWN_SECTORS = frozenset({"unknown", "n/a", "none", "null", ""})


@dataclass(frozen=True)
class BarsOfTable:
    """Bars of one timeframe, as the column ``timeframe`` or the caller names it."""

    timeframe: str
    path: Path


@dataclass(frozen=True)
class StoriesOfTable:
    """Stories by symbol; ``path`` is ``None`` if no story of the file has one. Counts are of the table's rows."""

    path: Path | None
    n_stories: int
    n_without_symbol: int


@dataclass
class BarFiles:
    """Turns the bars of a table's Parquet files, which come in the order of time, into files for the reader of bars.

    Intraday bars come file by file. Daily bars come by month of the exchange: one stamped in the evening of New York
    stands in the next day of UTC, and perhaps in another file than its twin of the afternoon. Apart, each would correct
    the other at every pull; in one file they are seen to contradict each other.

    Parameters
    ----------
    folder : Path
        Where the files are written; each may go once the next is asked for.
    fields : mapping
        Our name of a column to the table's; with ``timeframe`` in it, rows are told apart by that column.
    name : str
        Beginning of the files' names.
    timeframe : str or None
        Of rows that name none.
    named : callable
        One spelling of a timeframe, or ``None`` if the text is none; such rows are left out.
    zone : str
        Of the exchange.
    """

    folder: Path
    fields: Mapping[str, str]
    name: str
    timeframe: str | None
    named: Callable[[str], str | None]
    zone: str
    _daily: dict[str, list[pa.Table]] = field(default_factory=dict, repr=False)

    def add(self, month: str, path: Path) -> Iterator[BarsOfTable]:
        """Take one file of a table; yields what is complete now.

        Parameters
        ----------
        month : str
            Of its rows, in UTC and by name: ``2025-03``, or ``2025-03.2`` for a further part of it.
        """
        yield from self._complete(before=_month_before(month[:7]))
        for timeframe, bars in self._by_timeframe(path):
            if timeframe != DAILY:
                yield self._file(month, timeframe, bars)
                continue
            months = pc.strftime(_exchange_dates(bars["ts"], self.zone), format="%Y-%m")
            for own in pc.unique(months).to_pylist():
                self._daily.setdefault(own, []).append(bars.filter(pc.equal(months, own)))

    def rest(self) -> Iterator[BarsOfTable]:
        """Yield what is left when all files were taken."""
        yield from self._complete(before="9999")

    def _complete(self, *, before: str) -> Iterator[BarsOfTable]:
        for month in sorted(month for month in self._daily if month < before):
            yield self._file(month, DAILY, pa.concat_tables(self._daily.pop(month)))

    def _by_timeframe(self, path: Path) -> Iterator[tuple[str, pa.Table]]:
        table = pq.read_table(path, columns=sorted(set(self.fields.values())))
        bars = pa.table({ours: table[self.fields[ours]] for ours in _BAR_COLUMNS if ours in self.fields})
        if "timeframe" in self.fields:
            written = pc.fill_null(table[self.fields["timeframe"]].cast(pa.string()), "")
            spelling = {text: self.named(text) if text else self.timeframe for text in pc.unique(written).to_pylist()}
            for one in sorted({frame for frame in spelling.values() if frame is not None}):
                wanted = [text for text, frame in spelling.items() if frame == one]
                yield one, bars.filter(pc.is_in(written, value_set=pa.array(wanted, pa.string())))
        elif self.timeframe is not None and bars.num_rows:
            yield self.timeframe, bars

    def _file(self, month: str, timeframe: str, bars: pa.Table) -> BarsOfTable:
        if bars.num_rows <= _SORTED_UP_TO_ROWS:  # later rows of a symbol come later: what the import takes fastest
            # By every column, so that the same rows are the same bytes, however the snapshot was cut into files.
            order = ["ts", "symbol", *(name for name in bars.column_names if name not in ("ts", "symbol"))]
            bars = bars.take(pc.sort_indices(bars, sort_keys=[(name, "ascending") for name in order]))
        return BarsOfTable(timeframe, _written(bars, self.folder / f"{self.name}.{month}.{timeframe}.parquet"))


def story_file(
    source: Path, folder: Path, fields: Mapping[str, str], *, name: str, publisher: str, known_symbols: AbstractSet[str]
) -> StoriesOfTable:
    """Write the stories of one Parquet file, one row per story and symbol.

    The symbols of a story are the one it names and the tickers it mentions, of which only ``known_symbols`` count:
    upstream keeps every run of two to five capitals. ``publisher`` is the source of stories that name none.

    What is written of a story depends on its own row only, because files of a table are cut and joined from pull to
    pull: a story that changed with its neighbours would be stored twice. So a midnight is taken for a day, whatever
    times the others have: it then counts from that day's end, late rather than early.
    """
    table = pq.read_table(source, columns=sorted(set(fields.values())))
    symbols = _texts(table, fields.get("symbol"))
    tickers = _texts(table, fields.get("tickers"))
    row, symbol = [], []
    for i, (own, mentioned) in enumerate(zip(symbols, tickers, strict=True)):
        found = dict.fromkeys([own.strip().upper()] if own and own.strip() else [])
        found |= dict.fromkeys(t for t in _TICKER.findall(mentioned or "") if t in known_symbols)
        row += [i] * len(found)
        symbol += list(found)
    n_without = table.num_rows - len(set(row))
    if not row:
        return StoriesOfTable(None, table.num_rows, n_without)
    taken = table.take(pa.array(np.array(row, dtype=np.int64)))
    times = taken[fields["ts"]]
    is_midnight = _is_midnight(times)
    given = pc.utf8_trim_whitespace(pa.chunked_array([pa.array(_texts(taken, fields.get("source")), pa.string())]))
    columns = {
        "symbol": pa.array(symbol, pa.string()),
        "ts": pc.if_else(is_midnight, None, times),
        "date": pc.if_else(is_midnight, pc.cast(times, pa.date32()), None),
        "headline": taken[fields["headline"]],
        "source": pc.fill_null(pc.if_else(pc.equal(given, ""), None, given), publisher),
    }
    return StoriesOfTable(_written(pa.table(columns), folder / f"{name}.parquet"), table.num_rows, n_without)


def sector_file(
    sources: Sequence[Path], folder: Path, fields: Mapping[str, str], *, name: str, today: date
) -> Path | None:
    """Write each symbol's latest known sector; ``None`` if no sector is known.

    The map describes the day of its latest row (``today`` if rows have no time). A time after ``today`` is none: one
    such row must neither hide those of today nor make the whole map one of the future.
    """
    latest: dict[str, tuple[datetime | None, str, str | None]] = {}
    for source in sources:
        table = pq.read_table(source, columns=sorted(set(fields.values())))
        times = table[fields["ts"]].to_pylist() if "ts" in fields else [None] * table.num_rows
        rows = zip(
            _texts(table, fields["symbol"]), _texts(table, fields["sector"]), _texts(table, fields.get("industry")),
            times, strict=True,
        )  # fmt: skip
        for symbol, sector, industry, at in rows:
            symbol = symbol.strip().upper() if symbol else ""
            if not symbol or sector is None or sector.strip().lower() in UNKNOWN_SECTORS:
                continue
            before = latest.get(symbol)
            moment = at if isinstance(at, datetime) and at.date() <= today else None
            if before is None or before[0] is None or (moment is not None and moment >= before[0]):
                latest[symbol] = (moment, sector.strip(), industry)
    if not latest:
        return None
    days = [moment.date() for moment, _, _ in latest.values() if moment is not None]
    symbols = sorted(latest)
    columns = {
        "symbol": pa.array(symbols, pa.string()),
        "sector": pa.array([latest[s][1] for s in symbols], pa.string()),
        "industry": pa.array([latest[s][2] for s in symbols], pa.string()),
        "as_of": pa.array([max(days, default=today)] * len(symbols), pa.date32()),
    }
    return _written(pa.table(columns), folder / f"{name}.parquet")


def _exchange_dates(times: pa.ChunkedArray, zone: str) -> pa.ChunkedArray:
    """Date of daily bars as the reader of bars dates them: a midnight, or a clock without a zone, as it is written."""
    dates = pc.cast(times, pa.date32())
    if not (pa.types.is_timestamp(times.type) and times.type.tz):
        return dates
    local = pc.cast(pc.local_timestamp(pc.cast(times, pa.timestamp("us", tz=zone))), pa.date32())
    return pc.if_else(_is_midnight(times), dates, local)


def _is_midnight(times: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(times, pc.cast(pc.cast(times, pa.date32()), times.type))


def _month_before(month: str) -> str:
    return str(np.datetime64(month, "M") - 1)


def _texts(table: pa.Table, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * table.num_rows
    texts: list[str | None] = table[column].cast(pa.string()).to_pylist()
    return texts


def _written(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path, compression="zstd")
    return path

"""Files of our own form out of the trading system's tables, month by month, for the readers of bars, news and sectors.

A table's Parquet files hold what upstream wrote under upstream's names. What it means is decided by the readers that
decide it for files of any origin; here columns are named as they want them, timeframes told apart, and tickers that a
story mentions turned into its symbols.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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


def bar_files(
    source: Path, folder: Path, fields: Mapping[str, str], *, name: str,
    timeframe: str | None, named: Callable[[str], str | None],
) -> Iterator[BarsOfTable]:  # fmt: skip
    """Write the bars of one Parquet file, a file per timeframe, sorted by time and symbol.

    Parameters
    ----------
    fields : mapping
        Our name of a column to the table's; with ``timeframe`` in it, rows are told apart by that column.
    name : str
        Beginning of the files' names.
    timeframe : str or None
        Of rows that name none.
    named : callable
        One spelling of a timeframe, or ``None`` if the text is none; such rows are left out.
    """
    table = pq.read_table(source, columns=sorted(set(fields.values())))
    bars = pa.table({ours: table[fields[ours]] for ours in _BAR_COLUMNS if ours in fields})
    if bars.num_rows <= _SORTED_UP_TO_ROWS:  # later rows of a symbol come later: what the import takes fastest
        order = pc.sort_indices(bars, sort_keys=[("ts", "ascending"), ("symbol", "ascending")])
        bars, table = bars.take(order), table.take(order)
    if "timeframe" in fields:
        written = pc.fill_null(table[fields["timeframe"]].cast(pa.string()), "")
        spelling = {text: named(text) if text else timeframe for text in pc.unique(written).to_pylist()}
        for one in sorted({frame for frame in spelling.values() if frame is not None}):
            wanted = [text for text, frame in spelling.items() if frame == one]
            part = bars.filter(pc.is_in(written, value_set=pa.array(wanted, pa.string())))
            yield BarsOfTable(one, _written(part, folder / f"{name}.{one}.parquet"))
    elif timeframe is not None and bars.num_rows:
        yield BarsOfTable(timeframe, _written(bars, folder / f"{name}.{timeframe}.parquet"))


def story_file(
    source: Path, folder: Path, fields: Mapping[str, str], *, name: str, known_symbols: AbstractSet[str]
) -> StoriesOfTable:
    """Write the stories of one Parquet file, one row per story and symbol.

    The symbols of a story are the one it names and the tickers it mentions, of which only ``known_symbols`` count:
    upstream keeps every run of two to five capitals.
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
    columns = {
        "symbol": pa.array(symbol, pa.string()),
        "ts": taken[fields["ts"]],
        "headline": taken[fields["headline"]],
    }
    if "source" in fields:
        columns["source"] = taken[fields["source"]]
    return StoriesOfTable(_written(pa.table(columns), folder / f"{name}.parquet"), table.num_rows, n_without)


def sector_file(
    sources: Sequence[Path], folder: Path, fields: Mapping[str, str], *, name: str, today: date
) -> Path | None:
    """Write each symbol's latest known sector; ``None`` if no sector is known.

    The map describes the day of its latest row (``today`` if rows have no time).
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
            if not symbol or sector is None or sector.strip().lower() in UNKNOWN_SECTORS:
                continue
            before = latest.get(symbol)
            moment = at if isinstance(at, datetime) else None
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


def _texts(table: pa.Table, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * table.num_rows
    texts: list[str | None] = table[column].cast(pa.string()).to_pylist()
    return texts


def _written(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path, compression="zstd")
    return path

"""Bars into the database: COPY into a temporary table, then set-based inserts, one transaction per file.

A bar that is not there yet counts as known at its close. A bar that differs from what is stored is a
correction: a further row, known from now on, so that an earlier ``as_of`` still sees what was known then.
Importing the same file again writes no bar.
"""

# ruff: noqa: S608 - names in the SQL are constants of this module, values travel as parameters

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import BARS
from catalyst_ml.store.bar_source import BarSource, Batch, FileReport, ImportReport, Refusal, StoredRefusal
from catalyst_ml.store.binary_copy import pack, to_postgres_time
from catalyst_ml.store.engine import database_errors

log = logging.getLogger(__name__)

InstrumentKind = Literal["stock", "index", "volatility"]
SIMULATED_SOURCE = "simulated"
VOLATILITY_SYMBOLS = frozenset({"VIX", "^VIX", "VIX9D", "VIX3M", "VXN", "VXD", "RVX", "VVIX"})
"""Symbols that an import of kind ``index`` stores as ``volatility``: they are percent, not index points."""

EXAMPLES_PER_RULE = 3
_VALUES = ("open", "high", "low", "close", "volume", "split_factor")
_REPEATED_KEY = "repeated r WHERE (s.source_id, s.symbol_id, s.ts) = (r.source_id, r.symbol_id, r.ts)"


@dataclass
class _Tally:
    """What the batches of one file said, summed up."""

    read: int = 0
    skipped: int = 0
    out_of_order: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    examples: list[Refusal] = field(default_factory=list)
    symbols: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    def add_refused(self, refused: Sequence[Refusal]) -> None:
        for row in refused:
            self.rules[row.rule] += 1
            if self.rules[row.rule] <= EXAMPLES_PER_RULE:
                self.examples.append(row)


def import_bars(
    engine: Engine,
    files: Sequence[BarSource],
    *,
    dataset: str,
    timeframe: str,
    now: datetime,
    kind: InstrumentKind | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> ImportReport:
    """Store the bars of some files; each file is taken whole or not at all.

    Parameters
    ----------
    files : sequence of BarSource
        Surveyed files, e.g. of ``market.bar_files.open_bar_file``.
    dataset, timeframe : str
        Line the bars belong to. Real and simulated bars never share a dataset.
    now : datetime
        Aware moment from which corrections are known.
    kind : 'stock', 'index', 'volatility' or None
        What the symbols are. ``None`` declares new symbols as stocks and leaves known ones alone; within
        ``index`` the symbols of ``VOLATILITY_SYMBOLS`` become ``volatility``.
    progress : callable, optional
        Called with file name and fraction read.

    Returns
    -------
    ImportReport
        Counts, refused rows by rule and first examples; all refused rows are in ``catalyst_ml.refused_rows``.

    Raises
    ------
    DataContractError
        If a file turns out to be broken, or mixes real and simulated bars. Earlier files stay.
    SourceUnavailable
        If the database is lost or its disk is full; the current file is rolled back.
    """
    reports = []
    for file in files:
        with database_errors(engine), engine.begin() as connection:
            report = _import_file(connection, file, dataset, timeframe, now, kind, progress)
        log.info("%s: %d rows read, %d new, %d refused", report.file, report.read, report.new, report.refused)
        reports.append(report)
    return ImportReport(dataset, timeframe, tuple(reports))


def write_bars(
    engine: Engine, bars: pd.DataFrame, *, dataset: str, timeframe: str, source: str, name: str, now: datetime
) -> FileReport:
    """Store a frame of bars as if it were a file called ``name``; same rules, same report.

    Raises
    ------
    DataContractError
        If ``bars`` breaks ``frames.BARS``, or real and simulated bars would mix.
    """
    BARS.validate(bars)
    return import_bars(engine, [_FrameSource(bars, source, name)], dataset=dataset, timeframe=timeframe, now=now).files[
        0
    ]


@dataclass(frozen=True)
class _FrameBatch:
    bars: pd.DataFrame
    n_read: int
    fraction_done: float
    refused: tuple[Refusal, ...] = ()
    n_skipped: int = 0
    n_out_of_order: int = 0


@dataclass(frozen=True)
class _FrameSource:
    frame: pd.DataFrame
    source: str
    name: str
    stamp: str = "end"
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        hashes = pd.util.hash_pandas_object(self.frame[BARS.column_names], index=False)
        return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()

    def batches(self) -> Iterator[Batch]:
        rows = np.arange(2, len(self.frame) + 2)
        yield _FrameBatch(self.frame.assign(source=self.source, row=rows), len(self.frame), 1.0)


# --- one file --------------------------------------------------------------------------------------------


def _import_file(
    connection: Connection,
    file: BarSource,
    dataset: str,
    timeframe: str,
    now: datetime,
    kind: InstrumentKind | None,
    progress: Callable[[str, float], None] | None,
) -> FileReport:
    if now.tzinfo is None:
        raise ConfigurationError(f"now={now} has no time zone; expected an aware moment.")
    line = {"dataset": dataset, "timeframe": timeframe}
    # Two imports into the same line would both find a bar missing; the lock ends with the transaction.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:dataset || '/' || :timeframe, 0))"), line)
    import_id = _start_import(connection, file, line, now)
    tally = _stage(connection, file, import_id, progress)
    _refuse_mixing(connection, dataset, list(tally.sources))
    repeated = _settle_repeated(connection, file, import_id, tally)
    n_new, n_corrected, n_staged = _insert(connection, line, tally, now, import_id)
    _declare_instruments(connection, dataset, list(tally.symbols), kind)
    report = FileReport(
        file=file.name,
        read=tally.read,
        new=n_new,
        unchanged=n_staged - n_new - n_corrected,
        corrected=n_corrected,
        repeated=repeated,
        refused=tally.rules.total(),
        skipped=tally.skipped,
        out_of_order=tally.out_of_order,
        refused_by_rule=dict(tally.rules.most_common()),
        examples=tuple(tally.examples),
        notes=file.notes,
    )
    _finish_import(connection, import_id, report, sources=sorted(tally.sources))
    return report


def _start_import(connection: Connection, file: BarSource, line: dict[str, str], now: datetime) -> int:
    statement = text(
        "INSERT INTO catalyst_ml.imports (dataset, timeframe, source, file_name, sha256, stamp, started_at) "
        "VALUES (:dataset, :timeframe, '', :file, :sha256, :stamp, :now) RETURNING id"
    )
    values = {**line, "file": file.name, "sha256": file.sha256, "stamp": file.stamp, "now": now}
    return int(connection.execute(statement, values).scalar_one())


def _finish_import(connection: Connection, import_id: int, report: FileReport, *, sources: list[str]) -> None:
    connection.execute(
        text(
            "UPDATE catalyst_ml.imports SET source = :source, rows_read = :read, rows_new = :new, "
            "rows_unchanged = :unchanged, rows_corrected = :corrected, rows_refused = :refused, "
            "finished_at = clock_timestamp() WHERE id = :id"
        ),
        {
            "source": ",".join(sources),
            "read": report.read,
            "new": report.new,
            "unchanged": report.unchanged + report.repeated,
            "corrected": report.corrected,
            "refused": report.refused,
            "id": import_id,
        },
    )


def _stage(
    connection: Connection, file: BarSource, import_id: int, progress: Callable[[str, float], None] | None
) -> _Tally:
    """COPY every batch into the temporary table ``staged`` and its refused rows into theirs."""
    connection.execute(
        text(
            "CREATE TEMPORARY TABLE staged (row bigint, symbol_id int, source_id int, ts timestamptz, "
            "open float8, high float8, low float8, close float8, volume float8, split_factor float8) ON COMMIT DROP"
        )
    )
    # Planned as nested loops (temporary tables look small to the planner) the joins below take minutes.
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    connection.execute(text("SET LOCAL work_mem = '128MB'"))
    tally = _Tally()
    for batch in file.batches():
        bars = batch.bars
        if len(bars):
            _copy(connection, "COPY staged FROM STDIN (FORMAT binary)", _packed(bars, tally))
        if batch.refused:
            _write_refused(connection, import_id, batch.refused)
            tally.add_refused(batch.refused)
        tally.read += batch.n_read - batch.n_skipped
        tally.skipped += batch.n_skipped
        tally.out_of_order += batch.n_out_of_order
        if progress is not None:
            progress(file.name, batch.fraction_done)
    connection.execute(text("ANALYZE staged"))
    return tally


def _packed(bars: pd.DataFrame, tally: _Tally) -> io.BytesIO:
    columns = [
        ("i8", bars["row"].to_numpy()),
        ("i4", _positions(bars["symbol"], tally.symbols)),
        ("i4", _positions(bars["source"], tally.sources)),
        ("i8", to_postgres_time(pd.DatetimeIndex(bars["ts"]).as_unit("us").asi8)),
    ]
    return pack(columns + [("f8", bars[name].to_numpy()) for name in _VALUES])


def _positions(names: pd.Series, known: dict[str, int]) -> np.ndarray:
    """Position (from 1) of each name in ``known``, which grows; the database joins them back by it."""
    codes, different = pd.factorize(names)
    places = np.array([known.setdefault(str(name), len(known) + 1) for name in different], dtype=np.int32)
    return places[codes]


def _settle_repeated(connection: Connection, file: BarSource, import_id: int, tally: _Tally) -> int:
    """Keep one of rows that repeat a key with equal values, refuse all of those that differ."""
    row_hash = f"hash_record_extended(ROW({', '.join(f's.{name}' for name in _VALUES)}), 0)"
    n_keys = connection.execute(
        text(
            "CREATE TEMPORARY TABLE repeated ON COMMIT DROP AS WITH keys AS (SELECT source_id, symbol_id, ts "
            "FROM staged GROUP BY source_id, symbol_id, ts HAVING count(*) > 1) SELECT source_id, symbol_id, ts, "
            f"min(row) AS first_row, min({row_hash}) <> max({row_hash}) AS differs "
            "FROM staged s JOIN keys USING (source_id, symbol_id, ts) GROUP BY source_id, symbol_id, ts"
        )
    ).rowcount
    if not n_keys:
        return 0
    refused = _differing_rows(connection, file, tally)
    if refused:
        _write_refused(connection, import_id, refused)
        tally.add_refused(refused)
        connection.execute(text(f"DELETE FROM staged s USING {_REPEATED_KEY} AND r.differs"))
    dropped = text(f"DELETE FROM staged s USING {_REPEATED_KEY} AND s.row > r.first_row")
    return int(connection.execute(dropped).rowcount)


def _differing_rows(connection: Connection, file: BarSource, tally: _Tally) -> list[StoredRefusal]:
    rows = connection.execute(
        text(
            "SELECT s.row, s.symbol_id, to_char(s.ts AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), r.first_row, "
            f"s.close FROM staged s, {_REPEATED_KEY} AND r.differs ORDER BY s.row"
        )
    )
    names = {position: name for name, position in tally.symbols.items()}
    refused = []
    for row, symbol_id, ts, first, close in rows:
        place = "further down" if row == first else f"in row {first}"
        detail = f"the same bar stands {place} with other values; close here {close:g}"
        refused.append(StoredRefusal(file.name, row, names[symbol_id], f"{ts} UTC", "key_is_unique", detail))
    return refused


def _insert(
    connection: Connection, line: dict[str, str], tally: _Tally, now: datetime, import_id: int
) -> tuple[int, int, int]:
    """Insert corrections, then bars not there yet; returns new, corrected and staged rows."""
    n_staged, first, last = connection.execute(text("SELECT count(*), min(ts), max(ts) FROM staged")).one()
    if not n_staged:
        return 0, 0, 0
    lists = {"symbols": list(tally.symbols), "sources": list(tally.sources)}
    columns = ", ".join(_VALUES)
    staged = ", ".join(f"s.{name}" for name in _VALUES)
    known = ", ".join(f"k.{name}" for name in _VALUES)
    target = f"INSERT INTO catalyst_ml.bars (dataset, timeframe, source, symbol, ts, {columns}, known_at, import_id) "
    row = f"SELECT :dataset, :timeframe, sources.name, symbols.name, s.ts, {staged}"
    same_bar = "(k.source_id, k.symbol_id, k.ts) = (s.source_id, s.symbol_id, s.ts)"
    named = f"JOIN {_names('sources')} ON sources.id = s.source_id JOIN {_names('symbols')} ON symbols.id = s.symbol_id"
    _collect_known(connection, {**line, **lists, "first": first, "last": last})
    values = {**line, **lists, "now": now, "import_id": import_id}
    corrected = connection.execute(
        text(
            f"{target} {row}, greatest(:now, k.known_at + interval '1 microsecond'), :import_id FROM staged s "
            f"JOIN known k ON {same_bar} {named} WHERE ({staged}) IS DISTINCT FROM ({known})"
        ),
        values,
    ).rowcount
    new = connection.execute(
        text(
            f"{target} {row}, s.ts, :import_id FROM staged s LEFT JOIN known k ON {same_bar} {named} "
            "WHERE k.ts IS NULL ORDER BY s.source_id, s.symbol_id, s.ts"
        ),
        values,
    ).rowcount
    return new, corrected, n_staged


def _collect_known(connection: Connection, values: dict[str, Any]) -> None:
    """Temporary table ``known``: the newest stored row of every bar that the staged ones may meet."""
    columns = ", ".join(f"b.{name}" for name in _VALUES)
    connection.execute(
        text(
            "CREATE TEMPORARY TABLE known ON COMMIT DROP AS SELECT DISTINCT ON (source_id, symbol_id, ts) "
            f"sources.id::int AS source_id, symbols.id::int AS symbol_id, b.ts, {columns}, b.known_at "
            f"FROM catalyst_ml.bars b JOIN {_names('sources')} ON sources.name = b.source "
            f"JOIN {_names('symbols')} ON symbols.name = b.symbol WHERE b.dataset = :dataset "
            "AND b.timeframe = :timeframe AND b.ts BETWEEN :first AND :last "
            "ORDER BY source_id, symbol_id, b.ts, b.known_at DESC"
        ),
        values,
    )
    connection.execute(text("ANALYZE known"))


def _names(which: str) -> str:
    """A list of names handed over as parameter, as a table ``(name, id)`` with ids from 1."""
    return f"unnest(CAST(:{which} AS text[])) WITH ORDINALITY AS {which} (name, id)"


def _refuse_mixing(connection: Connection, dataset: str, sources: list[str]) -> None:
    statement = text("SELECT DISTINCT source FROM catalyst_ml.bars WHERE dataset = :dataset")
    stored = set(connection.execute(statement, {"dataset": dataset}).scalars())
    is_simulated = SIMULATED_SOURCE in sources
    if (is_simulated and stored - {SIMULATED_SOURCE}) or (sources and not is_simulated and SIMULATED_SOURCE in stored):
        raise DataContractError(
            f"dataset {dataset!r} holds bars of {sorted(stored)}; {sorted(sources)} would be mixed in. Real and "
            "simulated bars never share a dataset: choose another --dataset."
        )


def _declare_instruments(connection: Connection, dataset: str, symbols: list[str], kind: InstrumentKind | None) -> None:
    if not symbols:
        return
    kinds = ["volatility" if kind == "index" and s in VOLATILITY_SYMBOLS else kind or "stock" for s in symbols]
    on_conflict = "DO NOTHING" if kind is None else "(dataset, symbol) DO UPDATE SET kind = excluded.kind"
    connection.execute(
        text(
            "INSERT INTO catalyst_ml.instruments (dataset, symbol, kind) SELECT :dataset, t.symbol, t.kind "
            "FROM unnest(CAST(:symbols AS text[]), CAST(:kinds AS text[])) AS t (symbol, kind) "
            f"ON CONFLICT {on_conflict}"
        ),
        {"dataset": dataset, "symbols": symbols, "kinds": kinds},
    )


def _write_refused(connection: Connection, import_id: int, refused: Sequence[Refusal]) -> None:
    frame = pd.DataFrame(
        [(import_id, r.row, r.symbol, _storable(r.ts_text), r.rule, _storable(r.detail)) for r in refused]
    )
    text_rows = io.StringIO()
    frame.to_csv(text_rows, header=False, index=False, quoting=2)  # quoted, so that an empty text is no NULL
    text_rows.seek(0)
    _copy(connection, "COPY catalyst_ml.refused_rows FROM STDIN (FORMAT csv)", text_rows)


def _storable(value: str) -> str:
    return value.replace("\0", "\\0")


def _copy(connection: Connection, statement: str, stream: Any) -> None:
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        cursor.copy_expert(statement, stream)

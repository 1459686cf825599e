"""One file of bars on its way into the database: read, sorted out and copied at the same time, one transaction.

A row that is later than all rows of its symbol before it, in the file and in the database, is certainly new: it is
appended by binary COPY. A row that says what is stored already is left out. Whatever else there is (out of order,
repeated, different, with its own ``known_at``) is staged and compared, see ``bar_staging``.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, text

from catalyst_ml.store.bar_lines import Line, PriceBasis, SymbolIds, attach_table, declare_line, newest_bars
from catalyst_ml.store.bar_rows import NEVER, VALUES, BarRows, LineOrder, pack_for_bars, pack_for_stage
from catalyst_ml.store.bar_source import BarFileReport, BarSource, Batch
from catalyst_ml.store.bar_staging import Settled, StagedBar, create_staging, equal_to_stored, settle
from catalyst_ml.store.engine import database_errors
from catalyst_ml.store.file_imports import Refusals, check_dataset, enter_import, finish_import

InstrumentKind = Literal["stock", "index", "volatility"]
VOLATILITY_SYMBOLS = frozenset({"VIX", "^VIX", "VIX9D", "VIX3M", "VXN", "VXD", "RVX", "VVIX"})
"""Symbols that an import of kind ``index`` stores as ``volatility``: they are percent, not index points."""

_MIN_CLOSES_TO_JUDGE = 20


@dataclass(frozen=True)
class ImportOptions:
    """What is said of the bars of an import, beside the files.

    Parameters
    ----------
    kind : 'stock', 'index', 'volatility' or None
        What the symbols are. ``None`` declares new symbols as stocks and leaves known ones alone; within ``index`` the
        symbols of ``VOLATILITY_SYMBOLS`` become ``volatility``.
    prices : 'raw', 'adjusted' or None
        Whether prices are those paid, or restated for later splits. ``None`` means what the line has, raw if it is new.
    priority : int or None
        Where several sources hold the same bar, the smallest wins.
    """

    kind: InstrumentKind | None = None
    prices: PriceBasis | None = None
    priority: int | None = None

    def to_json(self) -> dict[str, Any]:
        """All but the priority, which may change without the bars being read again."""
        return {"kind": self.kind, "prices": self.prices}


def options_text(reading: dict[str, Any], options: ImportOptions) -> str:
    """All that decides about the bars of a file besides its bytes, as one comparable text."""
    return json.dumps({**reading, **options.to_json()}, sort_keys=True)


@dataclass
class _Tally:
    """What the batches of one file said, summed up."""

    read: int = 0
    skipped: int = 0
    out_of_order: int = 0
    irregular: int = 0
    appended: int = 0
    unchanged: int = 0
    staged: int = 0
    closes: Counter[str] = field(default_factory=Counter)
    closes_off_cent: Counter[str] = field(default_factory=Counter)


class FileImport:
    """One file on its way into the database.

    Three things go on at once: a thread reads and checks the next batch, this one sorts the rows of a batch into
    certain and uncertain ones, and a third hands packed rows to the server, which is the slowest of all.
    """

    def __init__(
        self,
        engine: Engine,
        file: BarSource,
        dataset: str,
        timeframe: str,
        now: datetime,
        options: ImportOptions,
        progress: Callable[[str, float], None] | None,
    ) -> None:
        check_dataset(dataset)
        self.engine, self.file, self.now, self.options, self.progress = engine, file, now, options, progress
        self.line = {"dataset": dataset, "timeframe": timeframe}
        self.symbols = SymbolIds(engine)
        self.names: dict[int, str] = {}  # symbols with good rows
        self.lines: dict[str, Line] = {}
        self.orders: dict[str, LineOrder] = {}
        self.tally = _Tally()

    def execute(self) -> BarFileReport:
        """Store the file in one transaction; returns its report."""
        with (
            database_errors(self.engine),
            self.engine.begin() as connection,
            ThreadPoolExecutor(1) as reading,
            ThreadPoolExecutor(1) as copying,
        ):
            refusals = enter_import(
                connection,
                self.file,
                **self.line,
                subject=self.line["timeframe"],
                stamp=self.file.stamp,
                options=options_text(self.file.options, self.options),
                now=self.now,
            )
            create_staging(connection)
            self._take_batches(connection, refusals, reading, copying)
            settled = self._settle(connection, refusals)
            _declare_instruments(connection, self.line["dataset"], sorted(self.names.values()), self.options.kind)
            report = self._report(settled, refusals)
            finish_import(connection, refusals.import_id, report, kept=json.dumps(report.to_json()))
        return report

    def _take_batches(
        self, connection: Connection, refusals: Refusals, reading: ThreadPoolExecutor, copying: ThreadPoolExecutor
    ) -> None:
        batches = self.file.batches()
        coming = reading.submit(next, batches, None)
        copied: Future[None] = copying.submit(lambda: None)
        while (batch := coming.result()) is not None:
            coming = reading.submit(next, batches, None)
            packed: list[tuple[str, io.BytesIO]] = []
            if len(batch.bars):
                new_lines = [name for name in _used_names(batch.bars["source"]) if name not in self.lines]
                if new_lines:
                    copied.result()  # the connection is one
                    self._declare_lines(connection, new_lines)
                rows = self._by_ids(batch.bars)
                self._count(rows, batch)
                for name, line in self.lines.items():
                    own = rows.where(rows.line_id == line.line_id)
                    if len(own):
                        packed += self._sort_out(connection, own, line, self.orders[name], refusals.import_id, copied)
            copied.result()
            refusals.add(connection, batch.refused)
            copied = copying.submit(_copy_all, connection, packed)
            self.tally.read += batch.n_read - batch.n_skipped
            self.tally.skipped += batch.n_skipped
            if self.progress is not None:
                self.progress(self.file.name, batch.fraction_done)
        copied.result()

    def _declare_lines(self, connection: Connection, sources: list[str]) -> None:
        for source in sources:
            line = declare_line(
                connection, **self.line, source=source, prices=self.options.prices, priority=self.options.priority
            )
            newest = {} if line.is_new else newest_bars(connection, line)
            stored = np.full(max(newest, default=0) + 1, NEVER)
            stored[list(newest)] = list(newest.values())
            self.lines[source] = line
            self.orders[source] = LineOrder(stored)

    def _sort_out(
        self,
        connection: Connection,
        rows: BarRows,
        line: Line,
        order: LineOrder,
        import_id: int,
        copied: Future[None],
    ) -> list[tuple[str, io.BytesIO]]:
        """Rows of one line packed for COPY, with the statement that takes them; what is stored already is left out."""
        placed = order.take(rows.symbol_id, rows.ts)
        self.tally.out_of_order += int(placed.is_back.sum())
        if rows.known_at is not None:
            self.tally.staged += len(rows)
            return [pack_for_stage(rows)]
        certain = placed.is_ahead & placed.is_beyond
        uncertain = ~certain
        may_be_stored = placed.is_ahead & uncertain
        if may_be_stored.sum() * 2 > len(rows):
            copied.result()
            again = np.flatnonzero(may_be_stored)[equal_to_stored(connection, rows.where(may_be_stored), line)]
            self.tally.unchanged += len(again)
            uncertain[again] = False
        packed = []
        if certain.any():
            packed.append(pack_for_bars(rows.where(certain), line, import_id))
        if uncertain.any():
            packed.append(pack_for_stage(rows.where(uncertain)))
        self.tally.appended += int(certain.sum())
        self.tally.staged += int(uncertain.sum())
        return packed

    def _by_ids(self, bars: pd.DataFrame) -> BarRows:
        symbol = self._ids(bars["symbol"], self._symbol_ids)
        line = self._ids(bars["source"], lambda names: np.array([self.lines[name].line_id for name in names]))
        return BarRows(
            row=bars["row"].to_numpy(),
            line_id=line,
            symbol_id=symbol,
            ts=_microseconds(bars["ts"]),
            known_at=_microseconds(bars["known_at"]) if "known_at" in bars else None,
            columns=[bars[name].to_numpy() for name in VALUES],
            is_regular=bars["is_regular"].to_numpy() if "is_regular" in bars else np.ones(len(bars), dtype=bool),
        )

    @staticmethod
    def _ids(names: pd.Series, ids_of: Callable[[list[str]], np.ndarray]) -> np.ndarray:
        codes, categories = _coded(names)
        used = np.flatnonzero(np.bincount(codes, minlength=len(categories)))
        by_code = np.zeros(len(categories), dtype=np.int32)
        by_code[used] = ids_of([str(categories[code]) for code in used.tolist()])
        return by_code[codes]

    def _symbol_ids(self, names: list[str]) -> np.ndarray:
        ids = self.symbols.of(names)
        self.names.update(zip(ids.tolist(), names, strict=True))
        return ids

    def _count(self, rows: BarRows, batch: Batch) -> None:
        self.tally.irregular += int((~rows.is_regular).sum())
        if batch.off_cent is not None:
            priced = rows.columns[VALUES.index("close")] >= 1.0
            for tally, closes in ((self.tally.closes, priced), (self.tally.closes_off_cent, batch.off_cent)):
                counts = np.bincount(rows.symbol_id[closes])
                tally.update({self.names[i]: int(counts[i]) for i in np.flatnonzero(counts).tolist()})

    def _settle(self, connection: Connection, refusals: Refusals) -> Settled:
        for line in self.lines.values():
            if line.is_new:
                attach_table(connection, line)
        if not self.tally.staged:
            return Settled(new=self.tally.appended, unchanged=self.tally.unchanged)
        settled = settle(
            connection,
            import_id=refusals.import_id,
            passed=self.tally.appended + self.tally.unchanged > 0,
            now=self.now,
            file=self.file.name,
            symbol_of=self.names.__getitem__,
            rows_of=self._first_rows,
        )
        refusals.add(connection, settled.refused)
        settled.new += self.tally.appended - settled.appended_again
        settled.unchanged += self.tally.unchanged - settled.unchanged_again
        return settled

    def _first_rows(self, bars: Sequence[StagedBar]) -> list[int]:
        """First row of each bar, by reading the file again: rows that were appended kept no number."""
        wanted = pd.DataFrame(bars).assign(place=np.arange(len(bars)))
        first = np.full(len(bars), 0)
        for batch in self.file.batches():
            if not len(batch.bars):
                continue
            rows = self._by_ids(batch.bars)
            keys = pd.DataFrame({"line_id": rows.line_id, "symbol_id": rows.symbol_id, "ts": rows.ts, "row": rows.row})
            for place, row in keys.merge(wanted)[["place", "row"]].to_numpy():
                first[place] = first[place] or row
        return first.tolist()

    def _report(self, settled: Settled, refusals: Refusals) -> BarFileReport:
        tally = self.tally
        return BarFileReport(
            file=self.file.name,
            sources=tuple(sorted(self.lines)),
            read=tally.read,
            new=settled.new,
            unchanged=settled.unchanged,
            corrected=settled.corrected,
            repeated=settled.repeated,
            refused=refusals.rules.total(),
            skipped=tally.skipped,
            out_of_order=tally.out_of_order,
            irregular=tally.irregular,
            exact_duplicates=settled.exact_duplicates,
            refused_by_rule=dict(refusals.rules.most_common()),
            restated=settled.restated,
            examples=tuple(refusals.examples),
            notes=(*self.file.notes, *self._price_notes()),
        )

    def _price_notes(self) -> list[str]:
        """A warning if prices look restated although they were not declared so."""
        if self.options.prices == "adjusted":
            return []
        odd = [
            name
            for name, n in self.tally.closes.items()
            if n >= _MIN_CLOSES_TO_JUDGE and self.tally.closes_off_cent[name] * 2 > n
        ]
        if not odd:
            return []
        shown = ", ".join(sorted(odd)[:5]) + (", ..." if len(odd) > 5 else "")
        return [
            f"PRICES LOOK ADJUSTED: most closes of {len(odd)} of {len(self.tally.closes)} symbols ({shown}) are no "
            "whole cents. Prices restated for later splits or dividends look ahead; if these are, import them with "
            "--prices adjusted into a dataset of their own"
        ]


# --- rows ------------------------------------------------------------------------------------------------


def _coded(names: pd.Series) -> tuple[np.ndarray, list[str]]:
    if isinstance(names.dtype, pd.CategoricalDtype):
        return names.cat.codes.to_numpy(), list(names.cat.categories)
    codes, categories = pd.factorize(names)
    return codes, list(categories)


def _used_names(names: pd.Series) -> list[str]:
    codes, categories = _coded(names)
    used = np.flatnonzero(np.bincount(codes, minlength=len(categories)))
    return [str(categories[code]) for code in used.tolist()]


def _microseconds(times: pd.Series) -> np.ndarray:
    return np.asarray(pd.DatetimeIndex(times).as_unit("us").asi8)


# --- tables ----------------------------------------------------------------------------------------------


def _declare_instruments(connection: Connection, dataset: str, symbols: list[str], kind: InstrumentKind | None) -> None:
    if not symbols:
        return
    kinds = ["volatility" if kind == "index" and s in VOLATILITY_SYMBOLS else kind or "stock" for s in symbols]
    statement = _NEW_INSTRUMENTS if kind is None else _DECLARED_INSTRUMENTS
    connection.execute(text(statement), {"dataset": dataset, "symbols": symbols, "kinds": kinds})


_NEW_INSTRUMENTS = (
    "INSERT INTO catalyst_ml.instruments (dataset, symbol, kind) SELECT :dataset, t.symbol, t.kind "
    "FROM unnest(CAST(:symbols AS text[]), CAST(:kinds AS text[])) AS t (symbol, kind) ON CONFLICT DO NOTHING"
)
_DECLARED_INSTRUMENTS = _NEW_INSTRUMENTS.replace("DO NOTHING", "(dataset, symbol) DO UPDATE SET kind = excluded.kind")


def _copy_all(connection: Connection, packed: Sequence[tuple[str, io.BytesIO]]) -> None:
    for statement, stream in packed:
        _copy(connection, statement, stream)


def _copy(connection: Connection, statement: str, stream: Any) -> None:
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        cursor.copy_expert(statement, stream, size=1 << 18)

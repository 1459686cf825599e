"""One pull of one table: what differs is found by day, fetched by month, verified, and published last."""

# ruff: noqa: S608 - names in the SQL are quoted identifiers of the catalogue, values travel as parameters

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from sqlalchemy import Connection, Engine

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable
from catalyst_ml.store.source_copy import arrow_type, copy_batches
from catalyst_ml.store.source_days import DayTally, stretches_of
from catalyst_ml.store.source_engine import reading
from catalyst_ml.store.source_manifest import (
    TRACE_MODULUS,
    Day,
    Manifest,
    Month,
    Pointer,
    as_json,
    is_there,
    manifest_path,
    month_of,
    read_pointer,
    write_durably,
)
from catalyst_ml.store.source_partitions import (
    UNDATED,
    PartitionWriter,
    day_name,
    day_number,
    day_numbers,
    verified_file,
)
from catalyst_ml.store.source_tables import SourceColumn, SourceTable, valid_time

log = logging.getLogger(__name__)

OVERLAP_DAYS = 7
ROWS_AT_ONCE = 250_000
"""Months are fetched together up to so many rows: each costs a scan of the table, and a kill loses as much."""
PARTS_OF_A_MONTH = 8
"""New days of a month come into files of their own, a tenth of the cost of writing it anew; beyond so many it is."""
KEPT_MANIFESTS = 5


@dataclass(frozen=True)
class PullResult:
    """What a pull did: ``sha256`` of the manifest, rows it holds, rows fetched, days new, changed and gone.

    ``rows_gone`` counts by how many rows days have become shorter.
    """

    table: str
    sha256: str
    rows: int
    fetched: int
    days_new: int
    days_changed: int
    days_gone: int
    rows_gone: int
    was_full: bool
    resumed: bool
    pulled_at: datetime


class TablePull:
    """One pull of one table, under its lock."""

    def __init__(
        self, folder: Path, table: SourceTable, database: str, progress: Callable[[str, float], None] | None
    ) -> None:
        self.folder, self.table, self.database, self.progress = folder, table, database, progress
        self.time = table.time_column
        self.months: dict[str, Month] = {}
        self.fetched = self.to_fetch = 0

    def execute(self, engine: Engine, now: datetime, recheck_after: timedelta, timeout_s: int) -> PullResult:
        for left in self.folder.glob(".*.*"):  # of a pull that was killed
            left.unlink()
        pointer = read_pointer(self.folder)
        before, resumed = self._known(pointer)
        is_whole = all(is_there(self.folder, month) for month in before.values())
        self.months = {name: month for name, month in before.items() if is_there(self.folder, month)}
        known = {name: day for month in self.months.values() for name, day in month.days.items()}
        # A row of a far future, entered by mistake, must not hide those of today.
        newest = max((name for name in known if name != UNDATED and name <= f"{now:%Y-%m-%d}"), default=None)
        is_fresh = pointer is not None and now - pointer.checked_at < recheck_after and not resumed and is_whole
        since = None if newest is None or not is_fresh or self.time is None else day_number(newest) - OVERLAP_DAYS
        with reading(engine, timeout_s=timeout_s) as connection:
            found = self._compare(connection, since)
            compared = {name for name in known if since is None or day_name(since) <= name != UNDATED}
            gone = compared - found.keys()
            differing = {name for name, day in found.items() if known.get(name) != day} | gone
            everything = {name: day for name, day in {**known, **found}.items() if name not in gone}
            self._fetch(connection, everything, differing)
        sha256 = self._publish(pointer, now, checked_at=now if since is None or pointer is None else pointer.checked_at)
        return PullResult(
            table=self.table.full_name,
            sha256=sha256,
            rows=sum(month.rows for month in self.months.values()),
            fetched=self.fetched,
            days_new=len(differing - known.keys()),
            days_changed=len(differing & known.keys() & found.keys()),
            days_gone=len(gone),
            rows_gone=sum(max(0, known[day].rows - (found[day].rows if day in found else 0)) for day in compared),
            was_full=since is None,
            resumed=resumed,
            pulled_at=now,
        )

    def _known(self, pointer: Pointer | None) -> tuple[dict[str, Month], bool]:
        """Months we have of this very table, and whether they come from a pull that was cut off."""
        for path, is_working in ((self.folder / "pulling.json", True), (manifest_path(self.folder, pointer), False)):
            if path is None or not path.is_file():
                continue
            try:
                manifest = Manifest.model_validate_json(path.read_bytes())
            except (ValidationError, ValueError):
                log.warning("%s is damaged and left aside; what it named is fetched anew", path)
                continue
            if manifest.model_copy(update={"months": {}}) == self._manifest({}):
                return dict(manifest.months), is_working
            log.info("%s was made anew or altered its columns since the last pull: read whole", self.table.full_name)
        return {}, False

    # --- what the server has ---

    def _compare(self, connection: Connection, since: int | None) -> dict[str, Day]:
        table, ts = self.table, self.time
        day = "NULL" if ts is None else f"CASE WHEN {valid_time(ts.expression)} THEN {ts.expression}::date END"
        where, values = "%(all)s", dict[str, Any]({"all": True})
        if ts is not None and since is not None:
            where, values = f"{ts.expression} >= %(since)s AND {valid_time(ts.expression)}", {"since": day_name(since)}
        rows = connection.exec_driver_sql(
            f"SELECT {day} AS day, count(*), sum({table.trace}) FROM {table.relation} WHERE {where} GROUP BY 1",
            values,
        )
        return {
            UNDATED if name is None else name.isoformat(): Day(rows=int(n), trace=int(trace) % TRACE_MODULUS)
            for name, n, trace in rows
        }

    # --- what is fetched ---

    def _fetch(self, connection: Connection, everything: dict[str, Day], differing: set[str]) -> None:
        plans = self._plan(everything, differing)
        self.to_fetch = sum(plan.n_fetched for plan in plans)
        chunk: list[_Part] = []
        # While one chunk is compressed and flushed the next one comes in.
        with ThreadPoolExecutor(1) as finishing:
            finished: Future[None] = finishing.submit(lambda: None)
            for place, plan in enumerate(plans):
                chunk.append(plan)
                # Rows without a time differ in the type of that column, so they are fetched apart.
                more = plans[place + 1] if place + 1 < len(plans) and plans[place + 1].name != UNDATED else None
                if more is not None and sum(p.n_fetched for p in chunk) + more.n_fetched <= ROWS_AT_ONCE:
                    continue
                writers = self._copy(connection, chunk, everything)
                try:
                    finished.result()
                except BaseException:
                    _discard(writers)
                    raise
                finished = finishing.submit(self._finish, chunk, writers)
                chunk = []
            finished.result()

    def _plan(self, everything: dict[str, Day], differing: set[str]) -> list[_Part]:
        """Which files are written: those that held a day that differs, and one for the new days of each month."""
        owner = {day: name for name, month in self.months.items() for day in month.days}
        days: dict[str, set[str]] = {}
        apart = self._part_of_newest(max(everything.keys() - {UNDATED}, default=UNDATED), owner, days)
        for day in sorted(differing):
            is_newest = apart is not None and day == apart[0]
            part = apart[1] if apart and is_newest else owner.get(day) or self._new_part(month_of(day), days)
            days.setdefault(part, set()).add(day)
        for month, n_parts in Counter(map(month_of, self.months)).items():
            if n_parts > PARTS_OF_A_MONTH:
                days.setdefault(month, set())
        for name in [n for n in days if n != month_of(n) and month_of(n) in days and (apart is None or n != apart[1])]:
            days[month_of(name)] |= days.pop(name)  # the month is written anew, with all its parts in one file
        plans = []
        for name, its in sorted(days.items()):
            parts = [old for old in self.months if name == month_of(old) and (apart is None or old != apart[1])]
            replaced = [name] * (name in self.months) if name != month_of(name) else parts
            kept = {old: set(self.months[old].days) - differing for old in replaced}
            if any(kept.values()) and not all([self._is_sound(old) for old in replaced]):
                its, kept = its.union(*kept.values()), {}
            fetched = {day: everything[day] for day in sorted(its) if day in everything}
            plans.append(_Part(name, kept, tuple(replaced), fetched))
        return plans

    def _part_of_newest(self, newest: str, owner: Mapping[str, str], planned: Iterable[str]) -> tuple[str, str] | None:
        """The newest day and the file it has to itself: it goes on after this pull, and is all that is written then."""
        if newest == UNDATED:
            return None
        name = owner.get(newest) or self._new_part(month_of(newest), [*planned, month_of(newest)])
        return (newest, name) if name not in self.months or set(self.months[name].days) == {newest} else None

    def _new_part(self, month: str, planned: Iterable[str]) -> str:
        """Name of the file that new days of a month go to: the month, or a further part of it."""
        names = {name for name in (*self.months, *planned) if month_of(name) == month}
        numbers = [int(name.partition(".")[2] or 1) for name in names]
        return f"{month}.{max(numbers) + 1}" if numbers and month != UNDATED else month

    def _is_sound(self, name: str) -> bool:
        month = self.months[name]
        try:
            verified_file(self.folder, month.path, month.sha256)
        except ArtifactRefused as error:
            log.warning("%s", error)
            (self.folder / month.path).unlink(missing_ok=True)
            return False
        return True

    def _copy(
        self, connection: Connection, parts: list[_Part], everything: dict[str, Day]
    ) -> dict[str, PartitionWriter]:
        """Rows that stay and rows of the server, in files that are still open; verified."""
        columns = self._columns(is_dated=parts[0].name != UNDATED)
        schema = pa.schema([(name, kind) for name, _, kind in columns[:-1]])
        writers: dict[str, PartitionWriter] = {}
        try:
            for part in parts:
                writers[part.name] = PartitionWriter(self.folder, schema)
                for old, days in part.kept.items():
                    self._keep_rows(self.months[old], days, writers[part.name])
            expected = {day: count for part in parts for day, count in part.fetched.items()}
            if expected:
                where, values = self._condition(expected, everything)
                taking = DayTally(self.time, {day: part.name for part in parts for day in part.fetched}, writers)
                with closing(copy_batches(connection, self.table, columns, where=where, values=values)) as batches:
                    for batch in batches:
                        self.fetched += taking.take(batch)
                        if self.progress is not None:
                            self.progress(self.table.full_name, min(1.0, self.fetched / max(1, self.to_fetch)))
                self._verify(expected, taking.days())
        except BaseException:
            _discard(writers)
            raise
        return writers

    def _finish(self, parts: list[_Part], writers: dict[str, PartitionWriter]) -> None:
        """Give the files their names, and write down that they are there."""
        try:
            for part in parts:
                writer = writers[part.name]
                days = {
                    day: self.months[old].days[day] for old, kept in part.kept.items() for day in kept
                } | part.fetched
                counted = sum(day.rows for day in days.values())
                if writer.rows != counted:
                    raise SourceUnavailable(
                        f"{self.table.full_name}, {part.name}: {writer.rows} rows came where the source counted "
                        f"{counted}. Nothing of this month was taken; run again."
                    )
                for old in part.replaced:
                    self.months.pop(old, None)
                if days:
                    path, sha256 = writer.finish()
                    self.months[part.name] = Month(
                        path=path, sha256=sha256, rows=counted, days=dict(sorted(days.items()))
                    )
        finally:
            _discard(writers)
        write_durably(self.folder / "pulling.json", as_json(self._manifest(self.months)))

    def _columns(self, *, is_dated: bool) -> list[tuple[str, str, pa.DataType]]:
        columns = [self._selected(column, is_dated) for column in self.table.columns]
        return [*columns, ("", self.table.trace, pa.int64())]

    def _selected(self, column: SourceColumn, is_dated: bool) -> tuple[str, str, pa.DataType]:
        expression, kind = column.expression, arrow_type(column)
        if self.time is not None and column.name == self.time.name:
            return (column.name, expression, kind) if is_dated else (column.name, f"{expression}::text", pa.string())
        if column.is_time:  # "infinity" and the year 20000 have no place in 64 bits of microseconds
            expression = f"CASE WHEN {valid_time(expression)} THEN {expression} END"
        return column.name, expression, kind

    def _keep_rows(self, month: Month, days: set[str], writer: PartitionWriter) -> None:
        if not days or self.time is None:
            return
        kept = np.array([day_number(day) for day in days])
        for batch in pq.ParquetFile(self.folder / month.path).iter_batches():
            wanted = np.isin(day_numbers(batch.column(self.time.name)), kept)
            writer.add(batch.filter(pa.array(wanted)).cast(writer.schema))

    def _condition(self, wanted: Mapping[str, Day], everything: dict[str, Day]) -> tuple[str, dict[str, Any]]:
        if self.time is None:
            return "%(all)s", {}
        ts = self.time.expression
        if UNDATED in wanted:
            return f"{valid_time(ts)} IS NOT TRUE", {}
        ranges = stretches_of(wanted, everything)
        values: dict[str, Any] = {}
        for i, (first, last) in enumerate(ranges):
            values |= {f"from{i}": first, f"to{i}": day_name(day_number(last) + 1)}
        return " OR ".join(f"({ts} >= %(from{i})s AND {ts} < %(to{i})s)" for i in range(len(ranges))), values

    def _verify(self, expected: dict[str, Day], came: dict[str, Day]) -> None:
        wrong = sorted(name for name in {*expected, *came} if expected.get(name) != came.get(name))
        if wrong:
            nothing = Day(rows=0, trace=0)
            counted, got = expected.get(wrong[0], nothing).rows, came.get(wrong[0], nothing).rows
            raise SourceUnavailable(
                f"{self.table.full_name}: {len(wrong)} days did not come as the source had counted them, first "
                f"{wrong[0]}: expected {counted} rows, got {got}, or others than these. Nothing of them was taken; run "
                "again."
            )

    # --- the end ---

    def _manifest(self, months: dict[str, Month]) -> Manifest:
        return Manifest(
            database=self.database,
            table=self.table.full_name,
            identity=self.table.identity,
            columns=tuple((column.name, column.type) for column in self.table.columns),
            time_column=self.time.name if self.time else None,
            months=dict(sorted(months.items())),
        )

    def _publish(self, pointer: Pointer | None, now: datetime, *, checked_at: datetime) -> str:
        content = as_json(self._manifest(self.months))
        sha256 = hashlib.sha256(content).hexdigest()
        if not (self.folder / f"{sha256}.json").is_file():
            write_durably(self.folder / f"{sha256}.json", content)
        history = [sha256, *(name for name in (pointer.history if pointer else ()) if name != sha256)][:KEPT_MANIFESTS]
        new = Pointer(manifest=sha256, history=tuple(history), checked_at=checked_at, pulled_at=now)
        write_durably(self.folder / "current.json", new.model_dump_json(indent=1).encode())
        (self.folder / "pulling.json").unlink(missing_ok=True)
        self._forget_what_no_manifest_names(history)
        return sha256

    def _forget_what_no_manifest_names(self, history: list[str]) -> None:
        named = {f"{name}.json" for name in history}
        for name in list(named):
            path = self.folder / name
            if path.is_file():
                named |= {month["path"] for month in json.loads(path.read_bytes())["months"].values()}
        for path in self.folder.iterdir():
            if re.fullmatch(r"[0-9a-f]{64}\.(json|parquet)", path.name) and path.name not in named:
                path.unlink()


@dataclass(frozen=True)
class _Part:
    """One file to be written.

    ``fetched`` days come from the server, ``kept`` ones from the files that it replaces.
    """

    name: str
    kept: dict[str, set[str]]
    replaced: tuple[str, ...]
    fetched: dict[str, Day]

    @property
    def n_fetched(self) -> int:
        return sum(day.rows for day in self.fetched.values())


def _discard(writers: Mapping[str, PartitionWriter]) -> None:
    for writer in writers.values():
        writer.discard()

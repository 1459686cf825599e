"""What imports of files share: the report, the refused rows, the entry in ``catalyst_ml.imports``.

News and reference files are opened and closed here; bars, which are recognised when they come again, in ``bar_intake``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import pandas as pd
from sqlalchemy import Connection, text

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.bar_lines import SIMULATED_SOURCE
from catalyst_ml.store.frame_transfer import copy_frame

DATASET_NAME = r"[a-z0-9][a-z0-9_-]{0,40}"
EXAMPLES_PER_RULE = 3
NO_TIMEFRAME = "-"


class SourceFile(Protocol):
    """What every import knows of its file: name, SHA-256 of its bytes, remarks of the reader."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


class SourceBatch(Protocol):
    """Some rows of a file: those refused at reading, and counts. The good ones are the business of each import."""

    @property
    def refused(self) -> Sequence[RefusedRow]: ...
    @property
    def n_read(self) -> int: ...
    @property
    def n_skipped(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What became of one file: ``read = new + unchanged + corrected + repeated + refused``.

    ``repeated`` rows say what an earlier row of the file said of the same thing. ``skipped`` ones, which ``read`` does
    not count, were not asked for. ``examples`` are the first refused rows of each rule.
    """

    file: str
    sources: tuple[str, ...]
    read: int
    new: int
    unchanged: int
    corrected: int
    repeated: int
    refused: int
    skipped: int
    refused_by_rule: dict[str, int]
    examples: tuple[RefusedRow, ...]
    notes: tuple[str, ...]


@dataclass
class Refusals:
    """Refused rows of one import: all go to the table, a few of each rule into the report."""

    import_id: int
    rules: Counter[str] = field(default_factory=Counter)
    examples: list[RefusedRow] = field(default_factory=list)

    def add(self, connection: Connection, refused: Sequence[RefusedRow]) -> None:
        """Store refused rows and count them."""
        if not refused:
            return
        rows = [_storable(row) for row in refused]
        for row in rows:
            self.rules[row.rule] += 1
            if self.rules[row.rule] <= EXAMPLES_PER_RULE:
                self.examples.append(row)
        values = [(self.import_id, r.row, r.symbol, r.ts_text, r.rule, r.detail) for r in rows]
        columns = ["import_id", "row", "symbol", "ts_text", "rule", "detail"]
        copy_frame(connection, "catalyst_ml.refused_rows", pd.DataFrame(values, columns=columns))


def check_dataset(dataset: str) -> None:
    """Raise ``ConfigurationError`` if a dataset has a name that other commands would not take."""
    if not re.fullmatch(DATASET_NAME, dataset):
        raise ConfigurationError(
            f"dataset {dataset!r}: expected small letters, digits, - and _, at most 41 of them, starting with a letter "
            "or a digit, e.g. real-daily. Choose such a name."
        )


def enter_import(
    connection: Connection,
    file: SourceFile,
    *,
    dataset: str,
    subject: str,
    timeframe: str,
    stamp: str,
    options: str,
    now: datetime,
) -> Refusals:
    """Enter an import into ``catalyst_ml.imports``; those of one dataset and subject wait for each other.

    Without the lock, which ends with the transaction, two imports would both find the same row missing. ``options`` is
    JSON text: all that decides about the rows of the file besides its bytes.

    Raises
    ------
    ConfigurationError
        If ``now`` names no zone.
    """
    if now.tzinfo is None:
        raise ConfigurationError(f"now={now} has no time zone; expected an aware moment.")
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"{dataset}/{subject}"})
    statement = text(
        "INSERT INTO catalyst_ml.imports (dataset, timeframe, source, file_name, sha256, stamp, started_at, options) "
        "VALUES (:dataset, :timeframe, '', :file, :sha256, :stamp, :now, CAST(:options AS jsonb)) RETURNING id"
    )
    values = {
        "dataset": dataset,
        "timeframe": timeframe,
        "file": file.name,
        "sha256": file.sha256,
        "stamp": stamp,
        "now": now,
        "options": options,
    }
    return Refusals(int(connection.execute(statement, values).scalar_one()))


def finish_import(connection: Connection, import_id: int, report: FileReport, *, kept: str | None = None) -> None:
    """Write the counts of a report into the entry of its import; ``kept`` is JSON for when the file comes again."""
    connection.execute(
        text(
            "UPDATE catalyst_ml.imports SET source = :source, rows_read = :read, rows_new = :new, rows_unchanged = "
            ":unchanged, rows_corrected = :corrected, rows_refused = :refused, report = CAST(:report AS jsonb), "
            "finished_at = clock_timestamp() WHERE id = :id"
        ),
        {
            "source": ",".join(report.sources),
            "read": report.read,
            "new": report.new,
            "unchanged": report.unchanged + report.repeated,
            "corrected": report.corrected,
            "refused": report.refused,
            "report": kept,
            "id": import_id,
        },
    )


def open_import(
    connection: Connection, file: SourceFile, *, dataset: str, subject: str, now: datetime, options: dict[str, Any]
) -> Refusals:
    """Enter an import of news or reference data; ``subject`` is what it brings.

    Raises
    ------
    ConfigurationError
        If ``now`` names no zone or ``dataset`` is no name.
    DataContractError
        If the dataset holds simulated bars.
    """
    check_dataset(dataset)
    entry = json.dumps({"subject": subject, **options})
    refusals = enter_import(
        connection, file, dataset=dataset, subject=subject, timeframe=NO_TIMEFRAME, stamp="end", options=entry, now=now
    )
    _refuse_simulated(connection, dataset, file.name)
    return refusals


def close_import(
    connection: Connection,
    file: SourceFile,
    refusals: Refusals,
    *,
    read: int,
    new: int,
    corrected: int,
    repeated: int,
    skipped: int = 0,
    sources: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> FileReport:
    """Finish such an import and report it; ``unchanged`` is what no other count holds.

    One that repeats an earlier import of the same bytes and changed nothing leaves no entry: a daily pull would
    enter every month of news, and its refused rows, again each evening.
    """
    refused = refusals.rules.total()
    report = FileReport(
        file=file.name,
        sources=tuple(sources),
        read=read,
        new=new,
        unchanged=read - new - corrected - repeated - refused,
        corrected=corrected,
        repeated=repeated,
        refused=refused,
        skipped=skipped,
        refused_by_rule=dict(refusals.rules.most_common()),
        examples=tuple(refusals.examples),
        notes=(*file.notes, *remarks),
    )
    finish_import(connection, refusals.import_id, report)
    if not new and not corrected:
        connection.execute(text(_FORGET_REPETITION), {"id": refusals.import_id})
    return report


_FORGET_REPETITION = """
    DELETE FROM catalyst_ml.imports again USING catalyst_ml.imports e
    WHERE again.id = :id AND e.id < again.id AND e.finished_at IS NOT NULL AND e.rows_refused = again.rows_refused
    AND (e.dataset, e.timeframe, e.file_name, e.sha256, e.options)
        = (again.dataset, again.timeframe, again.file_name, again.sha256, again.options)
"""


def _refuse_simulated(connection: Connection, dataset: str, file: str) -> None:
    statement = text("SELECT count(*) FROM catalyst_ml.bar_lines WHERE dataset = :dataset AND source = :source")
    if connection.execute(statement, {"dataset": dataset, "source": SIMULATED_SOURCE}).scalar():
        raise DataContractError(
            f"dataset {dataset!r} holds simulated bars; {file} would be mixed in. Real and simulated data never share "
            "a dataset: choose another --dataset."
        )


def _storable(row: RefusedRow) -> RefusedRow:
    """PostgreSQL stores every character but the zero byte."""
    texts = {name: getattr(row, name) for name in ("symbol", "ts_text", "rule", "detail")}
    if not any("\0" in value for value in texts.values()):
        return row
    return replace(row, **{name: value.replace("\0", "\\0") for name, value in texts.items()})

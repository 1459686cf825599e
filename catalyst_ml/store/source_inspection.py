"""What the trading system's database holds for us, what it does not, and what that costs: in words and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Engine

from catalyst_ml.store.source_counts import count_rows
from catalyst_ml.store.source_engine import reading
from catalyst_ml.store.source_shapes import (
    BARS,
    CONFIGURATION,
    DETECTIONS,
    SCALES,
    SECTORS,
    SUBJECTS,
    TRAINING,
    Subject,
    known_subject,
    missing_fields,
    timeframe_named,
)
from catalyst_ml.store.source_tables import SourceCatalogue, SourceTable, read_catalogue

_SHOWN = 12


@dataclass
class Finding:
    """One table of a subject: what it is, how much it holds, and what is odd about it."""

    table: str
    kind: str
    subject: str
    generation: str
    fields: dict[str, str]
    rows: int | None = None
    first: str | None = None
    last: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    timeframes: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Missing:
    """A subject that is absent or empty, why, and what goes without it."""

    subject: str
    why: str
    cost: str


@dataclass(frozen=True)
class SourceReport:
    """All that an inspection says. ``others`` are tables we know nothing of, ``closed`` those the role may not read."""

    database: str
    server_version: str
    findings: tuple[Finding, ...]
    missing: tuple[Missing, ...]
    closed: tuple[str, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]

    def of(self, subject: Subject) -> list[Finding]:
        """Findings of one subject."""
        return [finding for finding in self.findings if finding.subject == subject.name]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def to_text(self) -> str:
        """The report for people."""
        lines = [f"Database {self.database}, PostgreSQL {self.server_version}", ""]
        lines += ["Found" if self.findings else "Found: nothing that we know"]
        for f in self.findings:
            size = "not counted" if f.rows is None else f"{f.rows:,} rows"
            span = f", {f.first[:10]} to {f.last[:10]}" if f.first and f.last else ""
            told = f", {f.generation}" if f.generation else ""
            kind = "" if f.kind == "table" else f" ({f.kind})"
            lines.append(f"  {f.subject}: {f.table}{kind}: {size}{span}{told}")
            if f.timeframes:
                lines.append("      bars of " + ", ".join(f"{name} {n:,}" for name, n in f.timeframes.items()))
            lines += [f"      {remark}" for remark in f.remarks]
        if self.missing:
            lines += ["", "Missing, and what that costs"]
            lines += [f"  {m.subject}: {m.why}. Costs {m.cost}" for m in self.missing]
        if self.closed:
            lines += [
                "",
                f"Not readable by this role: {_shown(self.closed)} (deployments/sql/source_role.sql grants it)",
            ]
        if self.others:
            lines += ["", f"Not used: {_shown(self.others)}"]
        lines += [""] * bool(self.notes) + [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)


def inspect_source(
    engine: Engine, *, timezone: str = "UTC", count: bool = True
) -> tuple[SourceCatalogue, SourceReport]:
    """Recognise the tables of a database and say what they are good for.

    Parameters
    ----------
    engine : Engine
        Of ``source_engine.open_source``, or any other that leads to PostgreSQL.
    timezone : str
        What times without a zone are read in; for the remarks.
    count : bool
        Read every table of a known subject once, to count; else only the catalogue is looked at.

    Raises
    ------
    SourceUnavailable, ConfigurationError
        See ``source_engine.reading``.
    """
    with reading(engine) as connection:
        catalogue = read_catalogue(connection)
    findings = []
    for table in catalogue.tables:
        if table.subject is None:
            continue
        finding = Finding(
            table.full_name, table.kind, table.subject.name, table.generation, dict(table.fields),
            remarks=_shape_remarks(table, timezone),
        )  # fmt: skip
        if count:
            counted = count_rows(engine, table)
            finding.rows, finding.first, finding.last = counted.rows, counted.first, counted.last
            finding.counts, finding.timeframes = counted.counts, counted.timeframes
            finding.remarks += _row_remarks(table, finding) if counted.rows is not None else [counted.problem]
        findings.append(finding)
    order = {subject.name: place for place, subject in enumerate(SUBJECTS)}
    findings.sort(key=lambda f: (order[f.subject], f.table))
    strange = {table.full_name: _why_strange(table) for table in catalogue.tables if table.subject is None}
    report = SourceReport(
        database=catalogue.database,
        server_version=catalogue.server_version,
        findings=tuple(findings),
        missing=tuple(_missing(catalogue, findings, strange)),
        closed=catalogue.closed,
        others=tuple(name for name, why in strange.items() if not why),
        notes=tuple(_notes(catalogue, findings, strange)),
    )
    return catalogue, report


# --- what the shape says --------------------------------------------------------------------------------


def _shape_remarks(table: SourceTable, timezone: str) -> list[str]:
    remarks = [f"{what}" for what in (f"read: {text}" for text in table.resolved)]
    ts = table.time_column
    if "ts" in table.fields and ts is None:
        remarks.append(f"column {table.fields['ts']} holds no dates or times: copied whole, not used")
    if ts is not None and ts.is_naive:
        remarks.append(f"times without a zone, read as {timezone} (SOURCE_TIMEZONE)")
    scaled = [f"{name} {SCALES[name][0]}" for name in table.fields.values() if name in SCALES]
    if scaled:
        remarks.append(f"by upstream's definition {', '.join(scaled)}; read as fractions of 1")
    if table.closed_columns:
        remarks.append(f"columns the role may not read: {_shown(table.closed_columns)}")
    if table.subject is DETECTIONS and not {"direction", "metadata"} & set(table.fields):
        remarks.append("no column says the direction of a pattern")
    return remarks


def _why_strange(table: SourceTable) -> str:
    """Why a table that has a known name is not what it should be; ``""`` for unknown names."""
    subject = known_subject(table.name)
    if subject is None:
        return ""
    gone = missing_fields(subject, {column.name: column.type for column in table.columns})
    return f"{table.full_name} lacks a column for {', '.join(gone)}"


# --- what the rows say ----------------------------------------------------------------------------------


def _row_remarks(table: SourceTable, finding: Finding) -> list[str]:
    counts, remarks = finding.counts, []
    if counts.get("repeated"):
        remarks.append(f"{counts['repeated']:,} rows repeat the key of another: equal ones count once")
    if counts.get("without time"):
        remarks.append(f"{counts['without time']:,} rows have no usable time: copied, never used")
    if counts.get("nan"):
        remarks.append(f"{counts['nan']:,} numbers are NaN: read as missing")
    if counts.get("at limit"):
        remarks.append(
            f"{counts['at limit']:,} numbers stand at the limit of their type: cut off there, or refused beyond"
        )
    if "success" in table.fields and finding.rows:
        settled, rows = counts.get("settled", 0), finding.rows or 0
        share = f", {counts.get('successes', 0) / settled:.1%} of them successes" if settled else ""
        remarks.append(f"{settled:,} of {rows:,} rows are settled{share}; the others are unlabelled, not failures")
        if counts.get("labelled but open"):
            remarks.append(
                f"{counts['labelled but open']:,} rows have a label although their outcome is open: not used"
            )
    if counts.get("without symbol"):
        remarks.append(
            f"{counts['without symbol']:,} stories name no symbol"
            + (
                f"; {counts.get('with tickers', 0):,} mention tickers, used where we know them"
                if table.column("tickers")
                else ""
            )
        )
    if table.subject is SECTORS and finding.rows and not counts.get("with sector"):
        remarks.append("every sector is unknown")
    if table.subject is BARS and (unreadable := [n for n in finding.timeframes if timeframe_named(n) is None]):
        remarks.append(f"bars of unknown length ({', '.join(unreadable)}): not used; name one with --timeframe")
    return remarks


# --- what is not there ----------------------------------------------------------------------------------


def _missing(catalogue: SourceCatalogue, findings: Sequence[Finding], strange: dict[str, str]) -> list[Missing]:
    missing = []
    for subject in SUBJECTS:
        if not subject.is_pulled:
            continue
        found = [finding for finding in findings if finding.subject == subject.name]
        odd = [why for name, why in strange.items() if why and name.rpartition(".")[2] in subject.tables]
        closed = [name for name in catalogue.closed if name.rpartition(".")[2] in subject.tables]
        if not found:
            why = "; ".join([*odd, *(f"{name} may not be read" for name in closed)]) or "no such table"
        elif all(finding.rows == 0 for finding in found):
            why = f"{_shown([f.table for f in found])} empty"
        elif subject is SECTORS and all(f.rows is not None and not f.counts.get("with sector") for f in found):
            why = "every sector is unknown"
        elif subject is TRAINING and all(f.rows is not None and not f.counts.get("settled") for f in found):
            why = "no row is settled"
        else:
            continue
        missing.append(Missing(subject.name, why, subject.cost_if_missing))
    return missing


def _notes(catalogue: SourceCatalogue, findings: Sequence[Finding], strange: dict[str, str]) -> list[str]:
    notes = [f"{why}, so it is left alone" for why in strange.values() if why]
    if findings and all(finding.subject == BARS.name for finding in findings):
        notes.append("bars only: rules, detections, features and labels are all computed from them")
    twins = [table.full_name for table in catalogue.of(CONFIGURATION)]
    if len(twins) > 1:
        notes.append(
            f"{' and '.join(twins)} are twins a factor of 100 apart (stop_loss_pct 0.02 there is 2 here): not used"
        )
    by_name: dict[str, list[str]] = {}
    for table in catalogue.tables:
        if table.subject is not None and table.subject.is_pulled:
            by_name.setdefault(table.name, []).append(table.full_name)
    notes += [f"{' and '.join(names)} share a name; both are read" for names in by_name.values() if len(names) > 1]
    return notes


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")

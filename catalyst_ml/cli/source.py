"""``catalyst-ml source``: look at the trading system's database, and pull bars, news and sectors from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalyst_ml.cli.options import Dataset

if TYPE_CHECKING:
    from catalyst_ml.cli.source_import import ImportTarget
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.file_imports import FileReport
    from catalyst_ml.store.source_inspection import SourceReport
    from catalyst_ml.store.source_snapshots import SourceSnapshots
    from catalyst_ml.store.source_tables import SourceCatalogue, SourceTable

app = typer.Typer(
    help="Read the trading system's database (SOURCE_DATABASE_URL); nothing is ever written there.",
    no_args_is_help=True,
)


class SubjectOption(StrEnum):
    """What a pull copies."""

    BARS = "bars"
    NEWS = "news"
    SECTORS = "sectors"
    TRAINING = "training"
    DETECTIONS = "detections"


class StampOption(StrEnum):
    """What the time of an intraday bar means."""

    START = "start"
    END = "end"


_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of sentences.")]


@app.command()
def inspect(
    as_json: _AsJson = False,
    count: Annotated[bool, typer.Option("--count/--no-count", help="Read each table once to count its rows.")] = True,
) -> None:
    """Say which tables the source has, of which generation, what is missing and what that costs."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.source_engine import open_source
    from catalyst_ml.store.source_inspection import inspect_source

    settings = Settings()
    _, report = inspect_source(open_source(settings), timezone=settings.source.timezone, count=count)
    typer.echo(json.dumps(report.to_json(), indent=1) if as_json else report.to_text())


@app.command()
def pull(
    dataset: Dataset,
    only: Annotated[
        list[SubjectOption] | None, typer.Option(help="Pull these subjects; may be repeated. All by default.")
    ] = None,
    stamp: Annotated[
        StampOption,
        typer.Option(
            help="Does an intraday bar's time mean its start or its end? Upstream hands on the start; if that is wrong "
            "bars count as known one bar late, never early."
        ),
    ] = StampOption.START,
    timeframe: Annotated[
        str | None, typer.Option(help="Only bars of this length; also the length of bars that do not say theirs.")
    ] = None,
    check_all: Annotated[
        bool, typer.Option("--check-all", help="Compare every day with the source, not only the newest ones.")
    ] = False,
    no_import: Annotated[bool, typer.Option("--no-import", help="Only bring the snapshots up to date.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Bring snapshots up to date and import bars, news and sectors; running it again changes nothing.

    A table whose values cannot be read makes the exit code 1; the others come in.

    Sectors come in as taxonomy "catalyst"; give them to the stocks with: reference use-sectors catalyst.
    """
    from catalyst_ml.errors import DataContractError
    from catalyst_ml.market.bar_stamps import parse_timeframe
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.file_imports import check_dataset
    from catalyst_ml.store.source_engine import open_source
    from catalyst_ml.store.source_inspection import inspect_source

    check_dataset(dataset)
    length = parse_timeframe(timeframe).name if timeframe else None
    settings = Settings()
    source = open_source(settings)
    catalogue, report = inspect_source(source, timezone=settings.source.timezone, count=False)
    wanted = {option.value for option in only or SubjectOption}
    tables = [t for t in catalogue.tables if t.subject is not None and t.subject.name in wanted and t.subject.is_pulled]
    document: dict[str, Any] = {
        "database": catalogue.database,
        "pulled": [],
        "imported": [],
        "notes": [],
        "refused": [],
    }
    with _progress_bar() as progress:
        snapshots = _pull_tables(settings, source, catalogue, tables, document, check_all=check_all, progress=progress)
        if not no_import:
            target = _target(settings, dataset, stamp, progress)
            for table in sorted(tables, key=_import_order):
                try:
                    _import_table(target, snapshots, source, table, length, document)
                except DataContractError as error:
                    document["refused"].append(_refusal(table, error))
    _print_pull(document, report, wanted, as_json=as_json)
    if document["refused"]:
        raise typer.Exit(1)


def _pull_tables(
    settings: Settings,
    source: Any,
    catalogue: SourceCatalogue,
    tables: list[SourceTable],
    document: dict[str, Any],
    *,
    check_all: bool,
    progress: Callable[[str, float], None],
) -> SourceSnapshots:
    from datetime import timedelta

    import pandas as pd

    from catalyst_ml.errors import DataContractError
    from catalyst_ml.store.source_shapes import BARS, NEWS
    from catalyst_ml.store.source_snapshots import SourceSnapshots

    snapshots = SourceSnapshots(settings.home.path("snapshots"), catalogue.database)
    for table in list(tables):
        try:
            result = snapshots.pull(
                source,
                table,
                now=pd.Timestamp.now("UTC").to_pydatetime(),
                recheck_after=timedelta(0) if check_all else timedelta(hours=settings.source.recheck_hours),
                timeout_s=settings.source.statement_timeout_s,
                progress=progress,
            )
        except DataContractError as error:  # one table's values are no reason to leave the others
            document["refused"].append(_refusal(table, error))
            tables.remove(table)
            continue
        if result.rows_gone and table.subject in (BARS, NEWS):
            document["notes"].append(
                f"{table.full_name}: {result.rows_gone:,} rows are gone from the days they stood on; what was imported "
                "of them stays in the dataset, because it was known then"
            )
        document["pulled"].append({**asdict(result), "subject": table.subject.name if table.subject else ""})
    return snapshots


def _refusal(table: SourceTable, error: Exception) -> str:
    return f"{table.full_name} refused: {error}"


def _target(
    settings: Settings, dataset: str, stamp: StampOption, progress: Callable[[str, float], None]
) -> ImportTarget:
    import pandas as pd

    from catalyst_ml.cli.source_import import ImportTarget
    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.store.engine import open_engine

    return ImportTarget(
        open_engine(settings), dataset, stamp.value, settings.source.timezone, TradingCalendar(),
        pd.Timestamp.now("UTC"), progress,
    )  # fmt: skip


def _import_order(table: SourceTable) -> tuple[bool, str]:
    """Bars first: they say which symbols there are."""
    return table.subject is None or table.subject.name != "bars", table.full_name


def _import_table(
    target: ImportTarget,
    snapshots: SourceSnapshots,
    source: Any,
    table: SourceTable,
    length: str | None,
    document: dict[str, Any],
) -> None:
    from catalyst_ml.cli.source_import import import_bar_table, import_news_table, import_sector_table
    from catalyst_ml.store.source_counts import bars_of_timeframes
    from catalyst_ml.store.source_shapes import BARS, NEWS, SECTORS, timeframe_named

    document["notes"] += _unusable_rows(table, snapshots)
    outcomes: Iterator[Any] = iter(())
    if table.subject is BARS:
        found = bars_of_timeframes(source, table)
        unknown = [written for written in found if timeframe_named(written) is None]
        said = [written for written in found if written not in unknown]
        usual = length if "timeframe" in table.fields or not said else said[0]
        if unknown and length is None:
            document["notes"].append(
                f"{table.full_name}: bars of unknown length ({', '.join(unknown)}) are not used; name it with "
                "--timeframe"
            )
        outcomes = import_bar_table(target, snapshots, table, timeframe=usual, only=length)
    elif table.subject is NEWS:
        outcomes = import_news_table(target, snapshots, table)
    elif table.subject is SECTORS:
        outcomes = import_sector_table(target, snapshots, table)
    for outcome in outcomes:
        document["notes" if isinstance(outcome, str) else "imported"].append(outcome)


def _unusable_rows(table: SourceTable, snapshots: SourceSnapshots) -> list[str]:
    """Say how many bars or stories cannot be used for want of a time; a sector needs none."""
    from catalyst_ml.store.source_partitions import UNDATED
    from catalyst_ml.store.source_shapes import BARS, NEWS

    undated = snapshots.manifest(table.full_name).months.get(UNDATED)
    if undated is None or table.subject not in (BARS, NEWS):
        return []
    if table.time_column is not None:
        return [f"{table.full_name}: {undated.rows:,} rows have no usable time and are not used"]
    column = table.column("ts")
    written = f"column {column.name} holds {column.type}, no dates or times" if column else "no column holds times"
    return [
        f"{table.full_name}: {written}, so none of its {undated.rows:,} rows is used. Read it through a view that "
        "casts the column to timestamptz"
    ]


def _print_pull(document: dict[str, Any], report: SourceReport, wanted: set[str], *, as_json: bool) -> None:
    missing = [m for m in report.missing if m.subject in wanted]
    if as_json:
        imported = [asdict(outcome) for outcome in document["imported"]]
        plain = {**document, "imported": imported, "missing": [asdict(m) for m in missing]}
        typer.echo(json.dumps(plain, indent=1, default=str))
        return
    from rich.console import Console

    from catalyst_ml.cli.import_reports import print_reports
    from catalyst_ml.cli.printing import say

    console = Console()
    for pulled in document["pulled"]:
        changed = [f"{pulled[name]:,} {word}" for name, word in _DAYS.items() if pulled[name]]
        kind = "every day compared" if pulled["was_full"] else "newest days compared"
        say(
            console,
            f"{pulled['subject']}: {pulled['table']}: {pulled['rows']:,} rows, {pulled['fetched']:,} fetched "
            f"({kind}; {', '.join(changed) or 'no day changed'})",
        )
    told: list[FileReport] = [
        r for r in document["imported"] if r.new or r.corrected or (r.refused and not getattr(r, "recognised", False))
    ]
    seen: set[str] = set()

    def new_notes(outcome: FileReport) -> list[str]:
        """Every month of a table brings the same remarks; once is enough."""
        notes = [note for note in outcome.notes if note not in seen]
        seen.update(notes)
        return notes

    if told:
        print_reports(told, remarks=new_notes, with_total=True)
    if unchanged := len(document["imported"]) - len(told):
        say(console, f"{unchanged:,} files of the snapshots hold nothing that is not in the dataset")
    for note in document["notes"]:
        say(console, note)
    for refusal in document["refused"]:
        say(Console(stderr=True), refusal, style="red")
    for m in missing:
        say(console, f"Missing: {m.subject}: {m.why}. Costs {m.cost}")


_DAYS = {"days_new": "days new", "days_changed": "changed", "days_gone": "gone"}


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, fraction: float) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name.replace("[", "\\["), total=1.0)
            progress.update(tasks[name], completed=fraction)

        yield show

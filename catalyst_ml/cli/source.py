"""``catalyst-ml source``: look at the trading system's database, and pull bars, news and sectors from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from catalyst_ml.cli.options import Dataset

if TYPE_CHECKING:
    from catalyst_ml.intake.source import SourceIntake
    from catalyst_ml.store.file_imports import FileReport

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
    from catalyst_ml.intake.source import PullOptions, pull_source
    from catalyst_ml.market.timeframes import parse_timeframe
    from catalyst_ml.settings import Settings

    options = PullOptions(
        subjects={option.value for option in only} if only else None,
        stamp=stamp.value,
        timeframe=parse_timeframe(timeframe).name if timeframe else None,
        check_all=check_all,
        is_imported=not no_import,
    )
    with _progress_bar() as progress:
        intake = pull_source(Settings(), dataset, options, progress=progress)
    _print_json(intake) if as_json else _print_pull(intake)
    if intake.refused:
        raise typer.Exit(1)


def _print_json(intake: SourceIntake) -> None:
    document = {
        "database": intake.database,
        "pulled": [{**asdict(result), "subject": subject} for subject, result in intake.pulled],
        "imported": [asdict(report) for report in intake.imported],
        "notes": intake.notes,
        "refused": intake.refused,
        "missing": [asdict(m) for m in intake.missing],
    }
    typer.echo(json.dumps(document, indent=1, default=str))


def _print_pull(intake: SourceIntake) -> None:
    from rich.console import Console

    from catalyst_ml.cli.import_reports import print_reports
    from catalyst_ml.cli.printing import say

    console = Console()
    for subject, pulled in intake.pulled:
        changed = [f"{getattr(pulled, name):,} {word}" for name, word in _DAYS.items() if getattr(pulled, name)]
        kind = "every day compared" if pulled.was_full else "newest days compared"
        say(
            console,
            f"{subject}: {pulled.table}: {pulled.rows:,} rows, {pulled.fetched:,} fetched "
            f"({kind}; {', '.join(changed) or 'no day changed'})",
        )
    told: list[FileReport] = [
        r for r in intake.imported if r.new or r.corrected or (r.refused and not getattr(r, "recognised", False))
    ]
    seen: set[str] = set()

    def new_notes(outcome: FileReport) -> list[str]:
        """Every month of a table brings the same remarks; once is enough."""
        notes = [note for note in outcome.notes if note not in seen]
        seen.update(notes)
        return notes

    if told:
        print_reports(told, remarks=new_notes, with_total=True)
    if unchanged := len(intake.imported) - len(told):
        say(console, f"{unchanged:,} files of the snapshots hold nothing that is not in the dataset")
    for note in intake.notes:
        say(console, note)
    for refusal in intake.refused:
        say(Console(stderr=True), refusal, style="red")
    for m in intake.missing:
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

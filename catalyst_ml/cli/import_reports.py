"""How imports go through their files and show what became of each: counts, remarks, refused rows, refused files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from catalyst_ml.cli.printing import say
from catalyst_ml.errors import CatalystError, SourceUnavailable

if TYPE_CHECKING:
    from catalyst_ml.store.file_imports import FileReport

Report = TypeVar("Report", bound="FileReport")

_COUNTS = ("read", "new", "unchanged", "corrected", "repeated", "refused")


@dataclass(frozen=True)
class Outcome(Generic[Report]):
    """Reports of the files that came in, and why the others did not; both in the order of the files."""

    reports: list[Report]
    refused: list[CatalystError]


def import_files(files: Sequence[Path], take: Callable[[Path], FileReport]) -> None:
    """Import file by file with a line of progress for each, and show what became of them.

    Raises
    ------
    typer.Exit
        With code 1 if a file was refused.
    SourceUnavailable
        If the database is lost.
    """
    progress = Console(stderr=True)

    def take_visibly(path: Path) -> FileReport:
        with progress.status(f"{escape(path.name)} ..."):
            return take(path)

    show_outcome(take_files(files, take_visibly), remarks=_remarks)


def take_files(
    files: Sequence[Path],
    take: Callable[[Path], Report],
    *,
    fatal: tuple[type[CatalystError], ...] = (SourceUnavailable,),
) -> Outcome[Report]:
    """Import file by file; a refused file does not stop the next.

    Raises
    ------
    CatalystError
        One of ``fatal``: those that the next file would meet, too, as it does the same database.
    """
    outcome: Outcome[Report] = Outcome([], [])
    for path in files:
        try:
            outcome.reports.append(take(path))
        except fatal:
            raise
        except CatalystError as error:
            outcome.refused.append(error)
    return outcome


def show_outcome(
    outcome: Outcome[Report], *, remarks: Callable[[Report], Sequence[str]], with_total: bool = False
) -> None:
    """Show the reports and name the refused files.

    Raises
    ------
    typer.Exit
        With code 1 if a file was refused.
    """
    if outcome.reports:
        print_reports(outcome.reports, remarks=remarks, with_total=with_total)
    for refusal in outcome.refused:
        say(Console(stderr=True), f"File refused: {refusal}", style="red")
    if outcome.refused:
        raise typer.Exit(1)


def print_reports(
    reports: Sequence[Report], *, remarks: Callable[[Report], Sequence[str]], with_total: bool = False
) -> None:
    """Print a table of counts, the remarks on each file, and a table of refused rows if there are any.

    ``with_total`` adds the sums over several files.
    """
    console = Console()
    table = Table(box=SIMPLE)
    table.add_column("file", overflow="fold")
    for name in _COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(Text(report.file), *(f"{getattr(report, name):,}" for name in _COUNTS))
    if with_total and len(reports) > 1:
        table.add_row("all", *(f"{sum(getattr(r, name) for r in reports):,}" for name in _COUNTS), style="bold")
    console.print(table)
    for report in reports:
        for remark in remarks(report):
            say(console, f"{report.file}: {remark}")
    if any(report.refused for report in reports):
        console.print(_refusals(reports))


def _remarks(report: FileReport) -> list[str]:
    skipped = [f"{report.skipped:,} rows of other sources skipped"] if report.skipped else []
    return [*report.notes, *skipped]


def _refusals(reports: Sequence[FileReport]) -> Table:
    table = Table("rule", "rows", "first examples", title="Refused rows (all are kept in catalyst_ml.refused_rows)")
    for report in reports:
        for rule, n_rows in report.refused_by_rule.items():
            examples = [e for e in report.examples if e.rule == rule]
            shown = "\n".join(f"{e.file} row {e.row}: {e.symbol} {e.ts_text}: {e.detail}" for e in examples)
            table.add_row(rule, f"{n_rows:,}", Text(shown))  # Text: what a file says is no markup
    return table

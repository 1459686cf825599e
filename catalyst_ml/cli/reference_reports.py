"""How imports of news and reference files are shown: counts, remarks, refused rows with examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from catalyst_ml.errors import CatalystError
    from catalyst_ml.store.file_imports import ReferenceReport

_COUNTS = ("read", "new", "unchanged", "corrected", "repeated", "refused")


def import_files(files: Sequence[Path], take: Callable[[Path], ReferenceReport]) -> None:
    """Import file by file and show what became of each; a refused file does not stop the next.

    Raises
    ------
    typer.Exit
        With code 1 if a file was refused.
    """
    from catalyst_ml.errors import CatalystError, SourceUnavailable

    reports: list[ReferenceReport] = []
    refused: list[CatalystError] = []
    progress = Console(stderr=True)
    for path in files:
        try:
            with progress.status(f"{path.name} ..."):
                reports.append(take(path))
        except SourceUnavailable:
            raise  # the next file would meet the same database
        except CatalystError as error:
            refused.append(error)
    if reports:
        _print(Console(), reports)
    for refusal in refused:
        Console(stderr=True, soft_wrap=True).print(
            f"File refused: {refusal}", style="red", highlight=False, markup=False
        )
    if refused:
        raise typer.Exit(1)


def _print(console: Console, reports: list[ReferenceReport]) -> None:
    table = Table(box=SIMPLE)
    table.add_column("file", overflow="fold")
    for name in _COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(report.file, *(f"{getattr(report, name):,}" for name in _COUNTS))
    console.print(table)
    for report in reports:
        skipped = (f"{report.skipped:,} rows of other sources skipped",) if report.skipped else ()
        for note in (*report.notes, *skipped):
            console.print(f"{report.file}: {note}", highlight=False, markup=False, soft_wrap=True)
    if any(report.refused for report in reports):
        console.print(_refusals(reports))


def _refusals(reports: list[ReferenceReport]) -> Table:
    table = Table("rule", "rows", "first examples", title="Refused rows (all are kept in catalyst_ml.refused_rows)")
    for report in reports:
        for rule, n_rows in report.refused_by_rule.items():
            examples = [e for e in report.examples if e.rule == rule]
            shown = "\n".join(f"{e.file} row {e.row}: {e.symbol} {e.ts_text}: {e.detail}" for e in examples)
            table.add_row(rule, f"{n_rows:,}", shown)
    return table

"""``catalyst-ml attempts``: everything that was ever tried on a line of data, so that nobody sells the best of many."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

app = typer.Typer(
    help="The ledger of attempts: every configuration and procedure that was evaluated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_(
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only this data lineage, e.g. demo.")] = None,
    kind: Annotated[
        Literal["search", "record", "backtest", "idea"] | None,
        typer.Option("--kind", help="Only configurations of a search, judged records, back-tests, or ideas."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List what was tried, newest first."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.attempts import read_attempts
    from catalyst_ml.store.engine import open_engine

    found = read_attempts(open_engine(Settings()), dataset=dataset, kind=kind, limit=limit)
    if as_json:
        typer.echo(json.dumps([asdict(attempt) for attempt in found], indent=2, default=str))
        return
    console = Console()
    if not found:
        console.print("Nothing was tried yet: `catalyst-ml train` keeps its record, `--param search=8` its search.")
        return
    table = Table("attempt", "line", "kind", "what", "window", "sessions", "figure", "adopted", title="Attempts")
    for attempt in found:
        row = (
            str(attempt.attempt_id),
            f"{attempt.dataset} {attempt.timeframe} {attempt.label_version}",
            attempt.kind,
            attempt.subject,
            f"{attempt.first_tested:%Y-%m-%d} to {attempt.ended:%Y-%m-%d}",
            str(attempt.n_sessions),
            f"{attempt.metric} {attempt.value:.5f}",
            "yes" if attempt.is_adopted else "",
        )
        table.add_row(*map(escape, row), style="bold" if attempt.is_adopted else None)
    console.print(table)

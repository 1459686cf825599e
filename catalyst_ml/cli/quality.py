"""``catalyst-ml quality``: check stored bars, show what is set aside and why, release it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_ml.cli.options import CheckAsOf, Dataset, Timeframe, moment_asked
from catalyst_ml.cli.printing import say

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from catalyst_ml.quality.validation import ValidationResult
    from catalyst_ml.store.quarantine import Quarantined

app = typer.Typer(help="Check stored bars; show and release what is set aside.", no_args_is_help=True)


@app.command()
def check(
    dataset: Dataset,
    timeframe: Timeframe = "1d",
    as_of: CheckAsOf = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with the line of this longer timeframe too: volumes and closes.")
    ] = None,
) -> None:
    """Run every rule on the stored bars and set suspected price breaks aside. Exit code 1 if a critical rule fails."""
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.timeframes import parse_timeframe
    from catalyst_ml.quality.bar_suite import check_bars
    from catalyst_ml.quality.line_comparison import compare_lines
    from catalyst_ml.settings import Settings
    from catalyst_ml.store import bars as bar_store
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.quarantine import released_bars, set_aside

    length, longer = parse_timeframe(timeframe), parse_timeframe(against) if against else None
    now = pd.Timestamp.now("UTC").to_pydatetime()
    moment = moment_asked(as_of, now)
    engine, calendar = open_engine(Settings()), TradingCalendar()

    def read(name: str) -> pd.DataFrame:
        return bar_store.extract_bars(engine, dataset=dataset, timeframe=name, as_of=moment, regular_only=False)

    bars = read(length.name)
    found = check_bars(
        bars,
        bar_store.extract_instruments(engine, dataset=dataset),
        calendar,
        minutes=length.minutes,
        n_restated=_n_restated(engine, dataset, length.name),
        released=released_bars(engine, dataset=dataset, timeframe=length.name),
    )
    kept = set_aside(
        engine, found.breaks, dataset=dataset, timeframe=length.name, subject="bar", as_of=moment,
        now=now, by="quality check",
    )  # fmt: skip
    console = Console()
    say(console, f"{dataset} {length.name}: {len(bars):,} bars of {bars['symbol'].nunique():,} symbols")
    _print_result(console, found.result)
    if longer is not None:
        compared = compare_lines(
            bars, read(longer.name), calendar=calendar, short_minutes=length.minutes or 0, long_minutes=longer.minutes
        )
        say(console, f"{length.name} against {longer.name}: {len(compared.symbols)} symbols in both")
        _print_result(console, compared.result)
    say(
        console,
        f"Set aside: {len(kept.held)} ({kept.n_new} new, {kept.n_reopened} opened again); released earlier: "
        f"{kept.n_released}. See them: catalyst-ml quality show --dataset {dataset}",
    )
    if not found.result.passed:
        raise typer.Exit(1)


@app.command()
def show(
    number: Annotated[int | None, typer.Option("--id", help="One row, with everything that happened to it.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only what this rule found.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Released ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show at most.")] = 100,
) -> None:
    """Show what is set aside: where, by which rule and why."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.quarantine import history, list_quarantine

    engine, console = open_engine(Settings()), Console()
    rows = list_quarantine(engine, dataset=dataset, rule=rule, released=all_ or number is not None)
    if number is not None:
        rows = [row for row in rows if row.id == number]
    if not rows:
        say(console, "Nothing is set aside. Look for it: catalyst-ml quality check --dataset NAME")
        return
    _print_rows(console, rows[:limit])
    if len(rows) > limit:
        say(console, f"and {len(rows) - limit:,} more; raise --limit or narrow it with --dataset and --rule")
    if number is not None:
        for step in history(engine, number):
            factor = f", split factor {step.split_factor:g}" if step.split_factor is not None else ""
            say(console, f"{step.at:%Y-%m-%d %H:%M} UTC {step.action} by {step.by}{factor}: {step.reason}")


@app.command()
def release(
    ids: Annotated[list[int], typer.Argument(help="Ids as quality show prints them.")],
    reason: Annotated[str, typer.Option(help="Why; kept for good.")],
    split_factor: Annotated[
        float | None,
        typer.Option(
            help="It was a corporate action: new shares per old share (2 for 2-for-1, 0.1 for 1-for-10, 1 if a booked "
            "factor is bogus). Written as a correction of the bar. Without it the move was real."
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who decides; your login by default.")] = None,
) -> None:
    """Release rows that are set aside: as real, or as a corporate action with its factor."""
    import getpass

    import pandas as pd

    from catalyst_ml.settings import Settings
    from catalyst_ml.store import quarantine
    from catalyst_ml.store.engine import open_engine

    engine, console = open_engine(Settings()), Console()
    now = pd.Timestamp.now("UTC").to_pydatetime()
    rows = quarantine.release(
        engine, ids, reason=reason, by=by or getpass.getuser(), now=now, split_factor=split_factor
    )
    _print_rows(console, rows)
    earlier = [row.id for row in rows if row.released_at != now]
    if earlier:
        say(console, f"Released earlier and left as they were: {', '.join(map(str, earlier))}")


def _n_restated(engine: Engine, dataset: str, timeframe: str) -> int:
    from catalyst_ml.store.bars import bar_coverage

    lines = bar_coverage(engine)
    return sum(line.n_corrections for line in lines if (line.dataset, line.timeframe) == (dataset, timeframe))


def _print_result(console: Console, result: ValidationResult) -> None:
    say(console, result.summary().splitlines()[0])
    failed = [*result.critical_failures, *result.quarantined, *result.warnings]
    if not failed:
        return
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("severity", "rule", "found"):
        table.add_column(name, no_wrap=name != "found", overflow="fold")
    for rule in failed:
        table.add_row(rule.severity, rule.name, escape(rule.observed.removesuffix(" against the rule")))
    console.print(table)
    for rule in failed:
        for example in rule.examples[:1]:
            say(console, f"  {rule.name}, e.g. {example}")


def _print_rows(console: Console, rows: list[Quarantined]) -> None:
    table = Table(box=SIMPLE)
    table.add_column("id", justify="right", no_wrap=True)
    for name in ("dataset", "what", "rule", "why", "state"):
        table.add_column(name, overflow="fold")
    for row in rows:
        side = {1: " long", -1: " short"}.get(row.direction, "")
        moment = f"{row.ts:%Y-%m-%d}" if row.timeframe == "1d" else f"{row.ts:%Y-%m-%d %H:%M}"
        what = f"{row.subject} {row.symbol} {moment}{side}"
        cells = (f"{row.dataset} {row.timeframe}", what, row.rule, row.detail, _state(row))
        table.add_row(str(row.id), *map(escape, cells))
    console.print(table)


def _state(row: Quarantined) -> str:
    if row.released_at is None:
        return "set aside"
    how = "as real" if row.split_factor is None else f"as a split, factor {row.split_factor:g}"
    return f"released {row.released_at:%Y-%m-%d} by {row.released_by} {how}: {row.release_reason}"

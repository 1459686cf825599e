"""``catalyst-ml features``: list the declared features, show one, check stored bars for leaks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_ml.cli.options import CheckAsOf, Dataset, moment_asked
from catalyst_ml.cli.printing import say

if TYPE_CHECKING:
    from catalyst_ml.features.catalogue import FeatureSpec
    from catalyst_ml.features.leak_report import LeakReport

app = typer.Typer(help="List the declared features, show one, check them for leaks.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List every declared feature: group, unit, lookback in bars, inputs, and whether the models read it."""
    from catalyst_ml.features.catalogue import FEATURE_NAMES, feature_set_version

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("feature", "group", "unit", "lookback", "inputs", "in models"):
        right = name == "lookback"
        table.add_column(
            name, no_wrap=name in ("feature", "group"), overflow="fold", justify="right" if right else "left"
        )
    declared = _declared()
    for spec in declared:
        in_models = "yes" if spec.name in FEATURE_NAMES else "no"
        cells = (spec.name, spec.group, spec.unit, str(spec.lookback_bars), ", ".join(spec.inputs), in_models)
        table.add_row(*map(escape, cells))
    console = Console()
    console.print(table)
    say(
        console,
        f"{len(declared)} features, {len(FEATURE_NAMES)} of them behind the models' inputs; their set version is "
        f"{feature_set_version()}",
    )


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name as features list prints it.")]) -> None:
    """Show the declaration of one feature, where its formula comes from, and its source text."""
    import inspect

    from catalyst_ml.features.catalogue import INPUTS, INTERMEDIATES
    from catalyst_ml.features.extended_inputs import EXTENDED_INPUTS
    from catalyst_ml.features.leak_check import KNOWN_AT_OPEN

    spec = _chosen(name)[0]
    console = Console()
    intermediates = {i.name: i for i in INTERMEDIATES}
    table = Table(box=SIMPLE, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("feature", f"{spec.name}, version {spec.version}"),
        ("group", spec.group),
        ("unit", spec.unit),
        ("formula", spec.source),
        ("lookback", f"{spec.lookback_bars} bars, its own included; with fewer it is missing"),
        ("known at", "the open of its bar" if spec.name in KNOWN_AT_OPEN else "the close of its bar"),
    ]
    for needed in spec.inputs:
        made_of = intermediates.get(needed)
        said = (INPUTS | EXTENDED_INPUTS).get(needed, "") if made_of is None else f"made of {', '.join(made_of.inputs)}"
        rows.append(("input", f"{needed}: {said}"))
    for key, value in rows:
        table.add_row(key, escape(value))
    console.print(table)
    functions = [spec.compute, *(intermediates[needed].compute for needed in spec.inputs if needed in intermediates)]
    for function in functions:
        say(console, inspect.getsource(function).rstrip() + "\n")


@app.command()
def check(
    dataset: Dataset,
    feature: Annotated[str | None, typer.Option(help="Only this feature.")] = None,
    timeframe: Annotated[str, typer.Option(help="Length of a bar: 1d, 5m ...")] = "1d",
    calendar: Annotated[str, typer.Option(help="Sessions that intraday bars belong to; 24/7 for crypto.")] = "XNYS",
    as_of: CheckAsOf = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed checks another sample.")] = 0,
    cuts: Annotated[int, typer.Option(min=1, help="Moments at which the future is taken away.")] = 6,
    symbols: Annotated[int, typer.Option(min=1, help="Stocks to compare at each of them.")] = 40,
) -> None:
    """Check that no feature depends on what came later, on a sample of the stored bars. Exit code 1 on a leak."""
    import pandas as pd

    from catalyst_ml.features.leak_check import check_features
    from catalyst_ml.features.panel import MarketPanel
    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.corporate_actions import adjust_for_splits
    from catalyst_ml.market.timeframes import parse_timeframe
    from catalyst_ml.settings import Settings
    from catalyst_ml.store import bars as bar_store
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.reference import extract_earnings

    catalogue = _chosen(feature)
    moment = pd.Timestamp(moment_asked(as_of, datetime.now(UTC)))
    engine = open_engine(Settings())
    is_intraday = parse_timeframe(timeframe).minutes is not None
    # Bars outside the session tell the gap; days have none.
    raw = bar_store.extract_bars(
        engine, dataset=dataset, timeframe=timeframe, as_of=moment, regular_only=not is_intraday
    )
    earnings = extract_earnings(engine, dataset=dataset, as_of=moment)
    panel = MarketPanel(
        adjust_for_splits(raw, as_of=moment),
        bar_store.extract_instruments(engine, dataset=dataset),
        bar_store.extract_news(engine, dataset=dataset, as_of=moment),
        earnings if len(earnings) else None,
        TradingCalendar(calendar) if is_intraday else None,
    )
    rows = panel.bars.loc[panel.bars["symbol"].isin(panel.stocks), ["symbol", "ts"]]
    report = check_features(panel, rows, catalogue=catalogue, seed=seed, n_cuts=cuts, n_symbols=symbols)
    _print_report(Console(), report, [spec.name for spec in catalogue])
    if not report.passed or not report.n_comparisons:
        raise typer.Exit(1)


def _declared() -> tuple[FeatureSpec, ...]:
    from catalyst_ml.features.catalogue import CATALOGUE
    from catalyst_ml.features.extended import EXTENDED

    return (*CATALOGUE, *EXTENDED)


def _chosen(name: str | None) -> tuple[FeatureSpec, ...]:
    import difflib

    from catalyst_ml.errors import ConfigurationError

    declared = _declared()
    chosen = tuple(spec for spec in declared if name in (None, spec.name))
    if not chosen:
        near = difflib.get_close_matches(name or "", [spec.name for spec in declared], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see catalyst-ml features list."
        raise ConfigurationError(f"feature {name!r} is not declared; {hint}")
    return chosen


def _print_report(console: Console, report: LeakReport, names: list[str]) -> None:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("feature", no_wrap=True)
    table.add_column("compared", justify="right")
    table.add_column("alarms", justify="right")
    table.add_column("verdict")
    for name in names:
        own = [verdict for verdict in report.verdicts if verdict.column == name]
        n_compared, n_alarms = sum(v.n_compared for v in own), sum(v.n_alarms for v in own)
        verdict = "leaks" if n_alarms else "clean" if n_compared else "not shown: no value to compare"
        table.add_row(escape(name), f"{n_compared:,}", f"{n_alarms:,}", verdict)
    console.print(table)
    for leak in report.leaks:
        say(console, f"  {leak}")
    say(console, report.summary())

"""The commands that run a flow here and now, in this terminal: ``train``, ``collect``, ``evaluate``, ``drift``, ...

Contributed to ``catalyst-ml`` through the entry-point group ``catalyst_ml.commands``, so that the library
never imports a flow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer

from catalyst_ml.cli import models
from catalyst_ml.cli import trial as trial_commands
from catalyst_ml.errors import CatalystError, ConfigurationError
from catalyst_ml.settings import Settings

Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="Override a parameter; may be repeated."),
]
ShowParams = Annotated[bool, typer.Option("--show-params", help="List the parameters and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


class FlowCommand(NamedTuple):
    """A command that runs a flow: its name, the flow's module, function and parameters, and how to print the end."""

    name: str
    flow: str
    parameters: str
    show: Callable[[dict[str, Any]], None]


def register(app: typer.Typer) -> None:
    """Add the commands that need Prefect to ``app``."""
    app.command("train", help="Run the weekly training flow: extract, train, judge, promote only on evidence.")(train)
    app.command(
        "collect", help="Keep new events, their features as known now, and outcomes; --param since= fills the past."
    )(collect)
    app.command("evaluate", help="Write down what both arms say of new events, settle what is over, tell the trial.")(
        evaluate
    )
    app.command("drift", help="Compare what the model meets now with what it was trained on; watch the feeds.")(drift)
    app.command("backtest", help="Replay the weekly procedure over a past range; resumable. Needs --param since=.")(
        backtest
    )
    app.command("performance", help="ML and rules side by side: key figures, the trial's stage, how fast to go on.")(
        performance
    )
    trial_commands.app.command("simulate", help="Tell the trial of a past range as if live. Needs --param since=.")(
        simulate
    )
    models.app.command("rebuild", help="Train a version again from what was recorded; are the files the same?")(rebuild)


def train(param: Param = None, show_params: ShowParams = False, as_json: AsJson = False) -> None:
    """Run the weekly training flow."""
    command = FlowCommand("train", "weekly_training", "WeeklyTrainingParameters", _print_summary)
    _run_here(command, param or [], show_params=show_params, as_json=as_json)


def collect(param: Param = None, show_params: ShowParams = False, as_json: AsJson = False) -> None:
    """Run the daily collection, or a back-fill."""
    command = FlowCommand("collect", "collect_patterns", "CollectPatternsParameters", _print_collected)
    _run_here(command, param or [], show_params=show_params, as_json=as_json)


def evaluate(param: Param = None, show_params: ShowParams = False, as_json: AsJson = False) -> None:
    """Run the parallel evaluation."""
    command = FlowCommand("evaluate", "parallel_evaluation", "ParallelEvaluationParameters", _print_evaluated)
    _run_here(command, param or [], show_params=show_params, as_json=as_json)


def drift(param: Param = None, show_params: ShowParams = False, as_json: AsJson = False) -> None:
    """Run the drift watch."""
    command = FlowCommand("drift", "drift_watch", "DriftWatchParameters", _print_drift)
    _run_here(command, param or [], show_params=show_params, as_json=as_json)


def backtest(param: Param = None, show_params: ShowParams = False, as_json: AsJson = False) -> None:
    """Run the back-test of the weekly procedure."""
    command = FlowCommand("backtest", "backtest", "BacktestParameters", _print_backtest)
    _run_here(command, param or [], show_params=show_params, as_json=as_json)


def performance(param: Param = None, show_params: ShowParams = False, as_json: AsJson = False) -> None:
    """Write the performance report."""
    command = FlowCommand("performance", "performance_report", "PerformanceReportParameters", _print_trial)
    _run_here(command, param or [], show_params=show_params, as_json=as_json)


def simulate(param: Param = None, show_params: ShowParams = False, as_json: AsJson = False) -> None:
    """Replay the trial over a past range."""
    command = FlowCommand("trial simulate", "trial_simulation", "TrialSimulationParameters", _print_trial)
    _run_here(command, param or [], show_params=show_params, as_json=as_json)


def rebuild(
    version_id: Annotated[str, typer.Argument(metavar="VERSION", help="Version id, as listed.")],
    as_json: AsJson = False,
) -> None:
    """Rebuild one version; ends with 1 if any file differs."""
    command = FlowCommand("models rebuild", "rebuild", "RebuildParameters", _print_rebuilt)
    summary = _run_here(command, [f"version_id={version_id}"], show_params=False, as_json=as_json)
    if summary is not None and not summary["identical"]:
        raise typer.Exit(1)


def _run_here(command: FlowCommand, pairs: list[str], *, show_params: bool, as_json: bool) -> dict[str, Any] | None:
    from flows import parameters

    model = getattr(parameters, command.parameters)
    if show_params:
        _print_parameters(model)
        return None
    given = parse_parameters(pairs, model=model, command=command.name)
    from flows import prefect_environment

    server = prefect_environment.prepare(Settings().home)
    if not as_json:
        typer.echo(server)
    from flows import terminal

    flow = getattr(import_module(f"flows.{command.flow}"), command.flow)
    # After the import above: Prefect arranges the logging of this process when it is imported.
    terminal.show_progress()
    summary = run_flow(flow, given)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        command.show(summary)
    return summary


def parse_parameters(pairs: list[str], *, model: Any = None, command: str = "train") -> Any:
    """Turn ``["dataset=demo", ...]`` into parameters of the flow behind ``command``, the weekly training's by default.

    Raises
    ------
    ConfigurationError
        Naming the parameter, what was expected and what came.
    """
    from pydantic import ValidationError

    from flows.parameters import WeeklyTrainingParameters

    model = model or WeeklyTrainingParameters
    given: dict[str, str | None] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"--param {pair!r}: expected NAME=VALUE, e.g. --param dataset=demo.")
        if name not in model.model_fields:
            raise ConfigurationError(f"--param {name!r} is unknown; expected one of {', '.join(model.model_fields)}.")
        given[name] = None if value.lower() in ("", "none", "null") else value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ConfigurationError(
                f"`catalyst-ml {command}` needs --param {name}=VALUE; add --show-params to see what each one is."
            ) from error
        raise ConfigurationError(
            f"--param {name}={first['input']!r}: {first['msg']}. `catalyst-ml {command} --show-params` explains each."
        ) from error


def run_flow(flow: Any, parameters: Any) -> dict[str, Any]:
    """Run ``flow``; one of our own errors comes out as itself, whatever task raised it."""
    state = flow(parameters, return_state=True)
    try:
        return state.result()
    except CatalystError:
        raise
    except Exception as error:
        cause = _our_error(error)
        if cause is not None:
            raise cause from error
        raise


def _our_error(error: BaseException | None) -> CatalystError | None:
    while error is not None:
        if isinstance(error, CatalystError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _print_parameters(model: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("parameter", "default", "what it is")
    for name, field in model.model_fields.items():
        table.add_row(name, "(needed)" if field.is_required() else str(field.default), field.description)
    Console().print(table)


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    console = Console()
    table = Table(title=f"{summary['dataset']} {summary['timeframe']}, as of {summary['as_of'][:10]}")
    table.add_column("figure")
    table.add_column("value")
    for name, value in summary["key_figures"]:
        table.add_row(name, value)
    console.print(table)
    style = {"promote": "green", "stay": "yellow", "not_enough_evidence": "yellow"}.get(summary["verdict"], "red")
    console.print(Panel(summary["summary"], title=summary["headline"], border_style=style))
    console.print(f"production: {summary['production']}", highlight=False)
    if summary["note"]:
        console.print(f"            {summary['note']}", style="yellow", highlight=False)
    console.print(f"version:    {summary['version_id']}", highlight=False)
    if summary["trading_system"]:
        console.print(f"trading system: {summary['trading_system']}", highlight=False, markup=False, soft_wrap=True)
    for sentence in summary["waiting"]:
        console.print(f"not sent:   {sentence}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print(f"duration:   {summary['duration_s']:.0f} s", highlight=False)
    console.print(f"report:     {summary['report_path']}", highlight=False, soft_wrap=True)


def _print_rebuilt(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{summary['version_id']}, trained again with {summary['threads']} thread(s)")
    for column in ("file", "SHA-256 recorded", "SHA-256 now", "same"):
        table.add_column(column)
    for file in summary["files"]:
        table.add_row(file["name"], file["expected"][:16], file["got"][:16], "yes" if file["same"] else "no")
    console.print(table)
    for sentence in summary["differences"]:
        console.print(f"differs: {sentence}", style="yellow", highlight=False, markup=False)
    console.print(_rebuilt_sentence(summary), style="green" if summary["identical"] else "red", highlight=False)
    console.print(f"rebuilt files: {summary['folder']}", highlight=False, soft_wrap=True)


def _rebuilt_sentence(summary: dict[str, Any]) -> str:
    if summary["identical"]:
        return "Byte for byte the recorded version."
    if summary["largest_difference"] is None:
        apart = "the stored model is gone, so how far apart the predictions are is not known"
    else:
        apart = f"predictions differ by at most {summary['largest_difference']:.2g}"
    cause = (
        "The differences above may be why"
        if summary["differences"]
        else "Code, packages and threads are the same: a quarantined bar released since then, or another processor"
    )
    return f"Not the recorded bytes; {apart}. {cause}."


def _print_collected(summary: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    span = summary["last"][:10] if summary["closes"] == 1 else f"{summary['first'][:10]} to {summary['last'][:10]}"
    heading = f"{summary['dataset']} {summary['timeframe']}, {summary['closes']} close(s), {span}"
    console.print(heading, style="bold", highlight=False)
    _print_brought(console, summary["source"])
    for name, what in {
        "new": "new events",
        "features_kept": "of them with features kept",
        "settled": "outcomes settled",
        "corrected": "outcomes that a correction of bars changed",
        "pending": "events still open at the last close",
        "stored": "events seen in the history in all",
    }.items():
        console.print(f"{summary[name]:>10,}  {what}", highlight=False)
    console.print(f"duration: {summary['duration_s']:.0f} s", highlight=False)


def _print_brought(console: Any, brought: dict[str, Any] | None) -> None:
    """Say what the pull before the collection did; nothing if none was asked for."""
    if brought is None:
        return
    if not brought["pulled"]:
        console.print(f"not pulled: {brought['why']}", style="yellow", highlight=False, markup=False)
        return
    console.print(f"{brought['fetched']:>10,}  rows fetched from the trading system", highlight=False)
    console.print(f"{brought['new']:>10,}  bars, stories and sectors new, {brought['corrected']:,} corrected, "
                  f"{brought['rows_refused']:,} refused", highlight=False)  # fmt: skip
    for sentence in (*brought["tables_refused"], *brought["notes"]):
        console.print(sentence, style="yellow", highlight=False, markup=False)


def _print_evaluated(summary: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    span = summary["last"][:10] if summary["closes"] == 1 else f"{summary['first'][:10]} to {summary['last'][:10]}"
    heading = f"{summary['dataset']} {summary['timeframe']}, {summary['closes']} close(s), {span}"
    console.print(heading, style="bold", highlight=False)
    for name, what in {
        "new": "new signals",
        "late": "of them late: written down after the entry",
        "kept": "signals that were there already",
        "different": "of them would say something else now; the first word stands",
        "without_model": "signals without the models: the rules alone spoke",
        "held_out": "events held by the quarantine, without a signal",
        "settled": "outcomes settled",
        "corrected": "outcomes that a correction of bars changed",
    }.items():
        console.print(f"{summary[name]:>10,}  {what}", highlight=False)
    for day, reason in summary["unscored"].items():
        console.print(f"{day}: no signals, {reason}", style="yellow", highlight=False, markup=False)
    if summary["skipped"]:
        console.print(summary["skipped"], style="yellow", highlight=False, markup=False)
    for move in summary["moves"]:
        console.print(f"stage, {move}", style="bold", highlight=False, markup=False)
    told = summary["trial"]
    standing = told["not_judged"] or f'{told["sessions"]} sessions, e-value for "ML is better" {told["e_better"]:.3g}'
    console.print(f"trial:      stage {told['stage']}, {standing}", highlight=False, markup=False)
    console.print(f"production: {summary['production']}", highlight=False)
    console.print(f"duration:   {summary['duration_s']:.0f} s", highlight=False)


def _print_drift(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    console = Console()
    table = Table(
        title=f"{summary['dataset']} {summary['timeframe']}, as of {summary['as_of'][:10]}: closest to an alarm"
    )
    for column in ("what", "measured", "usual", "would alarm", "chance", "allowed"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in summary["nearest"]:
        figures = (f"{row[name]:.3g}" for name in ("value", "usual", "bound", "p", "alpha"))
        table.add_row(f"{row['what']}: {row['statistic']}", *figures)
    if summary["nearest"]:
        console.print(table)
    for alarm in summary["alarms"]:
        found = alarm["finding"]
        title = f"{'NEW ALARM' if alarm['is_new'] else 'open alarm'} since {found['since']}, raised {alarm['raised']}"
        text = f"{found['meaning']}.\nBy chance: {found['p']:.2g} (allowed {found['alpha']:.2g}). {found['advice']}"
        console.print(Panel(text, title=title, border_style="red" if alarm["is_new"] else "yellow"))
    for reason in summary["unjudged"]:
        console.print(f"not judged: {reason}", style="yellow", highlight=False)
    console.print(summary["headline"], highlight=False)


_ON_THE_PAGE_ONLY = {"t rival", "t base", "t pattern", "won", "in charge − base", "bp rules", "trades"}


def _print_backtest(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    span = f"{summary['since'][:10]} to {summary['until'][:10]}"
    for title, rows in summary["tables"].items():
        if not rows:
            continue
        table = Table(title=f"{summary['dataset']} {summary['timeframe']}, {span}: {title}")
        # A terminal is narrow; the page and the JSON hold every column.
        names = [name for name in rows[0] if name not in _ON_THE_PAGE_ONLY]
        for place, name in enumerate(names):
            table.add_column(name, justify="right" if place else "left")
        for row in rows:
            table.add_row(*(row[name] for name in names))
        console.print(table)
    console.print(summary["headline"], style="bold", highlight=False)
    console.print(summary["reading"], highlight=False)
    console.print(f"duration:   {summary['duration_s']:.0f} s", highlight=False)
    console.print(f"report:     {summary['report_path']}", highlight=False, soft_wrap=True)
    console.print(f"figures:    {summary['json_path']}", highlight=False, soft_wrap=True)


def _print_trial(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    console = Console()
    for title, rows in summary["tables"].items():
        if not rows:
            continue
        table = Table(title=f"{summary['dataset']} {summary['timeframe']}, as of {summary['as_of'][:10]}: {title}")
        # A terminal is narrow: arms stand side by side, and the page holds the context of each figure.
        shown = _turned(rows) if title == "arms" else [{k: v for k, v in row.items() if k != "context"} for row in rows]
        for place, name in enumerate(shown[0]):
            table.add_column(name, justify="left" if not place or name == "why" else "right")
        for row in shown:
            table.add_row(*row.values())
        console.print(table)
    said = summary["recommendation"]
    console.print(Panel("\n".join(said["reasons"]) or summary["reason"], title=said["headline"]))
    if summary["reason"]:
        console.print(summary["reason"], style="yellow", highlight=False)
    console.print(f"signals:    {summary['n_signals']:,}, {summary['n_settled']:,} settled", highlight=False)
    console.print(f"duration:   {summary['duration_s']:.0f} s", highlight=False)
    console.print(f"report:     {summary['report_path']}", highlight=False, soft_wrap=True)


def _turned(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows of a table as its columns; the first column names the new ones."""
    first, *others = rows[0]
    return [{"": name, **{row[first]: row[name] for row in rows}} for name in others]

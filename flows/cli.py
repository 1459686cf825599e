"""The ``train`` command: runs the weekly flow here and now, in this terminal.

Contributed to ``catalyst-ml`` through the entry-point group ``catalyst_ml.commands``, so that the library
never imports a flow.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from catalyst_ml.errors import CatalystError, ConfigurationError
from catalyst_ml.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands that need Prefect to ``app``."""
    app.command("train", help="Run the weekly training flow: extract, train, judge, promote only on evidence.")(train)


def train(
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Override a parameter; may be repeated."),
    ] = None,
    show_params: Annotated[bool, typer.Option("--show-params", help="List the parameters and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the weekly training flow."""
    from flows.parameters import WeeklyTrainingParameters

    if show_params:
        _print_parameters(WeeklyTrainingParameters)
        return
    parameters = parse_parameters(param or [])
    from flows import prefect_environment

    server = prefect_environment.prepare(Settings().home)
    if not as_json:
        typer.echo(server)
    from flows import terminal
    from flows.weekly_training import weekly_training

    # After the import above: Prefect arranges the logging of this process when it is imported.
    terminal.show_progress()
    summary = run_flow(weekly_training, parameters)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print_summary(summary)


def parse_parameters(pairs: list[str]) -> Any:
    """Turn ``["dataset=demo", ...]`` into flow parameters.

    Raises
    ------
    ConfigurationError
        Naming the parameter, what was expected and what came.
    """
    from pydantic import ValidationError

    from flows.parameters import WeeklyTrainingParameters

    given: dict[str, str | None] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"--param {pair!r}: expected NAME=VALUE, e.g. --param dataset=demo.")
        if name not in WeeklyTrainingParameters.model_fields:
            raise ConfigurationError(
                f"--param {name!r} is unknown; expected one of {', '.join(WeeklyTrainingParameters.model_fields)}."
            )
        given[name] = None if value.lower() in ("", "none", "null") else value
    try:
        return WeeklyTrainingParameters.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"--param {name}={first['input']!r}: {first['msg']}. `catalyst-ml train --show-params` explains each."
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
        table.add_row(name, str(field.default), field.description)
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
    console.print(f"duration:   {summary['duration_s']:.0f} s", highlight=False)
    console.print(f"report:     {summary['report_path']}", highlight=False, soft_wrap=True)

"""The ``catalyst-ml`` command: the library's groups of commands, and those that other packages contribute.

Heavy imports stay inside the commands, so that ``--help`` answers at once. Whatever this project raises on
purpose is printed as one message, without a traceback.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from catalyst_ml.cli import (
    attempts,
    bars,
    db,
    events,
    features,
    keys,
    models,
    news,
    quality,
    reference,
    registry,
    serve,
    source,
    trial,
)
from catalyst_ml.errors import CatalystError

COMMAND_GROUP = "catalyst_ml.commands"
"""Entry-point group; each entry is a callable ``register(app: typer.Typer) -> None``."""


def build_app() -> typer.Typer:
    """Assemble the command; a contributed entry that cannot be loaded is named at the end of ``--help``."""
    app = typer.Typer(
        name="catalyst-ml",
        help="Gated, explained machine learning for the Catalyst Trading System.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.add_typer(attempts.app, name="attempts")
    app.add_typer(bars.app, name="bars")
    app.add_typer(db.app, name="db")
    app.add_typer(events.app, name="events")
    app.add_typer(features.app, name="features")
    app.add_typer(keys.app, name="keys")
    app.add_typer(models.app, name="models")
    app.add_typer(news.app, name="news")
    app.add_typer(reference.app, name="reference")
    app.add_typer(quality.app, name="quality")
    app.add_typer(registry.app, name="registry")
    app.add_typer(source.app, name="source")
    app.command()(serve.serve)
    app.add_typer(trial.app, name="trial")
    missing = _add_contributed(app)
    epilog = f"Not available here: {'; '.join(missing)}." if missing else None
    app.callback(invoke_without_command=True, epilog=epilog)(_global_options)
    return app


def run() -> None:
    """Entry point of the console script: run the command, print failures of ours as one red message, exit 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        build_app()()
    except CatalystError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(f"the disk is full ({error.filename or 'unnamed file'}). Free some space and run the same command again.")
    except ValueError as error:
        problem = _settings_problem(error)
        if problem is None:
            raise
        _fail(problem)


def _global_options(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        typer.echo(version("catalyst-ml"))
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _add_contributed(app: typer.Typer) -> list[str]:
    missing = []
    for entry in sorted(entry_points(group=COMMAND_GROUP), key=lambda entry: entry.name):
        try:
            entry.load()(app)
        # The outermost place for other people's code: whatever is wrong with it, `db` and `bars` must work.
        except Exception as error:
            logging.getLogger(__name__).debug("command %s could not be loaded", entry.name, exc_info=True)
            missing.append(f"{entry.name} ({type(error).__name__}: {error})")
    return missing


def _settings_problem(error: ValueError) -> str | None:
    """Name the environment variable that a settings class refused, never its value; None for other errors."""
    from pydantic import ValidationError

    from catalyst_ml import settings

    if not isinstance(error, ValidationError) or not hasattr(settings, error.title):
        return None
    first = error.errors(include_url=False, include_input=False)[0]
    prefix = getattr(settings, error.title).model_config.get("env_prefix", "")
    name = f"{prefix}{first['loc'][0] if first['loc'] else ''}".upper()
    return f"environment variable {name}: {first['msg']}. Mend it or unset it."


def _fail(message: str) -> None:
    console = Console(stderr=True, soft_wrap=True, no_color="NO_COLOR" in os.environ)
    console.print(Text(f"Error: {message}", style="red"), highlight=False)
    sys.exit(1)

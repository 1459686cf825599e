"""Commands run in this process."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from catalyst_ml.cli.main import build_app


def run_app(app: typer.Typer, *arguments: str | Path) -> Result:
    """Run a command; what it raises is kept in the result."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def catalyst(*arguments: str | Path) -> Result:
    """Run ``catalyst-ml``; what it raises comes out as it is, an exit code stays in the result."""
    return CliRunner().invoke(build_app(), [str(argument) for argument in arguments], catch_exceptions=False)


def printed(*arguments: str | Path) -> str:
    """What ``catalyst-ml`` prints when all goes well; what it raises comes out as it is."""
    result = catalyst(*arguments)
    assert result.exit_code == 0, result.output
    return result.output

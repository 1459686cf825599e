"""``catalyst-ml db``: the life of the embedded PostgreSQL, and how to reach the database."""

from __future__ import annotations

import typer
from rich.console import Console

app = typer.Typer(
    help="Start, stop and find the database (embedded, or yours through DATABASE_URL).", no_args_is_help=True
)


@app.command()
def start() -> None:
    """Start the embedded server if it is not running, and bring the schema up to date."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import describe, open_engine

    engine = open_engine(Settings())
    _print(f"{describe(engine)} is running, schema catalyst_ml is up to date.")


@app.command()
def stop() -> None:
    """Stop the embedded server; a server behind DATABASE_URL is left alone."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.embedded import EmbeddedServer

    server = EmbeddedServer(Settings().home.path())
    _print(f"embedded PostgreSQL in {server.home} " + ("stopped." if server.stop() else "was not running."))


@app.command()
def status() -> None:
    """Say which database is used, whether it answers and its SSH tunnel opens; exit code 1 if not."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.embedded import EmbeddedServer
    from catalyst_ml.store.engine import describe, open_engine, tunnel_to_database

    settings = Settings()
    tunnel = tunnel_to_database(settings)
    if tunnel is not None:
        tunnel.open()
        _print(f"{tunnel} is open (TUNNEL_HOST).")
    elif settings.tunnel.enabled:
        _print("An SSH tunnel is set (TUNNEL_HOST), but not for this database: see catalyst-ml source inspect.")
    if settings.database.url is not None:
        _print(f"{describe(open_engine(settings, migrate=False))} answers (DATABASE_URL).")
        return
    state = EmbeddedServer(settings.home.path()).status()
    if not state.running:
        _print(f"embedded PostgreSQL in {settings.home.path()} is stopped. Any command starts it; so does: db start")
        raise typer.Exit(1)
    _print(f"embedded PostgreSQL in {settings.home.path()} is running, process {state.pid}.")


@app.command()
def url() -> None:
    """Print a URL for psql and other tools, password included."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import database_url, open_engine, tunnel_to_database

    settings = Settings()
    if settings.database.url is None:
        open_engine(settings)
    tunnel = tunnel_to_database(settings)
    if tunnel is not None:
        hint = "is open only while a command runs. Open it by hand, and connect to port 15432 of 127.0.0.1"
        typer.echo(f"{tunnel} {hint}:\n{tunnel.by_hand()}", err=True)
    typer.echo(database_url(settings))


def _print(message: str) -> None:
    Console(soft_wrap=True).print(message, highlight=False, markup=False)

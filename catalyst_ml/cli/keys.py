"""``catalyst-ml keys``: the key that signs what this machine publishes, and its public half for servers to pin."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from catalyst_ml.cli.printing import say

app = typer.Typer(
    help="The signing key: create, show.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")]


@app.command()
def create(as_json: AsJson = False) -> None:
    """Make the key pair of this machine; an existing key is never overwritten. The first training run does it too."""
    from catalyst_ml.registry.signatures import create_key, key_path
    from catalyst_ml.settings import Settings

    path = key_path(Settings())
    _show(str(create_key(path).public_keys), str(path), as_json)


@app.command()
def show(as_json: AsJson = False) -> None:
    """Print the public key that servers pin as SIGNING_PUBLIC_KEY, and where the private one lies."""
    from catalyst_ml.registry.signatures import key_path, load_signer
    from catalyst_ml.settings import Settings

    path = key_path(Settings())
    _show(str(load_signer(path).public_keys), str(path), as_json)


def _show(public: str, path: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"public_key": public, "private_key_file": path}))
        return
    console = Console()
    say(console, f"SIGNING_PUBLIC_KEY={public}")
    say(console, f"Set this on every server. The private key stays in {path}; keep a copy where you keep passwords.")

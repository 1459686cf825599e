"""``catalyst-ml registry``: what waits for a store, sending it, and removing old versions' files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from catalyst_ml.cli.printing import say

if TYPE_CHECKING:
    from catalyst_ml.registry.outbox import Note
    from catalyst_ml.registry.pruning import Pruned, PrunePlan

app = typer.Typer(
    help="Artifact stores: outbox, send, prune.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")]


@app.command()
def outbox(as_json: AsJson = False) -> None:
    """List what could not be sent to a store yet, and why."""
    from catalyst_ml.registry.outbox import open_outbox
    from catalyst_ml.settings import Settings

    _show(open_outbox(Settings()).notes(), (), as_json)


@app.command()
def send(
    replace_key: Annotated[
        bool, typer.Option("--replace-key", help="Sign with this machine's key what another key has signed so far.")
    ] = False,
    above: Annotated[
        int, typer.Option("--above", min=0, max=2**52, help="Number pointers above this, which a server has seen.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Send what waits, versions first and pointers last; also renew pointers that a store lacks. Fails if any stays."""
    from catalyst_ml.registry.artifact_store import open_stores
    from catalyst_ml.registry.outbox import open_outbox
    from catalyst_ml.registry.sending import send_waiting
    from catalyst_ml.registry.signatures import open_signer
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine

    settings = Settings()
    signer = open_signer(settings)
    engine, stores, outbox = open_engine(settings), open_stores(settings), open_outbox(settings)
    report = send_waiting(engine, stores, outbox, signer, replace_key=replace_key, above=above)
    _show(report.waiting, report.sent, as_json)
    if report.waiting:
        raise typer.Exit(1)


@app.command()
def prune(
    keep: Annotated[int, typer.Option("--keep", min=1, help="Newest versions of each line that keep their files.")],
    apply: Annotated[bool, typer.Option("--apply", help="Delete; without it, only say what would be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the files of old versions in every store; never of one that was in production or is in a channel."""
    from catalyst_ml.registry.artifact_store import open_stores
    from catalyst_ml.registry.outbox import open_outbox
    from catalyst_ml.registry.pruning import plan_prune
    from catalyst_ml.registry.pruning import prune as prune_versions
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine

    settings = Settings()
    engine, stores = open_engine(settings), open_stores(settings)
    plan = plan_prune(engine, open_outbox(settings), keep=keep)
    done = prune_versions(engine, stores, plan) if apply else None
    if as_json:
        document = {
            "prune": [record.version_id for record in plan.prune],
            "keep": {record.version_id: reason for record, reason in plan.keep},
            "deleted": list(done.version_ids) if done else [],
            "problems": list(done.problems) if done else [],
        }
        typer.echo(json.dumps(document))
    else:
        _show_prune(plan, done)
    if done and done.problems:
        raise typer.Exit(1)


def _show_prune(plan: PrunePlan, done: Pruned | None) -> None:
    console = Console()
    for record, reason in plan.keep:
        say(console, f"stays:  {record.version_id} ({reason})")
    for record in plan.prune:
        say(console, f"{'pruned' if done else 'would go'}: {record.version_id}")
    if done is None:
        say(console, "Nothing was deleted; add --apply." if plan.prune else "Nothing to prune.")
        return
    say(console, f"{done.n_objects} objects deleted; the table keeps what these versions were.")
    for problem in done.problems:
        say(console, f"To be asked again: {problem}", style="yellow")


def _show(waiting: Any, sent: tuple[str, ...], as_json: bool) -> None:
    from catalyst_ml.registry.sending import waiting_sentences

    if as_json:
        notes: list[Note] = list(waiting)
        typer.echo(json.dumps({"sent": list(sent), "waiting": [note.model_dump(mode="json") for note in notes]}))
        return
    console = Console()
    for sentence in sent:
        say(console, f"sent: {sentence}")
    for sentence in waiting_sentences(waiting):
        say(console, sentence, style="yellow")
    if not waiting:
        say(console, "Nothing waits: every store has what it should have.")

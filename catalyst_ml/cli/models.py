"""``catalyst-ml models``: see the versions, see who is in production and why, promote, roll back.

The registry is imported inside the commands: SQLAlchemy costs the half second that ``--help`` should not.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_ml.cli.options import MOMENT_FORMATS, moment_asked
from catalyst_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from catalyst_ml.registry.channels import ChannelMove, HistoryEntry
    from catalyst_ml.registry.lines import ModelLine
    from catalyst_ml.registry.manifest import Manifest
    from catalyst_ml.registry.pointer import IssuedPointer

RULES = "rules"

app = typer.Typer(
    help="Model versions: list, show, history, promote, rollback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Dataset = Annotated[str | None, typer.Option("--dataset", help="Only this data lineage, e.g. demo.")]
Timeframe = Annotated[str | None, typer.Option("--timeframe", help="Only this timeframe, e.g. 1d.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in words; kept in the history.")]
VersionId = Annotated[str, typer.Argument(metavar="VERSION", help="Version id, as listed.")]


@app.command("list")
def list_(dataset: Dataset = None, timeframe: Timeframe = None, as_json: AsJson = False) -> None:
    """List the registered versions, newest first, and mark what is in production or shadow."""
    from catalyst_ml.registry import channels, versions

    engine = _open_registry()
    found = versions.list_versions(engine, dataset=dataset, timeframe=timeframe)
    states = [s for s in channels.current_channels(engine) if _matches(s.line, dataset, timeframe)]
    holding = {
        record.version_id: [state.channel for state in states if state.version_id == record.version_id]
        for record in found
    }
    if as_json:
        _print_json([{**asdict(r), "line": r.line._asdict(), "channels": holding[r.version_id]} for r in found])
        return
    table = Table("version", "as of", "label", "procedure", "channel", title="Versions")
    for record in found:
        marks = ", ".join([*holding[record.version_id], *(["pruned"] if record.pruned_at else [])])
        day = f"{record.as_of:%Y-%m-%d}"
        row = (record.version_id, day, record.line.label_version, record.procedure_id, marks)
        table.add_row(*map(escape, row), style="bold" if holding[record.version_id] else None)
    _print(table if found else "No version is registered yet.")
    for state in states:
        if state.version_id is None:
            _print(f"{state.channel} of {escape(str(state.line))}: the rules")


@app.command()
def show(version_id: VersionId, dataset: Dataset = None, timeframe: Timeframe = None, as_json: AsJson = False) -> None:
    """Show one version: manifest digest, metrics, gate checks and files."""
    from catalyst_ml.registry import versions

    engine = _open_registry()
    manifest = _chosen(engine, version_id, dataset, timeframe)
    record = versions.get_version(engine, version_id)
    if as_json:
        document = {
            "manifest": manifest.model_dump(mode="json"),
            "manifest_sha256": record.manifest_sha256,
            "artifact_uri": record.artifact_uri,
            "run_id": record.run_id,
        }
        _print_json(document)
        return
    _print(_facts_table(manifest, record.artifact_uri, record.run_id))
    _print(_pairs_table("Metrics", _flat(manifest.metrics)))
    _print(_gate_table(manifest.gate))
    _print(_pairs_table("Parity", _flat(manifest.parity)))
    files = Table("file", "bytes", "SHA-256", title="Files")
    for entry in manifest.files:
        files.add_row(escape(entry.name), f"{entry.bytes:,}", entry.sha256)
    _print(files)


@app.command()
def history(
    dataset: Dataset = None,
    timeframe: Timeframe = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", formats=MOMENT_FORMATS, help="Who held each channel at this moment; a date: its end."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every promotion and rollback, oldest first; or who was where at one moment, and since when."""
    from catalyst_ml.registry import channels

    engine = _open_registry()
    if at is not None:
        _show_holders(engine, moment_asked(at, datetime.now(UTC)), dataset, timeframe, as_json)
        return
    entries = [e for e in channels.history(engine) if _matches(e.line, dataset, timeframe)]
    if as_json:
        _print_json([{**asdict(entry), "line": entry.line._asdict()} for entry in entries])
        return
    table = Table("at (UTC)", "line", "channel", "action", "from", "to", "by", "reason", title="History")
    for entry in entries:
        action = f"{entry.action} (forced)" if entry.forced else entry.action
        moved = (entry.previous_version_id or RULES, entry.version_id or RULES)
        row = (f"{entry.at:%Y-%m-%d %H:%M:%S}", str(entry.line), entry.channel, action, *moved)
        table.add_row(*map(escape, (*row, entry.actor, entry.reason)))
    _print(table if entries else "Nothing was promoted or rolled back yet: every line is on the rules.")


def _show_holders(engine: Engine, moment: datetime, dataset: str | None, timeframe: str | None, as_json: bool) -> None:
    from catalyst_ml.registry import channels

    places = {(e.line, e.channel) for e in channels.history(engine) if _matches(e.line, dataset, timeframe)}
    held = {place: channels.holder_at(engine, place[0], moment, channel=place[1]) for place in sorted(places)}
    if as_json:
        entries = [
            {"line": line._asdict(), "channel": channel, "version_id": e and e.version_id, "since": e and e.at,
             "reason": e and e.reason, "actor": e and e.actor}
            for (line, channel), e in held.items()
        ]  # fmt: skip
        _print_json({"at": moment, "held": entries})
        return
    table = Table(
        "line", "channel", "held by", "since (UTC)", "by", "reason", title=f"At {moment:%Y-%m-%d %H:%M:%S} UTC"
    )
    for (line, channel), entry in held.items():
        told = ("", "", "nothing had moved yet") if entry is None else _told(entry)
        table.add_row(*map(escape, (str(line), channel, (entry and entry.version_id) or RULES, *told)))
    _print(table if held else "Nothing was promoted or rolled back yet: every line is on the rules.")


def _told(entry: HistoryEntry) -> tuple[str, str, str]:
    return f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.actor, entry.reason


@app.command()
def promote(
    version_id: VersionId,
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="Promote although the gate did not say so.")] = False,
    dataset: Dataset = None,
    timeframe: Timeframe = None,
    as_json: AsJson = False,
) -> None:
    """Put a version into production; without the gate's verdict only with --force, which is recorded."""
    from catalyst_ml.registry import channels
    from catalyst_ml.registry.lines import line_of

    engine = _open_registry()
    manifest = _chosen(engine, version_id, dataset, timeframe)
    tell = _open_sender(engine, line_of(manifest))
    move = channels.promote(
        engine,
        line_of(manifest),
        version_id,
        reason=reason,
        actor=_actor(),
        gate=manifest.gate,
        forced=force,
    )
    _print_move(move, tell(move, reason), as_json)


@app.command()
def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option("--to", help="A version id or 'rules'; default: one back.")] = None,
    dataset: Dataset = None,
    timeframe: Timeframe = None,
    label_version: Annotated[str | None, typer.Option("--label-version", help="Only this label.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take production back: one step, to a version that was there before, or to the rules."""
    from catalyst_ml.registry import channels

    engine = _open_registry()
    line = channels.only_line(engine, dataset=dataset, timeframe=timeframe, label_version=label_version)
    tell = _open_sender(engine, line)
    move = channels.rollback(engine, line, reason=reason, actor=_actor(), to=to)
    _print_move(move, tell(move, reason), as_json)


def _open_registry() -> Engine:
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine

    return open_engine(Settings())


def _open_sender(engine: Engine, line: ModelLine) -> Callable[[ChannelMove, str], IssuedPointer]:
    """Return what tells the stores of a move; whatever is wrong with key or stores is said before anything moves."""
    from catalyst_ml.registry.artifact_store import open_stores
    from catalyst_ml.registry.outbox import open_outbox
    from catalyst_ml.registry.pointer_table import refuse_other_key
    from catalyst_ml.registry.redis_store import ring_bell
    from catalyst_ml.registry.signatures import open_signer
    from catalyst_ml.settings import Settings
    from catalyst_ml.trial.pointing import point_production

    settings = Settings()
    stores, signer, outbox = open_stores(settings), open_signer(settings), open_outbox(settings)

    refuse_other_key(engine, line, signer)

    def tell(move: ChannelMove, reason: str) -> IssuedPointer:
        issued = point_production(engine, stores, signer, line, reason=reason, outbox=outbox)
        ring_bell(settings.redis)
        return issued

    return tell


def _chosen(engine: Engine, version_id: str, dataset: str | None, timeframe: str | None) -> Manifest:
    from catalyst_ml.registry import versions
    from catalyst_ml.registry.lines import line_of

    manifest = versions.read_manifest_of(engine, version_id)
    line = line_of(manifest)
    if not _matches(line, dataset, timeframe):
        raise ConfigurationError(
            f"version {version_id} belongs to {line}, asked was dataset {dataset}, timeframe {timeframe}. "
            "Leave the options out or name another version."
        )
    return manifest


def _matches(line: ModelLine, dataset: str | None, timeframe: str | None) -> bool:
    return dataset in (None, line.dataset) and timeframe in (None, line.timeframe)


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container user without a name
        return "cli"


def _facts_table(manifest: Manifest, uri: str, run_id: str | None) -> Table:
    from catalyst_ml.registry.lines import line_of
    from catalyst_ml.registry.manifest import manifest_sha256

    window = manifest.training_window
    return _pairs_table(
        manifest.version_id,
        {
            "line": str(line_of(manifest)),
            "as of": f"{manifest.as_of:%Y-%m-%d %H:%M} UTC",
            "manifest SHA-256": manifest_sha256(manifest),
            "procedure": manifest.procedure_id,
            "trained on": f"{window.n_rows:,} events, {window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}",
            "inputs": f"{len(manifest.inputs)} ({manifest.feature_set_version})",
            "data": manifest.data_fingerprint,
            "code": manifest.code_commit,
            "seed": str(manifest.seed),
            "parent": manifest.parent_version_id or RULES,
            "run": run_id or "",
            "stored at": uri,
        },
    )


def _gate_table(gate: dict[str, Any]) -> Table:
    verdict = str(gate.get("verdict", "not asked"))
    table = Table("check", "measured", "bound", "passed", "reason", title=f"Gate: {escape(verdict)}")
    words = {True: "yes", False: "no", None: "not measured"}
    for check in gate.get("checks") or []:
        name = str(check.get("title") or check.get("name", ""))
        numbers = (_short(check.get("value")), _short(check.get("bound")))
        passed = words.get(check.get("passed"), "")
        table.add_row(*map(escape, (name, *numbers, passed, str(check.get("reason", "")))))
    return table


def _pairs_table(title: str, pairs: dict[str, str]) -> Table:
    table = Table(title=escape(title), show_header=False)
    for name, value in pairs.items():
        table.add_row(escape(name), escape(value))
    return table


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            flat[f"{prefix}{name}"] = _short(value)
    return flat


def _short(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_move(move: ChannelMove, issued: IssuedPointer, as_json: bool) -> None:
    pointer = issued.pointer
    if as_json:
        state = {**asdict(move.state), "line": move.state.line._asdict()}
        told = {"pointer": pointer.model_dump(mode="json"), "waiting": list(issued.problems)}
        _print_json({**asdict(move), "state": state, **told})
        return
    _print(escape(move.message))
    held = escape(pointer.version_id or RULES)
    _print(f"Pointer {pointer.sequence} tells the servers: {held}, stage {pointer.stage}.")
    for problem in issued.problems:
        _print(f"[yellow]Not sent yet, see `catalyst-ml registry outbox`: {escape(problem)}[/yellow]")


def _print(content: Table | str) -> None:
    Console().print(content)


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, default=lambda time: time.isoformat(), indent=2))

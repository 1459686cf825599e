"""``catalyst-ml trial``: how the models stand against the rules on live events, and how the stage got there."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from catalyst_ml.trial.status import LineStatus

app = typer.Typer(
    help="The trial: models against rules on the same live events, stage by stage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

OneDataset = Annotated[str | None, typer.Option("--dataset", help="Only this data lineage, e.g. demo.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
NOTHING_YET = "Nothing yet: `catalyst-ml evaluate` writes down what both arms say of each evening's events."


@app.command("status")
def status(dataset: OneDataset = None, as_json: AsJson = False) -> None:
    """Say where the trial stands: stage, evidence, guardrails, and what comes next."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.trial.status import lines_of, status_of

    engine = open_engine(Settings())
    found = [status_of(engine, line) for line in lines_of(engine, dataset=dataset)]
    if as_json:
        typer.echo(json.dumps([each.to_dict() for each in found], indent=2))
        return
    console = Console()
    if not found:
        console.print(NOTHING_YET, highlight=False)
    for each in found:
        _print_status(console, each)


@app.command("history")
def history(dataset: OneDataset = None, as_json: AsJson = False) -> None:
    """List every move of the stage with its reason, oldest first, and the trials they belong to."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.trial.stage_history import StageHistory
    from catalyst_ml.trial.status import lines_of

    engine = open_engine(Settings())
    kept = [StageHistory(engine, line) for line in lines_of(engine, dataset=dataset)]
    if as_json:
        told = [
            {
                **each.line._asdict(),
                "trials": [asdict(trial) | {"line": str(trial.line)} for trial in each.trials()],
                "moves": [asdict(move) for move in each.moves()],
            }
            for each in kept
        ]
        typer.echo(json.dumps(told, indent=2, default=str))
        return
    console = Console()
    if not kept:
        console.print(NOTHING_YET, highlight=False)
    for each in kept:
        _print_history(console, each)


def _print_status(console: Console, each: LineStatus) -> None:
    replay = " (a replay of the past: no evidence about the future)" if each.is_replay else ""
    console.print(f"{each.dataset} {each.timeframe} {each.label_version}{replay}", style="bold", highlight=False)
    told = each.told or {}
    stage = told.get("stage", "shadow")
    console.print(f"  stage:       {stage}; production: {each.production}", highlight=False, markup=False)
    console.print(f"  evidence:    {_evidence(each)}", highlight=False, markup=False, soft_wrap=True)
    for check in told.get("guardrails", []):
        mark = {True: "fine", False: "FIRED", None: "not measured"}[check["passed"]]
        style = "red" if check["passed"] is False else None
        line = f"  guardrail:   {check['title']}: {mark}; {check['reason']}"
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
    console.print(f"  next:        {each.next_step}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"  signals:     {each.n_signals:,} from {each.first_session} to {each.last_session}; {each.n_late:,} late, "
        f"{each.n_without_model:,} without the models",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(
        f"  outcomes:    {each.n_settled:,} settled, {each.n_corrected:,} of them corrected later, "
        f"{each.n_overdue:,} overdue (never traded, or their bars are missing)",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if each.arms:
        heading = (
            f"{each.n_compared:,} settled signals of both arms, {each.n_sessions} sessions, {each.success:.1%} won"
        )
        table = Table("arm", "log-loss", "models minus it, 90 % interval", title=heading)
        for score in each.arms:
            table.add_row(score.arm, f"{score.log_loss:.4f}", _interval(score.against_models))
        console.print(table)


def _evidence(each: LineStatus) -> str:
    told = each.told
    if told is None or told["not_judged"]:
        return "none yet" if told is None else f"none yet: {told['not_judged']}"
    bounds = (told["low_bps"], told["high_bps"])
    interval = "nothing is excluded yet" if None in bounds else f"{bounds[0]:+.1f} to {bounds[1]:+.1f}"
    better = f'; "ML is better" since {told["better_since"]}' if told["better_since"] else ""
    return (
        f"e-value for better {told['e_better']:.3g}, for worse {told['e_worse']:.3g} "
        f"({told['needed'][-1]:.3g} is proof) after {told['sessions']} sessions to {told['last_session']}; "
        f"models minus rules {told['difference_bps']:+.1f} bp of one stake a session, "
        f"interval that holds at any time: {interval}{better}"
    )


def _interval(interval: object) -> str:
    if interval is None:
        return ""
    value, low, high = (getattr(interval, name) for name in ("value", "low", "high"))
    if low is None:
        return f"{value:+.4f} (too few sessions for an interval)"
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def _print_history(console: Console, each: object) -> None:
    from catalyst_ml.trial.stage_history import StageHistory

    assert isinstance(each, StageHistory)
    console.print(str(each.line), style="bold", highlight=False)
    for trial in each.trials():
        console.print(
            f"  trial {trial.number} since {trial.began:%Y-%m-%d} against {trial.rule_arm}, error {trial.alpha:.3g}: "
            f"{trial.reason}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    moves = each.moves()
    if not moves:
        console.print("  no move yet: the models have stayed in the shadow, the rules answer", highlight=False)
        return
    table = Table("decided after", "trial", "from", "to", "reason", "by", "written")
    for move in moves:
        row = (
            f"{move.session:%Y-%m-%d}", str(move.number), f"{move.from_share:.0%}", f"{move.to_share:.0%}", move.reason,
            move.actor.split(" ")[0], f"{move.at:%Y-%m-%d %H:%M}",
        )  # fmt: skip
        table.add_row(*map(escape, row))
    console.print(table)

"""Where the trial of each line stands: signals, outcomes, how good each arm was, stage, and what comes next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from sqlalchemy import Engine, text

from catalyst_ml.evaluation.intervals import ScoreInterval, mean_interval
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.registry import channels
from catalyst_ml.registry.versions import ModelLine
from catalyst_ml.store import runs
from catalyst_ml.store.engine import database_errors
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.speaker import ACTOR
from catalyst_ml.trial.stage_history import StageHistory
from catalyst_ml.trial.stages import STAGES, StagePolicy

ARMS: dict[str, str] = {
    "p_ml": "models",
    "p_rules": "rules",
    "p_pattern_base_rate": "pattern base rate",
    "p_base_rate": "base rate",
}
OVERDUE_DAYS = 21
"""Five sessions of horizon, with holidays and a source that is late."""
RUNS_TO_SEARCH = 200


@dataclass(frozen=True)
class ArmScore:
    """One arm on the settled signals on which the models spoke; ``against_models``: models' log-loss minus its own."""

    arm: str
    log_loss: float
    against_models: ScoreInterval | None


@dataclass(frozen=True)
class LineStatus:
    """What is kept of one line, and how its trial stands.

    ``n_compared`` of the settled signals carry an answer of both arms; ``success`` is the share of them that earned
    money. ``told`` is what the newest run said of the trial (``telling.summary_of``), ``next_step`` the same in words.
    """

    dataset: str
    timeframe: str
    label_version: str
    is_replay: bool
    first_session: str
    last_session: str
    n_signals: int
    n_late: int
    n_without_model: int
    n_settled: int
    n_corrected: int
    n_overdue: int
    n_compared: int
    n_sessions: int
    success: float | None
    arms: list[ArmScore]
    production: str
    told: dict[str, Any] | None
    told_as_of: str | None
    next_step: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def lines_of(engine: Engine, *, dataset: str | None = None) -> list[ModelLine]:
    """Return the lines that have signals, of one dataset or of all."""
    query = """
        SELECT DISTINCT dataset, timeframe, label_version FROM catalyst_ml.signals
        WHERE CAST(:dataset AS text) IS NULL OR dataset = :dataset ORDER BY 1, 2, 3"""
    with database_errors(engine), engine.connect() as connection:
        return [ModelLine(*row) for row in connection.execute(text(query), {"dataset": dataset})]


def status_of(engine: Engine, line: ModelLine) -> LineStatus:
    """Return where a line that has signals stands."""
    ledger = SignalLedger(engine, line).read()
    settled = ledger["y"].notna()
    compared = ledger[settled & ledger["p_ml"].notna()]
    cut = ledger["ts"].max() - pd.Timedelta(days=OVERDUE_DAYS)
    told, told_as_of = _newest_told(engine, line)
    return LineStatus(
        **line._asdict(),
        is_replay=bool(ledger["is_replay"].iloc[0]),
        first_session=f"{ledger['session'].min():%Y-%m-%d}",
        last_session=f"{ledger['session'].max():%Y-%m-%d}",
        n_signals=len(ledger),
        n_late=int(ledger["is_late"].sum()),
        n_without_model=int(ledger["p_ml"].isna().sum()),
        n_settled=int(settled.sum()),
        n_corrected=int((ledger["revision"] > 1).sum()),
        n_overdue=int((~settled & (ledger["ts"] < cut)).sum()),
        n_compared=len(compared),
        n_sessions=compared["session"].nunique(),
        success=float(compared["y"].mean()) if len(compared) else None,
        arms=_scores(compared),
        production=channels.current(engine, line).holder,
        told=told,
        told_as_of=told_as_of,
        next_step=next_step(told, StageHistory(engine, line).moves() != []),
    )


def next_step(told: dict[str, Any] | None, has_moved: bool) -> str:
    """Say what would move the stage next."""
    if told is None:
        return "no finished run has told this trial yet: run `catalyst-ml evaluate`"
    if told["not_judged"]:
        return f"{told['not_judged']}. The rules answer meanwhile"
    policy = StagePolicy(process=told["number"])
    place = STAGES.index(told["stage"])
    if place == 0 and not told["has_verdict"]:
        since = " since the model was taken off" if has_moved else ""
        return f"10 % needs the gate's word: it has not promoted a version{since} (`catalyst-ml train` asks it weekly)"
    quiet = min(told["waited"], told["quiet"])
    if place == 0:
        left = max(policy.first_sessions - quiet, 1)
        return f"{left} more session(s) without an alarm to 10 %"
    if place == len(STAGES) - 1:
        return "the model answers alone; a guardrail or evidence against it puts the rules back at once"
    needed, left = policy.needed[place - 1], max(policy.step_sessions - quiet, 0)
    wait = f", and {left} more session(s) without an alarm" if left else ""
    return f"{STAGES[place + 1]} needs an e-value of {needed:.3g}, it is {told['e_better']:.3g}{wait}"


def _scores(compared: pd.DataFrame) -> list[ArmScore]:
    if compared.empty:
        return []
    of_models = log_losses(compared["y"], compared["p_ml"])
    scores = []
    for column, name in ARMS.items():
        losses = log_losses(compared["y"], compared[column])
        against = None if column == "p_ml" else mean_interval(of_models - losses, compared["session"])
        scores.append(ArmScore(name, float(losses.mean()), against))
    return scores


def _newest_told(engine: Engine, line: ModelLine) -> tuple[dict[str, Any] | None, str | None]:
    """What the run with the newest close said of the trial; among equals the one that ran last."""
    found = [
        run
        for run in runs.list_runs(engine, dataset=line.dataset, limit=RUNS_TO_SEARCH)
        if run.flow == ACTOR and run.status == "finished" and run.summary is not None
        and (run.summary["timeframe"], run.summary["label_version"]) == (line.timeframe, line.label_version)
    ]  # fmt: skip
    if not found:
        return None, None
    newest = max(found, key=lambda run: (run.as_of, run.started_at))
    assert newest.summary is not None
    return newest.summary["trial"], newest.summary["as_of"]

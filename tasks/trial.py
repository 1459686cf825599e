"""The parallel evaluation: which closes, who speaks, what both arms say, what became of it, how the trial stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.runtime import flow_run

from catalyst_ml.errors import CatalystError, InsufficientHistory
from catalyst_ml.features.events import MODEL_INPUTS, event_inputs, model_input_version
from catalyst_ml.features.training_set import build_training_set
from catalyst_ml.frames import EVENT_KEY, LABELS
from catalyst_ml.market import collection, corporate_actions, detector, labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.models import meta_labelling
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.registry import channels
from catalyst_ml.registry.manifest import canonical_json
from catalyst_ml.registry.redis_store import ring_bell
from catalyst_ml.registry.versions import ModelLine, list_versions, load_version
from catalyst_ml.store import bars as bar_store
from catalyst_ml.store.detections import EventLine
from catalyst_ml.trial.document import trial_document
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.pointing import point_production
from catalyst_ml.trial.run import TrialPolicy
from catalyst_ml.trial.speaker import ACTOR, find_speaker, verdicts_of
from catalyst_ml.trial.stage_history import StageHistory, Trial
from catalyst_ml.trial.stages import StagePolicy
from catalyst_ml.trial.status import next_step
from catalyst_ml.trial.view import trial_view, view_key
from tasks.connections import (
    artifact_stores,
    engine,
    load_bytes,
    load_frame,
    outbox,
    settings,
    signer,
    store_bytes,
    store_frame,
)
from tasks.retrying import RETRY_TEMPORARY
from tasks.scope import LOOKBACK_DAYS, scope_at

FLOW = ACTOR


@task(name="plan-evaluation", timeout_seconds=300, **RETRY_TEMPORARY)
def plan_evaluation(parameters: dict[str, Any]) -> dict[str, Any]:
    """Fix the closes to evaluate: from the ledger's last session on, or those of a range.

    The last session is done again: a killed run may have left its outcomes or its stage undone, and bars may have come
    late. An empty ledger begins with the last close.
    """
    spec = _spec(parameters)
    line = ModelLine(
        parameters["dataset"], parameters["timeframe"],
        meta_labelling.line_label_version(spec.version, parameters["rows"]),
    )  # fmt: skip
    ledger, calendar = SignalLedger(engine(), line), TradingCalendar()
    newest = pd.Timestamp(bar_store.newest_bar(engine(), dataset=line.dataset, timeframe=line.timeframe)).tz_convert(
        "UTC"
    )
    start = pd.Timestamp(flow_run.scheduled_start_time or pd.Timestamp.now("UTC")).tz_convert("UTC")
    known = {"newest": min(newest, start), "until": parameters["until"], "every": "session"}
    (last,) = collection.closes_to_collect(calendar, since=None, **known)
    since, held = parameters["since"], ledger.last_session()
    earliest = calendar.session_of(pd.DatetimeIndex([last]))[0] - pd.Timedelta(days=parameters["max_days"])
    skipped = None
    if since is None and held is not None:
        since = max(pd.Timestamp(held), earliest)
        skipped = _skipped(held, earliest, calendar, parameters["max_days"])
    is_older = since is None or (parameters["since"] is None and pd.Timestamp(since) > last.tz_localize(None))
    closes = [last] if is_older else collection.closes_to_collect(
        calendar, since=since, **known
    )  # fmt: skip
    return {
        **line._asdict(),
        "as_of": closes[-1].isoformat(),
        "closes": [close.isoformat() for close in closes],
        "skipped": skipped,
    }


def _skipped(held: pd.Timestamp, earliest: pd.Timestamp, calendar: TradingCalendar, max_days: int) -> str | None:
    """Say which sessions nobody recorded because the machine was off for too long."""
    missed = calendar.sessions(pd.Timestamp(held) + pd.Timedelta(days=1), earliest - pd.Timedelta(days=1))
    if not len(missed):
        return None
    return (
        f"{len(missed)} sessions from {missed[0]:%Y-%m-%d} to {missed[-1]:%Y-%m-%d} lie more than {max_days} days back "
        f"and stay without signals; --param since={missed[0]:%Y-%m-%d} records them"
    )


def scopes(plan: dict[str, Any], reads: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the scope of each close in order, and keep a progress bar in the Prefect UI."""
    progress = create_progress_artifact(progress=0.0, key="evaluation", description="Closes evaluated")
    for number, close in enumerate(plan["closes"]):
        yield scope_at(pd.Timestamp(close), reads)
        update_progress_artifact(progress, progress=100.0 * (number + 1) / len(plan["closes"]))


@task(name="read-arms", task_run_name="arms {scope[as_of]}", timeout_seconds=600, **RETRY_TEMPORARY)
def read_arms(scope: dict[str, Any], plan: dict[str, Any], given: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Read which trial and stage the session belongs to, and which version spoke before its close, verified."""
    line, close = _line(plan), pd.Timestamp(scope["as_of"])
    session = TradingCalendar().session_of(pd.DatetimeIndex([close]))[0]
    arm = rules.rule_arm(given["rule_arm"]).version
    history, day = StageHistory(engine(), line), session.date()
    ml = _speaker(line, close, arm, is_replay=given["replay"])
    # A trial begins with the first version that speaks: rules alone spend nothing of the error there is to spend.
    trial = (
        history.at(day, rule_arm=arm)
        if ml is None
        else history.begin(rule_arm=arm, session=day, is_replay=given["replay"], run_id=run_id)
    )
    return {
        "session": session.isoformat(),
        "rule_arm": arm,
        "trial": None if trial is None else trial.number,
        "stage_share": 0.0 if trial is None else history.share_at(day, number=trial.number),
        "ml": ml,
    }


def _speaker(line: ModelLine, close: pd.Timestamp, rule_arm: str, *, is_replay: bool) -> dict[str, Any] | None:
    from catalyst_ml.trial.scoring import OTHER_INPUTS

    found = find_speaker(engine(), line, close.to_pydatetime(), is_replay=is_replay)
    if found is None:
        return None
    version = load_version(engine(), artifact_stores(), found.version.version_id)
    manifest = version.manifest
    is_same = (manifest.feature_set_version, manifest.procedure.get("rule_arm")) == (model_input_version(), rule_arm)
    return {
        "version_id": manifest.version_id,
        "procedure_id": manifest.procedure_id,
        "channel": found.channel,
        "as_of": manifest.as_of.isoformat(),
        "inputs": list(manifest.inputs),
        "onnx": store_bytes("speaker", version.files["model.onnx"], suffix=".onnx"),
        "training_days": manifest.procedure.get("training_days", Procedure.training_days),
        "half_life_days": manifest.procedure.get("half_life_days", Procedure.half_life_days),
        "unusable": "" if is_same else OTHER_INPUTS,
    }


@task(name="score-signals", task_run_name="signals {scope[as_of]}", timeout_seconds=900)
def score_signals(
    scope: dict[str, Any],
    arms: dict[str, Any],
    events: dict[str, Any],
    rule_scores: dict[str, Any],
    features: dict[str, Any],
    rows: dict[str, Any],
    row_choice: str,
) -> dict[str, Any]:
    """Let both arms speak of the session's events, with what was known at its close; nothing is written yet."""
    from catalyst_ml.trial.scoring import MlArm, Moment, fit_floors, score_events, served_floors

    close, session, calendar = pd.Timestamp(scope["as_of"]), pd.Timestamp(arms["session"]), TradingCalendar()
    before = calendar.closes(calendar.shift(pd.DatetimeIndex([session]), -1))[0]
    found, left_out = _events_of(before, events, rule_scores, features, row_choice)
    if found.empty:
        return {"signals": None, "unscored": "no event"}
    ml = None
    if arms["ml"] is not None:
        about = arms["ml"] | {"onnx": load_bytes(arms["ml"]["onnx"]), "as_of": pd.Timestamp(arms["ml"]["as_of"])}
        ml = MlArm(**about | {"inputs": tuple(about["inputs"])})
    training = load_frame(rows["training"])
    try:
        floors = fit_floors(
            training,
            as_of=close if ml is None else ml.as_of,
            training_days=Procedure.training_days if ml is None else ml.training_days,
            half_life_days=Procedure.half_life_days if ml is None else ml.half_life_days,
        )
    except InsufficientHistory as reason:
        return {"signals": None, "unscored": str(reason)}
    moment = Moment(
        session=session,
        close=close,
        entry_due=calendar.opens(calendar.shift(pd.DatetimeIndex([session]), 1))[0],
        stage_share=arms["stage_share"],
    )
    if ml is not None and not ml.unusable:
        floors = served_floors(ml.onnx, floors)
    signals = score_events(
        found, left_out, training, ml, floors, moment, rule_arm=arms["rule_arm"], columns=MODEL_INPUTS
    )
    return {"signals": store_frame("signals", signals), "unscored": ""}


def _events_of(
    before: pd.Timestamp, events: dict[str, Any], rule_scores: dict[str, Any], features: dict[str, Any], row_choice: str
) -> tuple[pd.DataFrame, pd.Series]:
    """Events decided since the close ``before`` with all that either arm asks for, and why a model may not be asked."""
    event_frame, score_frame = load_frame(events), load_frame(rule_scores)
    new = event_frame[(event_frame["ts"] > before).to_numpy()].reset_index(drop=True)
    if new.empty:
        return new, pd.Series(dtype="str")
    scores = score_frame[(score_frame["ts"] > before).to_numpy()].reset_index(drop=True)
    inputs = event_inputs(new, load_frame(features["features"]), scores)
    built = build_training_set(new, LABELS.empty(), scores, inputs, calendar=TradingCalendar())
    key = list(EVENT_KEY)
    rows = new.merge(scores[[*key, "rule_action"]], on=key, how="left", validate="one_to_one")
    rows = rows.assign(rule_action=rows["rule_action"].fillna(0).astype("int8"))  # unscored: the rules hold
    rows = rows.merge(inputs, on=key, how="left", validate="one_to_one").merge(built.dropped, on=key, how="left")
    if row_choice == "rule_fired":
        rows = rows[meta_labelling.rule_fired(rows)].reset_index(drop=True)
    return rows.drop(columns="reason"), rows["reason"]


@task(name="write-signals", task_run_name="write {scope[as_of]}", timeout_seconds=600, **RETRY_TEMPORARY)
def write_signals(
    scope: dict[str, Any], plan: dict[str, Any], scored: dict[str, Any], run_id: str, *, replay: bool
) -> dict[str, Any]:
    """Write the session's signals into the ledger, all of them or none; those already there stay."""
    none = {"new": 0, "kept": 0, "different": 0, "late": 0, "without_model": 0, "unscored": scored["unscored"]}
    if scored["signals"] is None:
        return none
    signals, now = load_frame(scored["signals"]), pd.Timestamp.now("UTC")
    written = SignalLedger(engine(), _line(plan)).write(
        signals, run_id=run_id, is_replay=replay, scored_at=now.to_pydatetime()
    )
    return none | {
        "new": written.new,
        "kept": written.kept,
        "different": written.different,
        "late": written.new if (signals["entry_due"] < now).all() else 0,
        "without_model": int(signals["p_ml"].isna().sum()),
    }


@task(name="settle-signals", task_run_name="settle {scope[as_of]}", timeout_seconds=900, **RETRY_TEMPORARY)
def settle_signals(scope: dict[str, Any], plan: dict[str, Any], given: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Write the outcomes that were known at the close beside their signals, and corrections of earlier ones."""
    line, as_of = _line(plan), pd.Timestamp(scope["as_of"]).to_pydatetime()
    detections = EventLine(engine(), line.dataset, line.timeframe, detector.detector_version(TradingCalendar()))
    known = detections.labels(_spec(given).version, as_of)
    settled = SignalLedger(engine(), line).settle(known, as_of=as_of, run_id=run_id)
    return {"settled": settled.first, "corrected": settled.corrected}


@task(name="tell-trial", task_run_name="trial {scope[as_of]}", timeout_seconds=900, **RETRY_TEMPORARY)
def tell_trial(
    scope: dict[str, Any],
    plan: dict[str, Any],
    given: dict[str, Any],
    arms: dict[str, Any],
    market: dict[str, Any],
    run_id: str,
) -> dict[str, Any]:
    """Tell the trial up to the close; keep a move of its stage, and on a demotion put production on the rules."""
    from catalyst_ml.trial import telling

    line, as_of = _line(plan), pd.Timestamp(scope["as_of"])
    history, session = StageHistory(engine(), line), pd.Timestamp(arms["session"])
    if arms["trial"] is None:
        return telling.not_begun()
    trial = next(trial for trial in history.trials() if trial.number == arms["trial"])
    versions = {
        version.version_id: pd.Timestamp(version.as_of) for version in list_versions(engine(), **line._asdict())
    }
    run = telling.tell_trial(
        SignalLedger(engine(), line).read(known_at=as_of.to_pydatetime()),
        bars_of(trial, scope, market),
        verdicts_of(engine(), line, is_replay=trial.is_replay),
        versions,
        trial,
        _spec(given),
        calendar=TradingCalendar(),
        as_of=as_of,
        with_interval=scope["as_of"] == plan["closes"][-1],
    )
    due = telling.due_move(run, arms["stage_share"], session) if run is not None else None
    moved = None
    if due is not None:
        is_new = history.record(
            trial.number, session=session.date(), from_share=due.from_share, to_share=due.to_share, reason=due.reason,
            evidence=due.evidence, actor=f"{ACTOR} {run_id}", run_id=run_id,
            first=(lambda: _back_to_rules(line, due.reason, run_id)) if due.to_share == 0.0 else None,
        )  # fmt: skip
        moved = f"{due.from_share:.0%} -> {due.to_share:.0%}: {due.reason}" if is_new else None
    document = None
    if run is not None and session == pd.Timestamp(SignalLedger(engine(), line).last_session()):
        document = trial_document(run, TrialPolicy(stages=StagePolicy(process=trial.number)))
    summary = telling.summary_of(run, trial, due.to_share if due else arms["stage_share"])
    return summary | {"moved": moved, "document": document}


def bars_of(trial: Trial, scope: dict[str, Any], market: dict[str, Any]) -> pd.DataFrame:
    """Bars from long enough before the trial began: the run's, or more once the trial is older than their window."""
    line = {name: scope[name] for name in ("dataset", "timeframe")}
    start, as_of = pd.Timestamp(trial.began, tz="UTC") - pd.Timedelta(days=LOOKBACK_DAYS), pd.Timestamp(scope["as_of"])
    if start >= pd.Timestamp(scope["extract_start"]):
        return load_frame(market["bars"])
    raw = bar_store.extract_bars(engine(), **line, start=start, as_of=as_of)
    return corporate_actions.adjust_for_splits(raw, as_of=as_of)


def _back_to_rules(line: ModelLine, reason: str, run_id: str) -> None:
    channels.rollback(engine(), line, reason=f"the trial: {reason}", actor=f"{ACTOR} {run_id}", to=channels.RULES)


@task(name="tell-servers", timeout_seconds=600, **RETRY_TEMPORARY)
def tell_servers(plan: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Tell the servers the stage in force, and give them the trial to show; a store that is down fails nothing."""
    line, (home, *others) = _line(plan), artifact_stores()
    issued = point_production(
        engine(), artifact_stores(), signer(), line, reason=told["moved"] or "the trial's stage", outbox=outbox()
    )
    ring_bell(settings().redis)
    problems = list(issued.problems)
    if told.get("document") is not None:
        moves = StageHistory(engine(), line).moves(number=told["number"])
        ledger = SignalLedger(engine(), line).read(known_at=pd.Timestamp(plan["as_of"]).to_pydatetime())
        shown = trial_view(
            told["document"], ledger, moves, rule_arm=told["rule_arm"],
            next_step=next_step(told, has_moved=bool(moves)), updated_at=pd.Timestamp.now("UTC").to_pydatetime(),
        )  # fmt: skip
        content = canonical_json(shown)
        home.put_bytes(view_key(line), content)
        for store in others:
            try:
                store.put_bytes(view_key(line), content)
            except CatalystError as error:  # written anew tomorrow, so it need not wait in the outbox
                problems.append(str(error))
    for problem in problems:
        get_run_logger().warning("servers: %s", problem)
    return {"stage": issued.pointer.stage, "sequence": issued.pointer.sequence, "problems": problems}


def count_held(held: dict[str, Any], scope: dict[str, Any]) -> int:
    """Count the events of this close that the quarantine holds: they get no signal, as they would get no trade."""
    findings = load_frame(held["findings"])
    of_close = findings[(findings["ts"] == pd.Timestamp(scope["as_of"])).to_numpy()]
    return len(of_close.drop_duplicates(list(EVENT_KEY)))


@task(name="show-trial")
def show_trial(told: dict[str, Any]) -> None:
    """Write the guardrails and the evidence as a table into the Prefect UI."""
    rows = [
        {"check": check["title"], "measured": check["value"], "bound": check["bound"], "reason": check["reason"]}
        for check in told.get("guardrails", [])
    ]
    stage = told.get("stage", "not judged")
    create_table_artifact(rows or [{"check": told["not_judged"]}], key="trial", description=f"Stage: {stage}")


def summarise(
    plan: dict[str, Any],
    evaluated: list[dict[str, Any]],
    told: dict[str, Any],
    servers: dict[str, Any],
    *,
    duration_s: float,
) -> dict[str, Any]:
    """Add up what each close brought; the trial is as of the last one."""
    return {
        **{name: plan[name] for name in ("dataset", "timeframe", "label_version", "as_of", "skipped")},
        "closes": len(evaluated),
        "first": plan["closes"][0],
        "last": plan["closes"][-1],
        **{
            name: sum(of[name] for of in evaluated)
            for name in ("new", "kept", "different", "late", "without_model", "settled", "corrected", "held_out")
        },
        "unscored": {of["as_of"][:10]: of["unscored"] for of in evaluated if of["unscored"]},
        "moves": [f"{of['as_of'][:10]}: {of['moved']}" for of in evaluated if of["moved"]],
        "production": channels.current(engine(), _line(plan)).holder,
        "trial": {name: value for name, value in told.items() if name != "document"},
        "servers": servers,
        "duration_s": duration_s,
    }


def _line(plan: dict[str, Any]) -> ModelLine:
    return ModelLine(plan["dataset"], plan["timeframe"], plan["label_version"])


def _spec(given: dict[str, Any]) -> labels.AnyLabelSpec:
    return labels.default_spec(given["timeframe"], given["label"], cost_bps_per_side=given["cost_bps_per_side"])

"""One replayed week: the steps of the weekly run up to the fit, then forecast and judgement, without a task run each.

What the weekly run writes beside its result (quarantine, detections, versions, channels) is left alone. Training a week
needs nothing of the weeks before it, so it can be done ahead; judging it needs what the replay had in charge by then.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from threading import Lock
from typing import Any

import pandas as pd
from prefect import task

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.ageing import age_column
from catalyst_ml.evaluation.live_record import P_PRODUCTION
from catalyst_ml.evaluation.record import P_RULES
from catalyst_ml.features.events import event_inputs
from catalyst_ml.features.training_set import build_training_set
from catalyst_ml.frames import EVENT_KEY, LABELS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.models import meta_labelling, walk_forward
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.training_device import ON_CPU
from tasks import dataset, drift, judgement, quality, training, trials
from tasks.caching import cached, reuse
from tasks.connections import frames_apart, load_bytes, load_frame, snapshots, store_frame
from tasks.scope import what_is_read

ROOMS = (
    "catalyst_ml.evaluation",
    "catalyst_ml.features",
    "catalyst_ml.frames",
    "catalyst_ml.indicators",
    "catalyst_ml.market",
    "catalyst_ml.models",
    "catalyst_ml.quality",
    "catalyst_ml.store",
    "tasks.dataset",
    "tasks.drift",
    "tasks.judgement",
    "tasks.quality",
    "tasks.training",
    "tasks.trials",
)
PACKAGES = (*training.TRAINERS, "onnx", "onnxruntime", "great-expectations")
_ONE_AT_A_TIME = Lock()
"""Weeks trained side by side take turns in preparing: two at once would double the memory, and suites share a state."""


@task(name="train-week", **cached(*ROOMS, packages=PACKAGES, ignore=("threads",)))
def train_week(
    scope: dict[str, Any], since: str | None, procedure: dict[str, Any], threads: int | None
) -> dict[str, Any]:
    """Do the weekly run's work at a close, up to the fit; keep the events decided after ``since`` to forecast them.

    ``refused`` says why the weekly run would have stopped; then there is no fit, and no events if it stopped early.
    """
    kept: dict[str, Any] = {"refused": None, "recent": None, "trained": None}
    try:
        with frames_apart(folder_of(scope, procedure)):
            with _ONE_AT_A_TIME:
                known = prepare(scope, procedure)
                if since is not None:
                    kept["recent"] = store_frame("recent", events_since(known, pd.Timestamp(since), procedure))
                validated = dataset.validate_rows.fn(known["rows"])
            dataset.refuse_invalid.fn(validated)
            trained = _train(known, scope, procedure, threads)
    except (DataContractError, InsufficientHistory) as refusal:
        return kept | {"refused": str(refusal)}
    return kept | {"trained": trained | {"validated": {"passed": validated["passed"]}}}


def prepare(scope: dict[str, Any], procedure: dict[str, Any]) -> dict[str, Any]:
    """Run the weekly run's steps from extraction to the training set; the quarantine is read and not written."""
    market = dataset.extract_market.fn(what_is_read(scope))
    checked_bars = quality.validate_bars.fn(market, quality.read_releases.fn(scope))
    breaks = quality.look_up_bars(checked_bars, scope)
    dataset.refuse_invalid.fn(checked_bars["suite"])
    found = dataset.detect_events.fn(market)
    checked_events = quality.validate_events.fn(found, market, breaks["breaks"])
    held = quality.look_up_events(checked_events, scope)
    dataset.refuse_invalid.fn(checked_events["suite"])
    events = quality.hold_out.fn(found, held["findings"])
    outcome = procedure["label"], procedure["cost_bps_per_side"]
    labelled = dataset.label_events.fn(events, market, scope["as_of"], *outcome)
    rule_scores = dataset.score_rules.fn(events, market, procedure["rule_arm"])
    features = dataset.features_at_events.fn(events, market)
    known = {
        "market": market,
        "events": events,
        "labelled": labelled,
        "rule_scores": rule_scores,
        "features": features,
    }
    rows = dataset.build_rows.fn(events, labelled, rule_scores, features)
    known["rows"] = training.choose_rows.fn(rows, procedure["rows"])
    return known


def plan_folds(known: dict[str, Any], scope: dict[str, Any], procedure: dict[str, Any]) -> dict[str, Any]:
    """Lay the folds of a prepared week, as the weekly run does."""
    decides = {name: procedure[name] for name in procedure if name not in ("label", "cost_bps_per_side", "rows")}
    decides["row_choice"] = procedure["rows"]
    return training.plan_walk_forward.fn(known["rows"], known["labelled"], scope["as_of"], **decides)


def _train(
    known: dict[str, Any], scope: dict[str, Any], procedure: dict[str, Any], threads: int | None
) -> dict[str, Any]:
    plan = plan_folds(known, scope, procedure)
    folds = _fit_folds(plan, known["rows"], threads)
    combined = training.combine_folds.fn([fold for fold, _ in folds], plan)
    model = training.fit_final.fn(known["rows"], combined, plan, scope["as_of"], threads, ON_CPU.to_dict())
    watched = known["events"], known["rule_scores"], known["features"]
    return {
        "rows": {"training": known["rows"]["training"]},
        "drift": drift.look_for_drift.fn(*watched, model, plan, scope["as_of"]),
        "fingerprint": scope["fingerprint"],
        "combined": {"record": combined["record"]},
        "model": {name: model[name] for name in ("onnx", "parity", "weights", "n_train")},
        "plan": {name: plan[name] for name in ("procedure", "procedure_id", "label_version")},
        "floors": _floors(known["rows"], plan, scope["as_of"]),
        "folds": [len(folds), sum(was_stored for _, was_stored in folds)],
    }


def decide(week: str, as_of: str, trained: dict[str, Any], production: dict[str, Any]) -> dict[str, Any]:
    """Let the gate judge; the new arm in charge is the week's fit if it is promoted, else what was."""
    plan, model = trained["plan"], trained["model"]
    judged = judgement.judge.fn(
        trained["rows"], trained["combined"], production, model, plan, trained["validated"], trained["drift"],
        trials.NONE_TRIED,
    )  # fmt: skip
    decision, inputs = judged["decision"], plan["procedure"]["inputs"]
    if decision["verdict"] == "promote":
        production = {
            "kind": "model",
            "holder": f"fit of {week}",
            "version_id": f"fit of {week}",
            "procedure_id": plan["procedure_id"],
            "feature_set_version": plan["procedure"]["feature_set_version"],
            "rule_arm": plan["procedure"]["rule_arm"],
            "as_of": as_of,
            "inputs": inputs,
            "onnx": model["onnx"],
            # No record of its own: the gate asks for one only where procedures differ, and a replay has one procedure.
        }
    return {
        "decision": decision,
        "refused": None,
        "production": production,
        "fit": {
            "onnx": model["onnx"],
            "inputs": inputs,
            "floors": trained["floors"],
            "n_train": model["n_train"],
            "weights": model["weights"],
        },
        # By hash: the record itself is not kept, but two runs can be shown to have judged the same one.
        "record_sha256": judged["record"]["sha256"],
        "attempt": {"plan": plan, "fingerprint": trained["fingerprint"], "facts": trials.facts_of_record(judged)},
        "folds": trained["folds"],
    }


def _fit_folds(plan: dict[str, Any], rows: dict[str, Any], threads: int | None) -> list[tuple[dict[str, Any], bool]]:
    """Fit or find each fold, side by side as in the weekly run; with it, whether it was found."""
    frame = rows["training"]
    share = walk_forward.share_threads(threads or os.cpu_count() or 1, n_rows=frame["rows"])

    def fit(fold: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        return reuse(training.fit_fold, fold, plan["procedure"], frame, share.of_each, ON_CPU.to_dict())

    with ThreadPoolExecutor(share.side_by_side) as pool:
        # Each thread in a copy of this one's context: Prefect keeps its settings there.
        return [future.result() for future in [pool.submit(copy_context().run, fit, fold) for fold in plan["folds"]]]


def _floors(rows: dict[str, Any], plan: dict[str, Any], as_of: str) -> dict[str, Any]:
    from catalyst_ml.evaluation.weights import sample_weights
    from catalyst_ml.models.final_fit import known_rows
    from catalyst_ml.models.floor_arms import FloorArms

    frame, procedure = load_frame(rows["training"]), Procedure.from_dict(plan["procedure"])
    known = frame[known_rows(frame, procedure, as_of=pd.Timestamp(as_of))]
    weight = sample_weights(known, as_of=pd.Timestamp(as_of), half_life_days=procedure.half_life_days)
    return FloorArms.fit(known, weight).to_dict()


def forecast(recent: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Let what stood at the last decision forecast the events decided since, settled or not.

    Features are as they were known at the later close, so a correction that came between the two is in them.
    """
    from catalyst_ml.models.champion import score_served
    from catalyst_ml.models.floor_arms import FloorArms

    rows, inputs, production = load_frame(recent), tuple(before["inputs"]), before["production"]
    floors = FloorArms.from_dict(before["floors"]).predict(rows)
    ages = {age_column(int(age)): score_served(load_bytes(onnx), rows, inputs) for age, onnx in before["fits"].items()}
    in_charge = (
        floors[P_RULES]
        if production["kind"] == "rules"
        else score_served(load_bytes(production["onnx"]), rows, tuple(production["inputs"]))
    )
    live = rows[[*EVENT_KEY, "session", "rule_score", "rule_action"]].assign(
        fold=pd.Series(before["as_of"][:10], index=rows.index, dtype="str"),
        production=pd.Series(production["holder"], index=rows.index, dtype="str"),
        **{P_PRODUCTION: in_charge},
        **floors,
        **ages,
    )
    return store_frame("live", live)


def events_since(known: dict[str, Any], since: pd.Timestamp, procedure: dict[str, Any]) -> pd.DataFrame:
    """Events of the procedure decided after ``since`` with all that a model or a floor asks for; pending ones too."""
    events, scores = load_frame(known["events"]), load_frame(known["rule_scores"])
    new = events[(events["ts"] > since).to_numpy()].reset_index(drop=True)
    theirs = scores[(scores["ts"] > since).to_numpy()].reset_index(drop=True)
    inputs = event_inputs(new, load_frame(known["features"]["features"]), theirs)
    rows = build_training_set(new, LABELS.empty(), theirs, inputs, calendar=TradingCalendar()).unlabelled
    return rows if procedure["rows"] == "all" else rows[meta_labelling.rule_fired(rows)].reset_index(drop=True)


def folder_of(scope: dict[str, Any], procedure: dict[str, Any]) -> str:
    """Name under which the frames of a replayed week are kept apart: 70 MB on 300 stocks, removed when it is over."""
    about = json.dumps([scope, procedure], sort_keys=True).encode()
    return f"replay-{scope['as_of'][:10]}-{hashlib.sha256(about).hexdigest()[:8]}"


@contextmanager
def scratch(scope: dict[str, Any], procedure: dict[str, Any], purpose: str) -> Iterator[None]:
    """Keep the frames stored meanwhile apart, and remove them at the end."""
    name = f"{purpose}-{folder_of(scope, procedure)}"
    try:
        with frames_apart(name):
            yield
    finally:
        snapshots().discard(name)

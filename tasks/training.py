"""Walk forward, combine, fit the version to deploy: one fold is one cached task."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from catalyst_ml.evaluation.splits import (
    INTRADAY_MIN_TRAINING_SESSIONS,
    MIN_TRAINING_SESSIONS,
    Fold,
    test_rows,
    train_rows,
    walk_forward_folds,
)
from catalyst_ml.features.events import CATALYST_INPUTS
from catalyst_ml.features.line_inputs import input_version, model_inputs
from catalyst_ml.market import rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import DAILY
from catalyst_ml.models import meta_labelling, training_device, walk_forward
from catalyst_ml.models.member import TrainedOn
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure, RowChoice, default_procedure
from catalyst_ml.models.training_device import TrainingDevice
from tasks.caching import cached
from tasks.connections import load_frame, store_bytes, store_frame

ROOMS = ("catalyst_ml.models", "catalyst_ml.evaluation", "catalyst_ml.features", "catalyst_ml.frames")
N_PROGRESS_STEPS = 10
TRAINERS = ("scikit-learn", "xgboost", "torch")


@task(name="choose-rows", timeout_seconds=300, **cached("catalyst_ml.models.meta_labelling"))
def choose_rows(rows: dict[str, Any], choice: RowChoice) -> dict[str, Any]:
    """Keep the events that the procedure trains on and is judged on: all, or those on which the rules fired."""
    if choice == "all":
        return rows
    frame = load_frame(rows["training"])
    chosen = meta_labelling.choose_rows(frame, choice)
    step = {"step": choice, "n_before": len(frame), "n_after": len(chosen)}
    pending = load_frame(rows["pending"])
    return {
        **rows,
        "training": store_frame("training", chosen),
        "pending": store_frame("pending", pending[meta_labelling.rule_fired(pending)]),
        "steps": [*rows["steps"], step],
    }


@task(name="plan-walk-forward", timeout_seconds=300, **cached(*ROOMS, "catalyst_ml.market"))
def plan_walk_forward(
    rows: dict[str, Any],
    labelled: dict[str, Any],
    as_of: str,
    *,
    record_sessions: int,
    burn_in_sessions: int,
    training_days: int,
    seed: int,
    rule_arm: str,
    row_choice: RowChoice,
    catalyst_predictor: bool,
) -> dict[str, Any]:
    """Lay the folds and fingerprint what each one reads: a fold is re-fitted only when its own rows change."""
    frame, is_daily = load_frame(rows["training"]), labelled["timeframe"] == DAILY
    folds = walk_forward_folds(
        as_of=pd.Timestamp(as_of),
        calendar=TradingCalendar(),
        record_sessions=record_sessions,
        burn_in_sessions=burn_in_sessions,
        training_days=training_days,
        label_sessions=labelled["label_sessions"],
        history_start=frame["ts"].min(),
        min_training_sessions=MIN_TRAINING_SESSIONS if is_daily else INTRADAY_MIN_TRAINING_SESSIONS,
    )
    row_hash = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    procedure = default_procedure(
        model_inputs(labelled["timeframe"]),
        feature_set_version=input_version(labelled["timeframe"]),
        label_version=labelled["label_version"],
        rule_arm=rules.rule_arm(rule_arm).version,
        catalyst_inputs=CATALYST_INPUTS if catalyst_predictor else (),
        rows=row_choice,
        training_days=training_days,
        seed=seed,
    )
    return {
        "procedure": procedure.to_dict(),
        "procedure_id": procedure.procedure_id,
        "label_version": meta_labelling.line_label_version(labelled["label_version"], row_choice),
        "folds": [{**fold.to_dict(), "content": _content(row_hash, frame, fold)} for fold in folds],
    }


@task(name="choose-device", timeout_seconds=300)
def choose_device(rows: dict[str, Any], device: training_device.Device) -> dict[str, str]:
    """Choose once where this run trains, and say why. Never cached: the machine of the day decides."""
    return training_device.choose_device(device, n_rows=rows["training"]["rows"]).to_dict()


def folds_to_fit(
    plan: dict[str, Any], rows: dict[str, Any], threads: int | None, device: dict[str, str]
) -> dict[str, Any]:
    """Return the arguments of `fit_fold` for fold after fold, and how many of them to run at a time."""
    training = rows["training"]
    share = walk_forward.share_threads(
        threads or os.cpu_count() or 1, n_rows=training["rows"], device=TrainingDevice.from_dict(device)
    )
    calls = ((fold, plan["procedure"], training, share.of_each, device) for fold in _with_progress(plan["folds"]))
    return {"calls": calls, "at_most": share.side_by_side}


def _with_progress(folds: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield fold after fold and keep a progress bar in the Prefect UI, in steps that an eye can see."""
    progress = create_progress_artifact(progress=0.0, key="walk-forward", description="Folds of the walk-forward")
    for number, fold in enumerate(folds, start=1):
        yield fold
        if number % max(len(folds) // N_PROGRESS_STEPS, 1) == 0 or number == len(folds):
            update_progress_artifact(progress, progress=100.0 * number / len(folds))


@task(
    name="fit-fold",
    task_run_name="fit {fold[name]}",
    # No timeout of its own: in the threads that folds run on Prefect cannot interrupt anything. The flow's holds.
    # The fold's own content is in its description; the whole training set would miss the cache every week. A fold of
    # another device is as good evidence as this one's (decision 0025); each keeps where it was trained.
    **cached(*ROOMS, packages=TRAINERS, ignore=("training", "threads", "device")),
)
def fit_fold(
    fold: dict[str, Any], procedure: dict[str, Any], training: dict[str, Any], threads: int, device: dict[str, str]
) -> dict[str, Any]:
    """Fit every member on what was known before the fold and predict the fold's rows."""
    fitted = walk_forward.fit_fold(
        load_frame(training),
        fold_of(fold),
        Procedure.from_dict(procedure),
        n_threads=threads,
        device=TrainingDevice.from_dict(device),
    )
    return {
        "fold": fold,
        "rows": store_frame("fold", fitted.rows),
        "fit_seconds": fitted.fit_seconds,
        "n_train": fitted.n_train,
        "note": fitted.note,
        "trained_on": {name: list(where) for name, where in fitted.trained_on.items()},
    }


@task(name="combine-folds", timeout_seconds=900, **cached(*ROOMS))
def combine_folds(folds: Sequence[dict[str, Any]], plan: dict[str, Any]) -> dict[str, Any]:
    """Weigh and calibrate each fold on the folds before it; pool the record."""
    predicted = [
        walk_forward.FoldPredictions(
            fold_of(fold["fold"]), load_frame(fold["rows"]), fold["fit_seconds"], fold["n_train"], fold["note"]
        )
        for fold in folds
    ]
    combined = walk_forward.combine_folds(predicted, Procedure.from_dict(plan["procedure"]))
    return {
        "record": store_frame("record", combined.record),
        "oof": store_frame("oof", combined.oof),
        "notes": sorted({fold["note"] for fold in folds if fold["note"]}),
    }


@task(
    name="fit-final",
    timeout_seconds=3600,
    **cached(*ROOMS, "catalyst_ml.quality.novelty", packages=(*TRAINERS, "onnx"), ignore=("threads", "device")),
)
def fit_final(
    rows: dict[str, Any],
    combined: dict[str, Any],
    plan: dict[str, Any],
    as_of: str,
    threads: int | None,
    device: dict[str, str],
) -> dict[str, Any]:
    """Fit the version to deploy on all labels known, write it as one ONNX graph and certify its parity."""
    from catalyst_ml.models import final_fit, onnx_graph, parity
    from catalyst_ml.quality import novelty

    training, procedure = load_frame(rows["training"]), Procedure.from_dict(plan["procedure"])
    fitted = final_fit.fit_final(
        training,
        procedure,
        load_frame(combined["oof"]),
        as_of=pd.Timestamp(as_of),
        n_threads=threads or os.cpu_count() or 1,
        device=TrainingDevice.from_dict(device),
    )
    known = training[final_fit.known_rows(training, procedure, as_of=pd.Timestamp(as_of))]
    graph = onnx_graph.export(fitted, metadata=novelty.graph_entry(known, procedure.shared_inputs))
    certificate = parity.certify(fitted, graph, model_matrix(training.tail(20_000), procedure.inputs))
    return {
        "onnx": store_bytes("model", graph, suffix=".onnx"),
        "parity": certificate.to_dict(),
        "weights": fitted.weights.to_dict(),
        "calibration": fitted.calibrator.reason,
        "n_tree_nodes": fitted.n_tree_nodes,
        "n_train": fitted.n_train,
        "first_trained": known["ts"].min().isoformat(),
        "last_trained": known["ts"].max().isoformat(),
        "note": fitted.note,
        "fit_seconds": fitted.fit_seconds,
        "threads": threads or os.cpu_count() or 1,
        "trained_on": {name: list(where) for name, where in fitted.trained_on.items()},
    }


def where_trained(folds: Sequence[dict[str, Any]], model: dict[str, Any]) -> str:
    """Say in a line where the members of all folds and of the fit to deploy were trained, and why not on the device."""
    fits = [{name: TrainedOn(*where) for name, where in fit["trained_on"].items()} for fit in (*folds, model)]
    return training_device.where_trained(fits)


def fold_of(described: dict[str, Any]) -> Fold:
    """Return the fold that a plan describes."""
    return Fold.from_dict({name: value for name, value in described.items() if name != "content"})


def _content(row_hash: np.ndarray, frame: pd.DataFrame, fold: Fold) -> str:
    """Hash of the rows a fold trains on and tests, in their order."""
    digest = hashlib.sha256()
    for mask in (train_rows(frame, fold), test_rows(frame, fold)):
        digest.update(row_hash[mask].tobytes() + b"|")
    return digest.hexdigest()

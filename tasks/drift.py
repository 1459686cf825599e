"""The drift watch: what it looks after, what it finds, and the alarm it raises."""

from __future__ import annotations

import io
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.events import emit_event
from prefect.runtime import flow_run

from catalyst_ml.market import labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.quality.drift_alarms import (
    Alarm,
    DriftReport,
    Finding,
    alarm_from_dict,
    alarm_to_dict,
    carry_alarms,
    finding_to_dict,
    still_apply,
)
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.versions import load_version
from catalyst_ml.registry.watched import find_watched
from catalyst_ml.store import runs
from tasks.caching import cached
from tasks.connections import artifact_stores, engine, load_bytes, load_frame, store_bytes, store_frame
from tasks.retrying import RETRY_TEMPORARY
from tasks.scope import LOOKBACK_DAYS

FLOW = "drift-watch"
DRIFT_EVENT, STALE_EVENT = "catalyst-ml.drift.alarm", "catalyst-ml.feed.stale"
"""The first may start a training (prefect.yaml); the second may not: training again on old data mends nothing."""

NO_VERSION = (
    "features, relations, classifier, calibration, expected accuracy: no version of this dataset and label is "
    "registered yet, so there is no training to compare with; the first one is made by catalyst-ml train"
)
"""Nothing else stands in for a training: an alarm would ask to train again what was never trained."""

RUNS_TO_SEARCH = 200
SHOWN = 12


@task(name="find-watched", timeout_seconds=600, **RETRY_TEMPORARY)
def find_watched_version(scope: dict[str, Any], label: str, cost_bps_per_side: float) -> dict[str, Any] | None:
    """Read the version in production, in the shadow, or the newest one; None if there is none yet."""
    spec = labels.default_spec(scope["timeframe"], label, cost_bps_per_side=cost_bps_per_side)
    line = ModelLine(scope["dataset"], scope["timeframe"], spec.version)
    found = find_watched(engine(), line, as_of=pd.Timestamp(scope["as_of"]).to_pydatetime())
    if found is None:
        return None
    version = load_version(engine(), artifact_stores(), found.version_id)
    manifest = version.manifest
    arms = [name for name, arm in rules.RULE_ARMS.items() if arm.version == manifest.procedure.get("rule_arm")]
    return {
        "version_id": found.version_id,
        "where": found.where,
        "start": manifest.training_window.start.isoformat(),
        "end": manifest.training_window.end.isoformat(),
        "as_of": manifest.as_of.isoformat(),
        "inputs": list(manifest.inputs),
        "feature_set_version": manifest.feature_set_version,
        "rule_arm": arms[0] if arms else rules.DEFAULT_RULE_ARM,
        "onnx": store_bytes("watched", version.files["model.onnx"], suffix=".onnx"),
        "record": store_frame("watched", pd.read_parquet(io.BytesIO(version.files["record.parquet"]))),
    }


@task(name="watch-version", timeout_seconds=1800)
def watch_version(
    scope: dict[str, Any],
    watched: dict[str, Any],
    events: dict[str, Any],
    rule_scores: dict[str, Any],
    features: dict[str, Any],
    labelled: dict[str, Any],
) -> dict[str, Any]:
    """Score the events since the version was made and compare them with those it was trained on."""
    from catalyst_ml.evaluation import drift_watch
    from catalyst_ml.features.events import event_inputs, model_input_version
    from catalyst_ml.models.champion import score_served

    start, end, as_of = (pd.Timestamp(watched[name]) for name in ("start", "end", "as_of"))
    # Bars before that lack the history that slow indicators need.
    start = max(start, pd.Timestamp(scope["extract_start"]) + pd.Timedelta(days=LOOKBACK_DAYS))
    trained = drift_watch.Trained(start, end, as_of, tuple(watched["inputs"]))
    inputs = event_inputs(load_frame(events), load_frame(features["features"]), load_frame(rule_scores))
    absent = [name for name in trained.inputs if name not in inputs.columns]
    if absent:
        reason = f"features: the version reads {absent[:5]}, which today's code no longer computes; train again"
        return _stored(DriftReport(unjudged=(reason,)))
    is_fresh = (inputs["ts"] > trained.as_of).to_numpy()
    p = pd.Series(float("nan"), index=inputs.index)
    p[is_fresh] = score_served(load_bytes(watched["onnx"]), inputs.loc[is_fresh], trained.inputs)
    report = drift_watch.watch_version(
        inputs, trained, record=load_frame(watched["record"]), labels=load_frame(labelled["labels"]),
        p=p.to_numpy(), calendar=TradingCalendar(),
    )  # fmt: skip
    if watched["feature_set_version"] != model_input_version():
        note = "features: the code that computes them has changed since this version was trained; both sides are new"
        report = report.joined(DriftReport(unjudged=(note,)))
    return _stored(report)


@task(
    name="look-for-drift",
    timeout_seconds=1800,
    **cached("catalyst_ml.evaluation", "catalyst_ml.features", "catalyst_ml.market.calendar", "catalyst_ml.quality"),
)
def look_for_drift(
    events: dict[str, Any],
    rule_scores: dict[str, Any],
    features: dict[str, Any],
    model: dict[str, Any],
    plan: dict[str, Any],
    as_of: str,
) -> dict[str, Any]:
    """Compare the newest month's inputs with those the challenger was trained on, settled or not, for the gate."""
    from catalyst_ml.evaluation import drift_watch
    from catalyst_ml.features.line_inputs import line_event_inputs
    from catalyst_ml.models.procedure import Procedure

    inputs = line_event_inputs(load_frame(events), load_frame(features["features"]), load_frame(rule_scores))
    start, end = (pd.Timestamp(model[name]) for name in ("first_trained", "last_trained"))
    names = tuple(Procedure.from_dict(plan["procedure"]).inputs)
    trained = drift_watch.Trained(start, end, pd.Timestamp(as_of), names)
    report = drift_watch.watch_inputs(inputs, trained, calendar=TradingCalendar())
    return {
        "questions": len(report.findings),
        "alarms": [finding.meaning for finding in report.nearest(len(report.findings)) if finding.alarms],
        "unjudged": list(report.unjudged),
    }


@task(name="watch-feeds", timeout_seconds=300)
def watch_feeds(market: dict[str, Any], scope: dict[str, Any], as_of: str | None) -> dict[str, Any]:
    """Ask the calendar how long bars and news have been silent: at ``as_of``, or at the scheduled start."""
    from catalyst_ml.evaluation import drift_watch

    until = pd.Timestamp(as_of or flow_run.scheduled_start_time or pd.Timestamp.now("UTC")).tz_convert("UTC")
    feeds = {"bars": load_frame(market["bars"])["ts"], "news": load_frame(market["news"])["published_at"]}
    return _stored(drift_watch.watch_feeds(feeds, until, TradingCalendar()))


@task(name="raise-alarms", timeout_seconds=300, **RETRY_TEMPORARY)
def raise_alarms(
    scope: dict[str, Any], watched: dict[str, Any] | None, reports: list[dict[str, Any]]
) -> dict[str, Any]:
    """Carry the open alarms of the run before, raise the new ones as events, and say all of it."""
    report = DriftReport()
    for each in reports:
        part = DriftReport(tuple(Finding(**row) for row in each["findings"]), tuple(each["unjudged"]), each["facts"])
        report = report.joined(part)
    if watched is None:
        report = report.joined(DriftReport(unjudged=(NO_VERSION,)))
    version_id = watched["version_id"] if watched else None
    before, is_repeat = _open_alarms(scope, version_id)
    alarms = carry_alarms(report, before, scope["as_of"][:10], is_repeat=is_repeat)
    new = [alarm for alarm in alarms if alarm.is_new]
    for name, kinds in ((DRIFT_EVENT, False), (STALE_EVENT, True)):
        told = [alarm_to_dict(alarm) for alarm in new if (alarm.finding.kind == "feed") == kinds]
        if told:
            _emit(name, scope, version_id, told)
    nearest = [finding_to_dict(finding) for finding in report.nearest(SHOWN)]
    create_table_artifact(
        [{name: row[name] for name in ("what", "statistic", "value", "bound", "p", "meaning")} for row in nearest],
        key="drift-watch",
        description=f"{len(alarms)} open alarms, {len(new)} new; the findings closest to an alarm",
    )
    return {
        "watched": version_id,
        "where": watched["where"] if watched else None,
        "headline": _headline(len(alarms), len(new), watched),
        "alarms": [alarm_to_dict(alarm) for alarm in alarms],
        "n_new": len(new),
        "n_questions": len(report.findings),
        "nearest": nearest,
        "unjudged": list(report.unjudged),
        "facts": report.facts,
    }


def _open_alarms(scope: dict[str, Any], version_id: str | None) -> tuple[list[Alarm], bool]:
    """Alarms that the newest run before left open, and whether that run knew the same sessions."""
    as_of = pd.Timestamp(scope["as_of"])
    for run in runs.list_runs(engine(), dataset=scope["dataset"], limit=RUNS_TO_SEARCH):
        is_ours = run.flow == FLOW and run.status == "finished" and run.timeframe == scope["timeframe"]
        if not is_ours or run.summary is None or pd.Timestamp(run.as_of) > as_of:
            continue
        alarms = [alarm_from_dict(stored) for stored in run.summary.get("alarms", [])]
        is_same = run.summary.get("watched") == version_id
        return alarms if is_same else still_apply(alarms), pd.Timestamp(run.as_of) == as_of
    return [], False


def _emit(name: str, scope: dict[str, Any], version_id: str | None, alarms: list[dict[str, Any]]) -> None:
    dataset = scope["dataset"]
    what = "|".join(sorted(alarm["finding"]["what"] for alarm in alarms))
    emit_event(
        event=name,
        resource={
            "prefect.resource.id": f"catalyst-ml.dataset.{dataset}",
            "prefect.resource.name": dataset,
            "catalyst-ml.timeframe": scope["timeframe"],
        },
        payload={"version_id": version_id, "as_of": scope["as_of"], "alarms": alarms},
        # The same alarm of the same evening has the same id, so a retried task says it once.
        id=uuid5(NAMESPACE_URL, f"{name}/{dataset}/{scope['timeframe']}/{scope['as_of']}/{version_id}/{what}"),
    )


def _headline(n_open: int, n_new: int, watched: dict[str, Any] | None) -> str:
    subject = f"version {watched['version_id']} ({watched['where']})" if watched else "no version yet: feeds only"
    if not n_open:
        return f"No drift alarm; {subject}"
    return f"{n_open} open drift {'alarm' if n_open == 1 else 'alarms'}, {n_new} new; {subject}"


def _stored(report: DriftReport) -> dict[str, Any]:
    return {
        "findings": [finding_to_dict(finding) for finding in report.findings],
        "unjudged": list(report.unjudged),
        "facts": report.facts,
    }

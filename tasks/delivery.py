"""What a run leaves behind: the analysis, the report, the version, and the pointer last."""

from __future__ import annotations

import io
import logging
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.artifacts import create_markdown_artifact

from catalyst_ml.assistant.analysis import analyse_week
from catalyst_ml.assistant.facts import week_facts
from catalyst_ml.errors import SourceUnavailable
from catalyst_ml.market.timeframes import DAILY
from catalyst_ml.models.companion_serving import COMPANION_FILE
from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.graph_check import check_files
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.manifest import TrainingWindow, VersionFacts, seal_manifest
from catalyst_ml.registry.pointer import issue_pointer
from catalyst_ml.registry.pointer_table import refuse_other_key, signed_by_others
from catalyst_ml.registry.redis_store import ring_bell
from catalyst_ml.registry.sending import publish_and_send, send_waiting, waiting_sentences
from catalyst_ml.report import assembly, companion_parts, content, evidence_parts, explained_parts
from catalyst_ml.trial.pointing import point_production
from tasks.caching import cached
from tasks.connections import (
    artifact_stores,
    engine,
    load_bytes,
    load_frame,
    outbox,
    settings,
    signer,
    store_bytes,
)
from tasks.judgement import line_of
from tasks.retrying import RETRY_TEMPORARY

log = logging.getLogger("catalyst_ml.delivery")

PACKAGES = ("catalyst-ml", "numpy", "pandas", "scikit-learn", "xgboost", "torch", "onnx", "onnxruntime", "prefect")


@task(name="analyse", timeout_seconds=300, **cached("catalyst_ml.assistant"))
def analyse(
    judged: dict[str, Any],
    explained: dict[str, Any],
    failures: dict[str, Any],
    *,
    ask: bool,
    has_key: bool,
    model: str,
) -> dict[str, Any]:
    """Let Claude read the week. Skipped without a key; a service that fails fails this task, never the run."""
    if not ask:
        return {"status": "skipped", "reason": "The run was asked not to.", "model": "", "paragraphs": []}
    facts = week_facts(
        decision=judged["decision"],
        scores=judged["scores"],
        explained=explained,
        failures=failures,
    )
    outcome = analyse_week(facts, settings().assistant)
    if outcome.status == "failed":
        # Raised so that the failure is not kept as the week's result: the next run asks again.
        raise SourceUnavailable(outcome.reason)
    paragraphs = list(outcome.letter.paragraphs()) if outcome.letter else []
    return {"status": outcome.status, "reason": outcome.reason, "model": outcome.model, "paragraphs": paragraphs}


def failed_analysis(error: BaseException) -> dict[str, Any]:
    """What the report says when Claude could not be reached."""
    return {"status": "failed", "reason": str(error), "model": settings().assistant.model, "paragraphs": []}


def can_ask() -> dict[str, Any]:
    """What decides whether an earlier answer still holds: is there a key, and which model is asked."""
    key = settings().assistant.api_key
    return {"has_key": bool(key and key.get_secret_value()), "model": settings().assistant.model}


@task(
    name="render-report",
    timeout_seconds=600,
    **cached("catalyst_ml.report", "catalyst_ml.evaluation", ignore=("run", "timings", "parameters")),
)
def render(
    judged: dict[str, Any],
    model: dict[str, Any],
    explained: dict[str, Any],
    newest: dict[str, Any],
    failures: dict[str, Any],
    companions: dict[str, Any],
    analysis: dict[str, Any],
    quality: dict[str, Any],
    borders: dict[str, Any],
    counts: dict[str, Any],
    run: dict[str, Any],
    timings: list[dict[str, Any]],
    parameters: dict[str, Any],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write the report. Cached by its evidence: an unchanged week keeps the report of its first run.

    ``about`` is what the page says of itself and what must not come from another run: dataset, champion, ...
    """
    from catalyst_ml.report import html

    decision, record = judged["decision"], load_frame(judged["record"])
    page = content.ReportContent(
        run=content.RunInfo(**run, versions=_versions()),
        verdict=assembly.verdict_part(decision, champion=run["champion"], moves=parameters["promote"]),
        record=assembly.record_part(record),
        gate=assembly.gate_parts(decision["checks"]),
        arms=assembly.arm_parts(record),
        calibration=assembly.calibration_parts(record),
        risk_coverage=assembly.risk_coverage_parts(record),
        importances=explained_parts.importance_parts(explained),
        importance_method=explained_parts.importance_method(explained),
        drivers=explained_parts.driver_parts(explained),
        drivers_method=explained_parts.drivers_method(explained),
        newest_events=explained_parts.event_parts(newest),
        leaderboard=explained_parts.leaderboard_part(explained["leaderboard"]),
        equity=assembly.equity_part(
            record,
            coverage=judged["trading"]["coverage"],
            cost_bps_per_side=parameters["cost_bps_per_side"],
            deflation=judged["trading"]["deflation"],
        ),
        selective=evidence_parts.selective_part(judged["selective"]),
        evidence=assembly.evidence_parts(record),
        base_rate_by_month=assembly.month_parts(record),
        leak_contrast=assembly.leak_parts(explained),
        slices=explained_parts.slice_parts(failures["slices"]),
        slice_test=explained_parts.slice_test(failures["slices"]),
        mistakes=explained_parts.mistake_parts(failures["mistakes"]),
        catalysts=assembly.catalyst_part(judged["catalysts"]),
        ensemble=assembly.ensemble_part(model),
        companions=companion_parts.companions_part(companions),
        quality=assembly.quality_part(
            quality,
            skipped=counts["skipped_symbols"],
            left_out={**counts["left_out"], **borders["held_out"]},
            suites=borders["suites"],
            novelty=borders["novelty"],
            steps=[content.RowCount(**step) for step in counts["steps"]],
        ),
        timings=[content.StepTiming(**timing) for timing in timings],
        analysis=content.Analysis(**analysis),
        settings=parameters,
    )
    return {
        "html": store_bytes("report", html.render_report(page).encode(), suffix=".html"),
        "card": store_bytes("card", html.render_model_card(page).encode(), suffix=".md"),
        "content": store_bytes("content", page.model_dump_json().encode(), suffix=".json"),
        "key_figures": [list(pair) for pair in html.headline_table(page)],
        "markdown": html.markdown_summary(page),
    }


def count_rows(
    market: dict[str, Any],
    events: dict[str, Any],
    labelled: dict[str, Any],
    features: dict[str, Any],
    rows: dict[str, Any],
    combined: dict[str, Any],
) -> dict[str, Any]:
    """Collect what each step took in and left out, for the report's section on data."""
    steps = [
        {
            "step": "bars",
            "rows": market["n_bars"],
            "note": f"{market['n_symbols']} symbols, {market['n_splits']} splits",
        },
        {"step": "events", "rows": events["rows"]},
        {
            "step": "features",
            "rows": features["features"]["rows"],
            "note": "on {name}: {reason}".format(**features["device"]),
        },
        *({"step": step["step"].replace("_", " "), "rows": step["n_after"]} for step in rows["steps"]),
        {"step": "record", "rows": combined["record"]["rows"], "note": "; ".join(combined["notes"])},
    ]
    left_out = {
        "jump_without_split": market["n_jumps"],
        "outcome_pending": labelled["n_pending"],
        **labelled["unlabelled"],
        **rows["dropped"],
    }
    return {"steps": steps, "left_out": left_out, "skipped_symbols": features["skipped_symbols"]}


def run_info(
    run_id: str,
    scope: dict[str, Any],
    plan: dict[str, Any],
    champion: dict[str, Any],
    device: dict[str, str],
    *,
    started: datetime,
) -> dict[str, Any]:
    """Which run this is, for the head of the report."""
    return {
        "run_id": run_id,
        "dataset": scope["dataset"],
        "timeframe": scope["timeframe"],
        "as_of": scope["as_of"],
        "started": started.isoformat(),
        "duration_s": (datetime.now(UTC) - started).total_seconds(),
        "device": f"{device['name']} ({device['reason']})",
        "code_commit": code_commit(),
        "label_version": plan["label_version"],
        "rule_arm": plan["procedure"]["rule_arm"],
        "champion": champion["version_id"] or "the rules",
        "challenger": f"procedure {plan['procedure_id']}",
    }


def identity(run: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """What the page says of its run that is the same when the run is repeated."""
    kept = ("dataset", "timeframe", "as_of", "label_version", "rule_arm", "champion", "challenger", "code_commit")
    return {name: run[name] for name in kept} | {"promote": parameters["promote"]}


@task(name="show-report")
def show_report(report: dict[str, Any], scope: dict[str, Any]) -> str:
    """Put the report where a person finds it, its key figures into the Prefect UI; return the path."""
    create_markdown_artifact(report["markdown"], key="weekly-report", description="Key figures of the week")
    name = f"weekly-{scope['dataset']}-{scope['timeframe']}-{scope['as_of'][:10]}.html"
    folder = settings().home.path("reports")
    FolderStore(folder).put_bytes(name, load_bytes(report["html"]))
    return str(folder / name)


@task(name="publish-version", timeout_seconds=1800, **RETRY_TEMPORARY)
def publish_version(
    model: dict[str, Any],
    judged: dict[str, Any],
    combined: dict[str, Any],
    report: dict[str, Any],
    champion: dict[str, Any],
    plan: dict[str, Any],
    scope: dict[str, Any],
    companions: dict[str, Any],
    run_id: str,
) -> str:
    """Seal and sign the version and send it to every store; idempotent, and nothing half-sent can be loaded.

    The folder of this machine must take it; what another store does not take now waits in the outbox.
    """
    record = load_frame(combined["record"])
    files = {
        "model.onnx": load_bytes(model["onnx"]),
        "record.parquet": to_parquet(record),
        "report.html": load_bytes(report["html"]),
        "model_card.md": load_bytes(report["card"]),
    }
    if companions["onnx"] is not None:
        files[COMPANION_FILE] = load_bytes(companions["onnx"])
    facts = VersionFacts(
        dataset=scope["dataset"],
        timeframe=scope["timeframe"],
        label_version=plan["label_version"],
        as_of=pd.Timestamp(scope["as_of"]).to_pydatetime(),
        procedure_id=plan["procedure_id"],
        procedure=plan["procedure"],
        feature_set_version=plan["procedure"]["feature_set_version"],
        inputs=tuple(plan["procedure"]["inputs"]),
        data_fingerprint=scope["fingerprint"],
        training_window=TrainingWindow(
            start=pd.Timestamp(model["first_trained"]).to_pydatetime(),
            end=pd.Timestamp(model["last_trained"]).to_pydatetime(),
            n_rows=model["n_train"],
        ),
        code_commit=code_commit(),
        packages=_versions(),
        threads=model["threads"],
        trained_on={name: device for name, (device, _) in model["trained_on"].items()},
        seed=plan["procedure"]["seed"],
        metrics={**judged["scores"], "trading": judged["trading"], "selective": _without_weeks(judged["selective"])},
        gate=judged["decision"],
        parity={**model["parity"], "companions": companions["parity"]},
        parent_version_id=champion["version_id"],
    )
    sealed = seal_manifest(facts, files, created_at=datetime.now(UTC))
    check_files(files, inputs=sealed.inputs)  # what every server would refuse is no version
    return publish_and_send(engine(), artifact_stores(), outbox(), signer(), files, sealed, run_id=run_id).version_id


@task(name="move-channels", timeout_seconds=300, **RETRY_TEMPORARY)
def move_channels(
    version_id: str,
    model: dict[str, Any],
    judged: dict[str, Any],
    champion: dict[str, Any],
    scope: dict[str, Any],
    plan: dict[str, Any],
    run_id: str,
    *,
    promote: bool,
) -> dict[str, Any]:
    """Enter the shadow channel if parity holds, production if the gate says so; then tell the servers, last of all."""
    line, decision = line_of(scope, plan), judged["decision"]
    actor = f"weekly-training {run_id}"
    if model["parity"]["passed"]:
        channels.enter_shadow(engine(), line, version_id, reason=decision["headline"], gate=decision, actor=actor)
    before = channels.current(engine(), line)
    note = ""
    if promote and decision["verdict"] == "promote":
        note = _why_not_now(before.version_id, version_id, line)
        if not note:
            move = channels.promote(
                engine(),
                line,
                version_id,
                reason=decision["headline"],
                gate=decision,
                actor=actor,
                judged_against=champion["version_id"] or channels.RULES,
            )
            note = "" if move.state.version_id == version_id else move.message
    told = {"reason": decision["headline"], "outbox": outbox()}
    issue_pointer(engine(), artifact_stores(), signer(), line, channel=channels.SHADOW, **told)
    point_production(engine(), artifact_stores(), signer(), line, **told)
    ring_bell(settings().redis)
    return {"before": before.holder, "production": channels.current(engine(), line).holder, "note": note}


@task(name="send-waiting", timeout_seconds=1800)
def send_earlier(scope: dict[str, Any]) -> list[str]:
    """Send what earlier runs could not; a store that is still down fails nothing. Returns what was sent.

    A key that is not the one that servers of this dataset have pinned is said here, before hours of training.
    """
    for line, _ in sorted(signed_by_others(engine(), signer())):
        if (line.dataset, line.timeframe) == (scope["dataset"], scope["timeframe"]):
            refuse_other_key(engine(), line, signer())
    report = send_waiting(engine(), artifact_stores(), outbox(), signer())
    for sentence in waiting_sentences(report.waiting):
        log.warning("outbox: %s", sentence)
    return list(report.sent)


def _why_not_now(held: str | None, version_id: str, line: ModelLine) -> str:
    """Why a version that the gate would promote must not move by itself; empty if it may."""
    if held == version_id:
        return ""
    if line.timeframe != DAILY:
        return f"not promoted: the trial does not know bars of {line.timeframe} yet, so no evidence could give it a say"
    moves = channels.history(engine(), line, channel=channels.PRODUCTION)
    if any(move.action == "rollback" and move.previous_version_id == version_id for move in moves):
        return f"not promoted: {version_id} was rolled back by hand; promote it by hand if you mean it"
    return ""


def summarise(
    report: dict[str, Any],
    report_path: str,
    version_id: str,
    moved: dict[str, Any],
    judged: dict[str, Any],
    scope: dict[str, Any],
    borders: dict[str, Any],
    *,
    duration_s: float,
) -> dict[str, Any]:
    """What the command line prints and the run keeps."""
    decision = judged["decision"]
    return {
        "dataset": scope["dataset"],
        "timeframe": scope["timeframe"],
        "as_of": scope["as_of"],
        "sessions_behind": scope["sessions_behind"],
        "verdict": decision["verdict"],
        "headline": decision["headline"],
        "summary": decision["summary"],
        "key_figures": [pair for pair in report["key_figures"] if pair[0] != "Duration"],
        "duration_s": duration_s,
        "note": moved["note"],
        "waiting": waiting_sentences(outbox().notes()),
        "quality": {
            "set_aside_breaks": borders["n_breaks"],
            "released": borders["n_released"],
            "held_out_events": borders["held_out"],
            "newest_events": borders["novelty"]["n"],
            "novel_events": borders["novelty"]["n_novel"],
        },
        "version_id": version_id,
        "production": moved["production"],
        "production_before": moved["before"],
        "report_path": report_path,
        "stores": [store.uri("versions") for store in artifact_stores()],
    }


def code_commit() -> str:
    """Commit of the running source, marked if files differ from it; the release if it is not a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        answer = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return f"release {metadata.version('catalyst-ml')}"
    return answer.stdout.strip()


def _without_weeks(selective: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says of abstaining; the weeks one by one are in the report."""
    followed = {name: value for name, value in selective["followed"].items() if name != "weeks"}
    return {**selective, "followed": followed}


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def to_parquet(frame: pd.DataFrame) -> bytes:
    """The stored form of a record; the same frame gives the same bytes."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()

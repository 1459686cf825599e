"""What /health, /ready, /metrics and /v1/model say of the server."""

from __future__ import annotations

import os
import resource
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from catalyst_ml.features.event_names import CATALYST_FEATURE_NAMES
from catalyst_ml.serving.service import SignalService
from catalyst_ml.serving.snapshot import Snapshot

SERVICE = "catalyst-ml"
UNCONFIRMED_AFTER_S = 600.0
"""A channel that no place confirmed for so long may have moved: degraded."""


def version() -> str:
    return metadata.version("catalyst-ml")


def health(service: SignalService, *, in_full: bool) -> dict[str, Any]:
    """Upstream's shape (status, service, version, timestamp, database, redis); in full for callers with the key."""
    problems = _problems(service)
    ledger = service.ledger.state()
    bell = service.follower.bell
    short = {
        "status": "degraded" if problems else "healthy",
        "service": SERVICE,
        "version": version(),
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "database": ledger["database"] == "ok",
        "redis": bell == "connected",
    }
    if not in_full:
        return short
    snapshot = service.follower.snapshot
    return short | {
        "problems": problems,
        "model": {
            "answers": snapshot.version_id or snapshot.rule_arm.version,
            "version_id": snapshot.version_id,
            "sequence": snapshot.sequence,
            "stage": snapshot.stage,
            "share": snapshot.share,
            "source": snapshot.place,
            "fallback_reason": snapshot.fallback,
            "loaded_at": snapshot.loaded_at.isoformat(),
            "confirmed_s_ago": service.follower.confirmed_s_ago,
            "steps": [step.to_dict() for step in snapshot.steps],
        },
        "ledger": ledger,
        "bar_table": service.bars.bar_table,
        "bars_process": service.bars.state(),
        "promotions": bell,
        "process": os.getpid(),
    }


def is_ready(service: SignalService) -> bool:
    """True once the follower has looked: from then on there is always an answer, be it the rules'."""
    return bool(service.follower.snapshot.steps) or service.follower.snapshot.fallback != "no model was looked for yet"


def model(service: SignalService) -> dict[str, Any]:
    """The version that answers: what it is fed with and what it is made of.

    ``server_features`` and ``features_match`` are None until the process for bars has said what it computes; asking
    here starts it.
    """
    snapshot = service.follower.snapshot
    graph = snapshot.graph
    versions = service.versions
    computed = versions.inputs if versions else None
    about = {
        "version_id": snapshot.version_id,
        "sequence": snapshot.sequence,
        "stage": snapshot.stage,
        "share": snapshot.share,
        "source": snapshot.place,
        "fallback_reason": snapshot.fallback,
        "line": service.line._asdict(),
        "rule_arm": snapshot.rule_arm.version,
        "rules_calibrated_by": snapshot.rules_from,
        "as_of": snapshot.as_of.isoformat() if snapshot.as_of else None,
        "server_features": computed,
    }
    if graph is None:
        return about | {"inputs": [], "members": []}
    return about | {
        "inputs": list(graph.inputs),
        "of_news": [name for name in graph.inputs if name in CATALYST_FEATURE_NAMES],
        "members": list(graph.members),
        "feature_set_version": graph.feature_set_version,
        "features_match": graph.feature_set_version == computed if computed else None,
        "label_version": graph.label_version,
        "procedure_id": graph.procedure_id,
        "has_novelty": graph.has_novelty,
        "bytes": graph.n_bytes,
        "metrics": snapshot.metrics,
    }


def metrics_text(service: SignalService, *, accuracy: float | None) -> str:
    """Prometheus' text; ``pattern_detection_accuracy`` only where the trial knows it."""
    snapshot, ledger, bars = service.follower.snapshot, service.ledger.state(), service.bars.state()
    gauges: dict[str, tuple[str, float | None]] = {
        "pattern_detection_accuracy": ("share of settled signals that succeeded, 0-1 (upstream's alert)", accuracy),
        "catalyst_ml_model_answers": ("1 if a model answers, 0 if the rules do", float(snapshot.graph is not None)),
        "catalyst_ml_sequence": ("sequence of the pointer that is followed", float(snapshot.sequence)),
        "catalyst_ml_share": ("most that the model may weigh at its stage", snapshot.share),
        "catalyst_ml_fallback": ("1 while answers carry a fallback reason", float(snapshot.fallback is not None)),
        "catalyst_ml_confirmed_seconds": ("since a store confirmed the channel", service.follower.confirmed_s_ago),
        "catalyst_ml_ledger_waiting_bytes": ("answers that PostgreSQL does not have yet", ledger["waiting_bytes"]),
        "catalyst_ml_ledger_written": ("answers recorded on this machine", ledger["written"]),
        "catalyst_ml_ledger_not_recorded": ("answers that could not be recorded", ledger["not_recorded"]),
        "catalyst_ml_ledger_drained": ("answers moved into PostgreSQL", ledger["drained"]),
        "catalyst_ml_model_age_seconds": ("since the knowledge the model was trained on", _age_s(snapshot)),
        "process_resident_memory_bytes": ("resident memory", float(resident_bytes())),
        "catalyst_ml_bars_process_resident_bytes": (
            "resident memory of the process for bars; 0 while there is none",
            float(bars["resident_bytes"] or 0),
        ),
    }
    answers = snapshot.version_id or "rules"
    info = f'catalyst_ml_info{{version="{version()}",model="{answers}",source="{snapshot.place}"}} 1'
    restarts = "catalyst_ml_bars_process_restarts_total"
    counted = [
        f"# HELP {restarts} processes for bars that replaced one that died",
        f"# TYPE {restarts} counter",
        f"{restarts} {bars['restarts']}",
    ]
    return service.meters.text(gauges, extra=[*counted, "# TYPE catalyst_ml_info gauge", info])


def resident_bytes() -> int:
    """Memory of this process that is in RAM; its peak where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _problems(service: SignalService) -> list[str]:
    found = []
    if service.follower.snapshot.fallback is not None:
        found.append(service.follower.snapshot.fallback)
    confirmed = service.follower.confirmed_s_ago
    if confirmed is not None and confirmed > UNCONFIRMED_AFTER_S:
        found.append(f"no store has confirmed the channel for {confirmed:,.0f} s")
    if not service.ledger.is_whole:
        found.append(str(service.ledger.state()["spool"]))
    if service.bars.problem is not None:
        found.append(service.bars.problem)
    return found


def _age_s(snapshot: Snapshot) -> float | None:
    return None if snapshot.as_of is None else (datetime.now(UTC) - snapshot.as_of).total_seconds()

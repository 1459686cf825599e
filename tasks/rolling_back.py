"""Taking production back, and telling the servers."""

from __future__ import annotations

from typing import Any

from prefect import task

from catalyst_ml.registry import channels
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.pointer_table import refuse_other_key
from catalyst_ml.registry.redis_store import ring_bell
from catalyst_ml.trial.pointing import point_production
from tasks.connections import artifact_stores, engine, outbox, settings, signer
from tasks.retrying import RETRY_TEMPORARY


@task(name="roll-back", timeout_seconds=300, **RETRY_TEMPORARY)
def roll_back(parameters: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Move production back; a run that is retried after its move finds it in the history and goes no further back."""
    line = channels.only_line(
        engine(), **{name: parameters[name] for name in ("dataset", "timeframe", "label_version")}
    )
    refuse_other_key(engine(), line, signer())  # a key that servers would refuse is said before anything moves
    actor = f"rollback {run_id}"
    made = [entry for entry in channels.history(engine(), line) if entry.actor == actor]
    if made:
        entry = made[-1]
        moved, previous = True, entry.previous_version_id
        message = f"production of {line}: {previous or channels.RULES} -> {entry.version_id or channels.RULES}."
    else:
        move = channels.rollback(engine(), line, reason=parameters["reason"], actor=actor, to=parameters["to"] or None)
        moved, previous, message = move.changed, move.previous_version_id, move.message
    return {"line": list(line), "changed": moved, "before": previous or channels.RULES, "message": message}


@task(name="tell-servers", timeout_seconds=600, **RETRY_TEMPORARY)
def tell_servers(moved: dict[str, Any], reason: str) -> dict[str, Any]:
    """Issue the signed pointer; a store that is down waits in the outbox."""
    issued = point_production(
        engine(), artifact_stores(), signer(), ModelLine(*moved["line"]), reason=reason, outbox=outbox()
    )
    ring_bell(settings().redis)
    return {
        "production": issued.pointer.version_id or channels.RULES,
        "sequence": issued.pointer.sequence,
        "waiting": list(issued.problems),
    }

"""The document from which the server beside the trading system shows the trial: ``trial/<line>.json`` in every store.

It is shown and never acted on; what answers is decided by the signed pointer alone. The server's reader is
``serving.trial_view.TrialView``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import pandas as pd

from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.trial.document import e_value
from catalyst_ml.trial.stage_history import KeptMove
from catalyst_ml.trial.stages import SHARES

MAX_POINTS = 1_000
"""Sessions drawn; more cannot be told apart on a phone."""
MAX_MOVES = 100
LARGEST_E = 1e9


def view_key(line: ModelLine) -> str:
    """Key of the document in every store."""
    return f"trial/{line.dataset}-{line.timeframe}-{line.label_version}.json"


def trial_view(
    document: Mapping[str, Any],
    ledger: pd.DataFrame,
    moves: Sequence[KeptMove],
    *,
    rule_arm: str,
    next_step: str,
    updated_at: datetime,
) -> dict[str, Any]:
    """Return the document as JSON.

    Parameters
    ----------
    document
        Of `trial.document.trial_document`.
    ledger : LEDGER
        Signals with their newest outcome; accuracy counts calls at one half on those that both arms scored.
    moves
        As recorded, oldest first.
    next_step
        What would move the stage next, in words.
    """
    compared = ledger[(ledger["y"].notna() & ledger["p_ml"].notna()).to_numpy()]
    days, keep = document["days"], _evenly(len(document["days"]))
    equity = {arm: list(accumulate(day[f"profit_{arm}"] for day in days)) for arm in ("ml", "rules")}
    stages = {share: stage for stage, share in SHARES.items()}
    return {
        "schema_version": 1,
        "updated_at": updated_at.isoformat(),
        "arm_ml": "the weekly procedure",
        "arm_rules": rule_arm,
        "stage": document["stage"],
        "next_stage_needs": next_step,
        "verdict": _verdict(document),
        "n_sessions": len(days),
        "n_settled": len(compared),
        "accuracy": _accuracy(compared, "p_ml"),
        "accuracy_rules": _accuracy(compared, "p_rules"),
        "base_rate": float(compared["y"].mean()) if len(compared) else None,
        "thresholds": document["needed"],
        "evidence": [
            {
                "session": days[i]["session"],
                "e_better": min(e_value(days[i]["log_e_up"]), LARGEST_E),
                "e_worse": min(e_value(days[i]["log_e_down"]), LARGEST_E),
            }
            for i in keep
        ],
        "equity": [{"session": days[i]["session"], "ml": equity["ml"][i], "rules": equity["rules"][i]} for i in keep],
        "moves": [
            {"at": move.at.isoformat(), "stage": stages[move.to_share], "reason": move.reason[:500]}
            for move in moves[-MAX_MOVES:]
        ],
    }


def _verdict(document: Mapping[str, Any]) -> str:
    """What may be said now, in one sentence."""
    if document["better_since"]:
        reached = f"the evidence reached {document['needed'][-1]:g} on {document['better_since']}"
        return f"ML is better than the rules: {reached}"
    if not document["days"]:
        return "No session has been compared yet"
    return f"Nothing is proven after {len(document['days'])} sessions; {document['recommendation']['headline']}"


def _accuracy(compared: pd.DataFrame, column: str) -> float | None:
    if compared.empty:
        return None
    return float(((compared[column] >= 0.5) == (compared["y"] == 1)).mean())


def _evenly(n: int) -> list[int]:
    step = max(1, -(-n // MAX_POINTS))
    return sorted({*range(0, n, step), *([n - 1] if n else [])})

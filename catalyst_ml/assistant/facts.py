"""Which of a run's numbers Claude may see and cite: metrics by id, names, and anonymised mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from catalyst_ml.assistant.analysis import WeekFacts
from catalyst_ml.assistant.letter import Metric
from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.frames import PATTERNS, pattern_column

N_MISTAKES = 10

_SCORES = {
    "accuracy": ("fraction", "share of events whose outcome {arm} called right at one half"),
    "precision": ("fraction", "share of the events that {arm} called successes that were"),
    "recall": ("fraction", "share of the successes that {arm} called"),
    "false_positive_rate": ("fraction", "share of the failures that {arm} called successes"),
    "log_loss": ("nats", "log-loss of {arm}"),
    "auc": ("probability", "AUC of {arm}"),
    "auc_within_day_and_direction": ("probability", "AUC of {arm} within the same day and direction"),
    "ece": ("fraction", "calibration error of {arm}"),
}


def week_facts(
    *,
    decision: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, Any]],
    importance: Mapping[str, Any],
    record: pd.DataFrame,
) -> WeekFacts:
    """Collect what the week measured.

    Parameters
    ----------
    decision
        The gate's decision as stored.
    scores
        Scores of each arm on the record, by arm.
    importance
        Permutation importances as stored.
    record
        The judged record; its worst mistakes are shown without symbol and time.
    """
    metrics = {
        "events": Metric(decision["events"], "count", "events in the shadow record"),
        "sessions": Metric(decision["sessions"], "count", "sessions in the shadow record"),
        "base_rate": Metric(scores["challenger"]["base_rate"], "fraction", "share of events that earned money"),
        "effective_events": Metric(scores["challenger"]["n_eff"], "count", "independent events the record is worth"),
    }
    for arm in ("challenger", "rules", "base_rate", "pattern_base_rate"):
        for name, (unit, label) in _SCORES.items():
            metrics[f"{arm}_{name}"] = Metric(scores[arm].get(name), unit, label.format(arm=arm.replace("_", " ")))
    for check in decision["checks"]:
        metrics[f"check_{check['name']}"] = Metric(check["value"], "", f"measured for: {check['title']}")
    groups = importance["groups"][:10]
    for group in groups:
        label = f"rise in log-loss when {group['group']} is shuffled"
        metrics[f"importance_{group['group']}"] = Metric(group["importance"], "nats", label)
    return WeekFacts(
        verdict=f"{decision['headline']}. {decision['summary']}",
        metrics=metrics,
        names=frozenset(group["group"] for group in importance["groups"]) | frozenset(PATTERNS),
        rows=_worst_mistakes(record),
    )


def _worst_mistakes(record: pd.DataFrame) -> tuple[dict[str, str | float], ...]:
    """Failures that the challenger was surest of."""
    failures = record[(record["y"] == 0).to_numpy()].nlargest(N_MISTAKES, P_CHALLENGER)
    return tuple(
        {
            "direction": "long" if row["direction"] == 1 else "short",
            "patterns": ", ".join(name for name in PATTERNS if row.get(pattern_column(name))),
            "probability": round(float(row[P_CHALLENGER]), 3),
            "net_return": round(float(row["net_return"]), 4),
        }
        for row in failures.to_dict("records")
    )

"""Which of a run's numbers Claude may see and cite: metrics by id, names, and anonymised mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalyst_ml.assistant.analysis import WeekFacts
from catalyst_ml.assistant.letter import Metric
from catalyst_ml.frames import PATTERNS

N_GROUPS = 10
N_SLICES = 12
SPOKEN_SLICES = ("pattern", "direction", "catalyst", "volatility", "trend", "novelty")
"""Ways of cutting whose names are ours. Months would be dates; sectors are text from the data."""

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
    explained: Mapping[str, Any],
    failures: Mapping[str, Any],
) -> WeekFacts:
    """Collect what the week measured.

    Parameters
    ----------
    decision
        The gate's decision as stored.
    scores
        Scores of each arm on the record, by arm.
    explained
        Importances, drivers and leaderboard as stored.
    failures
        Slices and worst mistakes as stored; the mistakes are shown without symbol, time, price and headline.
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
    groups = explained["importance"]["groups"]
    for group in groups[:N_GROUPS]:
        label = f"rise in log-loss when {group['group']} is shuffled"
        metrics[f"importance_{group['group']}"] = Metric(group["importance"], "nats", label)
    for group in explained["drivers"]["groups"][:N_GROUPS]:
        label = f"mean absolute contribution of {group['group']} to one event's log-odds (Shapley)"
        metrics[f"driver_{group['group']}"] = Metric(group["mean_abs"], "log-odds", label)
    metrics |= _leaderboard(explained["leaderboard"])
    metrics |= _slices(failures["slices"])
    return WeekFacts(
        verdict=f"{decision['headline']}. {decision['summary']}",
        metrics=metrics,
        names=frozenset(group["group"] for group in groups) | frozenset(PATTERNS),
        rows=tuple(_anonymous(mistake) for mistake in failures["mistakes"]),
    )


def _leaderboard(board: Mapping[str, Any]) -> dict[str, Metric]:
    metrics = {}
    for row in board["rows"]:
        name, what = f"member_{row['name']}", row["name"].replace("_", " ")
        if row["log_loss_vs_base"]["value"] is not None:
            label = f"log-loss of the {what} minus that of the base rate"
            metrics[f"{name}_log_loss_vs_base"] = Metric(row["log_loss_vs_base"]["value"], "nats", label)
        if row["weight"] is not None:
            metrics[f"{name}_weight"] = Metric(row["weight"], "fraction", f"weight of the {what} in the ensemble")
    return metrics


def _slices(slices: Mapping[str, Any]) -> dict[str, Metric]:
    """How many parts were tested and stand out, and the parts where the challenger does worst."""
    parts = slices["parts"]
    metrics = {
        "slices_tested": Metric(slices["n_tested"], "count", "parts of the record tested together"),
        "slices_worse": Metric(
            sum(part["stands_out"] == "worse" for part in parts), "count", "parts worse than the base rate beyond luck"
        ),
        "slices_better": Metric(
            sum(part["stands_out"] == "better" for part in parts), "count", "parts better than it beyond luck"
        ),
    }
    spoken = [part for part in parts if part["by"] in SPOKEN_SLICES]
    for part in sorted(spoken, key=lambda part: -part["difference"]["value"])[:N_SLICES]:
        beyond = part["stands_out"] or "not beyond luck"
        label = f"log-loss minus the base rate's on events of {part['by']} {part['value']} ({beyond})"
        metrics[f"slice_{part['by']}_{part['value']}"] = Metric(part["difference"]["value"], "nats", label)
    return metrics


def _anonymous(mistake: Mapping[str, Any]) -> dict[str, str | float]:
    return {
        "direction": "long" if mistake["direction"] > 0 else "short",
        "patterns": ", ".join(mistake["patterns"]),
        "probability": round(mistake["p"], 3),
        "outcome": "won" if mistake["won"] else "lost",
        "exit": mistake["outcome"],
        "net_return": round(mistake["net_return"], 4),
        "had_news": "yes" if mistake["headlines"] else "no",
    }

"""Scores of a contender as cells of a table line, the same wherever models are compared."""

from __future__ import annotations

from benchmarks.support.model_scores import ContenderScores
from catalyst_ml.evaluation.intervals import ScoreInterval


def score_cells(scores: ContenderScores) -> dict[str, str]:
    """Return the cells of one contender; differences to ours are empty for ours itself."""
    oracle = scores.oracle
    is_ours = scores.difference.value == 0.0 and scores.difference.high == 0.0
    return {
        "log-loss": f"{scores.log_loss:.4f}",
        "minus ours": "" if is_ours else interval(scores.difference, "+.4f"),
        "AUC": "" if scores.auc is None else f"{scores.auc:.3f}",
        "AUC within day and direction": interval(scores.auc_within, ".3f"),
        "accuracy at 10 / 20 / 50 %": " / ".join(f"{100 * share:.1f}" for share in scores.accuracy_at.values()),
        "ECE": f"{scores.ece:.3f}",
        "share of the oracle's gain (realised)": f"{oracle.expected:.1%} ({oracle.realised:.1%})" if oracle else "",
        "ours ahead, points": "" if not oracle or is_ours else interval(oracle.ours_ahead, "+.1f", 100.0),
    }


def interval(found: ScoreInterval, digits: str, scale: float = 1.0) -> str:
    """Return value and bounds in the given digits; empty if there is no value."""
    if found.value is None:
        return ""
    value = f"{scale * found.value:{digits}}"
    if found.low is None or found.high is None:
        return value
    return f"{value} [{scale * found.low:{digits}}, {scale * found.high:{digits}}]"

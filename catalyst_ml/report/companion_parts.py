"""From the evaluation of the companion models to their section of the report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from catalyst_ml.report import content

TITLES = {
    "move": "Size of move, 5 sessions",
    "move_atr": "ATR alone",
    "rank": "Rank, next session",
    "reversal": "One-day reversal, next session",
    "rank_5": "Rank, 5 sessions",
    "reversal_5": "One-day reversal, 5 sessions",
}
BASELINES = ("move_atr", "reversal", "reversal_5")
MOVES = ("move", "move_atr")


def companions_part(found: Mapping[str, Any]) -> content.Companions:
    """Return the section's numbers from the result of the companions' step, or the reason why there are none."""
    if found["reason"]:
        return content.Companions(reason=found["reason"])
    judged = found["evaluation"]
    return content.Companions(
        rows=judged["move"]["rows"],
        sessions=judged["move"]["sessions"],
        first_session=datetime.fromisoformat(judged["first"]).date(),
        last_session=datetime.fromisoformat(judged["last"]).date(),
        scores=[_score(name, judged[name]) for name in TITLES],
        gain_over_atr=_estimate(judged["move_gain"]),
        newest=datetime.fromisoformat(judged["last"]),
        stocks=[content.StockForecast(**stock) for stock in found["stocks"]],
    )


def _score(name: str, scores: Mapping[str, Any]) -> content.CompanionScore:
    shared: dict[str, Any] = {
        "title": TITLES[name],
        "is_baseline": name in BASELINES,
        "auc_within": _estimate(scores["auc"]),
    }
    if name in MOVES:
        return content.CompanionScore(**shared, ratio=_estimate(scores["ratio"]))
    return content.CompanionScore(
        **shared,
        ic=_mean(scores["ic"]),
        t=scores["ic"]["t"],
        spread_bps=_mean(scores["spread"], scale=10_000.0),
        break_even_bps=scores["break_even_bps"],
    )


def _estimate(interval: Mapping[str, Any]) -> content.Estimate:
    return content.Estimate(**{name: interval[name] for name in ("value", "low", "high", "level")})


def _mean(test: Mapping[str, Any], *, scale: float = 1.0) -> content.Estimate:
    return content.Estimate(
        value=scale * test["mean"], low=scale * test["low"], high=scale * test["high"], level=test["level"]
    )

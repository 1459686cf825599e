"""From what a run keeps of trials and of abstaining to their parts of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalyst_ml.report.content_base import Estimate
from catalyst_ml.report.evidence_content import (
    CoverageAccuracy,
    FalsePositives,
    FollowedWeek,
    Selective,
    ThresholdInForce,
    Trials,
)


def trials_part(deflation: Mapping[str, Any]) -> Trials:
    """What was tried, and what is left of the Sharpe ratio."""
    return Trials(
        trials=deflation["n_trials"],
        effective=deflation["n_effective"],
        searched=deflation["searched"],
        best_of_noise=deflation["best_of_noise"],
        probability=deflation["probability"],
        deflated=deflation["deflated"],
        overfitting=deflation["overfitting"],
        overfitting_trials=deflation["n_overfitting"],
        words=deflation["words"],
    )


def selective_part(found: Mapping[str, Any]) -> Selective:
    """Threshold for the weeks to come, earlier thresholds followed up, accuracy at coverage, losing trades."""
    now, followed, lost = found["now"], found["followed"], found["false_positives"]
    return Selective(
        target=found["target"],
        base_rate=found["base_rate"],
        now=ThresholdInForce(
            tau=now["tau"],
            coverage=now["coverage"],
            accuracy=_one_minus(now["risk"]),
            promised=_one_minus(now["bound"]),
            n=now["n"],
            n_eff=now["n_eff"],
            words=now["words"],
        ),
        weeks=[
            FollowedWeek(
                week=week["fold"],
                tau=week["tau"],
                events=week["events"],
                calls=week["calls"],
                accuracy=Estimate(value=week["accuracy"], low=week["low"], high=week["high"]),
                base_rate=week["base_rate"],
            )
            for week in followed["weeks"]
        ],
        too_early=followed["too_early"],
        abstained=followed["abstained"],
        calls=followed["calls"],
        coverage=followed["coverage"],
        accuracy=Estimate(**followed["accuracy"]),
        followed_base_rate=followed["base_rate"],
        outcome=followed["outcome"],
        at_coverage=[
            CoverageAccuracy(
                coverage=point["coverage"],
                n=point["n"],
                accuracy=Estimate(**point["accuracy"]),
                base_rate=point["base_rate"],
                reaches_target=point["reaches_target"],
            )
            for point in found["at_coverage"]
        ],
        area=Estimate(**found["aurc"]),
        error_of_all=found["error_of_all"],
        false_positives=None
        if lost is None
        else FalsePositives(
            rate=lost["rate"],
            rules_rate=lost["their_rate"],
            base_rate=lost["base_rate"],
            coverage=lost["coverage"],
            rules_coverage=lost["their_coverage"],
            ratio=Estimate(**lost["ratio"]),
            sessions=lost["sessions"],
        ),
    )


def _one_minus(risk: float | None) -> float | None:
    return None if risk is None else 1.0 - risk

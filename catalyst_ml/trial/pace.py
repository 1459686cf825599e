"""How fast to go over to ML, in words: where the trial stands, what the next stage asks for, how far that is.

A forecast of evidence is no evidence: it is made from the pace of the last sessions, with what would follow from no
true difference beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

PACE_SESSIONS = 65
SESSIONS_A_WEEK = 5.0


@dataclass(frozen=True)
class Recommendation:
    """What to do about the pace of the transition: one sentence to act on, and why."""

    headline: str
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the recommendation as JSON."""
        return asdict(self) | {"reasons": list(self.reasons)}


def recommend_pace(
    *,
    stage: str,
    log_e: Sequence[float],
    log_e_against: Sequence[float],
    next_stage: str | None,
    next_threshold: float | None,
    failed_guardrails: Sequence[str] = (),
    waits_for: str = "",
) -> Recommendation:
    """Say in plain words how fast to go on.

    Parameters
    ----------
    stage
        Where the trial stands, one of `trial.stages.STAGES`.
    log_e, log_e_against
        Natural logs of the e-values for "ML is better" and "ML is worse" after each session, oldest first.
    next_stage, next_threshold
        The stage above and the e-value it asks for; None at the top, or where no e-value is asked for.
    failed_guardrails
        Reasons of guardrails that fail now.
    waits_for
        What the next stage asks for beside an e-value, in words.
    """
    n = len(log_e)
    if failed_guardrails:
        return Recommendation(
            "Step down: a guardrail fails" if stage != "shadow" else "Stay in the shadow: a guardrail fails",
            tuple(failed_guardrails),
        )
    if not n:
        return Recommendation("Wait: no session has been compared yet", (waits_for,) if waits_for else ())
    for_ml, against = math.exp(min(log_e[-1], 700.0)), math.exp(min(log_e_against[-1], 700.0))
    evidence = f"evidence that ML is better: e = {for_ml:.2f} after {n} sessions; that it is worse: {against:.2f}"
    if against >= 20.0:
        return Recommendation("Step down: ML is worse than the rules", (evidence,))
    if next_stage is None:
        return Recommendation("Stay at 100 %: ML decides, the rules remain the floor", (evidence,))
    to = next_stage
    if next_threshold is None:
        return Recommendation(f"Wait for {to}: {waits_for or 'the gate'}", (evidence,))
    if for_ml >= next_threshold:
        reasons = (evidence, waits_for) if waits_for else (evidence,)
        return Recommendation(f"Go on to {to}: e is at least {next_threshold:g}", reasons)
    return Recommendation(
        f"Stay at {_share(stage)}: {to} asks for e ≥ {next_threshold:g}", (evidence, _pace(log_e, next_threshold))
    )


def _pace(log_e: Sequence[float], threshold: float) -> str:
    recent = list(log_e)[-PACE_SESSIONS - 1 :]
    start = 0.0 if len(log_e) <= PACE_SESSIONS else recent[0]
    sessions = min(len(log_e), PACE_SESSIONS)
    growth = (recent[-1] - start) / sessions
    if growth <= 0.0:
        return f"over the last {sessions} sessions the evidence did not grow: at this pace it never comes"
    left = (math.log(threshold) - log_e[-1]) / growth
    return (
        f"at the pace of the last {sessions} sessions about {max(left / SESSIONS_A_WEEK, 1.0):.0f} weeks more; "
        f"without a true difference one trial in {threshold:g} or fewer ever gets there"
    )


def _share(stage: str) -> str:
    return "the shadow" if stage == "shadow" else stage

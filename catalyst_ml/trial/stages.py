"""How much of the answer is the model's, and why: shadow, 10, 30, 70, 100 %, up by evidence and down at once.

- Up to 10 %: the gate has said "promote" since the last demotion, `StagePolicy.first_sessions` sessions have passed,
  and no guardrail fired in them.
- Further up, one stage at a time: the e-value for "ML is better" reaches 3, 10, 20. Only at 20 is that sentence said.
- Down to shadow, at once: a guardrail, evidence of 20 for "ML is worse" (of the procedure from any day on, or of the
  version in service), or a rollback. Then only a fresh verdict of the gate opens the way again, and the evidence for
  the further stages must be won anew.

What keeps a stage from flapping: steps up lie a week apart and need as many sessions without an alarm; nothing but the
above leads down. An e-value that falls from 20 to 5 takes nothing back: Ville's bound is on the highest value ever
reached, and a falling e-value is luck running out, not evidence against the model. That evidence has its own process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from catalyst_ml.trial.sequential import ALPHA, spent_alpha

Stage = Literal["shadow", "10 %", "30 %", "70 %", "100 %"]
STAGES: tuple[Stage, ...] = ("shadow", "10 %", "30 %", "70 %", "100 %")
SHARES: Mapping[str, float] = MappingProxyType(dict(zip(STAGES, (0.0, 0.1, 0.3, 0.7, 1.0), strict=True)))
"""The model's largest share of an answer at each stage."""
PROMOTE, ROLLBACK = "promote", "rollback"
VERDICTS = frozenset({PROMOTE, ROLLBACK, "stay", "not_enough_evidence"})
"""Words the trial understands: the gate's verdicts, and that production went back to the rules."""


class StagePolicy(BaseModel):
    """Evidence and patience that the stages ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_sessions: int = Field(default=10, ge=1, description="Sessions from the gate's verdict to 10 %.")
    step_sessions: int = Field(default=5, ge=1, description="Sessions between two steps up.")
    evidence: tuple[float, float, float] = Field(
        default=(3.0, 10.0, 20.0), description="E-values for 30, 70 and 100 %; the last one also says: better."
    )
    against: float = Field(default=20.0, gt=1, description="E-value of 'ML is worse' that ends a stage.")
    process: int = Field(
        default=1, ge=1, description="1 for the first comparison of a line; +1 whenever label, arm or rules change."
    )

    @property
    def needed(self) -> tuple[float, float, float]:
        """E-values for 30, 70 and 100 % of this process: a later process must show more (`spent_alpha`)."""
        factor = 1.0 if self.process == 1 else ALPHA / spent_alpha(self.process)
        low, middle, high = self.evidence
        return low * factor, middle * factor, high * factor


@dataclass(frozen=True)
class StageMove:
    """One change of stage, decided at the close of ``session`` and in force from the next one on."""

    from_stage: Stage
    to_stage: Stage
    session: pd.Timestamp
    reason: str
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionFacts:
    """What the stages look at after one session. E-values as natural logarithms.

    ``log_e`` is the procedure's life-long e-value for "better", ``log_e_fresh`` the one begun at the last demotion,
    ``log_e_loss`` that of "worse from some day on", ``log_e_version`` that of "the version in service is worse".
    ``alarms`` are the reasons of the guardrails that fired; ``verdict`` the gate's newest word, if one fell since the
    session before, or ``rollback``.
    """

    session: pd.Timestamp
    log_e: float
    log_e_fresh: float
    log_e_loss: float
    log_e_version: float
    alarms: tuple[str, ...] = ()
    verdict: str | None = None


@dataclass(frozen=True)
class StageState:
    """Where the trial stands. ``quiet`` counts sessions since the last alarm, ``waited`` those since the last step (in
    shadow: since the gate's verdict); ``has_verdict``: the gate has said promote since the last demotion.
    """

    stage: Stage = "shadow"
    has_verdict: bool = False
    waited: int = 0
    quiet: int = 0

    @property
    def share(self) -> float:
        """The model's largest share of an answer."""
        return SHARES[self.stage]


def advance(state: StageState, facts: SessionFacts, policy: StagePolicy) -> tuple[StageState, StageMove | None]:
    """Take one session into account; return the new state and the move, if there was one."""
    against = _against(facts, policy)
    if against is not None and (state.stage != "shadow" or facts.verdict == ROLLBACK):
        return StageState(), None if state.stage == "shadow" else _move(state.stage, "shadow", facts, against)
    if against is not None:
        # In shadow there is nothing to take away; the sessions without an alarm are counted anew.
        has_verdict = state.has_verdict or facts.verdict == PROMOTE
        return replace(state, has_verdict=has_verdict, waited=state.waited + 1, quiet=0), None
    counted = replace(state, waited=state.waited + 1, quiet=state.quiet + 1)
    if counted.stage == "shadow":
        if facts.verdict == PROMOTE and not counted.has_verdict:
            return replace(counted, has_verdict=True, waited=0), None
        if counted.has_verdict and min(counted.waited, counted.quiet) >= policy.first_sessions:
            reason = f"the gate said promote, and {policy.first_sessions} sessions passed without an alarm"
            return replace(counted, stage="10 %", waited=0), _move("shadow", "10 %", facts, reason)
        return counted, None
    place = STAGES.index(counted.stage)
    if place == len(STAGES) - 1 or min(counted.waited, counted.quiet) < policy.step_sessions:
        return counted, None
    needed = policy.needed[place - 1]
    if min(facts.log_e, facts.log_e_fresh) < math.log(needed):
        return counted, None
    above = STAGES[place + 1]
    said = "; ML is better" if place == len(STAGES) - 2 else ""
    reason = f"the evidence for ML over the rules has reached {needed:g} (e-value {_e(facts.log_e):.3g}){said}"
    return replace(counted, stage=above, waited=0), _move(state.stage, above, facts, reason)


def next_step(state: StageState, policy: StagePolicy, *, log_e: float, log_e_fresh: float) -> str:
    """Say in a trader's words what the next step up still needs; ``log_e`` and ``log_e_fresh`` as in `SessionFacts`.

    Examples
    --------
    >>> next_step(StageState("10 %", waited=9, quiet=9), StagePolicy(), log_e=0.5, log_e_fresh=0.5)
    '30 % needs evidence of 3; it stands at 1.6'
    """
    place = STAGES.index(state.stage)
    if place == len(STAGES) - 1:
        return "the model has all of the answer"
    above = STAGES[place + 1]
    if state.stage == "shadow" and not state.has_verdict:
        return f"{above} needs the gate to say promote"
    wait = policy.first_sessions if state.stage == "shadow" else policy.step_sessions
    missing = []
    stands = min(log_e, log_e_fresh)
    if place and stands < math.log(policy.needed[place - 1]):
        missing.append(f"evidence of {policy.needed[place - 1]:.3g}; it stands at {_e(stands):.2g}")
    quiet = wait - min(state.waited, state.quiet)
    if quiet > 0:
        missing.append(f"{quiet} more {'session' if quiet == 1 else 'sessions'} without an alarm")
    return f"{above} needs {' and '.join(missing)}" if missing else f"{above} follows at the next close"


def _against(facts: SessionFacts, policy: StagePolicy) -> str | None:
    """Reason to go down, if there is one."""
    if facts.verdict == ROLLBACK:
        return "production was rolled back"
    if facts.alarms:
        return "; ".join(facts.alarms)
    limit = math.log(policy.against)
    if facts.log_e_loss >= limit:
        return f"the evidence that ML has become worse than the rules has reached {policy.against:g}"
    if facts.log_e_version >= limit:
        return f"the evidence that the version in service is worse than the rules has reached {policy.against:g}"
    return None


def _move(from_stage: Stage, to_stage: Stage, facts: SessionFacts, reason: str) -> StageMove:
    evidence = {
        "e": _e(facts.log_e),
        "e_fresh": _e(facts.log_e_fresh),
        "e_loss": _e(facts.log_e_loss),
        "e_version": _e(facts.log_e_version),
    }
    return StageMove(from_stage, to_stage, facts.session, reason, evidence)


def _e(log_e: float) -> float:
    """The e-value as a number; beyond 1e300 it says no more."""
    return math.exp(min(log_e, 690.0))

"""How much of an answer is the model's: the plan's confidence policy, held back by the trial's stage and by doubt.

The weight of the model is the smaller of two: what the plan's policy gives at this confidence (all above 0.8, seven
tenths above 0.6, nothing below), and the share that the trial's stage allows. Where the ensemble's members
contradict each other, the weight shrinks to nothing. The blend is p = w * p_ml + (1 - w) * p_rules.

Numpy only: the server imports this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Arm = Literal["rules", "ml", "blend"]
"""Who answered. Other rooms of the trial name the same arms."""

ALONE_ABOVE, BLEND_ABOVE = 0.8, 0.6
"""Confidence above which the model answers alone, and above which it is blended (the plan, step 3)."""
BLEND_WEIGHT = 0.7
SPREAD_IGNORED, SPREAD_SILENCING = 0.10, 0.25
"""Standard deviation of the members' probabilities up to which doubt costs nothing, and from which on the rules
answer alone; in between the weight falls evenly. The more is said, the more members differ, since the base rate is one
of them: of events above 0.6 in simulated markets with an edge, 99 of 100 lie below 0.10 (decision record 0031)."""


@dataclass(frozen=True)
class Blend:
    """One answer. ``p`` is None where not even the rules had one; ``weight`` is the model's, in [0, 1]."""

    p: float | None
    weight: float
    arm: Arm
    reason: str


def policy_weights(confidence: np.ndarray | float) -> np.ndarray:
    """Weight that the plan gives the model at each confidence; 0 where it is NaN."""
    confidence = np.asarray(confidence, dtype="float64")
    return np.where(confidence > ALONE_ABOVE, 1.0, np.where(confidence > BLEND_ABOVE, BLEND_WEIGHT, 0.0))


def member_spread(p_members: np.ndarray) -> np.ndarray:
    """Standard deviation of the members' probabilities, shape (..., n_members); those that abstain (NaN) do not count.

    Fewer than two members that speak cannot contradict each other: 0.
    """
    p_members = np.asarray(p_members, dtype="float64")
    speaks = ~np.isnan(p_members)
    n = np.maximum(speaks.sum(axis=-1), 1)
    mean = np.where(speaks, p_members, 0.0).sum(axis=-1) / n
    squares = np.where(speaks, (p_members - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    return np.sqrt(squares / n)


def spread_of_members(p_members: Sequence[float]) -> float:
    """`member_spread` of one event, in plain floats."""
    spoken = [p for p in p_members if p == p]  # NaN equals nothing
    mean = sum(spoken) / max(len(spoken), 1)
    return math.sqrt(sum((p - mean) ** 2 for p in spoken) / max(len(spoken), 1))


def agreement(spread: np.ndarray | float) -> np.ndarray:
    """Share of the weight that is left at each spread, in [0, 1]; with a spread that is not known (NaN), nothing."""
    left = (SPREAD_SILENCING - np.asarray(spread, dtype="float64")) / (SPREAD_SILENCING - SPREAD_IGNORED)
    # Where the spread is not known, nothing compares above 0; np.nan_to_num costs three times as much a row.
    return np.minimum(np.where(left > 0.0, left, 0.0), 1.0)


def blend_weights(p_ml: np.ndarray | float, *, stage_share: float, spread: np.ndarray | float = 0.0) -> np.ndarray:
    """Weight of the model in each answer.

    Parameters
    ----------
    p_ml : array (n,)
        Calibrated probability that the trade succeeds, which is the model's confidence; NaN where it has no answer.
    stage_share : float
        Share that the trial allows: 0 in shadow, 1 when it is won.
    spread : array (n,)
        See `member_spread`.

    Raises
    ------
    ValueError
        If ``stage_share`` lies outside [0, 1] or a probability does.
    """
    p_ml = np.asarray(p_ml, dtype="float64")
    _refuse_improbable("p_ml", p_ml)
    _refuse_stage_share(stage_share)
    return np.minimum(policy_weights(p_ml), stage_share) * agreement(spread)


def blend_probabilities(
    p_ml: np.ndarray | float,
    p_rules: np.ndarray | float,
    *,
    stage_share: float,
    spread: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return p and the model's weight, both (n,); p is NaN where the rules have no answer, whatever the model says."""
    weight = blend_weights(p_ml, stage_share=stage_share, spread=spread)
    p_rules = np.asarray(p_rules, dtype="float64")
    _refuse_improbable("p_rules", p_rules)
    p_ml = np.where(weight > 0.0, p_ml, 0.0)
    return weight * p_ml + (1.0 - weight) * p_rules, weight


def blend(p_ml: float | None, p_rules: float | None, *, stage_share: float, spread: float = 0.0) -> Blend:
    """Blend one answer and say why it is what it is.

    Examples
    --------
    >>> blend(0.72, 0.55, stage_share=0.3).p
    0.601
    >>> blend(0.72, 0.55, stage_share=0.3).reason
    'confidence 0.72: the plan gives the model 70 %; the stage allows 30 %'
    >>> blend(None, 0.55, stage_share=0.3).reason
    'the model has no answer: the rules answer'
    """
    ml, rules = _number("p_ml", p_ml), _number("p_rules", p_rules)
    _refuse_stage_share(stage_share)
    if math.isnan(rules):
        return Blend(None, 0.0, "rules", "the rules have no answer, and the model never answers without them: HOLD")
    policy, left = _policy_weight(ml), _agreement(spread)
    w = min(policy, stage_share) * left
    p = w * ml + (1.0 - w) * rules if w > 0.0 else rules
    arm: Arm = "rules" if w == 0.0 else ("ml" if w == 1.0 else "blend")
    return Blend(round(p, 12), round(w, 12), arm, _reason(ml, policy, stage_share, spread, left))


# One answer at a time is what a server gives: the two formulas in plain floats, for numpy takes longer over a single
# number than the graph over all its trees. ``test_many_answers_at_once_equal_each_alone`` holds them together.


def _policy_weight(confidence: float) -> float:
    """`policy_weights` of one confidence."""
    return 1.0 if confidence > ALONE_ABOVE else BLEND_WEIGHT if confidence > BLEND_ABOVE else 0.0


def _agreement(spread: float) -> float:
    """`agreement` at one spread."""
    left = (SPREAD_SILENCING - spread) / (SPREAD_SILENCING - SPREAD_IGNORED)
    return min(left, 1.0) if left > 0.0 else 0.0  # NaN is not above 0


def _reason(p_ml: float, policy: float, stage_share: float, spread: float, left: float) -> str:
    if math.isnan(p_ml):
        return "the model has no answer: the rules answer"
    if policy == 0.0:
        return f"confidence {p_ml:.2f}, not above {BLEND_ABOVE}: the rules answer"
    words = [f"confidence {p_ml:.2f}: the plan gives the model {100 * policy:.0f} %"]
    if stage_share < policy:
        words.append(f"the stage allows {100 * stage_share:.0f} %")
    if math.isnan(spread):
        words.append("how far its members agree is not known: the rules answer")
    elif left < 1.0:
        rest = f"{100 * left:.0f} % of that is left" if left else "the rules answer"
        words.append(f"its members contradict each other (spread {spread:.2f}): {rest}")
    return "; ".join(words)


def _number(name: str, p: float | None) -> float:
    number = math.nan if p is None else float(p)
    if number < 0.0 or number > 1.0:
        raise _improbable(name, 1, 1, number)
    return number


def _refuse_stage_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"blending: stage share {share!r}; expected a share in [0, 1], as the trial's stage says.")


def _refuse_improbable(name: str, p: np.ndarray) -> None:
    wrong = (p < 0.0) | (p > 1.0)
    if wrong.any():
        raise _improbable(name, int(wrong.sum()), p.size, float(p[wrong].flat[0]))


def _improbable(name: str, n_wrong: int, n: int, first: float) -> ValueError:
    return ValueError(
        f"blending: {n_wrong} of {n} values of {name} are no probabilities, first {first}; expected [0, 1], or NaN "
        "for no answer."
    )

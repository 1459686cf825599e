"""From the inputs of an event to its signal: which arm answers, how sure it is, what to do, and why."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from catalyst_ml.market.rules import RuleArm
from catalyst_ml.quality.novelty import NOVEL_BELOW
from catalyst_ml.serving.companions import Outlooks
from catalyst_ml.serving.snapshot import Snapshot
from catalyst_ml.trial.blending import Blend, blend
from catalyst_ml.trial.sizing import suggest_size

if TYPE_CHECKING:
    import numpy as np

    from catalyst_ml.models.rule_arm import RuleCalibration
    from catalyst_ml.serving.graph import Score

Arm = Literal["ml", "blend", "rules", "hold"]
ACTIONS: Mapping[int, str] = {1: "BUY", -1: "SELL", 0: "HOLD"}

MIN_PROBABILITY = 0.5
"""Labels count costs, so a trade that succeeds as often as it fails earns nothing: below it, abstain."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event to be judged. ``inputs`` maps names of model inputs to numbers; absent or None is missing.

    ``unfit`` says why no model may judge it (its inputs are not those of training); empty if one may. ``notes`` are
    remarks on its inputs that travel into the answer.
    """

    symbol: str
    ts: datetime | None
    direction: int
    inputs: Mapping[str, float | None]
    patterns: tuple[str, ...] = ()
    price: float | None = None
    volume: float | None = None
    atr: float | None = None
    unfit: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """The answer for one event, or for a symbol without one (``arm`` hold).

    ``probability`` is P(the event's trade succeeds), calibrated, as is ``confidence``; both are None where only an
    uncalibrated rule score is known. ``weight`` is the model's share in it. ``reason`` says in words what decided.
    ``expected_move`` and the ranks are those of ``companions.Outlook``, with ``outlook_reason`` where one is None.
    ``position_size`` is a share of the account, 0 for none, as if this were the only signal taken.
    """

    answer_id: str
    symbol: str
    ts: datetime | None
    direction: int
    patterns: tuple[str, ...]
    action: str
    arm: Arm
    probability: float | None
    confidence: float | None
    weight: float
    p_ml: float | None
    p_rules: float | None
    rule_score: float | None
    abstain: bool
    reason: str
    fallback_reason: str | None
    novelty: float | None
    novelty_reason: str
    member_spread: float | None
    data_age_s: float | None
    version_id: str | None
    sequence: int
    stage: str
    place: str
    price: float | None = None
    volume: float | None = None
    atr: float | None = None
    notes: tuple[str, ...] = ()
    expected_move: float | None = None
    rank_next_session: float | None = None
    rank_five_sessions: float | None = None
    outlook_reason: str = ""
    position_size: float = 0.0
    position_reason: str = ""

    @property
    def confidence_percent(self) -> float | None:
        """0-100, as the trading system counts: the calibrated confidence, else the rules' own score."""
        if self.confidence is not None:
            return round(100.0 * self.confidence, 2)
        return self.rule_score

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as it is sent and kept."""
        return {
            "answer_id": self.answer_id,
            "symbol": self.symbol,
            "ts": self.ts.isoformat().replace("+00:00", "Z") if self.ts else None,
            "direction": self.direction,
            "patterns": list(self.patterns),
            "action": self.action,
            "probability": self.probability,
            "confidence": self.confidence,
            "confidence_percent": self.confidence_percent,
            "arm": self.arm,
            "weight": self.weight,
            "p_ml": self.p_ml,
            "p_rules": self.p_rules,
            "rule_score": self.rule_score,
            "abstain": self.abstain,
            "reason": self.reason,
            "fallback_reason": self.fallback_reason,
            "novelty": self.novelty,
            "novelty_reason": self.novelty_reason,
            "member_spread": self.member_spread,
            "expected_move": self.expected_move,
            "rank_next_session": self.rank_next_session,
            "rank_five_sessions": self.rank_five_sessions,
            "outlook_reason": self.outlook_reason,
            "position_size": self.position_size,
            "position_reason": self.position_reason,
            "data_age_s": self.data_age_s,
            "version_id": self.version_id,
            "sequence": self.sequence,
            "stage": self.stage,
            "source": self.place,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Circumstances:
    """What an answer depends on beside the event: the time, the day's stocks, and how many positions are open."""

    now: datetime
    outlooks: Outlooks = field(default_factory=Outlooks)
    open_positions: int = 0


class Judge:
    """Judges events under one snapshot at a time; holds settings only."""

    def __init__(self, *, min_probability: float = MIN_PROBABILITY) -> None:
        self._min_probability = min_probability

    def judge(self, snapshot: Snapshot, events: Sequence[Event], about: Circumstances) -> list[Signal]:
        """Return one signal per event, in their order."""
        if not events:
            return []
        graph = snapshot.graph
        fit = [i for i, event in enumerate(events) if graph is not None and not event.unfit]
        scored: dict[int, tuple[np.ndarray, Score]] = {}
        if graph is not None and fit:
            X = graph.matrix([events[i].inputs for i in fit])
            scored = dict(zip(fit, zip(X, graph.score(X), strict=True), strict=True))
        signals = []
        for i, event in enumerate(events):
            if graph is None or i not in scored:
                why = snapshot.fallback or (event.unfit if graph is not None else None)
                signals.append(self._by_rules(snapshot, event, why, about))
                continue
            row, (p_ml, spread, novelty) = scored[i]
            p_rules = _rule_probability(graph.rules, event)
            if math.isnan(p_ml):
                why = f"version {snapshot.version_id} gave no probability for these inputs"
                signals.append(self._by_rules(snapshot, event, why, about))
                continue
            novelty_reason = "" if graph.has_novelty else "the version carries no novelty model"
            is_novel = novelty < NOVEL_BELOW
            if is_novel:
                novelty_reason = graph.why_novel(row)
            share = 0.0 if is_novel else snapshot.share
            mixed = blend(p_ml, p_rules, stage_share=share, spread=spread)
            weight, p = mixed.weight, mixed.p
            facts = {
                "p_ml": p_ml,
                "p_rules": p_rules,
                "novelty": None if math.isnan(novelty) else novelty,
                "novelty_reason": novelty_reason,
                "member_spread": spread,
            }
            if weight <= 0.0 or p is None:
                because = "the event is unlike those of training" if is_novel else _why_no_weight(mixed, snapshot)
                why = f"{because}: {novelty_reason}" if is_novel else None
                signals.append(self._by_rules(snapshot, event, why, about, facts=facts, because=because))
                continue
            takes = p >= self._min_probability
            side = "above" if takes else "below"
            reason = f"P(success) {p:.3f} is {side} {self._min_probability:g}; {mixed.reason}"
            signals.append(
                _signal(
                    snapshot,
                    event,
                    about,
                    action=event.direction if takes else 0,
                    arm="ml" if weight >= 1.0 else "blend",
                    probability=p,
                    weight=weight,
                    abstain=not takes,
                    reason=reason,
                    fallback=None,
                    facts=facts,
                )
            )
        return signals

    def _by_rules(
        self,
        snapshot: Snapshot,
        event: Event,
        why: str | None,
        about: Circumstances,
        *,
        facts: Mapping[str, Any] | None = None,
        because: str = "",
    ) -> Signal:
        arm = snapshot.rule_arm
        score, stance = event.inputs.get("rule_score"), event.inputs.get("rule_agreement")
        action, said = rule_decision(arm, score, stance, event.direction)
        p_rules = (facts or {}).get("p_rules")
        if p_rules is None and snapshot.rules is not None:
            p_rules = _rule_probability(snapshot.rules, event)
        elif p_rules is None:
            said += "; the score is not calibrated, for no version was ever seen"
        return _signal(
            snapshot,
            event,
            about,
            action=action,
            arm="rules",
            probability=p_rules,
            weight=0.0,
            abstain=action == 0,
            reason=f"{because}; {said}" if because else said,
            fallback=why,
            facts={"p_rules": p_rules, **(facts or {})},
        )


def _rule_probability(rules: RuleCalibration, event: Event) -> float:
    """The rules' calibrated probability that the event's trade succeeds; the base rate's where they have no score."""
    score, stance = event.inputs.get("rule_score"), event.inputs.get("rule_agreement")
    known = math.nan if score is None or not math.isfinite(score) else score
    return rules.predict_one(known, stance or 0.0, event.direction)


def rule_decision(arm: RuleArm, score: float | None, stance: float | None, direction: int) -> tuple[int, str]:
    """What the rules themselves would do about the event: +1, -1 or 0, and why."""
    if score is None or math.isnan(score):
        return 0, f"{arm.name} has no score here (too little history)"
    if not stance or math.isnan(stance):
        return 0, f"{arm.name} holds (score {score:.1f})"
    if stance < 0:
        return 0, f"{arm.name} would take the other side (score {score:.1f})"
    if score < arm.trade_score:
        return 0, f"{arm.name} agrees, but its score {score:.1f} is below {arm.trade_score:g}"
    return direction, f"{arm.name} agrees with score {score:.1f}"


def hold(snapshot: Snapshot, symbol: str, reason: str, about: Circumstances, *, ts: datetime | None = None) -> Signal:
    """HOLD for a symbol without bars, or without an event at its last bar."""
    event = Event(symbol=symbol, ts=ts, direction=0, inputs={})
    return _signal(
        snapshot,
        event,
        about,
        action=0,
        arm="hold",
        probability=None,
        weight=0.0,
        abstain=True,
        reason=reason,
        fallback=snapshot.fallback,
        facts={},
    )


def _why_no_weight(mixed: Blend, snapshot: Snapshot) -> str:
    if snapshot.share <= 0.0:
        return f"at stage {snapshot.stage} the model answers nobody yet"
    return mixed.reason


def _signal(
    snapshot: Snapshot,
    event: Event,
    about: Circumstances,
    *,
    action: int,
    arm: Arm,
    probability: float | None,
    weight: float,
    abstain: bool,
    reason: str,
    fallback: str | None,
    facts: Mapping[str, Any],
) -> Signal:
    score = event.inputs.get("rule_score")
    outlook = about.outlooks.of(snapshot.companions, event.symbol, event.ts)
    size, size_reason = _position(action, probability, weight, facts, about.open_positions)
    return Signal(
        answer_id=str(uuid.uuid4()),
        symbol=event.symbol,
        ts=event.ts,
        direction=event.direction,
        patterns=event.patterns,
        action=ACTIONS[action],
        arm=arm,
        probability=probability,
        confidence=probability,
        weight=weight,
        p_ml=facts.get("p_ml"),
        p_rules=facts.get("p_rules"),
        rule_score=None if score is None or math.isnan(score) else float(score),
        abstain=abstain,
        reason=reason,
        fallback_reason=fallback,
        novelty=facts.get("novelty"),
        novelty_reason=facts.get("novelty_reason", ""),
        member_spread=facts.get("member_spread"),
        data_age_s=None if event.ts is None else max(0.0, (about.now - event.ts).total_seconds()),
        version_id=snapshot.version_id,
        sequence=snapshot.sequence,
        stage=snapshot.stage,
        place=snapshot.place,
        price=event.price,
        volume=event.volume,
        atr=event.atr,
        notes=event.notes,
        expected_move=outlook.expected_move,
        rank_next_session=outlook.rank_next_session,
        rank_five_sessions=outlook.rank_five_sessions,
        outlook_reason=outlook.reason,
        position_size=size,
        position_reason=size_reason,
    )


def _position(
    action: int, probability: float | None, weight: float, facts: Mapping[str, Any], open_positions: int
) -> tuple[float, str]:
    """Share of the account to stake, and why. A model that has no say in the answer has none in the stake."""
    if not action:
        return 0.0, "HOLD: nothing to stake"
    if probability is None:
        return 0.0, "the rules' score is not calibrated, so no size follows from it"
    p_ml = facts.get("p_ml") if weight > 0.0 else None
    size = suggest_size(probability, p_ml=p_ml, p_rules=facts.get("p_rules"), open_positions=open_positions)
    return size.share, size.reason

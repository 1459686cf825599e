"""Which arm answers an event, with which probability, and what it says about it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.quality.novelty import fit_novelty, graph_entry, score_novelty
from catalyst_ml.serving.graph import ServedGraph
from catalyst_ml.serving.judgement import Circumstances, Event, Judge, Signal, hold
from catalyst_ml.serving.snapshot import Snapshot, rules_only
from tests.catalyst_ml.serving.small_versions import INPUTS, RULES, tiny_onnx

NOW = datetime(2026, 11, 27, 15, 30, tzinfo=UTC)
CLOSE = datetime(2026, 11, 25, 21, tzinfo=UTC)
AGREES = {"rule_score": 65.0, "rule_agreement": 1.0}


def snapshot_of(p: float, *, share: float = 1.0, onnx: bytes | None = None) -> Snapshot:
    graph = ServedGraph(onnx or tiny_onnx(p))
    return replace(
        rules_only(None, now=NOW), graph=graph, rules=graph.rules, version_id="v1", sequence=4, stage="100", share=share
    )


def judged(snapshot: Snapshot, direction: int = 1, **inputs: float | None) -> Signal:
    (signal,) = Judge().judge(snapshot, [Event("ACME", CLOSE, direction, {**AGREES, **inputs})], Circumstances(NOW))
    return signal


def rules_p(score: float, agreement: float) -> float:
    """The rules' probability by hand: logistic of score, agreement, opposition and their product."""
    a, b, c, d, e = RULES["coefficients"]  # type: ignore[misc]
    s, agrees, opposes = score / 100.0, float(agreement > 0), float(agreement < 0)
    return float(1.0 / (1.0 + np.exp(-(a * s + b * agrees + c * opposes + d * s * (agrees - opposes) + e))))


def test_a_sure_model_at_full_stage_answers_alone() -> None:
    signal = judged(snapshot_of(0.85))
    assert (signal.arm, signal.weight, signal.action, signal.abstain) == ("ml", 1.0, "BUY", False)
    assert signal.probability == pytest.approx(0.85, abs=1e-6)
    assert signal.confidence_percent == 85.0
    assert (signal.version_id, signal.sequence, signal.stage) == ("v1", 4, "100")
    assert signal.data_age_s == timedelta(days=1, hours=18.5).total_seconds()


def test_the_plans_policy_and_the_stage_bound_the_weight() -> None:
    p_rules = rules_p(65.0, 1.0)
    seven = judged(snapshot_of(0.70))
    assert (seven.arm, seven.weight) == ("blend", 0.7)
    assert seven.probability == pytest.approx(0.7 * 0.70 + 0.3 * p_rules, abs=1e-6)
    tenth = judged(snapshot_of(0.85, share=0.1))
    assert (tenth.arm, tenth.weight) == ("blend", 0.1)
    assert tenth.probability == pytest.approx(0.1 * 0.85 + 0.9 * p_rules, abs=1e-6)


def test_a_bearish_event_is_sold() -> None:
    assert judged(snapshot_of(0.85), direction=-1).action == "SELL"


def test_an_unsure_model_leaves_the_answer_to_the_rules() -> None:
    signal = judged(snapshot_of(0.55))
    assert (signal.arm, signal.weight, signal.action, signal.fallback_reason) == ("rules", 0.0, "BUY", None)
    assert signal.p_ml == pytest.approx(0.55, abs=1e-6)
    assert signal.probability == pytest.approx(rules_p(65.0, 1.0))
    assert "confidence 0.55, not above 0.6" in signal.reason


def test_in_shadow_the_model_is_heard_and_recorded_and_answers_nobody() -> None:
    signal = judged(snapshot_of(0.85, share=0.0))
    assert (signal.arm, signal.weight) == ("rules", 0.0)
    assert signal.p_ml == pytest.approx(0.85, abs=1e-6)
    assert "the model answers nobody yet" in signal.reason


@pytest.mark.parametrize(
    ("score", "agreement", "action", "why"),
    [
        (65.0, 1.0, "BUY", "agrees with score 65.0"),
        (59.9, 1.0, "HOLD", "is below 60"),
        (80.0, -1.0, "HOLD", "would take the other side"),
        (80.0, 0.0, "HOLD", "holds"),
        (None, None, "HOLD", "has no score here"),
    ],
)
def test_the_rules_act_as_their_own_trader_would(
    score: float | None, agreement: float | None, action: str, why: str
) -> None:
    signal = judged(snapshot_of(0.55), rule_score=score, rule_agreement=agreement)
    assert (signal.arm, signal.action, signal.abstain) == ("rules", action, action == "HOLD")
    assert why in signal.reason


def test_a_blend_below_one_half_abstains() -> None:
    floor = RuleCalibration((0.0, 0.0, 0.0, 0.0, -4.0), 0.02)
    onnx = tiny_onnx(0.65, rules=json.dumps(floor.to_dict()))
    signal = judged(snapshot_of(0.65, share=0.1, onnx=onnx))
    assert (signal.arm, signal.action, signal.abstain) == ("blend", "HOLD", True)
    assert signal.probability is not None
    assert signal.probability < 0.5
    assert "is below 0.5" in signal.reason


def test_members_that_contradict_each_other_lower_the_weight() -> None:
    onnx = tiny_onnx(0.85, slope=1.0)
    calm, torn = judged(snapshot_of(0.85, onnx=onnx)), judged(snapshot_of(0.85, onnx=onnx), **{INPUTS[0]: -2.0})
    assert calm.member_spread == 0.0
    assert torn.member_spread is not None
    assert torn.member_spread > 0.15
    assert torn.weight < 0.3 < calm.weight


def test_an_event_unlike_the_training_set_goes_to_the_rules_and_names_the_input() -> None:
    rng = np.random.default_rng(1)
    columns = list(INPUTS[:3])
    training = pd.DataFrame(rng.normal(size=(2_000, 3)), columns=columns)
    novelty = fit_novelty(training, columns)
    onnx = tiny_onnx(0.85, **graph_entry(training, columns))
    assert graph_entry(training.head(199), columns) == {}
    usual = judged(snapshot_of(0.85, onnx=onnx), **dict.fromkeys(columns, 0.2))
    odd = judged(snapshot_of(0.85, onnx=onnx), **{columns[0]: 0.1, columns[1]: 40.0, columns[2]: 0.0})
    assert usual.arm == "ml"
    assert usual.novelty is not None
    assert usual.novelty > 0.01
    assert (odd.arm, odd.weight) == ("rules", 0.0)
    assert odd.novelty_reason.startswith(f"{columns[1]} is 40, usual are")
    assert odd.fallback_reason is not None
    whole = score_novelty(novelty, pd.DataFrame([[0.2, 0.2, 0.2]], columns=columns))["novelty_p"][0]
    assert usual.novelty == pytest.approx(whole, abs=0.01)


def test_an_unfit_event_is_not_shown_to_the_model() -> None:
    event = Event("ACME", CLOSE, 1, AGREES, unfit="60 bars, the model's indicators need 500")
    (signal,) = Judge().judge(snapshot_of(0.85), [event], Circumstances(NOW))
    assert (signal.arm, signal.p_ml, signal.fallback_reason) == ("rules", None, event.unfit)
    assert signal.probability == pytest.approx(rules_p(65.0, 1.0))


def test_without_any_version_the_score_stays_a_score() -> None:
    (signal,) = Judge().judge(rules_only("no model", now=NOW), [Event("ACME", CLOSE, 1, AGREES)], Circumstances(NOW))
    assert (signal.probability, signal.confidence, signal.confidence_percent) == (None, None, 65.0)
    assert (signal.action, signal.fallback_reason) == ("BUY", "no model")
    assert "not calibrated" in signal.reason


def test_a_batch_keeps_its_order_and_has_ids_of_its_own() -> None:
    events = [Event(f"S{i}", CLOSE, 1, AGREES, unfit="x" if i % 3 == 0 else "") for i in range(30)]
    signals = Judge().judge(snapshot_of(0.85), events, Circumstances(NOW))
    assert [signal.symbol for signal in signals] == [event.symbol for event in events]
    assert len({signal.answer_id for signal in signals}) == 30
    assert [signal.arm for signal in signals] == ["rules" if i % 3 == 0 else "ml" for i in range(30)]
    assert Judge().judge(snapshot_of(0.85), [], Circumstances(NOW)) == []


def test_hold_says_why() -> None:
    signal = hold(snapshot_of(0.85), "ACME", "no bars", Circumstances(NOW))
    assert (signal.arm, signal.action, signal.abstain, signal.reason) == ("hold", "HOLD", True, "no bars")


@pytest.mark.parametrize(
    ("onnx", "why"),
    [
        (b"", "onnxruntime cannot open it"),
        (b"\x80\x04\x95pickled", "onnxruntime cannot open it"),
        (tiny_onnx(0.5, rules="[]"), "its metadata is damaged"),
        (tiny_onnx(0.5, inputs=INPUTS, novelty="{}"), "its metadata is damaged"),
    ],
    ids=["empty", "pickle", "rules", "novelty"],
)
def test_a_broken_graph_is_refused_by_name(onnx: bytes, why: str) -> None:
    with pytest.raises(ArtifactRefused, match=why):
        ServedGraph(onnx)


def test_a_graph_whose_first_answers_are_no_probabilities_is_refused() -> None:
    from catalyst_ml.models.graph_builder import GraphBuilder, GraphOutput

    graph = GraphBuilder()
    doubled = graph.node("Add", [graph.node("ReduceSum", ["features"], keepdims=0), graph.constant(np.float32(2.0))])
    graph.name_output(graph.node("Expand", [doubled, graph.constant(np.array([2], dtype=np.int64))]), "p")
    graph.name_output("features", "p_members")
    about = {"inputs": '["a"]', "members": '["m"]', "rules": json.dumps(RULES), "base_rate": "{}"}
    about |= dict.fromkeys(("feature_set_version", "label_version", "procedure_id"), "x")
    outputs = [GraphOutput("p"), GraphOutput("p_members", 1)]
    onnx = graph.build(input_name="features", n_inputs=1, outputs=outputs, metadata=about)
    with pytest.raises(ArtifactRefused, match="are no probabilities"):
        ServedGraph(onnx)


def test_the_position_is_two_percent_halved_or_nothing_as_the_arms_disagree() -> None:
    near = judged(snapshot_of(0.70))  # the rules say 0.626 by hand
    assert (near.action, near.position_size) == ("BUY", 0.02)
    assert near.position_reason.endswith("they agree")
    apart = judged(snapshot_of(0.85))
    assert (apart.action, apart.position_size) == ("BUY", 0.01)
    assert apart.position_reason.endswith("0.22 apart, so half the stake")
    against = judged(snapshot_of(0.85), rule_score=10.0, rule_agreement=-1.0)
    assert rules_p(10.0, -1.0) < 0.5
    assert (against.action, against.position_size) == ("BUY", 0.0)
    assert against.position_reason.endswith("on different sides of one half, so no trade")


def test_a_model_without_a_say_does_not_move_the_position() -> None:
    shadow = judged(snapshot_of(0.85, share=0.0))
    assert (shadow.arm, shadow.action, shadow.position_size) == ("rules", "BUY", 0.02)
    assert shadow.p_ml == pytest.approx(0.85, abs=1e-6)
    assert "only one arm has an answer" in shadow.position_reason


def test_no_position_for_hold_nor_without_a_calibrated_confidence_nor_above_five() -> None:
    held = judged(snapshot_of(0.85, share=0.0), rule_score=20.0)
    assert (held.action, held.position_size, held.position_reason) == ("HOLD", 0.0, "HOLD: nothing to stake")
    (bare,) = Judge().judge(rules_only("no model", now=NOW), [Event("ACME", CLOSE, 1, AGREES)], Circumstances(NOW))
    assert (bare.action, bare.confidence, bare.position_size) == ("BUY", None, 0.0)
    assert bare.position_reason == "the rules' score is not calibrated, so no size follows from it"
    event = Event("ACME", CLOSE, 1, AGREES)
    (full,) = Judge().judge(snapshot_of(0.85), [event], Circumstances(NOW, open_positions=5))
    assert (full.action, full.position_size) == ("BUY", 0.0)
    assert full.position_reason == "5 positions are open, and 5 are the most"

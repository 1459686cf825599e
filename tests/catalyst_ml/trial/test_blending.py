import doctest
import sys

import numpy as np
import pytest

from catalyst_ml.trial import blending
from catalyst_ml.trial.blending import (
    blend,
    blend_probabilities,
    blend_weights,
    member_spread,
    spread_of_members,
)


@pytest.mark.parametrize(
    ("confidence", "weight"), [(0.0, 0.0), (0.6, 0.0), (0.61, 0.7), (0.8, 0.7), (0.81, 1.0), (1.0, 1.0)]
)
def test_the_plan_gives_the_model_all_seven_tenths_or_nothing(confidence, weight):
    assert blend_weights(confidence, stage_share=1.0) == weight


def test_the_stage_caps_the_weight_and_never_raises_it():
    p = np.array([0.55, 0.7, 0.9])

    assert blend_weights(p, stage_share=0.1).tolist() == [0.0, 0.1, 0.1]
    assert blend_weights(p, stage_share=0.0).tolist() == [0.0, 0.0, 0.0]


def test_members_that_contradict_each_other_cost_the_model_its_weight():
    spread = np.array([0.0, 0.10, 0.175, 0.25, 0.5, np.nan])

    assert blend_weights(np.full(6, 0.9), stage_share=1.0, spread=spread) == pytest.approx([1, 1, 0.5, 0, 0, 0])


def test_the_spread_is_the_standard_deviation_of_those_that_speak():
    members = np.array([[0.4, 0.6, np.nan], [0.5, np.nan, np.nan], [np.nan] * 3, [0.1, 0.5, 0.9]])

    assert member_spread(members) == pytest.approx([0.1, 0.0, 0.0, np.std([0.1, 0.5, 0.9])])


def test_many_answers_at_once_equal_each_alone():
    rng = np.random.default_rng(0)
    p_ml, p_rules, spread = rng.random(300), rng.random(300), 0.3 * rng.random(300)

    p, weight = blend_probabilities(p_ml, p_rules, stage_share=0.7, spread=spread)

    alone = [blend(m, r, stage_share=0.7, spread=s) for m, r, s in zip(p_ml, p_rules, spread, strict=True)]
    assert [b.p for b in alone] == pytest.approx(p.tolist(), abs=1e-11)
    assert [b.weight for b in alone] == pytest.approx(weight.tolist(), abs=1e-11)
    assert p == pytest.approx(weight * p_ml + (1 - weight) * p_rules)


@pytest.mark.parametrize(
    ("p_ml", "stage", "spread", "arm"),
    [
        (0.9, 1.0, 0.0, "ml"),
        (0.9, 0.7, 0.0, "blend"),
        (0.7, 1.0, 0.0, "blend"),
        (0.9, 0.0, 0.0, "rules"),
        (0.5, 1.0, 0.0, "rules"),
        (0.9, 1.0, 0.3, "rules"),
        (None, 1.0, 0.0, "rules"),
    ],
)
def test_the_arm_says_who_answered(p_ml, stage, spread, arm):
    answer = blend(p_ml, 0.55, stage_share=stage, spread=spread)

    assert answer.arm == arm
    assert answer.reason
    if arm == "rules":
        assert answer.p == 0.55


def test_without_the_rules_there_is_no_answer_however_sure_the_model_is():
    answer = blend(0.99, None, stage_share=1.0)

    assert (answer.p, answer.weight, answer.arm) == (None, 0.0, "rules")
    assert "HOLD" in answer.reason


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"2 of 3 values of p_ml .* first 60\.0"):
        blend_weights([60.0, 0.6, -0.1], stage_share=0.1)
    with pytest.raises(ValueError, match="p_rules"):
        blend(0.7, 55.0, stage_share=0.1)
    with pytest.raises(ValueError, match="stage share 30"):
        blend(0.7, 0.5, stage_share=30)


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(sys.modules[blending.__name__]).failed == 0


@pytest.mark.parametrize("spoken", [[], [0.4], [0.4, 0.6], [0.1, 0.5, 0.9], [0.5] * 6, [np.nan, 0.3, np.nan, 0.7]])
def test_the_spread_of_one_event_is_that_of_many(spoken):
    assert spread_of_members(spoken) == pytest.approx(float(member_spread(np.array(spoken))), abs=1e-15)

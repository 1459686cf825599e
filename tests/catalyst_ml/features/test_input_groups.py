"""Which inputs tell of the same thing."""

from __future__ import annotations

from catalyst_ml.features.events import MODEL_INPUTS, SIDED_FEATURES
from catalyst_ml.features.input_groups import input_groups


def test_every_model_input_is_in_exactly_one_group() -> None:
    groups = input_groups(MODEL_INPUTS)

    assert sorted(name for group in groups for name in group.inputs) == sorted(MODEL_INPUTS)
    assert len({group.name for group in groups}) == len(groups)


def test_both_sights_of_a_feature_are_one_group_and_the_one_along_the_direction_leads() -> None:
    by_name = {group.name: group for group in input_groups(MODEL_INPUTS)}

    for feature in SIDED_FEATURES:
        assert {f"aligned_{feature}"} < set(by_name[feature].inputs)
        assert by_name[feature].lead == f"aligned_{feature}"
    assert set(by_name["shadows"].inputs) == {
        "relative_upper_shadow_ratio",
        "relative_lower_shadow_ratio",
        "aligned_shadow_balance",
    }
    assert by_name["patterns"].lead == "n_patterns"


def test_an_input_nobody_has_words_for_is_called_by_its_name() -> None:
    (group,) = input_groups(["relative_moon_phase"])

    assert (group.name, group.words, group.lead) == ("moon_phase", "Moon phase", "relative_moon_phase")
    assert input_groups([]) == ()

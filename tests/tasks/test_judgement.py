from __future__ import annotations

import pytest

from tasks.judgement import inputs_mean_the_same

OWN = {"feature_set_version": "f1", "rule_arm": "rules_intended_v213.2"}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, True),
        ({"feature_set_version": "f2"}, False),
        ({"rule_arm": "rules_v200.1"}, False),
        ({"rule_arm": ""}, False),
    ],
)
def test_a_champion_that_heard_other_features_or_rules_is_not_asked_about_these_rows(other, expected):
    assert inputs_mean_the_same(OWN | other, OWN) is expected

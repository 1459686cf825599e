from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from catalyst_ml.market.rules import DEFAULT_RULE_ARM, RULE_ARMS
from flows.parameters import RuleArmName, WeeklyTrainingParameters


def test_the_form_offers_the_rule_arms_there_are_and_the_default_first() -> None:
    assert get_args(RuleArmName) == tuple(RULE_ARMS)
    assert WeeklyTrainingParameters().rule_arm == DEFAULT_RULE_ARM
    with pytest.raises(ValidationError, match="rule_arm"):
        WeeklyTrainingParameters(rule_arm="rules_v999")  # type: ignore[arg-type]


def test_another_rule_arm_is_another_walk_forward() -> None:
    asked = [WeeklyTrainingParameters(rule_arm=name).walk_forward() for name in get_args(RuleArmName)]
    assert [each["rule_arm"] for each in asked] == list(RULE_ARMS)

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from catalyst_ml.market.rules import DEFAULT_RULE_ARM, RULE_ARMS
from flows.parameters import BacktestParameters, RuleArmName, WeeklyTrainingParameters


def test_the_form_offers_the_rule_arms_there_are_and_the_default_first() -> None:
    assert get_args(RuleArmName) == tuple(RULE_ARMS)
    assert WeeklyTrainingParameters().rule_arm == DEFAULT_RULE_ARM
    with pytest.raises(ValidationError, match="rule_arm"):
        WeeklyTrainingParameters(rule_arm="rules_v999")  # type: ignore[arg-type]


def test_another_rule_arm_is_another_walk_forward() -> None:
    asked = [WeeklyTrainingParameters(rule_arm=name).walk_forward() for name in get_args(RuleArmName)]
    assert [each["rule_arm"] for each in asked] == list(RULE_ARMS)


def test_a_backtest_replays_the_weekly_procedure_by_default_and_asks_for_its_range_first() -> None:
    given = BacktestParameters(since="2014-06-02")  # type: ignore[arg-type]

    assert given.walk_forward() == WeeklyTrainingParameters().walk_forward()
    assert (given.label, given.cost_bps_per_side, given.every) == (WeeklyTrainingParameters().label, 5.0, 1)
    assert list(BacktestParameters.model_fields)[:6] == ["dataset", "timeframe", "since", "until", "every", "cpcv"]
    assert list(WeeklyTrainingParameters.model_fields)[2] == "as_of"
    fields = BacktestParameters.model_json_schema()["properties"].values()
    assert all({"title", "description"} <= set(field) for field in fields)
    with pytest.raises(ValidationError, match="since"):
        BacktestParameters()  # type: ignore[call-arg]


def test_intraday_lines_have_shorter_windows_unless_others_are_asked_for() -> None:
    asked = WeeklyTrainingParameters(timeframe="5m", record_sessions=130)

    assert (asked.training_days, asked.record_sessions, asked.burn_in_sessions) == (90, 130, 40)
    assert not asked.promote
    assert WeeklyTrainingParameters().promote
    assert WeeklyTrainingParameters(timeframe="1d").training_days == 730
    assert WeeklyTrainingParameters(timeframe="1h", training_days=60).training_days == 60
    with pytest.raises(ValidationError, match="training_days: expected 180 or more for daily bars, got 60"):
        WeeklyTrainingParameters(training_days=60)


def test_only_the_training_knows_intraday_bars() -> None:
    with pytest.raises(ValidationError, match="timeframe"):
        BacktestParameters(since="2014-06-02", timeframe="5m")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="timeframe"):
        WeeklyTrainingParameters(timeframe="7m")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="promote: expected false for bars of 5m, got true"):
        WeeklyTrainingParameters(timeframe="5m", promote=True)

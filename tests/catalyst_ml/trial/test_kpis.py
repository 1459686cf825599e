"""Key figures: a target is met only by the whole interval, and unknown is unknown."""

from __future__ import annotations

import pandas as pd
import pytest

from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.trial import kpis, performance
from catalyst_ml.trial.pace import recommend_pace
from tests.fakes.signals import settled_signals

START = pd.Timestamp("2026-11-01T07:00Z")


def parts() -> tuple[performance.ArmPerformance, performance.ArmPerformance, pd.DataFrame]:
    rows = performance.comparable(settled_signals())
    ml, rules = (performance.arm_performance(rows, column) for column in ("p_ml", "p_rules"))
    return ml, rules, performance.weekly_difference(rows)


@pytest.mark.parametrize(
    ("low", "high", "state"), [(0.71, 0.75, "met"), (0.66, 0.74, "not shown"), (0.55, 0.65, "missed")]
)
def test_accuracy_is_met_only_by_its_whole_interval(low: float, high: float, state: str) -> None:
    ml, _, weeks = parts()
    taken = ScoreInterval((low + high) / 2, low, high, 0.9)
    figure = kpis.accuracy_kpi(performance.ArmPerformance(**{**vars(ml), "taken_accuracy": taken}), weeks)
    assert figure.state == state
    assert "base rate" in figure.context
    assert len(figure.trend) == kpis.TREND_WEEKS


def test_losing_share_and_profit_say_both_arms() -> None:
    ml, rules, weeks = parts()
    half = kpis.losing_share_kpi(ScoreInterval(-0.6, -0.65, -0.55, 0.9), ml, rules, weeks)
    assert (half.state, half.unit) == ("met", "change")
    some = kpis.losing_share_kpi(ScoreInterval(-0.2, -0.25, -0.15, 0.9), ml, rules, weeks)
    assert some.state == "missed"
    profit = kpis.profit_kpi(ScoreInterval(3.0, -1.0, 7.0, 0.9), ml, rules, weeks)
    assert profit.state == "not shown"
    assert "the rules" in profit.context


def test_runs_give_time_reliability_and_cost() -> None:
    runs = [kpis.TrainingRun(START + pd.Timedelta(weeks=i), i != 1, 80.0 + i, 0.01, "estimated") for i in range(3)]
    assert kpis.training_time_kpi(runs).value == 82.0
    deployed = kpis.deployment_kpi(runs)
    assert (deployed.value, deployed.state, deployed.trend) == (pytest.approx(2 / 3), "missed", (1.0, 0.0, 1.0))
    cost = kpis.cost_kpi(runs, tariff_per_kwh=0.2, cloud_per_month=48.0)
    assert cost.value == pytest.approx(48.0 - 52 / 12 * 0.01 * 0.2)
    assert "estimated" in cost.context


def test_nothing_known_is_unknown_and_never_met() -> None:
    for figure in (
        kpis.training_time_kpi([]),
        kpis.deployment_kpi([]),
        kpis.cost_kpi([], tariff_per_kwh=0.2, cloud_per_month=48.0),
    ):
        assert (figure.value, figure.state, figure.trend) == (None, "unknown", ())


def test_pace_counts_on_growth_and_never_promises_without_it() -> None:
    growing = recommend_pace(
        stage="10 %",
        log_e=[0.01 * i for i in range(50)],
        log_e_against=[0.0] * 50,
        next_stage="30 %",
        next_threshold=3.0,
    )
    assert growing.headline == "Stay at 10 %: 30 % asks for e ≥ 3"
    assert "weeks more" in growing.reasons[1]
    flat = recommend_pace(
        stage="10 %", log_e=[0.0] * 50, log_e_against=[0.0] * 50, next_stage="30 %", next_threshold=3.0
    )
    assert "never comes" in flat.reasons[1]


def test_guardrails_and_evidence_against_come_first() -> None:
    high = [5.0] * 30
    stopped = recommend_pace(
        stage="30 %",
        log_e=high,
        log_e_against=[0.0] * 30,
        next_stage="70 %",
        next_threshold=10.0,
        failed_guardrails=["drawdown 8 %"],
    )
    assert (stopped.headline, stopped.reasons) == ("Step down: a guardrail fails", ("drawdown 8 %",))
    worse = recommend_pace(stage="30 %", log_e=[0.0], log_e_against=high, next_stage="70 %", next_threshold=10.0)
    assert worse.headline == "Step down: ML is worse than the rules"
    ready = recommend_pace(stage="30 %", log_e=high, log_e_against=[0.0], next_stage="70 %", next_threshold=10.0)
    assert ready.headline.startswith("Go on to 70 %")

"""From a record to the parts of the report: signs, context and rows."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.catalyst_effect import catalyst_effect
from catalyst_ml.evaluation.catalyst_scores import score_catalyst
from catalyst_ml.evaluation.deflation import deflate
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, log_losses
from catalyst_ml.evaluation.trading import trades_at_coverage
from catalyst_ml.report import assembly


@pytest.fixture(scope="module")
def record():
    return make_record(sessions=65, events_a_day=30, seed=4, challenger_skill=0.4)


def test_a_challenger_better_than_the_base_rate_has_a_negative_difference_inside_its_interval(record):
    challenger = next(arm for arm in assembly.arm_parts(record) if arm.name == "challenger")

    difference = challenger.log_loss_vs_base
    losses = log_losses(record["y"], record[P_CHALLENGER]) - log_losses(record["y"], record[P_BASE_RATE])
    assert difference.value == pytest.approx(losses.mean())
    assert difference.low < difference.value < difference.high
    assert difference.value < 0


def test_every_arm_stands_on_the_same_rows_beside_the_same_base_rate(record):
    arms = assembly.arm_parts(record)

    assert {arm.n for arm in arms} == {len(record)}
    assert [arm.base_rate for arm in arms] == pytest.approx([record["y"].mean()] * len(arms))
    assert arms[0].n_eff < len(record), "rows of one day move together"


def test_a_member_that_abstains_is_judged_where_it_spoke_and_left_out_where_that_is_too_little(record):
    speaks = np.arange(len(record)) % 10 == 0
    arms = assembly.arm_parts(record.assign(p_member_catalyst=np.where(speaks, 0.55, np.nan)))
    assert [arm.n for arm in arms if arm.name == "catalyst"] == [speaks.sum()]

    few = (record["session"] <= record["session"].unique()[9]).to_numpy()
    arms = assembly.arm_parts(record.assign(p_member_catalyst=np.where(few, 0.55, np.nan)))
    assert "catalyst" not in {arm.name for arm in arms}


def test_what_news_is_worth_is_told_in_the_reports_signs(record):
    speaks = np.arange(len(record)) % 5 == 0
    rows = record.assign(news_present=speaks * 1.0, news_covered=1.0, p_member_catalyst=np.where(speaks, 0.9, np.nan))
    effect, predictor = catalyst_effect(rows), score_catalyst(rows)
    part = assembly.catalyst_part({"effect": effect.to_dict(), "predictor": predictor.to_dict()})
    assert (part.with_news, part.predictor_rows) == (effect.n_with, speaks.sum())
    assert part.words == effect.words
    assert part.vs_base.low < part.vs_base.value < part.vs_base.high
    assert part.vs_base.value > 0, "0.9 for everybody is worse than the base rate, and below zero is better"
    assert assembly.catalyst_part({"effect": effect.to_dict(), "predictor": None}).predictor_rows is None


def test_the_champion_has_a_line_of_its_own_only_if_it_is_not_the_rules(record):
    is_rules = record.assign(p_champion=record["p_rules"])
    is_model = record.assign(p_champion=(record["p_rules"] + 0.01).clip(upper=1.0))

    assert "champion" not in [arm.name for arm in assembly.arm_parts(is_rules)]
    assert "champion" in [arm.name for arm in assembly.arm_parts(is_model)]


def test_evidence_rises_where_the_difference_of_log_loss_falls(record):
    against_base = next(curve for curve in assembly.evidence_parts(record) if curve.against == "base_rate")
    challenger = next(arm for arm in assembly.arm_parts(record) if arm.name == "challenger")

    assert against_base.cumulative[-1] == pytest.approx(-challenger.log_loss_vs_base.value * len(record))


def test_equity_ends_at_the_sum_of_what_was_taken(record):
    found = deflate(trades_at_coverage(record, P_CHALLENGER).judged_profit()).to_dict() | {"searched": 0}
    equity = assembly.equity_part(record, coverage=0.2, cost_bps_per_side=5.0, deflation=found)

    challenger = next(curve for curve in equity.curves if curve.arm == "challenger")
    assert len(challenger.sessions) == record["session"].nunique()
    assert challenger.cumulative[-1] == pytest.approx(
        challenger.mean_net_bps.value * 1e-4 * challenger.trades, rel=0.05
    )


def test_months_cover_the_record(record):
    months = assembly.month_parts(record)

    assert sum(month.n for month in months) == len(record)
    assert [month.month for month in months] == sorted(pd.to_datetime(record["session"]).dt.strftime("%Y-%m").unique())


def test_the_verdict_says_who_stays_in_charge():
    decision = {"verdict": "stay", "headline": "Stay on rules"}

    verdict = assembly.verdict_part(decision, champion="the rules")

    assert "the rules" in verdict.tomorrow
    assert np.all([verdict.headline == "Stay on rules", verdict.verdict == "stay"])

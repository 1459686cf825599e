import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.support.shadow_records import make_record
from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.deflation import Trial, deflate
from catalyst_ml.evaluation.gate import ChampionInfo, DriftEvidence, GateDecision, GateEvidence, GatePolicy, decide

DAYS = pd.bdate_range("2024-01-01", periods=65)
EARNED = pd.Series(0.01 + 0.02 * np.random.default_rng(8).standard_normal(65), DAYS)
GOOD = GateEvidence(
    parity_max_abs_diff=2e-6,
    latency_p99_ms=0.8,
    validation_passed=True,
    drift=DriftEvidence(150),
    deflation=deflate(EARNED),
)
SKILLED = make_record(challenger_skill=0.4, seed=5)
RULES = ChampionInfo("rules")
DEPLOYED = ChampionInfo("model", version_id="v0007", procedure_id="p1")


def gate(
    record: pd.DataFrame = SKILLED,
    evidence: GateEvidence = GOOD,
    champion: ChampionInfo = RULES,
    **policy: float,
) -> GateDecision:
    return decide(
        record, policy=GatePolicy(**policy), champion=champion, challenger_procedure_id="p1", evidence=evidence
    )


def check(decision: GateDecision, name: str):
    return next(c for c in decision.checks if c.name == name)


def make_block(refit: float, deployed: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame({"y": [1, 0] * 50, "p_refit": refit, "p_deployed": deployed})


def test_real_skill_is_promoted_over_the_rules():
    decision = gate()

    assert decision.verdict == "promote"
    assert decision.headline == "Promote the challenger over the rules"
    assert all(c.passed for c in decision.checks if c.decisive)
    assert {c.opponent for c in decision.comparisons if c.measure == "log_loss"} == {
        "p_champion",
        "p_base_rate",
        "p_pattern_base_rate",
    }


def test_a_guess_stays_on_rules_and_says_which_comparison_it_lost():
    decision = gate(make_record(guess=0.3, seed=5))

    assert decision.verdict == "stay"
    assert decision.headline == "Stay on rules"
    assert "higher than the rules" in decision.summary
    assert "higher than the pattern base rate" in decision.summary


@pytest.mark.parametrize("better", ["p_champion", "p_base_rate", "p_pattern_base_rate"])
def test_one_better_opponent_is_enough_to_stay(better):
    record = SKILLED.assign(**{better: SKILLED["p_challenger"]})

    decision = gate(record)

    assert decision.verdict == "stay"
    failed = [c.name for c in decision.checks if c.decisive and not c.passed]
    assert failed == [f"log_loss_vs_{better.removeprefix('p_')}"]


def test_a_short_record_is_not_enough_evidence_and_says_how_much_is_missing():
    short = SKILLED[SKILLED["session"] < SKILLED["session"].unique()[53]]

    decision = gate(short)

    assert decision.verdict == "not_enough_evidence"
    assert decision.headline == "Not enough evidence yet: stay on rules"
    assert decision.summary == "53 settled sessions of 65: 12 more are needed (about 3 weeks)."
    assert decision.comparisons == ()


def test_an_empty_record_is_not_enough_evidence():
    assert gate(SKILLED.iloc[:0]).verdict == "not_enough_evidence"


def test_invalid_data_is_named_before_a_short_record():
    short = SKILLED[SKILLED["session"] < SKILLED["session"].unique()[53]]

    decision = gate(short, replace(GOOD, validation_passed=False))

    assert decision.verdict == "stay"
    assert "failed validation" in decision.summary


def test_an_auc_too_good_to_be_true_is_refused_as_a_leak():
    leaking = SKILLED.assign(p_challenger=np.where(SKILLED["y"] == 1, 0.7, 0.3))

    decision = gate(leaking)

    assert decision.verdict == "stay"
    assert "look for a leak" in decision.summary
    assert check(decision, "log_loss_vs_champion").passed


def test_overconfidence_is_refused_by_calibration():
    logit = np.log(SKILLED["p_challenger"] / (1 - SKILLED["p_challenger"]))
    loud = SKILLED.assign(p_challenger=1 / (1 + np.exp(-4 * logit)))

    assert check(gate(loud), "calibration").passed is False
    assert check(gate(), "calibration").passed is True


@pytest.mark.parametrize(
    ("evidence", "name"),
    [
        (replace(GOOD, parity_max_abs_diff=2e-4), "parity"),
        (replace(GOOD, parity_max_abs_diff=float("nan")), "parity"),
        (replace(GOOD, latency_p99_ms=9.0), "latency"),
        (replace(GOOD, validation_passed=False), "data_validity"),
    ],
)
def test_bad_evidence_stops_even_a_skilled_challenger(evidence, name):
    decision = gate(evidence=evidence)

    assert decision.verdict == "stay"
    assert check(decision, name).passed is False


@pytest.mark.parametrize("field", ["parity_max_abs_diff", "latency_p99_ms", "validation_passed", "drift", "deflation"])
def test_what_was_not_measured_is_not_passed(field):
    decision = gate(evidence=replace(GOOD, **{field: None}))

    assert decision.verdict == "stay"
    assert "not " in decision.summary


def test_drift_keeps_a_newcomer_out_and_only_warns_of_a_refit():
    alarmed = DriftEvidence(150, alarms=("The mean of rsi_14 lies 3 robust standard deviations off",))
    takeover = gate(evidence=replace(GOOD, drift=alarmed))
    assert takeover.verdict == "stay"
    assert "rsi_14" in takeover.summary
    assert (check(takeover, "drift").value, check(takeover, "drift").bound) == (1.0, 0.0)

    refit = gate(evidence=replace(GOOD, drift=alarmed, newest_block=make_block(refit=0.52)), champion=DEPLOYED)
    assert refit.verdict == "promote"
    assert (check(refit, "drift").passed, check(refit, "drift").decisive) == (False, False)


def test_a_line_too_young_for_drift_is_told_so_and_not_stopped():
    young = DriftEvidence(0, unjudged=("features: not enough to judge: 180 sessions of reference, 250 are needed",))
    decision = gate(evidence=replace(GOOD, drift=young))

    assert decision.verdict == "promote"
    assert check(decision, "drift").passed is None
    assert "250 are needed" in check(decision, "drift").reason


def noise(seed: int) -> pd.Series:
    return pd.Series(0.02 * np.random.default_rng(seed).standard_normal(65), DAYS)


def test_one_of_many_must_beat_the_best_that_luck_would_show():
    others = [Trial(str(k), float(d.mean() / d.std(ddof=1)), d) for k in range(200) for d in [noise(k)]]
    lucky = next(d for k in range(300, 400) for d in [noise(k)] if 0.93 < deflate(d).probability < 0.97)
    many, alone = deflate(lucky, others), deflate(lucky)
    decision = gate(evidence=replace(GOOD, deflation=many))

    assert alone.deflated > 0.9
    assert gate(evidence=replace(GOOD, deflation=alone)).verdict == "promote"
    assert decision.verdict == "stay"
    assert "201 attempts on record" in check(decision, "deflated_sharpe").reason
    assert check(decision, "deflated_sharpe").value == many.deflated


def test_each_procedure_tried_on_the_record_gets_its_part_of_the_level():
    others = [Trial(str(k), 0.0, noise(k)) for k in range(9)]
    elsewhere = Trial("three years ago", 0.0, pd.Series(0.01, pd.bdate_range("2020-01-01", periods=65)))
    ten = gate(evidence=replace(GOOD, deflation=deflate(EARNED, [*others, elsewhere])))

    found = check(ten, "log_loss_vs_champion")
    assert found.bound == pytest.approx(stats.t.isf(0.05 / 10, ten.comparisons[0].df))
    assert check(gate(), "log_loss_vs_champion").bound == pytest.approx(stats.t.isf(0.05, ten.comparisons[0].df))
    assert "because 10 procedures were tried on this record" in found.reason

    block = make_block(refit=0.52)
    refit = gate(evidence=replace(GOOD, deflation=deflate(noise(1), others), newest_block=block), champion=DEPLOYED)
    assert check(refit, "log_loss_vs_rules").bound == check(gate(), "log_loss_vs_champion").bound
    assert check(refit, "deflated_sharpe").decisive is False, "what was tried since does not hold a refit up"


def test_a_single_attempt_does_not_let_the_sharpe_decide():
    poor = deflate(noise(1) - 0.02)
    decision = gate(evidence=replace(GOOD, deflation=poor))

    assert poor.deflated < 0.01
    assert decision.verdict == "promote"
    assert check(decision, "deflated_sharpe").decisive is False


def test_a_record_that_beats_its_own_live_forecasts_is_a_leak():
    rows = SKILLED[["session", "y"]].assign(p_record=SKILLED["p_challenger"], p_live=SKILLED["p_challenger"])
    same = gate(evidence=replace(GOOD, live_shadow=rows))
    assert same.verdict == "promote"
    assert check(same, "live_agreement").decisive

    leaked = rows.assign(p_record=np.where(rows["y"] == 1, rows["p_record"] + 0.05, rows["p_record"] - 0.05).clip(0, 1))
    assert gate(evidence=replace(GOOD, live_shadow=leaked)).verdict == "stay"
    few = gate(evidence=replace(GOOD, live_shadow=leaked[leaked["session"] <= DAYS[18]]))
    assert few.verdict == "promote"
    assert "19 settled sessions" in check(few, "live_agreement").reason
    assert check(gate(), "live_agreement").passed is None


def test_a_forced_champion_is_named_with_its_reason_and_decides_nothing():
    forced = replace(DEPLOYED, procedure_id="p0", forced="the trader insists (anna, 2026-11-20)")
    decision = gate(champion=forced)

    assert decision.verdict == "promote"
    assert "by force" in check(decision, "champion_forced").reason
    assert "the trader insists (anna, 2026-11-20)" in check(decision, "champion_forced").reason
    assert "champion_forced" not in {c.name for c in gate().checks}


def test_every_check_of_the_design_is_there_with_a_reason():
    refit = gate(evidence=replace(GOOD, newest_block=make_block(refit=0.52)), champion=DEPLOYED)
    names = {c.name for c in refit.checks}

    assert names == {
        "data_validity", "sessions", "leak_alarm", "calibration", "log_loss_vs_rules", "log_loss_vs_base_rate",
        "log_loss_vs_pattern_base_rate", "profit", "false_positives", "accuracy_gain", "deflated_sharpe", "drift",
        "live_agreement", "refit_non_inferiority", "parity", "latency",
    }  # fmt: skip
    assert all(c.reason and c.title for c in refit.checks)


def test_money_clearly_lost_is_refused_although_the_log_loss_is_better():
    best = SKILLED["p_challenger"] > SKILLED["p_challenger"].quantile(0.75)
    record = SKILLED.assign(net_return=SKILLED["net_return"].where(~best, -0.03))

    decision = gate(record)

    assert decision.verdict == "stay"
    assert check(decision, "profit").passed is False
    assert "clearly worse" in check(decision, "profit").reason


def test_money_lost_within_noise_is_not_held_against_the_challenger():
    rng = np.random.default_rng(0)
    record = SKILLED.assign(net_return=0.02 * rng.standard_normal(len(SKILLED)) - 0.0005)

    assert gate(record).verdict == "promote"
    assert check(gate(record), "profit").value < 0
    assert check(gate(record, not_worse_alpha=0.5), "profit").passed is False


def test_an_idle_rival_leaves_the_judgement_of_money_to_the_profit():
    falling = np.linspace(0.6, 0.4, len(SKILLED))  # never again as sure as before: no later trade

    decision = gate(SKILLED.assign(p_champion=falling))

    assert check(decision, "false_positives").decisive is False
    assert check(decision, "profit").passed is True


def test_the_plans_point_of_accuracy_is_printed_and_decides_nothing():
    gain = check(gate(), "accuracy_gain")

    right = ((SKILLED["p_challenger"] >= 0.5) == (SKILLED["y"] == 1)).mean()
    base = ((SKILLED["p_champion"] >= 0.5) == (SKILLED["y"] == 1)).mean()
    assert gain.value == pytest.approx(100 * (right - base))
    assert gain.decisive is False


def test_the_weekly_refit_is_judged_against_the_rules_and_last_weeks_fit():
    evidence = replace(GOOD, newest_block=make_block(refit=0.52))
    record = SKILLED.assign(p_champion=SKILLED["p_challenger"])

    decision = gate(record, evidence, DEPLOYED)

    assert decision.verdict == "promote"
    assert decision.headline == "Promote this week's fit over v0007"
    assert check(decision, "log_loss_vs_rules").passed


@pytest.mark.parametrize("block", [None, make_block(refit=0.9)])
def test_a_broken_or_unchecked_refit_stays_on_the_deployed_version(block):
    decision = gate(evidence=replace(GOOD, newest_block=block), champion=DEPLOYED)

    assert decision.headline == "Stay on v0007"
    assert not check(decision, "refit_non_inferiority").passed


def test_another_procedure_is_tested_against_the_champions_own_record():
    other = replace(DEPLOYED, procedure_id="p0")

    decision = gate(SKILLED.assign(p_champion=SKILLED["p_challenger"]), champion=other)

    assert decision.headline == "Stay on v0007"
    assert "than v0007" in check(decision, "log_loss_vs_champion").reason
    assert "refit_non_inferiority" not in {c.name for c in decision.checks}


def test_a_decision_is_json_with_a_reason_for_every_check():
    stored = json.loads(json.dumps(gate().to_dict(), allow_nan=False))

    assert stored["verdict"] == "promote"
    assert all(c["reason"] for c in stored["checks"])
    assert "needs 1.94" in next(c["reason"] for c in stored["checks"] if c["name"] == "log_loss_vs_champion")


def test_a_record_that_breaks_its_contract_is_not_judged():
    with pytest.raises(DataContractError):
        gate(SKILLED.assign(p_challenger=1.5))


def test_fifteen_thousand_events_are_judged_in_two_seconds():
    record = make_record(sessions=150, challenger_skill=0.2)
    started = time.perf_counter()

    gate(record)

    assert time.perf_counter() - started < 2.0

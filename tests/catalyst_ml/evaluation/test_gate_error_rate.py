"""Promise 2: a challenger no better than the champion is promoted in at most 5 % of decisions."""

from dataclasses import replace

import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.comparison import daily_log_loss_gain
from catalyst_ml.evaluation.deflation import deflate
from catalyst_ml.evaluation.gate import ChampionInfo, DriftEvidence, GateEvidence, GatePolicy, decide
from catalyst_ml.evaluation.significance import binomial_interval, har_t_test
from catalyst_ml.evaluation.trading import trades_at_coverage

EVIDENCE = GateEvidence(
    parity_max_abs_diff=1e-6, latency_p99_ms=1.0, validation_passed=True, drift=DriftEvidence(questions=150)
)
NULLS = {
    # No skill: the challenger only believes in noise, the rules only in theirs.
    "guess against guess": {"guess": 0.15, "champion_guess": 0.15},
    # The hard null: both beat the base rates by a mile, by the same amount, with errors of their own.
    "equal skill": {"challenger_skill": 0.3, "champion_skill": 0.3, "guess": 0.2, "champion_guess": 0.2},
}


def count_promotions(n: int, **arms: float) -> int:
    promoted = 0
    for seed in range(n):
        record = make_record(seed=seed, **arms)
        gain = daily_log_loss_gain(record, "p_challenger", "p_champion").to_numpy()
        if har_t_test(gain).p_value > 0.05:
            continue  # decisive: the gate cannot promote it, and asking costs a tenth of a second
        decision = decide(
            record,
            policy=GatePolicy(),
            champion=ChampionInfo("rules"),
            challenger_procedure_id="p1",
            evidence=replace(EVIDENCE, deflation=deflate(trades_at_coverage(record, "p_challenger").daily_profit())),
        )
        promoted += decision.verdict == "promote"
    return promoted


@pytest.mark.parametrize("null", NULLS)
def test_a_challenger_no_better_is_promoted_in_at_most_five_percent(null):
    promoted = count_promotions(200, **NULLS[null])

    assert binomial_interval(promoted, 200).low <= 0.05


def test_a_challenger_with_skill_is_promoted():
    assert count_promotions(20, challenger_skill=0.2) >= 17

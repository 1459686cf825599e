import json

import numpy as np
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.comparison import (
    compare_false_positive_rate,
    compare_false_positives,
    compare_log_loss,
    compare_profit,
    daily_log_loss_gain,
)
from catalyst_ml.evaluation.significance import har_t_test
from catalyst_ml.evaluation.trading import summarise_trades, trades_at_coverage

RECORD = make_record(challenger_skill=0.5, champion_skill=0.2, seed=2)
OURS = trades_at_coverage(RECORD, "p_challenger")
THEIRS = trades_at_coverage(RECORD, "p_champion")


def test_log_loss_is_compared_on_daily_sums_and_reported_per_event():
    comparison = compare_log_loss(RECORD, "p_challenger", "p_champion")

    y, ours, theirs = (RECORD[c].to_numpy() for c in ("y", "p_challenger", "p_champion"))
    gain = np.log(np.where(y == 1, ours, 1 - ours)) - np.log(np.where(y == 1, theirs, 1 - theirs))
    sums = gain.reshape(65, 100).sum(axis=1)
    assert comparison.gain == pytest.approx(gain.mean())
    assert comparison.t == pytest.approx(har_t_test(sums).t)
    assert comparison.low < comparison.gain < comparison.high
    np.testing.assert_allclose(daily_log_loss_gain(RECORD, "p_challenger", "p_champion"), sums)


def test_swapping_the_arms_turns_the_sign():
    there, back = (compare_profit(*pair) for pair in ((OURS, THEIRS), (THEIRS, OURS)))

    assert there.gain == pytest.approx(-back.gain)
    assert there.p_better == pytest.approx(back.p_worse)


def test_profit_is_the_difference_per_judged_session():
    comparison = compare_profit(OURS, THEIRS)

    difference = summarise_trades(OURS).profit - summarise_trades(THEIRS).profit
    assert comparison.sessions == 60
    assert comparison.gain == pytest.approx(difference / 60)


def test_false_positives_are_compared_as_shares_of_the_taken_trades():
    comparison = compare_false_positive_rate(OURS, THEIRS)

    rates = [summarise_trades(trades).false_positive_rate for trades in (OURS, THEIRS)]
    assert comparison.gain == pytest.approx(rates[1] - rates[0])
    assert comparison.gain > 0


def test_losing_trades_are_compared_as_a_ratio_beside_the_share_of_all_that_lose():
    found = compare_false_positives(OURS, THEIRS)

    rates = [summarise_trades(trades).false_positive_rate for trades in (OURS, THEIRS)]
    assert found.ratio.value == pytest.approx(rates[0] / rates[1])
    assert found.ratio.low < found.ratio.value < found.ratio.high < 1
    assert found.base_rate == pytest.approx((RECORD["y"][OURS.judged] == 0).mean())
    assert found.coverage == pytest.approx(summarise_trades(OURS).coverage)
    assert compare_false_positives(OURS, OURS).ratio.value == 1.0


def test_the_interval_of_the_ratio_holds_the_truth_about_nine_times_in_ten():
    held = 0
    for seed in range(100):
        record = make_record(sessions=130, events_a_day=30, challenger_skill=0.4, champion_skill=0.4, seed=seed)
        found = compare_false_positives(*(trades_at_coverage(record, p) for p in ("p_challenger", "p_champion")))
        held += found.ratio.low <= 1.0 <= found.ratio.high
    assert 82 <= held <= 97


def test_no_ratio_of_an_arm_that_took_nothing_or_lost_nothing():
    falling = RECORD.assign(p_challenger=np.linspace(0.6, 0.4, len(RECORD)))
    assert compare_false_positives(trades_at_coverage(falling, "p_challenger"), THEIRS) is None
    won = RECORD.assign(y=np.int8(1))
    assert compare_false_positives(*(trades_at_coverage(won, p) for p in ("p_challenger", "p_champion"))) is None


def test_arms_that_agree_do_not_differ():
    comparison = compare_log_loss(RECORD, "p_challenger", "p_challenger")

    assert (comparison.gain, comparison.t, comparison.p_better) == (0.0, 0.0, 0.5)


def test_without_trades_or_sessions_there_is_no_comparison():
    idle = trades_at_coverage(RECORD, "p_challenger", threshold=1.1)
    short = RECORD[RECORD["session"] < RECORD["session"].unique()[22]]
    few = trades_at_coverage(short, "p_challenger")

    assert compare_false_positive_rate(idle, OURS) is None
    assert compare_profit(few, few) is None
    assert compare_profit(idle, OURS) is not None


def test_a_comparison_that_never_varies_is_still_json():
    record = RECORD.assign(p_challenger=np.where(RECORD["y"] == 1, 0.6, 0.4), p_champion=0.5)

    comparison = compare_log_loss(record, "p_challenger", "p_champion")

    assert comparison.p_better == 0.0
    assert json.loads(json.dumps(comparison.to_dict(), allow_nan=False))["t"] is None

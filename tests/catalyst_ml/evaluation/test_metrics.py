import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from benchmarks.support.shadow_records import make_record
from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.metrics import (
    auc_within,
    calibration_curve,
    calibration_error,
    calibration_noise,
    risk_coverage,
    score_predictions,
    score_slices,
    table_records,
)

RECORD = make_record(sessions=40, events_a_day=30, challenger_skill=0.8, seed=3)


def score(record: pd.DataFrame = RECORD, column: str = "p_challenger"):
    return score_predictions(record["y"], record[column], record["session"], record["direction"])


def test_scores_agree_with_scikit_learn():
    y, p = RECORD["y"].to_numpy(), RECORD["p_challenger"].to_numpy()
    called = (p >= 0.5).astype(int)

    scores = score()

    assert scores.log_loss == pytest.approx(oracle.log_loss(y, p))
    assert scores.brier == pytest.approx(oracle.brier_score_loss(y, p))
    assert scores.accuracy == pytest.approx(oracle.accuracy_score(y, called))
    assert scores.balanced_accuracy == pytest.approx(oracle.balanced_accuracy_score(y, called))
    assert scores.precision == pytest.approx(oracle.precision_score(y, called))
    assert scores.recall == pytest.approx(oracle.recall_score(y, called))
    assert scores.false_positive_rate == pytest.approx(1 - oracle.recall_score(y, called, pos_label=0))
    assert scores.auc == pytest.approx(oracle.roc_auc_score(y, p))


def test_auc_with_ties_agrees_with_scikit_learn():
    y = RECORD["y"].to_numpy()
    p = RECORD["p_challenger"].round(1).to_numpy()

    assert auc_within(y, p) == pytest.approx(oracle.roc_auc_score(y, p))


def test_auc_within_counts_only_pairs_of_the_same_day_and_direction():
    right = pairs = 0.0
    for _, group in RECORD.groupby(["session", "direction"]):
        for winner in group.loc[group["y"] == 1, "p_challenger"]:
            for loser in group.loc[group["y"] == 0, "p_challenger"]:
                right += (winner > loser) + 0.5 * (winner == loser)
                pairs += 1

    assert score().auc_within_day_and_direction == pytest.approx(right / pairs)


def test_knowing_only_which_days_are_good_is_no_skill_within_the_day():
    day_rate = RECORD.groupby("session")["y"].transform("mean")
    record = RECORD.assign(p_challenger=day_rate)

    assert score(record).auc > 0.55
    assert score(record).auc_within_day_and_direction == 0.5


def test_what_is_not_defined_is_none():
    scores = score(RECORD[RECORD["y"] == 1].assign(p_challenger=0.4))

    assert scores.auc is None
    assert scores.precision is None
    assert scores.false_positive_rate is None
    assert scores.balanced_accuracy is None
    assert json.loads(json.dumps(scores.to_dict(), allow_nan=False))["auc"] is None


def test_calibration_bins_hold_equal_mass_and_keep_equal_predictions_together():
    curve = calibration_curve(RECORD["y"], RECORD["p_challenger"], RECORD["session"])
    constant = calibration_curve(RECORD["y"], RECORD["p_base_rate"], RECORD["session"])

    assert curve["n"].tolist() == [120] * 10
    assert curve["p_mean"].is_monotonic_increasing
    assert constant["n"].tolist() == [1_200]
    assert calibration_error(constant) == pytest.approx(abs(RECORD["y"].mean() - 0.5))


def test_calibration_error_by_hand():
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    p = np.array([0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9])
    curve = calibration_curve(y, p, np.arange(8), n_bins=2)

    assert calibration_error(curve) == pytest.approx((0.05 + 0.1) / 2)


def test_the_noise_allowance_is_the_mean_error_of_calibrated_arms():
    records = [make_record(sessions=65, challenger_skill=0.3, seed=k) for k in range(20)]
    curves = [calibration_curve(r["y"], r["p_challenger"], r["session"]) for r in records]

    errors, noise = [calibration_error(c) for c in curves], [calibration_noise(c) for c in curves]

    # The allowance knows that rows of a day move together, not that labels of neighbouring days overlap.
    assert 1.0 < np.mean(errors) / np.mean(noise) < 2.2


def test_risk_coverage_at_full_coverage_is_the_plain_error_and_profit():
    table = risk_coverage(RECORD["y"], RECORD["p_challenger"], RECORD["session"], RECORD["net_return"])
    last = table.iloc[-1]

    assert last["error"] == pytest.approx(1 - score().accuracy)
    assert last["net_profit"] == pytest.approx(RECORD["net_return"].sum())
    assert (table["error_low"] <= table["error"]).all()
    assert (table["error"] <= table["error_high"]).all()


def test_an_arm_with_skill_errs_less_on_what_it_is_surest_of():
    table = risk_coverage(RECORD["y"], RECORD["p_challenger"], RECORD["session"], RECORD["net_return"])

    surest = RECORD.loc[(RECORD["p_challenger"] - 0.5).abs().nlargest(120).index]
    by_hand = ((surest["p_challenger"] >= 0.5) != (surest["y"] == 1)).mean()
    assert table.loc[1, "error"] == pytest.approx(by_hand)
    assert table.loc[1, "error"] < table.loc[10, "error"] - 0.05


def test_slices_carry_their_own_base_rate_and_small_ones_are_left_out():
    record = RECORD.assign(is_hammer=np.arange(len(RECORD)) % 4 == 0, is_doji=np.arange(len(RECORD)) < 10)
    table = score_slices(record, "p_challenger").set_index(["by", "slice"])

    part = record[record["is_hammer"]]
    row = table.loc[("pattern", "hammer")]
    assert row["n"] == 300
    assert row["base_rate"] == pytest.approx(part["y"].mean())
    assert row["low"] < row["base_rate"] < row["high"]
    assert ("pattern", "doji") not in table.index
    assert table.loc["month", "n"].sum() == len(record)
    json.dumps(table_records(table.reset_index()), allow_nan=False)


def test_missing_news_is_neither_a_catalyst_nor_none():
    news = np.resize([1.0, 0.0, np.nan], len(RECORD))

    table = score_slices(RECORD.assign(news_present=news), "p_challenger").set_index(["by", "slice"])

    assert table.loc[("catalyst", "yes"), "n"] == table.loc[("catalyst", "no"), "n"] == 400


def test_no_rows_are_refused():
    with pytest.raises(DataContractError, match="no rows to score"):
        score(RECORD.iloc[:0])

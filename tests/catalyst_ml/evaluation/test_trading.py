import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.trading import max_drawdown, summarise_trades, trades_at_coverage

RECORD = make_record(sessions=60, events_a_day=40, challenger_skill=0.8, seed=11)
FIRST_FOLD = RECORD["fold"] == "record-0"


def test_a_fold_is_traded_at_the_quantile_of_the_folds_before_it():
    trades = trades_at_coverage(RECORD, "p_challenger", coverage=0.2)

    before = RECORD.loc[RECORD["session"] < RECORD.loc[RECORD["fold"] == "record-3", "session"].min(), "p_challenger"]
    in_fold = (RECORD["fold"] == "record-3").to_numpy()
    limit = before.nlargest(int(0.2 * len(before))).min()
    assert trades.rows.loc[in_fold, "threshold"].unique().tolist() == [limit]
    assert trades.rows.loc[in_fold & (RECORD["p_challenger"] > limit).to_numpy(), "size"].eq(1.0).all()
    assert trades.rows.loc[in_fold & (RECORD["p_challenger"] < limit).to_numpy(), "size"].eq(0.0).all()


def test_nothing_in_a_fold_or_after_it_moves_its_threshold():
    is_late = (RECORD["session"] >= RECORD.loc[RECORD["fold"] == "record-5", "session"].min()).to_numpy()
    altered = RECORD.assign(p_challenger=np.where(is_late, 0.99, RECORD["p_challenger"]))

    before = trades_at_coverage(RECORD, "p_challenger").rows
    after = trades_at_coverage(altered, "p_challenger").rows

    same = ~is_late | (RECORD["fold"] == "record-5").to_numpy()
    pd.testing.assert_series_equal(before.loc[same, "threshold"], after.loc[same, "threshold"])


def test_the_first_fold_is_not_traded_unless_a_burn_in_lends_its_predictions():
    alone = trades_at_coverage(RECORD, "p_challenger")
    lent = trades_at_coverage(RECORD[~FIRST_FOLD], "p_challenger", burn_in=RECORD[FIRST_FOLD])

    assert alone.rows.loc[FIRST_FOLD, "size"].eq(0.0).all()
    assert not alone.judged[FIRST_FOLD].any()
    assert lent.judged.all()
    np.testing.assert_allclose(lent.rows["size"], alone.rows.loc[~FIRST_FOLD, "size"])


def test_ties_at_the_threshold_are_taken_in_the_fraction_that_keeps_the_coverage():
    trades = trades_at_coverage(RECORD, "p_base_rate", coverage=0.2)

    assert trades.rows.loc[trades.judged, "size"].unique().tolist() == pytest.approx([0.2])


def test_a_fixed_threshold_takes_all_that_reach_it():
    trades = trades_at_coverage(RECORD, "p_challenger", threshold=0.6)

    assert trades.rows["size"].sum() == (RECORD["p_challenger"] >= 0.6).sum()


def test_the_summary_by_hand():
    record = pd.DataFrame(
        {
            "session": pd.to_datetime(["2024-01-02", "2024-01-02", "2024-01-03", "2024-01-04"]),
            "fold": "record-0",
            "y": [1, 0, 0, 1],
            "net_return": [0.02, -0.01, -0.03, 0.01],
            "gross_return": [0.021, -0.009, -0.029, 0.011],
            "p": [0.9, 0.8, 0.7, 0.1],
        }
    )

    summary = summarise_trades(trades_at_coverage(record, "p", threshold=0.5))

    assert summary.trades == 3
    assert summary.profit == pytest.approx(-0.02)
    assert summary.profit_per_trade_bps == pytest.approx(-200 / 3)
    assert summary.false_positive_rate == pytest.approx(2 / 3)
    assert summary.max_drawdown == pytest.approx(0.03)
    assert summary.coverage == 0.75
    assert summary.sessions == 3
    assert summary.sharpe is None
    expected = {"0": -170 / 3, "5": -170 / 3 - 10, "10": -170 / 3 - 20}
    assert summary.profit_per_trade_bps_at_cost == pytest.approx(expected)


def test_profits_of_the_sessions_add_up_to_the_equity_curve():
    trades = trades_at_coverage(RECORD, "p_challenger")
    equity = trades.equity()

    assert len(equity) == 60
    assert equity["equity"].iloc[-1] == pytest.approx(summarise_trades(trades).profit)
    assert trades.daily_false_positives().sum() == pytest.approx(summarise_trades(trades).false_positives)


def test_the_summary_of_an_arm_with_skill_is_json_and_its_sharpe_lies_in_its_bounds():
    summary = summarise_trades(trades_at_coverage(RECORD, "p_challenger"))

    assert summary.sharpe_low < summary.sharpe < summary.sharpe_high
    assert summary.coverage == pytest.approx(0.2, abs=0.03)
    assert summary.profit_per_trade_bps > 0
    json.dumps(summary.to_dict(), allow_nan=False)


def test_an_arm_that_takes_nothing_has_no_rates():
    summary = summarise_trades(trades_at_coverage(RECORD, "p_challenger", threshold=1.1))

    assert summary.trades == 0
    assert summary.false_positive_rate is None
    assert summary.profit_per_trade_bps is None
    assert summary.max_drawdown == 0.0


@pytest.mark.parametrize(("daily", "depth"), [([1, -2, 3], 2), ([-1, -1, 5], 2), ([1, 1], 0), ([], 0)])
def test_the_drawdown_is_measured_from_the_highest_point_before(daily, depth):
    assert max_drawdown(np.array(daily, dtype=float)) == depth

"""The arms side by side: figures against plain loops, and words that say no more than they may."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.trial import performance
from tests.fakes.signals import settled_signals


def test_the_arm_that_knows_something_is_shown_to() -> None:
    rows = performance.comparable(settled_signals())
    ml, rules = (performance.arm_performance(rows, column) for column in ("p_ml", "p_rules"))
    assert ml.accuracy.value == pytest.approx(float(((rows["p_ml"] >= 0.5) == (rows["y"] == 1)).mean()))
    assert ml.auc_within.low is not None
    assert ml.auc_within.low > 0.6
    assert rules.auc_within.low is not None
    assert rules.auc_within.low < 0.5 < (rules.auc_within.high or 0.0)
    assert ml.net_bps.low is not None
    assert ml.net_bps.low > 0.0
    assert ml.base_rate == rules.base_rate == rows["y"].mean()


def test_change_of_losing_shares_is_the_ratio_of_two_plain_counts() -> None:
    rows = performance.comparable(settled_signals())
    change = performance.losing_share_change(rows)
    shares = [performance.arm_performance(rows, column).losing_share.value for column in ("p_ml", "p_rules")]
    assert shares[0] is not None
    assert shares[1] is not None
    assert change.value == pytest.approx(shares[0] / shares[1] - 1.0)
    assert change.high is not None
    assert change.high < 0.0


def test_interval_of_the_change_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two arms of equal (no) skill lose alike: the change is zero in truth."""
    covered = 0
    for seed in range(60):
        rows = settled_signals(n_sessions=80, a_day=20, skill=0.0, seed=seed)
        rows["p_ml"] = np.random.default_rng(1000 + seed).uniform(0.4, 0.6, len(rows))
        change = performance.losing_share_change(performance.comparable(rows))
        assert change.low is not None
        assert change.high is not None
        covered += change.low <= 0.0 <= change.high
    assert covered >= 46  # 90 % of 60 is 54; 46 is its lower 99.9 % bound


def test_net_difference_is_zero_of_equal_arms_and_positive_of_the_skilled() -> None:
    rows = settled_signals()
    assert (performance.net_difference(performance.comparable(rows)).low or 0.0) > 0.0
    rows["p_rules"] = rows["p_ml"]
    same = performance.net_difference(performance.comparable(rows))
    assert same.value == pytest.approx(0.0, abs=1e-9)


def test_weeks_add_up_to_the_whole() -> None:
    rows = performance.comparable(settled_signals())
    weeks = performance.weekly_difference(rows)
    assert weeks["n"].sum() == len(rows)
    assert weeks["first_session"].is_monotonic_increasing
    ml = performance.arm_performance(rows, "p_ml")
    assert weeks["ml_trades"].sum() == pytest.approx(ml.trades)
    assert weeks["ml_lost"].sum() / weeks["ml_trades"].sum() == pytest.approx(ml.losing_share.value)
    loss = (weeks["n"] * weeks["ml_loss"]).sum() / len(rows)
    assert loss == pytest.approx(ml.log_loss.value)
    assert weeks["profit_so_far"].iloc[-1] == pytest.approx(weeks["ml_profit"].sum() - weeks["rules_profit"].sum())


def test_small_slices_are_counted_and_not_scored() -> None:
    rows = performance.comparable(settled_signals())
    kind = pd.Series(np.where(np.arange(len(rows)) < 50, "rare", "usual"), index=rows.index, dtype="str")
    kind.iloc[-1] = np.nan
    rare, usual = performance.by_kind(rows, {"kind": kind})
    assert (rare.name, rare.n, rare.loss_difference, rare.ml_net_bps) == ("rare", 50, None, None)
    assert usual.n == len(rows) - 51
    assert usual.loss_difference is not None
    assert (usual.loss_difference.high or 0.0) < 0.0


def test_signals_that_no_version_scored_are_refused_with_the_way_out() -> None:
    rows = settled_signals()
    rows["p_ml"] = np.nan
    with pytest.raises(InsufficientHistory, match="none was scored by both arms"):
        performance.comparable(rows)

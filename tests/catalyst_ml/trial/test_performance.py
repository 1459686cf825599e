"""The arms side by side: figures against plain loops, and words that say no more than they may."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.market import detector
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.trial import kinds, performance
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
    place = np.arange(len(rows))
    parts = [("kind", "rare", place < 50), ("kind", "usual", (place >= 50) & (place < len(rows) - 1))]
    rare, usual = performance.by_kind(rows, parts)
    assert (rare.name, rare.n, rare.loss_difference, rare.ml_net_bps) == ("rare", 50, None, None)
    assert usual.n == len(rows) - 51
    assert usual.loss_difference is not None
    assert (usual.loss_difference.high or 0.0) < 0.0


def test_signals_that_no_version_scored_are_refused_with_the_way_out() -> None:
    rows = settled_signals()
    rows["p_ml"] = np.nan
    with pytest.raises(InsufficientHistory, match="none was scored by both arms"):
        performance.comparable(rows)


def test_parts_are_named_by_what_was_known_at_the_event() -> None:
    market = simulate_market("none", seed=5, n_symbols=12, n_sessions=320)
    events = detector.detect_events(market.bars, market.instruments)
    rows = events[["symbol", "ts", "direction"]].assign(session=events["ts"].dt.tz_localize(None).dt.normalize())
    sources = {"events": events, "instruments": market.instruments}
    parts = kinds.parts_of_signals(rows, bars=market.bars, news=market.news, **sources)
    by_name = {(kind, name): inside for kind, name, inside in parts}
    assert by_name["pattern", "doji"].sum() == events["is_doji"].sum()
    assert (by_name["direction", "long"] ^ by_name["direction", "short"]).all()
    assert (by_name["catalyst", "news"] ^ by_name["catalyst", "no news"]).all()
    stories = market.news.merge(rows, on="symbol")
    age = stories["ts"] - stories["published_at"]
    known = stories[(age >= pd.Timedelta(0)).to_numpy() & (age < pd.Timedelta(hours=24)).to_numpy()]
    assert by_name["catalyst", "news"].sum() == len(known.drop_duplicates(["symbol", "ts", "direction"]))
    assert {kind for kind, _ in by_name} == {"pattern", "direction", "catalyst", "volatility", "market", "sector"}
    # What comes after an event changes nothing about it
    moment = rows["ts"].sort_values().iloc[len(rows) // 2]
    early = (rows["ts"] <= moment).to_numpy()
    cut = kinds.parts_of_signals(
        rows[early].reset_index(drop=True),
        bars=market.bars[(market.bars["ts"] <= moment).to_numpy()],
        news=market.news[(market.news["published_at"] <= moment).to_numpy()],
        **sources,
    )
    for kind, name, inside in cut:
        np.testing.assert_array_equal(inside, by_name[kind, name][early])

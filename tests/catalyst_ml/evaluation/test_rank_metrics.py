"""Daily rank metrics against scipy and plain loops."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.rank_metrics import (
    above_median,
    auc_difference,
    auc_within_day,
    compare_ic,
    daily_ic,
    daily_spread,
    newey_west,
    score_ranking,
)


def make_days(n_days=60, n_stocks=30, *, strength=0.0, seed=1):
    """Scores, outcomes and sessions; the outcome's noise has a common part per day that no rank may see."""
    rng = np.random.default_rng(seed)
    session = np.repeat(pd.bdate_range("2015-01-05", periods=n_days), n_stocks)
    score = rng.normal(size=n_days * n_stocks)
    common = np.repeat(rng.normal(0, 3, n_days), n_stocks)
    outcome = strength * score + rng.normal(size=len(score)) + common
    return score, outcome, session


def test_the_daily_ic_is_scipys_spearman_of_each_day():
    score, outcome, session = make_days(strength=0.2)
    score[::7] = np.nan
    score[1::5] = 0.0  # ties
    outcome[3::11] = np.nan
    shuffled = np.random.default_rng(0).permutation(len(score))

    ic = daily_ic(score[shuffled], outcome[shuffled], session[shuffled])

    for day in np.unique(session):
        rows = (session == day) & np.isfinite(score) & np.isfinite(outcome)
        assert ic[day] == pytest.approx(spearmanr(score[rows], outcome[rows]).statistic, abs=1e-12)
    assert ic.index.is_monotonic_increasing


def test_days_with_few_stocks_or_one_score_have_no_ic():
    score, outcome, session = make_days(n_days=3, n_stocks=12)
    score[:12] = 1.0  # no order
    outcome[12:15] = np.nan  # nine stocks left
    assert daily_ic(score, outcome, session).index.tolist() == [session[-1]]


def test_aware_moments_serve_as_sessions():
    score, outcome, session = make_days()
    aware = pd.Series(pd.DatetimeIndex(session).tz_localize("UTC"))
    assert daily_ic(score, outcome, aware).tolist() == daily_ic(score, outcome, session).tolist()
    assert daily_spread(score, outcome, aware).index[0] == pd.Timestamp("2015-01-05", tz="UTC")


def newey_west_by_loops(x, lags):
    n, mean = len(x), sum(x) / len(x)
    total = 0.0
    for i in range(n):
        for j in range(n):
            distance = abs(i - j)
            if distance <= lags:
                total += (1.0 - distance / (lags + 1)) * (x[i] - mean) * (x[j] - mean)
    return mean, (total / n / n) ** 0.5


@pytest.mark.parametrize("lags", [0, 1, 6])
def test_newey_west_is_the_double_loop_over_pairs_of_days(lags):
    rng = np.random.default_rng(3)
    x = np.convolve(rng.normal(0.1, 1.0, 84), np.ones(5), mode="valid")
    mean, error = newey_west_by_loops(x, lags)

    test = newey_west(x, lags=lags)

    assert test.mean == pytest.approx(mean)
    assert test.standard_error == pytest.approx(error)
    assert test.t == pytest.approx(mean / error)
    assert (test.low, test.high) == (pytest.approx(mean - 1.959964 * error), pytest.approx(mean + 1.959964 * error))


def test_newey_west_covers_a_mean_whose_days_overlap():
    covered = 0
    for seed in range(200):
        x = np.convolve(np.random.default_rng(seed).normal(size=504), np.ones(5), mode="valid")
        test = newey_west(x, lags=10)
        covered += test.low <= 0.0 <= test.high
    assert 174 <= covered <= 200  # 95 % would be 190; Bartlett's kernel at 500 days covers a little less


def test_too_few_days_for_newey_west_say_so():
    with pytest.raises(InsufficientHistory, match="needs 20"):
        newey_west(np.zeros(5), lags=2)


def test_an_outcome_that_is_permuted_within_days_gives_an_ic_of_zero():
    hits = 0
    for seed in range(60):
        score, outcome, session = make_days(n_days=120, n_stocks=12, strength=1.0, seed=seed)
        rng = np.random.default_rng(1_000 + seed)
        mixed = np.concatenate([rng.permutation(day) for day in outcome.reshape(120, 12)])
        test = newey_west(daily_ic(score, mixed, session), lags=5)
        hits += test.low <= 0.0 <= test.high
    assert hits >= 50


def test_a_score_that_knows_only_which_days_are_good_gains_nothing():
    _, outcome, session = make_days(strength=0.0)
    which_day = pd.Series(outcome).groupby(session).transform("mean").to_numpy()
    tiny = np.random.default_rng(5).normal(0, 1e-9, len(outcome))

    scores = score_ranking(which_day + tiny, outcome, session, lags=5)

    assert scores.ic.low < 0.0 < scores.ic.high
    assert scores.auc.low < 0.5 < scores.auc.high


def test_the_spread_is_the_best_tenth_minus_the_worst_and_four_sides_pay_for_it():
    session = np.repeat(np.arange(25), 20)
    score = np.tile(np.arange(20.0), 25)
    outcome = np.where(score >= 18, 0.03, np.where(score < 2, -0.01, 0.5))

    scores = score_ranking(score, outcome + np.tile(np.linspace(0, 1e-9, 20), 25), session, lags=1)

    np.testing.assert_allclose(daily_spread(score, outcome, session), 0.04)
    assert scores.spread.mean == pytest.approx(0.04, abs=1e-8)
    assert scores.break_even_bps == pytest.approx(100.0, abs=1e-3)


def auc_by_loops(high, score, session):
    wins = pairs = 0.0
    for day in np.unique(session):
        ups, downs = score[(session == day) & (high == 1)], score[(session == day) & (high == 0)]
        for a in ups:
            for b in downs:
                wins += 1.0 if a > b else 0.5 if a == b else 0.0
                pairs += 1
    return wins / pairs


def test_auc_and_its_difference_are_counts_of_pairs_within_the_day():
    score, outcome, session = make_days(n_days=30, n_stocks=11, strength=0.5)
    rival = np.round(outcome + np.random.default_rng(9).normal(0, 4, len(outcome)))
    high = above_median(outcome, session)
    a, b = auc_by_loops(high, score, session), auc_by_loops(high, rival, session)

    ours = auc_within_day(high, score, session)
    difference = auc_difference(high, score, rival, session)

    assert ours.value == pytest.approx(a)
    assert difference.value == pytest.approx(a - b)
    assert difference.low < a - b < difference.high


def test_a_better_score_wins_the_paired_comparison_and_a_copy_does_not():
    score, outcome, session = make_days(n_days=200, strength=0.3)
    worse = score + np.random.default_rng(2).normal(0, 2, len(score))

    won = compare_ic(score, worse, outcome, session, lags=5)
    same = compare_ic(score, score, outcome, session, lags=5)

    assert won.low > 0.0
    assert (same.mean, same.t) == (0.0, 0.0)


def test_arrays_of_different_length_are_refused():
    with pytest.raises(DataContractError, match="one each per row"):
        score_ranking(np.zeros(3), np.zeros(2), np.zeros(3), lags=1)

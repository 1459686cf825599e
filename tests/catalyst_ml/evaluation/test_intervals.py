"""Intervals of scores: right value by independent libraries, right width by simulation."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from catalyst_ml.evaluation.intervals import auc_interval, auc_within_interval, mean_interval


def make_days(*, n_days: int, per_day: int, seed: int, day_sd: float = 0.0):
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(n_days), per_day)
    shock = np.repeat(rng.normal(0.0, day_sd, n_days), per_day)
    score = rng.normal(size=n_days * per_day)
    y = (rng.normal(size=len(score)) + shock + 0.3 * score > 0).astype(int)
    return y, score, session


def test_auc_is_the_one_of_scikit_learn_ties_included():
    y, p, session = make_days(n_days=30, per_day=20, seed=1)
    p = np.round(p, 1)

    interval = auc_interval(y, p, session)

    assert interval.value == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert interval.low < interval.value < interval.high


def test_auc_within_days_counts_only_pairs_of_the_same_session_and_direction():
    y = np.array([1, 0, 1, 0, 0, 1])
    p = np.array([0.9, 0.1, 0.2, 0.8, 0.5, 0.5])
    session = np.array([1, 1, 2, 2, 3, 3])
    direction = np.array([1, 1, 1, 1, -1, -1])

    interval = auc_within_interval(y, p, session, direction)

    assert interval.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert interval.low is None, "three sessions are too few for an interval"


def test_a_single_class_has_no_auc():
    assert auc_interval(np.ones(5), np.arange(5.0), np.arange(5)).value is None


@pytest.mark.parametrize("day_sd", [0.0, 0.6])
def test_nine_intervals_of_ten_cover_the_truth_also_when_days_move_together(day_sd):
    truth_y, _, _ = make_days(n_days=20_000, per_day=20, seed=99, day_sd=day_sd)
    truth = truth_y.mean()

    covered = 0
    for seed in range(200):
        y, _, session = make_days(n_days=100, per_day=20, seed=seed, day_sd=day_sd)
        interval = mean_interval(y, session)
        covered += interval.low <= truth <= interval.high

    assert 165 <= covered <= 195


def test_rows_that_move_together_widen_the_interval():
    alone = mean_interval(*make_days(n_days=100, per_day=20, seed=3)[::2])
    together = mean_interval(*make_days(n_days=100, per_day=20, seed=3, day_sd=1.0)[::2])

    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert pd.notna(together.low)

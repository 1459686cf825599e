from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from catalyst_ml.evaluation.deflation import Trial, cluster_trials, deflate
from catalyst_ml.evaluation.many_trials import expected_best_sharpe, overfitting_probability
from catalyst_ml.evaluation.significance import (
    dependence_stretch,
    probabilistic_sharpe_ratio,
    sharpe_standard_error,
)

DAYS = pd.bdate_range("2024-01-01", periods=250)


def series(seed: int, mean: float = 0.0, days: pd.DatetimeIndex = DAYS) -> pd.Series:
    return pd.Series(np.random.default_rng(seed).normal(mean, 0.01, len(days)), days)


def trial(name: str, daily: pd.Series) -> Trial:
    return Trial(name, float(daily.mean() / daily.std(ddof=1)), daily)


def test_one_attempt_is_not_deflated_and_says_so():
    daily = series(1, 0.001)
    found = deflate(daily)

    error = sharpe_standard_error(daily.to_numpy()) * dependence_stretch(daily.to_numpy())
    assert found.deflated == found.probability
    assert found.deflated == pytest.approx(stats.norm.cdf(daily.mean() / daily.std(ddof=1) / error))
    assert (found.n_trials, found.n_effective, found.best_of_noise, found.overfitting) == (1, 1, 0.0, None)
    assert found.words.startswith("1 attempt on record")


def test_two_hundred_trials_of_noise_have_no_best_one():
    alone, deflated = [], []
    for run in range(15):
        trials = [trial(str(k), series(1_000 * run + k)) for k in range(200)]
        best = max(trials, key=lambda one: one.sharpe)
        alone.append(probabilistic_sharpe_ratio(best.daily.to_numpy()))
        found = deflate(best.daily, [one for one in trials if one is not best])
        deflated.append(found.deflated)
        assert found.n_effective > 190

    assert min(alone) > 0.95
    assert max(deflated) < 0.95


def test_the_spread_of_the_trials_sets_the_bar():
    own, others = trial("own", series(1, 0.002)), [trial(str(k), series(10 + k, 0.001 * k)) for k in range(6)]
    found = deflate(own.daily, others)

    sharpes = np.array([own.sharpe, *(one.sharpe for one in others)])
    assert found.n_effective == 7
    assert found.best_of_noise == pytest.approx(expected_best_sharpe(sharpes) * np.sqrt(252))
    assert found.deflated < found.probability


def test_two_trials_that_lie_close_do_not_lower_the_bar_below_what_noise_would_do():
    own = trial("own", series(1, 0.002))
    twin = Trial("other", own.sharpe, series(2))  # unrelated days, the same Sharpe ratio
    found = deflate(own.daily, [twin])

    error = sharpe_standard_error(own.daily.to_numpy()) * dependence_stretch(own.daily.to_numpy())
    expected = expected_best_sharpe(np.array([-1, 1]) / np.sqrt(2), n_trials=2) * error
    assert found.best_of_noise == pytest.approx(expected * np.sqrt(252))
    assert found.best_of_noise > 0


def test_variants_of_one_idea_count_once():
    own = series(1)
    variants = [trial(f"v{k}", own + 0.3 * series(10 + k)) for k in range(8)]
    unlike = [trial(f"u{k}", series(50 + k)) for k in range(3)]

    assert deflate(own, variants).n_effective == 1
    assert deflate(own, variants).best_of_noise == 0.0
    found = deflate(own, [*variants, *unlike])
    assert (found.n_trials, found.n_effective) == (12, 4)
    assert len(set(cluster_trials([trial("own", own), *variants]).tolist())) == 1


def test_trials_without_common_days_or_kept_profits_are_unrelated():
    own = series(1)
    elsewhere = trial("elsewhere", series(1, days=pd.bdate_range("2020-01-01", periods=250)))
    found = deflate(own, [elsewhere, Trial("older row", 0.1)])

    assert found.n_effective == 3
    assert found.n_same_record == 2, "days that are not known may be the same"
    assert (found.overfitting, found.n_overfitting) == (None, 1)


def test_more_trials_than_can_be_compared_count_as_unrelated(monkeypatch):
    own = series(1)
    variants = [trial(f"v{k}", own + 0.3 * series(10 + k)) for k in range(8)]
    monkeypatch.setattr("catalyst_ml.evaluation.deflation.MAX_COMPARED", 5)
    assert cluster_trials([trial("own", own), *variants]).tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4]


def test_overfitting_is_that_of_the_trials_on_the_judged_days():
    own, others = series(1), [trial(str(k), series(10 + k)) for k in range(4)]
    late = trial("late", series(30)[125:])
    found = deflate(own, [*others, late])

    table = np.column_stack([own, *(one.daily for one in others)])
    assert found.n_overfitting == 5
    assert found.overfitting == pytest.approx(overfitting_probability(table))


@pytest.mark.parametrize("daily", [series(1)[:10], series(1) * 0.0, pd.Series(dtype="float64")])
def test_too_little_or_nothing_traded_has_no_sharpe(daily):
    found = deflate(daily, [trial("other", series(2))])

    assert (found.sharpe, found.deflated, found.probability) == (None, None, None)
    assert found.n_trials == 2
    assert "no Sharpe ratio" in found.words

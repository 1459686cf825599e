from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.many_trials import deflated_sharpe_ratio, expected_best_sharpe, overfitting_probability
from catalyst_ml.evaluation.significance import probabilistic_sharpe_ratio


def test_the_expected_best_of_many_is_that_of_a_simulation() -> None:
    rng = np.random.default_rng(1)
    drawn = rng.normal(0.0, 0.05, size=(20_000, 100))
    expected = np.mean([expected_best_sharpe(trials) for trials in drawn[:200]])
    # The formula is an approximation from extreme value theory: a few per cent above the truth at a hundred.
    assert expected == pytest.approx(drawn.max(axis=1).mean(), rel=0.04)


def test_the_best_of_two_hundred_attempts_of_noise_is_refused_where_it_alone_would_have_passed() -> None:
    rng = np.random.default_rng(2)
    alone, deflated = [], []
    for _ in range(60):
        daily = rng.normal(0.0, 0.01, size=(250, 200))
        sharpes = daily.mean(axis=0) / daily.std(axis=0, ddof=1)
        best = daily[:, int(np.argmax(sharpes))]
        alone.append(probabilistic_sharpe_ratio(best) or 0.0)
        deflated.append(deflated_sharpe_ratio(best, sharpes) or 0.0)

    assert np.mean(np.array(alone) > 0.95) == 1.0
    assert np.mean(np.array(deflated) > 0.95) <= 0.05


def test_one_trial_is_not_deflated() -> None:
    returns = np.random.default_rng(3).normal(0.001, 0.01, size=300)
    one = np.array([returns.mean() / returns.std(ddof=1)])
    assert deflated_sharpe_ratio(returns, one) == probabilistic_sharpe_ratio(returns)
    assert deflated_sharpe_ratio(np.zeros(300), one) is None


def slow_overfitting(daily: np.ndarray, n_blocks: int) -> float:
    blocks = np.array_split(np.arange(len(daily)), n_blocks)
    below = []
    for half in combinations(range(n_blocks), n_blocks // 2):
        inside = np.concatenate([blocks[k] for k in half])
        outside = np.setdiff1d(np.arange(len(daily)), inside)
        best = np.argmax(daily[inside].mean(axis=0) / daily[inside].std(axis=0))
        scores = daily[outside].mean(axis=0) / daily[outside].std(axis=0)
        beaten = np.mean(np.delete(scores, best) < scores[best])
        below.append(beaten < 0.5 if beaten != 0.5 else 0.5)
    return float(np.mean(below))


@pytest.mark.parametrize(("n_sessions", "n_trials"), [(97, 5), (240, 12)])
def test_overfitting_equals_the_slow_count(n_sessions: int, n_trials: int) -> None:
    daily = np.random.default_rng(n_trials).normal(0.0, 1.0, size=(n_sessions, n_trials))
    assert overfitting_probability(daily, n_blocks=8) == pytest.approx(slow_overfitting(daily, 8), abs=1e-12)


def test_a_trial_that_is_truly_best_is_not_called_overfitted_and_noise_is() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0.0, 0.01, size=(500, 20))
    skilled = noise.copy()
    skilled[:, 3] += 0.004
    assert overfitting_probability(skilled) < 0.01
    assert overfitting_probability(noise) > 0.3


@pytest.mark.parametrize("shape", [(100, 1), (10, 5)])
def test_too_little_to_split_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(DataContractError, match="overfitting"):
        overfitting_probability(np.zeros(shape))

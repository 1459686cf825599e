"""Sampled Shapley values against the definition, summed over all subsets."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.models.shapley import sampled_shapley

GROUPS = {"a": [0, 3], "b": [1], "c": [2], "d": [4]}


def curved(X: np.ndarray) -> np.ndarray:
    """Interactions, a missing value that matters, and a column nobody reads (4)."""
    known = np.nan_to_num(X, nan=-2.0)
    return known[:, 0] * known[:, 1] + np.sin(known[:, 2]) * known[:, 3] - 0.5 * np.abs(known[:, 1]) + known[:, 2]


def by_all_subsets(function, x: np.ndarray, background: np.ndarray, groups: dict[str, list[int]]) -> np.ndarray:
    """Shapley's formula as it stands: 2^4 subsets, each a mean over the background."""
    names = list(groups)

    def value(subset: tuple[str, ...]) -> float:
        mixed = background.copy()
        for name in subset:
            mixed[:, groups[name]] = x[groups[name]]
        return float(function(mixed).mean())

    found = []
    for name in names:
        others = [other for other in names if other != name]
        total = 0.0
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(names) - size - 1) / factorial(len(names))
            total += sum(weight * (value((*subset, name)) - value(subset)) for subset in combinations(others, size))
        found.append(total)
    return np.array(found)


@pytest.fixture
def market() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    pool = rng.normal(size=(12, 5)).astype(np.float32)
    pool[rng.random(pool.shape) < 0.2] = np.nan
    return pool[:3], pool[3:]


def test_sampling_agrees_with_the_sum_over_all_subsets_within_its_standard_error(market) -> None:
    X, pool = market
    background = [np.arange(len(pool))] * len(X)
    exact = np.array([by_all_subsets(curved, x, pool, GROUPS) for x in X])

    found = sampled_shapley(curved, X, pool, background, GROUPS, n_pairs=900, seed=1)

    assert found.groups == ("a", "b", "c", "d")
    assert np.abs(found.contributions - exact).max() < 0.1
    assert (np.abs(found.contributions - exact) <= 3.5 * found.errors + 1e-9).all()
    assert found.baseline == pytest.approx([curved(pool).mean()] * 3)


def test_contributions_add_up_to_the_difference_from_the_background(market) -> None:
    X, pool = market
    found = sampled_shapley(curved, X, pool, [np.arange(9)] * 3, GROUPS, n_pairs=5, seed=2)

    assert found.output == pytest.approx(curved(X))
    assert found.contributions.sum(axis=1) == pytest.approx(found.output - found.baseline, abs=1e-5)
    assert found.largest_gap < 1e-5


def test_a_column_nobody_reads_and_a_column_all_rows_share_contribute_nothing(market) -> None:
    X, pool = (np.where(np.arange(5) == 1, np.float32(0.7), part) for part in market)
    found = sampled_shapley(curved, X, pool, [np.arange(9)] * 3, GROUPS, n_pairs=4, seed=3)

    assert np.all(found.contributions[:, 3] == 0.0), "column 4 is not read"
    assert np.all(found.contributions[:, 1] == 0.0), "column 1 is the same everywhere"
    assert np.all(found.errors[:, [1, 3]] == 0.0)


def test_an_additive_function_is_explained_without_noise_of_the_order() -> None:
    """Against one background row the contribution of a sum's part is its own difference, in any order."""
    X, pool = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), np.zeros((1, 5))
    found = sampled_shapley(lambda m: m.sum(axis=1), X, pool, [np.array([0])], GROUPS, n_pairs=2, seed=4)

    assert found.contributions[0] == pytest.approx([5.0, 2.0, 3.0, 5.0])
    assert found.errors[0] == pytest.approx([0.0] * 4)


def test_the_stated_error_is_the_spread_over_seeds(market) -> None:
    X, pool = market
    runs = [sampled_shapley(curved, X[:1], pool, [np.arange(9)], GROUPS, n_pairs=9, seed=seed) for seed in range(200)]

    spread = np.std([run.contributions[0] for run in runs], axis=0)
    stated = np.mean([run.errors[0] for run in runs], axis=0)
    # Each of nine background rows is used once, so only the orders vary: the stated error is on the safe side.
    assert (spread <= stated + 1e-6).all()


def test_rows_do_not_disturb_each_other_and_no_rows_are_no_error(market) -> None:
    X, pool = market
    many = sampled_shapley(curved, np.repeat(X, 60, axis=0), pool, [np.arange(9)] * 180, GROUPS, n_pairs=40, seed=5)
    none = sampled_shapley(curved, X[:0], pool, [], GROUPS, n_pairs=4, seed=5)

    exact = np.array([by_all_subsets(curved, x, pool, GROUPS) for x in X])
    assert many.contributions.reshape(3, 60, 4).mean(axis=1) == pytest.approx(exact, abs=0.1)
    assert none.contributions.shape == (0, 4)
    assert none.largest_gap == 0.0


def test_rows_of_missing_values_only_are_explained_by_nothing() -> None:
    nothing = np.full((2, 5), np.nan, dtype=np.float32)
    found = sampled_shapley(curved, nothing[:1], nothing, [np.array([1])], GROUPS, n_pairs=2, seed=6)

    assert np.all(found.contributions == 0.0)


def test_what_cannot_be_explained_is_refused(market) -> None:
    X, pool = market
    everyone = [np.arange(9)] * 3
    with pytest.raises(ConfigurationError, match="each of 5 columns once"):
        sampled_shapley(curved, X, pool, everyone, {"a": [0, 1, 2, 3]}, n_pairs=4, seed=0)
    with pytest.raises(ConfigurationError, match="at least 2 pairs"):
        sampled_shapley(curved, X, pool, everyone, GROUPS, n_pairs=1, seed=0)
    with pytest.raises(ConfigurationError, match="3 rows but 1 backgrounds"):
        sampled_shapley(curved, X, pool, everyone[:1], GROUPS, n_pairs=4, seed=0)
    with pytest.raises(InsufficientHistory, match="first row 1"):
        sampled_shapley(
            curved, X, pool, [*everyone[:1], np.array([], dtype=int), everyone[0]], GROUPS, n_pairs=4, seed=0
        )


def test_a_function_that_looks_at_other_rows_is_found_out(market) -> None:
    X, pool = market
    with pytest.raises(DataContractError, match="answer each row for itself"):
        sampled_shapley(
            lambda m: curved(m) + len(m), X, pool, [np.arange(9)] * 3, GROUPS, n_pairs=4, seed=0
        )  # fmt: skip

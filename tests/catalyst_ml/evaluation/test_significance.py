import numpy as np
import pytest
from scipy import stats

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.significance import (
    binomial_interval,
    har_t_test,
    probabilistic_sharpe_ratio,
    sharpe_standard_error,
    stationary_bootstrap_counts,
    stationary_bootstrap_interval,
    wilson_interval,
)


def overlapping(rng: np.random.Generator, n: int) -> np.ndarray:
    """A mean-zero series whose neighbours share four of five sessions."""
    return np.convolve(rng.standard_normal(n + 4), np.ones(5), "valid")


def test_the_har_test_is_the_formula_written_out():
    daily = overlapping(np.random.default_rng(0), 65) + 0.5
    nu = 6  # floor(0.41 * 65 ** (2 / 3)) = floor(6.63)

    test = har_t_test(daily)

    squares = 0.0
    for j in range(1, nu + 1):
        lam = sum(daily[s - 1] * np.cos(np.pi * j * (s - 0.5) / 65) for s in range(1, 66)) * np.sqrt(2 / 65)
        squares += lam**2 / nu
    t = np.sqrt(65) * daily.mean() / np.sqrt(squares)
    assert test.df == nu
    assert test.t == pytest.approx(t)
    assert test.p_value == pytest.approx(1 - stats.t.cdf(t, nu))
    assert test.critical_value(0.05) == pytest.approx(1.943, abs=1e-3)


@pytest.mark.parametrize(("n", "at_most"), [(65, 0.085), (260, 0.075)])
def test_the_size_of_the_har_test_stays_near_five_percent_under_label_overlap(n, at_most):
    rng = np.random.default_rng(7)

    rejected = sum(har_t_test(overlapping(rng, n)).p_value < 0.05 for _ in range(1_000))

    assert 0.03 <= rejected / 1_000 <= at_most
    assert binomial_interval(rejected, 1_000).low < 0.065


def test_an_ordinary_t_test_would_be_fooled_by_the_same_series():
    rng = np.random.default_rng(7)

    rejected = sum(
        stats.ttest_1samp(overlapping(rng, 65), 0.0, alternative="greater").pvalue < 0.05 for _ in range(300)
    )

    assert rejected / 300 > 0.15


def test_a_series_that_never_varies_is_decided_by_its_sign():
    assert har_t_test(np.full(30, 0.1)).p_value == 0.0
    assert har_t_test(np.full(30, -0.1)).p_value == 1.0
    assert har_t_test(np.zeros(30)).p_value == 0.5


def test_too_few_sessions_are_refused():
    with pytest.raises(InsufficientHistory, match="got 19 sessions and needs 20"):
        har_t_test(np.ones(19))


def test_bootstrap_resamples_have_the_length_of_the_series_and_blocks_of_the_wanted_mean():
    counts = stationary_bootstrap_counts(100, n_boot=500, seed=1, mean_block=10)

    assert np.array_equal(counts.sum(axis=1), np.full(500, 100.0))
    assert counts.mean(axis=0) == pytest.approx(np.ones(100), abs=0.35)


def test_the_bootstrap_band_of_independent_days_is_about_the_normal_one():
    daily = np.random.default_rng(3).standard_normal(400) + 1.0

    band = stationary_bootstrap_interval(daily, seed=4)

    half = 1.645 * daily.std() / 20
    assert band.low == pytest.approx(daily.mean() - half, abs=0.03)
    assert band.high == pytest.approx(daily.mean() + half, abs=0.03)
    assert band == stationary_bootstrap_interval(daily, seed=4)


def test_share_intervals_agree_with_scipy():
    wilson = stats.binomtest(60, 100).proportion_ci(method="wilson")
    exact = stats.binomtest(9, 100).proportion_ci(method="exact")

    assert (wilson_interval(60, 100).low, wilson_interval(60, 100).high) == pytest.approx((wilson.low, wilson.high))
    assert (binomial_interval(9, 100).low, binomial_interval(9, 100).high) == pytest.approx((exact.low, exact.high))
    assert (binomial_interval(0, 5).low, binomial_interval(5, 5).high) == (0.0, 1.0)
    assert (wilson_interval(0, 0).low, wilson_interval(0, 0).high) == (0.0, 1.0)


def test_the_probabilistic_sharpe_ratio_is_its_formula_and_needs_variation():
    returns = np.random.default_rng(0).standard_normal(250) * 0.01 + 0.001
    sharpe = returns.mean() / returns.std(ddof=1)
    skew, kurtosis = stats.skew(returns), stats.kurtosis(returns) + 3
    z = sharpe * np.sqrt(249) / np.sqrt(1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2)

    assert probabilistic_sharpe_ratio(returns) == pytest.approx(stats.norm.cdf(z))
    assert probabilistic_sharpe_ratio(np.ones(10)) is None


def test_the_standard_error_of_the_sharpe_ratio_matches_its_spread_over_many_histories():
    draws = np.random.default_rng(5).standard_normal((2_000, 100)) + 0.2

    sharpes = draws.mean(axis=1) / draws.std(axis=1, ddof=1)

    assert np.median([sharpe_standard_error(d) for d in draws[:100]]) == pytest.approx(sharpes.std(), rel=0.08)

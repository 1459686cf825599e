import numpy as np
import pandas as pd
import pytest

from catalyst_ml.indicators import windows


@pytest.mark.parametrize("n", [1, 20, 252, 700])
def test_extremes_agree_with_pandas_across_the_borders_of_blocks(n):
    x = np.random.default_rng(1).normal(size=600)

    np.testing.assert_array_equal(windows.rolling_max(x, n), pd.Series(x).rolling(n).max())
    np.testing.assert_array_equal(windows.rolling_min(x, n), pd.Series(x).rolling(n).min())


def test_share_above_counts_weight_above_the_present_level_only():
    x, level = np.array([1.0, 3.0, 2.0, 5.0]), np.array([0.0, 0.0, 1.5, 2.0])

    share = windows.share_above(x, np.array([1.0, 1.0, 2.0, 4.0]), level, 3)

    assert np.isnan(share[:2]).all()
    assert share[2:].tolist() == [0.75, 5 / 7]  # 3 and 2 above 1.5; 3 and 5 above 2, the 2 itself not
    assert np.isnan(windows.share_above(x, np.zeros(4), level, 3)).all()


def test_a_run_ends_with_a_turn_or_a_pause_and_is_counted_up_to_its_bound():
    x = np.array([1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 5.0])

    assert windows.run_length(x, 3).tolist() == [0, 1, 2, 0, -1, -2, 1, 2, 3, 3]


def test_beta_agrees_with_numpy_and_is_unknown_while_the_market_stands_still():
    rng = np.random.default_rng(2)
    market = rng.normal(size=400)
    market[200:300] = 0.0
    x = 1.3 * market + rng.normal(size=400)

    beta = windows.rolling_beta(x, market, 60)

    for end in (60, 150, 230, 360):
        expected = np.cov(x[end - 60 : end], market[end - 60 : end])
        assert beta[end - 1] == pytest.approx(expected[0, 1] / expected[1, 1], rel=1e-9)
    assert np.isnan(beta[259:300]).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 20, 50, 64, 300])
def test_means_added_in_pairs_agree_with_numpy_and_know_only_their_window(n):
    x = np.random.default_rng(4).normal(100, 5, 300)

    mean = windows.window_mean(x, n)

    expected = [np.mean(x[i - n + 1 : i + 1]) for i in range(n - 1, 300)]
    np.testing.assert_allclose(mean[n - 1 :], expected, rtol=1e-14)
    assert np.isnan(mean[: n - 1]).all()
    np.testing.assert_array_equal(windows.window_mean(x[40:].copy(), n)[n - 1 :], mean[40 + n - 1 :])


def test_a_missing_value_is_missing_in_its_own_windows_only():
    x = np.arange(40.0)
    x[17] = np.nan

    assert np.flatnonzero(np.isnan(windows.window_mean(x, 5))).tolist() == [0, 1, 2, 3, *range(17, 22)]
    assert np.isnan(windows.window_mean(x, 41)).all()

"""What a window of the reference is worth: shown on series whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from catalyst_ml.quality.drift_features import kolmogorov_smirnov, population_stability
from catalyst_ml.quality.drift_null import effective_windows, fit_null, reference_windows, running

N, WINDOW = 500, 20


def series(rng: np.random.Generator, memory: float, n: int, k: int) -> np.ndarray:
    values = np.zeros((n + 300, k))
    for s in range(1, len(values)):
        values[s] = memory * values[s - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(k)
    return values[300:]


def test_slow_series_are_worth_fewer_windows_and_never_more_than_there_are() -> None:
    rng = np.random.default_rng(1)
    worth = [np.median(effective_windows(series(rng, memory, N, 200), WINDOW)) for memory in (0.0, 0.9, 0.98)]

    # Truth for AR(1) 0.98: variance of a month's mean over that of the two years' mean is 4.
    assert worth[0] > worth[1] > worth[2]
    assert 15.0 < worth[0] <= N / WINDOW
    assert 3.0 < worth[2] < 9.0
    assert effective_windows(np.zeros((N, 1)), WINDOW) == N / WINDOW
    assert np.isfinite(effective_windows(np.full((N, 1), np.nan), WINDOW)).all()


@pytest.mark.parametrize(("memory", "allowed"), [(0.0, 1.3), (0.9, 1.5), (0.98, 3.5)])
def test_the_p_value_of_a_months_mean_keeps_what_it_says_also_for_series_that_remember(
    memory: float, allowed: float
) -> None:
    """Size at 1 %: 3,000 independent histories, the month after next is judged. Rows as independent: 20 to 60 %."""
    rng = np.random.default_rng(2)
    values = series(rng, memory, N + 60, 3_000)
    past = values[:N]
    layout = reference_windows(N, WINDOW)
    sums = running(past)
    rest = N - (layout.high - layout.low)
    distance = (layout.inside(sums) / WINDOW - layout.outside(sums) / rest[:, None]) ** 2
    null = fit_null(distance, effective_windows(past, WINDOW), layout, shape=1.0, floor=1e-12)
    change = values[N + 40 :].mean(axis=0) - past.mean(axis=0)

    size = float(np.mean(null.p_values(change**2) <= 0.01))
    independent = 2 * stats.norm.sf(np.abs(change) / np.sqrt(1 / WINDOW + 1 / N))

    assert size <= 0.01 * allowed
    if memory:
        assert np.mean(independent <= 0.01) > 0.2
    else:
        assert size > 0.002, "a test that never rejects says nothing"


def test_windows_leave_out_their_neighbours_and_running_sums_agree_with_plain_ones() -> None:
    values = np.random.default_rng(3).standard_normal((100, 2))
    layout = reference_windows(100, 20)
    inside, outside = layout.inside(running(values)), layout.outside(running(values))

    assert len(layout.stop) == 81
    for i in (0, 40, 80):
        stop = layout.stop[i]
        near = np.arange(max(stop - 40, 0), min(stop + 20, 100))
        np.testing.assert_allclose(inside[i], values[stop - 20 : stop].sum(axis=0))
        np.testing.assert_allclose(outside[i], np.delete(values, near, axis=0).sum(axis=0))


def test_the_bound_is_where_the_p_value_meets_alpha() -> None:
    layout = reference_windows(N, WINDOW)
    null = fit_null(np.ones((len(layout.stop), 3)), np.array([1.2, 8.0, 25.0]), layout, shape=2.0, floor=0.1)

    np.testing.assert_allclose(null.p_values(null.bound(1e-5)), 1e-5, rtol=1e-6)
    assert null.p_values(np.array([np.nan, 0.0, 1.0])).tolist()[:2] == [1.0, 1.0]


def test_psi_and_ks_agree_with_the_text_book() -> None:
    ours, theirs = np.array([30.0, 50.0, 20.0, 0.0]), np.array([250.0, 250.0, 500.0, 0.0])
    a, e = ours / 100, theirs / 1000

    assert kolmogorov_smirnov(ours, theirs) == pytest.approx(
        stats.ks_2samp(np.repeat([0, 1, 2], [30, 50, 20]), np.repeat([0, 1, 2], [250, 250, 500])).statistic
    )
    # Half a row is added to each used bin.
    expected = ((a - e)[:3] * np.log(a[:3] / e[:3])).sum()
    assert population_stability(ours, theirs) == pytest.approx(expected, rel=0.02)
    assert population_stability(ours, ours * 10) < 1e-3
    assert np.isfinite(population_stability(np.array([10.0, 0.0]), np.array([0.0, 10.0])))

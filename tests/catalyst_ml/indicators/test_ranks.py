"""Places within groups against scipy's ranks, group by group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from catalyst_ml.indicators.ranks import group_bounds, places_within


def places_by_scipy(values, groups, minimum):
    out = np.full(len(values), np.nan)
    for group in np.unique(groups):
        rows = np.flatnonzero((groups == group) & ~np.isnan(values))
        if len(rows) >= minimum:
            out[rows] = (rankdata(values[rows]) - 0.5) / len(rows)
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    n_groups=st.integers(1, 8),
    minimum=st.integers(1, 4),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_places_are_scipys_mean_ranks_per_group(seed, n, n_groups, minimum, dtype):
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, n_groups, n))
    values = rng.integers(-3, 4, n).astype(dtype)  # many ties
    values[rng.random(n) < 0.2] = np.nan

    placed = places_within(values, group_bounds(groups), minimum)

    assert placed.dtype == values.dtype
    np.testing.assert_allclose(placed, places_by_scipy(values, groups, minimum), rtol=1e-6)


def test_the_mean_place_is_one_half_whatever_the_values():
    values = np.array([5.0, 1e300, -np.inf, np.nan, 2.0, 2.0])
    placed = places_within(values, np.array([0, 6]), 1)
    assert np.nanmean(placed) == pytest.approx(0.5)
    assert placed[2] == 0.1
    assert placed[1] == 0.9


def test_no_rows_have_no_groups():
    assert group_bounds(np.array([])).tolist() == [0]
    assert places_within(np.empty(0), group_bounds(np.empty(0)), 1).size == 0

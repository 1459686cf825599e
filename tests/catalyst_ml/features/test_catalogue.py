import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from catalyst_ml.features import catalogue
from catalyst_ml.features.catalogue import (
    CATALOGUE,
    FEATURE_NAMES,
    INPUTS,
    INTERMEDIATES,
    feature_set_version,
)

PLAN = [
    "body_to_range_ratio",
    "upper_shadow_ratio",
    "lower_shadow_ratio",
    "volume_surge",
    "rsi_14",
    "bb_position",
    "macd_histogram",
    "adx_strength",
    "vix_level",
    "spy_correlation",
    "sector_momentum",
    "market_breadth",
    "news_present",
    "premarket_gap",
    "unusual_volume",
    "options_activity",
]


def test_the_catalogue_declares_the_sixteen_of_the_plan_in_its_order():
    assert list(FEATURE_NAMES) == PLAN
    known = {*INPUTS, *(i.name for i in INTERMEDIATES)}
    assert all(set(spec.inputs) <= known for spec in CATALOGUE)


def test_recursive_indicators_declare_500_bars():
    declared = {spec.name: spec.lookback_bars for spec in CATALOGUE}

    assert [declared[name] for name in ("rsi_14", "macd_histogram", "adx_strength")] == [500, 500, 500]


def test_the_version_is_the_same_in_another_process():
    code = "from catalyst_ml.features.catalogue import feature_set_version; print(feature_set_version())"

    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert other.stdout.strip() == feature_set_version()


def test_the_version_changes_with_a_declaration_and_with_the_code_behind_it(monkeypatch):
    base = feature_set_version()
    first = CATALOGUE[0]
    other_lookback = (dataclasses.replace(first, lookback_bars=2), *CATALOGUE[1:])
    other_code = (dataclasses.replace(first, compute=catalogue.upper_shadow_ratio), *CATALOGUE[1:])

    versions = {
        base,
        feature_set_version(other_lookback),
        feature_set_version(other_code),
        feature_set_version(CATALOGUE[1:]),
    }
    monkeypatch.setattr(catalogue, "INTERMEDIATES", INTERMEDIATES[1:])
    versions.add(feature_set_version())

    assert len(versions) == 5


def test_a_bar_without_range_has_shadows_and_body_of_zero():
    flat = np.array([10.0])

    for compute in (
        catalogue.body_to_range_ratio,
        catalogue.upper_shadow_ratio,
        catalogue.lower_shadow_ratio,
    ):
        assert compute(flat, flat, flat, flat).tolist() == [0.0]


def test_body_and_shadows_of_a_bar_computed_by_hand():
    # Open 11, high 14, low 10, close 13: body 2, upper shadow 1, lower shadow 1, range 4.
    bar = [np.array([x]) for x in (11.0, 14.0, 10.0, 13.0)]

    assert catalogue.body_to_range_ratio(*bar).tolist() == [0.5]
    assert catalogue.upper_shadow_ratio(*bar).tolist() == [0.25]
    assert catalogue.lower_shadow_ratio(*bar).tolist() == [0.25]


def test_relative_volume_leaves_the_bar_itself_out_of_its_mean():
    volume = np.array([100.0] * 20 + [300.0] + [0.0] * 21)

    ratio = catalogue.relative_volume(volume)

    assert np.isnan(ratio[:20]).all()
    assert ratio[20] == 3.0
    assert ratio[21] == 0.0
    assert np.isnan(ratio[41])  # no volume at all in the 20 bars before: no ratio exists
    np.testing.assert_array_equal(catalogue.unusual_volume(ratio)[[0, 20, 21, 41]], [np.nan, 1.0, 0.0, np.nan])


def test_unusual_volume_starts_at_exactly_twice_the_mean():
    np.testing.assert_array_equal(catalogue.unusual_volume(np.array([1.999999, 2.0])), [0.0, 1.0])


def test_the_gap_is_the_open_over_the_prior_close_in_percent():
    gap = catalogue.premarket_gap(np.array([10.0, 10.5]), np.array([10.0, 11.0]))

    assert np.isnan(gap[0])
    assert gap[1] == pytest.approx(5.0, rel=1e-12)


def test_flat_prices_stand_in_the_middle_of_their_bands_and_have_no_momentum():
    flat = np.full(60, 20.0)

    assert catalogue.bb_position(flat, catalogue.bollinger(flat))[59] == 0.5
    assert catalogue.macd_histogram(catalogue.oscillators(flat, flat, flat))[59] == 0.0

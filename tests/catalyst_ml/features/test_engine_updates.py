"""Threads, storage and incremental computation: the same values as one full pass."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.updates import update_features
from tests.catalyst_ml.features.markets import make_panel, stock_rows

BOTH = (*CATALOGUE, *EXTENDED)
LONG_MEMORY = tuple(spec.name for spec in BOTH if spec.lookback_bars >= 500)
WINDOWS = tuple(spec.name for spec in BOTH if spec.lookback_bars < 500)


@pytest.fixture(scope="module")
def uneven() -> MarketPanel:
    """24 stocks, 900 sessions: one listed late, one delisted early, one that paused for 40 sessions near the end."""
    panel = make_panel(n_bars=900, news=[("S01", "2012-01-20 15:00"), ("S02", "2013-05-30 15:00")])
    closes = sorted(panel.bars["ts"].unique())
    bars = panel.bars
    late = (bars["symbol"] == "S03") & (bars["ts"] < closes[880])
    gone = (bars["symbol"] == "S04") & (bars["ts"] > closes[870])
    paused = (bars["symbol"] == "S05") & bars["ts"].isin(closes[845:885])
    return dataclasses.replace(panel, bars=bars[~(late | gone | paused)].reset_index(drop=True))


@pytest.fixture(scope="module")
def full(uneven) -> pd.DataFrame:
    return compute_features(uneven, stock_rows(uneven), catalogue=BOTH)


def test_the_number_of_threads_changes_no_bit(uneven, full):
    rows = stock_rows(uneven)

    alone = compute_features(uneven, rows, catalogue=BOTH, n_threads=1)
    crowded = compute_features(uneven, rows.iloc[::-1], catalogue=BOTH, n_threads=5)

    pd.testing.assert_frame_equal(alone, full, check_exact=True)
    pd.testing.assert_frame_equal(crowded.iloc[::-1].reset_index(drop=True), full, check_exact=True)


def test_every_bar_asked_for_in_order_gives_what_asking_row_by_row_gives(uneven):
    whole = uneven.bars[["symbol", "ts"]]

    in_order = compute_features(uneven, whole)
    shuffled = whole.sample(frac=1.0, random_state=3)
    row_by_row = compute_features(uneven, shuffled)

    row_by_row.index = shuffled.index
    pd.testing.assert_frame_equal(in_order, row_by_row.sort_index(), check_exact=True)


def test_float32_storage_rounds_the_same_values_once(uneven, full):
    stored = compute_features(uneven, stock_rows(uneven), catalogue=BOTH, dtype="float32")

    names = [spec.name for spec in BOTH]
    assert (stored.dtypes[names] == "float32").all()
    np.testing.assert_array_equal(stored[names].to_numpy(), full[names].to_numpy().astype(np.float32))


def test_an_error_in_one_symbol_on_a_thread_reaches_the_caller(uneven):
    short = (FeatureSpec("half", "technical", ("close",), 1, "", "planted", 1, lambda close: close[:10]),)

    with pytest.raises(ConfigurationError, match=r"'half' gave shape \(10,\)"):
        compute_features(uneven, stock_rows(uneven), catalogue=short, n_threads=3)


@pytest.mark.parametrize("n_new", [1, 5, 30])
def test_an_update_equals_a_full_pass(uneven, full, n_new):
    since = sorted(uneven.bars["ts"].unique())[-n_new - 1]
    until_then = uneven.known_at(since)
    previous = compute_features(until_then, stock_rows(until_then), catalogue=BOTH)

    updated = update_features(uneven, previous, since, catalogue=BOTH)

    in_order = updated.sort_values(["symbol", "ts"], ignore_index=True)
    pd.testing.assert_frame_equal(
        in_order[["symbol", "ts", *WINDOWS]], full[["symbol", "ts", *WINDOWS]], check_exact=True
    )
    for name in LONG_MEMORY:
        a, b = in_order[name].to_numpy(), full[name].to_numpy()
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        assert np.nanmax(np.abs(a - b) / np.maximum(np.abs(b), 1e-3)) <= 1e-9, name


@pytest.mark.parametrize("spec", [s for s in BOTH if s.lookback_bars < 25], ids=lambda spec: spec.name)
def test_an_update_of_one_feature_keeps_the_bars_that_its_inputs_look_back_to(uneven, full, spec):
    since = sorted(uneven.bars["ts"].unique())[-3]
    previous = full.loc[full["ts"] <= since, ["symbol", "ts", spec.name]]

    updated = update_features(uneven, previous, since, catalogue=(spec,))

    in_order = updated.sort_values(["symbol", "ts"], ignore_index=True)
    pd.testing.assert_series_equal(in_order[spec.name], full[spec.name], check_exact=True)


def test_a_restated_bar_after_the_moment_is_computed_anew(uneven, full):
    moments = sorted(uneven.bars["ts"].unique())
    bars = uneven.bars.copy()
    restated = (bars["symbol"] == "S00") & (bars["ts"] == moments[-2])
    bars.loc[restated, ["open", "high", "low", "close"]] *= 1.5
    mended = dataclasses.replace(uneven, bars=bars)

    updated = update_features(mended, full, moments[-3], catalogue=BOTH)

    own = updated[updated["symbol"] == "S00"].set_index("ts")["return_1"]
    before = full[full["symbol"] == "S00"].set_index("ts")["return_1"]
    assert own[moments[-2]] == pytest.approx(1.5 * (1 + before[moments[-2]]) - 1, rel=1e-12)
    assert own[moments[-3]] == before[moments[-3]]
    assert len(updated) == len(full)


def test_an_update_keeps_the_storage_and_does_nothing_without_new_bars(uneven):
    last = uneven.bars["ts"].max()
    previous = compute_features(uneven, stock_rows(uneven), dtype="float32")

    pd.testing.assert_frame_equal(update_features(uneven, previous, last), previous)
    since = sorted(uneven.bars["ts"].unique())[-4]
    assert (update_features(uneven, previous, since).dtypes.iloc[2:] == "float32").all()


def test_an_update_that_would_leave_a_hole_is_refused(uneven, full):
    since = sorted(uneven.bars["ts"].unique())[-3]

    with pytest.raises(DataContractError, match="the previous features 10 rows"):
        update_features(uneven, full.head(10), since, catalogue=BOTH)
    doubled = full.iloc[[0, 0, *range(2, len(full))]]
    with pytest.raises(DataContractError, match="has no time zone"):
        update_features(uneven, full, since.tz_localize(None), catalogue=BOTH)
    with pytest.raises(DataContractError, match="not the same"):
        update_features(uneven, doubled, since, catalogue=BOTH)
    with pytest.raises(DataContractError, match=r"the previous ones lack \['rsi_14'\]"):
        update_features(uneven, full.drop(columns="rsi_14"), since, catalogue=BOTH)

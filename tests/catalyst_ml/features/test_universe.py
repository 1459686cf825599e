"""Means over the day's universe: of stocks only, of that close only, missing when too few."""

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.universe import MIN_UNIVERSE, add_universe_means
from catalyst_ml.market.simulator import simulate_market


@pytest.fixture(scope="module")
def panel():
    market = simulate_market("none", seed=3, n_symbols=MIN_UNIVERSE + 4, n_sessions=560)
    bars = market.bars.assign(split_factor=1.0)
    return MarketPanel(bars=bars, instruments=market.instruments, news=market.news)


def rows_at(panel, moment):
    bars = panel.bars
    return bars.loc[(bars["ts"] == moment) & bars["symbol"].isin(panel.stocks), ["symbol", "ts"]].reset_index(drop=True)


def test_the_mean_is_over_all_stocks_of_that_close_also_those_without_an_event(panel):
    moment = panel.bars["ts"].max()
    everyone = compute_features(panel, rows_at(panel, moment))

    one = add_universe_means(panel, everyone.head(1))

    expected = np.nanmean(everyone["rsi_14"].to_numpy())
    assert one["universe_rsi_14"].tolist() == [pytest.approx(expected, rel=1e-12)]


def test_nothing_after_a_close_moves_its_mean(panel):
    moments = panel.bars["ts"].drop_duplicates().sort_values()
    cut = moments.iloc[-3]
    known = panel.known_at(cut)
    features = compute_features(panel, rows_at(panel, cut))

    full = add_universe_means(panel, features)
    truncated = add_universe_means(known, features)

    pd.testing.assert_frame_equal(full, truncated, rtol=1e-9)


def test_too_few_stocks_make_no_universe(panel):
    few = sorted(panel.stocks)[: MIN_UNIVERSE - 1]
    bars = panel.bars[panel.bars["symbol"].isin(few)].reset_index(drop=True)
    small = MarketPanel(bars=bars, instruments=panel.instruments, news=panel.news)
    features = compute_features(small, rows_at(small, bars["ts"].max()))

    means = add_universe_means(small, features)

    assert means["universe_body_to_range_ratio"].isna().all()

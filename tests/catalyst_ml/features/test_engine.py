import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.features.catalogue import CATALOGUE, FEATURE_NAMES
from catalyst_ml.features.engine import compute_features, insufficient_history
from catalyst_ml.features.panel import MarketPanel
from tests.catalyst_ml.features.markets import make_panel, real_panel, stock_rows


def bars_of(panel: MarketPanel, symbol: str) -> pd.DataFrame:
    return panel.bars[panel.bars["symbol"] == symbol].reset_index(drop=True)


def test_rows_keep_their_order_and_every_feature_is_one_float64_column(panel):
    rows = stock_rows(panel).sample(200, random_state=1)

    features = compute_features(panel, rows)

    assert list(features.columns) == ["symbol", "ts", *FEATURE_NAMES]
    assert (features.dtypes[list(FEATURE_NAMES)] == "float64").all()
    pd.testing.assert_frame_equal(features[["symbol", "ts"]], rows.reset_index(drop=True))
    whole = compute_features(panel, stock_rows(panel)).set_index(["symbol", "ts"])
    pd.testing.assert_frame_equal(features.set_index(["symbol", "ts"]), whole.loc[pd.MultiIndex.from_frame(rows)])


def test_technical_features_agree_with_talib_behind_their_lookback(panel):
    own = bars_of(panel, "S03")
    high, low, close = (own[name].to_numpy(copy=True) for name in ("high", "low", "close"))
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    expected = {
        "rsi_14": talib.RSI(close, 14),
        "adx_strength": talib.ADX(high, low, close, 14),
        "bb_position": (close - lower) / (upper - lower),
        "macd_histogram": talib.MACD(close)[2] / talib.ATR(high, low, close, 14),
    }

    features = compute_features(panel, own[["symbol", "ts"]])

    for name, values in expected.items():
        known = features[name].notna().to_numpy()
        assert known.sum() == (540 - 19 if name == "bb_position" else 540 - 499), name
        np.testing.assert_allclose(features[name].to_numpy()[known], values[known], rtol=1e-9, atol=1e-10)


def test_spy_correlation_agrees_with_pandas(panel):
    own, spy = bars_of(panel, "S05"), bars_of(panel, "SPY")
    expected = own["close"].pct_change().rolling(60).corr(spy["close"].pct_change())

    features = compute_features(panel, own[["symbol", "ts"]])

    np.testing.assert_allclose(features["spy_correlation"], expected, rtol=1e-9)
    assert features["spy_correlation"].notna().sum() == 540 - 60


def test_a_session_the_stock_missed_does_not_shift_the_pairs_of_the_correlation(panel):
    missed = bars_of(panel, "S05")["ts"].iloc[510]
    bars = panel.bars[(panel.bars["symbol"] != "S05") | (panel.bars["ts"] != missed)]
    own = bars[bars["symbol"] == "S05"]
    spy = bars_of(panel, "SPY").set_index("ts")["close"].loc[own["ts"]].to_numpy()
    expected = np.corrcoef(
        np.diff(own["close"].to_numpy()[-61:]) / own["close"].to_numpy()[-61:-1],
        np.diff(spy[-61:]) / spy[-61:-1],
    )

    cut = MarketPanel(bars, panel.instruments, panel.news)

    last = compute_features(cut, own[["symbol", "ts"]].tail(1))
    assert last["spy_correlation"].item() == pytest.approx(expected[0, 1], rel=1e-9)


def test_with_fewer_bars_than_the_declared_lookback_a_value_is_missing(panel):
    features = compute_features(panel, bars_of(panel, "S00")[["symbol", "ts"]])

    for spec in CATALOGUE:
        assert features[spec.name].iloc[: spec.lookback_bars - 1].isna().all(), spec.name
    for name in ("rsi_14", "macd_histogram", "adx_strength"):
        assert features[name].iloc[499:].notna().all(), name


def test_recursive_indicators_behind_their_lookback_do_not_remember_where_history_began():
    panel = make_panel(n_stocks=1, n_bars=1_200)
    late = MarketPanel(
        panel.bars[panel.bars["ts"] >= panel.bars["ts"].iloc[600]].reset_index(drop=True),
        panel.instruments,
        panel.news,
    )
    rows = stock_rows(late).tail(100)

    full, short = compute_features(panel, rows), compute_features(late, rows)

    for name in ("rsi_14", "macd_histogram", "adx_strength", "bb_position", "spy_correlation"):
        np.testing.assert_allclose(short[name], full[name], rtol=1e-9, atol=1e-12)


def test_features_without_a_source_are_missing_never_zero():
    panel = make_panel(n_stocks=2, n_bars=30, sectors=(None,))
    bare = MarketPanel(panel.bars[~panel.bars["symbol"].isin(["SPY", "VIX"])], panel.instruments, panel.news)

    features = compute_features(bare, stock_rows(bare))

    for name in (
        "options_activity",
        "news_present",
        "vix_level",
        "spy_correlation",
        "sector_momentum",
        "market_breadth",
    ):
        assert features[name].isna().all(), name


def test_a_row_that_is_no_bar_is_refused_by_name(panel):
    rows = stock_rows(panel).head(2)
    rows.loc[1, "ts"] += pd.Timedelta(minutes=1)

    with pytest.raises(DataContractError, match=r"1 rows of S00 that are no bars.*2010-01-05 21:01"):
        compute_features(panel, rows)
    with pytest.raises(DataContractError, match=r"1 rows of GONE"):
        compute_features(panel, rows.head(1).assign(symbol="GONE"))


def test_a_misspelt_input_is_an_error_not_an_absent_source(panel):
    misspelt = dataclasses.replace(CATALOGUE[4], inputs=("closes",))

    with pytest.raises(ConfigurationError, match=r"'rsi_14' asks for inputs \['closes'\]"):
        compute_features(panel, stock_rows(panel), catalogue=(misspelt,))


def test_no_rows_give_an_empty_frame_with_all_columns(panel):
    features = compute_features(panel, stock_rows(panel).head(0))

    assert features.empty
    assert list(features.columns) == ["symbol", "ts", *FEATURE_NAMES]


def test_stocks_with_too_short_a_history_are_listed_with_their_bars():
    panel = make_panel(n_stocks=3, n_bars=520)
    late = panel.bars["ts"] > panel.bars["ts"].iloc[100]
    bars = panel.bars[(panel.bars["symbol"] != "S01") | late]

    short = insufficient_history(MarketPanel(bars, panel.instruments, panel.news))

    assert short.to_dict("records") == [{"symbol": "S01", "n_bars": 419}]
    assert insufficient_history(panel).empty


@pytest.mark.real_data
def test_features_of_real_bars_lie_in_their_ranges():
    folder = os.environ.get("CATALYST_MARKET_DATA")
    if not folder:
        pytest.skip("CATALYST_MARKET_DATA is not set: features were not computed on real bars")
    panel = real_panel(Path(folder))

    features = compute_features(panel, stock_rows(panel))

    bounds = {
        "body_to_range_ratio": (0, 1),
        "rsi_14": (0, 100),
        "adx_strength": (0, 100),
        "market_breadth": (-1, 1),
    }
    for name, (low, high) in bounds.items():
        assert features[name].between(low - 1e-9, high + 1e-9)[features[name].notna()].all(), name
    assert not np.isinf(features[list(FEATURE_NAMES)].to_numpy()).any()
    assert features["spy_correlation"].mean() > 0.3

"""The second set: no look-ahead, values against pandas and plain loops, missing where the source is."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.features.catalogue import CATALOGUE, feature_set_version
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.events import EVENT_COLUMNS
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.truncation import truncation_replay
from catalyst_ml.frames import DATE_DTYPE, EARNINGS, TIME_DTYPE
from tests.catalyst_ml.features.markets import make_panel, real_panel, stock_rows

NAMES = tuple(spec.name for spec in EXTENDED)
WATCHED = ("S00", "S02", "S04")


def make_earnings(reports: list[tuple[str, str]]) -> pd.DataFrame:
    """Reports before the open of a day, known when trading begins."""
    days = pd.to_datetime(pd.Series([day for _, day in reports])).astype(DATE_DTYPE)
    frame = pd.DataFrame(
        {
            "symbol": pd.Series([symbol for symbol, _ in reports], dtype="str"),
            "report_date": days,
            "release_time": pd.Series(["pre"] * len(reports), dtype="str"),
            "known_at": (days + pd.Timedelta(hours=13)).dt.tz_localize("UTC").astype(TIME_DTYPE),
            "eps": 1.0,
            "eps_estimate": 0.9,
            "quarter": pd.Series([None] * len(reports), dtype="str"),
            "is_suspect": False,
        }
    )
    return EARNINGS.validate(frame)


@pytest.fixture(scope="module")
def rich() -> MarketPanel:
    """24 stocks, 540 sessions from 2010-01-04 on, stories of S02 and quarterly reports of S02 and S04."""
    panel = make_panel(news=[("S02", "2010-03-01 12:00"), ("S02", "2011-12-20 20:59:59"), ("S02", "2012-01-19 15:00")])
    reports = [
        (s, str(day.date())) for s in ("S02", "S04") for day in pd.date_range("2010-02-10", "2012-01-11", freq="91D")
    ]
    return dataclasses.replace(panel, earnings=make_earnings(reports))


@pytest.fixture(scope="module")
def rows(rich) -> pd.DataFrame:
    return stock_rows(rich).query("symbol in @WATCHED").reset_index(drop=True)


@pytest.fixture(scope="module")
def values(rich, rows) -> pd.DataFrame:
    return compute_features(rich, rows, catalogue=EXTENDED)


@pytest.fixture(scope="module")
def replay(rich, rows) -> pd.DataFrame:
    closes = sorted(rich.bars["ts"].unique())
    return truncation_replay(rich, rows, [closes[i] for i in (40, 300, 520, 538)], catalogue=EXTENDED)


@pytest.mark.parametrize("name", NAMES)
def test_cutting_off_the_future_changes_no_value_of(name, replay, values):
    assert values[name].notna().any()
    assert replay[replay["feature"] == name].empty


def test_the_second_set_is_no_input_of_the_models_and_has_a_version_of_its_own():
    assert not set(NAMES) & set(EVENT_COLUMNS)
    assert len(set(NAMES)) == len(EXTENDED)
    assert (
        len({feature_set_version(), feature_set_version(EXTENDED), feature_set_version((*CATALOGUE, *EXTENDED))}) == 3
    )


def test_missing_before_the_declared_lookback_and_known_behind_it(rich, values):
    own = values[values["symbol"] == "S00"]

    for spec in EXTENDED:
        assert own[spec.name].iloc[: spec.lookback_bars - 1].isna().all(), spec.name
        if spec.group != "catalyst":
            assert own[spec.name].iloc[max(spec.lookback_bars, 60) :].notna().all(), spec.name


def test_price_features_agree_with_pandas(rich, values):
    own = rich.bars[rich.bars["symbol"] == "S02"].reset_index(drop=True)
    spy = rich.bars[rich.bars["symbol"] == "SPY"].reset_index(drop=True)
    close, high, low, open_, volume = (own[name] for name in ("close", "high", "low", "open", "volume"))
    moves, market = close.pct_change(), spy["close"].pct_change()
    typical = (high + low + close) / 3
    log_range = np.log(high / low)
    beta = moves.rolling(60).cov(market) / market.rolling(60).var()
    overnight, intraday = (open_ / close.shift() - 1).abs(), (close / open_ - 1).abs()
    expected = {
        "return_1": moves,
        "return_60": close.pct_change(60),
        "sma_ratio_50": close / close.rolling(50).mean() - 1,
        "volatility_realised_20": np.log(close).diff().rolling(20).std(ddof=0),
        "volatility_parkinson_20": np.sqrt((log_range**2).rolling(20).mean() / (4 * np.log(2))),
        "volatility_garman_klass_20": np.sqrt(
            (0.5 * log_range**2 - (2 * np.log(2) - 1) * np.log(close / open_) ** 2).rolling(20).mean()
        ),
        "distance_high_252": close / high.rolling(252).max() - 1,
        "distance_low_20": close / low.rolling(20).min() - 1,
        "range_position_20": (close - low.rolling(20).min()) / (high.rolling(20).max() - low.rolling(20).min()),
        "range_contraction": (high - low).rolling(5).mean() / (high - low).rolling(20).mean(),
        "overnight_share_20": overnight.rolling(20).mean() / (overnight + intraday).rolling(20).mean(),
        "vwap_distance_20": close * volume.rolling(20).sum() / (typical * volume).rolling(20).sum() - 1,
        "market_relative_return_20": close.pct_change(20) - spy["close"].pct_change(20),
        "market_beta_60": beta,
        "idiosyncratic_return": moves - beta.shift() * market,
        "market_trend_50": spy["close"] / spy["close"].rolling(50).mean() - 1,
    }

    known = values[values["symbol"] == "S02"].reset_index(drop=True)

    for name, other in expected.items():
        np.testing.assert_allclose(known[name], other, rtol=1e-8, atol=1e-11, err_msg=name)


def test_volume_above_the_close_by_hand(rich, values):
    own = rich.bars[rich.bars["symbol"] == "S00"].reset_index(drop=True)
    typical = (own["high"] + own["low"] + own["close"]) / 3
    at = 200
    window = slice(at - 59, at + 1)
    is_above = typical[window] > own["close"][at]

    known = values[values["symbol"] == "S00"].reset_index(drop=True)

    expected = own["volume"][window][is_above].sum() / own["volume"][window].sum()
    assert known["volume_above_close_60"][at] == pytest.approx(expected, rel=1e-12)


def test_ranks_dispersion_and_sector_strength_of_one_close_by_hand(rich):
    at = sorted(rich.bars["ts"].unique())[100]
    stocks = rich.bars[rich.bars["symbol"].isin(rich.stocks)]
    closes = stocks.pivot_table(index="ts", columns="symbol", values="close").loc[:at]
    moves = closes.iloc[-1] / closes.iloc[-2] - 1
    long = closes.iloc[-1] / closes.iloc[-21] - 1

    known = compute_features(rich, stocks.loc[stocks["ts"] == at, ["symbol", "ts"]], catalogue=EXTENDED)
    known = known.set_index("symbol")

    n_below = {s: int((moves < moves[s]).sum()) for s in moves.index}
    assert {s: known.loc[s, "rank_return_1_of_day"] for s in moves.index} == pytest.approx(
        {s: (below + 0.5) / 24 for s, below in n_below.items()}
    )
    assert known["return_dispersion"].unique() == pytest.approx([moves.std(ddof=0)])
    tech = [f"S{i:02d}" for i in range(0, 24, 3)]
    others = long[[s for s in tech if s != "S03"]].mean()
    assert known.loc["S03", "sector_relative_return_20"] == pytest.approx(long["S03"] - others, rel=1e-9)
    assert np.isnan(known.loc["S02", "sector_relative_return_20"])  # of no sector


def test_runs_count_rises_and_falls_up_to_twenty():
    panel = make_panel(n_stocks=1, n_bars=60)
    bars = panel.bars.copy()
    own = (bars["symbol"] == "S00").to_numpy()
    steps = np.array([0, 1, 1, -1, 0, *[1] * 25, *[-1] * 30])
    close = 100.0 + np.cumsum(steps)
    bars.loc[own, ["open", "high", "low", "close"]] = np.repeat(close[:, None], 4, axis=1)

    panel = MarketPanel(bars, panel.instruments, panel.news)
    runs = compute_features(panel, stock_rows(panel), catalogue=EXTENDED)["close_run"]

    assert runs.iloc[20] == 16.0
    assert runs.iloc[29] == 20.0
    assert runs.iloc[30] == -1.0


def test_days_from_and_to_reports_use_what_was_known_at_the_close(rich, values):
    own = values[values["symbol"] == "S02"].set_index("ts")
    close_of = {
        day: pd.Timestamp(f"{day} 21:00", tz="UTC") for day in ("2010-02-09", "2010-02-10", "2010-05-11", "2010-05-12")
    }

    assert np.isnan(own.loc[close_of["2010-02-09"], "days_since_earnings"])
    assert own.loc[close_of["2010-02-10"], "days_since_earnings"] == 0
    assert np.isnan(own.loc[close_of["2010-05-11"], "days_to_expected_earnings"])  # one report makes no rhythm
    assert own.loc[close_of["2010-05-11"], "days_since_earnings"] == 90
    assert own.loc[close_of["2010-05-12"], "days_since_earnings"] == 0
    assert own.loc[close_of["2010-05-12"], "days_to_expected_earnings"] == 91
    assert values.loc[values["symbol"] == "S00", "days_since_earnings"].isna().all()


def test_stories_are_counted_aged_and_scored_from_their_publication(values):
    own = values[values["symbol"] == "S02"].set_index("ts")
    day = {
        d: pd.Timestamp(f"{d} 21:00", tz="UTC")
        for d in ("2010-02-26", "2010-03-01", "2010-03-08", "2010-04-06", "2011-12-20")
    }

    assert np.isnan(own.loc[day["2010-02-26"], "news_count_5d"])  # before the archive's first story
    assert own.loc[day["2010-03-01"], ["news_count_5d", "news_age_hours", "news_top_score_5d"]].tolist() == [1, 9, 50]
    assert own.loc[day["2010-03-08"], "news_count_5d"] == 0
    assert own.loc[day["2010-03-08"], "news_age_hours"] == 7 * 24 + 9
    assert np.isnan(own.loc[day["2010-03-08"], "news_top_score_5d"])
    assert np.isnan(own.loc[day["2010-04-06"], "news_age_hours"])  # older than 30 days
    assert own.loc[day["2011-12-20"], "news_age_hours"] == pytest.approx(1 / 3600)
    other = values[values["symbol"] == "S00"].set_index("ts")
    assert other.loc[day["2010-03-08"], "news_count_5d"] == 0


def test_without_their_sources_the_features_are_missing():
    panel = make_panel(n_stocks=2, n_bars=80, sectors=(None,))
    bare = MarketPanel(panel.bars[~panel.bars["symbol"].isin(["SPY", "VIX"])], panel.instruments, panel.news)

    values = compute_features(bare, stock_rows(bare), catalogue=EXTENDED)

    for spec in EXTENDED:
        if spec.group in ("market", "catalyst"):
            assert values[spec.name].isna().all(), spec.name


@pytest.mark.real_data
def test_of_real_bars_all_price_features_are_finite_and_do_not_look_ahead():
    folder = os.environ.get("CATALYST_MARKET_DATA")
    if not folder:
        pytest.skip("CATALYST_MARKET_DATA is not set: the second set was not computed on real bars")
    panel = real_panel(Path(folder))
    rows = stock_rows(panel)
    closes = sorted(panel.bars["ts"].unique())

    values = compute_features(panel, rows, catalogue=EXTENDED)

    assert not np.isinf(values[list(NAMES)].to_numpy()).any()
    for spec in EXTENDED:
        assert values[spec.name].notna().any() == (spec.group != "catalyst"), spec.name
    few = rows[rows["symbol"].isin(sorted(panel.stocks)[:4])].reset_index(drop=True)
    cuts = [closes[len(closes) // 2], closes[-5]]
    assert truncation_replay(panel, few, cuts, catalogue=EXTENDED).empty

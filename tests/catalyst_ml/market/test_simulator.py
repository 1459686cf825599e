import dataclasses
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.labels import LabelSpec, label_events
from catalyst_ml.market.simulated_noise import draw_noise
from catalyst_ml.market.simulated_walk import walk_prices
from catalyst_ml.market.simulator import PRESETS, SimulatedMarket, simulate_market
from tests.catalyst_ml.market.bar_frames import CALENDAR

SEEDS = (1, 2, 3)
STOCK_DAYS = 120 * 1_250


def _small(preset: str = "middle", seed: int = 7) -> SimulatedMarket:
    return simulate_market(preset, seed=seed, n_symbols=24, n_sessions=200, calendar=CALENDAR)


@dataclass(frozen=True)
class _Outcome:
    """What the detector and the labels make of one simulated market."""

    events_per_stock_day: float
    base_rate: float
    oracle_auc: float
    auc_after_change: float
    stale_auc_after_change: float
    log_loss_gain: float
    calibration_slope: float
    daily_spread: float


def _measure(preset: str, seed: int) -> _Outcome:
    market = simulate_market(preset, seed=seed, calendar=CALENDAR)
    as_of = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=as_of)
    events = detect_events(bars, market.instruments)
    labels = label_events(events, bars, LabelSpec(), calendar=CALENDAR, as_of=as_of).labels
    rows = labels.merge(market.truth, on=["symbol", "ts"])
    after = rows[rows["is_after_change"]]
    p = np.where(rows["direction"] > 0, rows["p_long"], rows["p_short"])
    by_day = rows.groupby("ts")["y"].agg(["mean", "size"])
    return _Outcome(
        events_per_stock_day=len(events) / STOCK_DAYS,
        base_rate=float(rows["y"].mean()),
        oracle_auc=float(roc_auc_score(rows["y"], rows["signal"] * rows["direction"])),
        auc_after_change=float(roc_auc_score(after["y"], after["signal"] * after["direction"])),
        stale_auc_after_change=float(roc_auc_score(after["y"], after["signal_before_change"] * after["direction"])),
        log_loss_gain=float(log_loss(rows["y"], np.full(len(rows), rows["y"].mean())) - log_loss(rows["y"], p)),
        calibration_slope=float(LogisticRegression(C=1e6).fit(np.log(p / (1.0 - p))[:, None], rows["y"]).coef_[0, 0]),
        daily_spread=float(by_day.loc[by_day["size"] > 20, "mean"].std()),
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_the_oracle_reaches_the_auc_of_its_preset_on_labels_like_real_ones(preset):
    outcomes = [_measure(preset, seed) for seed in SEEDS]

    mean = pd.DataFrame(outcomes).mean()
    assert mean["oracle_auc"] == pytest.approx(PRESETS[preset].oracle_auc, abs=0.01)
    assert 0.35 < mean["events_per_stock_day"] < 0.6  # S&P 500 stocks, 2005 to 2016: 0.44
    assert mean["base_rate"] == pytest.approx(0.49, abs=0.02)  # real: 0.491
    assert 0.12 < mean["daily_spread"] < 0.15
    if preset != "none":
        # A market's slope scatters by 0.13 around 1 in preset weak (nine seeds), by half of that in the others.
        allowed = 0.2 if preset == "weak" else 0.1
        assert mean["calibration_slope"] == pytest.approx(1.0, abs=allowed)
        assert mean["log_loss_gain"] > 0.004
        assert mean["auc_after_change"] == pytest.approx(PRESETS[preset].oracle_auc, abs=0.02)
        assert mean["stale_auc_after_change"] < mean["auc_after_change"] - 0.015


def test_frames_keep_their_contracts():
    market = _small()

    BARS.validate(market.bars)
    INSTRUMENTS.validate(market.instruments)
    NEWS.validate(market.news)
    prices = market.bars[["open", "high", "low", "close"]]
    assert (market.bars["high"] == prices.max(axis=1)).all()
    assert (market.bars["low"] == prices.min(axis=1)).all()
    assert (prices > 0).all(axis=None)
    assert set(market.instruments["kind"]) == {"stock", "index", "volatility"}
    assert market.instruments["sector"].nunique() == 8


def test_bars_close_on_real_sessions_up_to_the_end():
    market = _small()
    closes = CALENDAR.closes(CALENDAR.sessions(date(2025, 1, 1), date(2025, 12, 5)))[-200:]

    index = market.bars[market.bars["symbol"] == "SPY"]
    assert index["ts"].tolist() == closes.tolist()


def test_a_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = _small(), _small(), _small(seed=8)

    for field in dataclasses.fields(SimulatedMarket):
        pd.testing.assert_frame_equal(getattr(first, field.name), getattr(again, field.name), check_exact=True)
    assert not first.bars["close"].equals(other.bars["close"])


def test_presets_differ_by_the_drift_alone():
    none, strong = _small("none"), _small("strong")

    assert (none.truth["score"] == 0.0).all()
    assert (none.truth["signal"] != 0.0).any()
    for name in ("news", "earnings", "sessions"):
        pd.testing.assert_frame_equal(getattr(none, name), getattr(strong, name))
    untouched = ["symbol", "ts", "volume", "split_factor"]
    pd.testing.assert_frame_equal(none.bars[untouched], strong.bars[untouched])
    assert not none.bars["close"].equals(strong.bars["close"])


def test_the_signal_knows_nothing_of_later_sessions():
    noise = draw_noise(np.random.default_rng(3), n_sessions=120, n_symbols=16)
    known = 80
    disturbed = {
        name: np.concatenate([values[:known], values[known:][::-1]])
        for name in ("overnight", "intraday", "high_draw", "volume_ratio", "vix_close")
        for values in [getattr(noise, name)]
    }
    has_news = np.concatenate([noise.news.has_news[:known], noise.news.has_news[known:][::-1]])
    disturbed |= {"news": dataclasses.replace(noise.news, has_news=has_news)}

    walked = walk_prices(noise, 0.2)
    other = walk_prices(dataclasses.replace(noise, **disturbed), 0.2)

    for name in walked._fields:
        np.testing.assert_array_equal(getattr(walked, name)[:known], getattr(other, name)[:known])
    assert not np.array_equal(walked.signal[known:], other.signal[known:])


def test_the_drift_moves_prices_the_way_of_the_signal_and_only_after_it():
    noise = draw_noise(np.random.default_rng(3), n_sessions=120, n_symbols=16)
    free, pushed = walk_prices(noise, 0.0), walk_prices(noise, 0.2)

    first = int((pushed.signal != 0.0).any(axis=1).argmax())
    moved = np.sign(np.log(pushed.close[first + 1] / free.close[first + 1]).round(12))

    np.testing.assert_array_equal(pushed.close[: first + 1], free.close[: first + 1])
    np.testing.assert_array_equal(moved, np.sign(pushed.signal[first]))


def test_the_relation_changes_once_about_a_third_into_the_history():
    market = _small()
    after = market.sessions["is_after_change"]

    assert after.is_monotonic_increasing
    assert 0.63 < after.mean() < 0.68
    by_row = market.truth.merge(market.sessions, on="ts", suffixes=("", "_of_session"))
    assert (by_row["is_after_change"] == by_row["is_after_change_of_session"]).all()
    assert (by_row["volatility_regime"] == by_row["volatility_regime_of_session"]).all()
    truth = market.truth
    first_close = truth.loc[truth["is_after_change"], "ts"].min()
    is_old = truth["ts"] < first_close
    np.testing.assert_array_equal(truth.loc[is_old, "signal"], truth.loc[is_old, "signal_before_change"])
    assert (truth.loc[~is_old, "signal"] != truth.loc[~is_old, "signal_before_change"]).any()


def test_a_signal_lasts_five_sessions_unless_a_newer_one_replaces_it():
    noise = draw_noise(np.random.default_rng(4), n_sessions=150, n_symbols=16)
    paths = walk_prices(noise, 0.2)

    left, signal = paths.sessions_left, paths.signal
    np.testing.assert_array_equal(left == 0, signal == 0.0)
    is_worn = (left[1:] > 0) & (left[1:] < 5) & (np.arange(1, 150)[:, None] != noise.change_session)
    np.testing.assert_array_equal(left[1:][is_worn], left[:-1][is_worn] - 1)
    np.testing.assert_array_equal(signal[1:][is_worn], signal[:-1][is_worn])
    assert is_worn.any()


def test_news_is_published_within_the_day_before_a_close():
    market = _small()
    closes = pd.Index(market.bars["ts"].unique()).sort_values()

    next_close = closes[closes.searchsorted(market.news["published_at"])]

    ahead = next_close - pd.DatetimeIndex(market.news["published_at"])
    assert ahead.min() > pd.Timedelta(0)
    assert ahead.max() < pd.Timedelta(hours=24)
    assert 0.02 < len(market.news) / (24 * 200) < 0.1


def test_results_come_once_a_quarter_and_the_story_at_the_same_moment():
    market = simulate_market("none", seed=2, n_symbols=16, n_sessions=500, calendar=CALENDAR)
    reports = market.earnings

    days = reports.groupby("symbol")["report_date"].diff().dropna().dt.days
    assert days.between(80, 105).all()
    stories = market.news[market.news["catalyst_type"] == "earnings"]
    assert len(reports) == len(
        reports.merge(stories, left_on=["symbol", "known_at"], right_on=["symbol", "published_at"])
    )
    hour = reports["known_at"].dt.tz_convert("America/New_York").dt.hour
    assert hour[reports["release_time"] == "pre"].between(4, 9).all()
    assert hour[reports["release_time"] == "post"].between(13, 17).all()


def test_no_story_that_moves_a_price_is_out_before_the_close_ahead_of_the_move():
    market = simulate_market("none", seed=2, n_symbols=24, n_sessions=500, calendar=CALENDAR)
    news = market.news[market.news["score"] >= 60.1]  # stories that do not matter score 60 at most
    close = market.bars[market.bars["symbol"].isin(market.news["symbol"])].set_index(["symbol", "ts"])["close"]
    moves = np.log(close).groupby("symbol").diff()
    closes = market.sessions["ts"]
    before = closes.searchsorted(news["published_at"]) - 1  # the last close that lies before the story
    known = news[before >= 0].assign(side=news["sentiment"].map({"positive": 1.0, "negative": -1.0}))
    at = [pd.MultiIndex.from_arrays([known["symbol"], closes.iloc[before[before >= 0] + d]]) for d in (0, 1)]
    earlier, after = (moves.reindex(index).to_numpy() * known["side"].to_numpy() for index in at)

    assert np.nanmean(after) > 0.005
    assert abs(np.nanmean(earlier)) < 0.003


def test_the_volatility_index_foretells_the_index_funds_moves():
    market = simulate_market("none", seed=1, n_symbols=8, n_sessions=1_000, calendar=CALENDAR)
    by_symbol = market.bars.pivot_table(index="ts", columns="symbol", values="close")

    move = np.log(by_symbol["SPY"]).diff().shift(-1).abs()

    assert move.corr(by_symbol["VIX"]) > 0.25
    assert 12.0 < by_symbol["VIX"].median() < 25.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "huge"}, "expected one of"),
        ({"n_symbols": 3}, "at least 8 symbols"),
        ({"n_sessions": 5_000, "end": date(2000, 1, 3)}, "of them in the calendar"),
    ],
)
def test_a_market_that_cannot_be_simulated_is_refused(arguments, message):
    preset = arguments.pop("preset", "none")

    with pytest.raises(ConfigurationError, match=message):
        simulate_market(preset, seed=1, calendar=CALENDAR, **arguments)


def test_an_edge_that_turns_speaks_against_from_that_day_on_and_changes_nothing_before():
    sizes = {"seed": 3, "n_symbols": 16, "n_sessions": 400}
    plain, turned = (simulate_market("strong", **sizes, **more) for more in ({}, {"turns_at": date(2025, 6, 2)}))
    before = plain.truth["ts"] < pd.Timestamp("2025-06-02", tz="UTC")
    pd.testing.assert_frame_equal(plain.truth[before], turned.truth[before])
    day = plain.truth["ts"] == plain.truth["ts"][~before].min()
    np.testing.assert_allclose(turned.truth["signal"][day], -plain.truth["signal"][day])
    assert plain.truth["signal"][day].any()


def test_an_edge_cannot_turn_before_the_models_have_learned_it():
    with pytest.raises(ConfigurationError, match="second half of the history"):
        simulate_market("strong", seed=3, n_symbols=16, n_sessions=400, turns_at=date(2024, 9, 2))

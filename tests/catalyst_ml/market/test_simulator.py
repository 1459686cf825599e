import dataclasses
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS
from catalyst_ml.market.corporate_actions import adjust_for_splits, unexplained_jumps
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.labels import LabelSpec, label_events
from catalyst_ml.market.simulated_noise import draw_noise
from catalyst_ml.market.simulator import PRESETS, SimulatedMarket, simulate_market, walk_prices
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
    daily_spread: float


def _measure(preset: str, seed: int) -> _Outcome:
    market = simulate_market(preset, seed=seed, calendar=CALENDAR)
    as_of = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=as_of)
    events = detect_events(bars, market.instruments)
    labels = label_events(events, bars, LabelSpec(), calendar=CALENDAR, as_of=as_of).labels
    rows = labels.merge(market.truth, on=["symbol", "ts"])
    by_day = rows.groupby("ts")["y"].agg(["mean", "size"])
    return _Outcome(
        events_per_stock_day=len(events) / STOCK_DAYS,
        base_rate=float(rows["y"].mean()),
        oracle_auc=float(roc_auc_score(rows["y"], rows["signal"] * rows["direction"])),
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
    pd.testing.assert_frame_equal(none.news, strong.news)
    untouched = ["symbol", "ts", "volume", "split_factor"]
    pd.testing.assert_frame_equal(none.bars[untouched], strong.bars[untouched])
    assert not none.bars["close"].equals(strong.bars["close"])


def test_the_signal_knows_nothing_of_later_sessions():
    noise = draw_noise(np.random.default_rng(3), n_sessions=120, n_symbols=16)
    known = 80
    disturbed = {
        name: np.concatenate([values[:known], values[known:][::-1]])
        for name in ("overnight", "intraday", "high_draw", "volume_ratio", "has_news", "vix_close")
        for values in [getattr(noise, name)]
    }

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


def test_raw_prices_jump_at_splits_and_adjusted_ones_do_not():
    market = _small()
    splits = market.bars[market.bars["split_factor"] != 1.0]

    assert len(splits) >= 2
    assert unexplained_jumps(market.bars).empty
    unmarked = market.bars.assign(split_factor=1.0)
    assert set(unexplained_jumps(unmarked, threshold=0.3)["symbol"]) == set(splits["symbol"])


def test_some_bars_are_missing_and_the_last_stock_is_new():
    market = simulate_market("none", seed=1, n_symbols=24, n_sessions=400, calendar=CALENDAR)

    n_bars = market.bars["symbol"].value_counts()
    assert n_bars["SPY"] == n_bars["VIX"] == 400
    assert 85 <= n_bars["S023"] <= 90
    assert 390 <= n_bars.drop("S023").min() < 400


def test_news_is_published_within_the_day_before_a_close():
    market = _small()
    closes = pd.Index(market.bars["ts"].unique()).sort_values()

    next_close = closes[closes.searchsorted(market.news["published_at"])]

    ahead = next_close - pd.DatetimeIndex(market.news["published_at"])
    assert ahead.min() > pd.Timedelta(0)
    assert ahead.max() < pd.Timedelta(hours=24)
    assert 0.02 < len(market.news) / (24 * 200) < 0.1


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

"""Every planted fault is in the data where the list says, and the list has every fault that is in the data."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.frames import BARS
from catalyst_ml.market import simulated_faults as kinds
from catalyst_ml.market.corporate_actions import adjust_for_splits, unexplained_jumps
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from tests.catalyst_ml.market.bar_frames import CALENDAR


@cache
def _market() -> SimulatedMarket:
    """60 stocks: enough for every kind of fault."""
    return simulate_market("middle", seed=7, n_symbols=60, n_sessions=400, calendar=CALENDAR)


def _planted(*names: str) -> pd.DataFrame:
    planted = _market().planted
    return planted[planted["kind"].isin(names)].reset_index(drop=True)


def _bars_at(rows: pd.DataFrame, *, sessions_before: int = 0) -> pd.DataFrame:
    bars = _market().bars
    shifted = bars.groupby("symbol")[["open", "close", "volume"]].shift(sessions_before)
    return rows.merge(bars[["symbol", "ts", "split_factor"]].join(shifted), on=["symbol", "ts"], how="left")


def test_every_kind_is_planted():
    names = {value for name, value in vars(kinds).items() if name.isupper() and isinstance(value, str)}

    assert set(_market().planted["kind"]) == names


def test_jumps_that_no_factor_explains_are_the_planted_ones():
    found = unexplained_jumps(_market().bars)

    listed = _planted(*kinds.UNRECORDED, *kinds.REAL_JUMPS)
    assert len(found) == len(found.merge(listed, on=["symbol", "ts"]))
    # Small spin-offs and takeovers stay below the threshold; what halves a price or worse does not.
    large = listed[listed["kind"].isin([kinds.MISSED_SPLIT, kinds.BOGUS_SPLIT, kinds.FAILURE])]
    assert len(large) == len(large.merge(found, on=["symbol", "ts"])) >= 3


@pytest.mark.parametrize(
    ("kind", "is_recorded", "falls"),
    [(kinds.SPLIT, True, True), (kinds.MISSED_SPLIT, False, True), (kinds.BOGUS_SPLIT, True, False)],
)
def test_a_split_is_in_prices_and_factors_as_its_kind_says(kind, is_recorded, falls):
    rows = _planted(kind)
    now, before = _bars_at(rows), _bars_at(rows, sessions_before=1)

    np.testing.assert_array_equal(now["split_factor"], rows["value"] if is_recorded else 1.0)
    step = before["close"] / now["open"]
    np.testing.assert_allclose(step, rows["value"] if falls else 1.0, rtol=0.25)
    recorded = _market().bars["split_factor"] != 1.0
    assert recorded.sum() == len(_planted(kinds.SPLIT, kinds.BOGUS_SPLIT))


def test_a_spin_off_takes_its_share_of_the_price_and_leaves_the_volume():
    rows = _planted(kinds.SPIN_OFF)
    now, before = _bars_at(rows), _bars_at(rows, sessions_before=1)

    np.testing.assert_allclose(before["close"] / now["open"], rows["value"], rtol=0.15)
    assert (now["split_factor"] == 1.0).all()
    assert (now["volume"] / before["volume"]).between(0.3, 3.0).all()


def test_bars_are_missing_where_the_list_says_and_nowhere_else():
    market = _market()
    closes = market.sessions["ts"]
    stocks = market.bars[market.bars["symbol"].str.startswith("S") & (market.bars["symbol"] != "SPY")]
    has_bar = stocks.assign(n=1).pivot_table(index="ts", columns="symbol", values="n").reindex(closes).notna()

    expected = pd.DataFrame(True, index=has_bar.index, columns=has_bar.columns)
    for row in _planted(kinds.MISSING_BAR, kinds.MISSING_WEEK).itertuples():
        expected.loc[row.ts : row.until, row.symbol] = False
    for row in _planted(kinds.DELISTING).itertuples():
        expected.loc[expected.index > row.ts, row.symbol] = False
    for row in _planted(kinds.NEW_LISTING).itertuples():
        expected.loc[expected.index < row.ts, row.symbol] = False

    pd.testing.assert_frame_equal(has_bar, expected, check_names=False)
    weeks = _planted(kinds.MISSING_WEEK)
    n_missing = closes.searchsorted(weeks["until"]) - closes.searchsorted(weeks["ts"]) + 1
    assert (n_missing == 5).all()


def test_a_bar_without_trades_repeats_the_last_price():
    rows = _planted(kinds.ZERO_VOLUME)
    bars = _market().bars.set_index(["symbol", "ts"])
    empty = bars.loc[pd.MultiIndex.from_frame(rows[["symbol", "ts"]])]
    before = _bars_at(rows, sessions_before=1)

    assert (empty["volume"] == 0.0).all()
    assert (empty["high"] == empty["low"]).all()
    np.testing.assert_array_equal(empty["close"], before["close"])
    stocks = ~_market().bars["symbol"].isin(["SPY", "VIX"])
    assert int((_market().bars.loc[stocks, "volume"] == 0.0).sum()) == len(rows)


def test_a_restated_bar_was_published_wrong_and_is_mended_a_session_later():
    market = _market()
    mended = BARS.validate(market.restatements)
    first = mended[["symbol", "ts"]].merge(market.bars, on=["symbol", "ts"])
    rows = mended[["symbol", "ts"]].merge(_planted(kinds.RESTATED), on=["symbol", "ts"])

    assert len(mended) == len(rows) == len(_planted(kinds.RESTATED)) > 0
    np.testing.assert_allclose(first["close"] / mended["close"] - 1.0, rows["value"], atol=0.005 / first["close"].min())
    assert (first["volume"] < mended["volume"]).all()
    closes = market.sessions["ts"]
    np.testing.assert_array_equal(closes.searchsorted(mended["known_at"]) - closes.searchsorted(mended["ts"]), 1)


def test_companies_that_go_jump_first_and_trade_on_for_three_weeks():
    jumps, ends = _planted(*kinds.REAL_JUMPS), _planted(kinds.DELISTING)
    both = jumps.merge(ends, on="symbol", suffixes=("", "_end"))
    closes = _market().sessions["ts"]

    assert len(both) == len(jumps) == len(ends) == 2
    np.testing.assert_array_equal(closes.searchsorted(both["ts_end"]) - closes.searchsorted(both["ts"]), 15)
    now, before = _bars_at(both), _bars_at(both, sessions_before=1)
    np.testing.assert_allclose(now["open"] / before["close"] - 1.0, both["value"], atol=0.1)
    last_news = _market().news.groupby("symbol")["published_at"].max()
    assert (last_news.reindex(both["symbol"]).to_numpy() <= both["ts_end"]).all()


def test_a_dividend_is_a_plausible_share_of_the_price_on_one_session_a_quarter():
    rows = _planted(kinds.DIVIDEND)
    before = _bars_at(rows, sessions_before=1)

    share = (rows["value"] / before["close"]).dropna()
    assert share.between(0.002, 0.0095).all()
    closes = _market().sessions["ts"]
    apart = pd.Series(closes.searchsorted(rows["ts"])).groupby(rows["symbol"]).diff().dropna()
    assert (apart % 63 == 0).all()
    assert 15 <= rows["symbol"].nunique() <= 45


def test_a_dividend_falls_off_the_price_overnight_on_average():
    """The noise of one night is four times a dividend; the mean of several hundred is not."""
    market = simulate_market("none", seed=3, n_symbols=120, n_sessions=1_000, calendar=CALENDAR)
    bars = adjust_for_splits(market.bars, as_of=market.bars["ts"].max())
    night = np.log(bars["open"] / bars.groupby("symbol")["close"].shift(1)).rename("night")
    by_bar = bars[["symbol", "ts"]].join(night).join(night.groupby(bars["ts"]).transform("median").rename("usual"))
    paid = market.planted[market.planted["kind"] == kinds.DIVIDEND].merge(by_bar, on=["symbol", "ts"])

    excess = (paid["night"] - paid["usual"]).clip(-0.05, 0.05)
    assert -0.009 < excess.mean() < -0.003


def test_a_small_market_has_room_for_its_faults():
    market = simulate_market("none", seed=1, n_symbols=8, n_sessions=60, calendar=CALENDAR)

    assert {kinds.SPLIT, kinds.SPIN_OFF, kinds.MISSING_WEEK} <= set(market.planted["kind"])
    assert kinds.DELISTING not in set(market.planted["kind"])
    BARS.validate(market.bars)

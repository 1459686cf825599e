"""Rows of all stocks on all days: places, targets against plain loops, what is known when, what is left out."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.stock_days import (
    PLACED,
    STOCK_DAY_CATALOGUE,
    STOCK_DAY_INPUTS,
    build_stock_days,
    stock_day_version,
)
from catalyst_ml.frames import BARS
from catalyst_ml.market.calendar import TradingCalendar
from tests.catalyst_ml.features.markets import make_bars, make_instruments, make_news, make_panel

CALENDAR = TradingCalendar()
N_STOCKS, N_BARS = 14, 530


@pytest.fixture(scope="module")
def panel():
    """14 stocks, 530 real sessions: 31 of them behind the 500 bars that ATR needs."""
    made = make_panel(n_stocks=N_STOCKS, n_bars=N_BARS)
    sessions = CALENDAR.sessions(pd.Timestamp("2010-01-04"), pd.Timestamp("2013-01-01"))[:N_BARS]
    closes = CALENDAR.closes(sessions)
    stamped = made.bars.assign(ts=np.tile(closes, N_STOCKS + 2)).astype({"ts": made.bars["ts"].dtype})
    return MarketPanel(bars=stamped, instruments=made.instruments, news=make_news([("S01", "2010-06-01 12:00")]))


@pytest.fixture(scope="module")
def built(panel):
    return build(panel)


def build(panel, *, as_of=None, held_out=None):
    return build_stock_days(
        panel, calendar=CALENDAR, as_of=panel.bars["ts"].max() if as_of is None else as_of, held_out=held_out
    )


def without(panel, is_gone):
    return MarketPanel(bars=panel.bars[~is_gone].reset_index(drop=True), instruments=panel.instruments, news=panel.news)


def test_rows_are_all_stocks_with_history_sorted_by_time_in_float32(built):
    rows = built.rows
    assert len(rows) == N_STOCKS * 31
    assert rows[["ts", "symbol"]].apply(tuple, axis=1).is_monotonic_increasing
    assert (rows[list(STOCK_DAY_INPUTS)].dtypes == "float32").all()
    assert rows["n_universe"].unique().tolist() == [N_STOCKS]
    assert built.dropped == {"held_out": 0, "small_universe": 0, "insufficient_history": N_STOCKS * 499}


def test_inputs_are_places_among_the_days_stocks_and_logarithms_of_volatility(panel, built):
    day = built.rows["ts"].iloc[-1]
    today = built.rows[built.rows["ts"] == day]
    features = compute_features(panel, today[["symbol", "ts"]], catalogue=STOCK_DAY_CATALOGUE)
    for name in PLACED:
        values = features[name].to_numpy()
        if np.isnan(values).all():
            assert today[f"placed_{name}"].isna().all()
            continue
        known = ~np.isnan(values)
        expected = (rankdata(values[known].astype("float32")) - 0.5) / known.sum()
        np.testing.assert_allclose(today[f"placed_{name}"].to_numpy()[known], expected, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(today["log_atr_ratio"], np.log(features["atr_ratio"]), rtol=1e-5)
    assert len(today["vix_level"].unique()) == 1
    assert today["news_present"].tolist() == features["news_present"].tolist()


def neutral_return(panel, symbol, day_number, sessions, closes):
    """Enter at the open of the next bar within the horizon, leave at the close of the last; minus the stocks' mean."""
    own = panel.bars.set_index(["symbol", "ts"])
    horizon = [close for close in closes[day_number + 1 : day_number + 1 + sessions] if (symbol, close) in own.index]
    if not horizon:
        return np.nan
    first, last = horizon[0], horizon[-1]
    returns = {
        other: own.loc[(other, last), "close"] / own.loc[(other, first), "open"] - 1.0
        for other in sorted(panel.stocks)
        if (other, first) in own.index and (other, last) in own.index
    }
    return returns[symbol] - np.mean(list(returns.values()))


@pytest.mark.parametrize("sessions", [1, 5])
def test_targets_are_entered_at_the_next_open_and_left_at_the_horizons_close(panel, built, sessions):
    closes = sorted(panel.bars["ts"].unique())
    for row in built.rows.iloc[::37].itertuples():
        number = closes.index(row.ts)
        got = getattr(row, f"neutral_return_{sessions}")
        if number + sessions < len(closes):
            assert got == pytest.approx(neutral_return(panel, row.symbol, number, sessions, closes), abs=1e-12)
            assert row.label_end > closes[number + sessions - 1]
        else:
            assert np.isnan(got)


def test_a_target_is_open_until_its_horizon_is_over_and_label_end_says_when(panel, built):
    closes = sorted(panel.bars["ts"].unique())
    cut = closes[-10]
    rows = build(panel, as_of=cut).rows
    assert rows["ts"].max() == cut
    assert (rows["neutral_return_5"].notna() == (rows["label_end"] <= cut)).all()
    assert rows.loc[rows["ts"] == closes[-15], "label_end"].unique().tolist() == [cut]
    assert rows.loc[rows["ts"] == closes[-11], "neutral_return_1"].notna().all()
    assert rows.loc[rows["ts"] == cut, "neutral_return_1"].isna().all()


def test_nothing_that_came_later_moves_an_input_or_a_settled_target(panel, built):
    cut = sorted(panel.bars["ts"].unique())[-12]
    known = build(panel.known_at(cut), as_of=cut).rows
    later = panel.bars["ts"] > cut
    wild = panel.bars.assign(
        **{name: panel.bars[name].where(~later, panel.bars[name] * 3.0) for name in ("open", "high", "low", "close")}
    )
    altered = build(MarketPanel(bars=wild, instruments=panel.instruments, news=panel.news)).rows

    for full in (built.rows, altered):
        upto = full[full["ts"] <= cut].reset_index(drop=True)
        pd.testing.assert_frame_equal(upto[list(STOCK_DAY_INPUTS)], known[list(STOCK_DAY_INPUTS)], rtol=1e-6)
        settled = known["neutral_return_5"].notna()
        pd.testing.assert_series_equal(upto.loc[settled, "neutral_return_5"], known.loc[settled, "neutral_return_5"])


def test_a_delisted_stock_is_held_to_its_last_bar_and_has_no_rows_after_it(panel):
    closes = sorted(panel.bars["ts"].unique())
    last = closes[-8]
    shorter = without(panel, (panel.bars["symbol"] == "S03") & (panel.bars["ts"] > last))
    rows = build(shorter).rows
    own = rows[rows["symbol"] == "S03"].set_index("ts")

    assert own.index.max() == last
    two_before = closes.index(last) - 2
    expected = neutral_return(shorter, "S03", two_before, 5, closes)
    assert own.loc[closes[two_before], "neutral_return_5"] == pytest.approx(expected)
    assert np.isnan(own.loc[last, "neutral_return_5"])  # no bar to enter
    assert rows.loc[rows["ts"] > last, "n_universe"].unique().tolist() == [N_STOCKS - 1]


def test_a_missing_session_is_no_target_for_the_next_session_and_is_stepped_over_for_five(panel):
    closes = sorted(panel.bars["ts"].unique())
    gone = (panel.bars["symbol"] == "S05") & (panel.bars["ts"] == closes[-9])
    gappy = without(panel, gone)
    rows = build(gappy).rows
    before = rows[(rows["symbol"] == "S05") & (rows["ts"] == closes[-10])].iloc[0]

    assert np.isnan(before["neutral_return_1"])
    expected = neutral_return(gappy, "S05", closes.index(closes[-10]), 5, closes)
    assert before["neutral_return_5"] == pytest.approx(expected)


def test_held_out_bars_have_no_row_and_take_no_place(panel, built):
    day = built.rows["ts"].iloc[0]
    rest = build(panel, held_out=pd.DataFrame({"symbol": ["S02"], "ts": [day]}).astype({"symbol": "str"}))
    today = rest.rows[rest.rows["ts"] == day]

    assert "S02" not in set(today["symbol"])
    places = np.sort(today["placed_return_20"].to_numpy())
    np.testing.assert_allclose(places, (np.arange(N_STOCKS - 1) + 0.5) / (N_STOCKS - 1), rtol=1e-6)
    assert rest.dropped["held_out"] == 1


def test_a_stranger_to_hold_out_is_refused(panel):
    stranger = pd.DataFrame({"symbol": ["NONE"], "ts": [panel.bars["ts"].max()]})
    with pytest.raises(DataContractError, match="no bars of a stock"):
        build(panel, held_out=stranger)


def test_a_universe_too_small_or_a_history_too_short_leaves_no_row():
    stocks = [make_bars(f"S{i:02d}", 300, seed=i) for i in range(12)]
    bars = pd.concat(stocks, ignore_index=True)[BARS.column_names]
    bars = bars[CALENDAR.session_of(bars["ts"]).notna()].reset_index(drop=True)
    instruments = make_instruments({f"S{i:02d}": "tech" for i in range(12)})
    panel = MarketPanel(bars=bars, instruments=instruments, news=make_news([]))
    with pytest.raises(InsufficientHistory, match="insufficient_history"):
        build(panel)


def test_the_version_is_the_same_twice_and_names_hold_no_input_twice():
    assert stock_day_version() == stock_day_version()
    assert len(set(STOCK_DAY_INPUTS)) == len(STOCK_DAY_INPUTS)

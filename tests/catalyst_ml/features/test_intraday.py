"""Features of intraday bars: days are counted in sessions of the calendar, never in bars; nothing looks ahead."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import CATALOGUE, feature_set_version
from catalyst_ml.features.device_choice import compute_features_on
from catalyst_ml.features.engine import compute_features, declared_for
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.intraday import INTRADAY, TIME_OF_SESSION, as_intraday
from catalyst_ml.features.leak_check import check_features
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.serving import context_of, features_of_last_bar, window_of
from catalyst_ml.features.truncation import truncation_replay
from catalyst_ml.features.updates import update_features
from catalyst_ml.frames import BARS, NEWS, TIME_DTYPE
from catalyst_ml.market.calendar import TradingCalendar
from tests.catalyst_ml.features.intraday_markets import make_intraday_panel
from tests.catalyst_ml.features.markets import make_instruments, make_panel, stock_rows

BOTH = (*CATALOGUE, *EXTENDED, TIME_OF_SESSION)
OF_SESSIONS = (*(spec.name for spec in INTRADAY), "time_of_session")
NEW_YORK = "America/New_York"


@pytest.fixture(scope="module")
def market() -> MarketPanel:
    return make_intraday_panel()


@pytest.fixture(scope="module")
def features(market) -> pd.DataFrame:
    return compute_features(market, stock_rows(market), catalogue=BOTH)


def sessions_by_clock(bars: pd.DataFrame, calendar: TradingCalendar) -> pd.DataFrame:
    """Bars with their date, clock and phase at the exchange, by pandas alone."""
    ended = (bars["ts"] - pd.Timedelta(seconds=1)).dt.tz_convert(calendar.zone)
    day = ended.dt.tz_localize(None).dt.normalize()
    opens = pd.Series(calendar.opens(pd.DatetimeIndex(day.unique())), index=day.unique())
    closes = pd.Series(calendar.closes(pd.DatetimeIndex(day.unique())), index=day.unique())
    return bars.assign(
        day=day,
        clock=bars["ts"].dt.tz_convert(calendar.zone).dt.time,
        open_at=day.map(opens),
        close_at=day.map(closes),
        is_regular=(bars["ts"] > day.map(opens)) & (bars["ts"] <= day.map(closes)),
    )


def oracle(own: pd.DataFrame, at: int) -> dict[str, float]:
    """Volume at the time of day, gap and moves of one symbol at one bar, in plain words."""
    bar = own.iloc[at]
    past = own.iloc[: at + 1]
    out = dict.fromkeys(("volume_surge", "premarket_gap", "change_1", "change_5"), np.nan)
    days = [day for day in past["day"].unique() if day < bar["day"]]
    # The first day of all may be a part of a day.
    if len(days[1:]) >= 20:
        volumes = []
        for day in days[-20:]:
            of_day = past[past["day"] == day]
            if bar["is_regular"] and bar["ts"] - bar["open_at"] > (of_day["close_at"] - of_day["open_at"]).iloc[0]:
                continue
            same = of_day[(of_day["clock"] == bar["clock"]) & (of_day["is_regular"] == bar["is_regular"])]
            volumes.append(same["volume"].sum())
        if len(volumes) >= 10 and sum(volumes) > 0:
            out["volume_surge"] = bar["volume"] / (sum(volumes) / len(volumes))
    closes = past[past["is_regular"] & (past["day"] < bar["day"])].groupby("day")["close"].last()
    today = past[past["day"] == bar["day"]]
    early = today[today["ts"] <= today["open_at"]]
    if len(closes):
        price = early["close"].iloc[-1] if len(early) else today["open"].iloc[0]
        out["premarket_gap"] = 100 * (price / closes.iloc[-1] - 1)
        out["change_1"] = bar["close"] / closes.iloc[-1] - 1
    if len(closes) >= 5:
        out["change_5"] = bar["close"] / closes.iloc[-5] - 1
    return out


def sample(frame: pd.DataFrame, n: int) -> list[int]:
    return sorted(np.random.default_rng(3).choice(len(frame), n, replace=False).tolist())


def test_volume_and_gap_are_what_a_plain_loop_over_sessions_says(market, features):
    placed = sessions_by_clock(market.bars, market.calendar)
    compared = {"volume_surge": 0, "premarket_gap": 0}
    # With bars before the open, paused, listed late, plain.
    for symbol in ("S00", "S01", "S21", "S04"):
        own = placed[placed["symbol"] == symbol].reset_index(drop=True)
        ours = features[features["symbol"] == symbol].reset_index(drop=True)
        for at in sample(own, 50):
            expected = oracle(own, at)
            for name in compared:
                np.testing.assert_allclose(ours[name][at], expected[name], rtol=1e-12, err_msg=f"{symbol} {at}")
                compared[name] += bool(np.isfinite(expected[name]))

    assert min(compared.values()) > 80


def test_breadth_and_sector_moves_count_from_closes_of_sessions(market, features):
    placed = sessions_by_clock(market.bars, market.calendar)
    own = {symbol: frame.reset_index(drop=True) for symbol, frame in placed.groupby("symbol")}
    sector = market.instruments.set_index("symbol")["sector"]
    wanted = features[(features["symbol"] == "S03") & (features["ts"] > "2012-10-20")]
    compared = 0
    for row in wanted.iloc[sample(wanted, 8)].itertuples():
        moves = {}
        for symbol in sorted(market.stocks):
            at = np.flatnonzero((own[symbol]["ts"] == row.ts).to_numpy())
            if len(at):
                moves[symbol] = oracle(own[symbol], int(at[0]))
        one = np.array([move["change_1"] for move in moves.values()])
        one = one[np.isfinite(one)]
        breadth = np.sign(one).sum() / len(one) if len(one) >= 20 else np.nan
        others = [m["change_5"] for s, m in moves.items() if s != "S03" and sector[s] == sector["S03"]]
        others = [value for value in others if np.isfinite(value)]
        np.testing.assert_allclose(row.market_breadth, breadth, rtol=1e-12)
        np.testing.assert_allclose(row.sector_momentum, np.mean(others) if others else np.nan, rtol=1e-9, atol=1e-15)
        compared += bool(np.isfinite(breadth)) + bool(others)

    assert compared > 6


def test_volume_at_ten_is_compared_with_ten_oclock_whatever_the_clocks_and_early_closes_do(market):
    # Ten times the volume at every first half hour: no surge, because it is always so.
    ts = market.bars["ts"].dt.tz_convert(NEW_YORK)
    is_first = (ts.dt.hour == 10) & (ts.dt.minute == 0)
    steady = market.bars.assign(volume=np.where(is_first, 10_000.0, 1_000.0))
    steady.loc[steady["ts"].isin(steady["ts"][is_first][-1:]), "volume"] = 30_000.0
    panel = dataclasses.replace(market, bars=steady)
    rows = stock_rows(panel)[lambda frame: frame["symbol"] == "S04"]

    surge = compute_features(panel, rows)["volume_surge"].dropna()

    # Never less than 1: a bar of those 20 sessions that did not trade counts with nothing.
    assert surge.min() >= 1.0 - 1e-12
    assert surge.median() == pytest.approx(1.0, abs=0.12)
    assert (surge < 1.4).mean() > 0.99


def test_the_time_of_session_runs_from_open_to_close_on_short_days_too(market, features):
    short = features[(features["symbol"] == "S04") & (features["ts"].dt.date == pd.Timestamp("2012-11-23").date())]

    assert short["time_of_session"].iloc[-1] == 1.0
    np.testing.assert_allclose((short["time_of_session"] * 7).round(), short["time_of_session"] * 7, atol=1e-9)
    early = features[(features["symbol"] == "S00") & (features["time_of_session"] <= 0.0)]
    assert len(early) > 50
    assert early["premarket_gap"].notna().mean() > 0.9


def test_no_feature_moves_when_the_future_is_taken_away_in_the_middle_of_a_session(market):
    moments = np.sort(market.bars["ts"].unique())
    cuts = [pd.Timestamp(moments[at]) for at in (len(moments) // 2, len(moments) * 3 // 4 + 5, len(moments) - 20)]
    rows = stock_rows(market)
    rows = rows[rows["symbol"].isin(["S00", "S01", "S04", "S21"])].reset_index(drop=True)

    assert truncation_replay(market, rows, cuts, catalogue=BOTH, rtol=0.0).empty


def test_the_leak_check_gives_no_alarm_and_had_values_of_every_feature_of_sessions(market):
    report = check_features(market, stock_rows(market), catalogue=BOTH, seed=1, n_cuts=3, n_symbols=6)

    assert report.passed, report.leaks
    compared = {verdict.column for verdict in report.verdicts if verdict.n_compared}
    assert set(OF_SESSIONS) <= compared


def test_a_planted_leak_into_the_running_session_is_caught(market, monkeypatch):
    from catalyst_ml.features import intraday_inputs

    def whole_day(open_, close, clock):
        last = pd.Series(close).groupby(clock.session).transform("last").to_numpy()
        return 100.0 * (last / close - 1.0)

    monkeypatch.setattr(intraday_inputs, "session_gap", whole_day)
    report = check_features(market, stock_rows(market), catalogue=CATALOGUE, seed=1, n_cuts=3, n_symbols=6)

    assert {verdict.column for verdict in report.verdicts if verdict.n_alarms} == {"premarket_gap"}


def test_new_bars_alone_give_the_values_of_a_full_pass(market, features):
    windows = [spec.name for spec in BOTH if spec.lookback_bars < 500]
    for since in (pd.Timestamp("2012-12-19 17:30", tz="UTC"), pd.Timestamp("2012-12-24 18:00", tz="UTC")):
        previous = features[features["ts"] <= since]

        updated = update_features(market, previous, since, catalogue=BOTH)

        keys = ["symbol", "ts"]
        both = updated.sort_values(keys, ignore_index=True), features.sort_values(keys, ignore_index=True)
        pd.testing.assert_frame_equal(both[0][[*keys, *windows]], both[1][[*keys, *windows]], check_exact=True)


def test_an_event_is_served_as_it_was_trained(market, features):
    catalogue = as_intraday(BOTH)
    row = features[features["symbol"] == "S04"].iloc[-7]
    window = window_of(market, "S04", row["ts"], n_bars=500)
    context = context_of(market, "S04", row["ts"], catalogue=BOTH, n_bars=500)

    served = features_of_last_bar(window, context, catalogue=catalogue)

    assert list(served) == [spec.name for spec in BOTH]
    for name in OF_SESSIONS:
        np.testing.assert_equal(served[name], row[name])
        assert np.isfinite(row[name]), name


def test_a_market_that_never_closes_has_utc_days_for_sessions():
    panel = make_intraday_panel(n_stocks=2, calendar_name="24/7", first="2018-01-01", last="2018-02-12", before_open=0)
    placed = sessions_by_clock(panel.bars, panel.calendar)
    ours = compute_features(panel, stock_rows(panel), catalogue=BOTH)
    own = placed[placed["symbol"] == "S01"].reset_index(drop=True)
    values = ours[ours["symbol"] == "S01"].reset_index(drop=True)

    for at in sample(own, 60):
        expected = oracle(own, at)
        for name in ("volume_surge", "premarket_gap"):
            np.testing.assert_allclose(values[name][at], expected[name], rtol=1e-12)
    # The bar that ends at midnight is the last of its day.
    midnight = own["ts"].dt.hour.eq(0) & own["ts"].dt.minute.eq(0)
    assert (own["is_regular"]).all()
    assert values["time_of_session"][midnight].eq(1.0).all()
    assert values["volume_surge"].notna().sum() > 100


def test_a_stock_of_two_sessions_lacks_what_needs_more_and_stops_nobody(market, features):
    day = market.calendar.session_of(market.bars["ts"])
    is_young = market.bars["symbol"].eq("S01") & (day < day.unique().sort_values()[-2])
    panel = dataclasses.replace(market, bars=market.bars[~is_young].reset_index(drop=True))

    values = compute_features(panel, stock_rows(panel), catalogue=BOTH)

    own = values[values["symbol"] == "S01"]
    assert len(own) > 10
    assert own["volume_surge"].isna().all()
    assert own["premarket_gap"].isna().any()
    assert own["premarket_gap"].notna().any()
    both = features.merge(values, on=["symbol", "ts"], suffixes=("_before", ""))
    both = both[both["symbol"] != "S01"]
    assert both["premarket_gap"].equals(both["premarket_gap_before"].rename("premarket_gap"))


def test_intraday_bars_without_a_calendar_and_with_the_wrong_one_are_refused(market):
    with pytest.raises(DataContractError, match="follow the one before within 12 hours"):
        dataclasses.replace(market, calendar=None)
    other = dataclasses.replace(market, bars=market.bars.assign(ts=market.bars["ts"] + pd.Timedelta(days=2)))
    with pytest.raises(DataContractError, match="days without a session of calendar XNYS, first S00"):
        compute_features(other, stock_rows(other))


def test_daily_features_and_their_version_do_not_know_of_intraday_forms():
    daily = make_panel(n_stocks=3, n_bars=60)

    assert declared_for(daily, CATALOGUE) is CATALOGUE
    assert [spec.name for spec in as_intraday(BOTH)] == [spec.name for spec in BOTH]
    assert feature_set_version(as_intraday(CATALOGUE)) != feature_set_version(CATALOGUE)
    assert compute_features(daily, stock_rows(daily))["volume_surge"].notna().any()


def test_the_device_door_computes_the_same_intraday_forms(market, features):
    rows = features[["symbol", "ts"]]

    ours = compute_features_on("cpu", market, rows, catalogue=BOTH).features

    assert ours.equals(features)


def test_options_activity_is_missing_without_a_source(features):
    assert features["options_activity"].isna().all()


@pytest.fixture(scope="module")
def real_market() -> MarketPanel:
    folder = os.environ.get("CATALYST_MARKET_DATA")
    if not folder:
        pytest.skip("CATALYST_MARKET_DATA is not set: features were not computed on real 5-minute bars")
    bars = pd.read_parquet(Path(folder) / "bars_intraday.parquet")
    bars = bars[(bars["source"] == "alert_overlay") & (bars["interval_min"] == 5) & (bars["ts"] < "2025-11-01")]
    names = sorted(bars["symbol"].unique())[:24]
    calendar = TradingCalendar()
    bars = bars[bars["symbol"].isin(names)].astype({"symbol": "str"})
    bars = bars.assign(ts=(bars["ts"] + pd.Timedelta(minutes=5)).astype(TIME_DTYPE), split_factor=1.0)
    days = bars["ts"].dt.tz_convert(calendar.zone).dt.tz_localize(None).dt.normalize()
    bars = bars[calendar.is_session(pd.DatetimeIndex(days))]
    bars = bars.sort_values(["symbol", "ts"], ignore_index=True)[BARS.column_names]
    instruments = make_instruments(dict.fromkeys(names, "one"))
    return MarketPanel(bars, instruments[instruments["symbol"].isin(names)], NEWS.empty(), calendar=calendar)


@pytest.mark.real_data
def test_features_of_real_five_minute_bars_agree_with_the_loop_and_do_not_look_ahead(real_market):
    rows = stock_rows(real_market)
    features = compute_features(real_market, rows, catalogue=BOTH)
    placed = sessions_by_clock(real_market.bars, real_market.calendar)
    symbol = sorted(real_market.stocks)[0]
    own = placed[placed["symbol"] == symbol].reset_index(drop=True)
    ours = features[features["symbol"] == symbol].reset_index(drop=True)

    for at in sample(own, 25):
        expected = oracle(own, at)
        for name in ("volume_surge", "premarket_gap"):
            np.testing.assert_allclose(ours[name][at], expected[name], rtol=1e-12)
    in_hours = ours["time_of_session"].between(0.0, 1.0, inclusive="right") & (ours["ts"] > "2025-06-15")
    assert ours.loc[in_hours, "volume_surge"].notna().mean() > 0.95
    # At its own time of day volume is as usual; over all bars of the day the open and the close would be surges.
    assert 0.4 < ours.loc[in_hours, "volume_surge"].median() < 1.1
    by_time = ours[in_hours].groupby(ours["time_of_session"].round(4))["volume_surge"].median()
    assert by_time.iloc[0] < 2.0
    assert by_time.iloc[-1] < 2.0
    report = check_features(real_market, rows, catalogue=BOTH, seed=2, n_cuts=3, n_symbols=4)
    assert report.passed, report.leaks

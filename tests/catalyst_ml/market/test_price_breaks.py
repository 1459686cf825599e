"""A missed corporate action is told from a crash by what follows the gap."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.market.price_breaks import plain_ratio, sessions_of, suspected_breaks
from tests.catalyst_ml.quality.dirty_bars import CALENDAR, CLOSES, quiet_bars, with_price_scale, with_value

KNOWN_BREAKS = {
    "ABT 2013-01-02", "DISCA 2014-08-07", "DISCK 2014-08-07", "FIS 2008-07-03", "GOOGL 2014-04-03", "HPQ 2015-11-02",
    "JCI 2012-10-01", "NI 2015-07-02", "PENN 2013-11-04", "ANTM 2005-06-02", "TRMB 2007-02-26", "GNRC 2010-02-12",
    "JCI 2007-07-02",
}  # fmt: skip
"""The list of the data folder's README: actions missing, bogus, or of another company's line."""

OTHER_BREAKS = {
    "A 2014-11-03", "CAH 2009-09-01", "COP 2012-05-01", "IRM 2006-02-02", "IRM 2006-02-03", "MDLZ 2012-10-02",
    "MRO 2011-07-01", "MS 2007-07-02", "MSI 2011-01-04", "NLOK 2016-03-04", "TMUS 2013-05-01", "TT 2013-12-02",
}  # fmt: skip
"""Not on the README's list, but the vendor's dividend column books a spin-off or special dividend of that size for
all but two: IRM has one day at two thirds of its price, MSI a spin-off on the day of its reverse split."""

REAL_MOVES = {"HIG 2008-10-30", "HIG 2008-12-05", "MS 2008-10-13", "RF 2008-09-19", "STT 2009-01-20"}


def places(breaks: pd.DataFrame) -> set[str]:
    return set(breaks["symbol"] + " " + breaks["ts"].dt.strftime("%Y-%m-%d"))


@pytest.mark.parametrize("factor", [2.0, 1.5, 7.0, 0.1, 1.25])
def test_a_calm_change_of_scale_is_a_missed_action_and_its_factor_is_suggested(factor):
    breaks = suspected_breaks(with_price_scale(quiet_bars(), "BBB", 100, factor))

    assert places(breaks) == {f"BBB {CLOSES[100]:%Y-%m-%d}"}
    assert breaks["kind"].tolist() == ["missed_action"]
    assert breaks["suggested_factor"].tolist() == pytest.approx([factor])


def test_a_recorded_split_is_no_break():
    bars = with_value(with_price_scale(quiet_bars(), "BBB", 100, 2.0), "BBB", 100, split_factor=2.0)

    assert suspected_breaks(bars).empty


def test_a_factor_that_the_price_does_not_follow_is_bogus_even_on_the_second_day():
    breaks = suspected_breaks(with_value(quiet_bars(), "CCC", 1, split_factor=0.3))

    assert places(breaks) == {f"CCC {CLOSES[1]:%Y-%m-%d}"}
    assert breaks[["kind", "suggested_factor"]].to_numpy().tolist() == [["bogus_factor", 1.0]]


@pytest.mark.parametrize(
    "news",
    [{"low": 30.0}, {"volume": 2e7}],
    ids=["it goes on falling during the day", "many times the usual dollars change hands"],
)
def test_a_crash_is_no_break(news):
    fallen = with_price_scale(quiet_bars(), "AAA", 100, 2.0)

    assert places(suspected_breaks(fallen)) == {f"AAA {CLOSES[100]:%Y-%m-%d}"}
    assert suspected_breaks(with_value(fallen, "AAA", 100, **news)).empty


def test_a_jump_across_a_hole_of_weeks_or_in_a_handful_of_shares_is_not_judged():
    split = with_price_scale(quiet_bars(), "AAA", 100, 2.0)
    thin = with_value(split, "AAA", 100, volume=50.0)
    hole = split[(split["symbol"] != "AAA") | (split["ts"] < CLOSES[90]) | (split["ts"] >= CLOSES[100])]

    assert suspected_breaks(thin).empty
    assert suspected_breaks(hole.reset_index(drop=True)).empty


def test_the_first_bar_of_a_symbol_is_compared_with_no_other_symbol():
    cheap = with_price_scale(quiet_bars(), "BBB", 0, 50.0)

    assert suspected_breaks(cheap).empty


def test_no_bars_have_no_breaks():
    assert suspected_breaks(quiet_bars().head(0)).empty


def test_intraday_bars_roll_up_to_the_date_of_the_exchange_with_the_first_bars_time():
    ts = pd.DatetimeIndex(["2014-06-06 20:00", "2014-06-07 00:30", "2014-06-09 13:35"], tz="UTC").as_unit("us")
    bars = pd.DataFrame({"symbol": "AAA", "ts": ts, "open": [10.0, 11.0, 5.0], "high": [12.0, 13.0, 6.0],
                         "low": [9.0, 8.0, 4.0], "close": [11.0, 12.0, 5.5], "volume": [100.0, 50.0, 30.0],
                         "split_factor": [1.0, 1.0, 2.0]}).astype({"symbol": "str"})  # fmt: skip

    rolled = sessions_of(bars, calendar=CALENDAR)

    # Half past midnight UTC is still the evening of the 6th in New York.
    assert rolled["ts"].tolist() == [ts[0], ts[2]]
    values = rolled[["open", "high", "low", "close", "volume", "split_factor"]].to_numpy().tolist()
    assert values == [[10.0, 13.0, 8.0, 12.0, 150.0, 1.0], [5.0, 6.0, 4.0, 5.5, 30.0, 2.0]]


@pytest.mark.parametrize(("factor", "ratio"), [(1.99, 2.0), (0.667, 2 / 3), (2.58, np.nan), (0.0, np.nan)])
def test_a_plain_ratio_is_named_only_if_it_fits_within_three_percent(factor, ratio):
    assert plain_ratio(factor) == pytest.approx(ratio, nan_ok=True)


@pytest.mark.real_data
@pytest.mark.skipif("CATALYST_MARKET_DATA" not in os.environ, reason="CATALYST_MARKET_DATA is not set")
def test_on_real_bars_every_known_break_is_named_and_no_real_move():
    raw = pd.read_parquet(Path(os.environ["CATALYST_MARKET_DATA"]) / "bars_daily.parquet")
    raw = raw.sort_values(["symbol", "date"], ignore_index=True)
    ts = CALENDAR.closes(pd.DatetimeIndex(raw["date"]))
    bars = raw.assign(ts=ts, split_factor=raw["split_coefficient"], volume=raw["volume"].astype("float64"))

    found = places(suspected_breaks(bars))

    assert found == KNOWN_BREAKS | OTHER_BREAKS
    assert not found & REAL_MOVES

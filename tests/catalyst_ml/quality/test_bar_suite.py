"""Quiet bars pass; with one fault each, the rule that names the fault says where it is."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.quality.bar_suite import BAR_RULES, BarCheck, check_bars
from catalyst_ml.quality.validation import require_valid
from tests.catalyst_ml.quality.dirty_bars import CALENDAR, CLOSES, quiet_bars, stocks, with_price_scale, with_value

Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def check(bars: pd.DataFrame, **options: object) -> BarCheck:
    return check_bars(bars, stocks(bars), CALENDAR, **options)


def failed(found: BarCheck) -> set[str]:
    return {rule.name for rule in found.result.rules if not rule.passed}


def without(symbol: str, first: int, last: int) -> Spoil:
    def spoil(bars: pd.DataFrame) -> pd.DataFrame:
        gone = (bars["symbol"] == symbol) & bars["ts"].between(CLOSES[first], CLOSES[last])
        return bars[~gone].reset_index(drop=True)

    return spoil


def value(session: int, **values: float) -> Spoil:
    return lambda bars: with_value(bars, "BBB", session, **values)


def copied(bars: pd.DataFrame) -> pd.DataFrame:
    names = ["open", "high", "low", "close", "volume"]
    row = bars.loc[(bars["symbol"] == "BBB") & (bars["ts"] == CLOSES[49]), names].iloc[0]
    return with_value(bars, "BBB", 50, **row.to_dict())


def restated(bars: pd.DataFrame) -> pd.DataFrame:
    is_other = bars["symbol"] != "BBB"
    prices = {name: bars[name].where(is_other, bars[name] * 0.987654321) for name in ("open", "high", "low", "close")}
    return bars.assign(**prices)


def off_the_close(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.assign(ts=bars["ts"].where(bars["ts"] != CLOSES[50], CLOSES[50] - pd.Timedelta(minutes=1)))


def three_splits(bars: pd.DataFrame) -> pd.DataFrame:
    for symbol in ("AAA", "BBB", "CCC"):
        bars = with_price_scale(bars, symbol, 60, 2.0)
    return bars


def newest_session_of_one(bars: pd.DataFrame) -> pd.DataFrame:
    return bars[(bars["ts"] < CLOSES[199]) | (bars["symbol"] == "DDD")].reset_index(drop=True)


FAULTS: list[tuple[str, str, Spoil, str | None]] = [
    ("bar_key_is_unique", "critical", lambda b: pd.concat([b, b.tail(1)], ignore_index=True), None),
    ("bars_are_in_time_order", "critical", lambda b: b.iloc[::-1].reset_index(drop=True), None),
    ("numbers_are_finite", "critical", value(50, close=np.inf), "BBB"),
    ("prices_and_factors_are_positive", "critical", value(50, low=0.0), "BBB"),
    ("high_is_the_highest_price", "critical", value(50, high=90.0), "BBB"),
    ("low_is_the_lowest_price", "critical", value(50, low=130.0), "BBB"),
    ("volume_is_never_negative", "critical", value(50, volume=-1.0), "BBB"),
    ("price_scale_holds_overnight", "quarantine", lambda b: with_price_scale(b, "BBB", 100, 2.0), "BBB"),
    ("recorded_split_shows_in_the_price", "quarantine", value(50, split_factor=3.0), "BBB"),
    ("bar_closes_with_a_session", "warning", off_the_close, "AAA"),
    ("move_is_smaller_than_a_missed_split", "warning", value(50, open=60.0, low=50.0, volume=2e7), "BBB"),
    ("close_rises_below_100_falls_below_60_percent", "warning", value(50, close=250.0, high=250.0), "BBB"),
    ("volume_is_above_zero", "warning", value(50, volume=0.0), "BBB"),
    ("high_is_above_low", "warning", value(50, open=100.0, high=100.0, low=100.0, close=100.0), "BBB"),
    ("bar_is_no_copy_of_the_bar_before", "warning", copied, "BBB"),
    ("price_is_between_1_cent_and_100000_dollars", "warning", lambda b: with_price_scale(b, "BBB", 0, 0.0001), "BBB"),
    ("prices_are_raw_quotes", "warning", restated, "BBB"),
    ("symbol_is_traded_from_the_start", "warning", without("BBB", 0, 20), "BBB"),
    ("history_has_no_missing_session", "warning", without("BBB", 50, 52), "BBB"),
    ("newest_session_has_most_stocks", "critical", newest_session_of_one, None),
    ("few_stock_days_see_a_break", "critical", three_splits, None),
    ("few_stock_days_see_a_break", "warning", lambda b: with_price_scale(b, "BBB", 60, 2.0), None),
]  # fmt: skip


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return quiet_bars()


def test_quiet_bars_keep_every_rule(bars):
    found = check(bars)

    assert failed(found) == set()
    assert found.findings.empty
    assert require_valid(found.result) is found.result


@pytest.mark.parametrize(
    ("rule", "severity", "spoil", "symbol"), FAULTS, ids=[f"{fault[0]} {fault[1]}" for fault in FAULTS]
)
def test_each_fault_breaks_the_rule_that_names_it(bars, rule, severity, spoil, symbol):
    # The rule alone: all of them take more than a second, and twenty faults would take twenty times that.
    found = check(spoil(bars), only=[rule])

    assert failed(found) == {rule}
    assert {r.severity for r in found.result.rules if r.name == rule} == {severity}
    named = found.findings[found.findings["rule"] == rule]
    assert set(named["symbol"]) >= ({symbol} if symbol else set())


def test_every_rule_on_daily_bars_can_fail():
    intraday = {
        "price_scale_holds_within_the_bar",
        "volume_outside_regular_hours_is_above_zero",
        "bar_is_in_regular_hours",
    }
    shown = {fault[0] for fault in FAULTS} | intraday | {"adjusted_close_moves_with_the_price"}

    assert {rule.name for rule in BAR_RULES} <= shown


def test_a_break_is_told_in_words_with_the_values_it_was_found_with(bars):
    found = check(with_price_scale(bars, "BBB", 100, 2.0))

    (finding,) = found.breaks.to_dict("records")
    assert (finding["symbol"], finding["ts"]) == ("BBB", CLOSES[100])
    assert "a factor of 2 fits" in finding["detail"]
    assert json.loads(finding["row_values"])["split_factor"] == 1.0
    shown = next(rule for rule in found.result.rules if rule.name == "price_scale_holds_overnight")
    assert shown.observed == "1 of 800 rows against the rule"
    assert shown.examples[0].startswith(f"BBB {CLOSES[100]:%Y-%m-%d}")


def test_a_break_in_a_bar_that_stands_there_twice_is_one_finding(bars):
    broken = with_price_scale(bars, "BBB", 100, 2.0)
    twice = pd.concat([broken, broken], ignore_index=True).sort_values(["symbol", "ts"], ignore_index=True)

    assert (
        not check(twice, only=["recorded_split_shows_in_the_price"]).breaks.duplicated(["rule", "symbol", "ts"]).any()
    )
    assert not check(twice, only=["bar_key_is_unique"]).result.passed


def test_a_hole_is_told_with_its_length(bars):
    found = check(without("BBB", 50, 52)(bars), only=[])

    assert found.findings["detail"].tolist() == [f"3 sessions missing before {CLOSES[53]:%Y-%m-%d}"]


def test_a_break_released_as_real_costs_no_stock_days_any_more(bars):
    broken = three_splits(bars)
    released = check(broken, only=[]).breaks[["symbol", "ts"]]

    freed = check(broken, released=released, only=["few_stock_days_see_a_break"])

    assert not check(broken, only=["few_stock_days_see_a_break"]).result.passed
    assert freed.result.passed
    assert len(freed.breaks) == 3


def test_an_adjusted_close_is_a_second_witness_of_an_action_too_lively_for_the_first(bars):
    # A special dividend of a quarter of the price, on a day of wild trading.
    paid = with_value(with_price_scale(bars, "BBB", 100, 4 / 3), "BBB", 100, volume=3e7)

    assert check(paid, only=[]).breaks.empty
    found = check(paid, adjusted_close=bars["close"], only=[])
    assert found.breaks[["rule", "symbol", "ts"]].to_numpy().tolist() == [
        ["adjusted_close_moves_with_the_price", "BBB", CLOSES[100]]
    ]


def test_an_index_may_jump_and_have_no_volume(bars):
    wild = with_value(with_price_scale(bars, "BBB", 100, 0.5), "BBB", 30, volume=0.0)
    instruments = stocks(bars).assign(kind=["stock", "volatility", "stock", "stock"]).astype({"kind": "str"})

    assert check_bars(wild, instruments, CALENDAR, only=[]).findings.empty


def test_a_dataset_of_survivors_is_named():
    symbols = tuple(f"S{i:02d}" for i in range(20))
    survivors = quiet_bars(len(CLOSES), symbols=symbols)
    dead = survivors[(survivors["symbol"] != "S07") | (survivors["ts"] < CLOSES[300])].reset_index(drop=True)

    rule = ["some_symbol_stops_trading"]
    assert failed(check(survivors, only=rule)) == set(rule)
    assert failed(check(dead, only=rule)) == set()


def test_members_of_the_index_without_bars_and_restated_rows_are_counted(bars):
    ended = [None, None, None, "2001-01-02"]
    members = pd.DataFrame(
        {"symbol": ["AAA", "BBB", "XXX", "OLD"], "start_date": ["1996-01-02"] * 4, "end_date": ended}
    )

    found = check(bars, members=members, n_restated=7)

    observed = {rule.name: rule.observed for rule in found.result.rules}
    assert {"index_members_have_bars", "values_were_never_restated"} <= failed(found)
    assert observed["values_were_never_restated"] == "1 of 1 rows against the rule"


def test_a_noisy_source_is_counted_in_full_and_told_in_part(bars):
    found = check(quiet_bars(500).assign(volume=0.0), only=["volume_is_above_zero"])

    counted = next(rule for rule in found.result.rules if rule.name == "volume_is_above_zero")
    assert counted.n_unexpected == 2_000
    assert (found.findings["rule"] == "volume_is_above_zero").sum() == 1_000


def test_no_bars_are_refused_not_crashed_on(bars):
    with pytest.raises(DataContractError, match=r"bars refused[\s\S]*there_are_bars"):
        require_valid(check(bars.head(0)).result)


def test_checking_leaves_the_frame_as_it_was(bars):
    before = bars.copy()

    check(bars, only=[])

    pd.testing.assert_frame_equal(bars, before)


# --- intraday ---------------------------------------------------------------------------------------------


def intraday(n_days: int = 8) -> pd.DataFrame:
    """Five-minute bars of one stock, 78 a session; the last session is the early close of 2015-11-27."""
    sessions = CALENDAR.sessions(pd.Timestamp("2015-11-01"), pd.Timestamp("2015-11-27"))[-n_days:]
    ends = [
        pd.date_range(opened + pd.Timedelta(minutes=5), closed, freq="5min")
        for opened, closed in zip(CALENDAR.opens(sessions), CALENDAR.closes(sessions), strict=True)
    ]
    ts = ends[0].append(ends[1:]).as_unit("us")
    price = np.round(100.0 + np.sin(np.arange(len(ts)) / 7.0), 2)
    frame = pd.DataFrame({"symbol": "AAA", "ts": ts, "open": price, "high": price + 0.05, "low": price - 0.05,
                          "close": price, "volume": 1_000.0 + np.arange(len(ts)), "split_factor": 1.0})  # fmt: skip
    return frame.astype({"symbol": "str"})


def test_whole_sessions_of_five_minute_bars_with_an_early_close_keep_every_rule():
    found = check(intraday(), minutes=5)

    assert failed(found) == set()


def test_a_thin_session_and_bars_outside_regular_hours_are_named():
    bars = intraday()
    thin = bars.drop(index=range(90, 110)).reset_index(drop=True)
    early = bars.head(1).assign(ts=bars["ts"].iloc[0] - pd.Timedelta(hours=2), volume=0.0)

    assert failed(check(thin, minutes=5)) == {"session_has_most_of_its_bars"}
    assert failed(check(pd.concat([early, bars], ignore_index=True), minutes=5)) == {
        "bar_is_in_regular_hours",
        "volume_outside_regular_hours_is_above_zero",
    }


def test_a_bar_that_opens_before_a_split_and_closes_after_it_is_set_aside():
    bars = intraday()
    prices = ["open", "high", "low", "close"]
    after = bars["ts"] >= bars["ts"].iloc[100]
    split = bars.assign(**{name: bars[name].where(~after, bars[name] / 7.0).round(2) for name in prices})
    split.loc[100, ["open", "high"]] = bars.loc[100, "open"]

    found = check(split, minutes=5, only=[])

    # Bar 100 lies in the second session: the first has 78 bars.
    assert found.breaks[["rule", "ts"]].to_numpy().tolist() == [["price_scale_holds_within_the_bar", bars["ts"][100]]]


def test_an_overnight_change_of_scale_is_found_in_intraday_bars_at_the_first_bar_after_it():
    bars = intraday()
    prices = ["open", "high", "low", "close"]
    after = bars["ts"] >= bars["ts"].iloc[5 * 78]
    split = bars.assign(**{name: bars[name].where(~after, bars[name] / 2.0).round(2) for name in prices})
    split = split.assign(volume=split["volume"] * 10.0)

    found = check(split, minutes=5, only=[])

    assert found.breaks[["rule", "ts"]].to_numpy().tolist() == [["price_scale_holds_overnight", bars["ts"][5 * 78]]]

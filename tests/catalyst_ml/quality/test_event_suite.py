"""Events are held out for what can be known without their outcome."""

import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENTS, PATTERNS, pattern_column
from catalyst_ml.quality.event_suite import LATE_ENTRY, NO_VOLUME, SEES_BREAK, EventCheck, check_events, hold_out
from tests.catalyst_ml.quality.dirty_bars import CALENDAR, CLOSES, quiet_bars, with_value

NO_BREAKS = pd.DataFrame({"symbol": pd.Series(dtype="str"), "ts": pd.DatetimeIndex([], tz="UTC").as_unit("us")})


def make_events(*places: tuple[str, int, int]) -> pd.DataFrame:
    """EVENTS with one hammer each, from (symbol, session, direction)."""
    frame = pd.DataFrame(places, columns=["symbol", "session", "direction"]).astype({"symbol": "str"})
    frame = frame.assign(ts=CLOSES[frame["session"]], direction_inferred=False).astype({"direction": "int8"})
    frame = frame.assign(**{pattern_column(name): name == "hammer" for name in PATTERNS})
    return EVENTS.validate(frame[EVENTS.column_names].sort_values(["symbol", "ts"], ignore_index=True))


def check(events: pd.DataFrame, bars: pd.DataFrame, breaks: pd.DataFrame = NO_BREAKS) -> EventCheck:
    return check_events(events, bars, breaks, calendar=CALENDAR)


def failed(found: EventCheck) -> set[str]:
    return {rule.name for rule in found.result.rules if not rule.passed}


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return quiet_bars(240)


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return make_events(*((symbol, session, 1) for symbol in ("AAA", "BBB") for session in range(20, 235, 5)))


def test_events_on_quiet_bars_are_all_kept(bars, events):
    found = check(events, bars)

    assert failed(found) == set()
    pd.testing.assert_frame_equal(hold_out(events, found.findings), events)


def test_events_that_see_a_break_are_held_out_and_told_which(bars, events):
    breaks = pd.DataFrame({"symbol": pd.Series(["BBB"], dtype="str"), "ts": CLOSES[[220]]})

    found = check(events, bars, breaks)

    # Sessions 215 (its trade may live to 220), 220, 225 and 230; 4 of 86 events.
    held = found.findings
    assert held["ts"].tolist() == list(CLOSES[[215, 220, 225, 230]])
    assert set(held["rule"]) == {SEES_BREAK}
    assert held["detail"].tolist()[:2] == [
        f"price break of {CLOSES[220]:%Y-%m-%d} before its horizon ends",
        f"price break of {CLOSES[220]:%Y-%m-%d} in its history",
    ]
    assert failed(found) == {SEES_BREAK}
    assert len(hold_out(events, held)) == len(events) - 4


def test_an_event_of_a_bar_that_nobody_traded_is_held_out(bars, events):
    found = check(events, with_value(bars, "AAA", 50, volume=0.0))

    assert found.findings[["rule", "symbol", "ts"]].to_numpy().tolist() == [[NO_VOLUME, "AAA", CLOSES[50]]]


def test_an_entry_days_later_is_held_out_one_skipped_session_and_the_newest_event_are_not(bars, events):
    gone = (bars["symbol"] == "AAA") & bars["ts"].isin([CLOSES[51], CLOSES[101], CLOSES[102]])
    newest = bars["ts"] <= CLOSES[230]

    found = check(events[events["ts"] <= CLOSES[230]], bars[~gone & newest].reset_index(drop=True))

    assert found.findings[["rule", "ts", "detail"]].to_numpy().tolist() == [
        [LATE_ENTRY, CLOSES[100], "the next bar comes 3 sessions later"]
    ]


def test_a_flood_of_held_events_is_critical_unless_one_break_made_it(bars):
    symbols = ["AAA", "BBB", "CCC"]
    events = make_events(*((symbol, session, 1) for symbol in symbols for session in range(20, 235, 5)))
    breaks = pd.DataFrame({"symbol": pd.Series(symbols, dtype="str"), "ts": CLOSES[[100] * 3]})

    found, of_one = check(events, bars, breaks), check(events, bars, breaks.head(1))

    assert "few_events_are_held_out" in {rule.name for rule in of_one.result.warnings}

    assert not found.result.passed
    assert {rule.name for rule in found.result.critical_failures} == {"few_events_are_held_out"}


def test_only_the_named_direction_of_a_bar_is_held_out():
    events = make_events(("AAA", 30, -1), ("AAA", 30, 1))

    kept = hold_out(events, events.head(1))

    assert kept["direction"].tolist() == [1]


def test_no_events_pass_and_an_event_without_a_bar_is_refused(bars, events):
    assert check(events.head(0), bars).result.passed
    with pytest.raises(DataContractError, match="have no bar"):
        check(events, bars[bars["symbol"] != "AAA"].reset_index(drop=True))

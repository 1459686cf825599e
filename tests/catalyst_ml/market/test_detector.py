import hashlib
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENTS, PATTERNS, pattern_column
from catalyst_ml.market.detector import DETECTOR_VERSION, detect_events
from tests.catalyst_ml.market.bar_frames import (
    CALENDAR,
    CLOSES,
    QUIET,
    intraday_closes,
    make_bars,
    make_instruments,
    random_bars,
)
from tests.reference.detector_oracle import detect

STOCKS = make_instruments(AAA="stock", BBB="stock")


def _seen(events: pd.DataFrame) -> set[tuple[str, pd.Timestamp, int, str]]:
    return {
        (row.symbol, row.ts, int(row.direction), pattern)
        for row in events.itertuples()
        for pattern in PATTERNS
        if getattr(row, pattern_column(pattern))
    }


def _patterns_of_last_bar(*candles: tuple[float, float, float, float, float]) -> set[tuple[str, int]]:
    """Patterns and directions at the last of ``candles``, which follow 25 quiet bars."""
    bars = make_bars([QUIET] * 25 + list(candles))
    return {(p, side) for _, ts, side, p in _seen(detect_events(bars, STOCKS)) if ts == bars["ts"].iloc[-1]}


# Each case: the bars (open, high, low, close, volume) after a quiet bar of 100 to 100.8, and what upstream sees.
CASES = {
    "nothing": ([(100.5, 101.5, 100.2, 101.0, 1_000)], set()),
    "hammer": ([(100.5, 100.6, 99.0, 100.2, 1_000)], {("hammer", 1)}),
    "lower shadow of exactly two bodies is no hammer": ([(100.5, 100.625, 99.5, 100.0, 1_000)], set()),
    "shooting star": ([(100.5, 102.0, 100.4, 100.75, 1_000)], {("shooting_star", -1)}),
    "bullish engulfing": (
        [(100.7, 101.0, 99.9, 100.0, 1_000), (99.8, 101.2, 99.5, 100.9, 1_000)],
        {("engulfing", 1)},
    ),
    "bearish engulfing": ([(100.9, 101.2, 99.0, 99.8, 1_000)], {("engulfing", -1)}),
    "an equal open does not engulf": ([(100.8, 101.2, 99.0, 99.8, 1_000)], set()),
    "three white soldiers": (
        [(100.2, 101.2, 100.0, 100.9, 1_000), (100.5, 101.5, 100.2, 101.0, 1_000)],
        {("three_white_soldiers", 1)},
    ),
    "three black crows": (
        [
            (100.7, 101.0, 99.9, 100.3, 1_000),
            (100.5, 100.8, 99.7, 100.1, 1_000),
            (100.4, 100.7, 99.5, 99.9, 1_000),
        ],
        {("three_black_crows", -1)},
    ),
    "gap up of exactly one percent": (
        [(100.4, 100.8, 99.8, 100.0, 1_000), (101.0, 101.4, 100.2, 100.6, 1_000)],
        {("gap_up", 1)},
    ),
    "gap down": ([(99.6, 100.2, 99.2, 99.9, 1_000)], {("gap_down", -1)}),
    "twice the mean volume, rising": ([(100.5, 101.5, 100.2, 101.0, 2_000)], {("volume_surge", 1)}),
    "just short of twice the mean volume": ([(100.5, 101.5, 100.2, 101.0, 1_999)], set()),
    "volume surge on a falling bar": ([(100.7, 101.0, 99.9, 100.3, 2_000)], {("volume_surge", -1)}),
    "volume surge on a flat bar counts as bearish, and the doji joins it": (
        [(100.5, 101.0, 100.0, 100.5, 2_000)],
        {("volume_surge", -1), ("doji", -1)},
    ),
    "a doji without any range is none": ([(100.5, 100.5, 100.5, 100.5, 1_000)], set()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_conditions_are_upstreams(case):
    candles, expected = CASES[case]

    assert _patterns_of_last_bar(*candles) == expected


@pytest.mark.parametrize(("close", "direction"), [(101.5, -1), (100.1, 1)])
def test_a_lone_doji_turns_against_the_last_five_bars(close, direction):
    doji = (close, close + 0.5, close - 0.5, close, 1_000.0)

    bars = make_bars([QUIET] * 25 + [doji])
    event = detect_events(bars, STOCKS).iloc[-1]

    assert event["ts"] == CLOSES[25]
    assert event["is_doji"]
    assert event["direction"] == direction
    assert event["direction_inferred"]


def test_a_lone_doji_without_a_move_before_it_makes_no_event():
    assert _patterns_of_last_bar((100.8, 101.3, 100.3, 100.8, 1_000)) == set()


def test_a_pattern_is_seen_again_only_after_the_cooldown():
    hammer = (100.5, 100.6, 99.0, 100.2, 1_000.0)
    bars = make_bars([QUIET] * 25 + [hammer] * 6)

    events = detect_events(bars, STOCKS)

    assert events.loc[events["is_hammer"], "ts"].tolist() == [CLOSES[25], CLOSES[29]]


def test_the_last_bars_of_one_symbol_are_no_history_of_the_next():
    bars = pd.concat(
        [
            make_bars([QUIET] * 25),
            make_bars([(300.0, 301.0, 299.0, 300.8, 9_000.0)] * 21, symbol="BBB"),
        ],
        ignore_index=True,
    )

    assert detect_events(bars, STOCKS).empty


def test_indices_carry_no_events():
    bars = random_bars(np.random.default_rng(1))

    events = EVENTS.validate(detect_events(bars, make_instruments(AAA="index", BBB="volatility")))

    assert events.empty
    assert list(events.columns) == EVENTS.column_names


def test_a_symbol_without_instrument_row_is_refused():
    with pytest.raises(DataContractError, match=r"1 symbols have bars but no instrument row, e.g. \['BBB'\]"):
        detect_events(random_bars(np.random.default_rng(1)), make_instruments(AAA="stock"))


FALLING = (100.7, 101.0, 99.9, 100.3, 1_000.0)
RISING = [(100.0 + i, 101.5 + i, 99.5 + i, 101.0 + i, 1_000.0) for i in range(4)]


def _without(bars: pd.DataFrame, *missing: int) -> pd.DataFrame:
    return bars.drop(index=list(missing)).reset_index(drop=True)


@pytest.mark.parametrize(("missing", "seen_at"), [([], [28]), ([26], [29]), ([27], []), ([28], [])])
def test_soldiers_march_in_three_sessions_in_a_row_or_not_at_all(missing, seen_at):
    bars = _without(make_bars([QUIET] * 25 + [FALLING, *RISING]), *missing)

    events = detect_events(bars, STOCKS)

    assert events.loc[events["is_three_white_soldiers"], "ts"].tolist() == [CLOSES[i] for i in seen_at]


@pytest.mark.parametrize("hole", [1, 60])
def test_there_is_no_gap_and_no_engulfing_against_a_bar_before_a_hole(hole):
    # Opens 5 % above the last known close, and its body holds that bar's: both if it were the previous bar.
    later = (105.0, 106.0, 99.0, 99.5, 1_000.0)
    closes = CLOSES.delete(range(25, 25 + hole))

    assert _seen(detect_events(make_bars([QUIET] * 25 + [later], closes=closes), STOCKS)) == set()
    assert len(_seen(detect_events(make_bars([QUIET] * 25 + [later]), STOCKS))) == 2


def test_the_cooldown_ends_with_time_and_not_with_rows():
    hammer = (100.5, 100.6, 99.0, 100.2, 1_000.0)
    closes = CLOSES.delete(range(27, 30))  # hammers on sessions 25 and 30, two rows apart

    events = detect_events(make_bars([QUIET] * 25 + [hammer, QUIET, hammer], closes=closes), STOCKS)

    assert events.loc[events["is_hammer"], "ts"].tolist() == [CLOSES[25], CLOSES[30]]


def test_a_symbol_that_comes_back_after_months_needs_its_history_anew():
    hammer = (100.5, 100.6, 99.0, 100.2, 1_000.0)
    closes = CLOSES.delete(range(40, 160))

    events = detect_events(make_bars([QUIET] * 40 + [hammer] * 40, closes=closes), STOCKS)

    # The first with 19 bars before it since the return; then every fourth.
    assert events["ts"].tolist() == CLOSES[[*range(160 + 19, 200, 4)]].tolist()


def test_the_first_five_minutes_follow_the_last_ones_of_the_session_before():
    closes = intraday_closes("2014-07-03", "2014-07-07", 5)  # an early close, a holiday and a weekend
    n_before = int((closes < pd.Timestamp("2014-07-04", tz="UTC")).sum())
    candles = [QUIET] * n_before + [(102.0, 103.0, 101.5, 102.5, 1_000.0)]

    events = detect_events(make_bars(candles, closes=closes), STOCKS, timeframe="5m")

    assert n_before == 42
    assert _seen(events) == {("AAA", pd.Timestamp("2014-07-07 13:35", tz="UTC"), 1, "gap_up")}


def test_a_missing_five_minute_bar_makes_the_one_before_unknown():
    closes = intraday_closes("2014-07-01", "2014-07-01", 5).delete(30)
    candles = [QUIET] * 30 + [(102.0, 103.0, 101.5, 102.5, 1_000.0)]

    assert detect_events(make_bars(candles, closes=closes), STOCKS, timeframe="5m").empty


def test_bars_outside_the_sessions_are_refused():
    closes = CLOSES[:25].append(pd.DatetimeIndex(["2014-07-04 20:00"], tz="UTC").as_unit("us"))

    with pytest.raises(
        DataContractError, match="1 of 26 bar times lie in no session of calendar XNYS, first 2014-07-04"
    ):
        detect_events(make_bars([QUIET] * 26, closes=closes), STOCKS)
    early = CALENDAR.opens(CALENDAR.sessions(pd.Timestamp("2014-07-01"), pd.Timestamp("2014-07-01")))
    with pytest.raises(DataContractError, match="1 of 1 bar times lie in no session"):
        detect_events(make_bars([QUIET], closes=early), STOCKS, timeframe="5m")


def test_two_bars_of_one_session_are_refused():
    closes = CLOSES[:25].insert(24, CLOSES[24] - pd.Timedelta(hours=1))

    with pytest.raises(DataContractError, match=r"AAA: the bar of 2014-02-06 .* same session"):
        detect_events(make_bars([QUIET] * 26, closes=closes), STOCKS)


def test_other_events_on_the_same_bars_need_another_detector_version():
    # Python's generator keeps its numbers for ever, NumPy's may not.
    draw = random.Random(11)
    candles = []
    close = 160
    for _ in range(400):
        opened = close + draw.choice((-8, -1, 0, 0, 0, 1, 8))
        close = max(opened + draw.randint(-6, 6), 40)
        high, low = max(opened, close) + draw.randint(0, 6), min(opened, close) - draw.randint(0, 6)
        candles.append((opened / 4, high / 4, low / 4, close / 4, float(draw.choice((0, 500, 900, 1_000, 4_000)))))
    bars = _without(make_bars(candles), 100, 200, *range(250, 300))

    found = sorted((str(ts), side, pattern) for _, ts, side, pattern in _seen(detect_events(bars, STOCKS)))

    digest = hashlib.sha256(repr(found).encode()).hexdigest()[:12]
    assert {pattern for _, _, pattern in found} == set(PATTERNS)
    assert (DETECTOR_VERSION, len(found), digest) == ("candles-2", 192, "1b2f6ab1cc86")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hole=st.sampled_from([0, 2, 12, 30]))
def test_events_equal_the_plain_loop_on_random_bars_with_holes(seed, hole):
    bars = random_bars(np.random.default_rng(seed), n_sessions=90, hole=hole)

    events = EVENTS.validate(detect_events(bars, STOCKS))

    expected = set()
    for symbol, own in bars.groupby("symbol"):
        times = own["ts"].tolist()
        places = [list(CLOSES).index(ts) for ts in times]
        expected |= {(symbol, times[i], side, p) for i, side, p in detect(own.to_dict("records"), places)}
    assert _seen(events) == expected
    assert len(events) == len({found[:3] for found in expected})


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_known=st.integers(20, 59))
def test_later_bars_change_no_event(seed, n_known):
    bars = random_bars(np.random.default_rng(seed))
    known = bars[bars["ts"] <= CLOSES[n_known]].reset_index(drop=True)

    events = detect_events(bars, STOCKS)
    early = events[events["ts"] <= CLOSES[n_known]].reset_index(drop=True)

    pd.testing.assert_frame_equal(detect_events(known, STOCKS), early)

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENTS, PATTERNS, pattern_column
from catalyst_ml.market.detector import detect_events
from tests.catalyst_ml.market.bar_frames import CLOSES, QUIET, make_bars, make_instruments, random_bars
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


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_events_equal_the_plain_loop_on_random_bars(seed):
    bars = random_bars(np.random.default_rng(seed))

    events = EVENTS.validate(detect_events(bars, STOCKS))

    expected = set()
    for symbol, own in bars.groupby("symbol"):
        times = own["ts"].tolist()
        expected |= {(symbol, times[i], side, p) for i, side, p in detect(own.to_dict("records"))}
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

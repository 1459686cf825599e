import dataclasses
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import EVENT_KEY, LABELS
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.labels import (
    LABEL_KINDS,
    AnyLabelSpec,
    LabelledEvents,
    LabelSpec,
    MarketNeutralSpec,
    default_spec,
    label_events,
)
from tests.catalyst_ml.market.bar_frames import (
    CALENDAR,
    CLOSES,
    intraday_closes,
    make_bars,
    make_instruments,
    random_bars,
)
from tests.reference import label_oracle

SPEC = LabelSpec()
DECISION = 20
CALM = (100.0, 101.0, 99.0, 100.0, 1_000.0)
"""Twenty-one of them in a row give an ATR of exactly 2.0."""


def _event_frame(*keys: tuple[str, pd.Timestamp, int]) -> pd.DataFrame:
    frame = pd.DataFrame(keys, columns=list(EVENT_KEY)).sort_values(list(EVENT_KEY), ignore_index=True)
    return frame.astype({"symbol": "str", "direction": "int8", "ts": "datetime64[us, UTC]"})


def _label(
    *later: tuple[float, float, float, float], direction: int = 1, as_of: pd.Timestamp = CLOSES[-1]
) -> LabelledEvents:
    """Label one event after 21 calm bars, followed by the bars given (open, high, low, close)."""
    bars = make_bars([CALM] * (DECISION + 1) + [(*candle, 1_000.0) for candle in later])
    events = _event_frame(("AAA", CLOSES[DECISION], direction))
    return label_events(events, bars, SPEC, calendar=CALENDAR, as_of=as_of)


def _only_label(result: LabelledEvents) -> pd.Series:
    assert len(LABELS.validate(result.labels)) == 1
    assert (result.n_pending, result.unlabelled_counts) == (0, {})
    return result.labels.iloc[0]


QUIET_DAY = (100.0, 100.5, 99.5, 100.25)

# Bars after the event (entry at 100, barriers at 98 and 102), direction, and what follows by hand:
# outcome, gross return, number of sessions to label_end.
CASES = {
    "target touched on the entry day": ([(100.0, 102.0, 99.5, 101.0)], 1, "target", 0.02, 1),
    "stop touched on the second day": ([QUIET_DAY, (100.0, 101.0, 97.5, 98.5)], 1, "stop", -0.02, 2),
    "both touched in one bar counts as the loss": ([(100.0, 103.0, 97.0, 102.0)], 1, "stop", -0.02, 1),
    "an open below the stop is the exit": ([QUIET_DAY, (95.0, 103.0, 94.0, 102.0)], 1, "stop", -0.05, 2),
    "an open above the target is the exit, whatever the bar does next": (
        [QUIET_DAY, (104.0, 105.0, 97.0, 98.0)], 1, "target", 0.04, 2,
    ),
    "short: target below": ([(100.0, 101.0, 98.0, 98.5)], -1, "target", 0.02, 1),
    "short: stop above": ([QUIET_DAY, (100.0, 102.5, 99.0, 101.0)], -1, "stop", -0.02, 2),
    "short: open above the stop": ([QUIET_DAY, (103.0, 103.5, 97.0, 98.0)], -1, "stop", -0.03, 2),
    "timeout in the black": ([QUIET_DAY] * 6, 1, "timeout", 0.0025, 5),
    "timeout of a short": ([QUIET_DAY] * 6, -1, "timeout", -0.0025, 5),
    "timeout that earned less than the costs": ([(100.0, 100.5, 99.5, 100.05)] * 6, 1, "timeout", 0.0005, 5),
    "the sixth session is too late": ([QUIET_DAY] * 5 + [(100.0, 103.0, 99.0, 102.0)], 1, "timeout", 0.0025, 5),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_labels_follow_the_barriers_by_hand(case):
    later, direction, outcome, gross, n_sessions = CASES[case]

    label = _only_label(_label(*later, direction=direction))

    assert label["outcome"] == outcome
    assert label["gross_return"] == pytest.approx(gross)
    assert label["net_return"] == pytest.approx(gross - 0.001)
    assert label["y"] == int(gross > 0.001)
    assert label["entry_ts"] == CLOSES[DECISION + 1]
    assert label["label_end"] == CLOSES[DECISION + n_sessions]


def test_the_horizon_is_counted_in_exchange_sessions_not_in_rows():
    bars = make_bars([CALM] * 21 + [(*QUIET_DAY, 1_000.0)] * 7)
    bars = bars[~bars["ts"].isin(CLOSES[[22, 23, 25]])].reset_index(drop=True)
    bars.loc[bars["ts"] == CLOSES[26], "high"] = 200.0

    label = _only_label(
        label_events(_event_frame(("AAA", CLOSES[DECISION], 1)), bars, SPEC, calendar=CALENDAR, as_of=CLOSES[-1])
    )

    assert (label["outcome"], label["label_end"]) == ("timeout", CLOSES[25])


def test_a_horizon_across_an_early_close_ends_at_that_early_close():
    eve = CALENDAR.closes(CALENDAR.sessions(date(2014, 12, 17), date(2014, 12, 24)))
    closes = CLOSES[eve.max() >= CLOSES][-26:]
    bars = make_bars([CALM] * 21 + [(*QUIET_DAY, 1_000.0)] * 5, closes=closes)

    result = label_events(_event_frame(("AAA", closes[20], 1)), bars, SPEC, calendar=CALENDAR, as_of=closes[-1])

    assert _only_label(result)["label_end"] == pd.Timestamp("2014-12-24 18:00", tz="UTC")


def test_an_open_trade_is_pending_until_its_label_end():
    at_the_end = _label(*[QUIET_DAY] * 5, as_of=CLOSES[DECISION + 5])
    before = _label(*[QUIET_DAY] * 5, as_of=CLOSES[DECISION + 5] - pd.Timedelta(microseconds=1))

    assert len(at_the_end.labels) == 1
    assert (len(before.labels), before.n_pending, before.unlabelled_counts) == (0, 1, {})


def test_an_event_of_the_last_bar_or_after_as_of_is_pending():
    assert _label(as_of=CLOSES[DECISION]).n_pending == 1
    assert _label(QUIET_DAY, as_of=CLOSES[DECISION - 1]).n_pending == 1


def test_events_that_can_never_be_labelled_are_counted_by_reason():
    traded = make_bars([CALM] * 22)
    flat = make_bars([(100.0, 100.0, 100.0, 100.0, 0.0)] * 22, symbol="BBB")
    events = _event_frame(
        ("AAA", CLOSES[13], 1), ("AAA", CLOSES[14], 1), ("AAA", CLOSES[21], -1), ("BBB", CLOSES[15], 1)
    )

    result = label_events(
        events, pd.concat([traded, flat], ignore_index=True), SPEC, calendar=CALENDAR, as_of=CLOSES[40]
    )

    assert result.labels["ts"].tolist() == [CLOSES[14]]
    assert result.unlabelled_counts == {"short_history": 1, "no_bar_within_horizon": 1, "no_range": 1}


def test_bars_with_a_split_still_in_them_are_refused():
    bars = make_bars([CALM] * 22, splits={5: 2.0})

    with pytest.raises(DataContractError, match="adjust_for_splits"):
        label_events(_event_frame(("AAA", CLOSES[20], 1)), bars, SPEC, calendar=CALENDAR, as_of=CLOSES[-1])


def test_an_event_without_a_bar_is_refused():
    with pytest.raises(DataContractError, match="1 of 1 events have no bar, first ZZZ"):
        label_events(
            _event_frame(("ZZZ", CLOSES[20], 1)), make_bars([CALM] * 22), SPEC, calendar=CALENDAR, as_of=CLOSES[-1]
        )


def test_the_version_names_the_label_and_changes_with_every_field():
    changed = {
        "name": "wide",
        "barrier_atr": 2.0,
        "target_atr": 2.0,
        "horizon_sessions": 10,
        "cost_bps_per_side": 0.0,
        "atr_period": 20,
    }
    versions = {dataclasses.replace(SPEC, **{field: value}).version for field, value in changed.items()}

    assert SPEC.version == "symmetric-1.0atr-5s-5bp.b4d9e8"
    assert len(versions | {SPEC.version}) == 7


def test_a_spec_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigurationError, match="barriers above 0"):
        LabelSpec(barrier_atr=0.0)


def test_the_default_versions_are_upstreams_numbers():
    versions = [default_spec(timeframe, kind).version for timeframe in ("1d", "5m") for kind in LABEL_KINDS]

    assert [version.rpartition(".")[0] for version in versions] == [
        "symmetric-1.0atr-5s-5bp",
        "two_to_one-1.0x2.0atr-5s-5bp",
        "market_neutral-5s-5bp",
        "symmetric-1.5atr-120min-5bp",
        "two_to_one-1.5x3.0atr-120min-5bp",
        "market_neutral-120min-5bp",
    ]
    assert default_spec() == SPEC
    with pytest.raises(ConfigurationError, match="label 'nonsense' is unknown; expected one of symmetric, two_to_one"):
        default_spec("1d", "nonsense")
    with pytest.raises(ConfigurationError, match="a horizon either of sessions or of minutes"):
        LabelSpec(horizon_minutes=60)


@pytest.mark.parametrize(
    ("bar", "outcome", "gross"),
    [
        ((100.0, 103.9, 98.5, 103.0), "timeout", 0.03),
        ((100.0, 104.0, 98.5, 101.0), "target", 0.04),
        ((100.0, 104.0, 98.0, 103.0), "stop", -0.02),
    ],
)
def test_two_to_one_asks_for_twice_the_way_up(bar, outcome, gross):
    bars = make_bars([CALM] * 21 + [(*bar, 1_000.0)] + [(103.0, 103.5, 102.5, 103.0, 1_000.0)] * 4)

    label = _only_label(
        label_events(
            _event_frame(("AAA", CLOSES[20], 1)), bars, default_spec("1d", "two_to_one"), calendar=CALENDAR,
            as_of=CLOSES[25],
        )
    )  # fmt: skip

    assert (label["outcome"], label["gross_return"]) == (outcome, pytest.approx(gross))


def _five_stocks(last_bars: dict[str, list[tuple[float, float]]]) -> pd.DataFrame:
    """Five stocks, 21 calm bars, then (open, close) as given: AAA's are its own, the others' are those of "rest"."""
    frames = []
    for symbol in ("AAA", "BBB", "CCC", "DDD", "EEE"):
        later = [(o, max(o, c), min(o, c), c, 1_000.0) for o, c in last_bars.get(symbol, last_bars["rest"])]
        frames.append(make_bars([CALM] * 21 + later, symbol=symbol))
    return pd.concat(frames, ignore_index=True)


STOCKS = make_instruments(AAA="stock", BBB="stock", CCC="stock", DDD="stock", EEE="stock", SPY="index")
NEUTRAL = MarketNeutralSpec(min_universe=5)


def _neutral(bars: pd.DataFrame, *keys: tuple[str, pd.Timestamp, int], as_of=CLOSES[25]) -> LabelledEvents:
    return label_events(_event_frame(*keys), bars, NEUTRAL, calendar=CALENDAR, as_of=as_of, instruments=STOCKS)


def test_a_market_neutral_label_is_the_return_beyond_that_of_all_stocks():
    # AAA from 100 to 103, the four others from 100 to 108: the mean of the five is 7 %, AAA lies 4 % behind.
    path = [(100.0, 100.0), (101.0, 101.0), (102.0, 102.0), (90.0, 95.0)]
    bars = _five_stocks({"AAA": [*path, (99.0, 103.0)], "rest": [*path, (99.0, 108.0)]})
    index = make_bars([CALM] * 21 + [(100.0, 500.0, 100.0, 500.0, 0.0)] * 5, symbol="SPY")
    bars = pd.concat([bars, index], ignore_index=True)

    long = _only_label(_neutral(bars, ("AAA", CLOSES[20], 1)))
    short = _only_label(_neutral(bars, ("AAA", CLOSES[20], -1)))

    assert (long["y"], long["gross_return"], long["net_return"]) == (0, pytest.approx(-0.04), pytest.approx(-0.041))
    assert (short["y"], short["gross_return"]) == (1, pytest.approx(0.04))
    assert (long["entry_ts"], long["label_end"], long["outcome"]) == (CLOSES[21], CLOSES[25], "timeout")
    assert _neutral(bars, ("AAA", CLOSES[20], 1), as_of=CLOSES[24]).n_pending == 1


def test_a_stock_that_stops_trading_is_compared_up_to_its_last_bar():
    bars = _five_stocks(
        {"AAA": [(100.0, 100.0), (100.0, 90.0)], "rest": [(100.0, 100.0), (100.0, 95.0)] + [(9.0, 9.0)] * 3}
    )

    label = _only_label(_neutral(bars, ("AAA", CLOSES[20], 1)))

    assert label["gross_return"] == pytest.approx(-0.10 - (-0.10 - 4 * 0.05) / 5)
    assert label["label_end"] == CLOSES[25]


def test_without_stocks_enough_at_both_ends_the_market_is_unknown():
    bars = _five_stocks({"BBB": [(100.0, 100.0)] * 4, "rest": [(100.0, 100.0)] * 5})

    assert _neutral(bars, ("AAA", CLOSES[20], 1)).unlabelled_counts == {"small_universe": 1}
    assert _neutral(bars, ("AAA", CLOSES[20], 1), as_of=CLOSES[24]).n_pending == 1
    # BBB itself left with its last bar, at which all five traded.
    assert len(_neutral(bars, ("BBB", CLOSES[20], 1)).labels) == 1


def test_market_neutral_labels_want_to_know_the_stocks():
    with pytest.raises(ConfigurationError, match="got no instruments"):
        label_events(
            _event_frame(("AAA", CLOSES[20], 1)), make_bars([CALM] * 22), NEUTRAL, calendar=CALENDAR, as_of=CLOSES[-1]
        )


# 3 July 2014 closed at 13:00 New York: 14 bars of a quarter of an hour after the 26 of the day before.
QUARTERS = intraday_closes("2014-07-02", "2014-07-07", 15)


@pytest.mark.parametrize(("decision", "n_bars"), [(14, 11), (25, 0), (26, 13), (38, 1), (39, 0), (40, 24)])
def test_intraday_trades_last_24_bars_at_most_and_never_overnight(decision, n_bars):
    bars = make_bars([CALM] * len(QUARTERS), closes=QUARTERS)

    result = label_events(
        _event_frame(("AAA", QUARTERS[decision], 1)), bars, default_spec("15m"), calendar=CALENDAR, as_of=CLOSES[-1]
    )

    if n_bars == 0:
        assert result.unlabelled_counts == {"no_bar_within_horizon": 1}
    else:
        label = _only_label(result)
        assert (label["outcome"], label["label_end"]) == ("timeout", QUARTERS[decision + n_bars])
        assert label["entry_ts"] == QUARTERS[decision + 1]


def test_intraday_barriers_lie_one_and_a_half_atr_away():
    bars = make_bars(
        [CALM] * 20 + [(100.0, 102.99, 97.01, 100.0, 1.0), (100.0, 103.0, 99.0, 100.0, 1.0)], closes=QUARTERS
    )

    label = _only_label(
        label_events(
            _event_frame(("AAA", QUARTERS[19], 1)), bars, default_spec("15m"), calendar=CALENDAR, as_of=CLOSES[-1]
        )
    )

    assert (label["outcome"], label["gross_return"], label["label_end"]) == (
        "target",
        pytest.approx(0.03),
        QUARTERS[21],
    )


def _all_events(bars: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat([bars[["symbol", "ts"]].assign(direction=np.int8(side)) for side in (-1, 1)])
    return both.sort_values(list(EVENT_KEY), ignore_index=True)


SYMBOLS = ("AAA", "BBB", "CCC")
INSTRUMENTS = make_instruments(AAA="stock", BBB="stock", CCC="stock")
SPECS = {
    "symmetric": ("1d", SPEC),
    "two to one": ("1d", default_spec("1d", "two_to_one")),
    "market-neutral": ("1d", MarketNeutralSpec(min_universe=3)),
    "symmetric, 15 minutes": ("15m", default_spec("15m")),
    "market-neutral, 15 minutes": ("15m", MarketNeutralSpec(min_universe=3, horizon_sessions=0, horizon_minutes=360)),
}


def _random_market(seed: int, timeframe: str) -> tuple[pd.DataFrame, pd.DatetimeIndex]:
    """Bars with holes that begin anywhere in two years, or in the days around an early close; and all bar times."""
    rng = np.random.default_rng(seed)
    closes = QUARTERS if timeframe == "15m" else CLOSES[rng.integers(0, 400) :]
    bars = random_bars(rng, symbols=SYMBOLS, n_sessions=60, tick=0.125, closes=closes, hole=int(rng.integers(0, 12)))
    return bars, closes


def _label_all(bars: pd.DataFrame, spec: AnyLabelSpec, as_of: pd.Timestamp) -> LabelledEvents:
    return label_events(_all_events(bars), bars, spec, calendar=CALENDAR, as_of=as_of, instruments=INSTRUMENTS)


def _by_the_loop(bars: pd.DataFrame, spec: AnyLabelSpec, as_of: pd.Timestamp) -> dict:
    bars_of = {symbol: own.to_dict("records") for symbol, own in bars.groupby("symbol")}
    labels = {}
    for symbol, i, side in [(s, i, d) for s, own in bars_of.items() for i in range(len(own)) for d in (-1, 1)]:
        ts = bars_of[symbol][i]["ts"]
        if spec.horizon_minutes:
            end = label_oracle.end_within_session(ts, list(CLOSES), 360)
        else:
            end = label_oracle.end_after_sessions(ts, list(CLOSES))
        if isinstance(spec, MarketNeutralSpec):
            label = label_oracle.market_neutral_event(bars_of, symbol, i, side, end, as_of, 3)
        else:
            stop, target = {"symmetric-1.0": (1, 1), "two_to_one-1.": (1, 2), "symmetric-1.5": (1.5, 1.5)}[
                spec.version[:13]
            ]
            label = label_oracle.label_event(bars_of[symbol], i, side, end, as_of, stop, target)
        labels[symbol, ts, side] = label
    return labels


@pytest.mark.parametrize("version", SPECS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_known=st.integers(16, 75))
def test_labels_equal_the_plain_loop_on_random_bars(version, seed, n_known):
    timeframe, spec = SPECS[version]
    bars, closes = _random_market(seed, timeframe)
    as_of = closes[min(n_known, len(closes) - 1)]

    result = _label_all(bars, spec, as_of)

    expected = _by_the_loop(bars, spec, as_of)
    settled = {key: label for key, label in expected.items() if label["state"] == "settled"}
    assert list(settled) == list(result.labels[list(EVENT_KEY)].itertuples(index=False, name=None))
    for field in ("outcome", "y", "entry_ts", "label_end"):
        assert result.labels[field].tolist() == [label[field] for label in settled.values()]
    for field in ("gross_return", "net_return"):
        np.testing.assert_allclose(result.labels[field], [label[field] for label in settled.values()], atol=1e-12)
    assert result.n_pending == sum(label["state"] == "pending" for label in expected.values())
    reasons = [label["reason"] for label in expected.values() if label["state"] == "unlabelled"]
    assert result.unlabelled_counts == {reason: reasons.count(reason) for reason in set(reasons)}


@pytest.mark.parametrize("version", SPECS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_known=st.integers(16, 58))
def test_bars_after_as_of_change_nothing(version, seed, n_known):
    timeframe, spec = SPECS[version]
    bars, closes = _random_market(seed, timeframe)
    as_of = closes[n_known]
    is_later = bars["ts"] > as_of
    other = bars.copy()
    other.loc[is_later, ["open", "high", "low", "close"]] *= 3.0
    events = _all_events(bars)

    one, two, three = (
        label_events(events, frame, spec, calendar=CALENDAR, as_of=as_of, instruments=INSTRUMENTS)
        for frame in (bars, other, bars[~is_later].reset_index(drop=True))
    )

    for result in (two, three):
        pd.testing.assert_frame_equal(one.labels, result.labels)
        pd.testing.assert_frame_equal(one.pending, result.pending)
        pd.testing.assert_frame_equal(one.unlabelled, result.unlabelled)


@pytest.mark.parametrize("version", SPECS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_known=st.integers(20, 50))
def test_no_bar_of_any_stock_after_its_end_has_a_say_in_a_label(version, seed, n_known):
    timeframe, spec = SPECS[version]
    bars, closes = _random_market(seed, timeframe)
    end = closes[n_known]
    rng = np.random.default_rng(seed)
    is_kept = (bars["ts"] <= end) | (rng.random(len(bars)) < 0.7)
    later = bars["ts"] > end
    changed = bars.copy()
    changed.loc[later, ["open", "high", "low", "close"]] *= rng.uniform(0.5, 2.0, (int(later.sum()), 1))
    events = _all_events(bars[bars["ts"] <= end])

    one, two = (
        label_events(events, frame, spec, calendar=CALENDAR, as_of=closes[-1], instruments=INSTRUMENTS).labels
        for frame in (bars, changed[is_kept].reset_index(drop=True))
    )

    one, two = (labels[labels["label_end"] <= end].reset_index(drop=True) for labels in (one, two))
    pd.testing.assert_frame_equal(one, two)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), split_row=st.integers(15, 59), n_known=st.integers(25, 59))
def test_a_split_changes_no_label_before_or_after_it(seed, split_row, n_known):
    bars, closes = _random_market(seed, "1d")
    as_of = closes[n_known]
    # The same market as it traded: AAA's prices were twice as high before the split. Twos keep floats exact.
    raw = bars.copy()
    own = raw["symbol"] == "AAA"
    first = raw.index[own & (raw["ts"] >= closes[split_row])][:1]
    if first.empty:
        return
    raw.loc[own & (raw.index < first[0]), ["open", "high", "low", "close"]] *= 2.0
    raw.loc[first, "split_factor"] = 2.0
    adjusted = adjust_for_splits(raw, as_of=as_of)
    events = _all_events(adjusted)

    for spec in (SPEC, MarketNeutralSpec(min_universe=3)):
        one, two = (
            label_events(events, frame, spec, calendar=CALENDAR, as_of=as_of, instruments=INSTRUMENTS).labels
            for frame in (bars, adjusted)
        )
        pd.testing.assert_frame_equal(one, two)

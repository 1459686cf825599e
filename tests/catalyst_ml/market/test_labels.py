import dataclasses
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import EVENT_KEY, LABELS
from catalyst_ml.market.labels import LabelledEvents, LabelSpec, label_events
from tests.catalyst_ml.market.bar_frames import CALENDAR, CLOSES, make_bars, random_bars
from tests.reference.label_oracle import label_event

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


def _all_events(bars: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat([bars[["symbol", "ts"]].assign(direction=np.int8(side)) for side in (-1, 1)])
    return both.sort_values(list(EVENT_KEY), ignore_index=True)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_known=st.integers(16, 80))
def test_labels_equal_the_plain_loop_on_random_bars(seed, n_known):
    bars = random_bars(np.random.default_rng(seed), tick=0.125)
    as_of = CLOSES[n_known]

    result = label_events(_all_events(bars), bars, SPEC, calendar=CALENDAR, as_of=as_of)

    expected = {
        (symbol, bar["ts"], side): label_event(records, i, side, list(CLOSES), as_of)
        for symbol, own in bars.groupby("symbol")
        for records in [own.to_dict("records")]
        for i, bar in enumerate(records)
        for side in (-1, 1)
    }
    settled = {key: label for key, label in expected.items() if label["state"] == "settled"}
    assert list(settled) == list(result.labels[list(EVENT_KEY)].itertuples(index=False, name=None))
    for field in ("outcome", "y", "entry_ts", "label_end"):
        assert result.labels[field].tolist() == [label[field] for label in settled.values()]
    for field in ("gross_return", "net_return"):
        np.testing.assert_allclose(result.labels[field], [label[field] for label in settled.values()], atol=1e-12)
    assert result.n_pending == sum(label["state"] == "pending" for label in expected.values())
    reasons = [label["reason"] for label in expected.values() if label["state"] == "unlabelled"]
    assert result.unlabelled_counts == {reason: reasons.count(reason) for reason in set(reasons)}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_known=st.integers(16, 58))
def test_bars_after_as_of_change_nothing(seed, n_known):
    bars = random_bars(np.random.default_rng(seed))
    as_of = CLOSES[n_known]
    is_later = bars["ts"] > as_of
    other = bars.copy()
    other.loc[is_later, ["open", "high", "low", "close"]] *= 3.0

    one, two, three = (
        label_events(_all_events(bars), frame, SPEC, calendar=CALENDAR, as_of=as_of)
        for frame in (bars, other, bars[~is_later].reset_index(drop=True))
    )

    for result in (two, three):
        pd.testing.assert_frame_equal(one.labels, result.labels)
        pd.testing.assert_frame_equal(one.pending, result.pending)
        pd.testing.assert_frame_equal(one.unlabelled, result.unlabelled)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_settled_label_never_changes_and_depends_on_no_bar_after_its_end(seed):
    bars = random_bars(np.random.default_rng(seed), symbols=("AAA",), n_sessions=40)
    labels = label_events(_all_events(bars), bars, SPEC, calendar=CALENDAR, as_of=CLOSES[60]).labels

    for end in labels["label_end"].unique()[::5]:
        early = label_events(_all_events(bars), bars, SPEC, calendar=CALENDAR, as_of=end).labels
        pd.testing.assert_frame_equal(early, labels[labels["label_end"] <= end].reset_index(drop=True))

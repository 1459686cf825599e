import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.event_history import trailing_success
from catalyst_ml.frames import LABELS
from tests.catalyst_ml.features.markets import make_events, make_labels


def daily_events(n: int, *, patterns: list[str], direction: int = 1, start: str = "2020-01-06") -> pd.DataFrame:
    moments = pd.bdate_range(start, periods=n, tz="UTC") + pd.Timedelta(hours=21)
    return make_events([("S00", str(moment), direction, patterns) for moment in moments])


def test_the_rate_counts_outcomes_settled_by_the_close_and_no_later_ones():
    events = daily_events(10, patterns=["hammer"])
    labels = make_labels(events).assign(y=np.array([1, 0] * 5, dtype="int8"))

    known = trailing_success(events, labels, minimum=1)

    # An outcome is known two days after its event: on the fifth day (Friday) those of Monday to Wednesday are.
    assert known["trailing_outcomes"].tolist()[:5] == [0, 0, 1, 2, 3]
    assert known["trailing_success"].tolist()[2:5] == [1.0, 0.5, pytest.approx(2 / 3)]
    assert known["trailing_success"].iloc[:2].isna().all()


def test_changing_outcomes_that_settle_later_changes_no_rate():
    events = daily_events(60, patterns=["engulfing"])
    labels = make_labels(events).assign(y=np.tile([1, 1, 0], 20).astype("int8"))
    cut = events["ts"].iloc[40]
    altered = labels.assign(y=labels["y"].where(labels["label_end"] <= cut, 1 - labels["y"]).astype("int8"))

    before, after = trailing_success(events, labels), trailing_success(events, altered)

    upto = (events["ts"] <= cut).to_numpy()
    assert before.loc[upto, "trailing_success"].notna().any()
    pd.testing.assert_frame_equal(before[upto], after[upto])
    assert not before[~upto].equals(after[~upto])


def test_another_pattern_or_the_other_direction_does_not_count():
    bullish = daily_events(30, patterns=["engulfing"])
    bearish = daily_events(30, patterns=["engulfing"], direction=-1, start="2020-03-02")
    hammer = daily_events(1, patterns=["hammer"], start="2020-06-01")
    events = pd.concat([bullish, bearish, hammer], ignore_index=True)

    known = trailing_success(events, make_labels(bullish))

    assert known["trailing_outcomes"].iloc[30:].eq(0).all()
    assert known["trailing_success"].iloc[30:].isna().all()


def test_of_two_patterns_the_mean_of_their_rates_and_old_outcomes_are_forgotten():
    old = daily_events(30, patterns=["hammer"])
    dojis = daily_events(25, patterns=["doji"], start="2021-03-01")
    asked = daily_events(1, patterns=["hammer", "doji"], start="2021-06-01")
    hammers = daily_events(20, patterns=["hammer"], start="2021-01-04")
    events = pd.concat([old, hammers, dojis, asked], ignore_index=True)
    labels = make_labels(events.iloc[:75]).assign(y=np.array([1] * 30 + [0] * 20 + [1] * 25, dtype="int8"))

    last = trailing_success(events, LABELS.validate(labels)).iloc[-1]

    assert last["trailing_success"] == 0.5  # hammers 0 of 20, the 30 of 2020 forgotten; dojis 25 of 25
    assert last["trailing_outcomes"] == 25


def test_labels_of_unknown_events_are_refused():
    events = daily_events(5, patterns=["doji"])

    with pytest.raises(DataContractError, match="1 of 5 labels belong to no event"):
        trailing_success(events.iloc[:4], make_labels(events))

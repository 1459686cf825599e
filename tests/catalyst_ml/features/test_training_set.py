import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import FEATURE_NAMES
from catalyst_ml.features.catalysts import CATALYST_FEATURES, NEWS_COVERED
from catalyst_ml.features.events import EVENT_COLUMNS, event_inputs
from catalyst_ml.features.training_set import LABEL_COLUMNS, TrainingSet, build_training_set
from catalyst_ml.features.universe import RELATIVE_FEATURES
from catalyst_ml.frames import EVENT_KEY, EVENTS
from catalyst_ml.market.calendar import TradingCalendar
from tests.catalyst_ml.features.markets import make_events, make_labels, make_rule_scores

MONDAY, TUESDAY = "2012-01-09 21:00", "2012-01-10 21:00"


def make_inputs(events: pd.DataFrame, *, unknown_indicators: tuple[str, ...] = ()) -> pd.DataFrame:
    """Inputs of every event; the symbols named have no indicator of long memory."""
    means = [f"universe_{name}" for name in RELATIVE_FEATURES]
    bars = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    features = bars.assign(**dict.fromkeys([*FEATURE_NAMES, *means, *CATALYST_FEATURES, NEWS_COVERED], 0.5))
    short = features["symbol"].isin(unknown_indicators)
    features.loc[short, ["rsi_14", "macd_histogram", "adx_strength"]] = np.nan
    return event_inputs(events, features, make_rule_scores(events))


def four_events() -> pd.DataFrame:
    return make_events(
        [
            ("AAA", MONDAY, 1, ["hammer"]),
            ("AAA", TUESDAY, 1, ["hammer"]),
            ("BBB", MONDAY, -1, ["doji"]),
            ("BBB", MONDAY, 1, ["gap_up"]),
        ]
    )


def build(events: pd.DataFrame, **replaced: pd.DataFrame) -> TrainingSet:
    parts = {
        "labels": make_labels(events),
        "rule_scores": make_rule_scores(events),
        "features": make_inputs(events),
    }
    return build_training_set(events, **(parts | replaced), calendar=TradingCalendar())


def test_rows_hold_events_labels_rules_inputs_and_session_sorted_by_time_first():
    training = build(four_events())

    rows = training.rows
    assert list(rows.columns) == [
        *EVENTS.column_names,
        *LABEL_COLUMNS,
        "rule_action",
        *EVENT_COLUMNS,
        "session",
    ]
    assert rows["symbol"].tolist() == ["AAA", "BBB", "BBB", "AAA"]
    assert rows["direction"].tolist() == [1, -1, 1, 1]
    assert rows["session"].dt.strftime("%a").tolist() == ["Mon", "Mon", "Mon", "Tue"]
    assert str(rows["session"].dtype) == "datetime64[us]"
    assert (rows["y"].dtype, rows["rule_action"].dtype, rows["direction"].dtype) == ("int8", "int8", "int8")
    assert (rows[list(EVENT_COLUMNS)].dtypes == "float64").all()
    assert training.unlabelled.empty
    assert training.dropped.empty


def test_events_without_a_label_stand_apart_without_label_columns():
    events = four_events()

    training = build(events, labels=make_labels(events.iloc[[0, 2]].reset_index(drop=True)))

    assert len(training.rows) == 2
    assert training.unlabelled[list(EVENT_KEY)].to_numpy().tolist() == [
        ["BBB", pd.Timestamp(MONDAY, tz="UTC"), 1],
        ["AAA", pd.Timestamp(TUESDAY, tz="UTC"), 1],
    ]
    assert set(training.rows.columns) - set(training.unlabelled.columns) == set(LABEL_COLUMNS)


def test_a_symbol_without_any_indicator_of_full_lookback_is_dropped_with_the_reason():
    events = four_events()

    training = build(events, features=make_inputs(events, unknown_indicators=("BBB",)))

    assert training.rows["symbol"].tolist() == ["AAA", "AAA"]
    assert training.dropped[["symbol", "direction", "reason"]].to_numpy().tolist() == [
        ["BBB", -1, "insufficient_history"],
        ["BBB", 1, "insufficient_history"],
    ]


def test_later_bars_of_a_symbol_do_not_bring_back_an_event_without_history():
    events = four_events()
    inputs = make_inputs(events)
    inputs.loc[0, ["rsi_14", "macd_histogram", "adx_strength"]] = np.nan

    training = build(events, features=inputs)

    assert len(training.rows) == 3
    assert training.dropped["reason"].tolist() == ["insufficient_history"]
    assert training.dropped["ts"].tolist() == [events["ts"].iloc[0]]


def test_events_missing_a_part_are_dropped_with_the_first_reason_and_counted():
    events = make_events(
        [
            ("AAA", MONDAY, 1, ["hammer"]),
            ("AAA", "2012-01-07 21:00", 1, ["hammer"]),  # a Saturday
            ("BBB", MONDAY, 1, ["hammer"]),
            ("CCC", MONDAY, 1, ["hammer"]),
        ]
    )

    training = build(
        events,
        features=make_inputs(events[events["symbol"] != "BBB"]),
        rule_scores=make_rule_scores(events[events["symbol"] == "AAA"]),
    )

    reasons = training.dropped.set_index("symbol")["reason"].to_dict()
    assert reasons == {"AAA": "no_session", "BBB": "no_features", "CCC": "no_rule_score"}
    assert training.steps.to_numpy().tolist() == [
        ["no_features", 4, 3],
        ["no_rule_score", 3, 2],
        ["insufficient_history", 2, 2],
        ["no_session", 2, 1],
        ["labelled", 1, 1],
    ]


def test_every_event_ends_in_exactly_one_place():
    events = four_events()

    training = build(
        events, labels=make_labels(events.head(1)), features=make_inputs(events, unknown_indicators=("BBB",))
    )

    ends = pd.concat([part[list(EVENT_KEY)] for part in (training.rows, training.unlabelled, training.dropped)])
    pd.testing.assert_frame_equal(
        ends.sort_values(list(EVENT_KEY), ignore_index=True), events[list(EVENT_KEY)], check_dtype=False
    )


@pytest.mark.parametrize("part", ["labels", "rule_scores"])
def test_labels_and_scores_of_events_that_do_not_exist_are_refused(part):
    events = four_events()
    make = {"labels": make_labels, "rule_scores": make_rule_scores}[part]
    stranger = make_events([("ZZZ", MONDAY, 1, ["hammer"])])

    with pytest.raises(DataContractError, match=r"1 of 5 .* belong to no event, first ZZZ"):
        build(events, **{part: make(pd.concat([events, stranger], ignore_index=True))})


def test_inputs_that_hold_an_event_twice_are_refused():
    events = four_events()

    with pytest.raises(DataContractError, match=r"hold 4 events twice"):
        build(events, features=pd.concat([make_inputs(events)] * 2))

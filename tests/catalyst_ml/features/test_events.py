import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import FEATURE_NAMES, feature_set_version
from catalyst_ml.features.catalysts import CATALYST_FEATURES, NEWS_COVERED
from catalyst_ml.features.events import EVENT_COLUMNS, MODEL_INPUTS, event_inputs, model_input_version
from catalyst_ml.features.universe import RELATIVE_FEATURES
from catalyst_ml.frames import EVENT_KEY, PATTERNS
from tests.catalyst_ml.features.markets import make_events, make_rule_scores

MONDAY = "2012-01-09 21:00"


def make_features(events: pd.DataFrame, **values: float) -> pd.DataFrame:
    """One row per bar of the events; features are 0 unless named."""
    bars = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    news = dict.fromkeys((*CATALYST_FEATURES, NEWS_COVERED), np.nan)
    means = {f"universe_{name}": 0.0 for name in RELATIVE_FEATURES} | {
        "universe_rsi_14": 50.0,
        "universe_bb_position": 0.5,
    }
    return bars.assign(**(dict.fromkeys(FEATURE_NAMES, 0.0) | means | news | values))


def both_sides() -> pd.DataFrame:
    """A bearish and a bullish event on the same bar."""
    return make_events(
        [("AAA", MONDAY, -1, ["doji"]), ("AAA", MONDAY, 1, ["hammer", "gap_up"])], inferred=[True, False]
    )


def test_inputs_are_the_documented_columns_all_float64_beside_the_key():
    events = both_sides()

    inputs = event_inputs(events, make_features(events), make_rule_scores(events))

    assert list(inputs.columns) == [*EVENT_KEY, *EVENT_COLUMNS]
    assert (inputs[list(EVENT_COLUMNS)].dtypes == "float64").all()
    assert len(set(MODEL_INPUTS)) == len(MODEL_INPUTS) == 16 + 7 + 2 + len(PATTERNS) + 3
    pd.testing.assert_frame_equal(inputs[list(EVENT_KEY)], events[list(EVENT_KEY)])


def test_features_with_a_side_are_turned_along_the_direction():
    events = both_sides()
    features = make_features(
        events,
        rsi_14=70.0,
        bb_position=0.9,
        macd_histogram=0.3,
        premarket_gap=-2.0,
        sector_momentum=0.01,
        market_breadth=-0.5,
        lower_shadow_ratio=0.6,
        upper_shadow_ratio=0.1,
    )

    bearish, bullish = event_inputs(events, features, make_rule_scores(events)).to_dict("records")

    expected = {
        "rsi_14": 20.0,
        "bb_position": 0.4,
        "macd_histogram": 0.3,
        "premarket_gap": -2.0,
        "sector_momentum": 0.01,
        "market_breadth": -0.5,
        "shadow_balance": 0.5,
    }
    for name, value in expected.items():
        assert bullish[f"aligned_{name}"] == pytest.approx(value), name
        assert bearish[f"aligned_{name}"] == pytest.approx(-value), name
    assert bullish["rsi_14"] == bearish["rsi_14"] == 70.0
    assert bullish["relative_rsi_14"] == bearish["relative_rsi_14"] == 20.0


def test_the_version_of_the_inputs_is_stable_and_not_the_catalogues():
    assert model_input_version() == model_input_version() != feature_set_version()


def test_patterns_become_flags_and_a_count():
    events = both_sides()

    bearish, bullish = event_inputs(events, make_features(events), make_rule_scores(events)).to_dict("records")

    assert (bullish["pattern_hammer"], bullish["pattern_gap_up"], bullish["pattern_doji"]) == (1.0, 1.0, 0.0)
    assert (bullish["n_patterns"], bearish["n_patterns"]) == (2.0, 1.0)
    assert (bullish["event_direction"], bearish["event_direction"]) == (1.0, -1.0)
    assert (bullish["event_direction_inferred"], bearish["event_direction_inferred"]) == (0.0, 1.0)


def test_rule_agreement_is_seen_from_the_event():
    events = both_sides()

    for action, bearish_sees, bullish_sees in ((1, -1.0, 1.0), (-1, 1.0, -1.0), (0, 0.0, 0.0)):
        inputs = event_inputs(events, make_features(events), make_rule_scores(events, action=action, score=64.0))
        assert inputs["rule_agreement"].tolist() == [bearish_sees, bullish_sees]
        assert inputs["rule_score"].tolist() == [64.0, 64.0]


def test_a_missing_feature_stays_missing_in_its_aligned_version():
    events = both_sides()

    inputs = event_inputs(events, make_features(events, rsi_14=np.nan), make_rule_scores(events))

    assert inputs["aligned_rsi_14"].isna().all()
    assert inputs["aligned_bb_position"].notna().all()


def test_an_event_without_features_or_rule_score_is_kept_with_missing_values():
    events = make_events([("AAA", MONDAY, 1, ["hammer"]), ("BBB", MONDAY, 1, ["hammer"])])
    only_first = events.head(1)

    inputs = event_inputs(events, make_features(only_first), make_rule_scores(only_first))

    assert inputs["rsi_14"].isna().tolist() == [False, True]
    assert inputs["rule_agreement"].isna().tolist() == [False, True]
    assert inputs["pattern_hammer"].tolist() == [1.0, 1.0]


def test_a_feature_frame_of_another_catalogue_is_refused():
    events = both_sides()

    with pytest.raises(DataContractError, match=r"lacks \['rsi_14'\]"):
        event_inputs(events, make_features(events).drop(columns="rsi_14"), make_rule_scores(events))


def test_an_event_scored_twice_by_the_rules_is_refused():
    events = both_sides()
    twice = pd.concat([make_rule_scores(events)] * 2)

    with pytest.raises(DataContractError, match=r"repeats in the frame to join"):
        event_inputs(events, make_features(events), twice)

import numpy as np
import pytest

from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.events import EVENT_COLUMNS, MODEL_INPUTS, model_input_version
from catalyst_ml.features.line_inputs import (
    RANGE,
    TIME,
    event_columns,
    input_version,
    line_catalogue,
    line_event_inputs,
    model_inputs,
)
from catalyst_ml.features.universe import add_universe_means
from catalyst_ml.market import detector, rules
from tests.catalyst_ml.features.intraday_markets import make_intraday_panel


@pytest.fixture(scope="module")
def market():
    return make_intraday_panel(n_stocks=12, before_open=0, last="2012-11-30")


def inputs_of(panel, timeframe):
    events = detector.detect_events(panel.bars, panel.instruments, timeframe="30m", calendar=panel.calendar)
    scores = rules.score_events(events, panel.bars, panel.news, timeframe="30m", calendar=panel.calendar)
    rows = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    features = compute_features(panel, rows, catalogue=line_catalogue(timeframe))
    return line_event_inputs(events, add_catalysts(panel, add_universe_means(panel, features)), scores)


def test_intraday_events_carry_the_time_of_their_session(market):
    inputs = inputs_of(market, "30m")

    assert list(inputs.columns[3:]) == list(event_columns("30m")) == [*EVENT_COLUMNS, TIME, RANGE]
    ends = inputs["ts"].isin(market.calendar.closes(market.calendar.session_of(inputs["ts"])))
    assert inputs.loc[ends, TIME].eq(1.0).all()
    assert ends.any()
    assert inputs[TIME].between(0.0, 1.0, inclusive="right").all()
    assert np.isfinite(inputs[TIME]).all()
    assert inputs[RANGE].dropna().between(0.001, 0.05).all()
    assert inputs[RANGE].notna().any()  # it needs 500 bars


def test_daily_lines_are_what_they_were(market):
    assert model_inputs("1d") is MODEL_INPUTS
    assert event_columns("1d") is EVENT_COLUMNS
    assert TIME not in inputs_of(market, "1d").columns
    assert input_version("1d") == model_input_version()
    assert input_version("5m") == input_version("1h") != input_version("1d")

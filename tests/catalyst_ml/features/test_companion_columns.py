"""Companion predictions beside events: joined by symbol and close, turned along the direction."""

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.companion_columns import companions_at_events
from catalyst_ml.features.events import MODEL_INPUTS
from tests.catalyst_ml.features.markets import make_events


def make_predictions(rows):
    symbols, moments, moves, ranks = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "symbol": pd.Series(symbols, dtype="str"),
            "ts": pd.to_datetime(pd.Series(moments), utc=True).astype("datetime64[us, UTC]"),
            "expected_move": moves,
            "rank": ranks,
            "rank_5": [0.5] * len(rows),
        }
    )


EVENTS = make_events(
    [
        ("AAA", "2015-03-02 21:00", 1, ["hammer"]),
        ("AAA", "2015-03-02 21:00", -1, ["gap_down"]),
        ("BBB", "2015-03-03 21:00", -1, ["engulfing"]),
    ]
)


def test_both_events_of_a_bar_get_its_prediction_seen_from_their_side():
    predictions = make_predictions([("AAA", "2015-03-02 21:00", 0.03, 0.9), ("BBB", "2015-03-02 21:00", 0.01, 0.1)])
    joined = companions_at_events(EVENTS, predictions)

    assert joined[["symbol", "direction"]].values.tolist() == EVENTS[["symbol", "direction"]].values.tolist()
    assert joined["expected_move"].tolist()[:2] == [0.03, 0.03]
    np.testing.assert_allclose(joined["aligned_rank"], [-0.4, 0.4, np.nan])
    assert np.isnan(joined["rank"].iloc[2])  # another close's prediction is not its own


def test_a_bar_predicted_by_two_folds_is_refused():
    twice = make_predictions([("AAA", "2015-03-02 21:00", 0.03, 0.9)] * 2)
    with pytest.raises(DataContractError, match="twice"):
        companions_at_events(EVENTS, twice)


def test_predictions_without_ranks_are_refused():
    bare = make_predictions([("AAA", "2015-03-02 21:00", 0.03, 0.9)]).drop(columns="rank")
    with pytest.raises(DataContractError, match="rank"):
        companions_at_events(EVENTS, bare)


def test_the_columns_are_not_among_the_models_inputs():
    assert not {"expected_move", "aligned_rank", "aligned_rank_5", "rank", "rank_5"} & set(MODEL_INPUTS)

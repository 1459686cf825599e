import math

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.event_statistics import event_statistics
from tests.catalyst_ml.market.bar_frames import CLOSES


def _labels(days: list[list[int]], directions: list[list[int]] | None = None) -> pd.DataFrame:
    """One symbol per event of a day; ``days`` holds the outcomes day by day."""
    rows = [(f"S{i}", CLOSES[d], y) for d, day in enumerate(days) for i, y in enumerate(day)]
    frame = pd.DataFrame(rows, columns=["symbol", "ts", "y"])
    return frame if directions is None else frame.assign(direction=[side for day in directions for side in day])


def test_the_figures_of_four_days_are_those_by_hand():
    found = event_statistics(_labels([[1, 1, 1], [0, 0, 0], [1, 1, 0], [1]]), n_stock_days=20, min_events=2)

    # 6 of 10 succeed. Rates of the three busy days 1, 0, 2/3; surpluses over 0.6 each: 1.2, -1.8, 0.2, 0.4.
    assert (found.n_events, found.n_days, found.base_rate) == (10, 4, 0.6)
    assert found.daily_sd == pytest.approx(np.std([1.0, 0.0, 2 / 3], ddof=1))
    assert (found.events_per_day, found.events_per_stock_day) == (2.5, 0.5)
    assert found.design_effect == pytest.approx(4 / 3 * (1.44 + 3.24 + 0.04 + 0.16) / (10 * 0.6 * 0.4))
    assert math.isnan(found.design_effect_one_side)


def test_independent_events_have_a_design_effect_of_one_and_copied_ones_that_of_their_copies():
    y = np.random.default_rng(5).random((400, 10)) < 0.4

    alone = event_statistics(_labels(y.astype(int).tolist()), n_stock_days=4_000)
    copied = event_statistics(_labels(np.repeat(y[:, :1], 10, axis=1).astype(int).tolist()), n_stock_days=4_000)

    assert alone.design_effect == pytest.approx(1.0, abs=0.2)
    assert copied.design_effect == pytest.approx(10.0, rel=0.01)


def test_a_day_that_lifts_every_stock_shows_within_a_side_only():
    days, sides = [[1, 1, 0, 0], [0, 0, 1, 1]] * 5, [[1, 1, -1, -1]] * 10

    found = event_statistics(_labels(days, sides), n_stock_days=40)

    assert found.design_effect == 0.0
    assert found.design_effect_one_side == pytest.approx(10 / 9 * 2.0)


def test_an_evening_in_utc_belongs_to_the_day_in_new_york():
    ts = pd.DatetimeIndex(["2014-07-01 15:00", "2014-07-02 00:30"], tz="UTC")

    found = event_statistics(pd.DataFrame({"symbol": ["A", "B"], "ts": ts, "y": [0, 1]}), n_stock_days=2)

    assert found.n_days == 1


def test_no_events_give_no_figures():
    found = event_statistics(_labels([]).astype({"ts": "datetime64[us, UTC]"}), n_stock_days=0)

    assert (found.n_events, found.n_days) == (0, 0)
    assert math.isnan(found.base_rate)
    assert math.isnan(found.design_effect)


def test_a_universe_smaller_than_its_events_is_refused():
    with pytest.raises(DataContractError, match="events lie on 3 stock-days, but n_stock_days is 2"):
        event_statistics(_labels([[1, 0, 1]]), n_stock_days=2)

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market.settlement import detections_known_at, labels_known_at
from tests.catalyst_ml.market.bar_frames import CLOSES, QUIET, make_bars

BARS = pd.concat([make_bars([QUIET] * 80), make_bars([QUIET] * 80, symbol="BBB")], ignore_index=True)


def _events(*keys: tuple[str, int]) -> pd.DataFrame:
    frame = pd.DataFrame([(symbol, CLOSES[i], 1) for symbol, i in keys], columns=list(EVENT_KEY))
    return frame.astype({"symbol": "str", "direction": "int8"})


def _labels(*keys: tuple[str, int]) -> pd.DataFrame:
    """One label per event, entered the next session and over on the fifth."""
    at = [i for _, i in keys]
    return _events(*keys).assign(entry_ts=CLOSES[np.add(at, 1)], label_end=CLOSES[np.add(at, 5)])


def _late(*bars: tuple[str, int, int]) -> pd.DataFrame:
    rows = [(symbol, CLOSES[i], CLOSES[known]) for symbol, i, known in bars]
    return pd.DataFrame(rows, columns=["symbol", "ts", "known_at"]).astype({"symbol": "str"})


@pytest.mark.parametrize(
    ("late", "known"),
    [
        ([], 60),
        ([("AAA", 60, 61)], 61),  # the event's own bar
        ([("AAA", 40, 70), ("AAA", 41, 65)], 70),  # the newest of those that its volume mean may hold
        ([("AAA", 19, 70)], 60),  # too long ago to have a say
        ([("AAA", 61, 70)], 60),  # afterwards
        ([("AAA", 20, 30)], 60),  # late, but in time
        ([("BBB", 60, 70)], 60),  # of another symbol
    ],
)
def test_a_detection_is_known_when_the_last_of_its_bars_was(late, known):
    found = detections_known_at(_events(("AAA", 60)), BARS, _late(*late))

    assert found.tolist() == [CLOSES[known]]


def test_a_label_is_known_when_the_last_bar_that_its_atr_or_its_path_knew_was():
    labels = _labels(("AAA", 40), ("AAA", 50), ("BBB", 40))

    found = labels_known_at(labels, BARS, _late(("AAA", 46, 60), ("BBB", 2, 75)))

    assert found.tolist() == [CLOSES[45], CLOSES[60], CLOSES[75]]


def test_a_market_neutral_label_waits_for_the_bars_of_all_stocks_from_entry_to_end():
    labels = _labels(("AAA", 40), ("AAA", 50))
    late = _late(("BBB", 40, 70), ("BBB", 45, 60), ("CCC", 56, 70))

    found = labels_known_at(labels, BARS, late, is_market_wide=True)

    assert found.tolist() == [CLOSES[60], CLOSES[55]]

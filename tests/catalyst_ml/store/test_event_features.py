"""Features of events in a real PostgreSQL: kept once, as computed, and never changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.store.event_features import EventFeatureLine
from tests.catalyst_ml.market.bar_frames import CLOSES
from tests.catalyst_ml.store.test_detections import line, make_events

pytestmark = pytest.mark.server
NAMES = ("rsi_14", "vix_level")
VALUES = [[0.1 + 0.2, np.nan], [1e-300, -0.0], [np.nan, np.nan], [np.pi, 1e17]]


def keeper(engine: Engine, *, version: str = "f-1", names: tuple[str, ...] = NAMES) -> EventFeatureLine:
    return EventFeatureLine(line(engine), version, names)


def stored(engine: Engine) -> pd.DataFrame:
    """Twelve detections, and features of the first four."""
    line(engine).write(make_events())
    known = line(engine).read(CLOSES[10])
    return pd.DataFrame(VALUES, columns=list(NAMES)).assign(detection_id=known["detection_id"].head(4))


def test_features_come_back_bit_for_bit_and_are_kept_once(database: Engine) -> None:
    features = stored(database)

    assert keeper(database).write(features, as_of=CLOSES[10]) == 4
    assert keeper(database).write(features.assign(rsi_14=7.0), as_of=CLOSES[11]) == 0

    kept = keeper(database).read(CLOSES[20])
    assert kept[list(NAMES)].to_numpy().tobytes() == np.array(VALUES).tobytes()
    assert kept[list(EVENT_KEY)].to_numpy().tolist() == make_events()[list(EVENT_KEY)].head(4).to_numpy().tolist()
    assert (kept["as_of"] == CLOSES[10]).all()


def test_what_was_kept_later_is_not_seen_earlier_and_another_set_is_apart(database: Engine) -> None:
    features = stored(database)
    keeper(database).write(features, as_of=CLOSES[10])

    assert keeper(database).read(CLOSES[9]).empty
    assert keeper(database, version="f-2").read(CLOSES[20]).empty
    assert len(keeper(database).without(CLOSES[10])) == 8
    assert len(keeper(database, version="f-2").without(CLOSES[10])) == 12


def test_kept_features_cannot_be_changed(database: Engine) -> None:
    keeper(database).write(stored(database), as_of=CLOSES[10])

    with pytest.raises(DBAPIError, match="append"), database.begin() as connection:
        connection.execute(text("UPDATE catalyst_ml.event_features SET as_of = now()"))


def test_rows_of_no_detection_and_a_second_meaning_of_a_set_are_refused_and_nothing_is_kept(database: Engine) -> None:
    features = stored(database)

    with pytest.raises(DataContractError, match="1 of 4 rows belong to no detection"):
        keeper(database).write(features.replace({"detection_id": {features["detection_id"][0]: -1}}), as_of=CLOSES[10])
    with pytest.raises(DataContractError, match="without \\['vix_level'\\]"):
        keeper(database).write(features.drop(columns="vix_level"), as_of=CLOSES[10])
    with pytest.raises(DataContractError, match="4 rows, 3 detections"):
        keeper(database).write(
            features.assign(detection_id=features["detection_id"][[0, 0, 1, 2]].to_numpy()), as_of=CLOSES[10]
        )
    assert keeper(database).read(CLOSES[20]).empty
    with pytest.raises(DataContractError, match="Another list of features is another feature set"):
        keeper(database, names=("vix_level", "rsi_14")).read(CLOSES[10])

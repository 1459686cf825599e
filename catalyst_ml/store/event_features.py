"""Features of events as they were at detection: written once, with the moment whose knowledge they used.

Bars are corrected later and features computed again would differ; what was known when the event was first seen is
kept here, by feature set, and never changed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, text

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.store.detections import EventLine
from catalyst_ml.store.engine import database_errors


@dataclass(frozen=True)
class EventFeatureLine:
    """Features of one line of events by one feature set.

    Parameters
    ----------
    events : EventLine
    feature_set_version : str
    names : tuple of str
        Features in the order in which they are stored.
    """

    events: EventLine
    feature_set_version: str
    names: tuple[str, ...]

    def without(self, as_of: datetime) -> pd.DataFrame:
        """Return the detections known at ``as_of`` (EVENTS and ``detection_id``) whose features are not kept yet."""
        known = self.events.read(as_of)
        with database_errors(self.events.engine), self.events.engine.begin() as connection:
            kept = connection.execute(text(_KEPT), {"feature_set_id": self._id(connection)}).scalars().all()
        return known[~known["detection_id"].isin(kept)].reset_index(drop=True)

    def write(self, features: pd.DataFrame, *, as_of: datetime) -> int:
        """Keep ``detection_id`` and one column per feature, float64, NaN = missing; return how many were new.

        What is kept already stays as it is, also when two write at once. One transaction.

        Raises
        ------
        DataContractError
            If a feature is missing as a column, a detection stands twice, or is not of this line.
        """
        absent = [name for name in ("detection_id", *self.names) if name not in features.columns]
        if absent or features["detection_id"].duplicated().any():
            n_detections = features["detection_id"].nunique() if "detection_id" in features.columns else 0
            raise DataContractError(
                f"features of events: expected one row per detection and the columns {list(self.names)}; got "
                f"{len(features)} rows, {n_detections} detections, without {absent}. Compute them with feature set "
                f"{self.feature_set_version}."
            )
        if features.empty:
            return 0
        engine = self.events.engine
        with database_errors(engine), engine.begin() as connection:
            feature_set_id = self._id(connection)
            _stage(connection, features, self.names)
            strangers = connection.execute(text(_STRANGERS), {"line": self._line_id(connection)}).scalar_one()
            if strangers:
                raise DataContractError(
                    f"features of events: {strangers} of {len(features)} rows belong to no detection of "
                    f"{self.events.dataset!r} {self.events.timeframe}. Store the detections first."
                )
            return int(connection.execute(text(_INSERT), {"feature_set_id": feature_set_id, "as_of": as_of}).rowcount)

    def read(self, as_of: datetime) -> pd.DataFrame:
        """Return what was kept from knowledge up to ``as_of``: event key, ``as_of``, the features; sorted by key."""
        known = self.events.read(as_of)
        engine = self.events.engine
        with database_errors(engine), engine.begin() as connection:
            values = {"feature_set_id": self._id(connection), "as_of": as_of}
            rows = connection.execute(text(_READ), values).all()
        matrix = np.array([row[2] for row in rows], dtype=np.float64).reshape(len(rows), len(self.names))
        kept = pd.DataFrame(matrix, columns=list(self.names)).assign(
            detection_id=np.array([row[0] for row in rows], dtype=np.int64),
            as_of=pd.DatetimeIndex([row[1] for row in rows], tz="UTC").as_unit("us"),
        )
        joined = known[["detection_id", *EVENT_KEY]].merge(kept, on="detection_id", validate="one_to_one")
        return joined[[*EVENT_KEY, "as_of", *self.names]].sort_values(list(EVENT_KEY), ignore_index=True)

    def _id(self, connection: Connection) -> int:
        """Return the id of the feature set, written down at its first use; its names never change."""
        values: dict[str, Any] = {"version": self.feature_set_version, "names": list(self.names)}
        connection.execute(text(_NEW_SET), values)
        feature_set_id, names = connection.execute(text(_SET), values).one()
        if tuple(names) != self.names:
            raise DataContractError(
                f"feature set {self.feature_set_version} is stored with the features {names}; got {list(self.names)}. "
                "Another list of features is another feature set."
            )
        return int(feature_set_id)

    def _line_id(self, connection: Connection) -> int:
        events = self.events
        values = {"d": events.dataset, "t": events.timeframe, "v": events.detector_version}
        return int(connection.execute(text(_LINE), values).scalar() or 0)


def _stage(connection: Connection, features: pd.DataFrame, names: Sequence[str]) -> None:
    connection.execute(text("CREATE TEMPORARY TABLE staged_features (detection_id bigint, v float8[]) ON COMMIT DROP"))
    rows = zip(features["detection_id"].tolist(), features[list(names)].to_numpy(np.float64).tolist(), strict=True)
    lines = (f"{key}\t{{{','.join(map(repr, values))}}}\n" for key, values in rows)
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        cursor.copy_expert("COPY staged_features FROM STDIN", io.StringIO("".join(lines)))


_LINE = (
    "SELECT line_id FROM catalyst_ml.detection_lines WHERE dataset = :d AND timeframe = :t AND detector_version = :v"
)
_NEW_SET = (
    "INSERT INTO catalyst_ml.feature_sets (feature_set_version, names) VALUES (:version, :names) ON CONFLICT DO NOTHING"
)
_SET = "SELECT feature_set_id, names FROM catalyst_ml.feature_sets WHERE feature_set_version = :version"
_KEPT = "SELECT detection_id FROM catalyst_ml.event_features WHERE feature_set_id = :feature_set_id"
_STRANGERS = """
    SELECT count(*) FROM staged_features s WHERE NOT EXISTS (
        SELECT 1 FROM catalyst_ml.detections d WHERE d.detection_id = s.detection_id AND d.line_id = :line)"""
_INSERT = """
    INSERT INTO catalyst_ml.event_features (detection_id, feature_set_id, as_of, "values")
    SELECT detection_id, :feature_set_id, :as_of, v FROM staged_features ORDER BY detection_id
    ON CONFLICT DO NOTHING"""
_READ = """
    SELECT detection_id, as_of, "values" FROM catalyst_ml.event_features
    WHERE feature_set_id = :feature_set_id AND as_of <= :as_of"""

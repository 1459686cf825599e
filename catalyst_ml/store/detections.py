"""Detections and their labels in our database: written once, never changed, read as they were known.

Two clocks. ``known_at`` is the market's: since when the bars say so. ``stored_at`` and ``settled_at`` are ours: when
we wrote it down. What was known at T is decided by ``known_at`` alone: a detection counts from its own on; of a
detection's labels in one version the row with the greatest ``known_at`` not after T holds, the later ``settled_at``
among equals. So a replay of an old ``as_of`` sees the label of that time even if it was computed years later, and
never one that rests on a bar corrected afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY, EVENTS, LABELS, PATTERNS, TIME_DTYPE, pattern_column
from catalyst_ml.store.bar_lines import SymbolIds
from catalyst_ml.store.binary_copy import copy_out, from_postgres_time, pack, to_postgres_time, unpack
from catalyst_ml.store.engine import database_errors

_OUTCOMES = ("target", "stop", "timeout")
SAME_RETURN = 1e-9
"""Returns closer than this are the same: a later split divides old prices and moves their last bits."""


@dataclass(frozen=True)
class Settled:
    """What settling did: labels of detections that had none, further rows for changed outcomes, and the rest."""

    new: int
    corrected: int
    unchanged: int


@dataclass(frozen=True)
class EventCount:
    """One line of ``events list``; label columns are zero or ``None`` where nothing is settled."""

    dataset: str
    timeframe: str
    detector_version: str
    label_version: str | None
    n_detections: int
    n_labelled: int
    n_corrections: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class EventLine:
    """The events of one dataset, timeframe and detector version."""

    engine: Engine
    dataset: str
    timeframe: str
    detector_version: str

    def write(self, detections: pd.DataFrame) -> int:
        """Store detections (EVENTS, and ``known_at`` if that is not ``ts``); those already there stay as they are.

        Safe to repeat and to run twice at once. One transaction.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        DataContractError
            If the frame breaks its schema, or a detection carries no pattern.
        """
        EVENTS.validate(detections)
        if detections.empty:
            return 0
        flags = detections[[pattern_column(name) for name in PATTERNS]].to_numpy()
        _refuse_without_pattern(detections, flags)
        combination, which = np.unique(flags @ (1 << np.arange(len(PATTERNS))), return_inverse=True)
        known_at = detections["known_at"] if "known_at" in detections else detections["ts"]
        columns: list[tuple[str, np.ndarray | int]] = [
            ("i4", self._symbol_ids(detections["symbol"])),
            ("i8", _postgres_us(detections["ts"])),
            ("i4", detections["direction"].to_numpy()),
            ("i4", detections["direction_inferred"].to_numpy()),
            ("i4", which + 1),
            ("i8", _postgres_us(known_at)),
        ]
        values = {"combinations": ["+".join(_names(int(bits))) for bits in combination]}
        with database_errors(self.engine), self.engine.begin() as connection:
            _plan_for_many_rows(connection)
            line_id = _id_of(connection, _NEW_LINE, _LINE, self._line())
            _copy_in(connection, "staged_detections", _STAGED_DETECTIONS, columns)
            return int(connection.execute(text(_INSERT_DETECTIONS), values | {"line_id": line_id}).rowcount)

    def read(self, as_of: datetime) -> pd.DataFrame:
        """Detections known at ``as_of``: EVENTS with ``detection_id`` and ``known_at``."""
        return self._read(_DETECTIONS, {"as_of": as_of})

    def pending(self, label_version: str, as_of: datetime) -> pd.DataFrame:
        """Detections known at ``as_of`` that had no label of this version then; like :meth:`read`.

        Also those that never get one (too little history, no bar to enter): only bars can tell them apart.
        """
        return self._read(f"{_DETECTIONS} AND NOT EXISTS ({_ANY_LABEL})", {"as_of": as_of}, label_version)

    def labels(self, label_version: str, as_of: datetime) -> pd.DataFrame:
        """Labels of one version as known at ``as_of``: LABELS with ``known_at`` and ``settled_at``."""
        kinds = ["i4", "i8", "i4", "i4", "f8", "f8", "i4", "i8", "i8", "i8", "i8"]
        values = {"as_of": as_of, "outcomes": list(_OUTCOMES)}
        with database_errors(self.engine), self.engine.begin() as connection:
            _plan_for_many_rows(connection)
            values |= self._ids(connection, label_version)
            rows = unpack(copy_out(connection, _LABELS, values), kinds)
            symbols = _symbols(connection, rows[0])
        code, ts, direction, y, net, gross, outcome, entry_ts, label_end, known_at, settled_at = rows
        frame = pd.DataFrame(
            {
                "symbol": _named(symbols, code),
                "ts": _moments(ts),
                "direction": direction.astype("int8"),
                "y": y.astype("int8"),
                "net_return": net,
                "gross_return": gross,
                "outcome": _named(dict(enumerate(_OUTCOMES, start=1)), outcome),
                "entry_ts": _moments(entry_ts),
                "label_end": _moments(label_end),
                "known_at": _moments(known_at),
                "settled_at": _moments(settled_at),
            }
        ).sort_values(list(EVENT_KEY), ignore_index=True)
        validated: pd.DataFrame = LABELS.validate(frame)
        return validated

    def settle(
        self, labels: pd.DataFrame, *, label_version: str, as_of: datetime, settled_at: datetime | None = None
    ) -> Settled:
        """Write down the outcomes known at ``as_of``, each exactly once.

        A detection without a label of this version at ``as_of`` gets one. One whose label says something else,
        because a bar was corrected, gets a further row that holds from its ``known_at`` on; the old row stays. Equal
        outcomes write nothing, so this is safe to repeat, and processes that settle at once wait for each other. One
        transaction: after a crash all of it is there or nothing.

        Parameters
        ----------
        labels : LABELS
            Of detections that are stored; with ``known_at`` if that is not ``label_end``.
        label_version : str
        as_of : datetime
        settled_at : datetime, optional
            Now by default.

        Raises
        ------
        DataContractError
            If a label ends, or was known, after ``as_of``, or its detection is not stored.
        """
        LABELS.validate(labels)
        if labels.empty:
            return Settled(0, 0, 0)
        known_at = labels["known_at"] if "known_at" in labels else labels["label_end"]
        _refuse_future(labels, known_at, as_of)
        outcome = pd.Categorical(labels["outcome"], categories=_OUTCOMES).codes
        columns: list[tuple[str, np.ndarray | int]] = [
            ("i4", self._symbol_ids(labels["symbol"])),
            ("i8", _postgres_us(labels["ts"])),
            ("i4", labels["direction"].to_numpy()),
            ("i4", labels["y"].to_numpy()),
            ("f8", labels["net_return"].to_numpy()),
            ("f8", labels["gross_return"].to_numpy()),
            ("i4", outcome.astype("int32") + 1),
            ("i8", _postgres_us(labels["entry_ts"])),
            ("i8", _postgres_us(labels["label_end"])),
            ("i8", _postgres_us(known_at)),
        ]
        values: dict[str, Any] = {
            "outcomes": list(_OUTCOMES),
            "as_of": as_of,
            "settled_at": settled_at or datetime.now(UTC),
            "same": SAME_RETURN,
            "lock": "/".join(("labels", *self._line().values(), label_version)),
        }
        with database_errors(self.engine), self.engine.begin() as connection:
            _plan_for_many_rows(connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), values)
            version = {"label_version": label_version}
            _id_of(connection, _NEW_LABEL_VERSION, _LABEL_VERSION, version)
            values |= self._ids(connection, label_version)
            _copy_in(connection, "staged_labels", _STAGED_LABELS, columns)
            connection.execute(text(_COMPARE), values)
            found, new, corrected = connection.execute(text(_COMPARED)).one()
            _refuse_unknown(found, len(labels), self)
            connection.execute(text(_INSERT_LABELS), values)
        return Settled(new=int(new), corrected=int(corrected), unchanged=int(found - new - corrected))

    def late_bars(self, as_of: datetime) -> pd.DataFrame:
        """Bars whose values were known later than their close: symbol, ts, and the newest ``known_at`` up to ``as_of``.

        Of every source, also those that another one outranks.
        """
        query = (
            "SELECT symbol, ts, max(known_at) AS known_at FROM catalyst_ml.named_bars WHERE dataset = :dataset AND "
            "timeframe = :timeframe AND known_at > ts AND known_at <= :as_of AND ts <= :as_of GROUP BY symbol, ts"
        )
        with database_errors(self.engine), self.engine.connect() as connection:
            rows = connection.execute(text(query), self._line() | {"as_of": as_of}).all()
        frame = pd.DataFrame(rows, columns=["symbol", "ts", "known_at"])
        times = {
            name: pd.DatetimeIndex(pd.to_datetime(frame[name], utc=True)).as_unit("us") for name in ("ts", "known_at")
        }
        return frame.assign(**times).astype({"symbol": "str", "ts": TIME_DTYPE, "known_at": TIME_DTYPE})

    def _line(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "timeframe": self.timeframe, "detector_version": self.detector_version}

    def _symbol_ids(self, symbols: pd.Series) -> np.ndarray:
        which, names = pd.factorize(symbols)
        return SymbolIds(self.engine).of([str(name) for name in names])[which]

    def _ids(self, connection: Connection, label_version: str | None = None) -> dict[str, int]:
        """Ids of this line and of a label version; 0, which none has, if it was never written."""
        line_id = connection.execute(text(_LINE), self._line()).scalar()
        version_id = connection.execute(text(_LABEL_VERSION), {"label_version": label_version}).scalar()
        return {"line_id": line_id or 0, "label_version_id": version_id or 0}

    def _read(self, query: str, values: dict[str, Any], label_version: str | None = None) -> pd.DataFrame:
        with database_errors(self.engine), self.engine.begin() as connection:
            _plan_for_many_rows(connection)
            parameters = self._ids(connection, label_version) | values | {"names": list(PATTERNS)}
            rows = unpack(copy_out(connection, query, parameters), ["i8", "i4", "i8", "i4", "i4", "i4", "i8"])
            symbols = _symbols(connection, rows[1])
        detection_id, code, ts, direction, inferred, bits, known_at = rows
        frame = pd.DataFrame(
            {
                "symbol": _named(symbols, code),
                "ts": _moments(ts),
                "direction": direction.astype("int8"),
                "direction_inferred": inferred == 1,
                **{pattern_column(name): (bits >> i) & 1 == 1 for i, name in enumerate(PATTERNS)},
                "detection_id": detection_id,
                "known_at": _moments(known_at),
            }
        ).sort_values(list(EVENT_KEY), ignore_index=True)
        validated: pd.DataFrame = EVENTS.validate(frame)
        return validated


def count_events(engine: Engine) -> list[EventCount]:
    """What is stored, one line per dataset, timeframe, detector and label version, in this order."""
    query = """
        WITH line AS (
            SELECT line_id, count(*) AS n, min(ts) AS first, max(ts) AS last FROM catalyst_ml.detections GROUP BY 1
        ), labelled AS (
            SELECT line_id, label_version_id, count(DISTINCT detection_id) AS n_labelled, count(*) AS n_rows
            FROM catalyst_ml.labels JOIN catalyst_ml.detections USING (detection_id) GROUP BY 1, 2
        )
        SELECT dataset, timeframe, detector_version, label_version, n, coalesce(n_labelled, 0),
               coalesce(n_rows - n_labelled, 0), first, last
        FROM line JOIN catalyst_ml.detection_lines USING (line_id)
        LEFT JOIN labelled USING (line_id) LEFT JOIN catalyst_ml.label_versions USING (label_version_id)"""
    with database_errors(engine), engine.begin() as connection:
        _plan_for_many_rows(connection)
        found = [EventCount(*row) for row in connection.execute(text(query))]
    return sorted(found, key=lambda c: (c.dataset, c.timeframe, c.detector_version, c.label_version or ""))


_LINE = (
    "SELECT line_id FROM catalyst_ml.detection_lines WHERE dataset = :dataset AND timeframe = :timeframe "
    "AND detector_version = :detector_version"
)
_NEW_LINE = (
    "INSERT INTO catalyst_ml.detection_lines (dataset, timeframe, detector_version) "
    "VALUES (:dataset, :timeframe, :detector_version) ON CONFLICT DO NOTHING"
)
_LABEL_VERSION = "SELECT label_version_id FROM catalyst_ml.label_versions WHERE label_version = :label_version"
_NEW_LABEL_VERSION = (
    "INSERT INTO catalyst_ml.label_versions (label_version) VALUES (:label_version) ON CONFLICT DO NOTHING"
)
_STAGED_DETECTIONS = (
    "symbol_id int, ts timestamptz, direction int, direction_inferred int, combination int, known_at timestamptz"
)
_INSERT_DETECTIONS = """
    INSERT INTO catalyst_ml.detections
        (line_id, symbol_id, ts, direction, direction_inferred, patterns, known_at)
    SELECT :line_id, i.symbol_id, i.ts, i.direction, i.direction_inferred = 1, c.names, i.known_at
    FROM staged_detections i
    JOIN (
        SELECT string_to_array(joined, '+') AS names, place
        FROM unnest(CAST(:combinations AS text[])) WITH ORDINALITY AS t (joined, place)
    ) c ON c.place = i.combination
    WHERE NOT EXISTS (  -- a conflict costs as much as a row, and every pass meets all of the past again
        SELECT 1 FROM catalyst_ml.detections d
        WHERE d.line_id = :line_id AND d.symbol_id = i.symbol_id AND d.ts = i.ts AND d.direction = i.direction
    )
    ORDER BY i.symbol_id, i.ts, i.direction
    ON CONFLICT (line_id, symbol_id, ts, direction) DO NOTHING"""
_DETECTIONS = """
    WITH combination AS MATERIALIZED (  -- a few dozen; without the word they are computed anew for every detection
        SELECT t.patterns,
               (SELECT coalesce(sum(1 << (n.place::int - 1)), 0)::int
                FROM unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, place)
                WHERE n.name = ANY(t.patterns)) AS bits
        FROM (SELECT DISTINCT patterns FROM catalyst_ml.detections WHERE line_id = %(line_id)s) t
    )
    SELECT d.detection_id, d.symbol_id, d.ts, d.direction::int, d.direction_inferred::int, c.bits, d.known_at
    FROM catalyst_ml.detections d JOIN combination c USING (patterns)
    WHERE d.line_id = %(line_id)s AND d.known_at <= %(as_of)s"""
_ANY_LABEL = """
    SELECT 1 FROM catalyst_ml.labels l WHERE l.detection_id = d.detection_id
    AND l.label_version_id = %(label_version_id)s AND l.known_at <= %(as_of)s"""
_LABELS = """
    SELECT DISTINCT ON (l.detection_id)
           d.symbol_id, d.ts, d.direction::int, l.y::int, l.net_return, l.gross_return,
           array_position(%(outcomes)s::text[], l.outcome), l.entry_ts, l.label_end, l.known_at, l.settled_at
    FROM catalyst_ml.labels l JOIN catalyst_ml.detections d USING (detection_id)
    WHERE d.line_id = %(line_id)s AND l.label_version_id = %(label_version_id)s AND l.known_at <= %(as_of)s
    ORDER BY l.detection_id, l.known_at DESC, l.settled_at DESC"""
_STAGED_LABELS = (
    "symbol_id int, ts timestamptz, direction int, y int, net_return float8, gross_return float8, outcome int, "
    "entry_ts timestamptz, label_end timestamptz, known_at timestamptz"
)
_COMPARE = """
    CREATE TEMPORARY TABLE compared ON COMMIT DROP AS
    WITH held AS (
        SELECT DISTINCT ON (l.detection_id) l.* FROM catalyst_ml.labels l
        JOIN catalyst_ml.detections d USING (detection_id)
        WHERE d.line_id = :line_id AND l.label_version_id = :label_version_id AND l.known_at <= :as_of
        ORDER BY l.detection_id, l.known_at DESC, l.settled_at DESC
    ), incoming AS (
        SELECT d.detection_id, i.y, i.net_return, i.gross_return, (CAST(:outcomes AS text[]))[i.outcome] AS outcome,
               i.entry_ts, i.label_end, i.known_at
        FROM staged_labels i
        JOIN catalyst_ml.detections d ON d.line_id = :line_id AND d.symbol_id = i.symbol_id AND d.ts = i.ts
            AND d.direction = i.direction
    )
    SELECT i.detection_id, i.y, i.net_return, i.gross_return, i.outcome, i.entry_ts, i.label_end,
           greatest(i.known_at, h.known_at) AS known_at,  -- a row older than the one that holds would never be seen
           h.settled_at AS settled_before,
           h.detection_id IS NULL AS is_new,
           h.detection_id IS NOT NULL AND (
               (h.y, h.outcome, h.entry_ts, h.label_end) IS DISTINCT FROM (i.y, i.outcome, i.entry_ts, i.label_end)
               OR abs(h.net_return - i.net_return) > :same OR abs(h.gross_return - i.gross_return) > :same
           ) AS is_corrected
    FROM incoming i LEFT JOIN held h USING (detection_id)"""
_COMPARED = "SELECT count(*), count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE is_corrected) FROM compared"
_INSERT_LABELS = """
    INSERT INTO catalyst_ml.labels
        (detection_id, label_version_id, known_at, settled_at, y, net_return, gross_return, outcome, entry_ts,
         label_end)
    SELECT detection_id, :label_version_id, known_at,
           greatest(CAST(:settled_at AS timestamptz), settled_before + interval '1 microsecond'),
           y, net_return, gross_return, outcome, entry_ts, label_end
    FROM compared WHERE is_new OR is_corrected ORDER BY detection_id"""


def _refuse_without_pattern(detections: pd.DataFrame, flags: np.ndarray) -> None:
    bare = ~flags.any(axis=1)
    if bare.any():
        first = detections.iloc[int(bare.argmax())]
        raise DataContractError(
            f"{int(bare.sum())} of {len(detections)} detections carry no pattern, first {first['symbol']} at "
            f"{first['ts']}; expected what the detector returns. Leave bars without a pattern out."
        )


def _refuse_future(labels: pd.DataFrame, known_at: pd.Series, as_of: datetime) -> None:
    is_future = ((labels["label_end"] > as_of) | (known_at > as_of)).to_numpy()
    if is_future.any():
        first = labels.iloc[int(is_future.argmax())]
        raise DataContractError(
            f"{int(is_future.sum())} of {len(labels)} labels end or were known after as_of {as_of}, first "
            f"{first['symbol']} at {first['ts']} ending {first['label_end']}; expected settled ones. Settle later."
        )


def _refuse_unknown(found: int, wanted: int, line: EventLine) -> None:
    if found != wanted:
        raise DataContractError(
            f"{wanted - found} of {wanted} labels belong to no stored detection of {line.dataset!r} {line.timeframe} "
            f"{line.detector_version}; nothing was written. Store the detections first."
        )


def _names(bits: int) -> list[str]:
    return [name for i, name in enumerate(PATTERNS) if bits >> i & 1]


def _id_of(connection: Connection, insert: str, select: str, values: dict[str, Any]) -> int:
    """Return the id of a name, given one first if it has none."""
    found = connection.execute(text(select), values).scalar()
    if found is None:
        connection.execute(text(insert), values)
        found = connection.execute(text(select), values).scalar_one()
    return int(found)


def _symbols(connection: Connection, symbol_id: np.ndarray) -> dict[int, str]:
    statement = text("SELECT symbol_id, symbol FROM catalyst_ml.symbols WHERE symbol_id = ANY(:ids)")
    return {key: name for key, name in connection.execute(statement, {"ids": np.unique(symbol_id).tolist()})}


def _named(names: dict[int, str], ids: np.ndarray) -> pd.Series:
    known, place = np.unique(ids, return_inverse=True)
    return pd.Series(np.array([names[int(i)] for i in known], dtype=object)[place] if len(ids) else [], dtype="str")


def _plan_for_many_rows(connection: Connection) -> None:
    """Keep the planner from loops over tables it knows nothing of yet: it took minutes instead of seconds."""
    connection.execute(text("SET LOCAL enable_nestloop = off"))


def _postgres_us(moments: pd.Series) -> np.ndarray:
    return to_postgres_time(pd.DatetimeIndex(moments).as_unit("us").asi8)


def _moments(postgres_us: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(from_postgres_time(postgres_us).astype("datetime64[us]")).tz_localize("UTC")


def _copy_in(connection: Connection, table: str, columns: str, values: Sequence[tuple[str, np.ndarray | int]]) -> None:
    connection.execute(text(f"CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP"))
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT binary)", pack(values))
    connection.execute(text(f"ANALYZE {table}"))  # without it the planner expects a handful of rows

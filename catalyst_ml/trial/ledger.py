"""The signal ledger in our database: every event's signal once, its outcomes as they became known, nothing changed.

The first word stands: a signal written again stays as it was, whatever the second run says, and the difference is
counted. Outcomes are revisions; the newest is the truth and the older ones stay. Each write is one transaction, so a
killed run leaves all of it or nothing, and two runs at once wait for each other.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import DATE_DTYPE, TIME_DTYPE, FrameSchema
from catalyst_ml.registry.versions import ModelLine
from catalyst_ml.store.engine import database_errors
from catalyst_ml.store.frame_transfer import stage
from catalyst_ml.trial.ledger_frames import LEDGER, OUTCOMES, REVISIONS, SIGNALS, validate_signals
from catalyst_ml.trial.settlement import CORRECTION, due_revisions

log = logging.getLogger(__name__)

SAME_PROBABILITY = 1e-9


@dataclass(frozen=True)
class Written:
    """What writing signals did. ``different`` of the ``kept`` ones say something else now; the first word stands."""

    new: int
    kept: int
    different: int


@dataclass(frozen=True)
class SettledSignals:
    """What settling did: first outcomes and corrections."""

    first: int
    corrected: int


@dataclass(frozen=True)
class SignalLedger:
    """The signals of one line."""

    engine: Engine
    line: ModelLine

    def write(
        self, signals: pd.DataFrame, *, run_id: str, is_replay: bool, scored_at: datetime | None = None
    ) -> Written:
        """Write signals down; what is there already stays as it is. One transaction.

        Parameters
        ----------
        signals : SIGNALS
        run_id : str
        is_replay : bool
            The past, scored as if live. A line is kept live or replayed, never both.
        scored_at : datetime, optional
            Aware; now by default. After ``entry_due`` the signal is late.

        Raises
        ------
        DataContractError
            If a signal breaks its contract (`validate_signals`), or the line is of the other kind: nothing is written.
        """
        validate_signals(signals)
        if signals.empty:
            return Written(0, 0, 0)
        values = {
            **self.line._asdict(),
            "scored_at": scored_at or datetime.now(UTC),
            "is_replay": is_replay,
            "run_id": run_id,
            "same": SAME_PROBABILITY,
        }
        with database_errors(self.engine), self.engine.begin() as connection:
            lock_line(connection, self.line)
            self._refuse_mixing(connection, is_replay)
            stage(connection, "staged_signals", _SIGNAL_TYPES, signals)
            connection.execute(text("SET LOCAL enable_nestloop = off"))  # the planner knows nothing of a first fill
            different = int(connection.execute(text(_DIFFERENT), values).scalar_one())
            new = connection.execute(text(_INSERT_SIGNALS), values).rowcount
        if different:
            log.warning(
                "%s: %d of %d signals were written before and would say something else now; the first word stands",
                self.line, different, len(signals),
            )  # fmt: skip
        return Written(new=new, kept=len(signals) - new, different=different)

    def settle(
        self, labels: pd.DataFrame, *, as_of: datetime, run_id: str, settled_at: datetime | None = None
    ) -> SettledSignals:
        """Write the outcomes known at ``as_of`` beside their signals: new ones, and what a correction changed.

        Parameters
        ----------
        labels : LABELS
            As known at ``as_of``, e.g. of ``store.detections.EventLine.labels``; events without a signal do not matter.
        as_of : datetime
        run_id : str
        settled_at : datetime, optional
            Aware; now by default. A trace, it decides nothing.

        Raises
        ------
        DataContractError
            As ``settlement.due_revisions``; nothing is written.
        """
        with database_errors(self.engine), self.engine.begin() as connection:
            lock_line(connection, self.line)
            ledger = self._read(connection, None)
            due = due_revisions(ledger, labels, as_of=pd.Timestamp(as_of))
            if not due.empty:
                stage(connection, "staged_settlements", _REVISION_TYPES, due)
                values = {"settled_at": settled_at or datetime.now(UTC), "run_id": run_id}
                connection.execute(text(_INSERT_SETTLEMENTS), values)
        n_corrected = int((due["reason"] == CORRECTION).sum())
        return SettledSignals(first=len(due) - n_corrected, corrected=n_corrected)

    def read(self, *, known_at: datetime | None = None) -> pd.DataFrame:
        """Return the line's signals with their newest outcome: `LEDGER`, in time order.

        Parameters
        ----------
        known_at : datetime, optional
            Only signals decided, and outcomes settled with what was known, up to this moment.
        """
        with database_errors(self.engine), self.engine.connect() as connection:
            return self._read(connection, known_at)

    def revisions(self) -> pd.DataFrame:
        """Return every outcome ever written of the line's signals: `REVISIONS`."""
        with database_errors(self.engine), self.engine.connect() as connection:
            return _copy_out(connection, _REVISIONS, self.line._asdict(), REVISIONS)

    def last_session(self) -> datetime | None:
        """Return the date of the newest session with a signal, None if there is none."""
        query = f"SELECT max(session) FROM catalyst_ml.signals WHERE {_OF_LINE}"  # noqa: S608 - constants
        with database_errors(self.engine), self.engine.connect() as connection:
            newest = connection.execute(text(query), self.line._asdict()).scalar()
        return None if newest is None else datetime(newest.year, newest.month, newest.day)  # noqa: DTZ001 - a date

    def _read(self, connection: Connection, known_at: datetime | None) -> pd.DataFrame:
        values = {**self.line._asdict(), "known_at": known_at or datetime(9999, 1, 1, tzinfo=UTC)}
        return _copy_out(connection, _LEDGER, values, LEDGER)

    def _refuse_mixing(self, connection: Connection, is_replay: bool) -> None:
        values = {**self.line._asdict(), "is_replay": is_replay}
        if connection.execute(text(_OTHER_KIND), values).scalar():
            held, asked = ("live", "a replay") if is_replay else ("a replay", "live")
            raise DataContractError(
                f"{self.line}: its ledger is kept {held}, this run is {asked}. A line is one or the other, because a "
                "replayed past proves nothing beside a live record. Use a dataset of another name for a replay."
            )


def lock_line(connection: Connection, line: ModelLine) -> None:
    """Let one writer of the line's ledger at a time; the lock lives and dies with the transaction."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": "/".join(("trial", *line))}
    )


_OF_LINE = "dataset = :dataset AND timeframe = :timeframe AND label_version = :label_version"
_SQL_TYPES = {
    "str": "text",
    "int8": "smallint",
    "int64": "bigint",
    "float64": "double precision",
    "bool": "boolean",
    TIME_DTYPE: "timestamptz",
    DATE_DTYPE: "date",
}
_ARROW_TYPES = {
    "str": pa.string(),
    "int8": pa.int8(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    TIME_DTYPE: pa.timestamp("us", tz="UTC"),
    DATE_DTYPE: pa.timestamp("us"),
}


def _types(schema: FrameSchema) -> dict[str, str]:
    return {column.name: _SQL_TYPES[column.dtype] for column in schema.columns}


def _names(columns: Sequence[str], alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in columns)


_SIGNAL_TYPES = _types(SIGNALS)
_REVISION_TYPES = _types(REVISIONS)
_OTHER_KIND = f"SELECT 1 FROM catalyst_ml.signals WHERE {_OF_LINE} AND is_replay <> :is_replay LIMIT 1"  # noqa: S608
_DIFFERENT = """
    SELECT count(*) FROM staged_signals i JOIN catalyst_ml.signals s USING (symbol, ts, direction)
    WHERE s.dataset = :dataset AND s.timeframe = :timeframe AND s.label_version = :label_version
    AND (abs(s.p_rules - i.p_rules) > :same OR abs(coalesce(s.p_ml, -1) - coalesce(i.p_ml, -1)) > :same)"""
_INSERT_SIGNALS = f"""
    INSERT INTO catalyst_ml.signals
        (dataset, timeframe, label_version, {", ".join(SIGNALS.column_names)}, scored_at, is_replay, run_id)
    SELECT :dataset, :timeframe, :label_version, {_names(SIGNALS.column_names, "i")}, :scored_at, :is_replay, :run_id
    FROM staged_signals i ORDER BY i.ts, i.symbol, i.direction
    ON CONFLICT (dataset, timeframe, label_version, symbol, ts, direction) DO NOTHING"""  # noqa: S608
_INSERT_SETTLEMENTS = f"""
    INSERT INTO catalyst_ml.settlements
        (signal_id, revision, {", ".join(OUTCOMES)}, bars_known_until, reason, changed, settled_at, run_id)
    SELECT signal_id, revision, {", ".join(OUTCOMES)}, bars_known_until, reason, CAST(changed AS jsonb), :settled_at,
           :run_id
    FROM staged_settlements ORDER BY signal_id"""  # noqa: S608
_COPIED_LINE = "s.dataset = %(dataset)s AND s.timeframe = %(timeframe)s AND s.label_version = %(label_version)s"
_SIGNAL_SIDE = [name for name in LEDGER.column_names if name not in (*OUTCOMES, "revision", "bars_known_until")]
_OUTCOME_SIDE = [name for name in LEDGER.column_names if name in (*OUTCOMES, "revision", "bars_known_until")]
_LEDGER = f"""
    SELECT {_names(_SIGNAL_SIDE, "s")}, {_names(_OUTCOME_SIDE, "t")}
    FROM catalyst_ml.signals s LEFT JOIN (
        SELECT DISTINCT ON (t.signal_id) t.* FROM catalyst_ml.settlements t
        JOIN catalyst_ml.signals s USING (signal_id)
        WHERE {_COPIED_LINE} AND t.bars_known_until <= %(known_at)s ORDER BY t.signal_id, t.revision DESC
    ) t USING (signal_id)
    WHERE {_COPIED_LINE} AND s.ts <= %(known_at)s"""  # noqa: S608
_REVISIONS = f"""
    SELECT {_names(REVISIONS.column_names, "t")} FROM catalyst_ml.settlements t
    JOIN catalyst_ml.signals s USING (signal_id) WHERE {_COPIED_LINE}"""  # noqa: S608


def _copy_out(connection: Connection, query: str, values: dict[str, Any], schema: FrameSchema) -> pd.DataFrame:
    """Rows of a query whose columns are those of the schema, as a validated frame; 100,000 take half a second."""
    connection.execute(text("SET LOCAL timezone = 'UTC'"))
    # Statistics of a table just filled are old; loops over it took minutes instead of a second.
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    stream = io.BytesIO()
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        statement = cursor.mogrify(query, values).decode()
        cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT csv)", stream)
    if not stream.tell():
        return schema.empty()
    stream.seek(0)
    table = pacsv.read_csv(
        stream,
        pacsv.ReadOptions(column_names=schema.column_names),
        convert_options=pacsv.ConvertOptions(
            column_types={column.name: _ARROW_TYPES[column.dtype] for column in schema.columns},
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    frame = table.to_pandas().astype({column.name: column.dtype for column in schema.columns})
    validated: pd.DataFrame = schema.validate(frame.sort_values(list(schema.sort or schema.key), ignore_index=True))
    return validated

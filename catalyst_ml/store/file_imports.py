"""What imports of news and reference files share: the entry in ``imports``, refused rows, a staging table, the report.

Bars have ``bar_import``; their many rows need other ways.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import DATE_DTYPE, TIME_DTYPE, FrameSchema
from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.bar_import import DATASET_NAME
from catalyst_ml.store.bar_lines import SIMULATED_SOURCE
from catalyst_ml.store.engine import database_errors

EXAMPLES_PER_RULE = 3
NO_TIMEFRAME = "-"


@dataclass(frozen=True)
class ReferenceReport:
    """What became of one file: ``read = new + unchanged + corrected + repeated + refused``."""

    file: str
    read: int
    new: int
    unchanged: int
    corrected: int
    repeated: int
    refused: int
    skipped: int
    refused_by_rule: dict[str, int]
    examples: tuple[RefusedRow, ...]
    notes: tuple[str, ...]


@dataclass
class Refusals:
    """Refused rows of one import: all go to the table, a few of each rule into the report."""

    import_id: int
    rules: Counter[str] = field(default_factory=Counter)
    examples: list[RefusedRow] = field(default_factory=list)

    def add(self, connection: Connection, refused: Sequence[RefusedRow]) -> None:
        """Store refused rows and count them."""
        if not refused:
            return
        for row in refused:
            self.rules[row.rule] += 1
            if self.rules[row.rule] <= EXAMPLES_PER_RULE:
                self.examples.append(row)
        values = [
            (self.import_id, r.row, *(_storable(part) for part in (r.symbol, r.ts_text, r.rule, r.detail)))
            for r in refused
        ]
        columns = ["import_id", "row", "symbol", "ts_text", "rule", "detail"]
        copy_frame(connection, "catalyst_ml.refused_rows", pd.DataFrame(values, columns=columns))


def open_import(
    connection: Connection,
    *,
    dataset: str,
    subject: str,
    file: str,
    sha256: str,
    now: datetime,
    options: dict[str, Any],
) -> Refusals:
    """Enter an import of ``subject`` into ``catalyst_ml.imports``; two into the same dataset wait for each other.

    Raises
    ------
    ConfigurationError
        If ``now`` names no zone or ``dataset`` is no name.
    DataContractError
        If the dataset holds simulated bars.
    """
    if now.tzinfo is None:
        raise ConfigurationError(f"now={now} has no time zone; expected an aware moment.")
    if not re.fullmatch(DATASET_NAME, dataset):
        raise ConfigurationError(
            f"dataset {dataset!r}: expected small letters, digits, - and _, beginning with a letter or digit, "
            "e.g. real-daily."
        )
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"{dataset}/{subject}"})
    _refuse_simulated(connection, dataset, file)
    statement = text(
        "INSERT INTO catalyst_ml.imports (dataset, timeframe, source, file_name, sha256, stamp, started_at, options) "
        "VALUES (:dataset, :timeframe, '', :file, :sha256, 'end', :now, CAST(:options AS jsonb)) RETURNING id"
    )
    values = {
        "dataset": dataset,
        "timeframe": NO_TIMEFRAME,
        "file": file,
        "sha256": sha256,
        "now": now,
        "options": json.dumps({"subject": subject, **options}),
    }
    return Refusals(int(connection.execute(statement, values).scalar_one()))


def close_import(
    connection: Connection,
    refusals: Refusals,
    *,
    file: str,
    read: int,
    new: int,
    corrected: int,
    repeated: int,
    skipped: int = 0,
    sources: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> ReferenceReport:
    """Finish the entry of an import and report it; ``unchanged`` is what no other count holds."""
    refused = refusals.rules.total()
    report = ReferenceReport(
        file=file,
        read=read,
        new=new,
        unchanged=read - new - corrected - repeated - refused,
        corrected=corrected,
        repeated=repeated,
        refused=refused,
        skipped=skipped,
        refused_by_rule=dict(refusals.rules.most_common()),
        examples=tuple(refusals.examples),
        notes=tuple(notes),
    )
    connection.execute(
        text(
            "UPDATE catalyst_ml.imports SET source = :source, rows_read = :read, rows_new = :new, rows_unchanged = "
            ":unchanged, rows_corrected = :corrected, rows_refused = :refused, finished_at = clock_timestamp() "
            "WHERE id = :id"
        ),
        {
            "source": ",".join(sources),
            "read": read,
            "new": new,
            "unchanged": report.unchanged + repeated,
            "corrected": corrected,
            "refused": refused,
            "id": refusals.import_id,
        },
    )
    return report


def stage(connection: Connection, name: str, columns: Mapping[str, str], frame: pd.DataFrame | None = None) -> None:
    """Make a temporary table of these columns that goes with the transaction, and fill it."""
    declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} ({declared}) ON COMMIT DROP"))
    if frame is not None:
        copy_frame(connection, name, frame[list(columns)])
        connection.execute(text(f"ANALYZE {name}"))


def copy_frame(connection: Connection, table: str, frame: pd.DataFrame) -> None:
    """COPY the rows of a frame into a table, by the names of its columns."""
    rows = io.BytesIO()
    # Every value quoted but the missing ones: so an empty text is no NULL, and no text can look like one.
    pacsv.write_csv(
        pa.Table.from_pandas(frame, preserve_index=False),
        rows,
        pacsv.WriteOptions(include_header=False, quoting_style="all_valid"),
    )
    rows.seek(0)
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} ({', '.join(frame.columns)}) FROM STDIN (FORMAT csv, NULL '')", rows)


def read_frame(
    engine: Engine, query: str, parameters: Mapping[str, Any], schema: FrameSchema, *extra: str
) -> pd.DataFrame:
    """Rows of a query as a validated frame, sorted by its key; ``extra`` names further text columns of the query."""
    with database_errors(engine), engine.connect() as connection:
        result = connection.execute(text(query), dict(parameters))
        names, rows = list(result.keys()), result.all()
    kinds = {column.name: column.dtype for column in schema.columns}
    columns = dict(zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True))
    frame = pd.DataFrame(
        {name: _column(columns[name], kinds.get(name, "str")) for name in (*schema.column_names, *extra)}
    )
    validated = schema.validate(frame.sort_values(list(schema.sort or schema.key), ignore_index=True))
    return validated


def _column(values: Sequence[Any], dtype: str) -> pd.Series:
    if dtype == TIME_DTYPE:
        return pd.Series(pd.DatetimeIndex(pd.to_datetime(list(values), utc=True)).as_unit("us"))
    if dtype == DATE_DTYPE:
        return pd.Series(pd.DatetimeIndex(pd.to_datetime(list(values))).as_unit("us"))
    return pd.Series(values, dtype=cast("Any", dtype))


def _refuse_simulated(connection: Connection, dataset: str, file: str) -> None:
    statement = text("SELECT count(*) FROM catalyst_ml.bar_lines WHERE dataset = :dataset AND source = :source")
    if connection.execute(statement, {"dataset": dataset, "source": SIMULATED_SOURCE}).scalar():
        raise DataContractError(
            f"dataset {dataset!r} holds simulated bars; {file} would be mixed in. Real and simulated data never share "
            "a dataset: choose another --dataset."
        )


def _storable(value: str) -> str:
    return value.replace("\0", "\\0")

"""Small frames into tables and out of queries, as text; bars and detections travel by ``binary_copy``."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from sqlalchemy import Connection, Engine, text

from catalyst_ml.frames import DATE_DTYPE, TIME_DTYPE, FrameSchema
from catalyst_ml.store.engine import database_errors


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
    return schema.validate(frame.sort_values(list(schema.sort or schema.key), ignore_index=True))


def _column(values: Sequence[Any], dtype: str) -> pd.Series:
    if dtype == TIME_DTYPE:
        return pd.Series(pd.DatetimeIndex(pd.to_datetime(list(values), utc=True)).as_unit("us"))
    if dtype == DATE_DTYPE:
        return pd.Series(pd.DatetimeIndex(pd.to_datetime(list(values))).as_unit("us"))
    return pd.Series(values, dtype=cast("Any", dtype))

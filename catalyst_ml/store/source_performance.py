"""One row a version in the trading system's ``ml_model_performance``: the only thing we ever write there, if asked to.

The table belongs to others. We write into the columns it has, within their limits, touch no row that we did not write,
and add no column, key or index. Our rows are those whose ``parameters`` name one of our versions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from catalyst_ml.store.source_engine import source_errors

TABLE = "ml_model_performance"
MODEL_NAME, MODEL_TYPE = "catalyst-ml", "ensemble"
_OURS = "catalyst_ml_version_id"
_LINE = "catalyst_ml_line"
_NEEDED = frozenset({"model_name", "model_version", "parameters"})
_TYPES_OF_PARAMETERS = frozenset({"json", "jsonb"})


@dataclass(frozen=True)
class ModelPerformance:
    """What the trading system's table can say of a version. Shares are in [0, 1]; None is what is not known.

    ``in_production`` is the version of the line that serves now, None for the rules. ``more`` holds what the table has
    no column for, as JSON: base rate, effective rows, calibration error, data window, digest of the manifest.
    """

    version_id: str
    line: str
    training_date: datetime
    training_samples: int
    feature_count: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    auc_roc: float | None
    in_production: str | None
    more: Mapping[str, Any]

    @property
    def f1_score(self) -> float | None:
        """Harmonic mean of precision and recall."""
        if self.precision is None or self.recall is None or self.precision + self.recall == 0.0:
            return None
        return 2.0 * self.precision * self.recall / (self.precision + self.recall)


def write_performance(source: Engine, performance: ModelPerformance) -> str:
    """Insert or update our row, and switch ``is_active`` of our rows of this line; return in words what was done.

    Idempotent: the same version is one row, however often and by however many it is written.

    Raises
    ------
    SourceUnavailable, ConfigurationError, DataContractError
        As the source's reading: it does not answer, the role may not write there, a value was not accepted.
    """
    with source_errors(source), source.begin() as connection:
        # The role that reads may be set to read-only by default; what it may not write, it cannot by this.
        connection.execute(text("SET TRANSACTION READ WRITE"))
        connection.execute(text("SELECT set_config('lock_timeout', '10s', true), set_config('timezone', 'UTC', true)"))
        schema = connection.execute(text(_FIND)).scalar()
        if schema is None:
            return f"the trading system has no table {TABLE}; nothing was written there"
        columns = {row.column_name: row for row in connection.execute(text(_COLUMNS), {"schema": schema})}
        missing = _NEEDED - columns.keys()
        if missing or columns["parameters"].data_type not in _TYPES_OF_PARAMETERS:
            return (
                f"{schema}.{TABLE} lacks {', '.join(sorted(missing)) or 'parameters as JSON'}, by which our rows are "
                "told from others'; nothing was written there"
            )
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:id, 0))"), {"id": performance.version_id}
        )
        return _write(connection, _quoted(connection, schema), columns, performance)


def short_version(version_id: str, limit: int | None) -> str:
    """Return the id in at most ``limit`` characters: whole, or day and hash, or the hash.

    >>> short_version("catalyst-1d-20260605-1a2b3c4d", 20)
    '20260605-1a2b3c4d'
    """
    parts = version_id.split("-")
    if limit is None:
        return version_id
    fitting = (text_ for text_ in (version_id, "-".join(parts[-2:]), parts[-1]) if len(text_) <= limit)
    return next(fitting, parts[-1][-limit:])


def _write(connection: Connection, table: str, columns: Mapping[str, Row[Any]], performance: ModelPerformance) -> str:
    values, left_out = _fitting(columns, performance)
    ours = {"name": values["model_name"], "id": performance.version_id, "line": performance.line}
    mine = f"model_name = :name AND parameters ->> '{_OURS}' = :id"
    assignments = ", ".join(f"{name} = {_placed(columns[name])}" for name in values)
    updated = connection.execute(text(f"UPDATE {table} SET {assignments} WHERE {mine}"), {**ours, **values}).rowcount  # noqa: S608
    if not updated:
        names, places = ", ".join(values), ", ".join(_placed(columns[name]) for name in values)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)  # noqa: S608
    if "is_active" in columns:
        # Rows of this line that we wrote: all others may be another system's, whose flag is its own.
        connection.execute(
            text(
                f"UPDATE {table} SET is_active = (parameters ->> '{_OURS}' IS NOT DISTINCT FROM :held) "  # noqa: S608
                f"WHERE model_name = :name AND parameters ->> '{_LINE}' = :line "
                f"AND parameters ->> '{_OURS}' IS NOT NULL"
            ),
            {**ours, "held": performance.in_production},
        )
    done = "updated" if updated else "written"
    note = f"; did not fit and stayed empty: {', '.join(left_out)}" if left_out else ""
    return f"row {values['model_version']} {done} in {table}{note}"


def _fitting(columns: Mapping[str, Row[Any]], performance: ModelPerformance) -> tuple[dict[str, Any], list[str]]:
    """Values for the columns that exist, and the names of those that a column has no room for."""
    told = {**performance.more, _OURS: performance.version_id, _LINE: performance.line}
    wanted = {
        "model_name": MODEL_NAME,
        "model_version": short_version(performance.version_id, columns["model_version"].character_maximum_length),
        "model_type": MODEL_TYPE,
        "training_date": performance.training_date,
        "training_samples": performance.training_samples,
        "feature_count": performance.feature_count,
        "accuracy": performance.accuracy,
        "precision": performance.precision,
        "recall": performance.recall,
        "f1_score": performance.f1_score,
        "auc_roc": performance.auc_roc,
        "parameters": json.dumps(told, sort_keys=True, default=str),
    }
    values, left_out = {}, []
    for name, value in wanted.items():
        if name not in columns:
            continue
        if value is not None and not _fits(columns[name], value):
            left_out.append(name)
            value = None
        values[name] = value
    return values, left_out


def _fits(column: Row[Any], value: Any) -> bool:
    if isinstance(value, float):
        if not math.isfinite(value):
            return False
        if column.data_type == "numeric" and column.numeric_precision is not None:
            scale = column.numeric_scale or 0
            return abs(round(value, scale)) < 10.0 ** (column.numeric_precision - scale)
    if isinstance(value, str) and column.character_maximum_length is not None:
        return len(value) <= column.character_maximum_length
    return True


def _placed(column: Row[Any]) -> str:
    kind = f"CAST(:{column.column_name} AS {column.data_type})"
    return kind if column.column_name == "parameters" else f":{column.column_name}"


def _quoted(connection: Connection, schema: str) -> str:
    return f"{connection.dialect.identifier_preparer.quote_identifier(schema)}.{TABLE}"


_FIND = f"""
    SELECT table_schema FROM information_schema.tables
    WHERE table_name = '{TABLE}' AND table_type = 'BASE TABLE' AND table_schema IN ('trading', 'public')
    ORDER BY table_schema = 'public' LIMIT 1
"""  # noqa: S608 - constants of this module
_COLUMNS = f"""
    SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale
    FROM information_schema.columns WHERE table_name = '{TABLE}' AND table_schema = :schema
"""  # noqa: S608 - constants of this module

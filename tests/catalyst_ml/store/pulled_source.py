"""A database with one table to pull, and the snapshots of it, for the tests of pulls."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import Engine, text

from catalyst_ml.store.source_inspection import inspect_source
from catalyst_ml.store.source_snapshots import PullResult, SourceSnapshots
from catalyst_ml.store.source_tables import SourceTable
from tests.catalyst_ml.store import upstream_schemas as upstream

NOW = datetime(2025, 6, 2, tzinfo=UTC)
BARS = "public.security_data_daily"


class Source:
    """A database with one table to pull, and the snapshots of it."""

    def __init__(self, engine: Engine, root: Path, name: str) -> None:
        self.engine, self.name = engine, name
        self.snapshots = SourceSnapshots(root, "catalyst")

    def table(self) -> SourceTable:
        catalogue, _ = inspect_source(self.engine, count=False)
        return next(table for table in catalogue.tables if table.full_name == self.name)

    def pull(self, *, now: datetime = NOW, **options: Any) -> PullResult:
        return self.snapshots.pull(self.engine, self.table(), now=now, **options)

    def change(self, statement: str) -> None:
        with self.engine.begin() as connection:
            upstream.run(connection, statement)

    def marks(self) -> list[tuple[Any, ...]]:
        """What PostgreSQL itself marks rows with: number of the table, place and transaction of the row."""
        with self.engine.connect() as connection:
            query = f"SELECT tableoid::text, ctid::text, xmin::text FROM {self.name}"
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def files(self) -> list[Path]:
        return [path for _, path in self.snapshots.files(self.name)]

    def held(self) -> list[dict[str, Any]]:
        """Rows of the snapshot, in the order of their id."""
        rows = [row for path in self.files() for row in pq.read_table(path).to_pylist()]
        return sorted(rows, key=lambda row: str(row["id"]))

    def stored(self) -> list[dict[str, Any]]:
        """Rows of the source as psycopg2 reads them, in the same order."""
        query = text(f"SELECT * FROM {self.name}")
        with self.engine.connect() as connection:
            connection.exec_driver_sql("SET timezone = 'UTC'")
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return sorted(rows, key=lambda row: str(row["id"]))


def same(held: list[dict[str, Any]], stored: list[dict[str, Any]]) -> bool:
    """True if every value is equal; decimals are compared as decimals, by their shortest text."""
    plain = [
        {name: Decimal(repr(value)) if isinstance(value, float) else value for name, value in row.items()}
        for row in held
    ]
    return plain == stored

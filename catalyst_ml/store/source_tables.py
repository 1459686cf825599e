"""The tables of the trading system as its catalogue has them: columns, types, keys to resolve, what may be read.

From ``pg_catalog`` instead of ``information_schema``: that one hides what the role may not read, and a table that is
there but closed is worth a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from catalyst_ml.store.source_shapes import KEY_JOINS, OUR_SCHEMA, Subject, fields_of, generation_of, subject_of

_QUOTER = PGDialect_psycopg2().identifier_preparer
_HASHES_ROW_PLACES_SINCE = 140_000
_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialised view", "f": "foreign table"}
_TIME_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")


FIRST_TIME, LAST_TIME = "1900-01-01", "2200-01-01"
"""Beyond them a time stands for something else, as 9999-12-31 does for "unknown"."""


def valid_time(expression: str) -> str:
    """SQL condition that a time is there and means one."""
    return f"({expression} >= '{FIRST_TIME}' AND {expression} < '{LAST_TIME}')"


def quote(name: str) -> str:
    """A name as an SQL identifier, always in quotes; ``%`` doubled as every driver of ours wants it."""
    return _QUOTER.quote_identifier(name).replace("%%", "%").replace("%", "%%")


@dataclass(frozen=True)
class SourceColumn:
    """One column of what is read: its name, its type as PostgreSQL prints it, and the expression that gives it."""

    name: str
    type: str
    expression: str

    @property
    def base_type(self) -> str:
        """Type without its length or precision."""
        return re.sub(r"\(.*?\)", "", self.type)

    @property
    def precision(self) -> tuple[int, int] | None:
        """Digits in all and after the point of a ``numeric(p,s)``; ``None`` for other types and plain ``numeric``."""
        match = re.fullmatch(r"numeric\((\d+)(?:,(-?\d+))?\)", self.type)
        return (int(match[1]), int(match[2] or 0)) if match else None

    @property
    def is_time(self) -> bool:
        """True for dates and timestamps."""
        return self.base_type in _TIME_TYPES

    @property
    def is_naive(self) -> bool:
        """True for timestamps that name no zone."""
        return self.base_type == "timestamp without time zone"


@dataclass(frozen=True)
class SourceTable:
    """One readable table or view; ``fields`` maps our fields to its columns where it has a subject."""

    schema: str
    name: str
    kind: str
    identity: str
    columns: tuple[SourceColumn, ...]
    relation: str
    """What follows FROM; the table itself is ``t``."""
    trace: str
    """SQL of a bigint that differs, but for chance, whenever a row was written anew."""
    subject: Subject | None = None
    generation: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    closed_columns: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Schema and name, for people."""
        return f"{self.schema}.{self.name}"

    def column(self, field_name: str) -> SourceColumn | None:
        """Column of one of the subject's fields."""
        wanted = self.fields.get(field_name)
        return next((column for column in self.columns if column.name == wanted), None)

    @property
    def time_column(self) -> SourceColumn | None:
        """The column that says when a row happened; ``None`` if there is none that holds times."""
        found = self.column("ts")
        return found if found is not None and found.is_time else None


@dataclass(frozen=True)
class SourceCatalogue:
    """All that the role can see of a database, and the tables it may not read."""

    database: str
    server_version: str
    tables: tuple[SourceTable, ...]
    closed: tuple[str, ...]

    def of(self, subject: Subject) -> list[SourceTable]:
        """Tables of one subject."""
        return [table for table in self.tables if table.subject is subject]


def read_catalogue(connection: Connection) -> SourceCatalogue:
    """Look at every table and view outside PostgreSQL's own schemas and ours; a few milliseconds, no table is read."""
    database, version, version_number = connection.execute(text(_DATABASE)).one()
    server = _server(connection)
    rows: Sequence[Any] = connection.execute(text(_COLUMNS), {"ours": OUR_SCHEMA}).all()
    grouped: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        grouped.setdefault((row.schema, row.name), []).append(row)
    closed = [f"{schema}.{name}" for (schema, name), held in grouped.items() if not any(r.may_read for r in held)]
    readable = {key: held for key, held in grouped.items() if any(r.may_read for r in held)}
    tables = [_table(key, held, readable, version_number, server) for key, held in sorted(readable.items())]
    return SourceCatalogue(database, version, tuple(tables), tuple(sorted(closed)))


def _server(connection: Connection) -> str:
    """Which server this is, and which of its histories: row versions of another one mean other rows.

    A stand-in that took over, or a backup that was rolled forward, begins a new timeline, in which the numbers of
    transactions that were lost are given again. ``""`` where the role may not ask.
    """
    if not connection.execute(text(_MAY_ASK_SERVER)).scalar_one():
        return ""
    system, timeline = connection.execute(text(_SERVER)).one()
    return f"{system}.{timeline}"


def _table(
    key: tuple[str, str],
    rows: Sequence[Any],
    readable: Mapping[tuple[str, str], Sequence[Any]],
    version_number: int,
    server: str,
) -> SourceTable:
    schema, name = key
    columns = [SourceColumn(row.column, row.type, f"t.{quote(row.column)}") for row in rows if row.may_read]
    relation = f"{quote(schema)}.{quote(name)} t"
    names = {column.name for column in columns}
    own_columns = tuple(columns)
    resolved = []
    for place, (its_key, (meaning, holders, wanted)) in enumerate(KEY_JOINS.items()):
        if its_key not in names or meaning in names:
            continue
        found = _holder(schema, its_key, holders, wanted, readable)
        if found is not None and found[0] != name:
            holder, column = found
            alias = f"k{place}"
            relation += (
                f" LEFT JOIN {quote(schema)}.{quote(holder)} {alias} ON {alias}.{quote(its_key)} = t.{quote(its_key)}"
            )
            columns.append(SourceColumn(meaning, column.type, f"{alias}.{quote(column.column)}"))
            resolved.append(f"{meaning} through {holder}")
    types = {column.name: column.type for column in columns}
    subject = subject_of(name, types)
    first = rows[0]
    return SourceTable(
        schema=schema,
        name=name,
        kind=_KINDS[first.kind],
        identity=f"{server}/{first.database_oid}/{first.oid}/{first.filenode}/{version_number // 10_000}",
        columns=tuple(columns),
        relation=relation,
        trace=_trace(
            _KINDS[first.kind] if first.may_read_all else "", own_columns, columns[len(own_columns) :], version_number
        ),
        subject=subject,
        generation=generation_of(schema, name, types) if subject else "",
        fields=(fields_of(subject, types) or {}) if subject else {},
        closed_columns=tuple(row.column for row in rows if not row.may_read),
        resolved=tuple(resolved),
    )


def _trace(kind: str, own: Sequence[SourceColumn], joined: Sequence[SourceColumn], version_number: int) -> str:
    """A number per row. PostgreSQL marks every version of a row with the transaction that wrote it and its place.

    That costs a tenth of hashing the values (0.4 s against 3.9 s for a million rows of 36 columns), and a change cannot
    hide from it. Rows that were moved but not changed (VACUUM FULL, a restored dump) are taken for changed: read again.
    A view's rows have no such marks, and who may read some columns only does not see them: there values are hashed, and
    so are those that a key leads to in another table, where a symbol may be renamed.
    """
    if kind not in ("table", "materialised view"):
        return _hash_of([*own, *joined])
    if version_number >= _HASHES_ROW_PLACES_SINCE:
        mark = "hashtidextended(t.ctid, t.xmin::text::bigint)"
    else:
        mark = "hashtextextended(t.ctid::text || ' ' || t.xmin::text, 0)"
    return f"({mark} # {_hash_of(joined)})" if joined else mark


def _hash_of(columns: Sequence[SourceColumn]) -> str:
    return f"hashtextextended(ROW({', '.join(column.expression for column in columns)})::text, 0)"


def _holder(
    schema: str,
    key: str,
    holders: Sequence[str],
    wanted: Sequence[str],
    readable: Mapping[tuple[str, str], Sequence[Any]],
) -> tuple[str, Any] | None:
    for holder in holders:
        held = {row.column: row for row in readable.get((schema, holder), ()) if row.may_read}
        column = next((held[name] for name in wanted if name in held), None)
        # Unique, or the join would give a row twice.
        if key in held and held[key].is_unique and column is not None:
            return holder, column
    return None


_DATABASE = "SELECT current_database(), current_setting('server_version'), current_setting('server_version_num')::int"
_MAY_ASK_SERVER = """
    SELECT has_function_privilege('pg_control_system()', 'EXECUTE')
       AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE')
"""
_SERVER = "SELECT s.system_identifier, c.timeline_id FROM pg_control_system() s, pg_control_checkpoint() c"
_COLUMNS = r"""
    SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.oid AS oid,
           coalesce(pg_relation_filenode(c.oid), 0) AS filenode,
           (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AS database_oid,
           a.attname AS column,
           format_type(coalesce(nullif(y.typbasetype, 0), a.atttypid),
                       CASE WHEN y.typbasetype <> 0 THEN y.typtypmod ELSE a.atttypmod END) AS type,
           has_table_privilege(c.oid, 'SELECT') AS may_read_all,
           has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT') AS may_read,
           EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL
                   AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS is_unique
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type y ON y.oid = a.atttypid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND n.nspname <> 'information_schema' AND n.nspname <> :ours AND left(n.nspname, 3) <> 'pg_'
      AND left(n.nspname, 12) <> '_timescaledb' AND left(n.nspname, 13) <> 'timescaledb_i'
    ORDER BY n.nspname, c.relname, a.attnum
"""

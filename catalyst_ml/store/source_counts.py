"""One pass over a table of the trading system: how many rows, since when, and how many of them are odd."""

# ruff: noqa: S608 - names in the SQL are quoted identifiers of the catalogue, values travel as parameters

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine

from catalyst_ml.errors import DataContractError, SourceUnavailable
from catalyst_ml.store.source_engine import reading
from catalyst_ml.store.source_shapes import (
    BARS,
    DETECTIONS,
    NEWS,
    SECTORS,
    TRAINING,
    timeframe_named,
    timeframe_of_table,
)
from catalyst_ml.store.source_tables import SourceColumn, SourceTable, quote, valid_time

UNKNOWN_SECTORS = ("unknown", "n/a", "none", "null", "")
_YES, _NO = ("true", "t", "1", "yes", "y"), ("false", "f", "0", "no", "n")
_TIMEOUT_S = 60
_ALL = {"all": True}
"""Every query is given a parameter, so that the doubled ``%`` of a quoted name is always read as one."""


@dataclass(frozen=True)
class TableCounts:
    """Counts of one table; ``rows`` is ``None`` and ``problem`` says why if it could not be counted."""

    rows: int | None
    first: str | None = None
    last: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    timeframes: dict[str, int] = field(default_factory=dict)
    problem: str = ""


def count_rows(engine: Engine, table: SourceTable) -> TableCounts:
    """Count a table of a known subject; one that takes longer than a minute is left uncounted.

    Raises
    ------
    ConfigurationError
        If the role may not read it after all.
    """
    selected = ", ".join(f"{sql} AS {quote(name)}" for name, sql in _aggregates(table).items())
    query = f"SELECT {selected} FROM {table.relation} WHERE %(all)s"
    try:
        with reading(engine, timeout_s=_TIMEOUT_S) as connection:
            values = dict(connection.exec_driver_sql(query, _ALL).mappings().one())
            timeframes = _timeframes(connection, table) if table.subject is BARS else {}
            repeated = _repeated(connection, table)
    except (SourceUnavailable, DataContractError) as error:
        return TableCounts(None, problem=f"not counted: {error}")
    rows, first, last = int(values.pop("rows")), values.pop("first", None), values.pop("last", None)
    counts = {name: int(n) for name, n in values.items() if n}
    if repeated:
        counts["repeated"] = repeated
    return TableCounts(rows, _iso(first), _iso(last), counts, timeframes)


def bars_of_timeframes(engine: Engine, table: SourceTable) -> dict[str, int]:
    """Bars by timeframe as the table writes it: by its column, its name, or the usual distance between its bars."""
    with reading(engine, timeout_s=_TIMEOUT_S) as connection:
        return _timeframes(connection, table)


def _aggregates(table: SourceTable) -> dict[str, str]:
    sql = {"rows": "count(*)"}
    ts = table.time_column
    if ts is not None:
        valid = valid_time(ts.expression)
        sql["first"] = f"min({ts.expression}) FILTER (WHERE {valid})"
        sql["last"] = f"max({ts.expression}) FILTER (WHERE {valid})"
        sql["without time"] = f"count(*) FILTER (WHERE {valid} IS NOT TRUE)"
    sql |= _odd_numbers(table)
    completed, success = table.column("completed"), table.column("success")
    if success is not None:
        closed = f"{_says(completed, _NO)} IS NOT TRUE" if completed else "true"
        labelled = _says(success, _YES + _NO)
        sql["settled"] = f"count(*) FILTER (WHERE {labelled} AND {closed})"
        sql["successes"] = f"count(*) FILTER (WHERE {_says(success, _YES)} AND {closed})"
        if completed:
            open_label = f"{labelled} AND {_says(completed, _NO)}"
            sql["labelled but open"] = f"count(*) FILTER (WHERE {open_label})"
    symbol, tickers, sector = table.column("symbol"), table.column("tickers"), table.column("sector")
    if table.subject is NEWS and symbol is not None:
        sql["without symbol"] = f"count(*) FILTER (WHERE {symbol.expression} IS NULL)"
    if table.subject is NEWS and tickers is not None:
        sql["with tickers"] = f"count(*) FILTER (WHERE {tickers.expression}::text ~ '[A-Z]')"
    if symbol is not None and table.subject in (BARS, SECTORS):
        sql["symbols"] = f"count(DISTINCT {symbol.expression})"
    if sector is not None:
        listed = ", ".join(f"'{name}'" for name in UNKNOWN_SECTORS)
        sql["with sector"] = f"count(*) FILTER (WHERE lower(trim({sector.expression}::text)) NOT IN ({listed}))"
    return sql


def _says(column: SourceColumn, words: tuple[str, ...]) -> str:
    """SQL condition that a column of any type says one of these words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return f"lower(trim({column.expression}::text)) IN ({listed})"


def _odd_numbers(table: SourceTable) -> dict[str, str]:
    """NaN, which every ``numeric`` takes, and values at the limit of their type, where larger ones were lost."""
    numbers = [c for c in table.columns if c.base_type in ("numeric", "real", "double precision")]
    sql = {}
    if numbers:
        sql["nan"] = "sum(" + " + ".join(f"({c.expression} IS NOT DISTINCT FROM 'NaN')::int" for c in numbers) + ")"
    at_limit = [
        f"coalesce(abs({c.expression}) >= {_limit(*c.precision)} AND {c.expression} <> 'NaN', false)::int"
        for c in numbers
        if c.precision and 0 <= c.precision[1] <= c.precision[0]
    ]
    if at_limit:
        sql["at limit"] = f"sum({' + '.join(at_limit)})"
    return sql


def _limit(digits: int, after_point: int) -> str:
    """Largest number of a ``numeric(digits, after_point)``."""
    whole = "9" * (digits - after_point) or "0"
    return f"{whole}.{'9' * after_point}" if after_point else whole


def _repeated(connection: Connection, table: SourceTable) -> int:
    """Rows beyond the first of their key."""
    key = [c.expression for c in map(table.column, ("symbol", "ts", "pattern", "timeframe")) if c is not None]
    if table.subject not in (BARS, TRAINING, DETECTIONS) or len(key) < 2:
        return 0
    grouped = f"SELECT count(*) AS n FROM {table.relation} WHERE %(all)s GROUP BY {', '.join(key)} HAVING count(*) > 1"
    return int(connection.exec_driver_sql(f"SELECT coalesce(sum(n - 1), 0) FROM ({grouped}) q", _ALL).scalar() or 0)


def _timeframes(connection: Connection, table: SourceTable) -> dict[str, int]:
    written, ts, symbol = table.column("timeframe"), table.time_column, table.column("symbol")
    if written is not None:
        query = f"SELECT {written.expression}::text, count(*) FROM {table.relation} WHERE %(all)s GROUP BY 1 ORDER BY 1"
        rows = connection.exec_driver_sql(query, _ALL)
        return {text if text is not None else "none": int(n) for text, n in rows}
    query = f"SELECT count(*) FROM {table.relation} WHERE %(all)s"
    n_rows = int(connection.exec_driver_sql(query, _ALL).scalar() or 0)
    if ts is None or symbol is None or not n_rows:
        return {}
    named = timeframe_of_table(table.name) or ("1d" if ts.base_type == "date" else None)
    if named is None:
        one = f"SELECT {symbol.expression} FROM {table.relation} WHERE {symbol.expression} IS NOT NULL LIMIT 1"
        steps = (
            f"SELECT {ts.expression} - lag({ts.expression}) OVER (ORDER BY {ts.expression}) AS step "
            f"FROM {table.relation} WHERE {symbol.expression} = ({one}) AND {valid_time(ts.expression)}"
        )
        usual = f"SELECT extract(epoch FROM mode() WITHIN GROUP (ORDER BY step)) FROM ({steps}) q WHERE step > '0 s'"
        seconds = connection.exec_driver_sql(usual, _ALL).scalar()
        named = timeframe_named(f"{round(float(seconds) / 60)}m") if seconds else None
    return {named or "unknown": n_rows}


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime | date) else None

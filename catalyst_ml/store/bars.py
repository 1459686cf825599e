"""What the database knows about the market at an ``as_of``: bars, instruments, news, and a fingerprint of all three.

Frames in the shapes of ``frames.py``. A bar is seen with the values known at ``as_of``: the newest row whose
``known_at`` is not later. If several sources hold the same bar, the one known last wins, then the first by name.
"""

# ruff: noqa: S608 - names in the SQL are constants of this module, values travel as parameters

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS, TIME_DTYPE
from catalyst_ml.store.binary_copy import from_postgres_time, unpack
from catalyst_ml.store.engine import database_errors

_VALUES = ("open", "high", "low", "close", "volume", "split_factor")
_BEGINNING = datetime.fromisoformat("1900-01-01T00:00:00+00:00")


@dataclass(frozen=True)
class Coverage:
    """One line of ``bars list``: what is stored of a dataset, timeframe and source."""

    dataset: str
    timeframe: str
    source: str
    n_symbols: int
    n_bars: int
    n_corrections: int
    first: datetime
    last: datetime


def extract_bars(
    engine: Engine, *, dataset: str, timeframe: str, as_of: datetime, start: datetime | None = None
) -> pd.DataFrame:
    """Bars closed in [``start``, ``as_of``] with the values known at ``as_of``.

    Returns
    -------
    DataFrame
        ``frames.BARS``, raw prices, sorted by symbol and ts. About 1 s per 400,000 bars.

    Raises
    ------
    InsufficientHistory
        If there is none.
    """
    line = {"dataset": dataset, "timeframe": timeframe}
    with (
        database_errors(engine),
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
    ):
        where = "dataset = :dataset AND timeframe = :timeframe"
        symbols = _sorted_names(connection, f"SELECT DISTINCT symbol FROM catalyst_ml.bars WHERE {where}", line)
        sources = _sorted_names(connection, f"SELECT DISTINCT source FROM catalyst_ml.bars WHERE {where}", line)
        parameters = {
            **line,
            "symbols": symbols,
            "sources": sources,
            "as_of": as_of,
            "start": start or _BEGINNING,
        }
        stream = _copy_out(connection, _BARS_QUERY, parameters)
    symbol, source, ts, known_at, *values = unpack(stream, ["i4", "i4", "i8", "i8", *(["f8"] * len(_VALUES))])
    if not len(ts):
        raise InsufficientHistory(
            f"dataset {dataset!r}, timeframe {timeframe}: no bar was known at {as_of:%Y-%m-%d %H:%M} UTC. Import "
            "bars (catalyst-ml bars import), or see what there is (catalyst-ml bars list)."
        )
    chosen = _newest_known(symbol, source, ts, known_at)
    names = pa.DictionaryArray.from_arrays(pa.array(symbol[chosen] - 1), pa.array(symbols)).dictionary_decode()
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(names.to_pandas(), dtype="str"),
            "ts": pd.DatetimeIndex(from_postgres_time(ts[chosen]).astype("datetime64[us]")).tz_localize("UTC"),
            **{name: column[chosen] for name, column in zip(_VALUES, values, strict=True)},
        }
    )
    return BARS.validate(frame)


def extract_instruments(engine: Engine, *, dataset: str) -> pd.DataFrame:
    """Every symbol of the dataset with its kind and sector: ``frames.INSTRUMENTS``, sorted by symbol."""
    query = "SELECT symbol, kind, sector FROM catalyst_ml.instruments WHERE dataset = :dataset"
    return _frame(engine, query, {"dataset": dataset}, INSTRUMENTS)


def extract_news(engine: Engine, *, dataset: str, as_of: datetime, start: datetime | None = None) -> pd.DataFrame:
    """News published in [``start``, ``as_of``]: ``frames.NEWS``, sorted by symbol and time; may be empty."""
    query = (
        "SELECT symbol, published_at, news_id, catalyst_type, sentiment, score FROM catalyst_ml.news "
        "WHERE dataset = :dataset AND published_at BETWEEN :start AND :as_of"
    )
    return _frame(engine, query, {"dataset": dataset, "start": start or _BEGINNING, "as_of": as_of}, NEWS)


def write_instruments(engine: Engine, instruments: pd.DataFrame, *, dataset: str) -> int:
    """Declare instruments (``frames.INSTRUMENTS``); known symbols take the new kind, and the new sector if given.

    Returns the number of rows that were added or changed.
    """
    INSTRUMENTS.validate(instruments)
    statement = (
        "INSERT INTO catalyst_ml.instruments AS t (dataset, symbol, kind, sector) "
        "SELECT dataset, symbol, kind, sector FROM incoming ON CONFLICT (dataset, symbol) DO UPDATE "
        "SET kind = excluded.kind, sector = coalesce(excluded.sector, t.sector) "
        "WHERE (t.kind, t.sector) IS DISTINCT FROM (excluded.kind, coalesce(excluded.sector, t.sector))"
    )
    return _write(engine, "instruments", instruments[INSTRUMENTS.column_names].assign(dataset=dataset), statement)


def write_news(engine: Engine, news: pd.DataFrame, *, dataset: str) -> int:
    """Store news (``frames.NEWS``, plus a column ``headline`` if there is one); stories already there stay as they are.

    Returns the number of stories added.
    """
    NEWS.validate(news)
    columns = [*NEWS.column_names, *(["headline"] if "headline" in news.columns else [])]
    listed = ", ".join(["dataset", *columns])
    statement = f"INSERT INTO catalyst_ml.news ({listed}) SELECT {listed} FROM incoming ON CONFLICT DO NOTHING"
    return _write(engine, "news", news[columns].assign(dataset=dataset), statement)


def bars_fingerprint(
    engine: Engine, *, dataset: str, timeframe: str, as_of: datetime, start: datetime | None = None
) -> str:
    """Checksum (hex SHA-256) of all bars, instruments and news that an extraction would draw on.

    Computed inside the database from 64-bit row hashes that are combined by XOR and by sum, so neither the
    order of rows nor the machine that asks matters. Superseded values count too: equal fingerprints mean
    equal extractions, different ones almost always different.
    """
    parameters = {"dataset": dataset, "timeframe": timeframe, "start": start or _BEGINNING, "as_of": as_of}
    with database_errors(engine), engine.connect() as connection:
        parts = [tuple(connection.execute(text(query), parameters).one()) for query in _FINGERPRINT_QUERIES]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def newest_bar(engine: Engine, *, dataset: str, timeframe: str) -> pd.Timestamp:
    """Close of the newest session that most stocks have a bar of, UTC.

    Not simply the newest bar: an index imported further than the stocks, or one stock ahead of the others, would
    make open trades look as if their time had run out.

    Raises
    ------
    InsufficientHistory
        If the dataset holds no bar of this timeframe; names what is there.
    """
    query = """
        WITH stock AS (
            SELECT b.ts, b.symbol FROM catalyst_ml.bars b
            JOIN catalyst_ml.instruments i ON i.dataset = b.dataset AND i.symbol = b.symbol AND i.kind = 'stock'
            WHERE b.dataset = :dataset AND b.timeframe = :timeframe
        ), recent AS (
            SELECT ts, count(DISTINCT symbol) AS n FROM stock
            WHERE ts > (SELECT max(ts) FROM stock) - interval '90 days' GROUP BY ts
        )
        SELECT max(ts) FROM recent WHERE n * 2 >= (SELECT max(n) FROM recent)"""
    with database_errors(engine), engine.connect() as connection:
        newest = connection.execute(text(query), {"dataset": dataset, "timeframe": timeframe}).scalar()
    if newest is None:
        held = sorted({f"{line.dataset} {line.timeframe}" for line in bar_coverage(engine)})
        raise InsufficientHistory(
            f"dataset {dataset!r} holds no {timeframe} bars; there are: {', '.join(held) or 'none at all'}. "
            f"Import some: catalyst-ml bars import FILE --dataset {dataset} --timeframe {timeframe}"
        )
    return pd.Timestamp(newest).tz_convert("UTC").as_unit("us")


def bar_coverage(engine: Engine) -> list[Coverage]:
    """What is stored, one line per dataset, timeframe and source, in this order."""
    query = (
        "SELECT dataset, timeframe, source, count(DISTINCT symbol), count(*) FILTER (WHERE known_at = ts), "
        "count(*) FILTER (WHERE known_at <> ts), min(ts), max(ts) FROM catalyst_ml.bars GROUP BY 1, 2, 3 "
        "ORDER BY 1, 2, 3"
    )
    with database_errors(engine), engine.connect() as connection:
        return [Coverage(*row) for row in connection.execute(text(query))]


_BARS_QUERY = (
    "SELECT s.id::int, o.id::int, b.ts, b.known_at, " + ", ".join(f"b.{name}" for name in _VALUES) + " "
    "FROM catalyst_ml.bars b JOIN unnest(%(symbols)s::text[]) WITH ORDINALITY AS s (name, id) ON s.name = b.symbol "
    "JOIN unnest(%(sources)s::text[]) WITH ORDINALITY AS o (name, id) ON o.name = b.source "
    "WHERE b.dataset = %(dataset)s AND b.timeframe = %(timeframe)s "
    "AND b.ts BETWEEN %(start)s AND %(as_of)s AND b.known_at <= %(as_of)s"
)
_CHECKSUM = "count(*), bit_xor(hash_record_extended({row}, 0)), sum(hash_record_extended({row}, 0))::text"
_FINGERPRINT_QUERIES = (
    "SELECT " + _CHECKSUM.format(row=f"ROW(source, symbol, ts, known_at, {', '.join(_VALUES)})") + " "
    "FROM catalyst_ml.bars WHERE dataset = :dataset AND timeframe = :timeframe AND ts BETWEEN :start AND :as_of "
    "AND known_at <= :as_of",
    "SELECT " + _CHECKSUM.format(row="ROW(symbol, kind, sector)") + " FROM catalyst_ml.instruments "
    "WHERE dataset = :dataset",
    "SELECT " + _CHECKSUM.format(row="ROW(symbol, published_at, news_id, catalyst_type, sentiment, score)") + " "
    "FROM catalyst_ml.news WHERE dataset = :dataset AND published_at BETWEEN :start AND :as_of",
)


def _newest_known(symbol: np.ndarray, source: np.ndarray, ts: np.ndarray, known_at: np.ndarray) -> np.ndarray:
    """Positions of one row per (symbol, ts), in this order: known last, then the source first by name."""
    order = np.lexsort((-source, known_at, ts, symbol))
    last_of_key = np.ones(len(order), dtype=bool)
    last_of_key[:-1] = (np.diff(symbol[order]) != 0) | (np.diff(ts[order]) != 0)
    return order[last_of_key]


def _sorted_names(connection: Connection, query: str, parameters: dict[str, Any]) -> list[str]:
    # Sorted here, not by the server: its collation is not the order of a pandas frame.
    return sorted(connection.execute(text(query), parameters).scalars())


def _copy_out(connection: Connection, query: str, parameters: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    driver_connection: Any = connection.connection
    with driver_connection.cursor() as cursor:
        statement = cursor.mogrify(query, parameters).decode()
        cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT binary)", stream)
    return stream.getvalue()


def _frame(engine: Engine, query: str, parameters: dict[str, Any], schema: Any) -> pd.DataFrame:
    with database_errors(engine), engine.connect() as connection:
        rows = connection.execute(text(query), parameters).all()
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema.columns)
    frame = pd.DataFrame(
        {column.name: _column(values, column.dtype) for column, values in zip(schema.columns, columns, strict=True)}
    )
    frame = frame.sort_values(list(schema.key), ignore_index=True)
    validated: pd.DataFrame = schema.validate(frame)
    return validated


def _column(values: Sequence[Any], dtype: str) -> pd.Series:
    if dtype == TIME_DTYPE:
        return pd.Series(pd.DatetimeIndex(pd.to_datetime(list(values), utc=True)).as_unit("us"))
    return pd.Series(values, dtype=cast("Any", dtype))


def _write(engine: Engine, table: str, frame: pd.DataFrame, statement: str) -> int:
    if frame.empty:
        return 0
    columns = ", ".join(frame.columns)
    if frame.select_dtypes("str").apply(lambda column: column.str.contains("\0", regex=False).any()).any():
        raise DataContractError(f"{table}: a text holds a zero byte, which PostgreSQL cannot store. Clean the text.")
    rows = io.StringIO(frame.to_csv(header=False, index=False, na_rep="\\N", date_format="%Y-%m-%d %H:%M:%S.%f%z"))
    with database_errors(engine), engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT {columns} FROM catalyst_ml.{table} "
                "WITH NO DATA"
            )
        )
        driver_connection: Any = connection.connection
        with driver_connection.cursor() as cursor:
            cursor.copy_expert(f"COPY incoming ({columns}) FROM STDIN (FORMAT csv, NULL '\\N')", rows)
        return int(connection.execute(text(statement)).rowcount)

"""What the database knows about the market at an ``as_of``: bars, instruments, news, and a fingerprint of all three.

Frames in the shapes of ``frames.py``. A bar is seen with the values known at ``as_of``: the newest row whose
``known_at`` is not later. If several sources hold the same bar, the line of the smallest priority wins, then the one
known last, then the first by name.
"""

# ruff: noqa: S608 - names in the SQL are constants of this module, values travel as parameters

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS
from catalyst_ml.store.binary_copy import copy_out, from_postgres_time, unpack
from catalyst_ml.store.engine import database_errors
from catalyst_ml.store.frame_transfer import read_frame

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
    priority: int
    price_basis: str


def extract_bars(
    engine: Engine,
    *,
    dataset: str,
    timeframe: str,
    as_of: datetime,
    start: datetime | None = None,
    regular_only: bool = True,
) -> pd.DataFrame:
    """Bars closed in [``start``, ``as_of``] with the values known at ``as_of``.

    Parameters
    ----------
    regular_only : bool
        Leave out bars outside the regular session of the exchange (intraday files with extended hours).

    Returns
    -------
    DataFrame
        ``frames.BARS``, raw prices, sorted by symbol and ts. About 1 s per 500,000 bars.

    Raises
    ------
    InsufficientHistory
        If there is none.
    """
    with (
        database_errors(engine),
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
    ):
        lines = connection.execute(text(_LINES_QUERY), {"dataset": dataset, "timeframe": timeframe}).all()
        parameters = {
            "lines": [line.line_id for line in lines],
            "as_of": as_of,
            "start": start or _BEGINNING,
            "regular": [True] if regular_only else [True, False],
        }
        stream = copy_out(connection, _BARS_QUERY, parameters)
        line_id, symbol_id, ts, known_at, *values = unpack(stream, ["i4", "i4", "i8", "i8", *(["f8"] * len(_VALUES))])
        symbols = _symbol_names(connection, symbol_id)
    if not len(ts):
        raise InsufficientHistory(
            f"dataset {dataset!r}, timeframe {timeframe}: no bar was known at {as_of:%Y-%m-%d %H:%M} UTC. Import "
            "bars (catalyst-ml bars import), or see what there is (catalyst-ml bars list)."
        )
    # Sorted here, not by the server: its collation is not the order of a pandas frame.
    names = sorted(symbols.values())
    place = {name: i for i, name in enumerate(names)}
    symbol = _mapped(symbol_id, {key: place[name] for key, name in symbols.items()})
    ranked = sorted(lines, key=lambda line: line.source, reverse=True)
    by_name = _mapped(line_id, {line.line_id: i for i, line in enumerate(ranked)})
    by_priority = _mapped(line_id, {line.line_id: -line.priority for line in lines})
    chosen = _best_known(symbol, ts, by_priority, known_at, by_name)
    decoded = pa.DictionaryArray.from_arrays(pa.array(symbol[chosen]), pa.array(names)).dictionary_decode()
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(decoded.to_pandas(), dtype="str"),
            "ts": pd.DatetimeIndex(from_postgres_time(ts[chosen]).astype("datetime64[us]")).tz_localize("UTC"),
            **{name: column[chosen] for name, column in zip(_VALUES, values, strict=True)},
        }
    )
    return BARS.validate(frame)


def extract_instruments(engine: Engine, *, dataset: str) -> pd.DataFrame:
    """Every symbol of the dataset with its kind and sector: ``frames.INSTRUMENTS``, sorted by symbol."""
    query = "SELECT symbol, kind, sector FROM catalyst_ml.instruments WHERE dataset = :dataset"
    return read_frame(engine, query, {"dataset": dataset}, INSTRUMENTS)


def extract_news(engine: Engine, *, dataset: str, as_of: datetime, start: datetime | None = None) -> pd.DataFrame:
    """Companies' news (no round-ups, no tweets) published in [``start``, ``as_of``]: ``frames.NEWS``, may be empty."""
    query = (
        "SELECT symbol, published_at, news_id, catalyst_type, sentiment, score FROM catalyst_ml.company_news "
        "WHERE dataset = :dataset AND published_at BETWEEN :start AND :as_of"
    )
    return read_frame(engine, query, {"dataset": dataset, "start": start or _BEGINNING, "as_of": as_of}, NEWS)


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
            SELECT b.ts, b.symbol_id FROM catalyst_ml.bars b
            JOIN catalyst_ml.bar_lines l ON l.line_id = b.line_id JOIN catalyst_ml.symbols s USING (symbol_id)
            JOIN catalyst_ml.instruments i ON i.dataset = l.dataset AND i.symbol = s.symbol AND i.kind = 'stock'
            WHERE l.dataset = :dataset AND l.timeframe = :timeframe AND b.is_regular
        ), recent AS (
            SELECT ts, count(DISTINCT symbol_id) AS n FROM stock
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
    query = """
        SELECT dataset, timeframe, source, n_symbols, n - n_later, n_later, first, last, priority, price_basis
        FROM catalyst_ml.bar_lines l CROSS JOIN LATERAL (
            SELECT count(*) AS n, min(ts) AS first, max(ts) AS last, count(*) FILTER (
                WHERE b.known_at > b.ts AND EXISTS (
                    SELECT FROM catalyst_ml.bars e WHERE e.line_id = l.line_id
                    AND (e.symbol_id, e.ts) = (b.symbol_id, b.ts) AND e.known_at < b.known_at
                )
            ) AS n_later
            FROM catalyst_ml.bars b WHERE b.line_id = l.line_id
        ) AS rows CROSS JOIN LATERAL (
            SELECT count(*) AS n_symbols FROM catalyst_ml.symbols s WHERE EXISTS (
                SELECT FROM catalyst_ml.bars b WHERE b.line_id = l.line_id AND b.symbol_id = s.symbol_id
            )
        ) AS symbols
        WHERE n > 0"""
    with database_errors(engine), engine.connect() as connection:
        found = [Coverage(*row) for row in connection.execute(text(query))]
    return sorted(found, key=lambda line: (line.dataset, line.timeframe, line.source))


_LINES_QUERY = (
    "SELECT line_id, priority, source FROM catalyst_ml.bar_lines WHERE dataset = :dataset AND timeframe = :timeframe"
)
_BARS_QUERY = (
    "SELECT line_id, symbol_id, ts, known_at, " + ", ".join(_VALUES) + " FROM catalyst_ml.bars "
    "WHERE line_id = ANY(%(lines)s::int[]) AND ts BETWEEN %(start)s AND %(as_of)s AND known_at <= %(as_of)s "
    "AND is_regular = ANY(%(regular)s::boolean[])"
)
_CHECKSUM = "count(*), bit_xor(hash_record_extended({row}, 0)), sum(hash_record_extended({row}, 0))::text"
_FINGERPRINT_QUERIES = (
    "SELECT " + _CHECKSUM.format(row="ROW(source, priority, price_basis)") + " FROM catalyst_ml.bar_lines "
    "WHERE dataset = :dataset AND timeframe = :timeframe",
    "SELECT " + _CHECKSUM.format(row=f"ROW(source, symbol, ts, known_at, {', '.join(_VALUES)}, is_regular)") + " "
    "FROM catalyst_ml.named_bars WHERE dataset = :dataset AND timeframe = :timeframe AND ts BETWEEN :start AND :as_of "
    "AND known_at <= :as_of",
    "SELECT " + _CHECKSUM.format(row="ROW(symbol, kind, sector)") + " FROM catalyst_ml.instruments "
    "WHERE dataset = :dataset",
    "SELECT " + _CHECKSUM.format(row="ROW(symbol, published_at, news_id, catalyst_type, sentiment, score)") + " "
    "FROM catalyst_ml.company_news WHERE dataset = :dataset AND published_at BETWEEN :start AND :as_of",
)


def _best_known(symbol: np.ndarray, ts: np.ndarray, *ranks: np.ndarray) -> np.ndarray:
    """Positions of one row per (symbol, ts), in this order: the greatest by the first rank, then the second, ..."""
    if ((np.diff(symbol) > 0) | ((np.diff(symbol) == 0) & (np.diff(ts) > 0))).all():
        return np.arange(len(ts))  # nothing to choose from, in order already
    order = np.lexsort((*reversed(ranks), ts, symbol))
    last_of_key = np.ones(len(order), dtype=bool)
    last_of_key[:-1] = (np.diff(symbol[order]) != 0) | (np.diff(ts[order]) != 0)
    return order[last_of_key]


def _mapped(keys: np.ndarray, values: dict[int, int]) -> np.ndarray:
    table = np.zeros(max(values, default=0) + 1, dtype=np.int64)
    table[list(values)] = list(values.values())
    return table[keys]


def _symbol_names(connection: Connection, symbol_id: np.ndarray) -> dict[int, str]:
    statement = text("SELECT symbol_id, symbol FROM catalyst_ml.symbols WHERE symbol_id = ANY(:ids)")
    return {key: name for key, name in connection.execute(statement, {"ids": np.unique(symbol_id).tolist()})}


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

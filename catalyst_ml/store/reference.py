"""Earnings, sectors, index members and other names of symbols: import, and extraction as known at a moment.

Importing the same file again writes nothing. What a later file says otherwise is counted as ``corrected``: earnings
keep both rows, the later one known from the import on; sectors, members and names take the new value.
"""

# ruff: noqa: S608 - names in the SQL are constants of this module, values travel as parameters

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

import pandas as pd
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EARNINGS, INDEX_MEMBERS, SECTORS
from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.engine import database_errors
from catalyst_ml.store.file_imports import (
    FileReport,
    Refusals,
    SourceFile,
    close_import,
    open_import,
)
from catalyst_ml.store.frame_transfer import read_frame, stage


class ReferenceRows(SourceFile, Protocol):
    """Rows of one file; ``market.reference_files.ReferenceFile`` is one."""

    @property
    def rows(self) -> pd.DataFrame: ...
    @property
    def refused(self) -> tuple[RefusedRow, ...]: ...
    @property
    def n_read(self) -> int: ...
    @property
    def n_repeated(self) -> int: ...


@dataclass(frozen=True)
class SectorChoice:
    """What choosing a taxonomy did to ``instruments.sector``."""

    taxonomy: str
    as_of: date
    n_with_sector: int
    n_changed: int
    without_sector: tuple[str, ...]
    first_bar: datetime | None

    @property
    def looks_ahead(self) -> bool:
        """True if the map describes a day after the first bar of the dataset."""
        return self.first_bar is not None and self.first_bar.date() < self.as_of


@dataclass(frozen=True)
class Holding:
    """One line of ``reference list``."""

    subject: str
    name: str
    n_rows: int
    n_symbols: int
    first: date | None
    last: date | None


def import_earnings(engine: Engine, file: ReferenceRows, *, dataset: str, now: datetime) -> FileReport:
    """Store reports of results; one that differs from what is stored is a further row, known from ``now`` on.

    Raises
    ------
    ConfigurationError, DataContractError, SourceUnavailable
        As ``store.news.import_news``.
    """
    columns = {
        "symbol": "text",
        "report_date": "date",
        "release_time": "text",
        "known_at": "timestamptz",
        "eps": "float8",
        "eps_estimate": "float8",
        "quarter": "text",
        "is_suspect": "boolean",
    }
    listed = ", ".join(columns)
    values = ("release_time", "eps", "eps_estimate", "quarter", "is_suspect")
    fresh = ", ".join(f"i.{name}" for name in values)
    known = ", ".join(f"k.{name}" for name in values)
    with database_errors(engine), engine.begin() as connection:
        refusals = _open(connection, file, dataset, "earnings", now, {})
        stage(connection, "incoming", columns, file.rows)
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE known ON COMMIT DROP AS SELECT DISTINCT ON (symbol, report_date) * FROM "
                "catalyst_ml.earnings WHERE dataset = :dataset ORDER BY symbol, report_date, known_at DESC"
            ),
            {"dataset": dataset},
        )
        target = f"INSERT INTO catalyst_ml.earnings (dataset, {listed}) SELECT :dataset, "
        taken = ", ".join(f"i.{name}" for name in columns if name != "known_at")
        ordered = ", ".join(name for name in columns if name != "known_at")
        corrected = connection.execute(
            text(
                f"INSERT INTO catalyst_ml.earnings (dataset, {ordered}, known_at) SELECT :dataset, {taken}, "
                "greatest(:now, k.known_at + interval '1 microsecond') FROM incoming i JOIN known k "
                f"USING (symbol, report_date) WHERE ({fresh}) IS DISTINCT FROM ({known})"
            ),
            {"dataset": dataset, "now": now},
        ).rowcount
        new = connection.execute(
            text(
                f"{target} {listed} FROM incoming i WHERE NOT EXISTS (SELECT 1 FROM known k WHERE "
                "(k.symbol, k.report_date) = (i.symbol, i.report_date))"
            ),
            {"dataset": dataset},
        ).rowcount
        return _close(connection, file, refusals, new, corrected)


def import_sectors(engine: Engine, file: ReferenceRows, *, dataset: str, now: datetime) -> FileReport:
    """Store a map from symbols to sectors; a symbol has one sector per taxonomy and day. Raises as above."""
    columns = {
        "symbol": "text",
        "taxonomy": "text",
        "as_of": "date",
        "sector": "text",
        "industry": "text",
        "name": "text",
    }
    with database_errors(engine), engine.begin() as connection:
        refusals = _open(connection, file, dataset, "sectors", now, {})
        stage(connection, "incoming", columns, file.rows)
        new, corrected = _upsert(connection, "sectors", dataset, columns, key=("symbol", "taxonomy", "as_of"))
        return _close(connection, file, refusals, new, corrected)


def import_members(engine: Engine, file: ReferenceRows, *, dataset: str, index_name: str, now: datetime) -> FileReport:
    """Store spells of membership in an index; spells of a symbol that overlap are refused. Raises as above."""
    columns = {"index_name": "text", "symbol": "text", "start_date": "date", "end_date": "date"}
    with database_errors(engine), engine.begin() as connection:
        refusals = _open(connection, file, dataset, "members", now, {"index_name": index_name})
        rows = file.rows.assign(index_name=pd.Series([index_name] * len(file.rows), dtype="str"))
        stored: Sequence[Any] = connection.execute(
            text(
                "SELECT symbol, start_date, end_date FROM catalyst_ml.index_members "
                "WHERE dataset = :dataset AND index_name = :index_name"
            ),
            {"dataset": dataset, "index_name": index_name},
        ).all()
        overlapping = _overlapping_spells(rows, stored)
        refusals.add(
            connection,
            [
                RefusedRow(
                    file.name,
                    int(row["row"]),
                    str(row["symbol"]),
                    f"{row['start_date']:%Y-%m-%d}",
                    "spells_do_not_overlap",
                    overlapping[i],
                )
                for i, row in rows.iterrows()
                if i in overlapping
            ],
        )
        stage(connection, "incoming", columns, rows.drop(index=list(overlapping)))
        new, corrected = _upsert(
            connection, "index_members", dataset, columns, key=("index_name", "symbol", "start_date")
        )
        return _close(connection, file, refusals, new, corrected)


def import_names(engine: Engine, file: ReferenceRows, *, dataset: str, now: datetime) -> FileReport:
    """Store other names of symbols; they hold for everything that is stored already, too. Raises as above.

    Names are followed one step only: an alias of an alias is refused.
    """
    columns = {"alias": "text", "symbol": "text"}
    with database_errors(engine), engine.begin() as connection:
        refusals = _open(connection, file, dataset, "names", now, {})
        stored = dict(
            connection.execute(
                text("SELECT alias, symbol FROM catalyst_ml.symbol_names WHERE dataset = :dataset"),
                {"dataset": dataset},
            )
            .tuples()
            .all()
        )
        rows = file.rows
        aliases = {**stored, **dict(zip(rows["alias"], rows["symbol"], strict=True))}
        chained = rows["symbol"].isin(aliases.keys()) | rows["alias"].isin(aliases.values())
        refusals.add(
            connection,
            [
                RefusedRow(
                    file.name, int(row["row"]), row["alias"], row["symbol"], "names_are_no_chain",
                    f"{row['alias']} for {row['symbol']}: names are followed one step only; give the name of the bars",
                )
                for row in rows[chained].to_dict("records")
            ],
        )  # fmt: skip
        stage(connection, "incoming", columns, rows[~chained])
        new, corrected = _upsert(connection, "symbol_names", dataset, columns, key=("alias",))
        held = list(
            connection.execute(
                text(
                    "SELECT i.alias FROM incoming i JOIN catalyst_ml.instruments k ON k.dataset = :dataset "
                    "AND k.symbol = i.alias ORDER BY 1"
                ),
                {"dataset": dataset},
            ).scalars()
        )
        notes = (
            [f"{', '.join(held)}: has bars of its own in this dataset, yet its news will be told of the other name"]
            if held
            else []
        )
        return _close(connection, file, refusals, new, corrected, notes)


def use_sectors(engine: Engine, *, dataset: str, taxonomy: str) -> SectorChoice:
    """Write the newest map of a taxonomy into ``instruments.sector`` of every stock of the dataset.

    Stocks the map does not know lose their sector: names of two taxonomies never mix. Features then use this map for
    all times, also before the day it describes; ``SectorChoice.looks_ahead`` says whether they do. Import bars of
    further symbols, and it has to be done again.

    Raises
    ------
    DataContractError
        If the dataset holds no map of this taxonomy, or no instruments.
    """
    values = {"dataset": dataset, "taxonomy": taxonomy}
    with database_errors(engine), engine.begin() as connection:
        maps = connection.execute(
            text("SELECT DISTINCT taxonomy FROM catalyst_ml.sectors WHERE dataset = :dataset ORDER BY 1"), values
        ).scalars()
        held = list(maps)
        if taxonomy not in held:
            raise DataContractError(
                f"dataset {dataset!r} holds no sectors of taxonomy {taxonomy!r}; it holds "
                f"{', '.join(held) or 'none'}. "
                "Import some: catalyst-ml reference import-sectors FILE --dataset " + dataset
            )
        as_of = connection.execute(
            text("SELECT max(as_of) FROM catalyst_ml.sectors WHERE dataset = :dataset AND taxonomy = :taxonomy"), values
        ).scalar_one()
        changed = connection.execute(text(_USE_SECTORS), {**values, "as_of": as_of}).rowcount
        stocks: Sequence[Any] = connection.execute(
            text(
                "SELECT symbol, sector FROM catalyst_ml.instruments WHERE dataset = :dataset AND kind = 'stock' "
                "ORDER BY 1"
            ),
            values,
        ).all()
        if not stocks:
            raise DataContractError(
                f"dataset {dataset!r} holds no stocks yet, so there is nothing to give a sector to. Import bars first: "
                f"catalyst-ml bars import FILE --dataset {dataset}"
            )
        first = connection.execute(
            text(
                "SELECT min(b.ts) FROM catalyst_ml.bars b JOIN catalyst_ml.bar_lines l USING (line_id) "
                "WHERE l.dataset = :dataset"
            ),
            values,
        ).scalar()
    without = tuple(symbol for symbol, sector in stocks if sector is None)
    return SectorChoice(taxonomy, as_of, len(stocks) - len(without), changed, without, first)


def extract_earnings(engine: Engine, *, dataset: str, as_of: datetime) -> pd.DataFrame:
    """Results known at ``as_of``, with the values known then: ``frames.EARNINGS``, sorted; may be empty."""
    query = (
        "SELECT DISTINCT ON (named, report_date) coalesce(m.symbol, e.symbol) AS named, e.* "
        f"FROM catalyst_ml.earnings e {_NAMED.format(table='e')} WHERE e.dataset = :dataset AND e.known_at <= :as_of "
        "ORDER BY named, report_date, (m.symbol IS NULL) DESC, e.symbol, e.known_at DESC"
    )
    query = f"SELECT named AS symbol, {_others(EARNINGS.column_names)} FROM ({query}) AS q"
    return read_frame(engine, query, {"dataset": dataset, "as_of": as_of}, EARNINGS)


def extract_sectors(engine: Engine, *, dataset: str, taxonomy: str, as_of: datetime | date) -> pd.DataFrame:
    """Each symbol's newest sector among maps of days up to ``as_of``: ``frames.SECTORS``; may be empty.

    Strict: a map of 2021 is not seen from 2016. (``instruments.sector``, which :func:`use_sectors` writes, is not.)
    """
    query = (
        "SELECT DISTINCT ON (named) coalesce(m.symbol, s.symbol) AS named, s.* FROM catalyst_ml.sectors s "
        f"{_NAMED.format(table='s')} WHERE s.dataset = :dataset AND s.taxonomy = :taxonomy AND s.as_of <= :day "
        "ORDER BY named, s.as_of DESC, (m.symbol IS NULL) DESC, s.symbol"
    )
    query = f"SELECT named AS symbol, {_others(SECTORS.column_names)} FROM ({query}) AS q"
    return read_frame(engine, query, {"dataset": dataset, "taxonomy": taxonomy, "day": _day(as_of)}, SECTORS)


def extract_members(
    engine: Engine, *, dataset: str, index_name: str, on: datetime | date | None = None
) -> pd.DataFrame:
    """Members of an index on a day (first day inside, last day before ``end_date``), or all spells.

    Returns
    -------
    DataFrame
        ``frames.INDEX_MEMBERS`` under today's names; may be empty.
    """
    is_member = "AND t.start_date <= :day AND (t.end_date IS NULL OR t.end_date > :day) " if on is not None else ""
    query = (
        "SELECT DISTINCT ON (named, start_date) coalesce(m.symbol, t.symbol) AS named, t.* "
        f"FROM catalyst_ml.index_members t {_NAMED.format(table='t')} WHERE t.dataset = :dataset "
        f"AND t.index_name = :index_name {is_member}ORDER BY named, start_date, (m.symbol IS NULL) DESC, t.symbol"
    )
    query = f"SELECT named AS symbol, {_others(INDEX_MEMBERS.column_names)} FROM ({query}) AS q"
    values = {"dataset": dataset, "index_name": index_name, **({"day": _day(on)} if on is not None else {})}
    return read_frame(engine, query, values, INDEX_MEMBERS)


def reference_holdings(engine: Engine, *, dataset: str) -> list[Holding]:
    """What the dataset holds beside bars and news, one line per kind, taxonomy and index."""
    query = (
        "SELECT 'earnings', '', count(*), count(DISTINCT symbol), min(report_date), max(report_date) "
        "FROM catalyst_ml.earnings WHERE dataset = :dataset HAVING count(*) > 0 "
        "UNION ALL SELECT 'sectors', taxonomy, count(*), count(DISTINCT symbol), min(as_of), max(as_of) "
        "FROM catalyst_ml.sectors WHERE dataset = :dataset GROUP BY taxonomy "
        "UNION ALL SELECT 'members', index_name, count(*), count(DISTINCT symbol), min(start_date), "
        "max(greatest(start_date, end_date)) FROM catalyst_ml.index_members WHERE dataset = :dataset "
        "GROUP BY index_name "
        "UNION ALL SELECT 'names', '', count(*), count(DISTINCT symbol), NULL, NULL "
        "FROM catalyst_ml.symbol_names WHERE dataset = :dataset HAVING count(*) > 0 ORDER BY 1, 2"
    )
    with database_errors(engine), engine.connect() as connection:
        return [Holding(*row) for row in connection.execute(text(query), {"dataset": dataset})]


_NAMED = "LEFT JOIN catalyst_ml.symbol_names m ON m.dataset = {table}.dataset AND m.alias = {table}.symbol"
_USE_SECTORS = (
    "WITH map AS (SELECT DISTINCT ON (named) coalesce(m.symbol, s.symbol) AS named, s.sector "
    f"FROM catalyst_ml.sectors s {_NAMED.format(table='s')} WHERE s.dataset = :dataset AND s.taxonomy = :taxonomy "
    "AND s.as_of = :as_of ORDER BY named, (m.symbol IS NULL) DESC, s.symbol), chosen AS (SELECT k.symbol, map.sector "
    "FROM catalyst_ml.instruments k LEFT JOIN map ON map.named = k.symbol WHERE k.dataset = :dataset "
    "AND k.kind = 'stock') UPDATE catalyst_ml.instruments k SET sector = c.sector FROM chosen c "
    "WHERE k.dataset = :dataset AND k.symbol = c.symbol AND k.sector IS DISTINCT FROM c.sector"
)


def _open(
    connection: Connection, file: ReferenceRows, dataset: str, subject: str, now: datetime, options: dict[str, Any]
) -> Refusals:
    refusals = open_import(connection, file, dataset=dataset, subject=subject, now=now, options=options)
    refusals.add(connection, file.refused)
    return refusals


def _close(
    connection: Connection,
    file: ReferenceRows,
    refusals: Refusals,
    new: int,
    corrected: int,
    remarks: Sequence[str] = (),
) -> FileReport:
    return close_import(
        connection,
        file,
        refusals,
        read=file.n_read,
        new=new,
        corrected=corrected,
        repeated=file.n_repeated,
        remarks=remarks,
    )


def _upsert(
    connection: Connection, table: str, dataset: str, columns: dict[str, str], *, key: tuple[str, ...]
) -> tuple[int, int]:
    """Add the rows of ``incoming`` that are not there and rewrite those that differ; returns new and rewritten."""
    values = [name for name in columns if name not in key]
    fresh, known = (", ".join(f"{side}.{name}" for name in values) for side in "it")
    same = " AND ".join(f"t.{name} = i.{name}" for name in key)
    corrected = connection.execute(
        text(
            f"UPDATE catalyst_ml.{table} t SET {', '.join(f'{name} = i.{name}' for name in values)} FROM incoming i "
            f"WHERE t.dataset = :dataset AND {same} AND ({known}) IS DISTINCT FROM ({fresh})"
        ),
        {"dataset": dataset},
    ).rowcount
    listed = ", ".join(columns)
    new = connection.execute(
        text(
            f"INSERT INTO catalyst_ml.{table} (dataset, {listed}) SELECT :dataset, {listed} FROM incoming "
            "ON CONFLICT DO NOTHING"
        ),
        {"dataset": dataset},
    ).rowcount
    return new, corrected


def _overlapping_spells(rows: pd.DataFrame, stored: Sequence[Any]) -> dict[int, str]:
    """Index labels of ``rows`` whose spell overlaps another of its symbol, in the file or stored, with the reason."""
    ends = [None if pd.isna(end) else end.date() for end in rows["end_date"]]
    starts = [start.date() for start in rows["start_date"]]
    fresh = list(zip(rows.index, rows["symbol"], starts, ends, strict=True))
    here = {spell[1:3] for spell in fresh}
    kept = [(None, *spell) for spell in stored if (spell[0], spell[1]) not in here]
    reasons: dict[int, str] = {}
    by_symbol: dict[str, list[Any]] = {}
    for spell in sorted((*kept, *fresh), key=lambda s: (s[1], s[2])):
        for other in by_symbol.setdefault(spell[1], []):
            if other[3] is None or other[3] > spell[2]:
                for one, against in ((spell, other), (other, spell)):
                    if one[0] is not None:
                        reasons[one[0]] = f"overlaps the spell {against[2]} to {against[3] or 'today'}"
        by_symbol[spell[1]].append(spell)
    return reasons


def _others(names: list[str]) -> str:
    return ", ".join(name for name in names if name != "symbol")


def _day(moment: datetime | date) -> date:
    """Date in New York of a moment; a date is itself."""
    if not isinstance(moment, datetime):
        return moment
    stamp = pd.Timestamp(moment)
    return (stamp.tz_convert("America/New_York") if stamp.tzinfo else stamp).date()

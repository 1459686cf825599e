"""News and tweets in the database: import, and stories as they were known at an ``as_of``.

A story is stored under the symbol the source wrote; other names (``symbol_names``) are applied when stories are read,
so that a mapping corrected later works for what is there. Importing the same file again writes nothing. If the
patterns for headlines have changed since, stored stories take the new type, sentiment and score (``corrected``).
"""

# ruff: noqa: S608 - names in the SQL are constants of this module, values travel as parameters

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

import pandas as pd
from sqlalchemy import Connection, Engine, text

from catalyst_ml.frames import NEWS, NEWS_COVERAGE
from catalyst_ml.store.engine import database_errors
from catalyst_ml.store.file_imports import (
    FileReport,
    Refusals,
    SourceBatch,
    SourceFile,
    close_import,
    open_import,
)
from catalyst_ml.store.frame_transfer import copy_frame, read_frame, stage

CATALYST_KINDS = ("story", "update")
"""Kinds that may be a company's catalyst; round-ups and tweets are not."""
MOST_FREQUENT = 10

_STAGED = {
    "row": "bigint",
    "symbol": "text",
    "published_at": "timestamptz",
    "news_id": "text",
    "source": "text",
    "kind": "text",
    "label": "text",
    "is_date_only": "boolean",
    "headline": "text",
    "catalyst_type": "text",
    "sentiment": "text",
    "score": "float8",
}
_JUDGED = ("kind", "catalyst_type", "sentiment", "score")
_BEGINNING = datetime.fromisoformat("1900-01-01T00:00:00+00:00")


class NewsBatch(SourceBatch, Protocol):
    """Some rows: ``stories`` has the columns of ``frames.NEWS`` and those of the table, plus ``row``."""

    @property
    def stories(self) -> pd.DataFrame: ...


class NewsSource(SourceFile, Protocol):
    """Something stories come from, read once from start to end; ``market.news_files.NewsFile`` is one."""

    def batches(self) -> Iterator[NewsBatch]: ...


def import_news(engine: Engine, file: NewsSource, *, dataset: str, now: datetime) -> FileReport:
    """Store the stories of a file; it is taken whole or not at all.

    Returns
    -------
    FileReport
        Counts, refused rows by rule, and how many stories belong to symbols without bars.

    Raises
    ------
    ConfigurationError
        If ``dataset`` is no name.
    DataContractError
        If the file turns out to be broken, or the dataset holds simulated bars.
    SourceUnavailable
        If the database is lost or its disk is full; the file is rolled back.
    """
    with database_errors(engine), engine.begin() as connection:
        refusals = open_import(connection, file, dataset=dataset, subject="news", now=now, options={})
        n_read, n_skipped = _stage(connection, file, refusals)
        repeated = connection.execute(text(_DROP_REPEATED)).rowcount
        connection.execute(text("ANALYZE incoming"))
        corrected = connection.execute(text(_JUDGE_AGAIN), {"dataset": dataset}).rowcount
        new = connection.execute(text(_INSERT), {"dataset": dataset}).rowcount
        sources = sorted(connection.execute(text("SELECT DISTINCT source FROM incoming")).scalars())
        return close_import(
            connection,
            file,
            refusals,
            read=n_read,
            new=new,
            corrected=corrected,
            repeated=repeated,
            skipped=n_skipped,
            sources=sources,
            remarks=_remarks(connection, dataset),
        )


def extract_stories(
    engine: Engine,
    *,
    dataset: str,
    as_of: datetime,
    start: datetime | None = None,
    kinds: Sequence[str] = CATALYST_KINDS,
) -> pd.DataFrame:
    """Stories published in [``start``, ``as_of``] under today's names of their symbols.

    Returns
    -------
    DataFrame
        ``frames.NEWS`` plus ``source``, ``kind`` and ``headline``, sorted by symbol and time; may be empty. A story
        that stands under two names of one symbol comes once.
    """
    query = (
        f"SELECT {', '.join(NEWS.column_names)}, source, kind, headline FROM catalyst_ml.named_news "
        "WHERE dataset = :dataset AND published_at BETWEEN :start AND :as_of AND kind = ANY(:kinds)"
    )
    values = {"dataset": dataset, "start": start or _BEGINNING, "as_of": as_of, "kinds": list(kinds)}
    return read_frame(engine, query, values, NEWS, "source", "kind", "headline")


def stored_coverage(engine: Engine, *, dataset: str) -> pd.DataFrame:
    """Months in which each source has anything: ``frames.NEWS_COVERAGE``, round-ups and tweets included.

    The same count as ``market.news_coverage.news_coverage``, made in the database.
    """
    query = (
        "SELECT source, date_trunc('month', published_at AT TIME ZONE 'America/New_York') AS month, "
        "count(*) AS n_stories, count(DISTINCT symbol) AS n_symbols FROM catalyst_ml.news WHERE dataset = :dataset "
        "GROUP BY 1, 2"
    )
    return read_frame(engine, query, {"dataset": dataset}, NEWS_COVERAGE)


_DROP_REPEATED = (
    "DELETE FROM incoming i USING (SELECT ctid, row_number() OVER "
    "(PARTITION BY symbol, published_at, news_id ORDER BY row) AS n FROM incoming) r WHERE i.ctid = r.ctid AND r.n > 1"
)
_SAME_STORY = "(n.dataset, n.symbol, n.published_at, n.news_id) = (:dataset, i.symbol, i.published_at, i.news_id)"
_JUDGE_AGAIN = (
    f"UPDATE catalyst_ml.news n SET ({', '.join(_JUDGED)}) = ({', '.join(f'i.{name}' for name in _JUDGED)}) "
    f"FROM incoming i WHERE {_SAME_STORY} AND ({', '.join(f'n.{name}' for name in _JUDGED)}) IS DISTINCT FROM "
    f"({', '.join(f'i.{name}' for name in _JUDGED)})"
)
_TABLE_COLUMNS = ", ".join(name for name in _STAGED if name != "row")
_INSERT = (
    f"INSERT INTO catalyst_ml.news (dataset, {_TABLE_COLUMNS}) SELECT :dataset, {_TABLE_COLUMNS} FROM incoming "
    "ORDER BY symbol, published_at, news_id ON CONFLICT DO NOTHING"
)


def _stage(connection: Connection, file: NewsSource, refusals: Refusals) -> tuple[int, int]:
    stage(connection, "incoming", _STAGED)
    n_read = n_skipped = 0
    for batch in file.batches():
        if len(batch.stories):
            copy_frame(connection, "incoming", batch.stories[list(_STAGED)])
        refusals.add(connection, batch.refused)
        n_read += batch.n_read
        n_skipped += batch.n_skipped
    return n_read, n_skipped


def _remarks(connection: Connection, dataset: str) -> list[str]:
    """What is odd about the staged stories but no reason to refuse them."""
    remarks = []
    kinds: Sequence[Any] = connection.execute(
        text("SELECT kind, count(*) FROM incoming GROUP BY 1 ORDER BY 2 DESC")
    ).all()
    if kinds:
        remarks.append("stored as " + ", ".join(f"{kind} {count:,}" for kind, count in kinds))
    again = connection.execute(
        text("SELECT sum(n - 1) FROM (SELECT count(*) AS n FROM incoming GROUP BY symbol, news_id) AS texts")
    ).scalar()
    if again:
        remarks.append(f"{again:,} repeat an earlier text of the same symbol at another time")
    strangers: Sequence[Any] = connection.execute(
        text(
            "SELECT i.symbol, count(*) FROM incoming i LEFT JOIN catalyst_ml.symbol_names m ON m.dataset = :dataset "
            "AND m.alias = i.symbol WHERE NOT EXISTS (SELECT 1 FROM catalyst_ml.instruments k WHERE k.dataset = "
            ":dataset AND k.symbol = coalesce(m.symbol, i.symbol)) GROUP BY 1 ORDER BY 2 DESC, 1"
        ),
        {"dataset": dataset},
    ).all()
    if strangers:
        most = ", ".join(f"{symbol} {count:,}" for symbol, count in strangers[:MOST_FREQUENT])
        remarks.append(
            f"{sum(count for _, count in strangers):,} belong to {len(strangers):,} symbols without bars, most to "
            f"{most}; if some are other names of symbols with bars: catalyst-ml reference import-names"
        )
    return remarks

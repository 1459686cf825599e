"""News and tweets out of CSV and Parquet files: publication settled, rows judged, headlines classified.

A moment in UTC is the publication. A source that names only a day (every time in the column is a midnight) counts
from the end of that day in New York, and says so in ``is_date_only``. Symbols stay as the source wrote them: tickers
of the time are mapped when stories are read, so that a mapping corrected later works for stored stories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.bar_stamps import NOT_A_TIME, known_moments
from catalyst_ml.market.bar_tables import time_text
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.headlines import classify_headlines
from catalyst_ml.market.judged_tables import (
    NamedTable,
    RowJudge,
    TimeColumn,
    is_given,
    malformed_rows,
    open_table,
    survey_times,
    symbols_of,
    texts_of,
)
from catalyst_ml.market.publication import end_of_day
from catalyst_ml.refused_rows import RefusedRow

NewsKind = Literal["story", "tweet"]

ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "stock", "sym"),
    "ts": ("ts", "published", "publishedat", "publishedtimestamp", "timestamp", "datetime", "createdat", "time"),
    "date": ("date", "day"),
    "headline": ("headline", "title", "text", "tweet"),
    "source": ("source", "publisher"),
    "label": ("kind", "category", "type"),
}
"""Column names seen in the wild, without case, spaces and underscores; the first match wins."""

_TWEET_COLUMNS = ("text", "tweet")
MIN_HEADLINE_CHARACTERS = 2


@dataclass(frozen=True)
class NewsBatch:
    """Some rows of a file.

    ``stories`` has the columns of ``frames.NEWS`` plus ``source``, ``kind``, ``label``, ``is_date_only``,
    ``headline`` and ``row`` (row number in the file, header = 1), in file order; keys may repeat.
    """

    stories: pd.DataFrame
    refused: tuple[RefusedRow, ...]
    n_read: int
    n_skipped: int


@dataclass(frozen=True)
class NewsFile:
    """One surveyed file, ready to be read; made by :func:`open_news_file`."""

    table: NamedTable
    kind: NewsKind
    notes: tuple[str, ...]
    calendar: TradingCalendar
    now: pd.Timestamp
    moments: TimeColumn | None
    days: TimeColumn | None
    source: str | None = None
    timezone: str | None = None

    @property
    def name(self) -> str:
        """File name without its folder."""
        return self.table.name

    @property
    def sha256(self) -> str:
        """Checksum of the file."""
        return self.table.sha256

    def batches(self) -> Iterator[NewsBatch]:
        """Read the file once, in order, with bounded memory.

        Raises
        ------
        DataContractError
            If a later part of the file turns out to be no table after all.
        """
        for raw in self.table.batches():
            wanted = self._wanted(raw.table)
            table, row = raw.table.filter(pa.array(wanted)), raw.row[wanted]
            malformed = malformed_rows(self.name, raw)
            stories, refused = self._judge(table, row)
            yield NewsBatch(
                stories=stories,
                refused=tuple(sorted((*malformed, *refused), key=lambda r: r.row)),
                n_read=len(row) + len(malformed),
                n_skipped=int((~wanted).sum()),
            )

    def _wanted(self, table: pa.Table) -> np.ndarray:
        if self.source is None or "source" not in table.column_names:
            return np.ones(table.num_rows, dtype=bool)
        return np.asarray(texts_of(table, "source") == self.source, dtype=bool)

    def _judge(self, table: pa.Table, row: np.ndarray) -> tuple[pd.DataFrame, list[RefusedRow]]:
        symbol, headline = symbols_of(table), texts_of(table, "headline")
        published, is_date_only = self._published(table)
        length = np.array([len(text) for text in headline], dtype=np.int64)
        has_zero = np.array(["\0" in text for text in headline], dtype=bool)
        now = self.now.tz_convert("UTC")
        judge = RowJudge(self.name, row, symbol, lambda i: _time_text(table, i))
        judge.refuse("date_is_given", ~_is_dated(table), lambda i: "neither a time nor a date")
        judge.refuse("date_is_readable", published == NOT_A_TIME, lambda i: f"got {_time_text(table, i)!r}")
        judge.refuse("headline_is_given", length == 0, lambda i: "the headline is empty")
        judge.refuse(
            "headline_is_longer_than_one_character", length < MIN_HEADLINE_CHARACTERS, lambda i: f"got {headline[i]!r}"
        )
        judge.refuse("headline_has_no_zero_byte", has_zero, lambda i: f"got {headline[i][:60]!r}")
        judge.refuse(
            "story_is_not_in_the_future",
            published > pd.DatetimeIndex([now]).as_unit("us").asi8[0],
            lambda i: f"it counts from {_moment(published[i]):%Y-%m-%d %H:%M} UTC, after now ({now:%Y-%m-%d %H:%M})",
        )
        good = judge.good
        return self._stories(table, row, symbol, headline, published, is_date_only, good), judge.refused

    def _published(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Moment from which each row counts (int64 microseconds UTC) and whether the source named only a day."""
        published = np.full(table.num_rows, NOT_A_TIME, dtype=np.int64)
        is_date_only = np.zeros(table.num_rows, dtype=bool)
        open_rows = np.ones(table.num_rows, dtype=bool)
        for name, column in (("ts", self.moments), ("date", self.days)):
            if name not in table.column_names:
                continue
            taken = open_rows & is_given(table[name])
            open_rows &= ~taken
            if column is None:
                continue
            if column.holds_dates:
                values = end_of_day(column.read_dates(table), self.calendar.zone).asi8
            else:
                wall, offset = column.read(table)
                values = known_moments(
                    wall, offset, as_dates=False, timezone=self.timezone, calendar=self.calendar
                )  # NOT_A_TIME also where the zone's clock skipped or doubled the time
            published[taken] = values[taken]
            is_date_only[taken] = column.holds_dates
        return published, is_date_only

    def _stories(
        self,
        table: pa.Table,
        row: np.ndarray,
        symbol: np.ndarray,
        headline: np.ndarray,
        published: np.ndarray,
        is_date_only: np.ndarray,
        good: np.ndarray,
    ) -> pd.DataFrame:
        given = texts_of(table, "source")[good]
        source = np.where(given == "", self.source or self.table.path.stem.removesuffix(".csv"), given)
        texts = pd.Series(headline[good], dtype="str")
        judged = classify_headlines(texts) if self.kind == "story" else _as_tweets(len(texts))
        label = texts_of(table, "label")[good]
        return pd.DataFrame(
            {
                "symbol": pd.Series(symbol[good], dtype="str"),
                "published_at": pd.DatetimeIndex(published[good].astype("datetime64[us]")).tz_localize("UTC"),
                "news_id": pd.Series(_identities(source, headline[good]), dtype="str"),
                "catalyst_type": judged["catalyst_type"],
                "sentiment": judged["sentiment"],
                "score": judged["score"],
                "source": pd.Series(source, dtype="str"),
                "kind": judged["kind"],
                "label": pd.Series([text or None for text in label], dtype="str"),
                "is_date_only": is_date_only[good],
                "headline": texts,
                "row": row[good],
            }
        )


def open_news_file(
    path: Path,
    *,
    now: pd.Timestamp,
    calendar: TradingCalendar,
    kind: NewsKind | None = None,
    source: str | None = None,
    date_format: str | None = None,
    timezone: str | None = None,
) -> NewsFile:
    """Survey a file of news and say how it will be read, without keeping its rows.

    Parameters
    ----------
    path : Path
        CSV (any of ``, ; tab |``, optional byte-order mark, ``.gz``) or Parquet with a symbol, a headline and a time
        (``ts``) or a date; where both stand in a row the time counts. Column names: :data:`ALIASES`.
    now : Timestamp
        Aware; a story published after it is refused.
    kind : 'story', 'tweet' or None
        ``None`` decides by the column: ``text`` and ``tweet`` hold tweets, ``headline`` and ``title`` stories.
    source : str or None
        Name of the source. If the file has a source column, only its rows of that name are read; without either
        the file's name is the source.
    timezone : str or None
        Zone of moments that name none.

    Raises
    ------
    DataContractError
        If the file is no table, lacks a column, or its times are ambiguous, mixed or without a zone.
    """
    table = open_table(
        path,
        ALIASES,
        required=[("symbol",), ("headline",), ("ts", "date")],
        of="news; expected columns for symbol, time or date, and headline",
    )
    guessed: NewsKind = "tweet" if table.columns["headline"].lower().strip() in _TWEET_COLUMNS else "story"
    moments = survey_times(table, "ts", date_format=date_format, timezone=timezone)
    days = survey_times(table, "date", date_format=date_format, timezone=timezone, unless="ts")
    if moments is None and days is None:
        raise DataContractError(f"{path.name}: the file has no row with a time or a date; expected at least one story.")
    return NewsFile(
        table=table,
        kind=kind or guessed,
        notes=_notes(table, kind, guessed, moments, days),
        calendar=calendar,
        now=now,
        moments=moments,
        days=days,
        source=source,
        timezone=timezone,
    )


def _notes(
    table: NamedTable, kind: NewsKind | None, guessed: NewsKind, moments: TimeColumn | None, days: TimeColumn | None
) -> tuple[str, ...]:
    notes = []
    if kind is None and guessed == "tweet":
        notes.append(f"column {table.columns['headline']!r} read as tweets; if they are stories give --kind story")
    for column in (moments, days):
        if column is not None and column.holds_dates:
            named = table.columns[column.name]
            notes.append(f"column {named!r} names days only: such stories count from the end of that day in New York")
    if table.unused:
        notes.append(f"not used: {', '.join(table.unused)}")
    return tuple(notes)


def _is_dated(table: pa.Table) -> np.ndarray:
    """Rows with a time or a date."""
    masks = [is_given(table[name]) for name in ("ts", "date") if name in table.column_names]
    return np.logical_or.reduce(masks)


def _time_text(table: pa.Table, i: int) -> str:
    """How row ``i`` writes its time, or its date if it has no time."""
    texts = [time_text(table[name], i) for name in ("ts", "date") if name in table.column_names]
    return next((text for text in texts if text), "")


def _as_tweets(n_rows: int) -> pd.DataFrame:
    """A tweet is nobody's announcement: no type, neutral, score 0."""
    return pd.DataFrame(
        {
            "kind": pd.Series(["tweet"] * n_rows, dtype="str"),
            "catalyst_type": pd.Series([None] * n_rows, dtype="str"),
            "sentiment": pd.Series(["neutral"] * n_rows, dtype="str"),
            "score": np.zeros(n_rows),
        }
    )


def _identities(source: np.ndarray, headline: np.ndarray) -> list[str]:
    """Sixteen hexadecimal digits of source and text: one story has one identity under all its tickers."""
    pairs = zip(source, headline, strict=True)
    return [hashlib.blake2b(f"{s}\x1f{text}".encode(), digest_size=8).hexdigest() for s, text in pairs]


def _moment(microseconds: int) -> pd.Timestamp:
    return pd.Timestamp(int(microseconds), unit="us", tz="UTC")

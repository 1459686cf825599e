"""From a pulled table of the trading system into a dataset, by the imports that files take.

Every month of a snapshot is handed over at every pull: one that has not changed is recognised by its bytes, and what is
stored is not written again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.bar_files import open_bar_file
from catalyst_ml.market.bar_stamps import Stamp
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.news_files import open_news_file
from catalyst_ml.market.reference_files import read_sectors
from catalyst_ml.market.source_files import BarFiles, sector_file, story_file
from catalyst_ml.market.timeframes import parse_timeframe
from catalyst_ml.store.bar_import import import_bars
from catalyst_ml.store.bars import extract_instruments
from catalyst_ml.store.news import import_news
from catalyst_ml.store.reference import import_sectors
from catalyst_ml.store.source_partitions import UNDATED
from catalyst_ml.store.source_shapes import timeframe_named

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from catalyst_ml.store.file_imports import FileReport
    from catalyst_ml.store.source_snapshots import SourceSnapshots
    from catalyst_ml.store.source_tables import SourceTable

TAXONOMY = "catalyst"
"""Whose names for sectors upstream's are."""


@dataclass(frozen=True)
class ImportTarget:
    """Where and how pulled tables come in; ``timezone`` is that of times that name no zone."""

    engine: Engine
    dataset: str
    stamp: Stamp
    timezone: str
    calendar: TradingCalendar
    now: pd.Timestamp
    progress: Callable[[str, float], None] | None = None


def import_bar_table(
    target: ImportTarget, snapshots: SourceSnapshots, table: SourceTable, *, timeframe: str | None, only: str | None
) -> Iterator[FileReport]:
    """Import the bars of a table; ``timeframe`` is of rows that name none, ``only`` the one that is wanted, or all.

    Raises
    ------
    DataContractError
        If a month is refused whole, or real bars would meet simulated ones.
    """
    with _folder() as folder:
        files = BarFiles(
            folder, table.fields, _file_name(table), timeframe, timeframe_named, target.calendar.zone,
        )  # fmt: skip
        months = ((month, path) for month, path in snapshots.files(table.full_name) if month != UNDATED)
        for bars in chain((bars for month, path in months for bars in files.add(month, path)), files.rest()):
            if only is None or bars.timeframe == only:
                file = open_bar_file(
                    bars.path, timeframe=parse_timeframe(bars.timeframe), calendar=target.calendar, now=target.now,
                    stamp=target.stamp, timezone=target.timezone, source=table.full_name,
                )  # fmt: skip
                yield import_bars(
                    target.engine, [file], dataset=target.dataset, timeframe=bars.timeframe, now=target.now,
                    progress=target.progress,
                ).files[0]  # fmt: skip
            bars.path.unlink()


def import_news_table(
    target: ImportTarget, snapshots: SourceSnapshots, table: SourceTable
) -> Iterator[FileReport | str]:
    """Import the stories of a table; sentences between the reports say what could not be used.

    Raises
    ------
    DataContractError
        If the dataset holds simulated bars.
    """
    known = set(extract_instruments(target.engine, dataset=target.dataset)["symbol"])
    n_stories = n_without = 0
    for month, path in snapshots.files(table.full_name):
        if month == UNDATED:
            continue
        with _folder() as folder:
            stories = story_file(
                path, folder, table.fields, name=f"{_file_name(table)}.{month}", publisher=table.full_name,
                known_symbols=known,
            )  # fmt: skip
            n_stories, n_without = n_stories + stories.n_stories, n_without + stories.n_without_symbol
            if stories.path is None:
                continue
            file = open_news_file(
                stories.path, now=target.now, calendar=target.calendar, kind="story", timezone=target.timezone,
            )  # fmt: skip
            yield import_news(target.engine, file, dataset=target.dataset, now=target.now)
    if n_without:
        yield (
            f"{table.full_name}: {n_without:,} of {n_stories:,} stories name no symbol that {target.dataset} has bars "
            "of, and are not used"
        )


def import_sector_table(
    target: ImportTarget, snapshots: SourceSnapshots, table: SourceTable
) -> Iterator[FileReport | str]:
    """Import the latest sector of each symbol as taxonomy ``catalyst``; a sentence instead if none is known."""
    with _folder() as folder:
        files = [path for _, path in snapshots.files(table.full_name)]
        path = sector_file(files, folder, table.fields, name=_file_name(table), today=target.now.date())
        if path is None:
            yield f"{table.full_name}: every sector is unknown, so there is nothing to import"
            return
        file = read_sectors(path, now=target.now, taxonomy=TAXONOMY)
        yield import_sectors(target.engine, file, dataset=target.dataset, now=target.now)


def _file_name(table: SourceTable) -> str:
    """Beginning of the names of files with the rows of a table."""
    name = table.full_name
    if not name.isprintable() or "/" in name:
        raise DataContractError(f"source table {name!a}: its name cannot be that of a file. Read it through a view.")
    return name


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="catalyst-source-") as name:
        yield Path(name)

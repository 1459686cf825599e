"""One pull of the trading system's database: snapshots brought up to date, and what they hold imported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Engine

from catalyst_ml.errors import DataContractError
from catalyst_ml.intake.source_import import ImportTarget, import_bar_table, import_news_table, import_sector_table
from catalyst_ml.market.bar_stamps import Stamp
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.settings import Settings
from catalyst_ml.store.engine import open_engine
from catalyst_ml.store.file_imports import FileReport, check_dataset
from catalyst_ml.store.source_counts import bars_of_timeframes
from catalyst_ml.store.source_engine import open_source
from catalyst_ml.store.source_inspection import Missing, inspect_source
from catalyst_ml.store.source_partitions import UNDATED
from catalyst_ml.store.source_pull import PullResult
from catalyst_ml.store.source_shapes import BARS, NEWS, SECTORS, timeframe_named
from catalyst_ml.store.source_snapshots import SourceSnapshots
from catalyst_ml.store.source_tables import SourceTable


@dataclass(frozen=True)
class PullOptions:
    """How a pull goes.

    Parameters
    ----------
    subjects : collection of str, optional
        Names of the subjects to pull; all by default.
    stamp : 'start' or 'end'
        What the time of an intraday bar means.
    timeframe : str, optional
        Only bars of this length; also the length of bars that do not say theirs.
    check_all : bool
        Compare every day with the source, not only the newest ones.
    is_imported : bool
        Import what the snapshots hold; else they are only brought up to date.
    """

    subjects: Collection[str] | None = None
    stamp: Stamp = "start"
    timeframe: str | None = None
    check_all: bool = False
    is_imported: bool = True


@dataclass
class SourceIntake:
    """What a pull did: ``pulled`` tables with their subject, ``imported`` files, sentences for people.

    ``refused`` names tables whose values could not be read or imported; the others came in.
    """

    database: str
    missing: list[Missing]
    pulled: list[tuple[str, PullResult]] = field(default_factory=list)
    imported: list[FileReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def pull_source(
    settings: Settings,
    dataset: str,
    options: PullOptions = PullOptions(),
    *,
    progress: Callable[[str, float], None] | None = None,
) -> SourceIntake:
    """Bring snapshots up to date and import bars, news and sectors; running it again changes nothing.

    Parameters
    ----------
    settings : Settings
        Of the source, our database, the tunnel and the home.
    dataset : str
        Where bars, news and sectors go.
    progress : callable, optional
        Called with a name and the fraction done.

    Raises
    ------
    ConfigurationError
        If the source is not set or lets us not in, or ``dataset`` is no name.
    SourceUnavailable
        If one of the databases is lost; what was finished stays, the next pull goes on from there.
    """
    check_dataset(dataset)
    source = open_source(settings)
    catalogue, report = inspect_source(source, timezone=settings.source.timezone, count=False)
    wanted = [
        table
        for table in catalogue.tables
        if table.subject is not None
        and table.subject.is_pulled
        and (options.subjects is None or table.subject.name in options.subjects)
    ]
    missing = [m for m in report.missing if options.subjects is None or m.subject in options.subjects]
    intake = SourceIntake(catalogue.database, missing)
    snapshots = SourceSnapshots(settings.home.path("snapshots"), catalogue.database)
    pulled = [table for table in wanted if _pull(settings, source, snapshots, table, intake, options, progress)]
    if options.is_imported:
        target = ImportTarget(
            open_engine(settings), dataset, options.stamp, settings.source.timezone, TradingCalendar(),
            pd.Timestamp.now("UTC"), progress,
        )  # fmt: skip
        for table in sorted(pulled, key=_import_order):
            try:
                _import(target, snapshots, source, table, options.timeframe, intake)
            except DataContractError as error:
                intake.refused.append(f"{table.full_name} refused: {error}")
    source.dispose()
    return intake


def _pull(
    settings: Settings,
    source: Engine,
    snapshots: SourceSnapshots,
    table: SourceTable,
    intake: SourceIntake,
    options: PullOptions,
    progress: Callable[[str, float], None] | None,
) -> bool:
    """Pull one table; False if it was refused, because one table's values are no reason to leave the others."""
    try:
        result = snapshots.pull(
            source,
            table,
            now=pd.Timestamp.now("UTC").to_pydatetime(),
            recheck_after=timedelta(0) if options.check_all else timedelta(hours=settings.source.recheck_hours),
            timeout_s=settings.source.statement_timeout_s,
            progress=progress,
        )
    except DataContractError as error:
        intake.refused.append(f"{table.full_name} refused: {error}")
        return False
    intake.pulled.append((table.subject.name if table.subject else "", result))
    if result.rows_gone and table.subject in (BARS, NEWS):
        intake.notes.append(
            f"{table.full_name}: {result.rows_gone:,} rows are gone from the days they stood on; what was imported of "
            "them stays in the dataset, because it was known then"
        )
    return True


def _import_order(table: SourceTable) -> tuple[bool, str]:
    """Bars first: they say which symbols there are."""
    return table.subject is not BARS, table.full_name


def _import(
    target: ImportTarget,
    snapshots: SourceSnapshots,
    source: Engine,
    table: SourceTable,
    length: str | None,
    intake: SourceIntake,
) -> None:
    intake.notes += _unusable_rows(table, snapshots)
    outcomes: Iterator[Any] = iter(())
    if table.subject is BARS:
        found = bars_of_timeframes(source, table)
        unknown = [written for written in found if timeframe_named(written) is None]
        said = [written for written in found if written not in unknown]
        usual = length if "timeframe" in table.fields or not said else said[0]
        if unknown and length is None:
            intake.notes.append(
                f"{table.full_name}: bars of unknown length ({', '.join(unknown)}) are not used; name it with "
                "--timeframe"
            )
        outcomes = import_bar_table(target, snapshots, table, timeframe=usual, only=length)
    elif table.subject is NEWS:
        outcomes = import_news_table(target, snapshots, table)
    elif table.subject is SECTORS:
        outcomes = import_sector_table(target, snapshots, table)
    for outcome in outcomes:
        if isinstance(outcome, str):
            intake.notes.append(outcome)
        else:
            intake.imported.append(outcome)


def _unusable_rows(table: SourceTable, snapshots: SourceSnapshots) -> list[str]:
    """Say how many bars or stories cannot be used for want of a time; a sector needs none."""
    undated = snapshots.manifest(table.full_name).months.get(UNDATED)
    if undated is None or table.subject not in (BARS, NEWS):
        return []
    if table.time_column is not None:
        return [f"{table.full_name}: {undated.rows:,} rows have no usable time and are not used"]
    column = table.column("ts")
    written = f"column {column.name} holds {column.type}, no dates or times" if column else "no column holds times"
    return [
        f"{table.full_name}: {written}, so none of its {undated.rows:,} rows is used. Read it through a view that "
        "casts the column to timestamptz"
    ]

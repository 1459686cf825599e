"""Bars into the database, file by file: each taken whole or not at all, and recognised when it comes again.

A bar that is not there yet counts as known at its close, unless the file says since when it was known. A bar that
differs from what is stored is a correction: a further row, known from now on, so that an earlier ``as_of`` still sees
what was known then. How a file comes in is told in ``bar_intake``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine, text

from catalyst_ml.frames import BARS
from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.bar_intake import FileImport, ImportOptions, InstrumentKind, options_text
from catalyst_ml.store.bar_lines import SIMULATED_SOURCE as SIMULATED_SOURCE
from catalyst_ml.store.bar_lines import PriceBasis, set_priority
from catalyst_ml.store.bar_source import BarFileReport, BarSource, Batch, ImportReport
from catalyst_ml.store.engine import database_errors
from catalyst_ml.store.file_imports import check_dataset

log = logging.getLogger(__name__)

_FUTURE_RULES = ("bar_is_not_in_the_future", "known_at_is_not_in_the_future")


def import_bars(
    engine: Engine,
    files: Sequence[BarSource],
    *,
    dataset: str,
    timeframe: str,
    now: datetime,
    kind: InstrumentKind | None = None,
    prices: PriceBasis | None = None,
    priority: int | None = None,
    reread: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> ImportReport:
    """Store the bars of some files; each file is taken whole or not at all.

    Parameters
    ----------
    files : sequence of BarSource
        Surveyed files, e.g. of ``market.bar_files.open_bar_file``.
    dataset, timeframe : str
        Line the bars belong to. Real and simulated bars never share a dataset.
    now : datetime
        Aware moment from which corrections are known.
    kind, prices, priority
        See :class:`ImportOptions`.
    reread : bool
        Read a file even if an import of the same bytes has finished before.
    progress : callable, optional
        Called with file name and fraction read.

    Returns
    -------
    ImportReport
        Counts, refused rows by rule and first examples; all refused rows are in ``catalyst_ml.refused_rows``.

    Raises
    ------
    ConfigurationError
        If the dataset has a name that no other command would take.
    DataContractError
        If a file turns out to be broken, mixes real and simulated bars, or raw and adjusted prices. Earlier files stay.
    SourceUnavailable
        If the database is lost or its disk is full; the current file is rolled back.
    """
    options = ImportOptions(kind, prices, priority)
    reports = []
    for file in files:
        report = None
        if not reread:
            report = recognise_import(
                engine, name=file.name, sha256=file.sha256, reading=file.options, dataset=dataset,
                timeframe=timeframe, kind=kind, prices=prices, priority=priority,
            )  # fmt: skip
        if report is None:
            run = FileImport(engine, file, dataset, timeframe, now, options, progress)
            report = run.execute()
        log.info("%s: %d rows read, %d new, %d refused", report.file, report.read, report.new, report.refused)
        reports.append(report)
    return ImportReport(dataset, timeframe, tuple(reports))


def recognise_import(
    engine: Engine,
    *,
    name: str,
    sha256: str,
    reading: dict[str, Any],
    dataset: str,
    timeframe: str,
    kind: InstrumentKind | None = None,
    prices: PriceBasis | None = None,
    priority: int | None = None,
) -> BarFileReport | None:
    """Report of an import of the same file that has finished before, if reading it again would find nothing new.

    That is so if name, bytes and all options are the same, no row was refused for lying in the future, and no later
    import corrected a bar of this dataset and timeframe (reading the old file again would take the correction back). A
    ``priority`` given is set.

    Parameters
    ----------
    reading : dict
        How the file is read, see ``market.bar_files.reading_options``.

    Raises
    ------
    ConfigurationError
        As :func:`import_bars`.
    """
    check_dataset(dataset)
    options = ImportOptions(kind, prices, priority)
    values = {
        "dataset": dataset,
        "timeframe": timeframe,
        "name": name,
        "sha256": sha256,
        "options": options_text(reading, options),
        "future": list(_FUTURE_RULES),
    }
    with database_errors(engine), engine.begin() as connection:
        found = connection.execute(text(_RECOGNISE), values).one_or_none()
        if found is None:
            return None
        before = BarFileReport.from_json(found.report)
        if priority is not None:
            for source in before.sources:
                set_priority(connection, dataset=dataset, timeframe=timeframe, source=source, priority=priority)
    note = (
        f"recognised: the same file was imported with the same options on {found.finished_at:%Y-%m-%d %H:%M} UTC, and "
        "is not read again (--reread does)"
    )
    return replace(
        before,
        new=0,
        unchanged=before.new + before.unchanged + before.corrected,
        corrected=0,
        restated={},
        notes=(*before.notes, note),
        recognised=True,
    )


_RECOGNISE = """
    SELECT report, finished_at AT TIME ZONE 'UTC' AS finished_at FROM catalyst_ml.imports i
    WHERE (dataset, timeframe, file_name, sha256) = (:dataset, :timeframe, :name, :sha256)
    AND options = CAST(:options AS jsonb) AND finished_at IS NOT NULL AND report IS NOT NULL
    AND NOT (report -> 'refused_by_rule') ?| CAST(:future AS text[])
    AND NOT EXISTS (
        SELECT FROM catalyst_ml.imports later WHERE (later.dataset, later.timeframe) = (i.dataset, i.timeframe)
        AND later.id > i.id AND later.rows_corrected > 0
    )
    ORDER BY id DESC LIMIT 1
"""


def write_bars(
    engine: Engine, bars: pd.DataFrame, *, dataset: str, timeframe: str, source: str, name: str, now: datetime
) -> BarFileReport:
    """Store a frame of bars as if it were a file called ``name``; same rules, same report.

    Raises
    ------
    DataContractError
        If ``bars`` breaks ``frames.BARS``, or real and simulated bars would mix.
    """
    BARS.validate(bars)
    return import_bars(engine, [_FrameSource(bars, source, name)], dataset=dataset, timeframe=timeframe, now=now).files[
        0
    ]


@dataclass(frozen=True)
class _FrameBatch:
    bars: pd.DataFrame
    n_read: int
    fraction_done: float
    refused: tuple[RefusedRow, ...] = ()
    n_skipped: int = 0
    off_cent: np.ndarray | None = None


@dataclass(frozen=True)
class _FrameSource:
    frame: pd.DataFrame
    source: str
    name: str
    stamp: str = "end"
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        hashes = pd.util.hash_pandas_object(self.frame[BARS.column_names], index=False)
        return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()

    @property
    def options(self) -> dict[str, Any]:
        return {"source": self.source}

    def batches(self) -> Iterator[Batch]:
        rows = np.arange(2, len(self.frame) + 2)
        yield _FrameBatch(self.frame.assign(source=self.source, row=rows), len(self.frame), 1.0)

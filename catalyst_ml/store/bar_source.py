"""What an import is handed and what it hands back: sources of bars and reports.

The protocols keep the arrow between the rooms: files are read by ``market``, which this package does not import.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.file_imports import FileReport, SourceBatch, SourceFile


class Batch(SourceBatch, Protocol):
    """Some rows: ``bars`` has the columns of ``frames.BARS`` plus ``source`` and ``row``, in any order.

    Further columns, if they are there: ``is_regular`` (else all are), ``known_at`` (else a bar is known at its close).
    ``off_cent`` says which closes are no whole cents; ``None`` if nobody looked.
    """

    @property
    def bars(self) -> pd.DataFrame: ...
    @property
    def fraction_done(self) -> float: ...
    @property
    def off_cent(self) -> np.ndarray | None: ...


class BarSource(SourceFile, Protocol):
    """Something bars come from; ``market.bar_files.BarFile`` is one.

    ``batches`` reads from the start at every call, and gives the same rows each time. ``options`` is what besides
    name and ``sha256`` decides about them, JSON-like: equal ones mean that nothing new is to be found.
    """

    @property
    def stamp(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...
    def batches(self) -> Iterator[Batch]: ...


@dataclass(frozen=True, kw_only=True)
class BarFileReport(FileReport):
    """What became of one file of bars.

    ``exact_duplicates`` of the repeated rows say even that the bar was known at the same moment. ``restated`` counts
    the corrections by the column they changed. ``recognised`` is true if the file was not read, because an import of
    the same bytes had finished before.
    """

    out_of_order: int
    irregular: int
    exact_duplicates: int
    restated: dict[str, int]
    recognised: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the database."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> BarFileReport:
        """Inverse of :meth:`to_json`."""
        examples = tuple(RefusedRow(**row) for row in values["examples"])
        lists = {name: tuple(values[name]) for name in ("sources", "notes")}
        return cls(**{**values, **lists, "examples": examples})


@dataclass(frozen=True)
class ImportReport:
    """Reports of all files of one import, in order."""

    dataset: str
    timeframe: str
    files: tuple[BarFileReport, ...]

    def total(self, count: str) -> int:
        """Sum of one count (``read``, ``new``, ...) over the files."""
        return sum(getattr(report, count) for report in self.files)

"""What an import is handed and what it hands back: sources of bars and reports.

The protocols keep the arrow between the rooms: files are read by ``market``, which this package does not import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from catalyst_ml.refused_rows import RefusedRow


class Batch(Protocol):
    """Some rows: ``bars`` has the columns of ``frames.BARS`` plus ``source`` and ``row``, in any order.

    Further columns, if they are there: ``is_regular`` (else all are), ``known_at`` (else a bar is known at its close).
    ``off_cent`` says which closes are no whole cents; ``None`` if nobody looked.
    """

    @property
    def bars(self) -> pd.DataFrame: ...
    @property
    def refused(self) -> Sequence[RefusedRow]: ...
    @property
    def n_read(self) -> int: ...
    @property
    def n_skipped(self) -> int: ...
    @property
    def fraction_done(self) -> float: ...
    @property
    def off_cent(self) -> np.ndarray | None: ...


class BarSource(Protocol):
    """Something bars come from; ``market.bar_files.BarFile`` is one.

    ``batches`` reads from the start at every call, and gives the same rows each time. ``options`` is what besides
    name and ``sha256`` decides about them, JSON-like: equal ones mean that nothing new is to be found.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def stamp(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def batches(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class FileReport:
    """What became of one file: ``read = new + unchanged + corrected + repeated + refused``.

    ``repeated`` rows say what an earlier row of the file said of the same bar; ``exact_duplicates`` of them say even
    that it was known at the same moment. ``restated`` counts the corrections by the column they changed.
    ``recognised`` is true if the file was not read, because an import of the same bytes had finished before.
    """

    file: str
    sources: tuple[str, ...]
    read: int
    new: int
    unchanged: int
    corrected: int
    repeated: int
    refused: int
    skipped: int
    out_of_order: int
    irregular: int
    exact_duplicates: int
    refused_by_rule: dict[str, int]
    restated: dict[str, int]
    examples: tuple[RefusedRow, ...]
    notes: tuple[str, ...]
    recognised: bool = field(default=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the database."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FileReport:
        """Inverse of :meth:`to_json`."""
        examples = tuple(RefusedRow(**row) for row in values["examples"])
        lists = {name: tuple(values[name]) for name in ("sources", "notes")}
        return cls(**{**values, **lists, "examples": examples})


@dataclass(frozen=True)
class ImportReport:
    """Reports of all files of one import, in order."""

    dataset: str
    timeframe: str
    files: tuple[FileReport, ...]

    def total(self, count: str) -> int:
        """Sum of one count (``read``, ``new``, ...) over the files."""
        return sum(getattr(report, count) for report in self.files)

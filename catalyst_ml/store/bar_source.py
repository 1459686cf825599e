"""What an import is handed and what it hands back: sources of bars, refused rows, reports.

The protocols keep the arrow between the rooms: files are read by ``market``, which this package does not import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd


class Refusal(Protocol):
    """A row that was not taken, with the rule it broke."""

    @property
    def file(self) -> str: ...
    @property
    def row(self) -> int: ...
    @property
    def symbol(self) -> str: ...
    @property
    def ts_text(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def detail(self) -> str: ...


class Batch(Protocol):
    """Some rows: ``bars`` has the columns of ``frames.BARS`` plus ``source`` and ``row``, in any order."""

    @property
    def bars(self) -> pd.DataFrame: ...
    @property
    def refused(self) -> Sequence[Refusal]: ...
    @property
    def n_read(self) -> int: ...
    @property
    def n_skipped(self) -> int: ...
    @property
    def n_out_of_order(self) -> int: ...
    @property
    def fraction_done(self) -> float: ...


class BarSource(Protocol):
    """Something bars come from, read once from start to end; ``market.bar_files.BarFile`` is one."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def stamp(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def batches(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class StoredRefusal:
    """A row refused by the store: its key stands elsewhere in the file with other values."""

    file: str
    row: int
    symbol: str
    ts_text: str
    rule: str
    detail: str


@dataclass(frozen=True)
class FileReport:
    """What became of one file: ``read = new + unchanged + corrected + repeated + refused``."""

    file: str
    read: int
    new: int
    unchanged: int
    corrected: int
    repeated: int
    refused: int
    skipped: int
    out_of_order: int
    refused_by_rule: dict[str, int]
    examples: tuple[Refusal, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ImportReport:
    """Reports of all files of one import, in order."""

    dataset: str
    timeframe: str
    files: tuple[FileReport, ...]

    def total(self, count: str) -> int:
        """Sum of one count (``read``, ``new``, ...) over the files."""
        return sum(getattr(report, count) for report in self.files)

"""The row that was not taken: what every reader and every store of ours reports about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RefusedRow:
    """One row that was not taken: where it stands (header = row 1), which rule it broke, and how."""

    file: str
    row: int
    symbol: str
    ts_text: str
    rule: str
    detail: str

"""Rows of bars by the ids of their line and symbol: their order in the file, their form on the way to the server."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.store.bar_lines import Line
from catalyst_ml.store.binary_copy import pack, to_postgres_time

VALUES = ("open", "high", "low", "close", "volume", "split_factor")
NEVER = np.iinfo(np.int64).min
"""Time of the newest bar of a symbol that has none. To PostgreSQL it is ``-infinity``."""

_COLUMNS = ("line_id", "symbol_id", "ts", "known_at", *VALUES, "import_id")


@dataclass(frozen=True)
class BarRows:
    """Good rows of a batch, arrays of shape (n_rows,); times are int64 microseconds since 1970.

    ``known_at`` is ``None`` if the file does not say since when rows are known; ``columns`` are those of ``VALUES``.
    """

    row: np.ndarray
    line_id: np.ndarray
    symbol_id: np.ndarray
    ts: np.ndarray
    known_at: np.ndarray | None
    columns: list[np.ndarray]
    is_regular: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def where(self, wanted: np.ndarray) -> BarRows:
        """Return the rows of a boolean mask, in the same order."""
        if wanted.all():
            return self
        return BarRows(
            self.row[wanted],
            self.line_id[wanted],
            self.symbol_id[wanted],
            self.ts[wanted],
            None if self.known_at is None else self.known_at[wanted],
            [column[wanted] for column in self.columns],
            self.is_regular[wanted],
        )


@dataclass(frozen=True)
class RowOrder:
    """How each row stands to the rows of its symbol before it, boolean arrays of shape (n_rows,).

    ``is_back`` is earlier than the row just before; ``is_ahead`` is later than all rows before, so it repeats none of
    them; ``is_beyond`` is later than all that is stored.
    """

    is_back: np.ndarray
    is_ahead: np.ndarray
    is_beyond: np.ndarray


@dataclass
class LineOrder:
    """Times seen so far of one line, by symbol id; grows with the ids."""

    stored: np.ndarray = field(default_factory=lambda: np.full(1, NEVER))
    _last: np.ndarray = field(default_factory=lambda: np.full(1, NEVER))
    _top: np.ndarray = field(default_factory=lambda: np.full(1, NEVER))

    def take(self, symbol_id: np.ndarray, ts: np.ndarray) -> RowOrder:
        """Place some rows, in file order, after those taken before."""
        self._grow(int(symbol_id.max(initial=0)) + 1)
        order = np.argsort(symbol_id, kind="stable")
        symbol, time = symbol_id[order], ts[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = np.diff(symbol) != 0
        before = np.append(NEVER, time[:-1])
        just_before = np.where(first, self._last[symbol], before)
        top = np.where(first, self._top[symbol], before)
        if not (time > top).all():
            running = pd.Series(top).groupby(np.cumsum(first)).cummax().to_numpy()
            top = np.maximum(running, self._top[symbol])
        last = np.append(first[1:], True)
        self._last[symbol[last]] = time[last]
        self._top[symbol[last]] = np.maximum(top, time)[last]
        placed = np.empty((3, len(order)), dtype=bool)
        placed[:, order] = time < just_before, time > top, time > self.stored[symbol]
        return RowOrder(*placed)

    def _grow(self, n_ids: int) -> None:
        for name in ("stored", "_last", "_top"):
            times = getattr(self, name)
            if len(times) < n_ids:
                setattr(self, name, np.append(times, np.full(n_ids - len(times), NEVER)))


def pack_for_bars(rows: BarRows, line: Line, import_id: int) -> tuple[str, io.BytesIO]:
    """COPY statement and stream of new bars of one line, known at their close."""
    ts = to_postgres_time(rows.ts)
    columns: list[tuple[str, Any]] = [("i4", line.line_id), ("i4", rows.symbol_id), ("i8", ts), ("i8", ts)]
    columns += [("f8", column) for column in rows.columns]
    columns.append(("i8", import_id))
    names: tuple[str, ...] = _COLUMNS
    if not rows.is_regular.all():
        columns.append(("b1", rows.is_regular))
        names = (*_COLUMNS, "is_regular")
    # Frozen: nobody sees the table before the commit, and no later reader need mark its rows as committed.
    frozen = ", FREEZE" if line.is_new else ""
    return f"COPY {line.table} ({', '.join(names)}) FROM STDIN (FORMAT binary{frozen})", pack(columns)


def pack_for_stage(rows: BarRows) -> tuple[str, io.BytesIO]:
    """COPY statement and stream of rows for the table ``staged`` of ``bar_staging``."""
    known_at: Any = NEVER if rows.known_at is None else to_postgres_time(rows.known_at)
    columns: list[tuple[str, Any]] = [
        ("i8", rows.row),
        ("i4", rows.line_id),
        ("i4", rows.symbol_id),
        ("i8", to_postgres_time(rows.ts)),
        ("i8", known_at),
        *[("f8", column) for column in rows.columns],
        ("b1", rows.is_regular),
    ]
    return "COPY staged FROM STDIN (FORMAT binary)", pack(columns)

"""Which column of a bar file is what, and the numbers in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.bar_rules import PRICES
from catalyst_ml.market.bar_stamps import StampReader

ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "sym", "name"),
    "ts": ("ts", "timestamp", "datetime", "date", "time", "day"),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice"),
    "low": ("low", "l", "lowprice"),
    "close": ("close", "c", "closeprice"),
    "volume": ("volume", "v", "vol"),
    "split_factor": ("splitfactor", "splitcoefficient", "stocksplits", "splitratio", "split"),
    "interval": ("intervalmin", "intervalminutes"),
    "source": ("source",),
    "known_at": ("knownat", "archivedate", "published", "publishedat", "publicationdate"),
}
"""Column names seen in the wild, without case, spaces and underscores; the first match wins."""

_ADJUSTED = re.compile(r"adj(usted)?(close|open|high|low|volume|closeprice)|close(adj|adjusted)")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NOT_FINITE = {
    "nan": np.nan,
    "inf": np.inf,
    "+inf": np.inf,
    "-inf": -np.inf,
    "infinity": np.inf,
    "-infinity": -np.inf,
}
_SYMBOL_IN_NAME = re.compile(
    r"([A-Za-z0-9^][A-Za-z0-9.^=-]{0,15}?)(?:[_ ](?:daily|\d+ ?(?:m|min|h|d)))?", re.IGNORECASE
)


def match_columns(path: Path, header: list[str], *, volume_optional: bool) -> dict[str, str]:
    """Map our names to the file's, or raise naming what is missing."""
    simple = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(header)}
    found = {ours: simple[alias] for ours, names in ALIASES.items() for alias in reversed(names) if alias in simple}
    odd = [name for name in header if not name.isprintable()]
    if odd:
        raise DataContractError(
            f"{path.name}: column name {odd[0]!r} is not printable; expected plain names. Rename it."
        )
    repeated = sorted({name for name in found.values() if header.count(name) > 1})
    if repeated:
        raise DataContractError(
            f"{path.name}: column {repeated[0]!r} occurs twice in row 1; expected once. Rename one."
        )
    required = ("ts", *PRICES) if volume_optional else ("ts", *PRICES, "volume")
    missing = [name for name in required if name not in found]
    if missing:
        shown = ["date" if name == "ts" else name for name in missing]
        raise DataContractError(
            f"{path.name}: column {', '.join(map(repr, shown))} is missing; row 1 has {header}. Rename the column "
            "that holds it, or import an index (no volume) with --kind index."
        )
    return found


def symbol_from_name(path: Path) -> str:
    """Symbol of a file that holds one, e.g. ``AAPL.csv``; raises ``DataContractError`` if its name is none."""
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    match = _SYMBOL_IN_NAME.fullmatch(stem)
    if not match:
        raise DataContractError(
            f"{path.name}: no symbol column, and the file's name is no symbol; expected e.g. AAPL.csv or AAPL_5m.csv. "
            "Rename the file or add a symbol column."
        )
    return match[1].upper()


def header_notes(
    header: list[str], columns: dict[str, str], symbol: str | None, known_reader: StampReader | None
) -> tuple[str, ...]:
    """What a user should know of how the columns were understood."""
    adjusted = [name for name in header if _ADJUSTED.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower()))]
    others = [name for name in header if name not in columns.values() and name not in adjusted]
    notes = [f"symbol {symbol} taken from the file's name"] if symbol else []
    if adjusted:
        notes.append(f"{', '.join(adjusted)} ignored: adjusted values are restated later and would look ahead")
    if others:
        notes.append(f"not used: {', '.join(others)}")
    if known_reader is not None:
        meaning = "a date means the close of its session" if known_reader.holds_dates else "moments as written"
        notes.append(f"{columns['known_at']} says since when each row was known: {meaning}")
    if "split_factor" not in columns:
        notes.append("no split column: prices are taken as they are, a split in them looks like a crash")
    return tuple(notes)


@dataclass(frozen=True)
class Numbers:
    """One column as float64 (NaN if missing or unreadable) and the masks of missing and unreadable rows."""

    value: np.ndarray
    missing: np.ndarray
    unreadable: np.ndarray


def read_numbers(table: pa.Table, name: str, file: str) -> Numbers:
    """Read one of our columns; an absent one is missing in every row.

    Raises
    ------
    DataContractError
        If the column can hold no numbers.
    """
    nothing = np.zeros(table.num_rows, dtype=bool)
    if name not in table.column_names:
        return Numbers(np.full(table.num_rows, np.nan), ~nothing, nothing)
    column = table[name]
    missing = np.array(pc.is_null(column)) if column.null_count else nothing
    if pa.types.is_nested(column.type) or pa.types.is_temporal(column.type):
        raise DataContractError(
            f"{file}: column {name!r} holds {column.type}; expected numbers. Write plain numbers into it."
        )
    if not _is_text(column.type):
        return Numbers(np.array(pc.cast(column, pa.float64(), safe=False).to_numpy()), missing, nothing)
    numeric = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)
    kept = pc.if_else(numeric, column, pa.scalar(None, column.type))
    values = np.array(pc.cast(kept, pa.float64()).to_numpy())
    unreadable = ~np.array(numeric) & ~missing
    for i in np.flatnonzero(unreadable):
        known = _NOT_FINITE.get(str(column[int(i)].as_py()).lower())
        if known is not None:
            values[i], unreadable[i] = known, False
    return Numbers(values, missing, unreadable)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)

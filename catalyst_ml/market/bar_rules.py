"""Rules every stored bar obeys, each with a name that reads like a sentence and a reason for the row that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class RefusedRow:
    """One row that was not taken: where it stands, which rule it broke, and how."""

    file: str
    row: int
    symbol: str
    ts_text: str
    rule: str
    detail: str


@dataclass(frozen=True)
class ParsedRows:
    """Columns of one batch as read, before any row is judged; all of length n_rows.

    ``missing`` and ``unreadable`` map a column to a boolean array; ``ts`` is NaT where a rule of time is broken.
    """

    row: np.ndarray
    symbol: np.ndarray
    ts_text: np.ndarray
    ts: pd.DatetimeIndex
    numbers: dict[str, np.ndarray]
    missing: dict[str, np.ndarray]
    unreadable: dict[str, np.ndarray]
    raw: dict[str, np.ndarray]
    date_unreadable: np.ndarray
    not_a_session: np.ndarray
    not_in_zone: np.ndarray


@dataclass(frozen=True)
class _Broken:
    rule: str
    rows: np.ndarray
    detail: Callable[[int], str]


def refuse_rows(rows: ParsedRows, *, file: str, now: pd.Timestamp, zone: str) -> tuple[np.ndarray, list[RefusedRow]]:
    """Judge every row by the rules below; the first broken rule of a row is reported.

    Parameters
    ----------
    now : Timestamp
        A bar that closes after it cannot be known yet.
    zone : str
        Zone of the exchange, for the wording.

    Returns
    -------
    good : ndarray of bool
        Rows that keep every rule.
    refused : list of RefusedRow
        The others, in file order.
    """
    good = np.ones(len(rows.row), dtype=bool)
    refused: list[RefusedRow] = []
    for broken in _broken_rules(rows, now, zone):
        hit = broken.rows & good
        good &= ~hit
        refused.extend(
            RefusedRow(
                file,
                int(rows.row[i]),
                str(rows.symbol[i]),
                str(rows.ts_text[i]),
                broken.rule,
                broken.detail(int(i)),
            )
            for i in np.flatnonzero(hit)
        )
    return good, sorted(refused, key=lambda row: row.row)


def _broken_rules(rows: ParsedRows, now: pd.Timestamp, zone: str) -> list[_Broken]:
    o, h, low, c = (rows.numbers[name] for name in PRICES)
    volume, split = rows.numbers["volume"], rows.numbers["split_factor"]
    names = (*PRICES, "volume", "split_factor")
    missing, unreadable = _first_true(rows.missing, names), _first_true(rows.unreadable, names)
    infinite = _first_true({name: ~np.isfinite(rows.numbers[name]) for name in names}, names)
    with np.errstate(invalid="ignore"):
        return [
            _Broken("symbol_is_given", rows.symbol == "", lambda i: "the symbol is empty"),
            _Broken("date_is_readable", rows.date_unreadable, lambda i: f"got {rows.ts_text[i]!r}"),
            _Broken("time_exists_in_its_zone", rows.not_in_zone, lambda i: "skipped or doubled by daylight saving"),
            _Broken(
                "date_is_a_session",
                rows.not_a_session,
                lambda i: f"the exchange was closed that day in {zone}",
            ),
            _Broken("values_are_given", missing != "", lambda i: f"{missing[i]} is empty"),
            _Broken(
                "numbers_are_readable",
                unreadable != "",
                lambda i: f"{unreadable[i]} = {rows.raw[unreadable[i]][i]!r}",
            ),
            _Broken(
                "numbers_are_finite",
                infinite != "",
                lambda i: f"{infinite[i]} = {rows.numbers[infinite[i]][i]}",
            ),
            _Broken(
                "prices_are_positive",
                (o <= 0) | (h <= 0) | (low <= 0) | (c <= 0),
                lambda i: f"open {o[i]:g}, high {h[i]:g}, low {low[i]:g}, close {c[i]:g}",
            ),
            _Broken("high_is_not_below_low", h < low, lambda i: f"high {float(h[i])} < low {float(low[i])}"),
            _Broken(
                "high_is_not_below_open_or_close",
                h < np.maximum(o, c),
                lambda i: f"high {h[i]:g}, open {o[i]:g}, close {c[i]:g}",
            ),
            _Broken(
                "low_is_not_above_open_or_close",
                low > np.minimum(o, c),
                lambda i: f"low {low[i]:g}, open {o[i]:g}, close {c[i]:g}",
            ),
            _Broken("volume_is_not_negative", volume < 0, lambda i: f"volume {volume[i]:g}"),
            _Broken("split_factor_is_positive", split <= 0, lambda i: f"split_factor {split[i]:g}"),
            _Broken(
                "bar_is_not_in_the_future",
                np.asarray(rows.ts > now),
                lambda i: f"it closes at {rows.ts[i]:%Y-%m-%d %H:%M} UTC, after now ({now:%Y-%m-%d %H:%M} UTC)",
            ),
        ]


def _first_true(masks: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Name of the first column whose mask is true, per row; empty text if none is."""
    first = np.full(len(masks[names[0]]), "", dtype=object)
    for name in reversed(names):
        first[masks[name]] = name
    return first

"""Rules every stored bar obeys, each with a name that reads like a sentence and a reason for the row that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.market.bar_stamps import as_microseconds
from catalyst_ml.refused_rows import RefusedRow

PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class ParsedRows:
    """Columns of one batch as read, before any row is judged; all of length n_rows.

    ``symbol`` holds positions in ``symbols``; ``ts`` and ``known_at`` are int64 microseconds UTC, ``NOT_A_TIME`` where
    a rule of time is broken. ``missing`` and ``unreadable`` map a column to the rows where it is so, if there are any;
    ``texts`` gives what stands in a column and row, for messages.
    """

    row: np.ndarray
    symbol: np.ndarray
    symbols: list[str]
    ts: np.ndarray
    numbers: dict[str, np.ndarray]
    missing: dict[str, np.ndarray]
    unreadable: dict[str, np.ndarray]
    texts: Callable[[str, int], str]
    date_unreadable: np.ndarray
    not_a_session: np.ndarray
    not_in_zone: np.ndarray
    known_at: np.ndarray | None = None
    known_unreadable: np.ndarray | None = None
    known_in_future: np.ndarray | None = None


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
        if not hit.any():
            continue
        good &= ~hit
        refused.extend(
            RefusedRow(
                file,
                int(rows.row[i]),
                rows.symbols[rows.symbol[i]],
                rows.texts("ts", int(i)),
                broken.rule,
                broken.detail(int(i)),
            )
            for i in np.flatnonzero(hit)
        )
    return good, sorted(refused, key=lambda row: row.row)


def off_cent(close: np.ndarray) -> np.ndarray:
    """Closes of at least a dollar that are no whole cents: rare in what was paid, usual after an adjustment.

    The tolerance is that of a 32-bit float, which some vendors pass prices through.
    """
    cents = close * 100.0
    return (close >= 1.0) & (np.abs(cents - np.rint(cents)) > 1e-4 * np.maximum(1.0, close / 10.0))


def _broken_rules(rows: ParsedRows, now: pd.Timestamp, zone: str) -> list[_Broken]:
    o, h, low, c = (rows.numbers[name] for name in PRICES)
    volume, split = rows.numbers["volume"], rows.numbers["split_factor"]
    names = (*PRICES, "volume", "split_factor")
    nothing = np.zeros(len(rows.row), dtype=bool)
    nameless = [code for code, symbol in enumerate(rows.symbols) if not symbol]
    odd = [code for code, symbol in enumerate(rows.symbols) if not symbol.isprintable() or len(symbol) > 40]
    infinite = {name: ~np.isfinite(rows.numbers[name]) for name in names}
    with np.errstate(invalid="ignore"):
        top, bottom = np.maximum(o, c), np.minimum(o, c)
        return [
            _Broken(
                "symbol_is_given",
                np.isin(rows.symbol, nameless) if nameless else nothing,
                lambda i: "the symbol is empty",
            ),
            _Broken(
                "symbol_is_readable",
                np.isin(rows.symbol, odd) if odd else nothing,
                lambda i: f"got {rows.symbols[rows.symbol[i]][:60]!r}",
            ),
            _Broken("date_is_readable", rows.date_unreadable, lambda i: f"got {rows.texts('ts', i)!r}"),
            _Broken("time_exists_in_its_zone", rows.not_in_zone, lambda i: "skipped or doubled by daylight saving"),
            _Broken(
                "date_is_a_session",
                rows.not_a_session,
                lambda i: f"the exchange was closed that day in {zone}",
            ),
            _Broken(
                "known_at_is_readable",
                nothing if rows.known_unreadable is None else rows.known_unreadable,
                lambda i: f"got {rows.texts('known_at', i)!r}",
            ),
            _Broken("values_are_given", _any(rows.missing, nothing), lambda i: f"{_first(rows.missing, i)} is empty"),
            _Broken(
                "numbers_are_readable",
                _any(rows.unreadable, nothing),
                lambda i: f"{_first(rows.unreadable, i)} = {rows.texts(_first(rows.unreadable, i), i)!r}",
            ),
            _Broken(
                "numbers_are_finite",
                _any(infinite, nothing),
                lambda i: f"{_first(infinite, i)} = {rows.numbers[_first(infinite, i)][i]}",
            ),
            _Broken(
                "prices_are_positive",
                np.minimum(bottom, np.minimum(h, low)) <= 0,
                lambda i: f"open {o[i]:g}, high {h[i]:g}, low {low[i]:g}, close {c[i]:g}",
            ),
            _Broken("high_is_not_below_low", h < low, lambda i: f"high {float(h[i])} < low {float(low[i])}"),
            _Broken(
                "high_is_not_below_open_or_close",
                h < top,
                lambda i: f"high {h[i]:g}, open {o[i]:g}, close {c[i]:g}",
            ),
            _Broken(
                "low_is_not_above_open_or_close",
                low > bottom,
                lambda i: f"low {low[i]:g}, open {o[i]:g}, close {c[i]:g}",
            ),
            _Broken("volume_is_not_negative", volume < 0, lambda i: f"volume {volume[i]:g}"),
            _Broken("split_factor_is_positive", split <= 0, lambda i: f"split_factor {split[i]:g}"),
            _Broken(
                "bar_is_not_in_the_future",
                rows.ts > as_microseconds(now),
                lambda i: f"it closes at {_moment(rows.ts[i])}, after now ({now:%Y-%m-%d %H:%M} UTC)",
            ),
            _Broken(
                "known_at_is_not_in_the_future",
                nothing if rows.known_in_future is None else rows.known_in_future,
                lambda i: f"got {rows.texts('known_at', i)!r}, after now ({now:%Y-%m-%d %H:%M} UTC)",
            ),
        ]


def _any(masks: dict[str, np.ndarray], nothing: np.ndarray) -> np.ndarray:
    return np.logical_or.reduce([nothing, *masks.values()])


def _first(masks: dict[str, np.ndarray], i: int) -> str:
    """Name of the first column whose mask is true in row ``i``."""
    return next(name for name, mask in masks.items() if mask[i])


def _moment(ts: int) -> str:
    return f"{pd.Timestamp(ts, unit='us', tz='UTC'):%Y-%m-%d %H:%M} UTC"

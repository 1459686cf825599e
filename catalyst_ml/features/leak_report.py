"""What a leak check found: one verdict per column, the offending values, and the refusal that follows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError

SCALE_FLOOR = 1e-3
"""Values below it are compared absolutely: differences of prices near 0 have no relative precision."""

EXAMPLES_PER_COLUMN = 3
OFFENCE_COLUMNS = ("feature", "symbol", "ts", "cut", "full_value", "cut_value")


@dataclass(frozen=True)
class Leak:
    """One value that depends on what was not known.

    ``value`` is what the rows hold, ``value_then`` what could be known at ``cut``; None where missing. ``row`` says
    which row in words, ``words`` what is wrong.
    """

    check: str
    column: str
    row: str
    cut: str
    value: float | None
    value_then: float | None
    words: str

    def __str__(self) -> str:
        if not self.cut:
            return f"{self.column}, {self.row}: {self.words} ({self.check})"
        values = f"{_shown(self.value)}, without the future {_shown(self.value_then)}"
        return f"{self.column} of {self.row}, cut {self.cut}: {values} ({self.check}: {self.words})"


@dataclass(frozen=True)
class Verdict:
    """One check of one column: how many values were compared, how many were wrong, and a few of them.

    Compared are values known on at least one side: missing twice proves nothing.
    """

    column: str
    check: str
    n_compared: int
    n_alarms: int
    examples: tuple[Leak, ...] = ()


@dataclass(frozen=True)
class LeakReport:
    """All verdicts of one check. Add reports to join them."""

    verdicts: tuple[Verdict, ...]
    warnings: tuple[str, ...] = field(default=())

    def __add__(self, other: LeakReport) -> LeakReport:
        return LeakReport(self.verdicts + other.verdicts, self.warnings + other.warnings)

    @property
    def passed(self) -> bool:
        return self.n_alarms == 0

    @property
    def n_comparisons(self) -> int:
        return sum(verdict.n_compared for verdict in self.verdicts)

    @property
    def n_alarms(self) -> int:
        return sum(verdict.n_alarms for verdict in self.verdicts)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns with at least one compared value."""
        return tuple(dict.fromkeys(v.column for v in self.verdicts if v.n_compared))

    @property
    def not_shown(self) -> tuple[str, ...]:
        """Columns that were to be checked and had no value to compare: absent source, or too little history."""
        shown = set(self.columns)
        return tuple(dict.fromkeys(v.column for v in self.verdicts if v.column not in shown))

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """The offending values kept as examples."""
        return tuple(leak for verdict in self.verdicts for leak in verdict.examples)

    @property
    def leaking(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(v.column for v in self.verdicts if v.n_alarms))

    def summary(self) -> str:
        """One line: ``leak check: 16 columns and folds, 1,234 comparisons, 0 alarms``, and what could not be shown."""
        line = (
            f"leak check: {len(self.columns)} columns and folds, {self.n_comparisons:,} comparisons, "
            f"{self.n_alarms:,} alarms"
        )
        return line + (f"; nothing to compare for {', '.join(self.not_shown)}" if self.not_shown else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, the summary and counts included, to be kept with the run."""
        return {
            "passed": self.passed,
            "summary": self.summary(),
            "n_columns": len(self.columns),
            "n_comparisons": self.n_comparisons,
            "n_alarms": self.n_alarms,
            "verdicts": [asdict(v) | {"examples": [asdict(leak) for leak in v.examples]} for v in self.verdicts],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LeakReport:
        """Inverse of ``to_dict``."""
        verdicts = tuple(
            Verdict(**verdict | {"examples": tuple(Leak(**leak) for leak in verdict["examples"])})
            for verdict in stored["verdicts"]
        )
        return cls(verdicts, tuple(stored["warnings"]))


def require_no_leak(report: LeakReport) -> LeakReport:
    """Return ``report``, or stop the run.

    Raises
    ------
    DataContractError
        If there was an alarm, or nothing was compared. The message names column, row, cut and both values.
    """
    if report.n_comparisons == 0:
        raise DataContractError("leak check: nothing was compared, so nothing is shown. Check the rows and the cuts.")
    if not report.passed:
        shown = "\n".join(f"    {leak}" for leak in report.leaks[:10])
        raise DataContractError(
            f"leak check: {', '.join(report.leaking)} depend on what was not known yet "
            f"({report.n_alarms:,} of {report.n_comparisons:,} comparisons)\n{shown}\n"
            "Nothing was trained. Mend the declaration or the join, then run again; "
            "'catalyst-ml features check --feature NAME' repeats the check of one feature."
        )
    return report


@dataclass(frozen=True)
class Comparison:
    """Two computations of the same rows: values known on a side, per column, and the offences."""

    n_compared: dict[str, int]
    offences: pd.DataFrame

    def verdicts(self, check: str, words: str) -> tuple[Verdict, ...]:
        """Turn the comparison into verdicts, one per column."""
        by_column = dict(tuple(self.offences.groupby("feature", sort=False))) if len(self.offences) else {}
        return tuple(
            Verdict(
                column,
                check,
                n_compared,
                len(by_column.get(column, ())),
                _examples(by_column[column], check, words) if column in by_column else (),
            )
            for column, n_compared in self.n_compared.items()
        )


def compare_values(
    full: pd.DataFrame, replayed: pd.DataFrame, columns: Iterable[str], cut: pd.Timestamp, *, rtol: float = 1e-9
) -> Comparison:
    """Compare two frames row by row.

    Parameters
    ----------
    full, replayed : DataFrame
        The same rows in the same order: ``symbol``, ``ts`` and the columns.
    rtol : float
        Allowed |full - replayed| relative to max(|full|, |replayed|, ``SCALE_FLOOR``); missing on one side only is
        always a difference, missing on both never.

    Returns
    -------
    Comparison
        Offences with ``feature``, ``symbol``, ``ts``, ``cut``, ``full_value``, ``cut_value``, the newest row first:
        most leaks reach one bar, and show there.
    """
    names = list(columns)
    a, b = (frame[names].to_numpy(dtype=np.float64) for frame in (full, replayed))  # (n_rows, n_columns)
    # The largest finite number: an infinity on one side would make every difference look small.
    scale = np.maximum(np.maximum(_finite_size(a), _finite_size(b)), SCALE_FLOOR)
    differs = np.isnan(a) != np.isnan(b)
    with np.errstate(invalid="ignore"):
        # Comparisons with NaN are False: missing on both sides is equal, and so are equal infinities.
        differs |= np.abs(a - b) > rtol * scale
    row, column = np.nonzero(differs)
    offences = (
        full[["symbol", "ts"]]
        .iloc[row]
        .reset_index(drop=True)
        .assign(
            feature=np.array(names, dtype=object)[column],
            cut=cut,
            full_value=a[row, column],
            cut_value=b[row, column],
        )
    )
    known = (~np.isnan(a) | ~np.isnan(b)).sum(axis=0)
    return Comparison({name: int(n) for name, n in zip(names, known, strict=True)}, offences[list(OFFENCE_COLUMNS)])


def _finite_size(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), np.abs(values), 0.0)


def _examples(offences: pd.DataFrame, check: str, words: str) -> tuple[Leak, ...]:
    newest = offences.sort_values(["ts", "symbol"], ascending=[False, True]).head(EXAMPLES_PER_COLUMN)
    return tuple(
        Leak(
            check,
            str(row.feature),
            f"{row.symbol} at {row.ts:%Y-%m-%d %H:%M} UTC",
            f"{row.cut:%Y-%m-%d %H:%M} UTC",
            _number(row.full_value),
            _number(row.cut_value),
            words,
        )
        for row in newest.itertuples()
    )


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.10g}"

"""The two forecasts that know nothing about the bar: the base rate, and each pattern's own base rate.

Any model has to beat both before it says anything. They are fitted like members, on training rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import PATTERNS, pattern_column

PRIOR_ROWS = 500.0
"""Weight of the base rate in a pattern's rate, in rows. Rows of one day move together (design effect 10 to 35
on daily bars), so 500 rows are about 25 independent ones: a pattern needs several hundred to speak."""


@dataclass(frozen=True)
class BaseRate:
    """Share of successful trades among the training rows, the same for every event."""

    rate: float
    n: int

    @classmethod
    def fit(cls, rows: pd.DataFrame, sample_weight: np.ndarray | None = None) -> BaseRate:
        """Fit on rows with ``y``.

        One success and one failure are added, so that the rate is never 0 or 1 and its log-loss stays finite.

        Raises
        ------
        DataContractError
            If there are no rows.
        """
        y, weight = _outcomes(rows, sample_weight)
        return cls(rate=float((weight @ y + 1.0) / (weight.sum() + 2.0)), n=len(y))

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Probability of success (n_rows,), constant."""
        return np.full(len(rows), self.rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as JSON."""
        return {"rate": self.rate, "n": self.n}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> BaseRate:
        """Inverse of `to_dict`."""
        return cls(rate=float(stored["rate"]), n=int(stored["n"]))


@dataclass(frozen=True)
class PatternBaseRate:
    """Success rate of each pattern in each direction, shrunk towards the base rate.

    ``rates`` is keyed ``"<pattern>:<+1|-1>"``. A pair never seen has the base rate. An event that
    shows several patterns gets the mean of their rates; one that shows none, the base rate.
    """

    base: BaseRate
    rates: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    prior_rows: float = PRIOR_ROWS

    @classmethod
    def fit(
        cls, rows: pd.DataFrame, sample_weight: np.ndarray | None = None, *, prior_rows: float = PRIOR_ROWS
    ) -> PatternBaseRate:
        """Fit on rows with ``y``, ``direction`` and the pattern columns of an event.

        Each rate is ``(Σwy + prior_rows·base) / (Σw + prior_rows)``: the posterior mean under a beta prior
        centred on the base rate of the same rows.

        References
        ----------
        Efron & Morris (1975), JASA 70(350), on shrinking many rates towards their common mean.
        """
        base = BaseRate.fit(rows, sample_weight)
        y, weight = _outcomes(rows, sample_weight)
        rates: dict[str, float] = {}
        counts: dict[str, int] = {}
        for key, mask in _pattern_masks(rows).items():
            if mask.any():
                w = weight[mask]
                rates[key] = float((w @ y[mask] + prior_rows * base.rate) / (w.sum() + prior_rows))
                counts[key] = int(mask.sum())
        return cls(base=base, rates=rates, counts=counts, prior_rows=prior_rows)

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Probability of success (n_rows,)."""
        total = np.zeros(len(rows))
        shown = np.zeros(len(rows))
        for key, mask in _pattern_masks(rows).items():
            total += np.where(mask, self.rates.get(key, self.base.rate), 0.0)
            shown += mask
        return np.where(shown > 0, total / np.maximum(shown, 1.0), self.base.rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as JSON."""
        return {
            "base": self.base.to_dict(),
            "rates": dict(self.rates),
            "counts": dict(self.counts),
            "prior_rows": self.prior_rows,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PatternBaseRate:
        """Inverse of `to_dict`."""
        return cls(
            base=BaseRate.from_dict(stored["base"]),
            rates={k: float(v) for k, v in stored["rates"].items()},
            counts={k: int(v) for k, v in stored["counts"].items()},
            prior_rows=float(stored["prior_rows"]),
        )


def _outcomes(rows: pd.DataFrame, sample_weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if rows.empty:
        raise DataContractError("a base rate needs at least one labelled row, got none. Check the training window.")
    y = rows["y"].to_numpy(dtype="float64")
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype="float64")
    return y, weight


def _pattern_masks(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    direction = rows["direction"].to_numpy()
    return {
        f"{pattern}:{side:+d}": rows[pattern_column(pattern)].to_numpy(dtype=bool) & (direction == side)
        for pattern in PATTERNS
        for side in (1, -1)
    }

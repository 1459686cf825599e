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

CLUSTER = pd.Timedelta(days=7)
"""Rows of one week are one observation of a pattern's rate: they share days, and labels overlap by five sessions."""


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

    @classmethod
    def fit(cls, rows: pd.DataFrame, sample_weight: np.ndarray | None = None) -> PatternBaseRate:
        """Fit on rows with ``y``, ``direction``, ``session`` and the pattern columns of an event.

        Notes
        -----
        Empirical Bayes: a pair's own share moves the base rate by τ²/(τ² + s²), where s is the share's standard
        error with whole weeks as clusters and τ² the variance of the pairs' true rates by the method of moments.
        Counting rows instead would take a few good weeks of 3,000 rows for a fact about the pattern.

        References
        ----------
        Efron & Morris (1975), JASA 70(350), on shrinking many rates towards their common mean.
        """
        base = BaseRate.fit(rows, sample_weight)
        y, weight = _outcomes(rows, sample_weight)
        week = ((rows["session"] - rows["session"].min()) // CLUSTER).to_numpy()
        seen = {key: mask for key, mask in _pattern_masks(rows).items() if mask.any()}
        shares = {key: _clustered_share(y[mask], weight[mask], week[mask]) for key, mask in seen.items()}
        true_variance = _variance_of_true_rates(list(shares.values()), base.rate)
        rates = {
            key: base.rate + (share - base.rate) * true_variance / (true_variance + variance)
            for key, (share, variance) in shares.items()
        }
        return cls(base=base, rates=rates, counts={key: int(mask.sum()) for key, mask in seen.items()})

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
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PatternBaseRate:
        """Inverse of `to_dict`."""
        return cls(
            base=BaseRate.from_dict(stored["base"]),
            rates={k: float(v) for k, v in stored["rates"].items()},
            counts={k: int(v) for k, v in stored["counts"].items()},
        )


def _outcomes(rows: pd.DataFrame, sample_weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if rows.empty:
        raise DataContractError("a base rate needs at least one labelled row, got none. Check the training window.")
    y = rows["y"].to_numpy(dtype="float64")
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype="float64")
    return y, weight


def _clustered_share(y: np.ndarray, weight: np.ndarray, week: np.ndarray) -> tuple[float, float]:
    """Share of successes with its variance, weeks as clusters; never more certain than one row of 1/2 a week."""
    total = float(weight.sum())
    share = float(weight @ y) / total
    of_week = np.bincount(week, weights=weight * (y - share))
    n_weeks = len(np.unique(week))
    # A pair seen in a week or two shows no variance between weeks; 1/4 is the most a share can vary.
    return share, max(float(of_week @ of_week) / total**2, 0.25 / n_weeks / max(len(y) / n_weeks, 1.0))


def _variance_of_true_rates(shares: list[tuple[float, float]], base_rate: float) -> float:
    """τ² by the method of moments, each pair weighted by its precision."""
    if not shares:
        return 0.0
    share, variance = np.array(shares).T
    spread = (share - base_rate) ** 2 - variance
    return max(float(np.average(spread, weights=1.0 / (variance + spread.clip(min=0.0)))), 0.0) or 1e-12


def _pattern_masks(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    direction = rows["direction"].to_numpy()
    return {
        f"{pattern}:{side:+d}": rows[pattern_column(pattern)].to_numpy(dtype=bool) & (direction == side)
        for pattern in PATTERNS
        for side in (1, -1)
    }

"""The two forecasts that know nothing about the bar: the base rate, and each pattern's own base rate.

Any model has to beat both before it says anything. They are fitted like members, on training rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import PATTERNS, pattern_column

CLUSTER = pd.Timedelta(days=28)
"""Rows of four weeks are one observation of a rate: they share days, labels overlap, and market moods last."""
INTRADAY_CLUSTER = pd.Timedelta(days=7)
DIRECTION_PRIOR_SD = 0.02
"""Prior standard deviation of long minus short success. Eleven years of survivors show 0.04, of which much is survival;
two years of a rising market show 0.10, of which most is that market: such a gap must not pass for a fact."""

TIME_OF_SESSION = "time_of_session"
"""Column of intraday rows: 0 at the open, 1 at the close."""
CLOCK_PARTS = 13
"""Parts of a session in which intraday trades may succeed differently often: half hours of New York's."""
Key = TypeVar("Key", str, int)


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
    shows several patterns gets the mean of their rates; one that shows none, the base rate. On intraday rows, which
    carry the time of the session, the rate moves with the clock and the stock, for the same costs weigh more where a
    trade has little time or the stock hardly moves: ``clock`` holds what each of `CLOCK_PARTS` parts of a session adds,
    ``stocks`` what each stock does. Both are empty otherwise.
    """

    base: BaseRate
    rates: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    clock: tuple[float, ...] = ()
    stocks: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(cls, rows: pd.DataFrame, sample_weight: np.ndarray | None = None) -> PatternBaseRate:
        """Fit on rows with ``y``, ``direction``, ``session`` and the pattern columns of an event.

        Notes
        -----
        Empirical Bayes in two steps, both with four-week periods as clusters. The directions move from the base rate
        by their difference, shrunk by t²/(t² + s²) with a sceptical prior of standard deviation t =
        `DIRECTION_PRIOR_SD`: in a rising market every long pattern succeeds, which says little about next month. A
        pattern then moves from its direction by its mean deviation from the events of the same session and direction,
        shrunk by τ²/(τ² + s²), τ² being the variance of the true deviations (`variance_of_true_means`). Counting rows
        instead would take a few good weeks of 3,000 rows for a fact about the pattern. Parts of a session and stocks
        are treated as patterns are; intraday, where no label reaches into another session, a period is a week.

        References
        ----------
        Efron & Morris (1975), JASA 70(350), on shrinking many rates towards their common mean.
        """
        base = BaseRate.fit(rows, sample_weight)
        y, weight = _outcomes(rows, sample_weight)
        is_intraday = TIME_OF_SESSION in rows.columns
        period = _periods(rows["session"].to_numpy(), INTRADAY_CLUSTER if is_intraday else CLUSTER)
        of_direction = direction_rates(y, weight, rows["session"].to_numpy(), rows["direction"].to_numpy(), base.rate)
        peers = pd.Series(y).groupby([rows["session"].to_numpy(), rows["direction"].to_numpy()]).transform("mean")
        deviation = y - peers.to_numpy()
        if is_intraday:  # three moves are added up there, so none may carry the level that weights give to all
            deviation -= float(weight @ deviation / weight.sum())
        seen = {key: mask for key, mask in _pattern_masks(rows).items() if mask.any()}
        moves = _shrunk_means(seen, deviation, weight, period)
        rates = {key: float(np.clip(of_direction[key[-2:]] + move, 0.01, 0.99)) for key, move in moves.items()}
        counts = {key: int(mask.sum()) for key, mask in seen.items()}
        parts = {k: mask for k, mask in _clock_masks(rows).items() if mask.any()}
        of_clock = _shrunk_means(parts, deviation, weight, period)
        clock = tuple(of_clock.get(k, 0.0) for k in range(CLOCK_PARTS)) if parts else ()
        stocks = rows.groupby("symbol", sort=True).indices if is_intraday else {}
        of_stock = _shrunk_means({str(name): at for name, at in stocks.items()}, deviation, weight, period)
        return cls(base=base, rates=rates, counts=counts, clock=clock, stocks=of_stock)

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Probability of success (n_rows,)."""
        total = np.zeros(len(rows))
        shown = np.zeros(len(rows))
        for key, mask in _pattern_masks(rows).items():
            total += np.where(mask, self.rates.get(key, self.base.rate), 0.0)
            shown += mask
        p = np.where(shown > 0, total / np.maximum(shown, 1.0), self.base.rate)
        if not self.clock:
            return p
        for k, mask in _clock_masks(rows).items():
            p = np.where(mask, p + self.clock[k], p)
        p += rows["symbol"].map(dict(self.stocks)).fillna(0.0).to_numpy(dtype="float64")
        return np.clip(p, 0.01, 0.99)

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as JSON."""
        return {
            "base": self.base.to_dict(),
            "rates": dict(self.rates),
            "counts": dict(self.counts),
            "clock": list(self.clock),
            "stocks": dict(self.stocks),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PatternBaseRate:
        """Inverse of `to_dict`."""
        return cls(
            base=BaseRate.from_dict(stored["base"]),
            rates={k: float(v) for k, v in stored["rates"].items()},
            counts={k: int(v) for k, v in stored["counts"].items()},
            clock=tuple(float(v) for v in stored.get("clock", ())),
            stocks={k: float(v) for k, v in stored.get("stocks", {}).items()},
        )


def _outcomes(rows: pd.DataFrame, sample_weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if rows.empty:
        raise DataContractError("a base rate needs at least one labelled row, got none. Check the training window.")
    y = rows["y"].to_numpy(dtype="float64")
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype="float64")
    return y, weight


def direction_rates(
    y: np.ndarray, weight: np.ndarray, session: np.ndarray, direction: np.ndarray, base_rate: float
) -> dict[str, float]:
    """Success rate of either direction, by ``+1`` and ``-1``: the base rate, moved as far as the prior lets it.

    Parameters
    ----------
    y, weight, session, direction
        Outcomes 0/1, weights, sessions and directions ±1 of training rows (n_rows,). With one direction only, or
        three periods or fewer, either keeps the base rate.
    """
    period = _periods(session)
    of_few = _allowance_for_few(len(np.unique(period)))
    sides = {1: direction == 1, -1: direction == -1}
    if not np.isfinite(of_few) or not all(mask.any() for mask in sides.values()):
        return {"+1": base_rate, "-1": base_rate}
    share = {side: float(weight[mask] @ y[mask] / weight[mask].sum()) for side, mask in sides.items()}
    # Long and short fail in opposite periods, so the error of their difference is taken period by period.
    error = sum(side * weight * mask * (y - share[side]) / weight[mask].sum() for side, mask in sides.items())
    of_period = np.bincount(period, weights=error)
    kept = DIRECTION_PRIOR_SD**2 / (DIRECTION_PRIOR_SD**2 + float(of_period @ of_period) * of_few)
    return {f"{side:+d}": base_rate + kept * (share[side] - base_rate) for side in sides}


def _shrunk_means(
    groups: Mapping[Key, np.ndarray], deviation: np.ndarray, weight: np.ndarray, period: np.ndarray
) -> dict[Key, float]:
    """Mean deviation of each group of rows (masks or positions), shrunk to zero by how far groups truly differ."""
    means = {key: _clustered_mean(deviation[at], weight[at], period[at]) for key, at in groups.items()}
    true_variance = variance_of_true_means(*np.array(list(means.values())).reshape(-1, 2).T)
    return {key: mean * true_variance / (true_variance + variance) for key, (mean, variance) in means.items()}


def _clustered_mean(values: np.ndarray, weight: np.ndarray, period: np.ndarray) -> tuple[float, float]:
    """Weighted mean with its variance, periods as clusters; infinite where three periods or fewer are all there is."""
    total = float(weight.sum())
    mean = float(weight @ values) / total
    of_period = np.bincount(period, weights=weight * (values - mean))
    # Independent rows are the least uncertain there are.
    variance = max(float(of_period @ of_period) / total**2, 0.25 / len(values))
    return mean, variance * _allowance_for_few(len(np.unique(period)))


def _allowance_for_few(n_periods: int) -> float:
    """What a variance between ``n_periods`` periods is multiplied by; infinite for three or fewer.

    G/(G - 1) makes it unbiased; (G - 1)/(G - 3) is the mean of the F distribution that a squared mean over an estimated
    variance has: a few periods that agree by luck must not pass for precision.
    """
    return n_periods / (n_periods - 3) if n_periods > 3 else np.inf


def variance_of_true_means(mean: np.ndarray, variance: np.ndarray) -> float:
    """τ² of true values around zero, from their estimates (k,) and the variances of these (k,), all above zero.

    Estimates of infinite variance say nothing and do not count.

    Notes
    -----
    The τ² at which the estimates are as far from zero as they should be: Σ m²/(s² + τ²) = k; 0 if they are nearer even
    without it. Weights that depend on each estimate's own square would favour the small ones: such a mean of m² − s²
    finds a tenth of the true variance.

    References
    ----------
    Paule & Mandel (1982), J. Res. NBS 87(5); DerSimonian & Kacker (2007), Contemp. Clin. Trials 28(2).
    """
    is_known = np.isfinite(variance)
    squared, variance = np.asarray(mean, dtype="float64")[is_known] ** 2, np.asarray(variance)[is_known]

    def excess(tau2: float) -> float:
        return float((squared / (variance + tau2)).sum()) - len(squared)

    if len(squared) == 0 or excess(0.0) <= 0.0:
        return 0.0
    # At the sum of all squares every term is below its share of one.
    return float(brentq(excess, 0.0, float(squared.sum()), xtol=1e-12))


def _periods(session: np.ndarray, length: pd.Timedelta = CLUSTER) -> np.ndarray:
    """Number (n_rows,) of each row's period, four weeks by default."""
    days = np.asarray(session, dtype="datetime64[us]")
    return ((days - days.min()) // length.to_timedelta64()).astype("int64")


def _clock_masks(rows: pd.DataFrame) -> dict[int, np.ndarray]:
    """Rows of each part of a session, (n_rows,) each; empty for rows that carry no time of the session."""
    if TIME_OF_SESSION not in rows.columns:
        return {}
    time = rows[TIME_OF_SESSION].to_numpy(dtype="float64")
    # A bar that ends with a part belongs to it, so the last bar of a session to its last part.
    part = np.clip(np.ceil(np.where(np.isnan(time), -1.0, time) * CLOCK_PARTS) - 1, -1, CLOCK_PARTS - 1)
    return {k: part == k for k in range(CLOCK_PARTS)}


def _pattern_masks(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    direction = rows["direction"].to_numpy()
    return {
        f"{pattern}:{side:+d}": rows[pattern_column(pattern)].to_numpy(dtype=bool) & (direction == side)
        for pattern in PATTERNS
        for side in (1, -1)
    }

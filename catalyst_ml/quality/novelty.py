"""Novelty: how unlike the events a model was trained on is this one, and in which column.

The score is an honest p-value: of events drawn like the training events, a share of ``alpha`` scores below
``alpha``, whatever their distribution. Two distances share it: the largest robust z of a single column, which finds
a value never seen, and a Mahalanobis distance with shrinkage, which finds usual values in an unusual combination. A
missing value is a state of its own: rare if it was rare in training.

References
----------
Ledoit, O., Wolf, M. (2004), A well-conditioned estimator for large-dimensional covariance matrices.
Vovk, V., Gammerman, A., Shafer, G. (2005), Algorithmic Learning in a Random World (conformal p-values).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from catalyst_ml.errors import DataContractError, InsufficientHistory

if TYPE_CHECKING:
    import pandas as pd  # the signal server scores arrays and holds no frames

MIN_ROWS = 200
"""Half of them calibrate: fewer cannot tell 1 % from 2 %."""

NOVEL_BELOW = 0.01
"""An event below it is called novel; by chance one in a hundred is."""

MAX_Z = 50.0

GRAPH_ENTRY = "novelty"
"""Name of the entry of a served graph's metadata that holds ``NoveltyModel.to_dict`` as JSON."""


@dataclass(frozen=True)
class NoveltyModel:
    """What ``score`` needs, as plain numbers.

    Per column: ``center`` and ``scale`` (below and above the median, so that skew is no novelty), the usual range
    shown to people, and the share of missing values; ``precision`` of the standardised columns; the two units
    that make the distances comparable; and the sorted distances of the calibration rows.
    """

    columns: tuple[str, ...]
    center: tuple[float, ...]
    scale_low: tuple[float, ...]
    scale_high: tuple[float, ...]
    usual_low: tuple[float, ...]
    usual_high: tuple[float, ...]
    z_known: tuple[float, ...]
    z_missing: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    unit_single: float
    unit_joint: float
    calibration: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(self.__dict__))
        return plain

    def thinned(self, n: int = 1_000) -> NoveltyModel:
        """Return the model with at most ``n`` evenly spaced calibration distances, small enough to travel with a graph.

        A p-value moves by less than ``2 / n``.
        """
        if len(self.calibration) <= n:
            return self
        kept = np.linspace(0, len(self.calibration) - 1, n).round().astype(np.int64)
        return replace(self, calibration=tuple(self.calibration[i] for i in kept))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> NoveltyModel:
        """Inverse of ``to_dict``."""
        parts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        return cls(**parts | {"precision": tuple(tuple(row) for row in stored["precision"])})


def graph_entry(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """Return the entry of a served graph's metadata by which a server judges novelty; empty with too few rows."""
    known = rows[list(columns)].replace([np.inf, -np.inf], np.nan)
    if len(known) < MIN_ROWS:
        return {}
    return {GRAPH_ENTRY: json.dumps(fit_novelty(known, columns).thinned().to_dict())}


def fit_novelty(rows: pd.DataFrame, columns: Sequence[str]) -> NoveltyModel:
    """Learn what is usual from training rows.

    Parameters
    ----------
    rows : DataFrame
        Training rows in a fixed order. Every second one fits, the others calibrate, so that both span all times.
    columns : sequence of str
        Numeric columns to look at; NaN is missing, infinity is refused.

    Raises
    ------
    InsufficientHistory
        If there are fewer than ``MIN_ROWS`` rows.
    DataContractError
        If a column is missing or holds an infinite number.
    """
    values = _values(rows, columns)
    if len(values) < MIN_ROWS:
        raise InsufficientHistory(
            f"novelty: {len(values)} training rows, at least {MIN_ROWS} are needed to say what is usual. "
            "Import more history or widen the training window."
        )
    fit, held = values[0::2], values[1::2]
    n_known = np.isfinite(fit).sum(axis=0)
    center, low, high, usual = _scales(fit)
    share = (len(fit) - n_known + 0.5) / (len(fit) + 1.0)  # of missing values, never quite 0 or 1
    spread = np.sqrt(share * (1.0 - share))
    known, missing = (np.clip(z, -MAX_Z, MAX_Z) for z in (-share / spread, (1.0 - share) / spread))
    parts = _Scale(center, low, high, known, missing)
    z = parts.standardise(fit)
    precision = np.linalg.inv(_shrunk_covariance(z))
    single, joint = _distances(z, precision)
    # The 99th percentile of each is one unit, so that neither distance drowns the other.
    units = float(np.quantile(single, 0.99)), float(np.quantile(joint, 0.99))
    distance = _combined(parts.standardise(held), precision, *units)
    return NoveltyModel(
        columns=tuple(columns),
        center=_plain(center),
        scale_low=_plain(low),
        scale_high=_plain(high),
        usual_low=_plain(usual[0]),
        usual_high=_plain(usual[1]),
        z_known=_plain(parts.z_known),
        z_missing=_plain(parts.z_missing),
        precision=tuple(_plain(row) for row in precision),
        unit_single=units[0],
        unit_joint=units[1],
        calibration=_plain(np.sort(distance)),
    )


class NoveltyScorer:
    """A novelty model made ready: scores rows of numbers in microseconds, for a request that waits."""

    def __init__(self, model: NoveltyModel) -> None:
        self.columns = model.columns
        self._usual = tuple(
            f"{low:.4g} to {high:.4g}" for low, high in zip(model.usual_low, model.usual_high, strict=True)
        )
        self._scale = _Scale.of(model)
        self._precision = np.asarray(model.precision)
        self._calibration = np.asarray(model.calibration)
        self._units = model.unit_single, model.unit_joint

    def score(self, values: np.ndarray) -> np.ndarray:
        """Return ``novelty_p`` (n_rows,).

        Parameters
        ----------
        values : (n_rows, n_columns) float64
            In the order of ``columns``; NaN is missing, infinite values are not allowed.
        """
        distance = _combined(self._scale.standardise(values), self._precision, *self._units)
        above = len(self._calibration) - np.searchsorted(self._calibration, distance, side="left")
        return (1.0 + above) / (len(self._calibration) + 1.0)

    def most_unusual(self, values: np.ndarray) -> np.ndarray:
        """Return the number of the column that contributes most to each row's distance (n_rows,); see `score`."""
        n = len(self.columns)
        if not len(values):
            return np.empty(0, dtype=np.int64)
        z = self._scale.standardise(values)
        unit_single, unit_joint = self._units
        # What each column adds to the two distances, in the same units.
        joint = np.abs(z[:, :n] * (z[:, :n] @ self._precision[:n, :n])) / unit_joint**2
        single = np.abs(np.where(np.isnan(values), z[:, n:], z[:, :n])) / unit_single
        return np.maximum(single, np.sqrt(joint)).argmax(axis=1)

    def usual(self, column: int) -> str:
        """The middle 98 % of a column's training values, in words."""
        return self._usual[column]


def score_novelty(model: NoveltyModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Score rows that were not in the training set.

    Returns
    -------
    frame
        ``novelty_p`` in (0, 1], small = unlike the training events; ``column`` that contributes most, its
        ``value`` (NaN if it is missing), and ``usual``: the middle 98 % of its training values in words. One row per
        row, in its order, with its index.
    """
    import pandas as pd

    values = _values(rows, model.columns)
    scorer = NoveltyScorer(model)
    novelty_p, blame = scorer.score(values), scorer.most_unusual(values)
    names = np.asarray(model.columns, dtype=object)
    return pd.DataFrame(
        {
            "novelty_p": novelty_p,
            "column": pd.Series(names[blame], index=rows.index, dtype="str"),
            "value": values[np.arange(len(values)), blame],
            "usual": pd.Series([scorer.usual(i) for i in blame], index=rows.index, dtype="str"),
        },
        index=rows.index,
    )


@dataclass(frozen=True)
class NewestNovelty:
    """How many of the newest events are novel; ``expected`` is the share that would be by chance.

    Events of one day move together, so the share of a single week swings far more than its count suggests.
    """

    n: int
    n_novel: int
    expected: float
    examples: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**self.__dict__, "examples": list(self.examples)}


def novelty_of_newest(
    training: pd.DataFrame, newest: pd.DataFrame, columns: Sequence[str], *, max_examples: int = 10
) -> NewestNovelty:
    """Score the newest events (event key and ``columns``) against training rows that are all older.

    Fewer than ``MIN_ROWS`` training rows judge nothing: ``n`` is then 0.
    """
    if newest.empty or len(training) < MIN_ROWS:
        return NewestNovelty(0, 0, NOVEL_BELOW, ())
    scored = score_novelty(fit_novelty(training, columns), newest.reset_index(drop=True))
    novel = scored[scored["novelty_p"] < NOVEL_BELOW].sort_values("novelty_p", kind="stable")
    keys = newest.reset_index(drop=True)
    examples = tuple(
        {
            "event": f"{keys['symbol'][i]} {keys['ts'][i]:%Y-%m-%d} {'long' if keys['direction'][i] > 0 else 'short'}",
            "novelty_p": float(novel["novelty_p"][i]),
            "column": str(novel["column"][i]),
            "value": None if np.isnan(novel["value"][i]) else float(novel["value"][i]),
            "usual": str(novel["usual"][i]),
        }
        for i in novel.index[:max_examples]
    )
    return NewestNovelty(len(scored), len(novel), NOVEL_BELOW, examples)


@dataclass(frozen=True)
class _Scale:
    center: np.ndarray
    low: np.ndarray
    high: np.ndarray
    z_known: np.ndarray
    z_missing: np.ndarray

    @classmethod
    def of(cls, model: NoveltyModel) -> _Scale:
        parts = (model.center, model.scale_low, model.scale_high, model.z_known, model.z_missing)
        center, low, high, known, missing = (np.asarray(part) for part in parts)
        return cls(center, low, high, known.clip(-MAX_Z, MAX_Z), missing.clip(-MAX_Z, MAX_Z))

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Return z of the values (0 where missing) beside z of their being missing.  # (n_rows, 2 n_columns)"""
        away = values - self.center
        is_missing = np.isnan(values)
        # Minimum and maximum, not np.clip: a fifth of the time over one row.
        z = np.minimum(np.maximum(away / np.where(away < 0.0, self.low, self.high), -MAX_Z), MAX_Z)
        z = np.where(is_missing, 0.0, z)
        return np.concatenate([z, np.where(is_missing, self.z_missing, self.z_known)], axis=1)


def _scales(fit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Median, robust scale below and above it, and the middle 98 % of each column; a column without values: 0, 1."""
    known = np.where(np.isfinite(fit).any(axis=0), fit, 0.0)
    center = np.nanmedian(known, axis=0)
    levels = np.nanquantile(known, [0.01, 0.1, 0.9, 0.99], axis=0)
    spread = np.nanstd(known, axis=0)
    # A normal column has its 10 % quantile 1.2816 and its 1 % quantile 2.3263 standard deviations out.
    low = np.maximum((center - levels[1]) / 1.2816, (center - levels[0]) / 2.3263)
    high = np.maximum((levels[2] - center) / 1.2816, (levels[3] - center) / 2.3263)
    # Where the quantiles fall together (a flag, a constant) the standard deviation is the scale.
    floor = 1e-9 * np.maximum(np.abs(center), 1.0)
    low, high = (np.maximum(np.where(side < 0.1 * spread, spread, side), floor) for side in (low, high))
    return center, low, high, (levels[0], levels[3])


def _shrunk_covariance(z: np.ndarray) -> np.ndarray:
    """Ledoit-Wolf shrinkage towards a multiple of the identity; a constant column keeps a small variance."""
    n, p = z.shape
    centred = z - z.mean(axis=0)
    sample = centred.T @ centred / n
    mean_variance = np.trace(sample) / p
    d2 = ((sample - mean_variance * np.eye(p)) ** 2).sum() / p
    squares = (centred**2).sum(axis=1)
    b2 = min(((squares**2).sum() / n - (sample**2).sum()) / (n * p), d2)
    shrinkage = 1.0 if d2 == 0.0 else max(b2, 1e-6 * d2) / d2
    covariance: np.ndarray = (1.0 - shrinkage) * sample + shrinkage * max(mean_variance, 1e-6) * np.eye(p)
    return covariance + 1e-3 * max(mean_variance, 1e-6) * np.eye(p)


def _distances(z: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.abs(z).max(axis=1), np.sqrt(np.einsum("ij,ij->i", z @ precision, z))


def _combined(z: np.ndarray, precision: np.ndarray, unit_single: float, unit_joint: float) -> np.ndarray:
    single, joint = _distances(z, precision)
    return np.maximum(single / unit_single, joint / unit_joint)


def _values(rows: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    absent = [name for name in columns if name not in rows.columns]
    if absent:
        raise DataContractError(
            f"novelty: columns {absent} are missing, got {list(rows.columns)[:10]}. "
            "Score rows built by the same features as the training rows."
        )
    values = rows[list(columns)].to_numpy(dtype=np.float64)
    is_infinite = np.isinf(values).any(axis=0)
    if is_infinite.any():
        raise DataContractError(
            f"novelty: column {columns[int(is_infinite.argmax())]!r} holds infinite numbers; expected finite ones, "
            "or missing. Mend the feature."
        )
    return values


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

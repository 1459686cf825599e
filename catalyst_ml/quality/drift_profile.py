"""Sessions as sums: what drift checks need of the rows, so that any window is a difference of two running sums.

A profile holds, per session and feature, how many values fell into each of the reference's quantile bins, how many
were missing, and sums of the level and the spread. Bins, centre and scale come from the reference alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError

N_BINS = 20
"""Quantile bins of the reference for KS; PSI joins them in pairs to the customary ten."""

MAX_Z, MAX_Z_JOINT = 20.0, 4.0
"""Robust z beyond which a value counts no more: for levels, and for products of two features."""

SPREAD_OFFSET = 0.1
"""Added to |z| before its logarithm, so that a value on the centre does not decide the mean."""


@dataclass(frozen=True)
class FeatureScale:
    """What is usual in the reference, per feature; see ``learn_scale``."""

    columns: tuple[str, ...]
    edges: np.ndarray  # (n_features, N_BINS - 1)
    center: np.ndarray  # (n_features,)
    scale: np.ndarray  # (n_features,)

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Robust z (n_rows, n_features), clipped to ``MAX_Z``; NaN stays NaN."""
        z: np.ndarray = np.clip((values - self.center) / self.scale, -MAX_Z, MAX_Z)
        return z


@dataclass(frozen=True)
class SessionProfile:
    """Sums per session; ``sessions`` ascending and without repetition.

    ``bins`` counts values by bin, ``missing`` those without one; ``level`` and ``spread`` are sums over known values.
    """

    sessions: np.ndarray  # (n_sessions,) datetime64
    rows: np.ndarray  # (n_sessions,)
    bins: np.ndarray  # (n_sessions, n_features, N_BINS)
    missing: np.ndarray  # (n_sessions, n_features)
    level: np.ndarray  # (n_sessions, n_features)
    spread: np.ndarray  # (n_sessions, n_features)

    @property
    def known(self) -> np.ndarray:
        """Values that are not missing, (n_sessions, n_features)."""
        known: np.ndarray = self.rows[:, None] - self.missing
        return known

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Level and spread of each session, (n_sessions, n_features); NaN where nothing is known."""
        known = np.where(self.known > 0, self.known, np.nan)
        return self.level / known, self.spread / known


def read_values(rows: pd.DataFrame, columns: Sequence[str], *, who: str) -> np.ndarray:
    """Return the columns as float64 (n_rows, n_columns).

    Raises
    ------
    DataContractError
        If a column is missing or holds infinite numbers.
    """
    absent = [name for name in columns if name not in rows.columns]
    if absent:
        raise DataContractError(
            f"drift, {who}: columns {absent[:10]} are missing, got {list(rows.columns)[:10]}. "
            "Compare rows built by the same features."
        )
    values = rows[list(columns)].to_numpy(dtype=np.float64)
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        raise DataContractError(
            f"drift, {who}: column {columns[int(infinite.argmax())]!r} holds infinite numbers; expected finite ones "
            "or missing. Mend the feature."
        )
    return values


def learn_scale(values: np.ndarray, columns: Sequence[str]) -> FeatureScale:
    """Learn bins, centre and scale of each feature from reference rows (n_rows, n_features).

    A column without values, or with a single one, gets scale 1 and bins that hold everything.
    """
    known = np.where(np.isfinite(values).any(axis=0), values, 0.0)
    edges = np.nanquantile(known, np.arange(1, N_BINS) / N_BINS, axis=0).T
    # A value so frequent that several quantiles fall on it (a flag) gets a bin of its own: what lies above it is above.
    repeated = np.concatenate([np.zeros((len(edges), 1), dtype=bool), edges[:, 1:] == edges[:, :-1]], axis=1)
    edges = np.where(repeated, np.nextafter(edges, np.inf), edges)
    low, center, high = np.nanquantile(known, [0.1, 0.5, 0.9], axis=0)
    # Normal values have 80 % of their mass within 1.2816 standard deviations.
    scale = (high - low) / 2.5631
    spread = np.nanstd(known, axis=0)
    # Where the quantiles fall together (a flag) the standard deviation is the scale.
    scale = np.where(scale < 0.1 * spread, spread, scale)
    flat = scale <= 1e-12 * np.maximum(np.abs(center), 1.0)
    return FeatureScale(tuple(columns), np.ascontiguousarray(edges), center, np.where(flat, 1.0, scale))


def profile_sessions(values: np.ndarray, session: np.ndarray, scale: FeatureScale) -> SessionProfile:
    """Sum rows (n_rows, n_features) by their session (n_rows,), which may come in any order."""
    sessions, code = np.unique(session, return_inverse=True)
    n_sessions, n_features = len(sessions), values.shape[1]
    bins = np.empty((n_sessions, n_features, N_BINS))
    missing, level, spread = (np.empty((n_sessions, n_features)) for _ in range(3))
    for f in range(n_features):
        column = values[:, f]
        is_known = np.isfinite(column)
        known, at = column[is_known], code[is_known]
        place = at * N_BINS + np.searchsorted(scale.edges[f], known, side="right")
        bins[:, f] = np.bincount(place, minlength=n_sessions * N_BINS).reshape(n_sessions, N_BINS)
        z = np.clip((known - scale.center[f]) / scale.scale[f], -MAX_Z, MAX_Z)
        level[:, f] = np.bincount(at, weights=z, minlength=n_sessions)
        spread[:, f] = np.bincount(at, weights=np.log(SPREAD_OFFSET + np.abs(z)), minlength=n_sessions)
        missing[:, f] = np.bincount(code[~is_known], minlength=n_sessions)
    rows = np.bincount(code, minlength=n_sessions).astype(np.float64)
    return SessionProfile(sessions, rows, bins, missing, level, spread)

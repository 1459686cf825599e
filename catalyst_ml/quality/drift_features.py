"""Has one feature changed? Four distances per feature between a recent window and the reference, each with a p-value.

PSI sees any change of shape and of missing values, KS a shift of the bulk; both are bounded, so a change of unit shows
in the level, the mean of robust z; the spread is the mean of log(0.1 + |z|).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalyst_ml.quality.drift_null import (
    N_WINDOW,
    WindowNull,
    effective_windows,
    fit_null,
    reference_windows,
    running,
)
from catalyst_ml.quality.drift_profile import SessionProfile

STATISTICS = ("psi", "ks", "level", "spread")
"""In this order wherever they share an axis."""

SHAPES = {"psi": 1.5, "ks": 2.0, "level": 1.0, "spread": 1.0}
"""A squared difference of means has one degree of freedom; the tail of KS, squared, is that of two. What independent
rows would give PSI (nine) alarms many times a year on slow features; 1.5 was measured, docs/decisions/0019-drift.md."""

SPREAD_DF_SHARE = 1.0 / 3.0
"""Volatility comes in regimes, of which a reference of two years holds few: a third of the degrees of freedom."""

PSEUDO_ROWS = 0.5
"""Added to each bin's count, so that an empty bin has a logarithm."""


@dataclass(frozen=True)
class Window:
    """Sums over sessions: rows (...), and per feature as in ``SessionProfile``, (..., n_features[, N_BINS])."""

    rows: np.ndarray
    bins: np.ndarray
    missing: np.ndarray
    level: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class FeatureNulls:
    """The reference's sums, what is usual in it, and on how many independent windows that rests."""

    reference: Window
    windows: np.ndarray  # (n_features,)
    nulls: dict[str, WindowNull]

    def distances(self, recent: Window) -> np.ndarray:
        """Distance of recent windows (...) from the reference, (..., 4, n_features); NaN where nothing is known."""
        return feature_distances(recent, self.reference)

    def p_values(self, distance: np.ndarray) -> np.ndarray:
        """p-values of ``distances``, same shape."""
        each = [self.nulls[name].p_values(distance[..., i, :]) for i, name in enumerate(STATISTICS)]
        return np.stack(each, axis=-2)

    def bounds(self, alpha: float) -> np.ndarray:
        """Distances (4, n_features) above which p falls below ``alpha``."""
        return np.stack([self.nulls[name].bound(alpha) for name in STATISTICS])


def fit_feature_nulls(reference: SessionProfile, n_window: int = N_WINDOW) -> FeatureNulls:
    """Compare every window of the reference with the rest of it."""
    layout = reference_windows(len(reference.sessions), n_window)
    sums = [running(part) for part in _parts(reference)]
    inside = Window(*(layout.inside(part) for part in sums))
    outside = Window(*(layout.outside(part) for part in sums))
    distance = feature_distances(inside, outside)  # (n_windows, 4, n_features)
    level, spread = reference.means()
    windows = np.minimum(effective_windows(level, n_window), effective_windows(spread, n_window))
    # Independent rows give each of these at least about 1/n + 1/m.
    floor = float(np.mean(1.0 / inside.rows + 1.0 / outside.rows))
    nulls = {
        name: fit_null(
            distance[:, i],
            windows,
            layout,
            shape=SHAPES[name],
            floor=floor,
            df_share=SPREAD_DF_SHARE if name == "spread" else 1.0,
        )
        for i, name in enumerate(STATISTICS)
    }
    return FeatureNulls(Window(*(part[-1] for part in sums)), windows, nulls)


def recent_window(profile: SessionProfile) -> Window:
    """Sum all sessions of a profile."""
    return Window(*(part.sum(axis=0) for part in _parts(profile)))


def moving_windows(profile: SessionProfile, n_window: int = N_WINDOW) -> Window:
    """Sum each stretch of ``n_window`` sessions; first axis: the session it ends with, from the n_window-th on."""
    sums = (running(part) for part in _parts(profile))
    return Window(*(part[n_window:] - part[:-n_window] for part in sums))


def population_stability(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """PSI Σ(a − e)·ln(a/e) over the last axis of two tables of counts (..., n_bins).

    Bins that are empty on both sides, as repeated quantiles leave them, count for nothing.
    """
    used = (counts + expected) > 0
    a = np.where(used, counts + PSEUDO_ROWS, 0.0)
    e = np.where(used, expected + PSEUDO_ROWS, 0.0)
    a, e = (part / np.maximum(part.sum(axis=-1, keepdims=True), PSEUDO_ROWS) for part in (a, e))
    logs = np.log(np.where(used, a, 1.0) / np.where(used, e, 1.0))
    psi: np.ndarray = ((a - e) * logs).sum(axis=-1)
    return psi


def kolmogorov_smirnov(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Largest distance of two distribution functions at the bins' edges, (..., n_bins) to (...); NaN without rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        a = np.cumsum(counts, axis=-1) / counts.sum(axis=-1, keepdims=True)
        e = np.cumsum(expected, axis=-1) / expected.sum(axis=-1, keepdims=True)
    distance: np.ndarray = np.abs(a - e).max(axis=-1)
    return distance


def feature_distances(recent: Window, reference: Window) -> np.ndarray:
    """PSI, squared KS, squared differences of level and spread, (..., 4, n_features); NaN where nothing is known."""
    psi = population_stability(_tenths_and_missing(recent), _tenths_and_missing(reference))
    ks = kolmogorov_smirnov(recent.bins, reference.bins) ** 2
    means = []
    for name in ("level", "spread"):
        sides = []
        for window in (recent, reference):
            known = window.bins.sum(axis=-1)
            sides.append(np.where(known > 0, getattr(window, name) / np.where(known > 0, known, 1.0), np.nan))
        means.append((sides[0] - sides[1]) ** 2)
    return np.stack([psi, ks, *means], axis=-2)


def _parts(profile: SessionProfile) -> tuple[np.ndarray, ...]:
    return profile.rows, profile.bins, profile.missing, profile.level, profile.spread


def _tenths_and_missing(window: Window) -> np.ndarray:
    """Ten bins and the missing values, (..., n_features, 11)."""
    tenths = window.bins.reshape(*window.bins.shape[:-1], -1, 2).sum(axis=-1)
    return np.concatenate([tenths, window.missing[..., None]], axis=-1)

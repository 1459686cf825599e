"""Have features changed together? Correlations of all pairs, and a classifier that tells recent rows from older ones.

One p-value each: the largest change of any pair is compared with the largest change in windows of the reference, and
so is the classifier's accuracy. Single features may look as ever while their relations have turned over.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from catalyst_ml.quality.drift_null import (
    FEWEST_WINDOWS,
    N_WINDOW,
    WindowNull,
    fit_null,
    reference_windows,
    running,
)
from catalyst_ml.quality.drift_profile import MAX_Z_JOINT

CLASSIFIER_STEP = 4
"""Every fourth window of the reference trains a classifier of its own."""

MAX_REFERENCE_ROWS = 4_000
"""Rows of the reference a classifier reads, evenly spread."""

PURGED_SESSIONS = 2
"""Sessions dropped between the half of the window that trains the classifier and the half that judges it."""

RIDGE = 0.05
"""Added to the variance of standardised columns, so that two columns that say the same do not blow up."""

LARGEST_CORRELATION = 0.999


@dataclass(frozen=True)
class PairNulls:
    """Usual correlations and how far windows of the reference stray from them."""

    first: np.ndarray  # (n_pairs,) position of the one feature
    second: np.ndarray  # (n_pairs,) and of the other
    usual: np.ndarray  # (n_pairs,) correlation in the reference
    spread: np.ndarray  # (n_pairs,) mean squared difference of a window, in Fisher's z
    null: WindowNull  # of the largest ratio over all pairs

    def judge(self, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Largest squared difference over its spread, its p-value and its pair, for windows (..., n_pairs)."""
        ratio = (_fisher(correlation) - _fisher(self.usual)) ** 2 / self.spread
        largest = ratio.max(axis=-1)
        return largest, self.null.p_values(largest[..., None])[..., 0], ratio.argmax(axis=-1)


def session_products(z: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums of z z' of each session, (n_sessions, n_features, n_features).

    Parameters
    ----------
    z : ndarray (n_rows, n_features)
        Robust z of rows sorted by session; NaN counts as the centre.
    starts : ndarray (n_sessions + 1,)
        First row of each session, and the number of rows.
    """
    joint = np.clip(np.nan_to_num(z), -MAX_Z_JOINT, MAX_Z_JOINT)
    return np.stack([joint[a:b].T @ joint[a:b] for a, b in pairwise(starts)])


def fit_pair_nulls(products: np.ndarray, windows: np.ndarray, n_window: int = N_WINDOW) -> PairNulls:
    """Learn from the reference's ``session_products`` what correlations are usual.

    ``windows`` (n_features,) is the effective number per feature; the median stands for all pairs.
    """
    layout = reference_windows(len(products), n_window)
    first, second = np.triu_indices(products.shape[1], 1)
    sums = running(products)
    inside = correlations(layout.inside(sums), first, second)
    outside = correlations(layout.outside(sums), first, second)
    change = (_fisher(inside) - _fisher(outside)) ** 2  # (n_windows, n_pairs)
    # Independent rows have 1/n of it; what never varied gets no smaller scale than the others' smallest.
    spread = np.maximum(change.mean(axis=0), 0.2 * np.median(change.mean(axis=0)) + 1e-6)
    largest = (change / spread).max(axis=-1, keepdims=True)
    null = fit_null(largest, _typical(windows), layout, shape=1.0, floor=1.0)
    return PairNulls(first, second, correlations(sums[-1], first, second), spread, null)


def correlations(products: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlations about the reference's centre (..., n_pairs) from summed products; 0 where a feature is flat."""
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    size = np.sqrt(squares[..., first] * squares[..., second])
    values: np.ndarray = np.where(size > 0, products[..., first, second] / np.where(size > 0, size, 1.0), 0.0)
    return values


@dataclass(frozen=True)
class ClassifierNull:
    """A sample of the reference's rows and how well classifiers tell its own windows apart."""

    sample: np.ndarray  # (n_rows, n_columns) columns of the classifier, in the order of sessions
    precision: np.ndarray  # (n_columns, n_columns)
    null: WindowNull

    def judge(self, recent: np.ndarray, starts: np.ndarray) -> tuple[float, float]:
        """AUC of a classifier of recent rows (``classifier_columns``) against the reference, and its p-value."""
        auc = _purged_auc(recent, starts, self.sample, self.precision)
        return auc, float(self.null.p_values(np.array([_gini(auc) ** 2]))[0])


def classifier_columns(z: np.ndarray) -> np.ndarray:
    """What the classifier reads of robust z (n_rows, n_features): level, size, and whether it is missing."""
    z = z.astype(np.float32)
    known = np.clip(np.nan_to_num(z), -MAX_Z_JOINT, MAX_Z_JOINT)
    return np.concatenate([known, np.abs(known), np.isnan(z).astype(np.float32)], axis=1)


def fit_classifier_null(
    rows: np.ndarray, starts: np.ndarray, windows: np.ndarray, n_window: int = N_WINDOW
) -> ClassifierNull:
    """Train a classifier for every fourth window of the reference: how far are windows told apart by chance?

    A linear discriminant: closed form, so that a hundred fits take a second. Its weights come from one half of the
    window and its AUC from the other, and the other way round.

    Parameters
    ----------
    rows : ndarray (n_rows, n_columns)
        Result of ``classifier_columns`` for the reference, sorted by session.
    starts : ndarray (n_sessions + 1,)
        First row of each session, and the number of rows.
    windows : ndarray (n_features,)
        Effective number of windows of each feature; the median counts.
    """
    layout = reference_windows(len(starts) - 1, n_window).thinned(CLASSIFIER_STEP)
    step = max(int(np.ceil(len(rows) / MAX_REFERENCE_ROWS)), 1)
    sample, at = rows[::step], np.arange(0, len(rows), step)
    precision = np.linalg.inv(np.cov(sample.T) + RIDGE * np.eye(rows.shape[1])).astype(np.float32)
    distance = np.empty((len(layout.stop), 1))
    for i, (stop, low, high) in enumerate(zip(layout.stop, layout.low, layout.high, strict=True)):
        inside = starts[stop - n_window : stop + 1]
        a, b = np.searchsorted(at, [starts[low], starts[high]])
        others = np.concatenate([sample[:a], sample[b:]])
        auc = _purged_auc(rows[inside[0] : inside[-1]], inside - inside[0], others, precision)
        distance[i] = _gini(auc) ** 2
    null = fit_null(distance, _typical(windows), layout, shape=1.0, floor=1e-4)
    return ClassifierNull(sample, precision, null)


def _purged_auc(recent: np.ndarray, starts: np.ndarray, others: np.ndarray, precision: np.ndarray) -> float:
    """AUC of recent rows against others, each half judged by weights of the other half."""
    half, purged = (len(starts) - 1) // 2, PURGED_SESSIONS // 2
    halves = recent[: starts[half - purged]], recent[starts[half + purged] :]
    middle = len(others) // 2
    older = others[:middle], others[middle:]
    aucs = []
    for train, judge in ((0, 1), (1, 0)):
        weights = precision @ (halves[train].mean(axis=0) - older[train].mean(axis=0))
        ours, theirs = halves[judge] @ weights, np.sort(older[judge] @ weights)
        below = np.searchsorted(theirs, ours, side="left") + np.searchsorted(theirs, ours, side="right")
        aucs.append(float(below.mean()) / (2.0 * len(theirs)))
    return float(np.mean(aucs))


def _gini(auc: float) -> float:
    """2 AUC - 1; a classifier worse than chance found nothing."""
    return max(2.0 * auc - 1.0, 0.0)


def _fisher(correlation: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(correlation, -LARGEST_CORRELATION, LARGEST_CORRELATION))


def _typical(windows: np.ndarray) -> np.ndarray:
    return np.array([max(float(np.median(windows)), FEWEST_WINDOWS)])

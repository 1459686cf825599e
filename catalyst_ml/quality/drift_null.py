"""How large a difference between two stretches of the same market is usual: the null behind every drift alarm.

Rows of one session move together and sessions remember, so neither rows nor sessions are independent draws. What is
usual is therefore read off whole windows: every stretch of ``n_window`` consecutive sessions inside the reference is
compared with the rest of the reference, as the recent window will be compared with all of it (subsampling). A
reference of two years holds few windows that are independent of each other; how many, is estimated from its slow
movements, and the tail beyond what was seen is that of an F distribution with so many degrees of freedom.

References
----------
Politis, D., Romano, J., Wolf, M. (1999), Subsampling.
Lazarus, E., Lewis, D., Stock, J., Watson, M. (2018), HAR inference: recommendations for practice, JBES 36(4).
Yurdakul, B., Naranjo, J. (2020), Statistical properties of the population stability index: the PSI of independent rows
is a multiple of chi-square; here the multiple is measured, because the rows are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

N_WINDOW = 20
"""Sessions in the recent window: a month. Shorter ones are noisier, longer ones later."""

MIN_REFERENCE = 250
"""Sessions of reference below which nothing is judged: fewer than a dozen windows say little about what is usual."""

SLOW_WAVES = (3, 6, 12, 24)
"""Numbers of cosine waves over the reference; the largest of the four variances counts, so slow movements show."""

FEWEST_WINDOWS = 1.2
"""Floor of the effective number of windows; so few can prove nothing."""


@dataclass(frozen=True)
class Windows:
    """Which sessions each window of the reference holds, and which are left out beside it, as positions.

    A window is ``[stop - n_window, stop)``; what it is compared with leaves out ``[low, high)``, one window length more
    on either side, because neighbours resemble it.
    """

    n_reference: int
    n_window: int
    stop: np.ndarray  # (n_windows,)
    low: np.ndarray  # (n_windows,)
    high: np.ndarray  # (n_windows,)

    def inside(self, sums: np.ndarray) -> np.ndarray:
        """Sum of each window from the running sums (n_reference + 1, ...) of ``running``."""
        total: np.ndarray = sums[self.stop] - sums[self.stop - self.n_window]
        return total

    def outside(self, sums: np.ndarray) -> np.ndarray:
        """Sum of what each window is compared with, from the running sums (n_reference + 1, ...)."""
        total: np.ndarray = sums[self.n_reference] - (sums[self.high] - sums[self.low])
        return total

    def thinned(self, step: int) -> Windows:
        """Every ``step``-th window, where each one is dear; neighbours say nearly the same."""
        parts = (self.stop[::step], self.low[::step], self.high[::step])
        return Windows(self.n_reference, self.n_window, *parts)


def reference_windows(n_reference: int, n_window: int = N_WINDOW) -> Windows:
    """All windows of a reference of ``n_reference`` sessions."""
    stop = np.arange(n_window, n_reference + 1)
    low = np.maximum(stop - 2 * n_window, 0)
    return Windows(n_reference, n_window, stop, low, np.minimum(stop + n_window, n_reference))


def running(values: np.ndarray) -> np.ndarray:
    """Running sums over the first axis, beginning with zero: (n, ...) to (n + 1, ...)."""
    start = np.zeros((1, *values.shape[1:]))
    return np.concatenate([start, np.cumsum(values, axis=0, dtype=np.float64)])


def effective_windows(daily: np.ndarray, n_window: int = N_WINDOW) -> np.ndarray:
    """How many independent windows the sessions of a reference are worth, for each series.

    Parameters
    ----------
    daily : ndarray (n_sessions, n_series)
        One mean per session; NaN (a session that knows nothing) counts as the series' mean.

    Returns
    -------
    ndarray (n_series,)
        Variance of a window's mean over the variance of the reference's mean, between ``FEWEST_WINDOWS`` and
        ``n_sessions / n_window``. A series that never moves has all windows.

    Notes
    -----
    The variance of the mean is the equal-weighted cosine estimate over the slowest waves; see ``SLOW_WAVES``.
    """
    n = len(daily)
    most = max(n / n_window, FEWEST_WINDOWS)
    mean = np.nanmean(np.where(np.isfinite(daily).any(axis=0), daily, 0.0), axis=0)
    away = np.where(np.isfinite(daily), daily - mean, 0.0)
    n_waves = [waves for waves in SLOW_WAVES if waves <= max(n // 10, 3)]
    j = np.arange(1, max(n_waves) + 1)[:, None]
    waves = np.sqrt(2.0 / n) * np.cos(np.pi * j * (np.arange(n) + 0.5) / n)  # (n_waves, n_sessions)
    power = (waves @ away) ** 2  # (n_waves, n_series)
    of_mean = np.max([power[:k].mean(axis=0) for k in n_waves], axis=0) / n
    sums = running(away)
    of_window = (((sums[n_window:] - sums[:-n_window]) / n_window) ** 2).mean(axis=0) + of_mean
    quiet = of_mean <= 1e-18
    windows = np.where(quiet, most, of_window / np.where(quiet, 1.0, of_mean))
    return np.clip(windows, FEWEST_WINDOWS, most)


@dataclass(frozen=True)
class WindowNull:
    """What a distance between a window and the rest is worth: ``distance / scale`` follows F(shape, shape·windows).

    ``scale`` and ``windows`` (n_series,); ``shape`` is 1 for a squared difference of means and larger for a distance
    that many directions make up; ``df_share`` lowers the degrees of freedom of the scale.
    """

    scale: np.ndarray
    windows: np.ndarray
    shape: float
    df_share: float = 1.0

    def p_values(self, distance: np.ndarray) -> np.ndarray:
        """Chance (..., n_series) of a distance at least as large if nothing has changed; 1 where it is NaN."""
        ratio = np.where(np.isfinite(distance), distance, 0.0) / self.scale
        df = np.maximum(self.shape * self.windows * self.df_share, 1.0)
        p: np.ndarray = stats.f.sf(ratio, self.shape, df)
        return p

    def bound(self, alpha: float) -> np.ndarray:
        """The distance (n_series,) above which the p-value falls below ``alpha``."""
        df = np.maximum(self.shape * self.windows * self.df_share, 1.0)
        quantile: np.ndarray = stats.f.isf(alpha, self.shape, df) * self.scale
        return quantile


def fit_null(
    distance: np.ndarray,
    windows: np.ndarray,
    layout: Windows,
    *,
    shape: float,
    floor: float | np.ndarray,
    df_share: float = 1.0,
) -> WindowNull:
    """Read off the reference's windows what distance is usual.

    Parameters
    ----------
    distance : ndarray (n_windows, n_series)
        Squared difference, PSI or the like of each window of the reference; NaN where it cannot be said.
    windows : ndarray (n_series,)
        Result of ``effective_windows``.
    floor : float or ndarray (n_series,)
        Smallest scale: what independent rows alone would give. It keeps a column that never changed from alarming at
        its first odd value.

    Notes
    -----
    A window inside the reference differs less from the reference's mean than one outside it: by the factor
    (1 - 1/n) against (1 + 1/n) for n effective windows; leaving the neighbours out gives back (R/(R - L))². The
    scale is corrected upwards, never downwards.
    """
    known = np.isfinite(distance)
    mean = np.where(known, distance, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    left_out = float(np.mean(layout.high - layout.low))
    given_back = (layout.n_reference / max(layout.n_reference - left_out, 1.0)) ** 2
    correction = np.maximum((1.0 + 1.0 / windows) / (1.0 - 1.0 / windows) / given_back, 1.0)
    return WindowNull(np.maximum(mean * correction, floor), windows, shape, df_share)

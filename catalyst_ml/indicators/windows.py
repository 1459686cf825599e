"""Window kernels beyond the classic indicators: extremes, volume profile, runs, beta. Conventions as in ``kernels``.

Every window is gone through anew: values do not depend on how much history came before.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from catalyst_ml.indicators.kernels import BLOCK, FloatArray, rolling_products


@njit(cache=True, nogil=True)
def window_mean(x: FloatArray, n: int) -> FloatArray:
    """Return the mean of the last ``n`` values, added in pairs; NaN before ``n`` values are known.

    Sums of 1, 2, 4, 8, ... neighbours are made for all bars at once and ``n`` put together of them: 50 values take 7
    additions a bar instead of 50, and each window is still made of its own values only. The bits differ from ``sma``,
    which adds in time order.
    """
    out = np.full(x.size, np.nan)
    n_windows = x.size - n + 1
    if n_windows <= 0:
        return out
    # A step reads one of them and writes the other: a loop that overtakes itself gets no vector instructions.
    level, doubled, total = x.copy(), np.empty(x.size), np.zeros(n_windows)
    width, offset, rest = 1, 0, n
    while rest > 0:
        if rest & 1:
            part = level[offset : offset + n_windows]
            for i in range(n_windows):
                total[i] += part[i]
            offset += width
        rest >>= 1
        if rest > 0:
            later = level[width:]
            for i in range(x.size - 2 * width + 1):
                doubled[i] = level[i] + later[i]
            level, doubled = doubled, level
        width *= 2
    mean = out[n - 1 :]
    for i in range(n_windows):
        mean[i] = total[i] / n
    return out


@njit(cache=True, nogil=True)
def rolling_max(x: FloatArray, n: int) -> FloatArray:
    """Return the largest of the last ``n`` values; NaN before ``n`` values are known. For values without NaN."""
    out = np.full(x.size, np.nan)
    best = np.empty(BLOCK)
    for first in range(0, x.size - n + 1, BLOCK):
        size = min(BLOCK, x.size - n + 1 - first)
        best[:size] = x[first : first + size]
        for j in range(1, n):
            values = x[first + j : first + j + size]
            for i in range(size):
                best[i] = max(best[i], values[i])
        out[first + n - 1 : first + n - 1 + size] = best[:size]
    return out


@njit(cache=True, nogil=True)
def rolling_min(x: FloatArray, n: int) -> FloatArray:
    """Return the smallest of the last ``n`` values; NaN before ``n`` values are known. For values without NaN."""
    return -rolling_max(-x, n)


@njit(cache=True, nogil=True)
def share_above(x: FloatArray, weight: FloatArray, level: FloatArray, n: int) -> FloatArray:
    """Return the share of ``weight`` in the last ``n`` bars with ``x`` above the present ``level``; NaN without any."""
    out = np.full(x.size, np.nan)
    for end in range(n, x.size + 1):
        above, total = 0.0, 0.0
        for i in range(end - n, end):
            total += weight[i]
            if x[i] > level[end - 1]:
                above += weight[i]
        if total > 0.0:
            out[end - 1] = above / total
    return out


@njit(cache=True, nogil=True)
def run_length(x: FloatArray, longest: int) -> FloatArray:
    """Return how many bars in a row ``x`` has risen (positive) or fallen (negative), counted up to ``longest``."""
    out = np.zeros(x.size)
    for i in range(1, x.size):
        step = 1.0 if x[i] > x[i - 1] else -1.0 if x[i] < x[i - 1] else 0.0
        out[i] = step + out[i - 1] if step * out[i - 1] > 0.0 else step
        out[i] = min(max(out[i], -float(longest)), float(longest))
    return out


@njit(cache=True, nogil=True)
def rolling_beta(x: FloatArray, market: FloatArray, n: int) -> FloatArray:
    """Return the slope of ``x`` on ``market`` over the last ``n`` pairs; NaN where the market stands still."""
    out = np.full(x.size, np.nan)
    _, yy, xy = rolling_products(x, market, n)
    for i in range(n - 1, x.size):
        if yy[i] > 0.0:
            out[i] = xy[i] / yy[i]
    return out

"""Indicator kernels over the bars of ONE symbol: float64 arrays in time order in, same length out.

Conventions are TA-Lib's (its default compatibility mode, unstable period 0), so that values can be checked
against any charting package: exponential means start from a simple mean, Wilder's means from the mean of the
first ``n`` values, the Bollinger deviation is the population one. What is not known yet is NaN.

Missing input: leading NaNs are skipped, the indicator warms up behind them. A NaN further inside makes every
window that holds it NaN; a recursive indicator (``ema``, ``rsi``, ``macd``, ``atr``, ``adx``) stays NaN from
there to the end, because its state is unknown and must not silently restart.

Window kernels sum each window anew instead of carrying a running sum: values do not depend on how much
history came before (truncation cannot move them), and flat prices give a deviation of exactly zero. They go
through the windows of a block of bars side by side, four offsets at a time: each window adds its values in time
order as a plain loop would, so the bits are the same, and neighbouring windows share a vector instruction.

All kernels are compiled by numba at first use and cached beside this file; they release the GIL. Call them
with C-contiguous, writable arrays of one type: each other array type costs another compilation.

References
----------
Wilder, J. W. (1978), New Concepts in Technical Trading Systems (RSI, ATR, ADX). TA-Lib 0.6, ``ta_func/*.c``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

ZERO_BELOW = 1e-14
"""TA-Lib's TA_EPSILON: sums of absolute price moves below it count as zero."""

BLOCK = 256
"""Windows summed side by side: their sums stay in the first cache (2 kB each), whatever the length of history."""


@njit(cache=True, nogil=True)
def ratio(numerator: FloatArray, denominator: FloatArray, if_zero: float) -> FloatArray:
    """Return numerator over denominator, ``if_zero`` where the denominator is 0; NaN stays NaN."""
    out = np.empty(numerator.size)
    for i in range(numerator.size):
        below = denominator[i]
        out[i] = if_zero if below == 0.0 else numerator[i] / below
    return out


@njit(cache=True, nogil=True)
def position(x: FloatArray, lower: FloatArray, upper: FloatArray, if_same: float) -> FloatArray:
    """Return where ``x`` lies between two lines: 0 at the lower, 1 at the upper, ``if_same`` where they coincide."""
    out = np.empty(x.size)
    for i in range(x.size):
        width = upper[i] - lower[i]
        out[i] = if_same if width == 0.0 else (x[i] - lower[i]) / width
    return out


@njit(cache=True, nogil=True)
def distance(x: FloatArray, reference: FloatArray) -> FloatArray:
    """Return how far ``x`` lies above ``reference``, as a fraction of it; NaN where the reference is 0."""
    out = np.empty(x.size)
    for i in range(x.size):
        at = reference[i]
        out[i] = np.nan if at == 0.0 else x[i] / at - 1.0
    return out


@njit(cache=True, nogil=True)
def sma(x: FloatArray, n: int) -> FloatArray:
    """Return the simple mean of the last ``n`` values; NaN before ``n`` values are known."""
    out = np.full(x.size, np.nan)
    for first in range(0, x.size - n + 1, BLOCK):
        size = min(BLOCK, x.size - n + 1 - first)
        mean = out[first + n - 1 : first + n - 1 + size]
        _sums(mean, x[first:], n)
        for i in range(size):
            mean[i] /= n
    return out


@njit(cache=True, nogil=True)
def ema(x: FloatArray, n: int) -> FloatArray:
    """Return the exponential mean, ``k = 2 / (n + 1)``, from the simple mean of the first ``n`` values on."""
    return _ema_first_known_at(x, n, _first_valid(x) + n - 1)


@njit(cache=True, nogil=True)
def rsi(close: FloatArray, n: int = 14) -> FloatArray:
    """Return Wilder's relative strength index, 0-100; first value at bar ``n``.

    Notes
    -----
    Without any move in the memory of the indicator (flat prices) the value is 0, as TA-Lib gives.
    """
    out = np.full(close.size, np.nan)
    start = _first_valid(close)
    gain, loss = 0.0, 0.0
    for i in range(start + 1, close.size):
        move = close[i] - close[i - 1]
        up, down = max(move, 0.0), max(-move, 0.0)
        if np.isnan(move):
            return out
        if i <= start + n:
            gain, loss = gain + up / n, loss + down / n
        else:
            gain, loss = (gain * (n - 1) + up) / n, (loss * (n - 1) + down) / n
        if i >= start + n:
            total = gain + loss
            out[i] = 100.0 * gain / total if total > ZERO_BELOW else 0.0
    return out


@njit(cache=True, nogil=True)
def macd(
    close: FloatArray, fast: int = 12, slow: int = 26, signal: int = 9
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return MACD line, signal line and histogram in price units; first values at bar ``slow + signal - 2``.

    Notes
    -----
    As in TA-Lib both exponential means start at bar ``slow - 1``, the fast one from the last ``fast`` bars.
    All three lines are NaN until the signal line is known.
    """
    start = _first_valid(close) + slow - 1
    line = _ema_first_known_at(close, fast, start) - _ema_first_known_at(close, slow, start)
    signal_line = ema(line, signal)
    for i in range(min(start + signal - 1, close.size)):
        line[i] = np.nan
    return line, signal_line, line - signal_line


@njit(cache=True, nogil=True)
def bollinger(close: FloatArray, n: int = 20, width: float = 2.0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return middle, upper and lower band: mean of ``n`` closes, ``width`` population deviations off it."""
    middle, upper, lower = np.full(close.size, np.nan), np.full(close.size, np.nan), np.full(close.size, np.nan)
    all_shifts, all_bands = np.empty(BLOCK), np.empty(BLOCK)
    for first in range(0, close.size - n + 1, BLOCK):
        # ``sma`` and ``rolling_std``, block by block.
        size, at = min(BLOCK, close.size - n + 1 - first), first + n - 1
        mean, above, below = middle[at : at + size], upper[at : at + size], lower[at : at + size]
        shift, band = all_shifts[:size], all_bands[:size]
        _sums(mean, close[first:], n)
        _shifts(shift, close[first:], n)
        _squares(band, shift, close[first:], n)
        # One array written per loop: with more of them the compiler gives up proving that none overlap.
        for i in range(size):
            mean[i] /= n
        for i in range(size):
            band[i] = width * np.sqrt(band[i] / n)
        for i in range(size):
            above[i] = mean[i] + band[i]
        for i in range(size):
            below[i] = mean[i] - band[i]
    return middle, upper, lower


@njit(cache=True, nogil=True)
def rolling_std(x: FloatArray, n: int) -> FloatArray:
    """Return the population standard deviation of the last ``n`` values; exactly 0 where all are equal."""
    out = np.full(x.size, np.nan)
    all_shifts = np.empty(BLOCK)
    for first in range(0, x.size - n + 1, BLOCK):
        size, at = min(BLOCK, x.size - n + 1 - first), first + n - 1
        own, shift = out[at : at + size], all_shifts[:size]
        _shifts(shift, x[first:], n)
        _squares(own, shift, x[first:], n)
        for i in range(size):
            own[i] = np.sqrt(own[i] / n)
    return out


@njit(cache=True, nogil=True)
def rolling_corr(x: FloatArray, y: FloatArray, n: int) -> FloatArray:
    """Return Pearson's correlation of the last ``n`` pairs, in [-1, 1].

    Notes
    -----
    NaN where a window holds a NaN or one side does not move: no correlation exists, and 0 would be a claim.
    """
    out = np.full(x.size, np.nan)
    xx, yy, xy = rolling_products(x, y, n)
    for i in range(n - 1, x.size):
        if xx[i] > 0.0 and yy[i] > 0.0:
            out[i] = min(max(xy[i] / np.sqrt(xx[i] * yy[i]), -1.0), 1.0)
    return out


@njit(cache=True, nogil=True)
def rolling_products(x: FloatArray, y: FloatArray, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the sums of squared deviations of x, of y, and of their products, over the last ``n`` pairs."""
    xx, yy, xy = np.full(x.size, np.nan), np.full(x.size, np.nan), np.full(x.size, np.nan)
    all_shifts_x, all_shifts_y = np.empty(BLOCK), np.empty(BLOCK)
    for first in range(0, x.size - n + 1, BLOCK):
        size, at = min(BLOCK, x.size - n + 1 - first), first + n - 1
        of_x, of_y = x[first:], y[first:]
        shift_x, shift_y = all_shifts_x[:size], all_shifts_y[:size]
        _shifts(shift_x, of_x, n)
        _shifts(shift_y, of_y, n)
        _squares(xx[at : at + size], shift_x, of_x, n)
        _squares(yy[at : at + size], shift_y, of_y, n)
        total = xy[at : at + size]
        total[:] = 0.0
        for j in range(0, n - 1, 2):
            x0, x1, y0, y1 = of_x[j:], of_x[j + 1 :], of_y[j:], of_y[j + 1 :]
            for i in range(size):
                total[i] = (
                    total[i]
                    + (x0[i] - of_x[i] - shift_x[i]) * (y0[i] - of_y[i] - shift_y[i])
                    + (x1[i] - of_x[i] - shift_x[i]) * (y1[i] - of_y[i] - shift_y[i])
                )
        if n % 2:
            x0, y0 = of_x[n - 1 :], of_y[n - 1 :]
            for i in range(size):
                total[i] += (x0[i] - of_x[i] - shift_x[i]) * (y0[i] - of_y[i] - shift_y[i])
    return xx, yy, xy


@njit(cache=True, nogil=True)
def true_range(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Return the larger of the bar's range and its reach from the prior close; NaN for the first bar."""
    out = np.full(high.size, np.nan)
    for i in range(1, high.size):
        prior = close[i - 1]
        # np.maximum hands a NaN on; Python's max would drop it, depending on its place.
        out[i] = np.maximum(high[i] - low[i], np.maximum(abs(high[i] - prior), abs(low[i] - prior)))
    return out


@njit(cache=True, nogil=True)
def atr(high: FloatArray, low: FloatArray, close: FloatArray, n: int = 14) -> FloatArray:
    """Return Wilder's average true range in price units; at bar ``n`` it starts as a mean of ``n`` ranges."""
    ranges = true_range(high, low, close)
    out = np.full(high.size, np.nan)
    first = _first_valid(ranges) + n - 1
    if first >= high.size:
        return out
    value = ranges[first - n + 1 : first + 1].sum() / n
    out[first] = value
    for i in range(first + 1, high.size):
        value = (value * (n - 1) + ranges[i]) / n
        out[i] = value
    return out


@njit(cache=True, nogil=True)
def adx(high: FloatArray, low: FloatArray, close: FloatArray, n: int = 14) -> FloatArray:
    """Return Wilder's average directional index, 0-100; first value at bar ``2 n - 1``.

    Notes
    -----
    A bar without any directional movement or range in memory leaves the index where it was, as TA-Lib does;
    prices flat from the start give 0.
    """
    ranges = true_range(high, low, close)
    out = np.full(high.size, np.nan)
    start = _first_valid(ranges)
    plus, minus, total_range, index = 0.0, 0.0, 0.0, 0.0
    for i in range(start, high.size):
        if np.isnan(ranges[i]):
            return out
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        decay = 1.0 if i < start + n - 1 else 1.0 - 1.0 / n
        plus = plus * decay + (up if up > down and up > 0.0 else 0.0)
        minus = minus * decay + (down if down > up and down > 0.0 else 0.0)
        total_range = total_range * decay + ranges[i]
        if i < start + n - 1:
            continue
        movement = plus + minus
        is_moving = total_range > ZERO_BELOW and 100.0 * movement > ZERO_BELOW * total_range
        if i < start + 2 * n - 1:
            index += 100.0 * abs(plus - minus) / movement / n if is_moving else 0.0
        elif is_moving:
            index = (index * (n - 1) + 100.0 * abs(plus - minus) / movement) / n
        if i >= start + 2 * n - 2:
            out[i] = index
    return out


@njit(cache=True, nogil=True)
def _sums(total: FloatArray, x: FloatArray, n: int) -> None:
    """Write the sums of the windows of ``n`` values that begin at the first ``total.size`` values."""
    total[:] = 0.0
    j = 0
    while j + 4 <= n:
        x0, x1, x2, x3 = x[j:], x[j + 1 :], x[j + 2 :], x[j + 3 :]
        for i in range(total.size):
            total[i] = total[i] + x0[i] + x1[i] + x2[i] + x3[i]
        j += 4
    while j < n:
        x0 = x[j:]
        for i in range(total.size):
            total[i] += x0[i]
        j += 1


@njit(cache=True, nogil=True)
def _shifts(shift: FloatArray, x: FloatArray, n: int) -> None:
    """Write the means of the windows less their first values: distances do not lose the digits that prices share."""
    shift[:] = 0.0
    j = 0
    while j + 4 <= n:
        x0, x1, x2, x3 = x[j:], x[j + 1 :], x[j + 2 :], x[j + 3 :]
        for i in range(shift.size):
            shift[i] = shift[i] + (x0[i] - x[i]) + (x1[i] - x[i]) + (x2[i] - x[i]) + (x3[i] - x[i])
        j += 4
    while j < n:
        x0 = x[j:]
        for i in range(shift.size):
            shift[i] += x0[i] - x[i]
        j += 1
    for i in range(shift.size):
        shift[i] /= n


@njit(cache=True, nogil=True)
def _squares(squares: FloatArray, shift: FloatArray, x: FloatArray, n: int) -> None:
    """Write the sums of squared deviations of the windows from their means.

    Not from raw squares: prices near 100 with moves near 0.01 would lose eight digits in E[x^2] - E[x]^2, and could
    turn negative.
    """
    squares[:] = 0.0
    j = 0
    while j + 4 <= n:
        x0, x1, x2, x3 = x[j:], x[j + 1 :], x[j + 2 :], x[j + 3 :]
        for i in range(squares.size):
            squares[i] = (
                squares[i]
                + (x0[i] - x[i] - shift[i]) ** 2
                + (x1[i] - x[i] - shift[i]) ** 2
                + (x2[i] - x[i] - shift[i]) ** 2
                + (x3[i] - x[i] - shift[i]) ** 2
            )
        j += 4
    while j < n:
        x0 = x[j:]
        for i in range(squares.size):
            squares[i] += (x0[i] - x[i] - shift[i]) ** 2
        j += 1


@njit(cache=True, nogil=True)
def _first_valid(x: FloatArray) -> int:
    """Return the position of the first value that is not NaN; the length if there is none."""
    for i in range(x.size):
        if not np.isnan(x[i]):
            return i
    return x.size


@njit(cache=True, nogil=True)
def _ema_first_known_at(x: FloatArray, n: int, first: int) -> FloatArray:
    """Return the exponential mean that starts at ``first`` from the mean of the ``n`` values up to it."""
    out = np.full(x.size, np.nan)
    if first >= x.size:
        return out
    value = x[first - n + 1 : first + 1].sum() / n
    out[first] = value
    k = 2.0 / (n + 1.0)
    for i in range(first + 1, x.size):
        value += (x[i] - value) * k
        out[i] = value
    return out

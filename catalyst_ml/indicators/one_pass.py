"""RSI, MACD, ADX and ATR of one symbol in one pass; conventions, and the single indicators, as in ``kernels``."""

from __future__ import annotations

import numpy as np
from numba import njit

from catalyst_ml.indicators.kernels import ZERO_BELOW, FloatArray


@njit(cache=True, nogil=True)
def oscillators(
    high: FloatArray, low: FloatArray, close: FloatArray, n: int = 14, fast: int = 12, slow: int = 26, signal: int = 9
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return RSI, MACD histogram, ADX and ATR of one symbol in one pass, bit for bit those of the single kernels.

    Each of them waits for its own last value: multiply, add, divide, one after the other. In one loop the four waits
    pass together, and the pass takes little longer than the slowest of them alone.

    Notes
    -----
    For bars without missing prices (schema ``BARS``). A NaN in any price leaves all four unknown from that bar on.
    """
    size = close.size
    rsi_line, histogram = np.full(size, np.nan), np.full(size, np.nan)
    adx_line, atr_line = np.full(size, np.nan), np.full(size, np.nan)
    ranges, line = np.empty(size), np.empty(size)
    gain, loss, mean_range = 0.0, 0.0, 0.0
    plus, minus, total_range, index = 0.0, 0.0, 0.0, 0.0
    fast_mean, slow_mean, signal_mean = 0.0, 0.0, 0.0
    k_fast, k_slow, k_signal = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0), 2.0 / (signal + 1.0)
    # Until every start is over; from there on the same steps without a question, which takes a third less time.
    steady = min(max(2 * n, slow + signal - 1), size)
    known = size
    for i in range(1, steady):
        prior = close[i - 1]
        move = close[i] - prior
        reach = max(high[i] - low[i], max(abs(high[i] - prior), abs(low[i] - prior)))
        if np.isnan(move + high[i] + low[i] + high[i - 1] + low[i - 1]):
            known = i
            break
        ranges[i] = reach
        # RSI: means of rises and falls.
        up, down = max(move, 0.0), max(-move, 0.0)
        if i <= n:
            gain, loss = gain + up / n, loss + down / n
        else:
            gain, loss = (gain * (n - 1) + up) / n, (loss * (n - 1) + down) / n
        # ADX: sums of directional movement.
        rise, fall = high[i] - high[i - 1], low[i - 1] - low[i]
        decay = 1.0 if i < n else 1.0 - 1.0 / n
        plus = plus * decay + (rise if rise > fall and rise > 0.0 else 0.0)
        minus = minus * decay + (fall if fall > rise and fall > 0.0 else 0.0)
        total_range = total_range * decay + reach
        if i >= n:
            moved = gain + loss
            rsi_line[i] = 100.0 * gain / moved if moved > ZERO_BELOW else 0.0
            mean_range = ranges[1 : n + 1].sum() / n if i == n else (mean_range * (n - 1) + reach) / n
            atr_line[i] = mean_range
            movement = plus + minus
            is_moving = total_range > ZERO_BELOW and 100.0 * movement > ZERO_BELOW * total_range
            if i < 2 * n:
                index += 100.0 * abs(plus - minus) / movement / n if is_moving else 0.0
            elif is_moving:
                index = (index * (n - 1) + 100.0 * abs(plus - minus) / movement) / n
            if i >= 2 * n - 1:
                adx_line[i] = index
        if i >= slow - 1:
            if i == slow - 1:
                fast_mean = close[i - fast + 1 : i + 1].sum() / fast
                slow_mean = close[i - slow + 1 : i + 1].sum() / slow
            else:
                fast_mean += (close[i] - fast_mean) * k_fast
                slow_mean += (close[i] - slow_mean) * k_slow
            line[i] = fast_mean - slow_mean
            if i == slow + signal - 2:
                signal_mean = line[slow - 1 : i + 1].sum() / signal
            elif i > slow + signal - 2:
                signal_mean += (line[i] - signal_mean) * k_signal
            if i >= slow + signal - 2:
                histogram[i] = line[i] - signal_mean
    before, decay = float(n - 1), 1.0 - 1.0 / n
    for i in range(steady, known):
        prior, top, bottom = close[i - 1], high[i], low[i]
        move, rise, fall = close[i] - prior, top - high[i - 1], low[i - 1] - bottom
        if np.isnan(move + rise + fall):
            break
        reach = max(top - bottom, max(abs(top - prior), abs(bottom - prior)))
        gain, loss = (gain * before + max(move, 0.0)) / n, (loss * before + max(-move, 0.0)) / n
        moved = gain + loss
        rsi_line[i] = 100.0 * gain / moved if moved > ZERO_BELOW else 0.0
        mean_range = (mean_range * before + reach) / n
        atr_line[i] = mean_range
        plus = plus * decay + (rise if rise > fall and rise > 0.0 else 0.0)
        minus = minus * decay + (fall if fall > rise and fall > 0.0 else 0.0)
        total_range = total_range * decay + reach
        movement = plus + minus
        if total_range > ZERO_BELOW and 100.0 * movement > ZERO_BELOW * total_range:
            index = (index * before + 100.0 * abs(plus - minus) / movement) / n
        adx_line[i] = index
        fast_mean += (close[i] - fast_mean) * k_fast
        slow_mean += (close[i] - slow_mean) * k_slow
        difference = fast_mean - slow_mean
        signal_mean += (difference - signal_mean) * k_signal
        histogram[i] = difference - signal_mean
    return rsi_line, histogram, adx_line, atr_line

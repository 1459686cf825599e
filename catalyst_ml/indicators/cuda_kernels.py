"""Device twins of the indicator kernels: bars of all symbols in one array, one symbol after the other.

A window kernel gives a window to a thread, a recursive one gives a symbol to a thread. ``age[i]`` is the number of bars
of the same symbol before bar ``i``: a window of ``n`` bars that ends at ``i`` lies within its symbol where
``age[i] >= n - 1``. ``starts`` (n_symbols + 1,) holds the first bar of each symbol, and the end. Every loop runs over
its share of the bars (stride of the grid), so any shape of launch gives the same values.

Each window adds its values in the order of ``kernels`` and ``windows``, all in float64. What is left between the two is
that a GPU may fuse a product with the sum that follows and round once instead of twice, and its own logarithm. Under
numba's simulator, which does neither, all but logarithms agree bit for bit. Comparisons are written out where
``max`` and ``min`` would treat NaN otherwise on a GPU than on a CPU.

Importing this module needs no device; the kernels are compiled at their first launch. It works with ``numba.cuda`` of
numba itself and with the package ``numba-cuda`` that RAPIDS brings.
"""

from __future__ import annotations

import math
from typing import Any

from numba import config, cuda, float64

from catalyst_ml.indicators.kernels import ZERO_BELOW

IS_SIMULATED = bool(config.ENABLE_CUDASIM)
"""True under ``NUMBA_ENABLE_CUDASIM=1``: logic only, one Python thread per device thread."""

THREADS_PER_BLOCK = 128
MIN_BLOCKS = 128
"""Also numba's own bound for a warning; idle blocks cost nothing beside a launch."""

MAX_BLOCKS = 8192
TREE_LEVELS = 32
"""Room for the pairwise sums of a window of up to 2**31 values."""

NAN = math.nan

COPY, NEGATIVE, ABSOLUTE, LOGARITHM, SQUARE_ROOT, IS_NAN = range(6)
ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM, AT_LEAST, ABOVE, AT_MOST, BELOW = range(10)


def launch_shape(n: int, *, one_by_one: bool = False) -> tuple[int, int]:
    """Return blocks and threads per block for ``n`` pieces of work; ``one_by_one`` spreads few long ones out."""
    if IS_SIMULATED:
        # Enough to show that threads and blocks share the work, few enough to be quick in Python.
        return 2, 2
    threads = 32 if one_by_one else THREADS_PER_BLOCK
    return min(max(MIN_BLOCKS, -(-n // threads)), MAX_BLOCKS), threads


@cuda.jit
def elementwise_one(out: Any, x: Any, lag: int, step: int, age: Any, skip: int, operation: int) -> None:
    """Write an operation on ``x``, ``lag`` bars back, where a bar has ``skip`` before it; ``step`` 0 is a scalar."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        if age[i] < skip:
            continue
        value = x[(i - lag) * step]
        if operation == NEGATIVE:
            value = -value
        elif operation == ABSOLUTE:
            value = abs(value)
        elif operation == LOGARITHM:
            value = math.log(value)
        elif operation == SQUARE_ROOT:
            value = math.sqrt(value)
        elif operation == IS_NAN:
            value = 1.0 if math.isnan(value) else 0.0
        out[i] = value


@cuda.jit
def elementwise_two(
    out: Any, x: Any, x_lag: int, x_step: int, y: Any, y_lag: int, y_step: int, age: Any, skip: int, operation: int
) -> None:
    """Write an operation on ``x`` and ``y``, each its lag back, where a bar has ``skip`` bars before it."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        if age[i] < skip:
            continue
        a, b = x[(i - x_lag) * x_step], y[(i - y_lag) * y_step]
        value = a
        if operation == ADD:
            value = a + b
        elif operation == SUBTRACT:
            value = a - b
        elif operation == MULTIPLY:
            value = a * b
        elif operation == DIVIDE:
            value = a / b
        elif operation == MAXIMUM:
            # numpy's: a NaN on either side comes out.
            value = a if a >= b or math.isnan(a) else b
        elif operation == MINIMUM:
            value = a if a <= b or math.isnan(a) else b
        elif operation == AT_LEAST:
            value = 1.0 if a >= b else 0.0
        elif operation == ABOVE:
            value = 1.0 if a > b else 0.0
        elif operation == AT_MOST:
            value = 1.0 if a <= b else 0.0
        elif operation == BELOW:
            value = 1.0 if a < b else 0.0
        out[i] = value


@cuda.jit
def choose(
    out: Any, where: Any, x: Any, x_lag: int, x_step: int, y: Any, y_lag: int, y_step: int, age: Any, skip: int
) -> None:
    """Write ``x`` where the condition is not 0, else ``y``."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        if age[i] >= skip:
            out[i] = x[(i - x_lag) * x_step] if where[i] != 0.0 else y[(i - y_lag) * y_step]


@cuda.jit
def ratio(out: Any, numerator: Any, denominator: Any, if_zero: float) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        below = denominator[i]
        out[i] = if_zero if below == 0.0 else numerator[i] / below


@cuda.jit
def position(out: Any, x: Any, lower: Any, upper: Any, if_same: float) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        width = upper[i] - lower[i]
        out[i] = if_same if width == 0.0 else (x[i] - lower[i]) / width


@cuda.jit
def distance(out: Any, x: Any, reference: Any) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        at = reference[i]
        out[i] = NAN if at == 0.0 else x[i] / at - 1.0


@cuda.jit
def sma(out: Any, x: Any, n: int, age: Any) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        value = NAN
        if age[i] >= n - 1:
            total = 0.0
            for j in range(i - n + 1, i + 1):
                total += x[j]
            value = total / n
        out[i] = value


@cuda.jit
def window_mean(out: Any, x: Any, n: int, age: Any) -> None:
    """Sums of 1, 2, 4, ... neighbours, added in the pairs of ``windows.window_mean``."""
    level = cuda.local.array(TREE_LEVELS, float64)
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        value = NAN
        if age[i] >= n - 1:
            total = 0.0
            at, rest, width = i - n + 1, n, 1
            while rest > 0:
                if rest & 1:
                    part = 0.0
                    for j in range(width):
                        part = x[at + j]
                        depth, count = 0, j
                        while count & 1:
                            part = level[depth] + part
                            depth += 1
                            count >>= 1
                        level[depth] = part
                    total += part
                    at += width
                rest >>= 1
                width *= 2
            value = total / n
        out[i] = value


@cuda.jit
def bollinger(middle: Any, upper: Any, lower: Any, close: Any, n: int, width: float, age: Any) -> None:
    for i in range(cuda.grid(1), middle.size, cuda.gridsize(1)):
        mean, high, low = NAN, NAN, NAN
        if age[i] >= n - 1:
            first = i - n + 1
            origin = close[first]
            total, shift, squares = 0.0, 0.0, 0.0
            for j in range(first, i + 1):
                total += close[j]
                shift += close[j] - origin
            shift /= n
            for j in range(first, i + 1):
                off = close[j] - origin - shift
                squares += off * off
            mean, band = total / n, width * math.sqrt(squares / n)
            high, low = mean + band, mean - band
        middle[i], upper[i], lower[i] = mean, high, low


@cuda.jit
def rolling_std(out: Any, x: Any, n: int, age: Any) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        value = NAN
        if age[i] >= n - 1:
            first = i - n + 1
            origin = x[first]
            shift, squares = 0.0, 0.0
            for j in range(first, i + 1):
                shift += x[j] - origin
            shift /= n
            for j in range(first, i + 1):
                off = x[j] - origin - shift
                squares += off * off
            value = math.sqrt(squares / n)
        out[i] = value


@cuda.jit
def rolling_products(xx: Any, yy: Any, xy: Any, x: Any, y: Any, n: int, age: Any) -> None:
    for i in range(cuda.grid(1), xx.size, cuda.gridsize(1)):
        sum_xx, sum_yy, sum_xy = NAN, NAN, NAN
        if age[i] >= n - 1:
            first = i - n + 1
            x0, y0 = x[first], y[first]
            mean_x, mean_y = 0.0, 0.0
            for j in range(first, i + 1):
                mean_x += x[j] - x0
                mean_y += y[j] - y0
            mean_x /= n
            mean_y /= n
            sum_xx, sum_yy, sum_xy = 0.0, 0.0, 0.0
            for j in range(first, i + 1):
                dx, dy = x[j] - x0 - mean_x, y[j] - y0 - mean_y
                sum_xx += dx * dx
                sum_yy += dy * dy
                sum_xy += dx * dy
        xx[i], yy[i], xy[i] = sum_xx, sum_yy, sum_xy


@cuda.jit
def correlation_of_products(out: Any, xx: Any, yy: Any, xy: Any) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        value = NAN
        if xx[i] > 0.0 and yy[i] > 0.0:
            value = xy[i] / math.sqrt(xx[i] * yy[i])
            if value < -1.0:
                value = -1.0
            if value > 1.0:
                value = 1.0
        out[i] = value


@cuda.jit
def slope_of_products(out: Any, yy: Any, xy: Any) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[i] = xy[i] / yy[i] if yy[i] > 0.0 else NAN


@cuda.jit
def rolling_extreme(out: Any, x: Any, n: int, sign: float, age: Any) -> None:
    """Write the largest of the last ``n`` values with ``sign`` 1, the smallest with -1. For values without NaN."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        value = NAN
        if age[i] >= n - 1:
            best = sign * x[i - n + 1]
            for j in range(i - n + 2, i + 1):
                if sign * x[j] > best:
                    best = sign * x[j]
            value = sign * best
        out[i] = value


@cuda.jit
def share_above(out: Any, x: Any, weight: Any, level: Any, n: int, age: Any) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        value = NAN
        if age[i] >= n - 1:
            above, total = 0.0, 0.0
            for j in range(i - n + 1, i + 1):
                total += weight[j]
                if x[j] > level[i]:
                    above += weight[j]
            if total > 0.0:
                value = above / total
        out[i] = value


@cuda.jit
def run_length(out: Any, x: Any, longest: float, starts: Any) -> None:
    for s in range(cuda.grid(1), starts.size - 1, cuda.gridsize(1)):
        run = 0.0
        for i in range(starts[s], starts[s + 1]):
            if i == starts[s]:
                out[i] = 0.0
                continue
            step = 1.0 if x[i] > x[i - 1] else (-1.0 if x[i] < x[i - 1] else 0.0)
            run = step + run if step * run > 0.0 else step
            if run < -longest:
                run = -longest
            if run > longest:
                run = longest
            out[i] = run


@cuda.jit
def oscillators(
    rsi_line: Any,
    histogram: Any,
    adx_line: Any,
    atr_line: Any,
    high: Any,
    low: Any,
    close: Any,
    n: int,
    fast: int,
    slow: int,
    signal: int,
    starts: Any,
) -> None:
    """RSI, MACD histogram, ADX and ATR, a symbol to a thread; steps and their order as in ``one_pass.oscillators``."""
    for s in range(cuda.grid(1), starts.size - 1, cuda.gridsize(1)):
        first, stop = starts[s], starts[s + 1]
        gain, loss, mean_range, sum_ranges = 0.0, 0.0, 0.0, 0.0
        plus, minus, total_range, index = 0.0, 0.0, 0.0, 0.0
        fast_mean, slow_mean, signal_mean, sum_lines = 0.0, 0.0, 0.0, 0.0
        k_fast, k_slow, k_signal = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0), 2.0 / (signal + 1.0)
        is_known = True
        for i in range(first, stop):
            rsi_line[i], histogram[i], adx_line[i], atr_line[i] = NAN, NAN, NAN, NAN
            back = i - first
            if back == 0 or not is_known:
                continue
            prior = close[i - 1]
            move = close[i] - prior
            if math.isnan(move + high[i] + low[i] + high[i - 1] + low[i - 1]):
                is_known = False
                continue
            reach, of_high, of_low = high[i] - low[i], abs(high[i] - prior), abs(low[i] - prior)
            if of_high > reach:
                reach = of_high
            if of_low > reach:
                reach = of_low
            up, down = (move if move > 0.0 else 0.0), (-move if move < 0.0 else 0.0)
            if back <= n:
                gain, loss = gain + up / n, loss + down / n
                sum_ranges += reach
            else:
                gain, loss = (gain * (n - 1) + up) / n, (loss * (n - 1) + down) / n
            rise, fall = high[i] - high[i - 1], low[i - 1] - low[i]
            decay = 1.0 if back < n else 1.0 - 1.0 / n
            plus = plus * decay + (rise if rise > fall and rise > 0.0 else 0.0)
            minus = minus * decay + (fall if fall > rise and fall > 0.0 else 0.0)
            total_range = total_range * decay + reach
            if back >= n:
                moved = gain + loss
                rsi_line[i] = 100.0 * gain / moved if moved > ZERO_BELOW else 0.0
                mean_range = sum_ranges / n if back == n else (mean_range * (n - 1) + reach) / n
                atr_line[i] = mean_range
                movement = plus + minus
                is_moving = total_range > ZERO_BELOW and 100.0 * movement > ZERO_BELOW * total_range
                if back < 2 * n:
                    index += 100.0 * abs(plus - minus) / movement / n if is_moving else 0.0
                elif is_moving:
                    index = (index * (n - 1) + 100.0 * abs(plus - minus) / movement) / n
                if back >= 2 * n - 1:
                    adx_line[i] = index
            if back >= slow - 1:
                if back == slow - 1:
                    fast_mean, slow_mean = 0.0, 0.0
                    for j in range(i - fast + 1, i + 1):
                        fast_mean += close[j]
                    for j in range(i - slow + 1, i + 1):
                        slow_mean += close[j]
                    fast_mean, slow_mean = fast_mean / fast, slow_mean / slow
                else:
                    fast_mean += (close[i] - fast_mean) * k_fast
                    slow_mean += (close[i] - slow_mean) * k_slow
                line = fast_mean - slow_mean
                if back <= slow + signal - 2:
                    sum_lines += line
                if back == slow + signal - 2:
                    signal_mean = sum_lines / signal
                elif back > slow + signal - 2:
                    signal_mean += (line - signal_mean) * k_signal
                if back >= slow + signal - 2:
                    histogram[i] = line - signal_mean


@cuda.jit
def gather(out: Any, row: int, values: Any, bar_of_row: Any, age: Any, n_unknown: int) -> None:
    """Write into ``out[row]`` the values at the wanted bars; NaN at a symbol's first ``n_unknown`` bars."""
    for r in range(cuda.grid(1), bar_of_row.size, cuda.gridsize(1)):
        at = bar_of_row[r]
        out[row, r] = NAN if age[at] < n_unknown else values[at]

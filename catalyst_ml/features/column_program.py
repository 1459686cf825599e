"""Declared formulas as a program of simple steps, run for many symbols in one compiled call.

A formula is run once on columns that compute nothing and write down what they are asked for (``Recorder``). What is
written down is then carried out symbol by symbol by compiled code, the interpreter's lock released once for many
symbols: threads that take it back after every kernel wait for each other longer than they compute. Steps are numpy's
operations, whose results IEEE 754 prescribes, and the kernels themselves, so the values are bit for bit those of the
formula on one symbol's arrays. A logarithm is not prescribed: formulas with one are computed symbol by symbol in numpy.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from catalyst_ml.features.catalogue import FeatureSpec
from catalyst_ml.features.column_formulas import ColumnInputs, forms_on_columns
from catalyst_ml.features.columns import Column, ColumnBars, NoColumnForm
from catalyst_ml.indicators import kernels, one_pass, windows

(LOAD, STORE, COPY, NEGATIVE, ABSOLUTE, SQUARE_ROOT, IS_NAN) = range(7)
(ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM, AT_LEAST, ABOVE, AT_MOST, BELOW, CHOOSE) = range(10, 21)
(RATIO, POSITION, DISTANCE, SMA, BOLLINGER, STD, CORR, OSCILLATORS) = range(30, 38)
(WINDOW_MEAN, ROLLING_MAX, ROLLING_MIN, SHARE_ABOVE, RUN_LENGTH, BETA) = range(40, 46)

_UFUNCS: dict[np.ufunc, int] = {
    np.positive: COPY,
    np.negative: NEGATIVE,
    np.absolute: ABSOLUTE,
    np.sqrt: SQUARE_ROOT,
    np.isnan: IS_NAN,
    np.add: ADD,
    np.subtract: SUBTRACT,
    np.multiply: MULTIPLY,
    np.true_divide: DIVIDE,
    np.maximum: MAXIMUM,
    np.minimum: MINIMUM,
    np.greater_equal: AT_LEAST,
    np.greater: ABOVE,
    np.less_equal: AT_MOST,
    np.less: BELOW,
}
_KERNELS: dict[Any, int] = {
    kernels.ratio: RATIO,
    kernels.position: POSITION,
    kernels.distance: DISTANCE,
    kernels.sma: SMA,
    kernels.bollinger: BOLLINGER,
    kernels.rolling_std: STD,
    kernels.rolling_corr: CORR,
    one_pass.oscillators: OSCILLATORS,
    windows.window_mean: WINDOW_MEAN,
    windows.rolling_max: ROLLING_MAX,
    windows.rolling_min: ROLLING_MIN,
    windows.share_above: SHARE_ABOVE,
    windows.run_length: RUN_LENGTH,
    windows.rolling_beta: BETA,
}

N_OUT, N_IN, N_NUMBERS = 4, 4, 4
_NO_REGISTER = -1


class Program(NamedTuple):
    """Steps on registers, each the column of one symbol.

    ``steps`` (n_steps, 14) int64: operation, bars skipped, registers written, registers read, bars each lies back.
    ``numbers`` (n_steps, 4) float64: operands that are no register, then parameters of kernels.
    """

    steps: np.ndarray
    numbers: np.ndarray
    sources: tuple[str, ...]
    """Inputs by name, in the order that LOAD counts them."""
    n_registers: int
    without_form: dict[str, str]
    """Features that are no steps, and why."""


class Recorder(ColumnBars):
    """Bars of no symbol: columns on them are registers, and what is asked of them is written down."""

    def __init__(self) -> None:
        super().__init__([])
        self.steps: list[list[int]] = []
        self.numbers: list[list[float]] = []
        self.n_registers = 0
        self._free: list[int] = []

    def new(self) -> Column:
        if self._free:
            return Column.of_array(self, self._free.pop())
        self.n_registers += 1
        return Column.of_array(self, self.n_registers - 1)

    def give_back(self, array: Any) -> None:
        self._free.append(array)

    def load(self, source: int) -> Column:
        """Return a column of an input."""
        out = self.new()
        self._write(LOAD, [out.array], [], [float(source)])
        return out.as_input()

    def store(self, column: Column, feature: int, n_unknown: int) -> None:
        """Write a whole column into a feature's rows, NaN at the symbol's first ``n_unknown`` bars."""
        self._write(STORE, [], [column], [float(feature), float(n_unknown)])

    def apply(self, ufunc: np.ufunc, out: Column, operands: Sequence[Any], skip: int) -> None:
        if ufunc not in _UFUNCS:
            raise NoColumnForm(f"np.{ufunc.__name__} in a program of steps")
        self._write(_UFUNCS[ufunc], [out.array], operands, [], skip)

    def choose(self, out: Column, condition: Column, x: Any, y: Any, skip: int) -> None:
        self._write(CHOOSE, [out.array], [condition, x, y], [], skip)

    def run(self, kernel: Any, outs: Sequence[Any], arguments: Sequence[Any]) -> None:
        # Registers are whole numbers here, and so are parameters: the kernel's own signature tells them apart.
        n_columns = _N_COLUMNS[kernel]
        registers, parameters = arguments[:n_columns], arguments[n_columns:]
        step = [_KERNELS[kernel], 0, *_filled(outs, N_OUT), *_filled(registers, N_IN), *[0] * N_IN]
        self.steps.append(step)
        self.numbers.append([*(float(x) for x in parameters), *[0.0] * (N_NUMBERS - len(parameters))])

    def _write(
        self, code: int, outs: Sequence[int], operands: Sequence[Any], numbers: Sequence[float], skip: int = 0
    ) -> None:
        registers = [x.array if isinstance(x, Column) else _NO_REGISTER for x in operands]
        lags = [x.lag if isinstance(x, Column) else 0 for x in operands]
        constants = [*numbers] or [0.0 if isinstance(x, Column) else float(x) for x in operands]
        lags += [0] * (N_IN - len(lags))
        self.steps.append([code, skip, *_filled(outs, N_OUT), *_filled(registers, N_IN), *lags])
        self.numbers.append([*constants, *[0.0] * (N_NUMBERS - len(constants))])


def _filled(registers: Sequence[int], n: int) -> list[int]:
    return [*registers, *[_NO_REGISTER] * (n - len(registers))]


_N_COLUMNS = {
    kernel: sum(1 for p in inspect.signature(kernel.py_func).parameters.values() if "FloatArray" in str(p.annotation))
    for kernel in _KERNELS
}


def record(catalogue: Sequence[FeatureSpec], available: Mapping[str, bool]) -> Program:
    """Return the program of a catalogue.

    Parameters
    ----------
    catalogue : sequence of FeatureSpec
        Declarations; the position of one is the feature that its step stores.
    available : mapping of str to bool
        Inputs by name, and whether they have a source.
    """
    recorder = Recorder()
    sources = tuple(name for name, is_there in available.items() if is_there)
    at = {name: i for i, name in enumerate(sources)}
    columns = {name: recorder.load(at[name]) if name in at else None for name in available}
    inputs = ColumnInputs(columns, forms_on_columns(catalogue))
    without_form: dict[str, str] = {}
    for j, spec in enumerate(catalogue):
        try:
            column = inputs.feature(spec)
        except Exception as error:
            # A formula may stumble over a column in any way. If it is wrong in itself, a symbol's arrays say so.
            without_form[spec.name] = str(error) or type(error).__name__
            continue
        if column is not None:
            recorder.store(column, j, spec.lookback_bars - 1)
    steps = np.array(recorder.steps, dtype=np.int64).reshape(-1, 2 + N_OUT + 2 * N_IN)
    numbers = np.array(recorder.numbers, dtype=np.float64).reshape(-1, N_NUMBERS)
    return Program(steps, numbers, sources, recorder.n_registers, without_form)


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    def generate(__: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def _compiled(behind: int) -> Callable[..., None]:
    """Return the runner of programs; ``behind`` stands for the text of the kernels that it is compiled with.

    numba's cache looks at the file of a function, not at the files of those it calls, but a closure's values are a part
    of its key: kernels that changed are compiled in anew.
    """

    @njit(cache=True, nogil=True, error_model="numpy")
    def run(
        steps: np.ndarray, numbers: np.ndarray, addresses: np.ndarray, n_source: int, registers: np.ndarray,
        tasks: np.ndarray, wanted: np.ndarray, rows: np.ndarray, values: np.ndarray,
    ) -> int:  # fmt: skip
        """Run the steps for each of ``tasks`` (n_tasks, 5): first and last bar, first row or -1, places in ``rows``."""
        for t in range(tasks.shape[0]):
            start, stop, row = tasks[t, 0], tasks[t, 1], tasks[t, 2]
            first, last = tasks[t, 3], tasks[t, 4]
            n = stop - start
            for s in range(steps.shape[0]):
                code, skip = steps[s, 0], steps[s, 1]
                out = registers[max(steps[s, 2], 0), :n]
                a, b, c = (
                    registers[max(steps[s, 6], 0), :n],
                    registers[max(steps[s, 7], 0), :n],
                    registers[max(steps[s, 8], 0), :n],
                )
                k0 = numbers[s, 0]
                if code == LOAD:
                    source = carray(_pointer(addresses[int(k0)]), (n_source,), np.float64)
                    out[:] = source[start:stop]
                elif code == STORE:
                    n_unknown = int(numbers[s, 1])
                    own = values[int(k0)]
                    if row >= 0:
                        target = own[row : row + n]
                        for i in range(n):
                            target[i] = a[i]
                        target[:n_unknown] = np.nan
                    else:
                        for i in range(first, last):
                            own[rows[i]] = np.nan if wanted[i] < n_unknown else a[wanted[i]]
                elif code <= CHOOSE:
                    if steps[s, 6] < 0:
                        a = np.full(n, k0)
                    if code >= ADD and steps[s, 7] < 0:
                        b = np.full(n, numbers[s, 1])
                    if code == CHOOSE and steps[s, 8] < 0:
                        c = np.full(n, numbers[s, 2])
                    if skip >= n:
                        continue
                    _elementwise(
                        code,
                        out[skip:],
                        a[skip - steps[s, 10] : n - steps[s, 10]],
                        b[skip - steps[s, 11] : n - steps[s, 11]],
                        c[skip - steps[s, 12] : n - steps[s, 12]],
                    )
                elif code == RATIO:
                    out[:] = kernels.ratio(a, b, k0)
                elif code == POSITION:
                    out[:] = kernels.position(a, b, c, k0)
                elif code == DISTANCE:
                    out[:] = kernels.distance(a, b)
                elif code == SMA:
                    out[:] = kernels.sma(a, int(k0))
                elif code == BOLLINGER:
                    middle, upper, lower = kernels.bollinger(a, int(k0), numbers[s, 1])
                    out[:] = middle
                    registers[steps[s, 3], :n] = upper
                    registers[steps[s, 4], :n] = lower
                elif code == STD:
                    out[:] = kernels.rolling_std(a, int(k0))
                elif code == CORR:
                    out[:] = kernels.rolling_corr(a, b, int(k0))
                elif code == OSCILLATORS:
                    rsi, histogram, adx, atr = one_pass.oscillators(
                        a, b, c, int(k0), int(numbers[s, 1]), int(numbers[s, 2]), int(numbers[s, 3])
                    )
                    out[:] = rsi
                    registers[steps[s, 3], :n] = histogram
                    registers[steps[s, 4], :n] = adx
                    registers[steps[s, 5], :n] = atr
                elif code == WINDOW_MEAN:
                    out[:] = windows.window_mean(a, int(k0))
                elif code == ROLLING_MAX:
                    out[:] = windows.rolling_max(a, int(k0))
                elif code == ROLLING_MIN:
                    out[:] = windows.rolling_min(a, int(k0))
                elif code == SHARE_ABOVE:
                    out[:] = windows.share_above(a, b, c, int(k0))
                elif code == RUN_LENGTH:
                    out[:] = windows.run_length(a, int(k0))
                elif code == BETA:
                    out[:] = windows.rolling_beta(a, b, int(k0))
        return behind

    return run


@njit(cache=True, nogil=True, error_model="numpy")
def _elementwise(code: int, out: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    if code == COPY:
        out[:] = a
    elif code == NEGATIVE:
        for i in range(out.size):
            out[i] = -a[i]
    elif code == ABSOLUTE:
        for i in range(out.size):
            out[i] = abs(a[i])
    elif code == SQUARE_ROOT:
        for i in range(out.size):
            out[i] = np.sqrt(a[i])
    elif code == IS_NAN:
        for i in range(out.size):
            out[i] = 1.0 if np.isnan(a[i]) else 0.0
    elif code == ADD:
        for i in range(out.size):
            out[i] = a[i] + b[i]
    elif code == SUBTRACT:
        for i in range(out.size):
            out[i] = a[i] - b[i]
    elif code == MULTIPLY:
        for i in range(out.size):
            out[i] = a[i] * b[i]
    elif code == DIVIDE:
        for i in range(out.size):
            out[i] = a[i] / b[i]
    elif code == MAXIMUM:
        for i in range(out.size):
            out[i] = np.maximum(a[i], b[i])
    elif code == MINIMUM:
        for i in range(out.size):
            out[i] = np.minimum(a[i], b[i])
    elif code == AT_LEAST:
        for i in range(out.size):
            out[i] = 1.0 if a[i] >= b[i] else 0.0
    elif code == ABOVE:
        for i in range(out.size):
            out[i] = 1.0 if a[i] > b[i] else 0.0
    elif code == AT_MOST:
        for i in range(out.size):
            out[i] = 1.0 if a[i] <= b[i] else 0.0
    elif code == BELOW:
        for i in range(out.size):
            out[i] = 1.0 if a[i] < b[i] else 0.0
    elif code == CHOOSE:
        for i in range(out.size):
            out[i] = b[i] if a[i] != 0.0 else c[i]


_SOURCE_TEXT = "".join(inspect.getsource(module) for module in (kernels, one_pass, windows))
run_program = _compiled(int(hashlib.sha256(_SOURCE_TEXT.encode()).hexdigest()[:12], 16))
"""``run`` of ``_compiled``."""

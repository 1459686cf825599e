"""Columns in the memory of a GPU: kernels of ``indicators.cuda_kernels`` on buffers that stay there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from catalyst_ml.errors import DeviceUnavailable
from catalyst_ml.features.columns import Column, ColumnBars, NoColumnForm
from catalyst_ml.indicators import cuda_kernels as device
from catalyst_ml.indicators import kernels, one_pass, windows

_ONE: dict[np.ufunc, int] = {
    np.positive: device.COPY,
    np.negative: device.NEGATIVE,
    np.absolute: device.ABSOLUTE,
    np.log: device.LOGARITHM,
    np.sqrt: device.SQUARE_ROOT,
    np.isnan: device.IS_NAN,
}
_TWO: dict[np.ufunc, int] = {
    np.add: device.ADD,
    np.subtract: device.SUBTRACT,
    np.multiply: device.MULTIPLY,
    np.true_divide: device.DIVIDE,
    np.maximum: device.MAXIMUM,
    np.minimum: device.MINIMUM,
    np.greater_equal: device.AT_LEAST,
    np.greater: device.ABOVE,
    np.less_equal: device.AT_MOST,
    np.less: device.BELOW,
}
_EXTREMES = {windows.rolling_max: 1.0, windows.rolling_min: -1.0}
_OF_WINDOWS = {
    kernels.sma: "sma",
    kernels.rolling_std: "rolling_std",
    windows.window_mean: "window_mean",
    windows.share_above: "share_above",
}
_BAR_BY_BAR = {kernels.ratio: "ratio", kernels.position: "position", kernels.distance: "distance"}
_OF_PRODUCTS = {kernels.rolling_corr, windows.rolling_beta}


class DeviceBars(ColumnBars):
    """The bars of some symbols on the device: where each symbol begins, and columns of one length to work on."""

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__(lengths)
        self.n_buffers = 0
        self._free: list[Any] = []
        self._scalars: dict[float, Any] = {}
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        age = np.arange(self.n_bars, dtype=np.int32) - np.repeat(starts[:-1], lengths).astype(np.int32)
        self.starts, self.age = self.upload(starts), self.upload(age)

    def upload(self, values: np.ndarray) -> Any:
        return driver(device.cuda.to_device, values)

    def table(self, n_columns: int, n_rows: int, dtype: Any) -> Any:
        """Return a device array (n_columns, n_rows) for results; no column, and never reused."""
        return driver(device.cuda.device_array, (n_columns, n_rows), dtype)

    def gather(self, table: Any, row: int, column: Column, bar_of_row: Any, n_unknown: int) -> None:
        """Write a column's values at the wanted bars into a row of ``table``, NaN at a symbol's first bars."""
        shape = device.launch_shape(len(bar_of_row))
        array = column.whole()
        driver(lambda: device.gather[shape](table, row, array, bar_of_row, self.age, n_unknown))

    def fill(self, column: Column, at: int, values: Any) -> None:
        """Copy ``values`` (host or device, float64) into a column from bar ``at`` on."""
        driver(lambda: column.array[at : at + len(values)].copy_to_device(values))

    def unknown(self) -> Column:
        """Return a column of NaN."""
        out = self.new()
        self.apply(np.positive, out, (np.nan,), 0)
        return out

    def new(self) -> Column:
        if self._free:
            return Column.of_array(self, self._free.pop())
        self.n_buffers += 1
        return Column.of_array(self, driver(device.cuda.device_array, self.n_bars, np.float64))

    def give_back(self, array: Any) -> None:
        self._free.append(array)

    def apply(self, ufunc: np.ufunc, out: Column, operands: Sequence[Any], skip: int) -> None:
        kernel, operation = (
            (device.elementwise_one, _ONE[ufunc]) if len(operands) == 1 else (device.elementwise_two, _TWO[ufunc])
        )
        parts = [part for operand in operands for part in self._part(operand)]
        self.launch(kernel, out.array, *parts, self.age, skip, operation)

    def choose(self, out: Column, condition: Column, x: Any, y: Any, skip: int) -> None:
        self.launch(device.choose, out.array, condition.array, *self._part(x), *self._part(y), self.age, skip)

    def run(self, kernel: Any, outs: Sequence[Any], arguments: Sequence[Any]) -> None:
        if kernel in _BAR_BY_BAR:
            # A whole number would be another type to the compiler.
            given = [float(x) if isinstance(x, int | float) else x for x in arguments]
            self.launch(getattr(device, _BAR_BY_BAR[kernel]), *outs, *given)
        elif kernel is kernels.bollinger:
            close, n, width = arguments
            self.launch(device.bollinger, *outs, close, n, float(width), self.age)
        elif kernel in _OF_WINDOWS:
            self.launch(getattr(device, _OF_WINDOWS[kernel]), *outs, *arguments, self.age)
        elif kernel in _EXTREMES:
            self.launch(device.rolling_extreme, *outs, *arguments, _EXTREMES[kernel], self.age)
        elif kernel in _OF_PRODUCTS:
            sums = [self.new() for _ in range(3)]
            xx, yy, xy = (column.array for column in sums)
            self.launch(device.rolling_products, xx, yy, xy, *arguments, self.age)
            if kernel is kernels.rolling_corr:
                self.launch(device.correlation_of_products, *outs, xx, yy, xy)
            else:
                self.launch(device.slope_of_products, *outs, yy, xy)
        elif kernel is windows.run_length:
            x, longest = arguments
            self.launch(device.run_length, *outs, x, float(longest), self.starts, by_symbol=True)
        elif kernel is one_pass.oscillators:
            self.launch(device.oscillators, *outs, *arguments, self.starts, by_symbol=True)
        else:
            raise NoColumnForm(f"kernel {kernel.__name__} on a device")

    def launch(self, kernel: Any, *arguments: Any, by_symbol: bool = False) -> None:
        """Run a kernel with a thread per bar, or per symbol."""
        shape = device.launch_shape(self.n_symbols if by_symbol else self.n_bars, one_by_one=by_symbol)
        driver(lambda: kernel[shape](*arguments))

    def _scalar(self, value: float) -> Any:
        """Return a device array of one value; the same one each time."""
        if value not in self._scalars:
            self._scalars[value] = self.upload(np.array([value], dtype=np.float64))
        return self._scalars[value]

    def _part(self, x: Any) -> tuple[Any, int, int]:
        """Return array, lag and step of an operand; a number is an array of one value with step 0."""
        return (x.array, x.lag, 1) if isinstance(x, Column) else (self._scalar(float(x)), 0, 0)


def driver(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the driver; whatever it raises (its errors share no class) becomes ``DeviceUnavailable``."""
    try:
        return function(*arguments)
    except NoColumnForm:
        raise
    except Exception as error:
        raise DeviceUnavailable(f"the CUDA device failed: {type(error).__name__}: {error}. Use the CPU.") from error

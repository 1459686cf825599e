"""Columns in the memory of a GPU: one value per bar of all symbols, which declared formulas can be run on.

What numpy does to the arrays of one symbol, these do to all symbols at once: operators and comparisons, and slices by
bars, where ``x[n:]`` and ``x[:-n]`` stay within each symbol. What a column cannot do raises ``NoDeviceForm``: a formula
runs in its one meaning or not at all (``device_formulas``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from catalyst_ml.errors import DeviceUnavailable
from catalyst_ml.indicators import cuda_kernels as device


class NoDeviceForm(Exception):
    """A formula asks for something that device columns do not offer; the host computes it instead."""


class DeviceBars:
    """The bars of some symbols on the device: where each symbol begins, and columns of one length to work on.

    Buffers go back to a free list when their last column is dropped: all are of one length, and asking the driver for
    memory in the middle of the work would wait for the work.

    Parameters
    ----------
    lengths : sequence of int
        Bars of each symbol, in order; at least one bar in all.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.n_bars = int(sum(lengths))
        self.n_buffers = 0
        self._free: list[Any] = []
        self._scalars: dict[float, Any] = {}
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        age = np.arange(self.n_bars, dtype=np.int32) - np.repeat(starts[:-1], lengths).astype(np.int32)
        self.n_symbols = len(lengths)
        self.starts, self.age = self.upload(starts), self.upload(age)

    def upload(self, values: np.ndarray) -> Any:
        return driver(device.cuda.to_device, values)

    def table(self, n_columns: int, n_rows: int, dtype: Any) -> Any:
        """Return a device array (n_columns, n_rows) for results; no column, and never reused."""
        return driver(device.cuda.device_array, (n_columns, n_rows), dtype)

    def gather(self, table: Any, row: int, column: DeviceColumn, bar_of_row: Any, n_unknown: int) -> None:
        """Write a column's values at the wanted bars into a row of ``table``, NaN at a symbol's first bars."""
        shape = device.launch_shape(len(bar_of_row))
        array = column.whole()
        driver(lambda: device.gather[shape](table, row, array, bar_of_row, self.age, n_unknown))

    def fill(self, column: DeviceColumn, at: int, values: Any) -> None:
        """Copy ``values`` (host or device, float64) into a column from bar ``at`` on."""
        driver(lambda: column.array[at : at + len(values)].copy_to_device(values))

    def unknown(self) -> DeviceColumn:
        """Return a column of NaN."""
        return apply_one(device.COPY, np.nan, out=self.new())

    def new(self) -> DeviceColumn:
        """Return a column of unset values."""
        if self._free:
            return DeviceColumn(_Buffer(self, self._free.pop()))
        self.n_buffers += 1
        return DeviceColumn(_Buffer(self, driver(device.cuda.device_array, self.n_bars, np.float64)))

    def scalar(self, value: float) -> Any:
        """Return a device array of one value; the same one each time."""
        if value not in self._scalars:
            self._scalars[value] = self.upload(np.array([value], dtype=np.float64))
        return self._scalars[value]

    def launch(self, kernel: Any, *arguments: Any, by_symbol: bool = False) -> None:
        """Run a kernel with a thread per bar, or per symbol."""
        shape = device.launch_shape(self.n_symbols if by_symbol else self.n_bars, one_by_one=by_symbol)
        driver(lambda: kernel[shape](*arguments))

    def give_back(self, array: Any) -> None:
        self._free.append(array)


class _Buffer:
    def __init__(self, bars: DeviceBars, array: Any) -> None:
        self.bars, self.array = bars, array

    def __del__(self) -> None:
        self.bars.give_back(self.array)


class ColumnSize:
    """What ``column.size`` gives: good for a new column only; on the device it is not the size of one symbol."""

    def __init__(self, bars: DeviceBars) -> None:
        self.bars = bars


class DeviceColumn:
    """One float64 value per bar, or (a slice) per bar with at least ``skip`` bars of its symbol before it.

    Conditions are columns too: 1 where true, 0 where not.
    """

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, buffer: _Buffer, *, skip: int = 0, lag: int = 0, writable: bool = True) -> None:
        self._buffer, self.skip, self.lag, self.writable = buffer, skip, lag, writable

    @property
    def bars(self) -> DeviceBars:
        return self._buffer.bars

    @property
    def array(self) -> Any:
        return self._buffer.array

    @property
    def size(self) -> ColumnSize:
        return ColumnSize(self.bars)

    def as_input(self) -> DeviceColumn:
        """Return the same values, closed to assignment: other features read them."""
        return DeviceColumn(self._buffer, skip=self.skip, lag=self.lag, writable=False)

    def from_bar(self, skip: int) -> DeviceColumn:
        """Return what an operation wrote: values for bars with ``skip`` bars before them, unset for the others."""
        return self if skip == 0 else DeviceColumn(self._buffer, skip=skip, writable=False)

    def whole(self) -> Any:
        """Return the device array of a column that is no slice."""
        if self.skip:
            raise NoDeviceForm("a kernel was called with a slice of a column")
        return self.array

    def astype(self, dtype: Any) -> DeviceColumn:
        if np.dtype(dtype) != np.float64:
            raise NoDeviceForm(f"conversion to {dtype}")
        return self

    def copy(self) -> DeviceColumn:
        return apply_one(device.COPY, self)

    def __getitem__(self, key: Any) -> DeviceColumn:
        first, last = (key.start, key.stop) if isinstance(key, slice) and key.step is None else (None, None)
        if self.skip == 0 and isinstance(first, int) and first > 0 and last is None:
            return DeviceColumn(self._buffer, skip=first, writable=False)
        if self.skip == 0 and isinstance(last, int) and last < 0 and first is None:
            return DeviceColumn(self._buffer, skip=-last, lag=-last, writable=False)
        raise NoDeviceForm(f"reading [{key}]; known are [n:] and [:-n] of a whole column")

    def __setitem__(self, key: Any, value: Any) -> None:
        target = self[key]
        if not self.writable or target.lag:
            raise NoDeviceForm(f"assignment to [{key}] of a column that is no new one, or not to its last bars")
        if isinstance(value, DeviceColumn) and value._buffer is self._buffer:
            # Threads read what others write: which of the two values they find is chance.
            raise NoDeviceForm("assignment of a column's own values to another place in it")
        apply_one(device.COPY, value, out=target)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NoDeviceForm("a numpy function without a device form")

    def __bool__(self) -> bool:
        raise NoDeviceForm("a decision on a whole column")

    def __neg__(self) -> DeviceColumn:
        return apply_one(device.NEGATIVE, self)

    def __abs__(self) -> DeviceColumn:
        return apply_one(device.ABSOLUTE, self)

    def __add__(self, other: Any) -> DeviceColumn:
        return apply_two(device.ADD, self, other)

    def __radd__(self, other: Any) -> DeviceColumn:
        return apply_two(device.ADD, other, self)

    def __sub__(self, other: Any) -> DeviceColumn:
        return apply_two(device.SUBTRACT, self, other)

    def __rsub__(self, other: Any) -> DeviceColumn:
        return apply_two(device.SUBTRACT, other, self)

    def __mul__(self, other: Any) -> DeviceColumn:
        return apply_two(device.MULTIPLY, self, other)

    def __rmul__(self, other: Any) -> DeviceColumn:
        return apply_two(device.MULTIPLY, other, self)

    def __truediv__(self, other: Any) -> DeviceColumn:
        return apply_two(device.DIVIDE, self, other)

    def __rtruediv__(self, other: Any) -> DeviceColumn:
        return apply_two(device.DIVIDE, other, self)

    def __pow__(self, exponent: Any) -> DeviceColumn:
        if exponent != 2:
            raise NoDeviceForm(f"power {exponent}; known is 2")
        return apply_two(device.MULTIPLY, self, self)

    def __ge__(self, other: Any) -> DeviceColumn:
        return apply_two(device.AT_LEAST, self, other)

    def __gt__(self, other: Any) -> DeviceColumn:
        return apply_two(device.ABOVE, self, other)

    def __le__(self, other: Any) -> DeviceColumn:
        return apply_two(device.AT_MOST, self, other)

    def __lt__(self, other: Any) -> DeviceColumn:
        return apply_two(device.BELOW, self, other)

    def __eq__(self, other: object) -> Any:
        raise NoDeviceForm("a test for equality")

    def __ne__(self, other: object) -> Any:
        raise NoDeviceForm("a test for equality")


def apply_one(operation: int, x: Any, *, out: DeviceColumn | None = None) -> DeviceColumn:
    """Return an operation (``cuda_kernels.COPY``, ...) on a column, or write it into ``out``; of a number always."""
    bars, skip = common_bars(x, out)
    target = bars.new() if out is None else out
    bars.launch(device.elementwise_one, target.array, *_part(bars, x), bars.age, skip, operation)
    return target if out is not None else target.from_bar(skip)


def apply_two(operation: int, x: Any, y: Any) -> DeviceColumn:
    """Return an operation (``cuda_kernels.ADD``, ...) on two columns, or a column and a number."""
    bars, skip = common_bars(x, y)
    out = bars.new()
    bars.launch(device.elementwise_two, out.array, *_part(bars, x), *_part(bars, y), bars.age, skip, operation)
    return out.from_bar(skip)


def choose(condition: DeviceColumn, x: Any, y: Any) -> DeviceColumn:
    """Return ``x`` where the condition holds, else ``y``; each a column or a number."""
    bars, skip = common_bars(condition, x, y)
    if condition.lag:
        raise NoDeviceForm("a choice by a shifted condition")
    out = bars.new()
    bars.launch(device.choose, out.array, condition.array, *_part(bars, x), *_part(bars, y), bars.age, skip)
    return out.from_bar(skip)


def _part(bars: DeviceBars, x: Any) -> tuple[Any, int, int]:
    """Return array, lag and step of an operand; a number is an array of one value with step 0."""
    return (x.array, x.lag, 1) if isinstance(x, DeviceColumn) else (bars.scalar(float(x)), 0, 0)


def common_bars(*operands: Any) -> tuple[DeviceBars, int]:
    """Return the bars that all columns among the operands lie on, and how many bars of a symbol they all skip."""
    columns = [x for x in operands if isinstance(x, DeviceColumn)]
    strange = [x for x in operands if not isinstance(x, DeviceColumn | int | float | np.number) and x is not None]
    if strange or not columns:
        raise NoDeviceForm(f"an operation on {[type(x).__name__ for x in operands]}")
    if len({(id(x.bars), x.skip) for x in columns}) > 1:
        raise NoDeviceForm(f"slices that begin at different bars: {[x.skip for x in columns]}")
    return columns[0].bars, columns[0].skip


def driver(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the driver; whatever it raises (its errors share no class) becomes ``DeviceUnavailable``."""
    try:
        return function(*arguments)
    except NoDeviceForm:
        raise
    except Exception as error:
        raise DeviceUnavailable(f"the CUDA device failed: {type(error).__name__}: {error}. Use the CPU.") from error

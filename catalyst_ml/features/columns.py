"""Columns of many symbols, one value per bar, that the formula of one symbol can be run on as it stands.

What numpy does to the arrays of one symbol, these do to all symbols at once: operators and comparisons, and slices by
bars, where ``x[n:]`` and ``x[:-n]`` stay within each symbol. What a column cannot do raises ``NoColumnForm``: a formula
runs in its one meaning or not at all (``column_formulas``). Where the values lie, and who computes on them, is the
affair of the ``ColumnBars``: ``DeviceBars`` on a GPU, ``Recorder`` for a program of compiled steps on the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np


class NoColumnForm(Exception):
    """A formula asks for something that columns do not offer; it is computed symbol by symbol instead."""


class ColumnBars(ABC):
    """The bars of some symbols, one symbol after the other, and buffers of their length to work in.

    Buffers go back to a free list when their last column is dropped: all are of one length, and asking for memory in
    the middle of the work would wait for the work.

    Parameters
    ----------
    lengths : sequence of int
        Bars of each symbol, in order.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.n_bars = int(sum(lengths))
        self.n_symbols = len(lengths)

    @abstractmethod
    def new(self) -> Column:
        """Return a column of unset values."""

    @abstractmethod
    def give_back(self, array: Any) -> None:
        """Take a buffer that no column needs any more."""

    @abstractmethod
    def apply(self, ufunc: np.ufunc, out: Column, operands: Sequence[Any], skip: int) -> None:
        """Write ``ufunc`` of the operands (columns or numbers) at bars with ``skip`` bars before them."""

    @abstractmethod
    def choose(self, out: Column, condition: Column, x: Any, y: Any, skip: int) -> None:
        """Write ``x`` where the condition is not 0, else ``y``, at bars with ``skip`` bars before them."""

    @abstractmethod
    def run(self, kernel: Any, outs: Sequence[Any], arguments: Sequence[Any]) -> None:
        """Write what a kernel of ``indicators`` gives for each symbol; outs and arguments are buffers and numbers."""


class _Buffer:
    def __init__(self, bars: ColumnBars, array: Any) -> None:
        self.bars, self.array = bars, array

    def __del__(self) -> None:
        self.bars.give_back(self.array)


class ColumnSize:
    """What ``column.size`` gives: good for a new column only; it is not the size of one symbol."""

    def __init__(self, bars: ColumnBars) -> None:
        self.bars = bars


class Column:
    """One float64 value per bar, or (a slice) per bar with at least ``skip`` bars of its symbol before it.

    Conditions are columns too: 1 where true, 0 where not.
    """

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, buffer: _Buffer, *, skip: int = 0, lag: int = 0, writable: bool = True) -> None:
        self._buffer, self.skip, self.lag, self.writable = buffer, skip, lag, writable

    @classmethod
    def of_array(cls, bars: ColumnBars, array: Any) -> Column:
        """Return a column in ``array``, which ``bars`` gets back when its last column is dropped."""
        return cls(_Buffer(bars, array))

    @property
    def bars(self) -> ColumnBars:
        return self._buffer.bars

    @property
    def array(self) -> Any:
        return self._buffer.array

    @property
    def size(self) -> ColumnSize:
        return ColumnSize(self.bars)

    def as_input(self) -> Column:
        """Return the same values, closed to assignment: other features read them."""
        return Column(self._buffer, skip=self.skip, lag=self.lag, writable=False)

    def from_bar(self, skip: int) -> Column:
        """Return what an operation wrote: values for bars with ``skip`` bars before them, unset for the others."""
        return self if skip == 0 else Column(self._buffer, skip=skip, writable=False)

    def whole(self) -> Any:
        """Return the array of a column that is no slice."""
        if self.skip:
            raise NoColumnForm("a kernel was called with a slice of a column")
        return self.array

    def astype(self, dtype: Any) -> Column:
        if np.dtype(dtype) != np.float64:
            raise NoColumnForm(f"conversion to {dtype}")
        return self

    def copy(self) -> Column:
        return apply(np.positive, self)

    def __getitem__(self, key: Any) -> Column:
        first, last = (key.start, key.stop) if isinstance(key, slice) and key.step is None else (None, None)
        if self.skip == 0 and isinstance(first, int) and first > 0 and last is None:
            return Column(self._buffer, skip=first, writable=False)
        if self.skip == 0 and isinstance(last, int) and last < 0 and first is None:
            return Column(self._buffer, skip=-last, lag=-last, writable=False)
        raise NoColumnForm(f"reading [{key}]; known are [n:] and [:-n] of a whole column")

    def __setitem__(self, key: Any, value: Any) -> None:
        target = self[key]
        if not self.writable or target.lag:
            raise NoColumnForm(f"assignment to [{key}] of a column that is no new one, or not to its last bars")
        if isinstance(value, Column) and value._buffer is self._buffer:
            # Threads of a device read what others write: which of the two values they find is chance.
            raise NoColumnForm("assignment of a column's own values to another place in it")
        apply(np.positive, value, out=target)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NoColumnForm("a numpy function without a form on columns")

    def __bool__(self) -> bool:
        raise NoColumnForm("a decision on a whole column")

    def __neg__(self) -> Column:
        return apply(np.negative, self)

    def __abs__(self) -> Column:
        return apply(np.absolute, self)

    def __add__(self, other: Any) -> Column:
        return apply(np.add, self, other)

    def __radd__(self, other: Any) -> Column:
        return apply(np.add, other, self)

    def __sub__(self, other: Any) -> Column:
        return apply(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Column:
        return apply(np.subtract, other, self)

    def __mul__(self, other: Any) -> Column:
        return apply(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Column:
        return apply(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Column:
        return apply(np.true_divide, self, other)

    def __rtruediv__(self, other: Any) -> Column:
        return apply(np.true_divide, other, self)

    def __pow__(self, exponent: Any) -> Column:
        if exponent != 2:
            raise NoColumnForm(f"power {exponent}; known is 2")
        return apply(np.multiply, self, self)

    def __ge__(self, other: Any) -> Column:
        return apply(np.greater_equal, self, other)

    def __gt__(self, other: Any) -> Column:
        return apply(np.greater, self, other)

    def __le__(self, other: Any) -> Column:
        return apply(np.less_equal, self, other)

    def __lt__(self, other: Any) -> Column:
        return apply(np.less, self, other)

    def __eq__(self, other: object) -> Any:
        raise NoColumnForm("a test for equality")

    def __ne__(self, other: object) -> Any:
        raise NoColumnForm("a test for equality")


def apply(ufunc: np.ufunc, *operands: Any, out: Column | None = None) -> Column:
    """Return a ufunc of columns and numbers, or write it into ``out``."""
    bars, skip = common_bars(*operands, out)
    target = bars.new() if out is None else out
    bars.apply(ufunc, target, operands, skip)
    return target if out is not None else target.from_bar(skip)


def choose(condition: Column, x: Any, y: Any) -> Column:
    """Return ``x`` where the condition holds, else ``y``; each a column or a number."""
    bars, skip = common_bars(condition, x, y)
    if condition.lag:
        raise NoColumnForm("a choice by a shifted condition")
    out = bars.new()
    bars.choose(out, condition, x, y, skip)
    return out.from_bar(skip)


def common_bars(*operands: Any) -> tuple[ColumnBars, int]:
    """Return the bars that all columns among the operands lie on, and how many bars of a symbol they all skip."""
    bars: ColumnBars | None = None
    skip = 0
    for x in operands:
        if isinstance(x, Column):
            if bars is None:
                bars, skip = x.bars, x.skip
            elif x.bars is not bars or x.skip != skip:
                raise NoColumnForm(f"slices that begin at different bars: {skip} and {x.skip}")
        elif not isinstance(x, int | float | np.number) and x is not None:
            raise NoColumnForm(f"an operation on {type(x).__name__}")
    if bars is None:
        raise NoColumnForm("an operation without a column")
    return bars, skip


def closed(result: Any) -> Any:
    """Return an intermediate, one column or a (named) tuple of them, closed to assignment: features share it."""
    if isinstance(result, Column):
        return result.as_input()
    if not isinstance(result, tuple):
        raise NoColumnForm(f"an intermediate of type {type(result).__name__}")
    columns = [closed(part) for part in result]
    return type(result)(*columns) if hasattr(result, "_fields") else tuple(columns)


def joined(slices: Sequence[slice]) -> list[slice]:
    """Return the slices with neighbours joined."""
    runs: list[slice] = []
    for own in slices:
        if runs and runs[-1].stop == own.start:
            runs[-1] = slice(runs[-1].start, own.stop)
        else:
            runs.append(own)
    return runs

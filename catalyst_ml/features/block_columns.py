"""Columns in the memory of the host: some symbols at a time, one compiled call for all of them.

What a thread of the engine works on. Its buffers are few and kept from block to block, so that memory is asked for
once; and a block's calls take long enough that threads seldom meet at the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from catalyst_ml.features.columns import Column, ColumnBars, NoColumnForm
from catalyst_ml.indicators import kernels, one_pass, windows

_OF_EACH = {
    getattr(module, name.removesuffix("_of_each")): of_each
    for module in (kernels, one_pass, windows)
    for name, of_each in vars(module).items()
    if name.endswith("_of_each")
}
"""Kernel to the one that runs it symbol by symbol."""


class Buffers:
    """Memory of one thread: arrays of one length, lent and taken back."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.n_buffers = 0
        self._free: list[np.ndarray] = []

    def lend(self) -> np.ndarray:
        if self._free:
            return self._free.pop()
        self.n_buffers += 1
        return np.empty(self.length)

    def take_back(self, array: np.ndarray) -> None:
        self._free.append(array)


class BlockBars(ColumnBars):
    """The bars of some symbols on the host.

    Parameters
    ----------
    lengths : sequence of int
        Bars of each symbol, in order; at least one bar in all.
    buffers : Buffers
        At least as long as all bars together.
    """

    def __init__(self, lengths: Sequence[int], buffers: Buffers) -> None:
        super().__init__(lengths)
        self.starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        self._buffers = buffers
        self._heads: dict[int, np.ndarray] = {}

    def new(self) -> Column:
        return Column.of_array(self, self._buffers.lend()[: self.n_bars])

    def give_back(self, array: Any) -> None:
        self._buffers.take_back(array.base)

    def heads(self, skip: int) -> np.ndarray:
        """Return the positions of the bars with fewer than ``skip`` bars of their symbol before them."""
        if skip not in self._heads:
            reach = np.minimum(np.diff(self.starts), skip)
            ends = np.cumsum(reach)
            self._heads[skip] = np.arange(ends[-1]) + np.repeat(self.starts[:-1] - (ends - reach), reach)
        return self._heads[skip]

    def apply(self, ufunc: np.ufunc, out: Column, operands: Sequence[Any], skip: int) -> None:
        # Shifted over all symbols in one piece: what a symbol's first bars get from the symbol before is no value,
        # and is put back to what was there.
        kept = out.array[self.heads(skip)] if skip else None
        with np.errstate(all="ignore"):
            ufunc(*(self._from_bar(x, skip) for x in operands), out=out.array[skip:])
        if skip:
            out.array[self.heads(skip)] = kept

    def choose(self, out: Column, condition: Column, x: Any, y: Any, skip: int) -> None:
        out.array[skip:] = np.where(
            self._from_bar(condition, skip) != 0.0, self._from_bar(x, skip), self._from_bar(y, skip)
        )

    def run(self, kernel: Any, outs: Sequence[Any], arguments: Sequence[Any]) -> None:
        if kernel not in _OF_EACH:
            raise NoColumnForm(f"kernel {kernel.__name__}")
        _OF_EACH[kernel](tuple(outs), self.starts, *arguments)

    def _from_bar(self, x: Any, skip: int) -> Any:
        return x.array[skip - x.lag : self.n_bars - x.lag] if isinstance(x, Column) else float(x)

"""The declared formulas of the catalogue as they stand, run on columns of a GPU.

A formula is Python over the arrays of one symbol: numpy functions, slices by bars, kernels. Writing it down a second
time for a GPU would make two features of one name. Here the *same* code object is run with other meanings of the names
that it uses: ``np`` and the kernels take device columns, which hold all symbols. So nothing can drift but the kernels,
and those have one twin each (``KERNELS``). A formula that asks for more is computed on the host, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np

from catalyst_ml.features.device_columns import (
    ColumnSize,
    DeviceColumn,
    NoDeviceForm,
    apply_one,
    apply_two,
    choose,
    common_bars,
)
from catalyst_ml.indicators import cuda_kernels as device
from catalyst_ml.indicators import kernels, windows


def on_device(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Return a declared formula with its ``np`` and kernels replaced by those of device columns.

    Parameters
    ----------
    compute : callable
        ``FeatureSpec.compute`` or ``Intermediate.compute``. Functions of its own modules that it calls are taken
        along, and so is what it closes over.

    Raises
    ------
    NoDeviceForm
        If it is no plain Python function.
    """
    return _rebound(compute, {})


def _rebound(function: Callable[..., Any], seen: dict[int, dict[str, Any]]) -> Callable[..., Any]:
    if not isinstance(function, FunctionType):
        raise NoDeviceForm(f"{function!r} is no plain Python function")
    names = _meanings(function.__globals__, seen)
    closure = function.__closure__ and tuple(CellType(_meaning(c.cell_contents, seen)) for c in function.__closure__)
    twin = FunctionType(function.__code__, names, function.__name__, function.__defaults__, closure)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def _meanings(names: dict[str, Any], seen: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return a module's names with their meanings on the device; ``seen`` ends circles between functions."""
    if id(names) not in seen:
        seen[id(names)] = changed = dict(names)
        changed.update({name: _meaning(value, seen) for name, value in names.items()})
    return seen[id(names)]


def _meaning(value: Any, seen: dict[int, dict[str, Any]]) -> Any:
    if isinstance(value, ModuleType):
        return NUMPY if value is np else _Kernels(value) if value in (kernels, windows) else value
    if isinstance(value, FunctionType) and any(other is np or other in (kernels, windows) for other in _modules(value)):
        return _rebound(value, seen)
    for host, twin in KERNELS.items():
        if value is host:
            return twin
    return value


def _modules(function: FunctionType) -> list[ModuleType]:
    return [value for value in function.__globals__.values() if isinstance(value, ModuleType)]


class _Numpy:
    """The part of numpy that formulas use; of plain numbers it is numpy's own."""

    nan, pi, e, inf, float64 = np.nan, np.pi, np.e, np.inf, np.float64

    def __getattr__(self, name: str) -> Any:
        raise NoDeviceForm(f"np.{name}")

    def full(self, size: Any, value: float) -> DeviceColumn:
        if not isinstance(size, ColumnSize):
            raise NoDeviceForm(f"np.full of size {size!r}; known is the size of a column")
        out = size.bars.new()
        return apply_one(device.COPY, float(value), out=out)

    def abs(self, x: Any) -> Any:
        return apply_one(device.ABSOLUTE, x) if isinstance(x, DeviceColumn) else np.abs(x)

    def log(self, x: Any) -> Any:
        return apply_one(device.LOGARITHM, x) if isinstance(x, DeviceColumn) else np.log(x)

    def sqrt(self, x: Any) -> Any:
        return apply_one(device.SQUARE_ROOT, x) if isinstance(x, DeviceColumn) else np.sqrt(x)

    def isnan(self, x: Any) -> Any:
        return apply_one(device.IS_NAN, x) if isinstance(x, DeviceColumn) else np.isnan(x)

    def maximum(self, x: Any, y: Any) -> DeviceColumn:
        return apply_two(device.MAXIMUM, x, y)

    def minimum(self, x: Any, y: Any) -> DeviceColumn:
        return apply_two(device.MINIMUM, x, y)

    def where(self, condition: DeviceColumn, x: Any, y: Any) -> DeviceColumn:
        return choose(condition, x, y)


NUMPY = _Numpy()


class _Kernels:
    """A module of kernels whose functions take device columns."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if not callable(value):
            return value
        for host, twin in KERNELS.items():
            if value is host:
                return twin
        raise NoDeviceForm(f"kernel {self._module.__name__.rpartition('.')[2]}.{name}")


def _filled(kernel: Any, n_out: int, *arguments: Any, by_symbol: bool = False, segment: str = "") -> Any:
    """Run a kernel that writes ``n_out`` new columns from columns and numbers; returns the column, or the columns."""
    columns = [x for x in arguments if isinstance(x, DeviceColumn)]
    bars, _ = common_bars(*columns)
    outs = [bars.new() for _ in range(n_out)]
    given = [x.whole() if isinstance(x, DeviceColumn) else x for x in arguments]
    tail = [getattr(bars, segment)] if segment else []
    bars.launch(kernel, *(out.array for out in outs), *given, *tail, by_symbol=by_symbol)
    return outs[0] if n_out == 1 else tuple(outs)


def _oscillators(high: Any, low: Any, close: Any, n: int = 14, fast: int = 12, slow: int = 26, signal: int = 9) -> Any:
    arguments = (high, low, close, n, fast, slow, signal)
    return _filled(device.oscillators, 4, *arguments, by_symbol=True, segment="starts")


def _rolling_products(x: Any, y: Any, n: int) -> Any:
    return _filled(device.rolling_products, 3, x, y, n, segment="age")


def _rolling_beta(x: Any, market: Any, n: int) -> Any:
    return _filled(device.slope_of_products, 1, *_rolling_products(x, market, n)[1:])


KERNELS: dict[Any, Callable[..., Any]] = {
    kernels.ratio: lambda x, y, if_zero: _filled(device.ratio, 1, x, y, float(if_zero)),
    kernels.position: lambda x, low, high, same: _filled(device.position, 1, x, low, high, float(same)),
    kernels.distance: lambda x, reference: _filled(device.distance, 1, x, reference),
    kernels.sma: lambda x, n: _filled(device.sma, 1, x, n, segment="age"),
    kernels.bollinger: lambda x, n=20, width=2.0: _filled(device.bollinger, 3, x, n, float(width), segment="age"),
    kernels.rolling_std: lambda x, n: _filled(device.rolling_std, 1, x, n, segment="age"),
    kernels.rolling_products: _rolling_products,
    kernels.rolling_corr: lambda x, y, n: _filled(device.correlation_of_products, 1, *_rolling_products(x, y, n)),
    kernels.oscillators: _oscillators,
    windows.window_mean: lambda x, n: _filled(device.window_mean, 1, x, n, segment="age"),
    windows.rolling_max: lambda x, n: _filled(device.rolling_extreme, 1, x, n, 1.0, segment="age"),
    windows.rolling_min: lambda x, n: _filled(device.rolling_extreme, 1, x, n, -1.0, segment="age"),
    windows.share_above: lambda x, weight, level, n: _filled(device.share_above, 1, x, weight, level, n, segment="age"),
    windows.run_length: lambda x, longest: _filled(
        device.run_length, 1, x, float(longest), by_symbol=True, segment="starts"
    ),
    windows.rolling_beta: _rolling_beta,
}
"""Host kernel to its form on device columns. A kernel that is not here is computed on the host."""

"""The declared formulas of the catalogue as they stand, run on columns that hold many symbols.

A formula is Python over the arrays of one symbol: numpy functions, slices by bars, kernels. Writing it down a second
time for many symbols, or for a GPU, would make two features of one name. Here the *same* code object is run with other
meanings of the names that it uses: ``np`` and the kernels take columns. So nothing can drift but the kernels: on the
host they are the same ones (``column_program``), on a GPU each has one twin (``device_columns``). A formula that asks
for more is computed symbol by symbol on the host.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher

from catalyst_ml.features.catalogue import INTERMEDIATES, FeatureSpec, Intermediate
from catalyst_ml.features.columns import Column, ColumnSize, NoColumnForm, apply, choose, closed, common_bars
from catalyst_ml.indicators import kernels, one_pass, windows

Formula = Callable[..., Any]

_INTERMEDIATES: dict[str, Intermediate] = {i.name: i for i in INTERMEDIATES}
_MODULES = (kernels, one_pass, windows)


def on_columns(compute: Formula) -> Formula:
    """Return a declared formula with its ``np`` and kernels replaced by those of columns.

    Parameters
    ----------
    compute : callable
        ``FeatureSpec.compute`` or ``Intermediate.compute``. Functions of its own modules that it calls are taken
        along, and so is what it closes over.

    Raises
    ------
    NoColumnForm
        If it is no plain Python function.
    """
    return _rebound(compute, {})


def _rebound(function: Formula, seen: dict[int, dict[str, Any]]) -> Formula:
    if not isinstance(function, FunctionType):
        raise NoColumnForm(f"{function!r} is no plain Python function")
    names = _meanings(function.__globals__, seen)
    closure = function.__closure__ and tuple(CellType(_meaning(c.cell_contents, seen)) for c in function.__closure__)
    twin = FunctionType(function.__code__, names, function.__name__, function.__defaults__, closure)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def _meanings(names: dict[str, Any], seen: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return a module's names with their meanings on columns; ``seen`` ends circles between functions."""
    if id(names) not in seen:
        seen[id(names)] = changed = dict(names)
        changed.update({name: _meaning(value, seen) for name, value in names.items()})
    return seen[id(names)]


def _meaning(value: Any, seen: dict[int, dict[str, Any]]) -> Any:
    if isinstance(value, ModuleType):
        return NUMPY if value is np else _Kernels(value) if value in _MODULES else value
    if isinstance(value, FunctionType):
        return _rebound(value, seen) if id(value.__globals__) in seen or _computes(value) else value
    return KERNELS.get(value, value) if isinstance(value, Dispatcher) else value


def _computes(function: FunctionType) -> bool:
    """Say whether a function's module knows numpy or the kernels: only then it may mean something else on columns."""
    known = [value for value in function.__globals__.values() if isinstance(value, ModuleType)]
    return any(value is np or value in _MODULES for value in known)


class _Numpy:
    """The part of numpy that formulas use; of plain numbers it is numpy's own."""

    nan, pi, e, inf, float64 = np.nan, np.pi, np.e, np.inf, np.float64

    def __getattr__(self, name: str) -> Any:
        raise NoColumnForm(f"np.{name}")

    def full(self, size: Any, value: float) -> Column:
        if not isinstance(size, ColumnSize):
            raise NoColumnForm(f"np.full of size {size!r}; known is the size of a column")
        out = size.bars.new()
        return apply(np.positive, float(value), out=out)

    def abs(self, x: Any) -> Any:
        return apply(np.absolute, x) if isinstance(x, Column) else np.abs(x)

    def log(self, x: Any) -> Any:
        return apply(np.log, x) if isinstance(x, Column) else np.log(x)

    def sqrt(self, x: Any) -> Any:
        return apply(np.sqrt, x) if isinstance(x, Column) else np.sqrt(x)

    def isnan(self, x: Any) -> Any:
        return apply(np.isnan, x) if isinstance(x, Column) else np.isnan(x)

    def maximum(self, x: Any, y: Any) -> Column:
        return apply(np.maximum, x, y)

    def minimum(self, x: Any, y: Any) -> Column:
        return apply(np.minimum, x, y)

    def where(self, condition: Column, x: Any, y: Any) -> Column:
        return choose(condition, x, y)


NUMPY = _Numpy()


class _Kernels:
    """A module of kernels whose functions take columns."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if not callable(value):
            return value
        if value in KERNELS:
            return KERNELS[value]
        raise NoColumnForm(f"kernel {self._module.__name__.rpartition('.')[2]}.{name}")


def _twin(kernel: Any, n_out: int = 1) -> Formula:
    """Return a kernel's meaning on columns: it fills ``n_out`` new ones, however their bars go about it."""
    signature = inspect.signature(kernel.py_func)
    n_parameters = len(signature.parameters)

    def fill(*arguments: Any, **named: Any) -> Any:
        if named or len(arguments) < n_parameters:
            bound = signature.bind(*arguments, **named)
            bound.apply_defaults()
            arguments = bound.args
        bars, _ = common_bars(*(x for x in arguments if isinstance(x, Column)))
        given = [x.whole() if isinstance(x, Column) else x for x in arguments]
        outs = [bars.new() for _ in range(n_out)]
        bars.run(kernel, [out.array for out in outs], given)
        return outs[0] if n_out == 1 else tuple(outs)

    return fill


KERNELS: dict[Any, Formula] = {
    kernels.ratio: _twin(kernels.ratio),
    kernels.position: _twin(kernels.position),
    kernels.distance: _twin(kernels.distance),
    kernels.sma: _twin(kernels.sma),
    kernels.bollinger: _twin(kernels.bollinger, 3),
    kernels.rolling_std: _twin(kernels.rolling_std),
    kernels.rolling_corr: _twin(kernels.rolling_corr),
    one_pass.oscillators: _twin(one_pass.oscillators, 4),
    windows.window_mean: _twin(windows.window_mean),
    windows.rolling_max: _twin(windows.rolling_max),
    windows.rolling_min: _twin(windows.rolling_min),
    windows.share_above: _twin(windows.share_above),
    windows.run_length: _twin(windows.run_length),
    windows.rolling_beta: _twin(windows.rolling_beta),
}
"""Kernel to its form on columns. A formula with a kernel that is not here is computed symbol by symbol."""


class ColumnInputs:
    """Columns by name; intermediates are computed at first use and kept for other features.

    Parameters
    ----------
    columns : mapping of str to Column or None
        Inputs; None is an absent source.
    formulas : mapping of callable to callable
        Declared formulas to their forms on columns (``forms_on_columns``).
    """

    def __init__(self, columns: Mapping[str, Column | None], formulas: Mapping[Formula, Formula]) -> None:
        self._computed: dict[str, Any] = dict(columns)
        self._formulas = formulas

    def feature(self, spec: FeatureSpec) -> Column | None:
        """Return the feature at every bar, first bars not yet blanked; None if a source is absent.

        Raises
        ------
        NoColumnForm
            If the formula, or one behind its inputs, has no meaning on columns.
        """
        arguments = [self._get(name) for name in spec.inputs]
        if any(argument is None for argument in arguments):
            return None
        values = self._formulas[spec.compute](*arguments)
        if not isinstance(values, Column) or values.skip:
            raise NoColumnForm(f"the formula gave {type(values).__name__}, not one value per bar")
        return values

    def _get(self, name: str) -> Any:
        if name not in self._computed:
            intermediate = _INTERMEDIATES[name]
            arguments = [self._get(needed) for needed in intermediate.inputs]
            is_absent = any(argument is None for argument in arguments)
            self._computed[name] = None if is_absent else closed(self._formulas[intermediate.compute](*arguments))
        return self._computed[name]


def forms_on_columns(catalogue: Sequence[FeatureSpec]) -> dict[Formula, Formula]:
    """Return the forms on columns of the formulas of a catalogue and of all intermediates."""
    seen: dict[int, dict[str, Any]] = {}
    computes = [*(i.compute for i in INTERMEDIATES), *(spec.compute for spec in catalogue)]
    return {compute: _form_or_refusal(compute, seen) for compute in computes}


def _form_or_refusal(compute: Formula, seen: dict[int, dict[str, Any]]) -> Formula:
    try:
        return _rebound(compute, seen)
    except NoColumnForm as error:
        why = str(error)

        def refuse(*_: Any) -> Any:
            raise NoColumnForm(why)

        return refuse

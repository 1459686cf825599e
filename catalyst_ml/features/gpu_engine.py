"""Computes declared features on a CUDA device: the formulas of the catalogue on columns that stay there.

The inputs of some symbols go up once, every feature is computed from them and from shared intermediates in device
memory, and one table of values comes down. Inputs that join symbols (breadth, ranks, news) are made on the host before,
as for the CPU. What does not fit goes in parts, a part being some whole symbols. Who should call this, and when the CPU
is the better place, is decided in ``device_choice``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from catalyst_ml.errors import DataContractError, DeviceUnavailable
from catalyst_ml.features.catalogue import FeatureSpec
from catalyst_ml.features.column_formulas import ColumnInputs, forms_on_columns
from catalyst_ml.features.columns import Column, joined
from catalyst_ml.features.device_columns import DeviceBars, driver
from catalyst_ml.features.engine import SymbolTask, fill_values
from catalyst_ml.indicators import cuda_kernels
from catalyst_ml.indicators.cuda_kernels import cuda
from catalyst_ml.indicators.kernels import FloatArray

log = logging.getLogger(__name__)

SHARE_OF_FREE_MEMORY = 0.8
"""The rest is for compiled code, for the driver, and for whoever else draws on the same card (a desktop)."""

WORKING_COLUMNS = 24
"""Columns in memory beside the inputs: ten of intermediates, and what the longest formula has under way (tested)."""

SIMULATED_BARS = 20_000
"""Whoever has the simulator switched on by accident is not to wait for it: some 10 ms a bar for both sets."""

_VALUE = 8


class GpuRun(NamedTuple):
    """What ran on the device: its name, in how many parts, and which features the host had to compute, and why."""

    device_name: str
    n_parts: int
    on_host: dict[str, str]
    seconds: float
    most_columns: int
    """Columns beyond the inputs that one part held at a time; the memory asked for counts ``WORKING_COLUMNS``."""


def require_device() -> str:
    """Return the name of the CUDA device.

    Raises
    ------
    DeviceUnavailable
        If there is no driver or no device; the message says which.
    """
    if cuda_kernels.IS_SIMULATED:
        return "numba's CUDA simulator"
    try:
        if not cuda.is_available():
            # numba's message has several lines of advice; a log or a table has room for the first.
            why = str(cuda.cuda_error() or "the driver reports none").strip().splitlines()[0].rstrip(":. ")
            raise DeviceUnavailable(f"no CUDA device: {why}. Use the CPU.")
        name = cuda.get_current_device().name
        return name.decode() if isinstance(name, bytes) else str(name)
    except DeviceUnavailable:
        raise
    except Exception as error:
        # A driver older than the library, a device taken by another process, ...: their errors share no class.
        raise DeviceUnavailable(f"no usable CUDA device: {type(error).__name__}: {error}. Use the CPU.") from error


def free_memory() -> float:
    """Return the bytes of device memory that are free now; infinite under the simulator."""
    try:
        return float(cuda.current_context().get_memory_info().free)
    except Exception as error:
        raise DeviceUnavailable(f"the CUDA device gave no memory information: {error}. Use the CPU.") from error


def fill_values_on_gpu(
    values: np.ndarray,
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, Any],
    catalogue: Sequence[FeatureSpec],
    *,
    memory_limit_bytes: float | None = None,
) -> GpuRun:
    """Write the features of each task's symbol into its rows of ``values``, as ``engine.fill_values`` does.

    Parameters
    ----------
    values : (n_rows, n_features) float64 or float32
        Changed in place; NaN beforehand.
    tasks : sequence of SymbolTask
        Which bars of which symbols are wanted, and where they go.
    columns : mapping of str to (n_bars,) float64 or None
        Inputs laid out like the bars: numpy arrays, or arrays that are on the device already (CuPy, a column of cuDF's
        ``.values``, torch: whatever has ``__cuda_array_interface__``), which do not pass through the host. None is an
        absent source.
    catalogue : sequence of FeatureSpec
        The declarations. One without a form on the device is computed on the host from the same inputs.
    memory_limit_bytes : float, optional
        Device memory to use at most; ``SHARE_OF_FREE_MEMORY`` of what is free if None.

    Returns
    -------
    GpuRun
        What ran where.

    Raises
    ------
    DeviceUnavailable
        If there is no device, it fails on the way, or the longest symbol alone does not fit. ``values`` is then
        unusable: some rows may be written.
    DataContractError
        If an input is shorter than the bars.
    """
    started = time.perf_counter()
    name = require_device()
    n_bars = sum(_n_bars(task) for task in tasks)
    if cuda_kernels.IS_SIMULATED and n_bars > SIMULATED_BARS:
        raise DeviceUnavailable(
            f"{n_bars:,} bars are too many for numba's CUDA simulator: it runs at most {SIMULATED_BARS:,}, to show "
            "that the kernels are right. Unset NUMBA_ENABLE_CUDASIM, or use the CPU."
        )
    limit = SHARE_OF_FREE_MEMORY * free_memory() if memory_limit_bytes is None else memory_limit_bytes
    on_host: dict[str, str] = {}
    parts = split_by_symbols(tasks, bytes_per_bar(columns), _bytes_per_row(values), limit)
    most_columns = 0
    for part in parts:
        most_columns = max(most_columns, _fill_part(values, part, columns, catalogue, on_host))
    _fill_on_host(values, tasks, columns, catalogue, on_host)
    return GpuRun(name, len(parts), on_host, time.perf_counter() - started, most_columns)


def values_on_device(
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, Any],
    catalogue: Sequence[FeatureSpec],
    *,
    dtype: Any = np.float64,
) -> Any:
    """Compute features and leave them on the device.

    Returns
    -------
    (n_features, n_rows) device array
        Rows task by task, in the order of each task's wanted bars. It carries ``__cuda_array_interface__``: CuPy, cuDF
        and torch take it over without a copy.

    Raises
    ------
    DeviceUnavailable
        If all of it does not fit, or a feature has no device form.
    """
    require_device()
    n_rows = sum(_n_rows(task) for task in tasks)
    row_bytes = np.dtype(dtype).itemsize * len(catalogue) + _VALUE
    needed = n_rows * row_bytes + bytes_per_bar(columns) * sum(_n_bars(task) for task in tasks)
    if needed > SHARE_OF_FREE_MEMORY * free_memory():
        raise DeviceUnavailable(
            f"{n_rows} rows of {len(catalogue)} features need {needed / 1e9:.2f} GB on the device, "
            f"{free_memory() / 1e9:.2f} GB are free. Take fewer symbols at a time."
        )
    on_host: dict[str, str] = {}
    table = _Part(tasks, columns).compute(catalogue, np.dtype(dtype), on_host)
    if on_host:
        raise DeviceUnavailable(f"features without a form on the device: {on_host}. Leave them out, or use the CPU.")
    return table


def on_host_columns(columns: Mapping[str, Any]) -> dict[str, FloatArray | None]:
    """Return the inputs as numpy arrays; those on the device are copied down."""
    return {
        name: cuda.as_cuda_array(column).copy_to_host() if hasattr(column, "__cuda_array_interface__") else column
        for name, column in columns.items()
    }


def bytes_per_bar(columns: Mapping[str, Any]) -> int:
    """Return the device memory that one bar takes while its symbol is under way, its rows of the result not counted."""
    return _VALUE * (sum(column is not None for column in columns.values()) + WORKING_COLUMNS) + 4


def split_by_symbols(
    tasks: Sequence[SymbolTask], bar_bytes: int, row_bytes: int, limit: float
) -> list[Sequence[SymbolTask]]:
    """Return the tasks in parts, in order, each of as many whole symbols as fit into ``limit`` bytes.

    Raises
    ------
    DeviceUnavailable
        If one symbol alone is too large: it cannot be cut, recursive indicators need all of its bars.
    """
    parts: list[Sequence[SymbolTask]] = []
    first, used = 0, 0.0
    for at, task in enumerate(tasks):
        own = float(bar_bytes * _n_bars(task) + row_bytes * _n_rows(task))
        if not own <= limit:
            raise DeviceUnavailable(
                f"{task.symbol}: its {_n_bars(task)} bars need {own / 1e6:.1f} MB on the device, "
                f"{limit / 1e6:.1f} MB may be used. Use the CPU, or free device memory."
            )
        if at > first and used + own > limit:
            parts.append(tasks[first:at])
            first, used = at, 0.0
        used += own
    return [*parts, tasks[first:]] if tasks else []


class _Part:
    """Some symbols on the device: inputs by name, intermediates computed at first use and kept for other features."""

    def __init__(self, tasks: Sequence[SymbolTask], columns: Mapping[str, Any]) -> None:
        self.bars = DeviceBars([_n_bars(task) for task in tasks])
        self._tasks = tasks
        self._columns = {name: None if column is None else self._upload(column) for name, column in columns.items()}
        self.n_inputs = self.bars.n_buffers

    def compute(self, catalogue: Sequence[FeatureSpec], dtype: Any, on_host: dict[str, str]) -> Any:
        """Return the features (n_features, n_rows) on the device; adds to ``on_host`` what has no device form."""
        bar_of_row = self.bars.upload(self._bar_of_row())
        table = self.bars.table(len(catalogue), len(bar_of_row), dtype)
        unknown = self.bars.unknown()
        inputs = ColumnInputs(self._columns, forms_on_columns(catalogue))
        for row, spec in enumerate(catalogue):
            values = None if spec.name in on_host else self._feature(spec, inputs, on_host)
            self.bars.gather(table, row, unknown if values is None else values, bar_of_row, spec.lookback_bars - 1)
        return table

    def _feature(self, spec: FeatureSpec, inputs: ColumnInputs, on_host: dict[str, str]) -> Column | None:
        """Return the feature at every bar, its first bars not yet blanked; None if a source is absent."""
        try:
            return inputs.feature(spec)
        except DeviceUnavailable:
            raise
        except Exception as error:
            # A formula may stumble over a column in any way. If it is wrong in itself, the host says so.
            on_host[spec.name] = f"no device form: {error or type(error).__name__}".splitlines()[0]
            log.warning("feature %s is computed on the host: %s", spec.name, on_host[spec.name])
            return None

    def _upload(self, column: Any) -> Column:
        """Copy the symbols' bars of a column one after the other, neighbours in the bars in one piece."""
        on_card = hasattr(column, "__cuda_array_interface__")
        source = cuda.as_cuda_array(column) if on_card else np.asarray(column, dtype=np.float64)
        out, at = self.bars.new(), 0
        for rows in joined([task.bars for task in self._tasks]):
            piece = source[rows] if on_card else np.ascontiguousarray(source[rows])
            if len(piece) != rows.stop - rows.start:
                # What is not copied would be left over from another column.
                raise DataContractError(
                    f"features on a device: an input has {len(source)} values, bars up to {rows.stop} are wanted; "
                    "expected one value per bar. Lay inputs out like the bars."
                )
            self.bars.fill(out, at, piece)
            at += rows.stop - rows.start
        return out.as_input()

    def _bar_of_row(self) -> np.ndarray:
        """Return for every wanted row, task by task, the position of its bar on the device."""
        pieces, at = [np.empty(0, dtype=np.int64)], 0
        for task in self._tasks:
            every = np.arange(_n_bars(task), dtype=np.int64)
            pieces.append(at + every[task.wanted])
            at += _n_bars(task)
        return np.concatenate(pieces)


def _fill_part(
    values: np.ndarray,
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, Any],
    catalogue: Sequence[FeatureSpec],
    on_host: dict[str, str],
) -> int:
    """Compute one part and write it; returns how many columns it held. Its device memory is free when this returns."""
    part = _Part(tasks, columns)
    _write_part(values, tasks, part.compute(catalogue, values.dtype, on_host))
    return part.bars.n_buffers - part.n_inputs


def _write_part(values: np.ndarray, tasks: Sequence[SymbolTask], table: Any) -> None:
    """Spread a part's device table (n_features, n_rows) over the rows of the result."""
    filled = [task.rows for task in tasks if isinstance(task.rows, slice)]
    if values.flags.f_contiguous and len(filled) == len(tasks) and joined(filled) == [slice(0, len(values))]:
        driver(table.copy_to_host, values.T)
        return
    table, at = driver(table.copy_to_host), 0
    for task in tasks:
        n_rows = _n_rows(task)
        values[task.rows] = table[:, at : at + n_rows].T
        at += n_rows


def _fill_on_host(
    values: np.ndarray,
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, Any],
    catalogue: Sequence[FeatureSpec],
    on_host: Mapping[str, str],
) -> None:
    wanted = [j for j, spec in enumerate(catalogue) if spec.name in on_host]
    if not wanted:
        return
    own = np.full((len(values), len(wanted)), np.nan, dtype=values.dtype, order="F")
    fill_values(own, tasks, on_host_columns(columns), [catalogue[j] for j in wanted])
    values[:, wanted] = own


def _bytes_per_row(values: np.ndarray) -> int:
    return values.itemsize * values.shape[1] + _VALUE


def _n_bars(task: SymbolTask) -> int:
    return int(task.bars.stop - task.bars.start)


def _n_rows(task: SymbolTask) -> int:
    return _n_bars(task) if isinstance(task.wanted, slice) else len(task.wanted)

"""Computes declared features: one pass per symbol over columnar arrays, symbols side by side on threads.

The numeric work is done by compiled kernels that hold no interpreter lock, so threads of one process are enough and
nothing is copied between processes. A symbol's values depend on its own arrays alone: the number of threads
cannot change a bit of them. In memory at a time: the inputs, the result, and one symbol's arrays per thread.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.features.catalogue import (
    CATALOGUE,
    INPUTS,
    INTERMEDIATES,
    RECURSIVE_LOOKBACK_BARS,
    FeatureSpec,
    Intermediate,
)
from catalyst_ml.features.column_program import record, run_program
from catalyst_ml.features.cross_section import cross_sectional_inputs
from catalyst_ml.features.extended_inputs import EXTENDED_INPUTS, extended_inputs
from catalyst_ml.features.intraday import as_intraday
from catalyst_ml.features.intraday_inputs import INTRADAY_INPUTS, intraday_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices

log = logging.getLogger(__name__)

Storage = Literal["float64", "float32"]
"""How values are kept. They are computed in float64 either way; float32 halves the memory of the result."""

FEW_BARS = 20_000
"""Below this many bars starting threads costs more than they save."""

BLOCK_BARS = 131_072
"""Bars that a thread computes without a look at the interpreter's lock: some milliseconds of work."""

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
_INTERMEDIATES: dict[str, Intermediate] = {i.name: i for i in INTERMEDIATES}
ALL_INPUTS: dict[str, str] = INPUTS | EXTENDED_INPUTS | INTRADAY_INPUTS
"""Of the plan's catalogue, of the second set, and of both on intraday bars."""


class SymbolTask(NamedTuple):
    """Bars of one symbol among the columns, the wanted ones among its bars, and the rows they fill in the result."""

    symbol: str
    bars: slice
    wanted: np.ndarray | slice
    rows: np.ndarray | slice
    """Both are slices (every bar, in order) or both positions."""


def compute_features(
    panel: MarketPanel,
    rows: pd.DataFrame,
    *,
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    dtype: Storage = "float64",
    n_threads: int | None = None,
) -> pd.DataFrame:
    """Compute every feature of ``catalogue`` at the wanted bars.

    Parameters
    ----------
    panel : MarketPanel
        Bars, instruments and news; nothing after a row's ``ts`` enters its values.
    rows : DataFrame
        Columns ``symbol`` and ``ts`` (UTC, close of the bar), in any order; repeats are allowed.
    catalogue : tuple of FeatureSpec
        The declarations to compute.
    dtype : {"float64", "float32"}
        How the values are stored; computed are they in float64.
    n_threads : int, optional
        Symbols computed at a time; as many as this process has cores if None. Changes no value.

    Returns
    -------
    DataFrame
        ``symbol``, ``ts`` and one column per feature, in the order of ``rows``, index 0..n-1. NaN means
        missing: source absent, or fewer bars of history than the feature declares.

    Raises
    ------
    DataContractError
        If a wanted row is no bar of the panel.
    ConfigurationError
        If a declaration names an input that does not exist.
    """
    catalogue = declared_for(panel, catalogue)
    needed = needed_inputs(catalogue)
    tasks = symbol_tasks(panel, rows)
    values = np.full((len(rows), len(catalogue)), np.nan, dtype=dtype, order="F")
    fill_values(values, tasks, input_columns(panel, needed), catalogue, n_threads=n_threads)
    keys = rows[["symbol", "ts"]].reset_index(drop=True)
    features = pd.DataFrame(values, columns=[spec.name for spec in catalogue], copy=False)
    return pd.concat([keys, features], axis=1)


def insufficient_history(panel: MarketPanel, minimum: int = RECURSIVE_LOOKBACK_BARS) -> pd.DataFrame:
    """Return the stocks with fewer than ``minimum`` bars: ``symbol`` and ``n_bars``, sorted by symbol.

    Their indicators never come free of their start, so they are reported and their events dropped.
    """
    stocks = panel.stocks
    counts = [(s, rows.stop - rows.start) for s, rows in symbol_slices(panel.bars["symbol"]) if s in stocks]
    short = [(symbol, n_bars) for symbol, n_bars in counts if n_bars < minimum]
    return pd.DataFrame(
        {
            "symbol": pd.Series([symbol for symbol, _ in short], dtype="str"),
            "n_bars": pd.Series([n_bars for _, n_bars in short], dtype="int64"),
        }
    )


def declared_for(panel: MarketPanel, catalogue: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
    """Return the declarations as they are computed on this panel: on intraday bars those of days count sessions."""
    return catalogue if panel.calendar is None else as_intraday(catalogue)


def needed_inputs(catalogue: Sequence[FeatureSpec]) -> set[str]:
    """Return the inputs that the declarations ask for, directly or through intermediates.

    Raises
    ------
    ConfigurationError
        If a declaration names an input that does not exist.
    """
    needed: set[str] = set()
    for spec in catalogue:
        unknown = [name for name in spec.inputs if name not in ALL_INPUTS and name not in _INTERMEDIATES]
        if unknown:
            raise ConfigurationError(
                f"feature {spec.name!r} asks for inputs {unknown}; known are {[*ALL_INPUTS, *_INTERMEDIATES]}. "
                "Correct the name, or declare the input in features/catalogue.py."
            )
        needed.update(_sources(spec.inputs))
    return needed


def input_columns(panel: MarketPanel, needed: set[str]) -> dict[str, FloatArray | None]:
    """Return the needed inputs, laid out like the bars, in float64; None where no source exists."""
    columns: dict[str, FloatArray | None] = dict.fromkeys(needed)
    columns.update({name: panel.bars[name].to_numpy(np.float64) for name in BAR_COLUMNS if name in needed})
    columns.update(cross_sectional_inputs(panel, needed))
    columns.update(extended_inputs(panel, needed))
    columns.update(intraday_inputs(panel, needed))
    return columns


def fill_values(
    values: np.ndarray,
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, FloatArray | None],
    catalogue: Sequence[FeatureSpec],
    *,
    n_threads: int | None = None,
) -> None:
    """Write the features of each task's symbol into its rows of ``values`` (n_rows, n_features), NaN beforehand.

    The one function that changes its argument: the result would not fit into memory twice.
    """

    program = record(catalogue, {name: column is not None for name, column in columns.items()})
    sources = [np.ascontiguousarray(columns[name], dtype=np.float64) for name in program.sources]
    addresses = np.array([source.ctypes.data for source in sources], dtype=np.int64)
    n_source = min((len(source) for source in sources), default=0)
    one_by_one = [(j, spec) for j, spec in enumerate(catalogue) if spec.name in program.without_form]
    for name, why in program.without_form.items():
        log.debug("feature %s is computed symbol by symbol: %s", name, why)
    longest = max((_n_bars(task) for task in tasks), default=0)
    workplaces = _Workplaces((program.n_registers, longest))

    def fill(block: Sequence[SymbolTask]) -> None:
        placed, wanted, rows = _places(block, len(values))
        run_program(
            program.steps, program.numbers, addresses, n_source, workplaces.registers, placed, wanted, rows, values.T
        )
        for task in block if one_by_one else ():
            _fill_symbol(values, task, columns, one_by_one)

    n_threads_at_most = n_threads or _n_cores()
    n_bars = sum(_n_bars(task) for task in tasks)
    is_alone = n_threads_at_most == 1 or (n_threads is None and n_bars < FEW_BARS)
    # Some blocks for each thread, so that the last one to finish does not keep the others waiting for long.
    blocks = split_into_blocks(tasks, BLOCK_BARS if is_alone else min(BLOCK_BARS, n_bars // (4 * n_threads_at_most)))
    if is_alone or len(blocks) <= 1:
        for block in blocks:
            fill(block)
        return
    with ThreadPoolExecutor(min(n_threads_at_most, len(blocks)), thread_name_prefix="features") as pool:
        # Reading the results hands on the first error.
        for _ in pool.map(fill, blocks):
            pass


def split_into_blocks(tasks: Sequence[SymbolTask], n_bars: int) -> list[Sequence[SymbolTask]]:
    """Return the tasks in order, as many at a time as have ``n_bars`` bars together, at least one."""
    blocks: list[Sequence[SymbolTask]] = []
    first, filled = 0, 0
    for at, task in enumerate(tasks):
        if at > first and filled + _n_bars(task) > n_bars:
            blocks.append(tasks[first:at])
            first, filled = at, 0
        filled += _n_bars(task)
    return [*blocks, tasks[first:]] if tasks else []


def last_values(
    columns: Mapping[str, FloatArray | None], catalogue: Sequence[FeatureSpec], *, n_bars: int, symbol: str
) -> FloatArray:
    """Return the features (n_features,) of the last of ``n_bars`` bars of one symbol, whose arrays ``columns`` are."""
    inputs = _SymbolInputs(columns, slice(0, n_bars))
    out = np.full(len(catalogue), np.nan)
    for j, spec in enumerate(catalogue):
        if n_bars >= spec.lookback_bars and (computed := _compute_one(spec, inputs, symbol)) is not None:
            out[j] = computed[-1]
    return out


class _SymbolInputs:
    """Arrays of one symbol by name; intermediates are computed at first use and kept for other features."""

    def __init__(self, columns: Mapping[str, FloatArray | None], rows: slice) -> None:
        self._columns = columns
        self._rows = rows
        self._computed: dict[str, Any] = {}

    @property
    def n_bars(self) -> int:
        return self._rows.stop - self._rows.start

    def get(self, name: str) -> Any:
        """Return the named array(s) of shape (n_bars,), or None if the source is absent."""
        if name not in self._computed:
            self._computed[name] = self._resolve(name)
        return self._computed[name]

    def _resolve(self, name: str) -> Any:
        if name in _INTERMEDIATES:
            intermediate = _INTERMEDIATES[name]
            arguments = [self.get(needed) for needed in intermediate.inputs]
            return None if any(argument is None for argument in arguments) else intermediate.compute(*arguments)
        column = self._columns[name]
        # A copy on purpose: pandas hands out read-only views, which numba would compile all kernels anew for.
        return None if column is None else np.array(column[self._rows], dtype=np.float64)


class _Workplaces(threading.local):
    """Registers of each thread: memory is asked for once, and stays in the caches from symbol to symbol."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.registers = np.empty(shape)


def _places(block: Sequence[SymbolTask], n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tasks as ``run_program`` takes them: (n_tasks, 5), wanted bars and their rows of those that say which.

    Raises
    ------
    DataContractError
        If a task has rows or bars that do not exist: compiled code writes where it is told.
    """
    placed, wanted, rows, n = np.empty((len(block), 5), dtype=np.int64), [], [], 0
    for t, task in enumerate(block):
        if isinstance(task.wanted, slice) and isinstance(task.rows, slice):
            placed[t] = (task.bars.start, task.bars.stop, task.rows.start, n, n)
            _require_places(task, np.array([task.rows.start, task.rows.start + _n_bars(task) - 1]), n_rows)
            continue
        own = np.arange(_n_bars(task))[task.wanted]
        wanted.append(own)
        rows.append(np.arange(task.rows.start, task.rows.stop) if isinstance(task.rows, slice) else task.rows)
        placed[t] = (task.bars.start, task.bars.stop, -1, n, n + len(own))
        _require_places(task, rows[-1], n_rows, n_wanted=len(own))
        n += len(own)
    nothing = [np.empty(0, dtype=np.int64)]
    return placed, np.concatenate(nothing + wanted).astype(np.int64), np.concatenate(nothing + rows).astype(np.int64)


def _require_places(task: SymbolTask, rows: np.ndarray, n_rows: int, *, n_wanted: int | None = None) -> None:
    is_inside = len(rows) == 0 or (int(rows.min()) >= 0 and int(rows.max()) < n_rows)
    if not is_inside or (n_wanted is not None and n_wanted != len(rows)):
        raise DataContractError(
            f"features of {task.symbol}: its values are to go into rows {rows[:3]}... ({len(rows)}) of a result of "
            f"{n_rows} rows; expected one existing row for each wanted bar. Make the result as long as the rows."
        )


def _fill_symbol(
    values: np.ndarray,
    task: SymbolTask,
    columns: Mapping[str, FloatArray | None],
    wanted: Sequence[tuple[int, FeatureSpec]],
) -> None:
    inputs = _SymbolInputs(columns, task.bars)
    for j, spec in wanted:
        if (computed := _compute_one(spec, inputs, task.symbol)) is not None:
            _write(values[:, j], task, computed, n_unknown=spec.lookback_bars - 1)


def _compute_one(spec: FeatureSpec, inputs: _SymbolInputs, symbol: str) -> FloatArray | None:
    """Return the feature at every bar of the symbol, its first bars not yet blanked; None if a source is absent."""
    arguments = [inputs.get(name) for name in spec.inputs]
    if any(argument is None for argument in arguments):
        return None
    values = np.asarray(spec.compute(*arguments), dtype=np.float64)
    if values.shape != (inputs.n_bars,):
        raise ConfigurationError(
            f"feature {spec.name!r} gave shape {values.shape} for the {inputs.n_bars} bars of {symbol}; "
            "expected one value per bar. Mend its compute function."
        )
    return values


def _write(column: np.ndarray, task: SymbolTask, computed: FloatArray, *, n_unknown: int) -> None:
    """Write one symbol's values into their rows of a result column; those of its first bars are unknown."""
    if isinstance(task.rows, slice) or isinstance(task.wanted, slice):
        own = column[task.rows]
        own[:] = computed[task.wanted]
        own[:n_unknown] = np.nan
    else:
        column[task.rows] = np.where(task.wanted < n_unknown, np.nan, computed[task.wanted])


def _n_bars(task: SymbolTask) -> int:
    return int(task.bars.stop - task.bars.start)


def _sources(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name in _INTERMEDIATES:
            yield from _sources(_INTERMEDIATES[name].inputs)
        else:
            yield name


def _n_cores() -> int:
    """Cores this process may use; fewer than the machine has under a cgroup or taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def symbol_tasks(panel: MarketPanel, rows: pd.DataFrame) -> list[SymbolTask]:
    """Return per symbol which of its bars are wanted and which rows of the result they fill.

    Raises
    ------
    DataContractError
        If a wanted row is no bar of the panel.
    """
    slices = symbol_slices(panel.bars["symbol"])
    bar_ts = panel.bars["ts"].array.asi8
    if len(rows) == len(bar_ts) and np.array_equal(rows["ts"].array.asi8, bar_ts):
        symbols = rows["symbol"].reset_index(drop=True)
        if symbols.equals(panel.bars["symbol"].reset_index(drop=True)):
            # Every bar is wanted, in order: whole slices are written, with no positions to look up.
            return [SymbolTask(symbol, own, slice(None), own) for symbol, own in slices]
    return _wanted_tasks(rows, bar_ts, dict(slices))


def _wanted_tasks(rows: pd.DataFrame, bar_ts: np.ndarray, slices: Mapping[str, slice]) -> list[SymbolTask]:
    """Return per symbol the wanted rows and the positions of their bars among the symbol's bars."""
    codes, names = pd.factorize(rows["symbol"])
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    wanted_ts = rows["ts"].array.asi8
    tasks = []
    for code, name in enumerate(names):
        wanted = order[bounds[code] : bounds[code + 1]]
        own_ts = bar_ts[slices[name]] if name in slices else bar_ts[:0]
        found = np.searchsorted(own_ts, wanted_ts[wanted])
        is_bar = (found < len(own_ts)) & (np.append(own_ts, 0)[found] == wanted_ts[wanted])
        if not is_bar.all():
            first = rows["ts"].iloc[int(wanted[np.argmin(is_bar)])]
            raise DataContractError(
                f"features wanted for {int((~is_bar).sum())} rows of {name} that are no bars of the panel "
                f"({len(own_ts)} bars), first at {first}. Compute events and features from the same bars."
            )
        tasks.append(SymbolTask(str(name), slices[name], found, wanted))
    return tasks

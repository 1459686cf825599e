"""Features on the CPU or on a GPU: which one, why, and proof that both say the same.

``engine.compute_features`` is the CPU's and the reference: serving, the leak check and the golden vectors call it.
Work on many bars may go to a GPU through ``compute_features_on``, which never falls back silently: what ran, and why,
comes back with the values. Whatever a device computed is compared with the CPU on some symbols before it is handed out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DeviceUnavailable
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.engine import (
    Storage,
    SymbolTask,
    declared_for,
    fill_values,
    input_columns,
    needed_inputs,
    symbol_tasks,
)
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.indicators.kernels import FloatArray

log = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")

AUTO_MIN_BARS = 1_000_000
"""``auto`` leaves fewer bars to the CPU: it needs 0.5 to 3 microseconds a bar, a device seconds to start and to compile
some twenty kernels. Set from that arithmetic, not measured on a device."""

COMPARED_SYMBOLS = 8
MAX_DIFFERENCE = 1e-9
"""Allowed |gpu - cpu| relative to max(|cpu|, scale), design section 7."""

SCALE = 1e-3
"""Below it a value counts as this large: differences of prices near 0 have no relative precision."""


class DeviceUsed(NamedTuple):
    """Where features were computed and why; plain values, so that a run can keep it."""

    asked: str
    device: str
    """``cpu`` or ``cuda``: what really ran."""
    name: str
    reason: str
    seconds: float
    n_parts: int
    """Parts of whole symbols that were on the device one after the other; 0 on the CPU."""
    on_host: dict[str, str]
    """Features that the host computed beside the device, with the reason."""
    worst_difference: float | None
    """Largest difference to the CPU on the compared symbols, relative to max(|cpu|, scale); None on the CPU."""


class ComputedFeatures(NamedTuple):
    """Features as ``compute_features`` returns them, and where they were computed."""

    features: pd.DataFrame
    used: DeviceUsed


def compute_features_on(
    device: Device,
    panel: MarketPanel,
    rows: pd.DataFrame,
    *,
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    dtype: Storage = "float64",
    n_threads: int | None = None,
    memory_limit_bytes: float | None = None,
    auto_min_bars: int = AUTO_MIN_BARS,
) -> ComputedFeatures:
    """Compute every feature of ``catalogue`` at the wanted bars, on the device asked for or the one that pays.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes a GPU for ``auto_min_bars`` bars and more, and the CPU if there is none, if the bars do not fit,
        if it fails on the way or if its values differ from the CPU's. ``cuda`` raises instead.
    panel, rows, catalogue, dtype, n_threads
        As for ``engine.compute_features``; ``rows`` may also be a cuDF frame.
    memory_limit_bytes : float, optional
        Device memory to use at most; most of what is free if None. More bars than fit go in parts.
    auto_min_bars : int
        Fewest bars of the wanted symbols for which ``auto`` starts a GPU.

    Returns
    -------
    ComputedFeatures
        On a GPU values agree with the CPU's within ``MAX_DIFFERENCE`` (float32: and its rounding).

    Raises
    ------
    ConfigurationError
        If ``device`` is another word, or a declaration names an input that does not exist.
    DataContractError
        If a wanted row is no bar of the panel.
    DeviceUnavailable
        With ``cuda`` only: no device, not enough memory, a failure on the way, or other values than the CPU's.
    """
    if device not in DEVICES:
        raise ConfigurationError(f"features on device {device!r}: no such choice. Take one of {list(DEVICES)}.")
    if not isinstance(rows, pd.DataFrame) and hasattr(rows, "to_pandas"):
        rows = rows.to_pandas()
    started = time.perf_counter()
    catalogue = declared_for(panel, catalogue)
    needed = needed_inputs(catalogue)
    tasks = symbol_tasks(panel, rows)
    columns = input_columns(panel, needed)
    values = np.full((len(rows), len(catalogue)), np.nan, dtype=dtype, order="F")
    used = fill_on(
        device,
        values,
        tasks,
        columns,
        catalogue,
        n_threads=n_threads,
        memory_limit_bytes=memory_limit_bytes,
        auto_min_bars=auto_min_bars,
    )
    features = pd.DataFrame(values, columns=[spec.name for spec in catalogue], copy=False)
    keys = rows[["symbol", "ts"]].reset_index(drop=True)
    used = used._replace(seconds=time.perf_counter() - started)
    log.info("%d rows of features on %s in %.2f s: %s", len(rows), used.name, used.seconds, used.reason)
    return ComputedFeatures(pd.concat([keys, features], axis=1), used)


def fill_on(
    device: Device,
    values: np.ndarray,
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, FloatArray | None],
    catalogue: Sequence[FeatureSpec],
    *,
    n_threads: int | None = None,
    memory_limit_bytes: float | None = None,
    auto_min_bars: int = AUTO_MIN_BARS,
) -> DeviceUsed:
    """Write features into ``values`` as ``engine.fill_values`` does, on the device asked for or the one that pays."""
    started = time.perf_counter()
    n_bars = sum(task.bars.stop - task.bars.start for task in tasks)
    if device == "cpu":
        reason = "asked for"
    elif not tasks or not catalogue:
        reason = "nothing is wanted"
    elif device == "auto" and n_bars < auto_min_bars:
        reason = f"{n_bars:,} bars: below {auto_min_bars:,} a GPU would take longer to start than the CPU to finish"
    else:
        try:
            return _fill_on_gpu(device, values, tasks, columns, catalogue, memory_limit_bytes=memory_limit_bytes)
        except DeviceUnavailable as error:
            if device == "cuda":
                raise
            reason = str(error)
            log.warning("features are computed on the CPU: %s", reason)
            # What the device left behind may be half a result.
            values[:] = np.nan
    fill_values(values, tasks, columns, catalogue, n_threads=n_threads)
    return DeviceUsed(device, "cpu", "CPU", reason, time.perf_counter() - started, 0, {}, None)


def largest_difference(ours: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return per column the largest |ours - reference| / max(|reference|, SCALE); infinite if one alone is missing."""
    # A column at a time: tables of some gigabytes are compared.
    return np.array([_largest_difference(a, b) for a, b in zip(ours.T, reference.T, strict=True)])


def _largest_difference(ours: np.ndarray, reference: np.ndarray) -> float:
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) / np.maximum(np.abs(b), SCALE)
    apart[np.isnan(a) & np.isnan(b) | (a == b)] = 0.0
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


def _fill_on_gpu(
    device: Device,
    values: np.ndarray,
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, FloatArray | None],
    catalogue: Sequence[FeatureSpec],
    *,
    memory_limit_bytes: float | None,
) -> DeviceUsed:
    # Here, because a CPU run needs none of it and it asks for a driver.
    try:
        from catalyst_ml.features.gpu_engine import fill_values_on_gpu
    except Exception as error:
        # numba-cuda without its bindings, a driver library of another version: any class of error.
        raise DeviceUnavailable(
            f"numba.cuda cannot be loaded: {type(error).__name__}: {error}. Use the CPU."
        ) from error
    run = fill_values_on_gpu(values, tasks, columns, catalogue, memory_limit_bytes=memory_limit_bytes)
    worst = _compare_with_cpu(values, tasks, columns, catalogue)
    if run.on_host:
        reason = f"{len(catalogue) - len(run.on_host)} of {len(catalogue)} features have a form on the device"
    else:
        reason = "asked for" if device == "cuda" else "a device is there and the bars are many"
    return DeviceUsed(device, "cuda", run.device_name, reason, run.seconds, run.n_parts, run.on_host, worst)


def _compare_with_cpu(
    values: np.ndarray,
    tasks: Sequence[SymbolTask],
    columns: Mapping[str, FloatArray | None],
    catalogue: Sequence[FeatureSpec],
) -> float:
    """Compute some symbols, spread over all, on the CPU too; returns the worst difference.

    Raises
    ------
    DeviceUnavailable
        If a feature differs by more than ``MAX_DIFFERENCE``: then no value of this device is to be trusted.
    """
    chosen = sorted({round(at) for at in np.linspace(0, len(tasks) - 1, COMPARED_SYMBOLS)})
    few = [tasks[at] for at in chosen]
    rows = np.concatenate([np.arange(len(values))[task.rows] for task in few])
    reference, at, moved = np.full((len(rows), len(catalogue)), np.nan, dtype=values.dtype, order="F"), 0, []
    for task in few:
        own = slice(at, at + len(np.arange(len(values))[task.rows]))
        moved.append(task._replace(rows=own if isinstance(task.wanted, slice) else np.arange(own.start, own.stop)))
        at = own.stop
    fill_values(reference, moved, columns, catalogue)
    apart = largest_difference(values[rows], reference)
    # Two float64 values that agree may still round to neighbours in float32.
    allowed = MAX_DIFFERENCE + (np.finfo(np.float32).eps if values.dtype == np.float32 else 0.0)
    if (apart > allowed).any():
        bad = {spec.name: float(d) for spec, d in zip(catalogue, apart, strict=True) if d > allowed}
        raise DeviceUnavailable(
            f"the device's values differ from the CPU's on {len(few)} compared symbols by more than {allowed:.1e}: "
            f"{bad}. Use the CPU and report the device and its driver."
        )
    return float(apart.max(initial=0.0))

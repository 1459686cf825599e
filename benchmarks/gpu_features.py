"""Does a GPU say the same as the CPU, and from how many bars on is it faster? One table, with the device's name.

All features (56), the plan's 16 and the technical seven at every bar of symbols of 5,000 bars, from 100,000 bars up.
Inputs that join symbols are drawn, not joined: both sides would spend the same time on the host for them. Time runs
from host arrays to host arrays, uploads and downloads included; the first run in a fresh process, which compiles the
kernels, is counted apart. Parity is judged over every value: |gpu - cpu| <= 1e-9 max(|cpu|, 1e-3). There is no goal of
speed until a device has set one. pandas groupby runs beside them, and cuDF groupby where RAPIDS is installed.

    python benchmarks/gpu_features.py            # up to 10,000,000 bars
    python benchmarks/gpu_features.py --quick    # up to 1,000,000
    NUMBA_ENABLE_CUDASIM=1 python benchmarks/gpu_features.py --simulate    # logic only: no speed, a few hundred bars

Without a CUDA device it says so and exits with 0. It needs neither a database nor Prefect nor RAPIDS.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.table import Row, finish, machine
from benchmarks.support.technical_set import TECHNICAL, Arrays, random_walks, with_pandas
from catalyst_ml.errors import DeviceUnavailable
from catalyst_ml.features import gpu_engine
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.device_choice import MAX_DIFFERENCE, largest_difference
from catalyst_ml.features.engine import SymbolTask, fill_values, needed_inputs
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.indicators import cuda_kernels

BARS_OF_SYMBOL = 5_000
SETS: dict[str, tuple[FeatureSpec, ...]] = {
    "technical set": TECHNICAL,
    "catalogue of the plan": CATALOGUE,
    "both sets": (*CATALOGUE, *EXTENDED),
}
ROUNDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 1,000,000 bars")
    parser.add_argument("--simulate", action="store_true", help="under numba's simulator: parity of a few hundred bars")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    if arguments.simulate != cuda_kernels.IS_SIMULATED:
        print("--simulate and NUMBA_ENABLE_CUDASIM=1 go together", file=sys.stderr)
        return 2
    try:
        name = gpu_engine.require_device()
    except DeviceUnavailable as error:
        # Visible in the output of `make bench`, and no failure: most machines have no such device.
        print(f"\nGPU features: NOT RUN ON A GPU. {error}\n")
        return 0
    if arguments.simulate:
        rows = size_rows(1, 520, rounds=1)
    else:
        rows = first_run_rows()
        for n_bars in (100_000, 1_000_000) if arguments.quick else (100_000, 1_000_000, 10_000_000):
            rows += size_rows(n_bars // BARS_OF_SYMBOL, BARS_OF_SYMBOL, rounds=ROUNDS)
        rows += groupby_rows(20 if arguments.quick else 200)
    title = f"Features on {name} ({machine()}, {versions()})"
    return finish(
        title, rows, results={"device": name, "memory_bytes": gpu_engine.free_memory()}, json_file=arguments.json
    )


def first_run_rows() -> list[Row]:
    """Time of the first run in this process: the device starts and every kernel is compiled."""
    given = inputs(2, 600, SETS["both sets"])
    seconds, _, _ = timed(on_gpu, *given)
    # The CPU's kernels too are compiled at first use, once per machine; that is not what is measured below.
    on_cpu(*given)
    cells = {"what": "first run in a process, both sets, 1,200 bars", "GPU": f"{seconds:.1f} s, start and compilation"}
    return [Row(cells)]


def size_rows(n_symbols: int, n_bars: int, *, rounds: int) -> list[Row]:
    """One line per set of features and way of storing: time of both, ratio, worst difference. They take turns."""
    rows = []
    for name, catalogue in SETS.items():
        tasks, columns = inputs(n_symbols, n_bars, catalogue)[:2]
        for dtype in ("float64", "float32"):
            gpu, cpu, run = [], [], None
            for _ in range(rounds):
                seconds, ours, run = timed(on_gpu, tasks, columns, catalogue, dtype)
                gpu.append(seconds)
                seconds, reference, _ = timed(on_cpu, tasks, columns, catalogue, dtype)
                cpu.append(seconds)
            worst = float(largest_difference(ours, reference).max())
            allowed = MAX_DIFFERENCE + (np.finfo(np.float32).eps if dtype == "float32" else 0.0)
            total = n_symbols * n_bars
            ratios = sorted(theirs / mine for mine, theirs in zip(gpu, cpu, strict=True))
            cells = {"what": f"{name}, {len(catalogue)} features, {total:,} bars, {dtype}"}
            if not cuda_kernels.IS_SIMULATED:
                cells |= {
                    "GPU": f"{min(gpu) / total * 1e9:.1f} ns a bar, {run.n_parts} part(s)",
                    "CPU": f"{min(cpu) / total * 1e9:.1f} ns a bar",
                    "GPU is faster by": f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})",
                }
            cells |= {
                "worst difference": f"{worst:.1e}",
                "goal": f"difference at most {allowed:.1e}, nothing on the host",
            }
            rows.append(Row(cells, missed=not worst <= allowed or bool(run.on_host)))
    return rows


def groupby_rows(n_symbols: int) -> list[Row]:
    """The technical set with pandas groupby, and its window features with cuDF's, beside the engine on the device."""
    arrays = random_walks(n_symbols, BARS_OF_SYMBOL)
    total = n_symbols * BARS_OF_SYMBOL
    frame = pd.DataFrame(arrays).assign(symbol=np.repeat(np.arange(n_symbols), BARS_OF_SYMBOL))
    rows = [
        Row({"what": f"pandas groupby, technical set, {total:,} bars", "CPU": f"{once(with_pandas, frame, total)}"})
    ]
    try:
        import cudf
    except ImportError:
        return [*rows, Row({"what": "cuDF groupby", "GPU": "RAPIDS is not installed: not run"})]
    on_card = cudf.from_pandas(frame)
    with_cudf(on_card)
    what = f"cuDF groupby, Bollinger position and two SMA ratios only, {total:,} bars"
    return [*rows, Row({"what": what, "GPU": once(with_cudf, on_card, total)})]


def with_cudf(frame: Any) -> Any:
    """Window features with cuDF: it has no grouped exponential mean, so RSI, MACD, ADX and ATR are left out."""
    close = frame["close"]
    by = close.groupby(frame["symbol"], sort=False)

    def mean(n: int) -> Any:
        return by.rolling(n).mean().reset_index(drop=True)

    middle = mean(20)
    width = 2.0 * by.rolling(20).std(ddof=0).reset_index(drop=True)
    return (close - middle + width) / (2 * width), close / middle - 1, close / mean(50) - 1


def once(compute: Callable[[Any], Any], frame: Any, n_bars: int) -> str:
    started = time.perf_counter()
    compute(frame)
    return f"{(time.perf_counter() - started) / n_bars * 1e9:.1f} ns a bar"


def on_gpu(
    tasks: Sequence[SymbolTask], columns: Arrays, catalogue: Sequence[FeatureSpec], dtype: str = "float64"
) -> tuple[np.ndarray, gpu_engine.GpuRun]:
    values = unset(tasks, catalogue, dtype)
    return values, gpu_engine.fill_values_on_gpu(values, tasks, columns, catalogue)


def on_cpu(
    tasks: Sequence[SymbolTask], columns: Arrays, catalogue: Sequence[FeatureSpec], dtype: str = "float64"
) -> tuple[np.ndarray, None]:
    values = unset(tasks, catalogue, dtype)
    fill_values(values, tasks, columns, catalogue)
    return values, None


def timed(compute: Callable[..., tuple[np.ndarray, Any]], *arguments: Any) -> tuple[float, np.ndarray, Any]:
    started = time.perf_counter()
    values, run = compute(*arguments)
    return time.perf_counter() - started, values, run


def unset(tasks: Sequence[SymbolTask], catalogue: Sequence[FeatureSpec], dtype: str) -> np.ndarray:
    return np.full((tasks[-1].bars.stop, len(catalogue)), np.nan, dtype=dtype, order="F")


def inputs(
    n_symbols: int, n_bars: int, catalogue: tuple[FeatureSpec, ...]
) -> tuple[list[SymbolTask], Arrays, tuple[FeatureSpec, ...]]:
    """Every bar of every symbol, their columns, and the catalogue, as the engines take them."""
    columns: dict[str, Any] = random_walks(n_symbols, n_bars)
    rng = np.random.default_rng(2)
    for name in sorted(needed_inputs(catalogue) - columns.keys()):
        walk = np.tile(100.0 * np.exp(np.cumsum(rng.normal(0, 0.01, n_bars))), n_symbols)
        columns[name] = None if name == "options_volume" else walk
    bounds = [slice(i * n_bars, (i + 1) * n_bars) for i in range(n_symbols)]
    return [SymbolTask(str(i), own, slice(None), own) for i, own in enumerate(bounds)], columns, catalogue


def versions() -> str:
    import numba

    try:
        from importlib.metadata import version

        package = f", numba-cuda {version('numba-cuda')}"
    except ImportError:
        package = ""
    return f"numba {numba.__version__}{package}, numpy {np.__version__}, pandas {pd.__version__}"


if __name__ == "__main__":
    sys.exit(main())

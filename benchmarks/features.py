"""How fast is the feature engine, and does it say the same as TA-Lib? One run, one machine, every contender.

Seven technical features (RSI, MACD histogram, Bollinger position, ADX, ATR, two SMA ratios) at every bar of 400
symbols x 5,000 bars, by the engine, by TA-Lib in a loop, by pandas groupby and by Polars. Contenders take turns, round
after round, so that all meet the same machine; ratios are taken within a round. Goals: at least 1.5 times as fast as
TA-Lib and 20 times as fast as pandas, on two cores, values stored as float32. Beside other work the clock says little
of two threads: see the processor time, and run it again.

    python benchmarks/features.py            # 2,000,000 bars, and the cost of 10^5 to 10^7
    python benchmarks/features.py --quick    # under a minute; fails only where every round misses the goal
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.table import Row, finish, machine
from benchmarks.support.technical_set import (
    NAMES,
    TECHNICAL,
    Arrays,
    random_walks,
    with_pandas,
    with_polars,
    with_talib,
)
from catalyst_ml.features.catalogue import CATALOGUE
from catalyst_ml.features.engine import SymbolTask, compute_features, fill_values
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.serving import context_of, features_of_last_bar, window_of
from catalyst_ml.frames import BARS, NEWS, TIME_DTYPE

N_SYMBOLS, N_BARS = 400, 5_000
N_THREADS = 2
MIN_TIMES_TALIB, MIN_TIMES_PANDAS = 1.5, 20.0
MAX_DIFFERENCE = 1e-9
MAX_NONLINEAR = 1.5
"""Cost per bar at 10^7 bars over the cost at 10^5, both with the same bars per symbol."""
COMPARED_BEHIND = 500
"""Bars of a symbol after which recursive indicators are declared; TA-Lib is compared from there on."""

Times = dict[str, list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes, under a minute on two cores")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    arrays = random_walks(N_SYMBOLS, N_BARS)
    # Kernels are compiled at first use; that happens once per machine and is not what is measured.
    engine_values(random_walks(2, 600), "float32", 1)
    seconds, cpu = race(arrays, rounds=7 if arguments.quick else 15, slow_rounds=2 if arguments.quick else 3)
    rows = speed_rows(seconds, cpu, quick=arguments.quick)
    rows += difference_rows(arrays)
    rows += linear_rows((100_000, 1_000_000) if arguments.quick else (100_000, 1_000_000, 10_000_000))
    rows += memory_rows(100 if arguments.quick else N_SYMBOLS)
    rows += full_catalogue_rows(40 if arguments.quick else N_SYMBOLS)
    rows += serving_rows()
    title = f"Technical set at {N_SYMBOLS} symbols x {N_BARS:,} bars, {N_THREADS} threads ({machine()})"
    return finish(title, rows, results={"seconds": seconds, "cpu_seconds": cpu}, json_file=arguments.json)


def race(arrays: Arrays, *, rounds: int, slow_rounds: int) -> tuple[Times, Times]:
    """Return the seconds of every contender in every round, by the clock and of processor time.

    pandas and Polars join the first ``slow_rounds``.
    """
    slices = symbol_bounds(N_SYMBOLS, N_BARS)
    frame = pd.DataFrame(arrays).assign(symbol=pd.Categorical(np.repeat(np.arange(N_SYMBOLS), N_BARS)))
    n_bars = len(frame)
    outs = {dtype: np.empty((n_bars, len(NAMES)), dtype=dtype, order="F") for dtype in ("float32", "float64")}
    contenders: dict[str, Callable[[], Any]] = {
        "engine, float32": lambda: engine_values(arrays, "float32", N_THREADS, out=outs["float32"]),
        "engine, float64": lambda: engine_values(arrays, "float64", N_THREADS, out=outs["float64"]),
        "engine, float32, 1 thread": lambda: engine_values(arrays, "float32", 1, out=outs["float32"]),
        "TA-Lib in a loop, float32": lambda: with_talib(arrays, slices, outs["float32"]),
        "TA-Lib in a loop, float64": lambda: with_talib(arrays, slices, outs["float64"]),
    }
    slow: dict[str, Callable[[], Any]] = {"pandas groupby": lambda: with_pandas(frame)}
    try:
        import polars as pl
    except ImportError:
        print("polars is not installed: left out", file=sys.stderr)
    else:
        lazy = pl.DataFrame({name: arrays[name] for name in ("high", "low", "close")}).with_columns(
            symbol=pl.Series(np.repeat(np.arange(N_SYMBOLS, dtype=np.int32), N_BARS))
        )
        slow["Polars"] = lambda: with_polars(lazy)
    seconds: Times = {name: [] for name in (*contenders, *slow)}
    cpu: Times = {name: [] for name in seconds}
    for number in range(rounds):
        for name, run in (contenders | slow if number < slow_rounds else contenders).items():
            started, started_cpu = time.perf_counter(), time.process_time()
            run()
            seconds[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - started_cpu)
    return seconds, cpu


def speed_rows(seconds: Times, cpu: Times, *, quick: bool) -> list[Row]:
    """One line per contender: its time, and how many of the engine's runs with float32 storage fit into it."""
    ours = seconds["engine, float32"]
    goals = {"TA-Lib in a loop, float32": MIN_TIMES_TALIB, "pandas groupby": MIN_TIMES_PANDAS}
    rows = []
    for name, own in seconds.items():
        ratios = [theirs / mine for theirs, mine in zip(own, ours, strict=False)]
        goal = goals.get(name)
        reached = max(ratios) if quick else statistics.median(ratios)
        n_bars = N_SYMBOLS * N_BARS
        cells = {
            "what": name,
            "value": f"{min(own) / n_bars * 1e9:.0f} ns a bar, {n_bars / min(own) / 1e6:.1f} M bars/s",
            "processor time": f"{min(cpu[name]) / n_bars * 1e9:.0f} ns a bar",
            "engine, float32, is faster by": f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            "goal": f"at least {goal:g}" if goal else "",
        }
        rows.append(Row(cells, missed=goal is not None and reached < goal))
    return rows


def difference_rows(arrays: Arrays) -> list[Row]:
    """Worst difference to TA-Lib per feature, relative to max(|a|, scale), behind the declared lookback."""
    few = {name: values[: 50 * N_BARS] for name, values in arrays.items()}
    ours = engine_values(few, "float64", N_THREADS)
    theirs = np.empty_like(ours)
    with_talib(few, symbol_bounds(50, N_BARS), theirs)
    is_behind = np.tile(np.arange(N_BARS) >= COMPARED_BEHIND, 50)
    # Near 0 a difference of prices has no relative precision: there it counts against the feature's own scale.
    scale = {"rsi_14": 1.0, "macd_histogram": 1e-3, "bb_position": 1.0, "adx_strength": 1.0, "atr_ratio": 0.0}
    rows = []
    for j, name in enumerate(NAMES):
        a, b = ours[is_behind, j], theirs[is_behind, j]
        worst = float(np.max(np.abs(a - b) / np.maximum(np.abs(b), scale.get(name, 1e-3))))
        cells = {
            "what": f"{name} against TA-Lib",
            "value": f"worst difference {worst:.1e}",
            "goal": f"at most {MAX_DIFFERENCE:g}",
        }
        rows.append(Row(cells, missed=not worst <= MAX_DIFFERENCE))
    return rows


def linear_rows(sizes: tuple[int, ...]) -> list[Row]:
    """Cost per bar at several sizes, all of 5,000 bars a symbol."""
    cost = {}
    for n_bars in sizes:
        arrays = random_walks(n_bars // N_BARS, N_BARS)
        out = np.empty((n_bars, len(NAMES)), dtype=np.float32, order="F")
        times = []
        for _ in range(5):
            started = time.perf_counter()
            engine_values(arrays, "float32", N_THREADS, out=out)
            times.append(time.perf_counter() - started)
        cost[n_bars] = min(times) / n_bars * 1e9
    growth = cost[sizes[-1]] / cost[sizes[0]]
    value = ", ".join(f"{n_bars:,} bars: {ns:.0f} ns" for n_bars, ns in cost.items())
    cells = {"what": "cost per bar by size", "value": value, "goal": f"last at most {MAX_NONLINEAR} x first"}
    return [Row(cells, missed=growth > MAX_NONLINEAR)]


def memory_rows(n_symbols: int) -> list[Row]:
    """Peak of memory above the inputs, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        extra, output = pool.apply(_peak_memory, (n_symbols,))
    cells = {
        "what": f"peak memory above the inputs, {n_symbols * N_BARS:,} bars, float32",
        "value": f"{extra / 1e6:.0f} MB for a result of {output / 1e6:.0f} MB",
        "goal": "result + 16 MB per thread",
    }
    return [Row(cells, missed=extra > output + N_THREADS * 16e6)]


def _peak_memory(n_symbols: int) -> tuple[float, float]:
    engine_values(random_walks(4, 600), "float32", N_THREADS)
    arrays = random_walks(n_symbols, N_BARS)
    # Drawing them had a peak of its own, and left free pages that the run would take unseen: hand those back and start
    # the peak anew (Linux).
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident_peak()
    values = engine_values(arrays, "float32", N_THREADS)
    return _resident_peak() - before, float(values.nbytes)


def _resident_peak() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) * 1024.0


def serving_rows() -> list[Row]:
    """Time of one event's features from its last 500 bars, the plan's catalogue and both sets."""
    panel = make_panel(30)
    symbol, ts = "S0003", panel.bars["ts"].max()
    rows = []
    for name, catalogue in (("catalogue of the plan", CATALOGUE), ("both sets", (*CATALOGUE, *EXTENDED))):
        window, context = window_of(panel, symbol, ts), context_of(panel, symbol, ts, catalogue=catalogue)
        times = []
        for _ in range(1_000):
            started = time.perf_counter()
            features_of_last_bar(window, context, catalogue=catalogue)
            times.append((time.perf_counter() - started) * 1e3)
        middle, late = np.percentile(times[10:], [50, 99])
        value = f"median {middle:.2f} ms, 99th percentile {late:.2f} ms"
        cells = {"what": f"one event from 500 bars, {name}", "value": value, "goal": "median below 2 ms"}
        rows.append(Row(cells, missed=middle >= 2.0))
    return rows


def full_catalogue_rows(n_symbols: int) -> list[Row]:
    """Time of ``compute_features`` from a market panel to a frame, the joins across symbols included."""
    panel = make_panel(n_symbols)
    keys = panel.bars[["symbol", "ts"]]
    rows = []
    for name, catalogue in (("catalogue of the plan", CATALOGUE), ("second set", EXTENDED)):
        compute_features(panel, keys.head(1), catalogue=catalogue)
        started = time.perf_counter()
        compute_features(panel, keys, catalogue=catalogue, dtype="float32", n_threads=N_THREADS)
        seconds = time.perf_counter() - started
        cells = {
            "what": f"{name}, {len(catalogue)} features, {len(keys):,} bars, frame to frame",
            "value": f"{seconds / len(keys) * 1e9:.0f} ns a bar, {len(keys) / seconds / 1e6:.2f} M bars/s",
        }
        rows.append(Row(cells))
    return rows


def make_panel(n_stocks: int) -> MarketPanel:
    """Stocks of four sectors with SPY and VIX and a few stories, on weekdays."""
    names = [f"S{i:04d}" for i in range(n_stocks)]
    symbols = [*names, "SPY", "VIX"]
    arrays = random_walks(len(symbols), N_BARS)
    ts = (pd.bdate_range("2005-01-03", periods=N_BARS, tz="UTC") + pd.Timedelta(hours=21)).astype(TIME_DTYPE)
    bars = pd.DataFrame(arrays).assign(
        symbol=pd.Series(np.repeat(symbols, N_BARS), dtype="str"),
        ts=pd.DatetimeIndex(np.tile(ts, len(symbols))),
        split_factor=1.0,
    )
    instruments = pd.DataFrame(
        {
            "symbol": pd.Series(symbols, dtype="str"),
            "kind": pd.Series(["stock"] * n_stocks + ["index", "volatility"], dtype="str"),
            "sector": pd.Series([f"sector {i % 4}" for i in range(n_stocks)] + [None, None], dtype="str"),
        }
    )
    stories = bars.loc[bars["symbol"].isin(names), ["symbol", "ts"]].sample(5 * n_stocks, random_state=1)
    news = stories.rename(columns={"ts": "published_at"}).assign(
        news_id=pd.Series([f"n{i}" for i in range(len(stories))], index=stories.index, dtype="str"),
        catalyst_type=pd.Series(["earnings"] * len(stories), index=stories.index, dtype="str"),
        sentiment=pd.Series(["neutral"] * len(stories), index=stories.index, dtype="str"),
        score=50.0,
    )
    return MarketPanel(
        bars[BARS.column_names], instruments, news.sort_values(list(NEWS.key), ignore_index=True)[NEWS.column_names]
    )


def engine_values(arrays: Arrays, dtype: str, n_threads: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """The technical set by the engine, from the arrays that TA-Lib gets; into ``out`` if given."""
    n_bars = len(arrays["close"])
    length = min(N_BARS, n_bars)
    tasks = [SymbolTask(str(i), own, slice(None), own) for i, own in enumerate(symbol_bounds(n_bars // length, length))]
    values = np.empty((n_bars, len(TECHNICAL)), dtype=dtype, order="F") if out is None else out
    fill_values(values, tasks, arrays, TECHNICAL, n_threads=n_threads)
    return values


def symbol_bounds(n_symbols: int, n_bars: int) -> list[slice]:
    return [slice(i * n_bars, (i + 1) * n_bars) for i in range(n_symbols)]


if __name__ == "__main__":
    sys.exit(main())

"""How fast do bars come into the database, against what a user would pick instead?

Goals: 300,000 bars a second from opening a Parquet file to the commit, on two cores; a second import of the same file
in a tenth of the time; memory that does not grow with the file. The real file of 783,644 daily bars is used if
``CATALYST_MARKET_DATA`` names its folder, else simulated bars of about the same number.

    python benchmarks/bar_import.py            # five rounds, and a file four times as long
    python benchmarks/bar_import.py --quick    # two rounds; fails only if the best one misses the goal
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Engine, text

from benchmarks.support.table import Row, finish, machine
from catalyst_ml.market.bar_files import open_bar_file
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import parse_timeframe
from catalyst_ml.settings import DatabaseSettings, HomeSettings, Settings
from catalyst_ml.store.bar_import import import_bars
from catalyst_ml.store.embedded import EmbeddedServer
from catalyst_ml.store.engine import open_engine

GOAL_ROWS_PER_S = 300_000
GOAL_AGAIN = 0.1
GOAL_MEMORY_GROWTH_MB = 64
N_SYMBOLS, N_SESSIONS = 300, 2_612
TO_SQL_ROWS = 20_000
PEER_TABLE = (
    "CREATE TABLE peer_bars (symbol text, ts timestamptz, open float8, high float8, low float8, close float8, "
    "volume float8, split_factor float8, PRIMARY KEY (symbol, ts))"
)
PEER_COLUMNS = ["symbol", "date", "open", "high", "low", "close", "volume", "split_coefficient"]


@dataclass(frozen=True)
class Timing:
    """Seconds of some rounds, wall clock and processor (this process and the server's), and rows of each."""

    what: str
    n_rows: int
    wall: list[float]
    cpu: list[float]

    @property
    def rows_per_s(self) -> float:
        """By the median round."""
        return self.n_rows / statistics.median(self.wall)


class Bench:
    """A server of its own, and a stopwatch that also counts the server's processor time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server = EmbeddedServer(home)
        self.settings = Settings(home=HomeSettings(home=home), database=DatabaseSettings(url=None))
        self.engine: Engine = open_engine(self.settings)
        self.calendar = TradingCalendar()
        self.n_datasets = 0

    def measure(self, what: str, n_rows: int, rounds: int, run: Callable[[], Any]) -> Timing:
        """Time some rounds of ``run``."""
        wall, cpu = [], []
        for _ in range(rounds):
            used, started = self._processor_s(), time.perf_counter()
            run()
            wall.append(time.perf_counter() - started)
            cpu.append(self._processor_s() - used)
            print(f"  {what}: {wall[-1]:.2f} s, processor {cpu[-1]:.2f} s", file=sys.stderr)
        return Timing(what, n_rows, wall, cpu)

    def import_file(self, path: Path, *, dataset: str | None = None, reread: bool = False) -> None:
        """Import into a dataset, a new one unless named."""
        if dataset is None:
            self.n_datasets += 1
            dataset = f"bench-{self.n_datasets}"
        now = pd.Timestamp.now("UTC")
        file = open_bar_file(path, timeframe=parse_timeframe("1d"), calendar=self.calendar, now=now)
        import_bars(self.engine, [file], dataset=dataset, timeframe="1d", now=now, reread=reread)

    def command(self, path: Path, dataset: str) -> float:
        """Run the command itself; returns the peak memory of its process in MB."""
        environment = {**os.environ, "CATALYST_HOME": str(self.home)}
        environment.pop("DATABASE_URL", None)
        peak = self.home / "peak"
        # The process says it itself: what wait4 reports includes the memory of this one, from which it was forked.
        code = (
            "import pathlib, sys\nfrom catalyst_ml.cli.main import run\ntarget = pathlib.Path(sys.argv.pop(1))\n"
            "try:\n    run()\nfinally:\n    target.write_text(pathlib.Path('/proc/self/status').read_text())"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(peak), "bars", "import", str(path), "--dataset", dataset],
            env=environment,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
            check=True,
        )
        (line,) = (line for line in peak.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def _processor_s(self) -> float:
        """Processor seconds of this process, the server, and whatever the two started."""
        postmaster = self.server.status().pid
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # gone since
                continue
            if int(fields[1]) == postmaster:
                ticks += int(fields[11]) + int(fields[12])
            elif int(stat.parent.name) == (postmaster or 0):
                ticks += sum(map(int, fields[11:15]))  # with those of connections that have ended
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = time.process_time() + children.ru_utime + children.ru_stime
        return ticks / os.sysconf("SC_CLK_TCK") + own


def bars_file(folder: Path) -> Path:
    """The real file, or simulated bars of as many rows."""
    real = os.environ.get("CATALYST_MARKET_DATA")
    if real:
        return Path(real) / "bars_daily.parquet"
    rng = np.random.default_rng(1)
    sessions = TradingCalendar().sessions(date(2005, 1, 3), date(2016, 12, 31))[:N_SESSIONS]
    close = np.exp(np.cumsum(rng.normal(0.0, 0.02, (N_SYMBOLS, len(sessions))), axis=1)).round(2) * 50 + 1
    opened = (close * (1 + rng.normal(0.0, 0.005, close.shape))).round(2)
    spread = rng.uniform(0.0, 0.5, close.shape).round(2)
    columns = {
        "symbol": np.repeat([f"S{i:03}" for i in range(N_SYMBOLS)], len(sessions)),
        "date": np.tile(sessions.to_numpy().astype("datetime64[D]"), N_SYMBOLS),
        "open": opened.ravel(),
        "high": (np.maximum(opened, close) + spread).ravel(),
        "low": (np.minimum(opened, close) - spread).ravel(),
        "close": close.ravel(),
        "volume": rng.integers(1_000, 1_000_000, close.size),
        "split_coefficient": np.ones(close.size),
    }
    path = folder / "simulated.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def four_times(path: Path, folder: Path) -> Path:
    """The same bars under four times as many symbols."""
    table = pq.read_table(path)
    target = folder / "four_times.parquet"
    with pq.ParquetWriter(target, table.schema) as writer:
        for n in range(4):
            symbols = pa.array([f"{symbol}-{n}" for symbol in table["symbol"].to_pylist()], table["symbol"].type)
            writer.write_table(table.set_column(0, table.schema.field("symbol"), symbols), row_group_size=400_000)
    return target


def copy_csv(engine: Engine, path: Path) -> None:
    """The peer of people who know PostgreSQL: read the file with pandas, COPY it as CSV."""
    frame = pd.read_parquet(path, columns=PEER_COLUMNS)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS peer_bars"))
        connection.execute(text(PEER_TABLE))
        rows = io.StringIO(frame.to_csv(header=False, index=False))
        driver_connection: Any = connection.connection
        with driver_connection.cursor() as cursor:
            cursor.copy_expert("COPY peer_bars FROM STDIN (FORMAT csv)", rows)


def to_sql(engine: Engine, path: Path) -> None:
    """The peer of everybody else: ``DataFrame.to_sql``, on a slice because it is slow."""
    frame = pq.read_table(path, columns=PEER_COLUMNS).slice(0, TO_SQL_ROWS).to_pandas()
    frame = frame.rename(columns={"date": "ts", "split_coefficient": "split_factor"})
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS peer_bars"))
        connection.execute(text(PEER_TABLE))
        frame.to_sql("peer_bars", connection, if_exists="append", index=False, method="multi", chunksize=1_000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds, under a minute on two cores")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else 5
    load = os.getloadavg()[0]
    # Not below a folder of ours: a server that runs as another user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as name:
        folder = Path(name)
        path = bars_file(folder)
        bench = Bench(folder / "home")
        try:
            rows, timings = run_all(bench, path, folder, rounds, quick=arguments.quick)
        finally:
            bench.engine.dispose()
            bench.server.stop()
    source = "real daily bars" if os.environ.get("CATALYST_MARKET_DATA") else "simulated daily bars"
    n_rows = timings[0].n_rows
    title = f"Import of {n_rows:,} {source} from Parquet (load {load:.1f} before the start; {machine()})"
    return finish(title, rows, results=[vars(timing) for timing in timings], json_file=arguments.json)


def run_all(bench: Bench, path: Path, folder: Path, rounds: int, *, quick: bool) -> tuple[list[Row], list[Timing]]:
    """Measure everything; ours first and last things of peers in the same run."""
    n_rows = pq.ParquetFile(path).metadata.num_rows
    bench.import_file(path, dataset="warm-up")
    first = bench.measure("our import, file to commit", n_rows, rounds, lambda: bench.import_file(path))
    again = bench.measure("same file again", n_rows, rounds, lambda: bench.import_file(path, dataset="warm-up"))
    reread = bench.measure(
        "same bars again, read and compared", n_rows, 1, lambda: bench.import_file(path, dataset="warm-up", reread=True)
    )
    memory = []
    command = bench.measure(
        "the command, with its start", n_rows, 1, lambda: memory.append(bench.command(path, "command"))
    )
    peers = [
        bench.measure("pandas + COPY of CSV, no checks", n_rows, 1, lambda: copy_csv(bench.engine, path)),
        bench.measure("DataFrame.to_sql(method='multi')", TO_SQL_ROWS, 1, lambda: to_sql(bench.engine, path)),
    ]
    best = n_rows / min(first.wall)
    missed = (best if quick else first.rows_per_s) < GOAL_ROWS_PER_S
    fraction = statistics.median(again.wall) / statistics.median(first.wall)
    rows = [
        _row(first, first, goal=f"at least {GOAL_ROWS_PER_S:,} bars/s", missed=missed),
        _row(again, first, goal=f"at most {GOAL_AGAIN:.0%} of the first", missed=fraction > GOAL_AGAIN),
        *(_row(timing, first) for timing in (reread, command, *peers)),
    ]
    timings = [first, again, reread, command, *peers]
    rows.append(Row({"what": "peak memory of the command", "seconds": f"{memory[0]:.0f} MB"}))
    if not quick:
        longer = four_times(path, folder)
        timings.append(
            bench.measure(
                "the command, four times the file", 4 * n_rows, 1, lambda: memory.append(bench.command(longer, "four"))
            )
        )
        grown = memory[1] - memory[0]
        goal = f"at most {GOAL_MEMORY_GROWTH_MB} MB more"
        rows += [
            _row(timings[-1], first),
            Row(
                {"what": "peak memory for it", "seconds": f"{memory[1]:.0f} MB", "goal": goal},
                missed=grown > GOAL_MEMORY_GROWTH_MB,
            ),
        ]
    return rows, timings


def _row(timing: Timing, ours: Timing, *, goal: str = "", missed: bool = False) -> Row:
    cells = {
        "what": timing.what,
        "bars": f"{timing.n_rows:,}",
        "seconds": f"{statistics.median(timing.wall):.2f} ({min(timing.wall):.2f} to {max(timing.wall):.2f})",
        "processor s": f"{statistics.median(timing.cpu):.2f}",
        "bars/s": f"{timing.rows_per_s:,.0f}",
        "our speed over it": f"{ours.rows_per_s / timing.rows_per_s:.2f}",
        "goal": goal,
    }
    return Row(cells, missed=missed)


if __name__ == "__main__":
    sys.exit(main())

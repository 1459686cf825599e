"""How fast does the trading system's data come here, against what the plan does (``pandas.read_sql``)?

One million rows of ``trading.pattern_training_data``, all 36 columns, two years, out of a PostgreSQL of its own. Goals:
at least seven times the speed of ``read_sql``, verified and on the disk as Parquet; peak memory under 700 MB; a second
extraction with 1 % new rows in under 5 % of the time of the first. Every measurement is a process of its own.

    python benchmarks/extraction.py            # three rounds of ours, one of each peer that is installed
    python benchmarks/extraction.py --quick    # 500,000 rows, one round
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.table import Row, finish, machine

GOAL_SPEED = 7.0
GOAL_PEAK_MB = 700
GOAL_AGAIN = 0.05
N_ROWS, QUICK_ROWS = 1_000_000, 500_000
NEW_SHARE = 0.01
TABLE = "trading.pattern_training_data"
DDL = f"""
CREATE SCHEMA trading;
CREATE TABLE {TABLE} (
    id uuid PRIMARY KEY, symbol varchar(10) NOT NULL, timestamp timestamptz NOT NULL, pattern_type varchar(50) NOT NULL,
    open_price decimal(10,4) NOT NULL, high_price decimal(10,4) NOT NULL, low_price decimal(10,4) NOT NULL,
    close_price decimal(10,4) NOT NULL, volume bigint NOT NULL,
    body_to_range_ratio decimal(5,4), upper_shadow_ratio decimal(5,4), lower_shadow_ratio decimal(5,4),
    volume_surge decimal(6,2), rsi_14 decimal(5,2), rsi_divergence boolean, bb_position decimal(5,4),
    bb_width decimal(5,4), macd_value decimal(10,4), macd_signal decimal(10,4), macd_histogram decimal(10,4),
    market_trend varchar(20), vix_level decimal(5,2), spy_correlation decimal(5,4), sector_strength decimal(5,2),
    news_catalyst boolean, news_sentiment decimal(3,2), news_relevance decimal(3,2), earnings_proximity integer,
    pattern_completed boolean, pattern_success boolean, max_gain decimal(6,4), max_loss decimal(6,4),
    time_to_max_gain integer, time_to_max_loss integer, optimal_hold_time integer, final_outcome_pct decimal(6,4)
);
CREATE INDEX ON {TABLE} (symbol, timestamp);
"""
ROWS = f"""
INSERT INTO {TABLE}
SELECT gen_random_uuid(), 'S' || lpad((i % 100)::text, 3, '0'),
       timestamptz '2024-11-20 14:30+00' + i * (interval '730 days' / %(per_span)s),
       (ARRAY['hammer', 'doji', 'engulfing', 'gap_up', 'volume_surge'])[1 + i % 5],
       p, p * 1.01, p * 0.99, p * 1.002, (random() * 1e6)::bigint,
       random(), random(), random(), random() * 10, random() * 100, random() < 0.1, random(), random(),
       random() * 4 - 2, random() * 4 - 2, random() - 0.5,
       (ARRAY['UPTREND', 'DOWNTREND', 'SIDEWAYS'])[1 + (i / 7) % 3],
       10 + random() * 20, random() * 2 - 1, random() * 100, random() < 0.3, random() * 2 - 1,
       CASE WHEN i % 50 = 0 THEN 'NaN' ELSE random() END, (random() * 90)::int, true, random() < 0.5,
       random() * 5, -random() * 5, (random() * 300)::int, (random() * 300)::int, (random() * 300)::int,
       CASE WHEN i % 20 = 0 THEN NULL ELSE random() * 6 - 3 END
FROM (SELECT i, 10 + random() * 200 AS p FROM generate_series(%(first)s, %(last)s) i) q
"""


@dataclass(frozen=True)
class Run:
    """One extraction in a process of its own: seconds without imports, peak memory, rows it got.

    ``processor_s`` adds up the process and the server; unlike ``seconds`` it hardly depends on what else runs.
    """

    what: str
    seconds: float
    processor_s: float
    peak_mb: float
    rows: int


# --- in the process that measures itself -----------------------------------------------------------------


def ours(url: str, folder: Path, *, days_later: int = 0) -> int:
    """Our pull: snapshot on the disk, counts and checksums compared; returns the rows it fetched."""
    from sqlalchemy import create_engine

    from catalyst_ml.store.source_engine import reading
    from catalyst_ml.store.source_snapshots import SourceSnapshots
    from catalyst_ml.store.source_tables import read_catalogue

    engine = create_engine(url)
    with reading(engine) as connection:
        (table,) = (t for t in read_catalogue(connection).tables if t.full_name == TABLE)
    now = datetime.now(UTC) + timedelta(days=days_later)
    return SourceSnapshots(folder, "bench").pull(engine, table, now=now).fetched


def read_sql(url: str, folder: Path) -> int:
    """The plan's own line."""
    import pandas as pd
    from sqlalchemy import create_engine

    with create_engine(url).connect() as connection:
        return len(pd.read_sql(f"SELECT * FROM {TABLE}", connection))


def adbc(url: str, folder: Path) -> int:
    """ADBC, numbers cast on the server (as they are they come as text), written as Parquet batch by batch."""
    import adbc_driver_postgresql.dbapi as driver
    import pyarrow.parquet as pq

    rows = 0
    with driver.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {_cast_columns(url)} FROM {TABLE} t")
        with (
            cursor.fetch_record_batch() as batches,
            pq.ParquetWriter(folder / "adbc.parquet", batches.schema, compression="zstd") as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
    return rows


def connectorx(url: str, folder: Path) -> int:
    """connectorx, numbers cast on the server, streamed into Parquet."""
    import connectorx as cx
    import pyarrow.parquet as pq
    from sqlalchemy import make_url

    parsed = make_url(url)
    socket = str(parsed.query["host"]).replace("/", "%2F")
    query = f"SELECT {_cast_columns(url)} FROM {TABLE} t"
    batches = cx.read_sql(f"postgresql://postgres@{socket}/{parsed.database}", query, return_type="arrow_stream")
    rows, writer = 0, None
    for batch in batches:
        writer = writer or pq.ParquetWriter(folder / "cx.parquet", batch.schema, compression="zstd")
        writer.write_batch(batch)
        rows += batch.num_rows
    if writer:
        writer.close()
    return rows


def _cast_columns(url: str) -> str:
    from sqlalchemy import create_engine

    from catalyst_ml.store.source_engine import reading
    from catalyst_ml.store.source_tables import quote, read_catalogue

    with reading(create_engine(url)) as connection:
        (table,) = (t for t in read_catalogue(connection).tables if t.full_name == TABLE)
    kinds = {"numeric": "::float8", "uuid": "::text"}
    return ", ".join(f"{c.expression}{kinds.get(c.base_type, '')} AS {quote(c.name)}" for c in table.columns)


WORKERS: dict[str, Callable[[str, Path], int]] = {
    "ours": ours,
    "ours, every day compared": lambda url, folder: ours(url, folder, days_later=2),
    "read_sql": read_sql,
    "adbc": adbc,
    "connectorx": connectorx,
}
_IMPORTS = {
    "ours": "catalyst_ml.store.source_snapshots",
    "read_sql": "pandas",
    "adbc": "adbc_driver_postgresql.dbapi",
    "connectorx": "connectorx",
}


def work(what: str, url: str, folder: Path) -> None:
    """Run one extraction and print what it took."""
    for module in (
        "pandas",
        "sqlalchemy.dialects.postgresql.psycopg2",
        "psycopg2.extras",
        _IMPORTS[what.partition(",")[0]],
    ):
        __import__(module)
    started, used = time.perf_counter(), time.process_time()
    rows = WORKERS[what](url, folder)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    (peak,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    print(json.dumps(asdict(Run(what, seconds, used, int(peak.split()[1]) / 1024, rows))))


# --- in the process that orders ---------------------------------------------------------------------------


def measure(what: str, url: str, folder: Path, postmaster: int) -> Run:
    """One extraction in a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--worker", what, url, str(folder)]
    before = _server_s(postmaster)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    time.sleep(0.2)  # until the server has seen the connection end
    run = Run(**json.loads(done.stdout.splitlines()[-1]))
    run = replace(run, processor_s=run.processor_s + _server_s(postmaster) - before)
    took = f"{run.seconds:.2f} s, processor {run.processor_s:.2f} s, peak {run.peak_mb:.0f} MB"
    print(f"  {what}: {took}, {run.rows:,} rows", file=sys.stderr)
    return run


def _server_s(postmaster: int) -> float:
    """Processor seconds of a server, with those of connections that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # gone since
            continue
        if int(fields[1]) == postmaster:
            ticks += int(fields[11]) + int(fields[12])
        elif int(stat.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500,000 rows, one round, no peers but read_sql")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of ours; 3, or 1 with --quick")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--worker", nargs=3, metavar=("WHAT", "URL", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        what, url, folder = arguments.worker
        work(what, url, Path(folder))
        return 0
    load = os.getloadavg()[0]
    n_rows = QUICK_ROWS if arguments.quick else N_ROWS
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as name:
        runs = run_all(
            Path(name), n_rows, rounds=arguments.rounds or (1 if arguments.quick else 3), peers=not arguments.quick
        )
    rows = table_rows(runs, n_rows)
    title = f"Extraction of {n_rows:,} rows of 36 columns (load {load:.1f} before the start; {machine()})"
    results = {what: [asdict(run) for run in held] for what, held in runs.items()}
    return finish(title, rows, results=results, json_file=arguments.json)


def run_all(folder: Path, n_rows: int, *, rounds: int, peers: bool) -> dict[str, list[Run]]:
    """Fill a database of its own, and measure."""
    from sqlalchemy import create_engine

    from catalyst_ml.store.embedded import EmbeddedServer

    server = EmbeddedServer(folder / "home")
    server.ensure_running()
    postmaster = server.status().pid or 0
    url = server.url().replace("postgresql://", "postgresql+psycopg2://")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(DDL)
            _insert(connection, 1, n_rows, n_rows)
        runs: dict[str, list[Run]] = {"first": [], "again": [], "again, all": []}
        runs["read_sql"] = [measure("read_sql", url, folder / "peers", postmaster)]
        for what in ("adbc", "connectorx") if peers else ():
            if find_spec(_IMPORTS[what].partition(".")[0]):
                runs[what] = [measure(what, url, folder / "peers", postmaster)]
        for number in range(rounds):
            target = folder / f"snapshots-{number}"
            runs["first"].append(measure("ours", url, target, postmaster))
            # 1 % new rows after the newest, as a day of trading brings them
            done = n_rows + int(n_rows * NEW_SHARE * number)
            with engine.connect() as connection:
                _insert(connection, done + 1, done + int(n_rows * NEW_SHARE), n_rows)
            runs["again"].append(measure("ours", url, target, postmaster))
            runs["again, all"].append(measure("ours, every day compared", url, target, postmaster))
    finally:
        engine.dispose()
        server.stop()
    return runs


def _insert(connection: Any, first: int, last: int, per_span: int) -> None:
    # A literal % in the statement stands doubled beside parameters.
    statement = ROWS.replace("i % ", "i %% ").replace(") % 3", ") %% 3")
    connection.exec_driver_sql(statement, {"first": first, "last": last, "per_span": per_span})
    connection.exec_driver_sql(f"VACUUM ANALYZE {TABLE}")


def table_rows(runs: dict[str, list[Run]], n_rows: int) -> list[Row]:
    """The lines of the table, with goals."""
    first = statistics.median(run.seconds for run in runs["first"])
    plan = runs["read_sql"][0]
    peak = max(run.peak_mb for run in runs["first"])
    again = statistics.median(run.seconds for run in runs["again"]) / first
    names = {
        "first": "our pull: verified, on the disk as Parquet",
        "again": f"pulled again after {NEW_SHARE:.0%} new rows",
        "again, all": "pulled again, every day compared",
        "read_sql": "pandas.read_sql, in memory",
        "adbc": "ADBC with casts, to Parquet",
        "connectorx": "connectorx with casts, to Parquet",
    }
    speed = plan.seconds / first
    goals = {
        "first": (
            f"{GOAL_SPEED:.0f} x read_sql, under {GOAL_PEAK_MB} MB",
            speed < GOAL_SPEED or peak > GOAL_PEAK_MB,
        ),
        "again": (f"under {GOAL_AGAIN:.0%} of the first ({again:.1%})", again > GOAL_AGAIN),
    }
    lines = []
    for key, held in runs.items():
        seconds = [run.seconds for run in held]
        goal, missed = goals.get(key, ("", False))
        spread = f" ({min(seconds):.2f} to {max(seconds):.2f})" if len(seconds) > 1 else ""
        cells = {
            "what": names[key],
            "rows fetched": f"{held[0].rows:,}",
            "seconds": f"{statistics.median(seconds):.2f}{spread}",
            "processor s": f"{statistics.median(run.processor_s for run in held):.2f}",
            "peak MB": f"{max(run.peak_mb for run in held):.0f}",
            "read_sql over it": f"{plan.seconds / statistics.median(seconds):.1f}",
            "goal": goal,
        }
        lines.append(Row(cells, missed=missed))
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""The signal server under load, beside the same graph behind MLflow's scoring server; both run in turns in one run.

Ours does more per request than MLflow: it blends with the rules, judges novelty, writes the answer durably and names
version and reason; MLflow returns the graph's outputs. MLflow needs an environment of its own (``.cache/mlflow``),
without which it is not shown.

    python benchmarks/serving.py --build     # builds MLflow's environment once (600 MB)
    python benchmarks/serving.py             # blocks of 5 s, 20,000 requests under 20 promotions and rollbacks
    python benchmarks/serving.py --quick     # under a minute; builds nothing

Goals: p99 of one row below 5 ms at 200 requests a second; at least 3 times MLflow's throughput; p50 in process below
0.2 ms; cold start below 3 s; below 300 MB per server, bars or not, and that p99 while bars come; no failed and no mixed
answer under promotions.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from benchmarks.support.served_version import LINE, Home, MadeModel, make_companions, make_model, shifted
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.features.events import MODEL_INPUTS
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.registry.manifest import Manifest

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".cache" / "mlflow"
PACKAGES = ("mlflow==3.17.2", "onnxruntime==1.32.0", "onnx==1.23.2")
LOAD = ROOT / "benchmarks" / "support" / "http_load.py"
WORKER = ROOT / "benchmarks" / "support" / "mlflow_worker.py"

RATE = 200.0
P99_MS, P50_IN_PROCESS_MS, COLD_START_S, WORKER_MB, TIMES_MLFLOW = 5.0, 0.2, 3.0, 300.0, 3.0
N_CALLERS = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short blocks, a small model; fails only beyond doubt")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--build", action="store_true", help="build MLflow's environment if it is not there")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if arguments.build:
        build_environment()
    quick = arguments.quick
    with tempfile.TemporaryDirectory(prefix="catalyst-serving-") as folder:
        home = Home(Path(folder) / "home")
        model = make_model(5_000 if quick else 20_000, profile="fast" if quick else "full")
        market = simulate_market("middle", seed=3, n_symbols=30 if quick else 100, n_sessions=560)
        companions = make_companions(market)
        manifest = home.publish(model.onnx, companions=companions)
        home.promote(manifest)
        rows = [in_process(model, n=1_000 if quick else 5_000)]
        with our_server(home) as (port, process, cold_s):
            rows.append(cold_start(home, cold_s, n=2 if quick else 5))
            bodies = [request_of(row) for row in model.X[:500]]
            blocks, seconds = (3, 2.0) if quick else (10, 5.0)
            rows.append(at_rate(port, bodies, blocks=blocks, seconds=seconds))
            where = (port, process.pid)
            rows += beside_mlflow(
                where, bodies, model, Path(folder), blocks=blocks, n=400 if quick else 600, quick=quick
            )
            rows.append(memory("server, features in", process.pid, goal=WORKER_MB))
            bare = home.publish(model.onnx, seed=2)
            universe = Universe(market)
            rows.append(first_bars(port, universe, n=3 if quick else 10))
            rows += bars_in((port, process.pid), home, universe, (bare, manifest), blocks=3 if quick else 10)
            rows += memory_of_both(port, process.pid)
            follow(home, port, manifest)
            rows.append(at_rate(port, bodies, blocks=blocks, seconds=seconds, beside=universe.whole))
            rows.append(
                under_promotions(home, port, model.onnx, companions, bodies, n=1_000 if quick else 20_000, n_moves=20)
            )
    title = f"Signal server ({model.n_nodes:,} tree nodes, {len(model.onnx) / 1e6:.1f} MB, {machine()})"
    return finish(title, rows, json_file=arguments.json)


def build_environment() -> None:
    """Create MLflow's environment; nothing happens if it is complete."""
    if (ENVIRONMENT / "bin" / "mlflow").exists():
        return
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PACKAGES], check=True)


def in_process(model: MadeModel, *, n: int) -> Row:
    """One event judged in this process: graph, novelty, rules, blend; no HTTP and no disk."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from catalyst_ml.serving.graph import ServedGraph
    from catalyst_ml.serving.judgement import Circumstances, Event, Judge
    from catalyst_ml.serving.snapshot import rules_only

    now, graph, judge = datetime.now(UTC), ServedGraph(model.onnx), Judge()
    snapshot = replace(
        rules_only(None, now=now), graph=graph, rules=graph.rules, version_id="v", share=1.0, stage="100"
    )
    events = [Event("S", now, 1, dict(zip(graph.inputs, row, strict=True))) for row in model.X.astype(float).tolist()]
    medians = []
    for block in range(10):
        seconds = []
        for i in range(n // 10):
            event = events[(block * n // 10 + i) % len(events)]
            started = time.perf_counter()
            judge.judge(snapshot, [event], Circumstances(now))
            seconds.append(time.perf_counter() - started)
        medians.append(1e3 * float(np.median(seconds)))
    return goal_row("one event in process, p50", medians, "ms", P50_IN_PROCESS_MS)


@contextmanager
def our_server(home: Home) -> Any:
    """The command as installed, one worker; yields port, process and the seconds (clock, processor) until ready."""
    port = free_port()
    with (home.root / "server.log").open("ab") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "serve", "--port", str(port)],
            env={**os.environ, **environment(home)},
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
        try:
            wait_for(port, "/ready", process)
            yield port, process, (time.perf_counter() - started, processor_seconds(process.pid))
        finally:
            process.terminate()
            process.wait(timeout=30)


def environment(home: Home) -> dict[str, str]:
    return {
        "CATALYST_HOME": str(home.root),
        "SERVE_DATASET": LINE.dataset,
        "SERVE_LABEL_VERSION": LINE.label_version,
        "SERVE_RATE_PER_S": "1000000",
        "SERVE_BURST": "1000000",
        "SERVE_POLL_S": "0.5",
        "LOG_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
    }


def cold_start(home: Home, first: tuple[float, float], *, n: int) -> Row:
    """From starting the command to being ready with a proved, warm model; by the clock and by the processor."""
    taken = [first]
    for _ in range(n - 1):
        with our_server(home) as (_, _, took):
            taken.append(took)
    row = goal_row("cold start to /ready", [clock for clock, _ in taken], "s", COLD_START_S)
    row.cells["note"] = f"{np.median([processor for _, processor in taken]):.2f} s of processor"
    return row


def processor_seconds(pid: int) -> float:
    """User and system time so far of a process and all below it: what a busy machine does not stretch."""
    parent, ticks = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parent[int(folder.name)], ticks[int(folder.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {pid}
    for _ in range(4):
        family |= {child for child, of in parent.items() if of in family}
    return sum(ticks.get(member, 0) for member in family) / os.sysconf("SC_CLK_TCK")


def at_rate(port: int, bodies: Sequence[str], *, blocks: int, seconds: float, beside: str = "") -> Row:
    """p99 of each block at a fixed rate, from when each request was due; one caller sends ``beside`` without pause."""
    load(port, "/v1/signals", bodies, kind="rate", rate=RATE, seconds=1.0)
    p99, p50, n_beside = [], [], []
    for _ in range(blocks):
        with sent_without_pause(port, beside) as answered:
            back = load(port, "/v1/signals", bodies, kind="rate", rate=RATE, seconds=seconds)
            n_beside.append(len(answered))
        require_good(back)
        p99.append(1e3 * float(np.quantile(back["seconds"], 0.99)))
        p50.append(1e3 * float(np.median(back["seconds"])))
    row = goal_row(f"one row at {RATE:g} requests/s, p99{', while bars come' if beside else ''}", p99, "ms", P99_MS)
    row.cells["note"] = f"p50 {np.median(p50):.2f} ms; mean of {blocks} blocks of {seconds:g} s"
    if beside:
        row.cells["note"] += f"; {sum(n_beside) / blocks / seconds:.1f} universes a second answered beside it"
    return row


@contextmanager
def sent_without_pause(port: int, body: str) -> Iterator[list[float]]:
    """One caller sends ``body`` again and again, in a thread; yields the seconds of each answer. Empty: nobody."""
    answered: list[float] = []
    finished = threading.Event()

    def send() -> None:
        while not finished.is_set():
            started = time.perf_counter()
            post(port, "/v1/signals", body)
            answered.append(time.perf_counter() - started)

    thread = threading.Thread(target=send)
    if body:
        thread.start()
    try:
        yield answered
    finally:
        finished.set()
        if body:
            thread.join()


def beside_mlflow(
    where: tuple[int, int], bodies: Sequence[str], model: MadeModel, folder: Path, *, blocks: int, n: int, quick: bool
) -> list[Row]:
    """Throughput of both in turns, block by block, and what the processor spent: inputs by name, then as one tensor."""
    if not (ENVIRONMENT / "bin" / "mlflow").exists():
        print("MLflow is not measured: its environment is not there; --build makes it (600 MB).")
        back = load(where[0], "/v1/signals", bodies, kind="speed", n_requests=n, n_callers=N_CALLERS)
        require_good(back)
        alone = Row({"measure": "throughput, one row", "value": f"{back['per_second']:.0f} /s", "note": "alone"})
        goal = {"goal": f">= {TIMES_MLFLOW:g} x", "note": "--build makes MLflow's environment"}
        # A full run that shows nothing has not met the goal; a quick one builds nothing and does not judge it.
        missing = Row({"measure": "throughput, times MLflow's", "value": "not measured", **goal}, True)
        return [alone] if quick else [alone, missing]
    kept = model.X[:500]
    columns = [json.dumps({"dataframe_split": {"columns": MODEL_INPUTS, "data": [with_nulls(row)]}}) for row in kept]
    tensors = [json.dumps({"inputs": {"features": [with_nulls(row)]}}) for row in kept]
    return [
        *against(where, bodies, columns, model, folder, form="columns", blocks=blocks, n=n),
        *against(where, bodies, tensors, model, folder, form="tensor", blocks=blocks, n=n),
    ]


def against(
    where: tuple[int, int], bodies: Sequence[str], theirs: Sequence[str], model: MadeModel, folder: Path, *,
    form: str, blocks: int, n: int,
) -> list[Row]:  # fmt: skip
    """Both servers in turns. The goal holds for both forms: inputs by name, as ours, and MLflow's quickest."""
    port, pid = where
    with mlflow_server(model, folder, form) as (peer, peer_pid):
        same_answers(port, peer, bodies, theirs)
        load(peer, "/invocations", theirs, kind="speed", n_requests=100, n_callers=N_CALLERS)
        sides: tuple[tuple[int, int, str, Sequence[str], list[float], list[float]], ...] = (
            (port, pid, "/v1/signals", bodies, [], []),
            (peer, peer_pid, "/invocations", theirs, [], []),
        )
        for _ in range(blocks):
            for at, server, path, sent, per_s, spent_ms in sides:
                before = processor_seconds(server)
                back = load(at, path, sent, kind="speed", n_requests=n, n_callers=N_CALLERS)
                require_good(back)
                per_s.append(back["per_second"])
                spent_ms.append(1e3 * (processor_seconds(server) - before) / n)
        slow = load(peer, "/invocations", theirs, kind="rate", rate=RATE, seconds=2.0)
    (_, _, _, _, ours_s, ours_ms), (_, _, _, _, theirs_s, theirs_ms) = sides
    p50, p99 = 1e3 * np.quantile(slow["seconds"], [0.5, 0.99])
    ratios = [a / b for a, b in zip(ours_s, theirs_s, strict=True)]
    saved = [b / a for a, b in zip(ours_ms, theirs_ms, strict=True)]
    ratio = goal_row(f"throughput, times MLflow's ({form})", ratios, "x", TIMES_MLFLOW, at_least=True)
    ratio.cells["note"] = f"ours {np.median(ours_s):.0f} /s, MLflow {np.median(theirs_s):.0f} /s, {N_CALLERS} callers"
    spent = goal_row(f"processor a request, MLflow's over ours ({form})", saved, "x", None)
    spent.cells["note"] = (
        f"ours {np.median(ours_ms):.2f} ms, MLflow {np.median(theirs_ms):.2f} ms; "
        f"MLflow at {RATE:g} /s: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    return [ratio, spent]


def same_answers(port: int, peer: int, bodies: Sequence[str], theirs: Sequence[str]) -> None:
    """Both must serve the same model, or the comparison would be worth nothing."""
    for ours, other in list(zip(bodies, theirs, strict=True))[:20]:
        (a,) = (signal["p_ml"] for signal in post(port, "/v1/signals", ours)["signals"])
        said = post(peer, "/invocations", other)["predictions"]
        b = said["p"][0] if isinstance(said, dict) else said[0]["p"]
        if abs(a - b) > 1e-5:
            raise SystemExit(f"ours says {a}, MLflow {b}: not the same model")


@contextmanager
def mlflow_server(model: MadeModel, folder: Path, form: str) -> Any:
    """MLflow's own scoring server on the same graph, one worker."""
    (folder / "model.onnx").write_bytes(model.onnx)
    python = str(ENVIRONMENT / "bin" / "python")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    clean |= {
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
        "MLFLOW_ENABLE_MODEL_REGISTRY_AUTO_LOGGING": "false",
    }
    wrapped = folder / f"mlflow-{form}"
    made = [python, str(WORKER), str(folder / "model.onnx"), str(wrapped), form, *MODEL_INPUTS]
    subprocess.run(made, check=True, env=clean, capture_output=True)
    port = free_port()
    command = [python, "-m", "mlflow", "models", "serve", "-m", str(wrapped), "--env-manager", "local"]
    with (folder / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            env=clean, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(port, "/ping", process)
            yield port, process.pid
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=30)


class Universe:
    """The last 500 bars of every symbol that trades at the newest close, as a caller sends them."""

    def __init__(self, market: SimulatedMarket) -> None:
        close = market.bars["ts"].max()
        made = (item_of(bars, market, close) for _, bars in market.bars.groupby("symbol"))
        self.items = [item for item in made if item is not None]
        self.whole = json.dumps({"items": self.items, "universe": "request"})

    def one(self, symbol: str | None = None) -> str:
        """The bars of one symbol; of the first if none is named."""
        return json.dumps({"items": [item for item in self.items if symbol in (None, item["symbol"])][:1]})


def first_bars(port: int, universe: Universe, *, n: int) -> Row:
    """From a request with bars of one symbol, while there is no process for bars, to its answer."""
    taken = []
    for _ in range(n):
        pid = bars_process(port)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            while bars_process(port) is not None:
                time.sleep(0.01)
        started = time.perf_counter()
        post(port, "/v1/signals", universe.one())
        taken.append(time.perf_counter() - started)
    row = goal_row("first bars in: the process for bars starts", taken, "s", None)
    row.cells["note"] = "500 bars, 1 symbol"
    return row


def bars_process(port: int) -> int | None:
    """Number of the process for bars, if there is one."""
    pid: int | None = json.loads(get(port, "/health"))["bars_process"]["pid"]
    return pid


def bars_in(
    where: tuple[int, int], home: Home, universe: Universe, published: tuple[Manifest, Manifest], *, blocks: int
) -> list[Row]:
    """500 daily bars of one symbol with a pattern, then of a whole universe, without and with companions, in turns."""
    port, pid = where
    versions = dict(zip(("without", "with"), published, strict=True))
    whole = universe.whole
    follow(home, port, versions["without"])
    asked = post(port, "/v1/signals", whole)["signals"]
    one = next(signal["symbol"] for signal in asked if signal["arm"] != "hold")
    single = universe.one(one)
    rows = [bars_row("bars in: 500 bars, 1 symbol, rules", [bars_ms(port, single, 5) for _ in range(blocks)])]
    taken: dict[str, list[float]] = {name: [] for name in versions}
    spent: dict[str, list[float]] = {name: [] for name in versions}
    for _ in range(blocks):
        for name, manifest in versions.items():
            follow(home, port, manifest)
            answered = post(port, "/v1/signals", whole)["signals"]
            if any((signal["expected_move"] is None) != (name == "without") for signal in answered if signal["p_ml"]):
                raise SystemExit(f"{name} companions: expected_move is not as it must be")
            before = processor_seconds(pid)
            taken[name].append(bars_ms(port, whole, 2))
            spent[name].append(1e3 * (processor_seconds(pid) - before) / 2)
    n_judged = sum(signal["arm"] not in ("hold", "rules") or signal["p_ml"] is not None for signal in asked)
    what = f"bars in: 500 bars, {len(universe.items)} symbols"
    rows += [bars_row(f"{what}, {name} companions", taken[name], spent[name]) for name in versions]
    rows[-1].cells["note"] += f"; {n_judged} events judged by the model, {len(asked)} answers"
    return rows


def bars_ms(port: int, body: str, n: int) -> float:
    """Median milliseconds of ``n`` requests one after another."""
    back = load(port, "/v1/signals", [body], kind="speed", n_requests=n, n_callers=1)
    require_good(back)
    return 1e3 * float(np.median(back["seconds"]))


def bars_row(what: str, taken: Sequence[float], spent: Sequence[float] | None = None) -> Row:
    row = goal_row(what, taken, "ms", None)
    row.cells["note"] = "" if spent is None else f"{np.median(spent):.0f} ms of processor"
    return row


def item_of(bars: pd.DataFrame, market: SimulatedMarket, close: pd.Timestamp) -> dict[str, Any] | None:
    """A symbol's last 500 bars as a caller sends them; None if it no longer trades."""
    about = market.instruments.set_index("symbol").loc[bars["symbol"].iloc[0]]
    own = bars.tail(500)
    if own["ts"].iloc[-1] != close:
        return None
    columns = {name: own[name].tolist() for name in ("open", "high", "low", "close", "volume")}
    columns["ts"] = [ts.isoformat() for ts in own["ts"]]
    sector = {"sector": about["sector"]} if isinstance(about["sector"], str) else {}
    return {"symbol": str(about.name), "kind": about["kind"], "bars": columns, **sector}


def follow(home: Home, port: int, manifest: Manifest) -> None:
    """Promote a version and wait until the server answers with it."""
    sequence, deadline = home.promote(manifest), time.monotonic() + 30
    while json.loads(get(port, "/health"))["model"]["sequence"] < sequence:
        if time.monotonic() > deadline:
            raise SystemExit("the server does not follow a promotion")
        time.sleep(0.02)


def under_promotions(
    home: Home, port: int, onnx: bytes, companions: bytes, bodies: Sequence[str], *, n: int, n_moves: int
) -> Row:
    """Promote and roll back while callers ask; every answer must come from one version, whole and recorded."""
    published = [
        (home.publish(shifted(onnx, f), companions=companions, seed=k), f)
        for k, f in enumerate((1.0, 0.9, 0.8), start=10)
    ]
    plain = {body: post(port, "/v1/signals", body)["signals"][0]["p_ml"] for body in bodies[:50]}
    order = [*(manifest for manifest, _ in published), None]
    finished = threading.Event()
    moves = []

    def move() -> None:
        for k in range(n_moves):
            sequence = home.promote(order[k % len(order)])
            deadline = time.perf_counter() + 20
            while time.perf_counter() < deadline and not finished.is_set():
                if json.loads(get(port, "/health"))["model"]["sequence"] >= sequence:
                    moves.append(sequence)
                    break
                time.sleep(0.02)

    thread = threading.Thread(target=move)
    thread.start()
    sent = list(plain)
    n_asked = n_failed = n_mixed = 0
    seen: set[str | None] = set()
    factors = {manifest.version_id: factor for manifest, factor in published}
    while n_asked < n or thread.is_alive():
        back = load(port, "/v1/signals", sent, kind="speed", n_requests=1_000, n_callers=N_CALLERS, keep=True)
        n_asked += 1_000
        n_failed += len(back["failures"]) + sum(k for status, k in back["statuses"].items() if status != "200")
        for text in back["bodies"]:
            answer = json.loads(text)
            seen.add(answer["version_id"])
            n_mixed += is_mixed(answer, factors, plain)
    finished.set()
    thread.join()
    note = f"{len(moves)} moves followed, {len(seen)} versions answered, the rules among them: {None in seen}"
    value = f"{n_failed} failed, {n_mixed} mixed of {n_asked:,}"
    missed = bool(n_failed or n_mixed or len(moves) < n_moves)
    return Row(
        {"measure": f"{n_moves} promotions and rollbacks under load", "value": value, "goal": "0 and 0", "note": note},
        missed,
    )


def is_mixed(answer: dict[str, Any], factors: dict[str, float], plain: dict[str, float]) -> bool:
    """True if the probability is not one that the named version gives, or the parts name different versions."""
    (signal,) = answer["signals"]
    named = (signal["version_id"], signal["sequence"]) == (answer["version_id"], answer["sequence"])
    factor = factors.get(answer["version_id"], 1.0)
    if answer["version_id"] is None:
        right = signal["p_ml"] is None
    else:
        right = min(abs(signal["p_ml"] - factor * p) for p in plain.values()) < 1e-5
    return not (named and right and answer["recorded"])


def memory_of_both(port: int, pid: int) -> list[Row]:
    """The server once bars came, and its process for bars while that is used."""
    of_bars = bars_process(port)
    if of_bars is None:
        raise SystemExit("bars were answered, and there is no process for bars")
    rows = [memory("server, after bars in", pid, goal=WORKER_MB), memory("process for bars, while it is used", of_bars)]
    both = resident_mb(pid)["VmRSS"] + resident_mb(of_bars)["VmRSS"]
    rows[1].cells["note"] += f"; both together {both:.0f} MB; it ends after SERVE_BARS_IDLE_S"
    return rows


def memory(what: str, pid: int, *, goal: float | None = None) -> Row:
    """Resident memory, and what of it is the process's own: the libraries' pages are shared between processes."""
    sizes = resident_mb(pid)
    note = f"of which {sizes['RssAnon']:.0f} MB of its own, the rest files that processes share"
    cells = {"measure": what, "value": f"{sizes['VmRSS']:.0f} MB", "note": note}
    if goal is None:
        return Row(cells)
    return Row({**cells, "goal": f"< {goal:.0f} MB"}, sizes["VmRSS"] > goal)


def resident_mb(pid: int) -> dict[str, float]:
    """``VmRSS`` and ``RssAnon`` of a process, MB."""
    named = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(named[name].split()[0]) * 1_024 / 1e6 for name in ("VmRSS", "RssAnon")}


def goal_row(what: str, values: Sequence[float], unit: str, goal: float | None, *, at_least: bool = False) -> Row:
    """Mean with a 95 % t interval over blocks; missed only if the interval excludes the goal; no goal, no verdict."""
    n, mean = len(values), float(np.mean(values))
    half = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else 0.0
    interval = f"{mean:.3g} [{mean - half:.3g}, {mean + half:.3g}] {unit}" if n > 1 else f"{mean:.3g} {unit}"
    if goal is None:
        return Row({"measure": what, "value": interval})
    missed = mean + half < goal if at_least else mean - half > goal
    return Row({"measure": what, "value": interval, "goal": f"{'>=' if at_least else '<'} {goal:g} {unit}"}, missed)


def request_of(row: np.ndarray) -> str:
    features = dict(zip(MODEL_INPUTS, with_nulls(row), strict=True))
    return json.dumps({"symbol": "BENCH", "ts": "2026-06-05T20:00:00Z", "direction": 1, "features": features})


def with_nulls(row: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in row]


def load(port: int, path: str, bodies: Sequence[str], **job: Any) -> dict[str, Any]:
    """Run one job of ``http_load`` in a process of its own."""
    asked = json.dumps({"port": port, "path": path, "bodies": list(bodies), **job})
    done = subprocess.run([sys.executable, str(LOAD)], input=asked, capture_output=True, text=True, check=True)
    back: dict[str, Any] = json.loads(done.stdout)
    return back


def require_good(back: dict[str, Any]) -> None:
    if back["failures"] or set(back["statuses"]) != {"200"}:
        raise SystemExit(f"requests failed: {back['statuses']}, {back['failures'][:3]}")


def post(port: int, path: str, body: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        body: bytes = answer.read()
        return body


def wait_for(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            get(port, path)
            return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"no server answered on port {port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())

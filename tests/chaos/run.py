"""Kill weekly training and parallel evaluation at random moments; the evidence must be that of a run nobody killed.

Two homes with the same simulated market, each with an embedded PostgreSQL of its own. In one the schedule runs through:
trainings at several dates, the evenings between them, a promotion, a stage, and a model grown so old that the trial
takes it off and production is on the rules. In the other every command's process group is killed (SIGKILL) at moments
drawn from its own duration and started again, until the kills are used up and the schedule is done; one evening is run
twice at once. Then all rows of signals, settlements, trials, stage moves, channels, versions, detections and labels are
compared.

    python tests/chaos/run.py --kills 30
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.chaos.compared import differences, evidence  # noqa: E402 - the repository is found first
from tests.fakes.processes import free_port  # noqa: E402
from tests.flows.small_market import SMALLEST_RUN, write_market  # noqa: E402

DATASET = "chaos"
MARKET = {"preset": "none", "n_symbols": 24, "n_sessions": 860}
"""Small, because what is tested is not the models; up to 2025-12-05."""


@dataclass(frozen=True)
class Step:
    """One command of the schedule; ``twins``: it is started twice at the same moment."""

    command: str
    given: dict[str, object]
    twins: bool = False

    def __str__(self) -> str:
        return f"{self.command} {self.given.get('as_of', self.given.get('until'))}" + (" twice at once" * self.twins)


def train(as_of: str) -> Step:
    return Step("train", {**SMALLEST_RUN, "as_of": as_of, "analyse": "false"})


def evenings(until: str, *, since: str | None = None, twins: bool = False) -> Step:
    given: dict[str, object] = {"until": until, "replay": "true", "max_days": 60}
    return Step("evaluate", given if since is None else given | {"since": since}, twins)


PROMOTE = Step("promote", {})
"""Puts the shadow's version into production with a verdict that stands in for the gate's, who has no reason to promote
on this market. Done by this script and not killed; a promotion is one transaction."""
SCHEDULE = (
    train("2025-09-26T20:00:00Z"),
    evenings("2025-10-17", since="2025-09-26"),
    train("2025-10-17T20:00:00Z"),
    PROMOTE,
    evenings("2025-10-24"),
    evenings("2025-11-04", twins=True),
    evenings("2025-11-11"),
    train("2025-11-11T21:00:00Z"),
    evenings("2025-11-13"),
)
"""A hundred signals make a threshold; ten sessions after the promotion the stage is 10 %; on November 7 the model is
more than three weeks old and is taken off."""


@dataclass
class Home:
    """A home with the market in it, and what happened there."""

    folder: Path
    api_url: str
    kills: list[str] = field(default_factory=list)

    def start(self, step: Step) -> list[subprocess.Popen[bytes]]:
        """Start a step's command, or its twins in one process group."""
        first = self._popen(step, process_group=0)
        return [first, *([self._popen(step, process_group=first.pid)] if step.twins else [])]

    @property
    def log(self) -> Path:
        return self.folder / "chaos.log"

    def _popen(self, step: Step, *, process_group: int) -> subprocess.Popen[bytes]:
        given = [f"--param={name}={value}" for name, value in {"dataset": DATASET, **step.given}.items()]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", step.command, *given],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=process_group,
            )

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "CATALYST_HOME": str(self.folder),
            "PREFECT_API_URL": self.api_url,
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=30)
    options.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    options.add_argument("--whole", action="store_true", help="run the schedule through once, and stop")
    options.add_argument("--keep", action="store_true", help="leave the two homes for a look")
    given = options.parse_args()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with prefect_server(folder / "prefect") as api_url:
            whole, killed = (Home(folder / name, api_url) for name in ("whole", "killed"))
            with market_in(whole), market_in(killed):
                durations = [run_through(whole, step) for step in SCHEDULE]
                if given.whole:
                    print(evidence(open_database(whole))["stage_moves"])
                    return 0
                torment(killed, durations, n_kills=given.kills, draw=random.Random(given.seed))
                found = compare(whole, killed)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(killed.kills)} kills, {time.monotonic() - started:.0f} s in all")
    print("\n".join(found) if found else "the killed run is the uninterrupted one: every row agrees")
    return 1 if found or len(killed.kills) < given.kills else 0


def promote_shadow(home: Home) -> None:
    """Promote what the shadow holds; nothing if production holds it already."""
    from catalyst_ml.registry import channels

    engine = open_database(home)
    (shadow,) = (state for state in channels.current_channels(engine) if state.channel == channels.SHADOW)
    assert shadow.version_id is not None
    gate = {"verdict": "promote"}
    channels.promote(
        engine, shadow.line, shadow.version_id, reason="chaos: stands in for the gate", actor="chaos", gate=gate
    )
    engine.dispose()


def run_through(home: Home, step: Step) -> float:
    """Run a step to its end; return its seconds."""
    if step == PROMOTE:
        promote_shadow(home)
        return 0.0
    began = time.monotonic()
    for process in home.start(step):
        if process.wait() != 0:
            raise SystemExit(f"{step} failed:\n{home.log.read_text()[-3000:]}")
    took = time.monotonic() - began
    print(f"{took:6.1f} s  {step}", flush=True)
    return took


def torment(home: Home, durations: list[float], *, n_kills: int, draw: random.Random) -> None:
    """Run the schedule while killing it; each kill falls into a step by its share of the whole, at any moment of it."""
    planned = draw.choices(range(len(SCHEDULE)), weights=durations, k=n_kills)
    left = [planned.count(place) for place in range(len(SCHEDULE))]
    for place, step in enumerate(SCHEDULE):
        is_last = place == len(SCHEDULE) - 1
        done = False
        while not done or (is_last and left[place]):
            delay = draw.uniform(0.2, durations[place]) if left[place] else None
            if kill_after(home, step, delay):
                left[place] -= 1
            else:
                done = True
        # It was done before its time: the kills that are left go to the next step.
        if left[place]:
            left[place + 1] += left[place]


def kill_after(home: Home, step: Step, delay: float | None) -> bool:
    """Start a step and kill its process group after ``delay`` seconds; False if it had ended before, successfully."""
    if step == PROMOTE:
        promote_shadow(home)
        return False
    began = time.monotonic()
    processes = home.start(step)
    while any(process.poll() is None for process in processes):
        if delay is not None and time.monotonic() - began >= delay:
            os.killpg(processes[0].pid, signal.SIGKILL)
            for process in processes:
                process.wait()
            where = last_line(home.log)
            home.kills.append(f"{step} after {delay:.1f} s: {where}")
            print(f"{delay:6.1f} s  killed {step}; last seen: {where}", flush=True)
            return True
        time.sleep(0.02)
    codes = [process.returncode for process in processes]
    if any(codes):
        raise SystemExit(f"{step} ended with {codes}:\n{home.log.read_text()[-3000:]}")
    print(f"{time.monotonic() - began:6.1f} s  {step}", flush=True)
    return False


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1].strip()[:80] if lines else "nothing yet"


def compare(whole: Home, killed: Home) -> list[str]:
    """Compare the two databases; print how much was compared, and what was lived through."""
    one, other = (evidence(open_database(home)) for home in (whole, killed))
    print("rows compared: " + ", ".join(f"{len(rows):,} {name}" for name, rows in one.items()))
    lived = [f"nothing in {table}: the schedule did not live through it" for table, rows in one.items() if not rows]
    if len(one["stage_moves"]) < 2:
        lived.append(f"{len(one['stage_moves'])} stage moves; expected one up and one down")
    return lived + differences(one, other)


def open_database(home: Home):  # type: ignore[no-untyped-def]
    from catalyst_ml.settings import HomeSettings, Settings
    from catalyst_ml.store.engine import open_engine

    return open_engine(Settings(home=HomeSettings(home=home.folder)))


@contextmanager
def market_in(home: Home) -> Iterator[None]:
    """Fill a home with the market, and stop its PostgreSQL at the end."""
    from catalyst_ml.store.embedded import EmbeddedServer

    home.folder.mkdir(parents=True)
    server = EmbeddedServer(home.folder)
    try:
        engine = open_database(home)
        write_market(engine, dataset=DATASET, **MARKET)
        engine.dispose()
        yield
    finally:
        server.stop()


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """Prefect's own server in a process group of its own: it is not what is killed here."""
    port = free_port()
    folder.mkdir(parents=True)
    environment = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/api"
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{url}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"no Prefect server: {(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.3)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())

"""kill -9 in the middle of a back-test: the next one goes on after the last finished week and fold."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from catalyst_ml.registry import channels
from catalyst_ml.store import runs
from tests.flows.small_market import SMALLEST_RUN, write_market
from tests.flows.test_killed_run import ROOT, fold_records, is_whole

pytestmark = pytest.mark.server

RANGE = {"since": "2025-10-20", "until": "2025-11-15"}
N_WEEKS = 4


@pytest.mark.usefixtures("prefect_server")
def test_after_a_kill_no_finished_week_is_replayed_and_no_finished_fold_is_fitted_again(
    database: Engine, database_url: str, tmp_path: Path
) -> None:
    write_market(database, dataset="killed", preset="none", n_symbols=12)

    victim = start_backtest(tmp_path, database_url, log=tmp_path / "killed.log")
    weeks = wait_for_weeks(tmp_path, victim, n=2)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait(timeout=30)
    weeks |= week_records(tmp_path)
    folds = fold_records(tmp_path)
    second = start_backtest(tmp_path, database_url, log=tmp_path / "resumed.log")

    assert second.wait(timeout=250) == 0, (tmp_path / "resumed.log").read_text()
    resumed = (tmp_path / "resumed.log").read_text()
    replayed = re.findall(r"week [\d-]+ \(\d of 4\)( \(from cache\))?$", resumed, flags=re.MULTILINE)
    assert 2 <= len(weeks) < N_WEEKS
    assert [bool(cached) for cached in replayed] == [True] * len(weeks) + [False] * (N_WEEKS - len(weeks))
    assert weeks.items() <= week_records(tmp_path).items()
    assert folds.items() <= fold_records(tmp_path).items()
    assert {run.status for run in runs.list_runs(database)} == {"running", "finished"}
    assert channels.history(database) == []
    page = json.loads(next((tmp_path / "reports").glob("backtest-killed-*.json")).read_text())
    assert [week["verdict"] for week in page["weeks"]] == ["stay"] * N_WEEKS
    assert f"{N_WEEKS} decisions, no promotion: the rules stayed in charge" in resumed


def start_backtest(home: Path, database_url: str, *, log: Path) -> subprocess.Popen[bytes]:
    """Start the real command in a process group of its own, with the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    given = [f"--param={name}={value}" for name, value in {"dataset": "killed", **SMALLEST_RUN, **RANGE}.items()]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "backtest", *given],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "CATALYST_HOME": str(home),
                "DATABASE_URL": database_url,
                "PREFECT_API_URL": PREFECT_API_URL.value(),
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "200",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_weeks(home: Path, process: subprocess.Popen[bytes], *, n: int) -> dict[str, int]:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        found = week_records(home)
        if len(found) >= n:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {n} weeks were replayed:\n{(home / 'killed.log').read_text()}")


def week_records(home: Path) -> dict[str, int]:
    """Name of each whole record of a week and when it was written, in nanoseconds."""
    found = (home / "results").glob("replay-week-*")
    return {path.name: path.stat().st_mtime_ns for path in found if is_whole(path)}

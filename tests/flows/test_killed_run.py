"""kill -9 in the middle of the training: the next run goes on from the finished folds."""

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

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
N_FOLDS_BEFORE_THE_KILL = 4


@pytest.mark.usefixtures("prefect_server")
def test_after_a_kill_only_unfinished_folds_are_fitted(database: Engine, database_url: str, tmp_path: Path) -> None:
    write_market(database, dataset="killed", preset="none", n_symbols=12)

    victim = start_training(tmp_path, database_url, log=tmp_path / "killed.log")
    finished = wait_for_folds(tmp_path, victim)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait(timeout=30)
    finished |= fold_records(tmp_path)
    second = start_training(tmp_path, database_url, log=tmp_path / "resumed.log")

    assert second.wait(timeout=200) == 0, (tmp_path / "resumed.log").read_text()
    resumed = (tmp_path / "resumed.log").read_text()
    folds = re.findall(r"fit \w+-\d{4}-W\d\d( \(from cache\))?$", resumed, flags=re.MULTILINE)
    assert [bool(cached) for cached in folds].count(True) == len(finished)
    assert len(fold_records(tmp_path)) == len(folds) > len(finished)
    assert finished.items() <= fold_records(tmp_path).items()
    assert {run.status for run in runs.list_runs(database)} == {"running", "finished"}
    assert [(entry.channel, entry.action) for entry in channels.history(database)] == [("shadow", "shadow")]
    assert "production: rules" in resumed


def start_training(home: Path, database_url: str, *, log: Path) -> subprocess.Popen[bytes]:
    """Start the real command in a process group of its own, with the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    given = [f"--param={name}={value}" for name, value in {"dataset": "killed", **SMALLEST_RUN}.items()]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "train", *given],
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


def wait_for_folds(home: Path, process: subprocess.Popen[bytes]) -> dict[str, int]:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        found = fold_records(home)
        if len(found) >= N_FOLDS_BEFORE_THE_KILL:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no folds were fitted:\n{(home / 'killed.log').read_text()}")


def fold_records(home: Path) -> dict[str, int]:
    """Name of each stored fold and when it was written, in nanoseconds.

    Whole records only: the one being written at the kill is discarded by the next run, and its fold fitted again.
    """
    return {path.name: path.stat().st_mtime_ns for path in (home / "results").glob("fit-fold-*") if is_whole(path)}


def is_whole(record: Path) -> bool:
    try:
        return "result" in json.loads(record.read_bytes())
    except ValueError:
        return False

"""kill -9 in the middle of the parallel evaluation: what is in the ledger in the end is what an undisturbed run writes.

The short form of ``tests/chaos/run.py``, without trainings.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.store.migrations import upgrade
from tests.chaos.compared import differences, evidence
from tests.flows.small_market import write_market
from tests.flows.speaking_version import publish_speaking

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
DATASET = "killed"
FIRST, LAST = "2025-12-02", "2025-12-04"
KILLED_WHEN = ("arms 2025-12-02", "settle 2025-12-03", "write 2025-12-04")
"""Lines of the log after which a run is killed: within the evening, between its transactions."""


@pytest.mark.usefixtures("prefect_server")
def test_the_ledger_of_a_run_killed_three_times_is_that_of_an_undisturbed_one(
    database: Engine, database_url: str, database_template: str, tmp_path: Path
) -> None:
    other_url = make_url(database_url).set(database="undisturbed")
    admin = create_engine(database_template, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS undisturbed WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE undisturbed"))
    undisturbed = create_engine(other_url)
    upgrade(undisturbed)
    homes = {tmp_path / "killed": database, tmp_path / "whole": undisturbed}
    for home, engine in homes.items():
        write_market(engine, dataset=DATASET, preset="none", n_symbols=8, n_sessions=560)
        stores = [FolderStore(home / "artifacts")]
        publish_speaking(engine, stores, DATASET, as_of=pd.Timestamp("2025-11-28T18:00Z").to_pydatetime())

    twins = [start(tmp_path / "whole", other_url.render_as_string(hide_password=False)) for _ in range(2)]
    for line in KILLED_WHEN:
        victim = start(tmp_path / "killed", database_url)
        wait_for(line, tmp_path / "killed", victim)
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait(timeout=30)
    last = start(tmp_path / "killed", database_url)

    for name, process in (("whole", twins[0]), ("whole", twins[1]), ("killed", last)):
        assert process.wait(timeout=400) == 0, log_of(tmp_path / name).read_text()
    one, other = evidence(undisturbed), evidence(database)
    assert differences(one, other) == []
    assert min(len(one[name]) for name in ("signals", "settlements", "trials", "versions")) > 0
    undisturbed.dispose()


def start(home: Path, database_url: str) -> subprocess.Popen[bytes]:
    """Start the real command in a process group of its own, with the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    given = {"dataset": DATASET, "replay": "true", "since": FIRST, "until": LAST}
    with log_of(home).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "evaluate"]
            + [f"--param={name}={value}" for name, value in given.items()],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "CATALYST_HOME": str(home),
                "DATABASE_URL": database_url,
                "PREFECT_API_URL": PREFECT_API_URL.value(),
                "OMP_NUM_THREADS": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for(line: str, home: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if line in log_of(home).read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"{line!r} was not reached:\n{log_of(home).read_text()}")


def log_of(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    return home / "run.log"

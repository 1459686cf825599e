"""Which Prefect server a run uses, and where Prefect keeps its files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from catalyst_ml.settings import HomeSettings
from flows.prefect_environment import prepare

NOBODY = "http://127.0.0.1:9/api"


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Health) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/api"
        http.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeSettings:
    """A fresh home and an environment without Prefect's variables, which is restored after the test."""
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "OMP_WAIT", "DO_NOT")):
            monkeypatch.delenv(name)
    environment = dict(os.environ)
    monkeypatch.setattr(os, "environ", environment)
    return HomeSettings(home=tmp_path / "new" / "home")


def test_without_a_server_a_temporary_one_is_used_and_everything_lies_below_the_home(home: HomeSettings) -> None:
    assert prepare(home).startswith("Prefect server: temporary")

    assert os.environ["PREFECT_PROFILE"] == "ephemeral"
    assert "PREFECT_API_URL" not in os.environ
    assert Path(os.environ["PREFECT_HOME"]).is_dir()
    for name in ("PREFECT_HOME", "PREFECT_LOCAL_STORAGE_PATH"):
        assert os.environ[name].startswith(str(home.home))


def test_a_server_that_answers_is_used(home: HomeSettings, server: str) -> None:
    os.environ["PREFECT_API_URL"] = server

    assert prepare(home) == f"Prefect server: {server}"
    assert os.environ["PREFECT_API_URL"] == server
    assert "PREFECT_PROFILE" not in os.environ


def test_the_server_that_make_deploy_started_is_found_in_the_profile(home: HomeSettings, server: str) -> None:
    folder = home.path("prefect")
    folder.mkdir(parents=True)
    (folder / "profiles.toml").write_text(f'active = "local"\n[profiles.local]\nPREFECT_API_URL = "{server}"\n')

    assert prepare(home) == f"Prefect server: {server}"
    assert os.environ["PREFECT_API_URL"] == server


@pytest.mark.parametrize("url", [NOBODY, "file:///etc/passwd"])
def test_a_server_that_does_not_answer_is_named_and_not_used(home: HomeSettings, url: str) -> None:
    os.environ["PREFECT_API_URL"] = url

    assert prepare(home) == f"Prefect server: {url} does not answer, using a temporary one"
    assert "PREFECT_API_URL" not in os.environ


def test_a_stopped_server_in_the_profile_does_not_stop_a_run(home: HomeSettings) -> None:
    folder = home.path("prefect")
    folder.mkdir(parents=True)
    profile = f'active = "ephemeral"\n[profiles.ephemeral]\nPREFECT_API_URL = "{NOBODY}"\n'
    (folder / "profiles.toml").write_text(profile)

    prepare(home)

    shown = subprocess.run(
        [sys.executable, "-c", "from prefect.settings import PREFECT_API_URL; print(PREFECT_API_URL.value())"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert shown.stdout == "None\n", shown.stderr


def test_a_broken_profile_counts_as_none(home: HomeSettings) -> None:
    folder = home.path("prefect")
    folder.mkdir(parents=True)
    (folder / "profiles.toml").write_text("active = [")

    assert prepare(home).startswith("Prefect server: temporary")


def test_what_the_user_set_wins(home: HomeSettings, tmp_path: Path) -> None:
    os.environ["PREFECT_HOME"] = str(tmp_path / "elsewhere")
    os.environ["OMP_WAIT_POLICY"] = "ACTIVE"

    prepare(home)

    assert os.environ["PREFECT_HOME"] == str(tmp_path / "elsewhere")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"

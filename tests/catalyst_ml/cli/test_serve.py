"""``catalyst-ml serve`` as a process: it refuses to be open to the world, starts, answers, and ends in peace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import create_key
from catalyst_ml.serving.assembly import with_upstream_names
from catalyst_ml.settings import ServingSettings, Settings
from tests.catalyst_ml.serving.small_versions import LINE, Promoter, tiny_onnx
from tests.fakes.processes import free_port

COMMAND = [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "serve"]


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    line = {"SERVE_DATASET": LINE.dataset, "SERVE_LABEL_VERSION": LINE.label_version}
    return {**kept, "CATALYST_HOME": str(home), **line, **more}


@pytest.mark.server
def test_a_started_server_answers_with_the_promoted_version_and_stops_with_its_answers_safe(tmp_path: Path) -> None:
    store, promoter = FolderStore(tmp_path / "artifacts"), Promoter(create_key(tmp_path / "keys" / "signing.pem"))
    manifest = promoter.publish(store, tiny_onnx(0.7))
    promoter.promote(store, manifest)
    port = free_port()
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen(
        [*COMMAND, "--port", str(port)], env=environment(tmp_path), stdout=log, stderr=subprocess.STDOUT
    )
    try:
        body = {"symbol": "ACME", "direction": 1, "features": {"rule_score": 65, "rule_agreement": 1}}
        answer = ask(port, "/v1/signals", json.dumps(body).encode(), patience_s=60.0)
        assert answer["version_id"] == manifest.version_id
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) in (0, -signal.SIGTERM)
        log.close()
    (spooled,) = (tmp_path / "serving" / "spool").glob("*.jsonl")
    assert answer["signals"][0]["answer_id"] in spooled.read_text()
    for line in (tmp_path / "log").read_text().splitlines():
        assert json.loads(line)["service"] == "catalyst-ml"


def test_beyond_loopback_a_key_is_needed(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--host", "0.0.0.0"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "SERVE_API_KEY is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_short_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    done = subprocess.run(
        COMMAND,
        env=environment(tmp_path, SERVE_API_KEY="tooshort"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "SERVE_API_KEY" in done.stderr
    assert "tooshort" not in done.stderr


def test_upstreams_names_of_port_and_database_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "SERVE_PORT", "SERVICE_PORT", "PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORT", "5017")
    assert ServingSettings().port == 5017
    monkeypatch.setenv("SERVICE_PORT", "5018")
    assert ServingSettings().port == 5018
    given = {
        "DB_HOST": "db.internal",
        "DB_PORT": "25060",
        "DB_NAME": "catalyst",
        "DB_USER": "app",
        "DB_PASSWORD": "p@ss:w/d",
    }
    url = with_upstream_names(Settings(), {**given, "DB_SSLMODE": "require"}).database.url
    assert url is not None
    assert url.get_secret_value() == "postgresql://app:p%40ss%3Aw%2Fd@db.internal:25060/catalyst?sslmode=require"
    assert with_upstream_names(Settings(), {}).database.url is None


def ask(port: int, path: str, body: bytes, *, patience_s: float) -> dict:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

"""Secrets are planted in the settings, things are made to fail, and everything that was said or written is searched.

What is searched: output and errors of the commands, whole tracebacks (a retrying task stores them), log records, and
every file below CATALYST_HOME.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from catalyst_ml.assistant.analysis import WeekFacts, analyse_week
from catalyst_ml.assistant.letter import Metric
from catalyst_ml.cli.main import build_app
from catalyst_ml.errors import CatalystError
from catalyst_ml.registry.artifact_store import open_stores
from catalyst_ml.settings import Settings
from catalyst_ml.store.tunnel_routes import close_tunnels
from tests.fakes.postgres_server import PostgresServer
from tests.fakes.ssh_server import SshServer

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
DATABASE_SECRET = "pl4nted/m1ddle@t4il"  # must be percent-encoded in a URL: both spellings are searched for
SPACES_SECRET = "pl4nted+spaces/secret"
CLAUDE_SECRET = "sk-ant-pl4nted-claude-key"
ENDPOINT_SECRET = "pl4nted-gateway-word"
SECRETS = (DATABASE_SECRET, SPACES_SECRET, CLAUDE_SECRET, ENDPOINT_SECRET)
COMMANDS = (
    ("db", "start"),
    ("db", "status"),
    ("bars", "list"),
    ("bars", "simulate", "--seed", "1", "--symbols", "8", "--sessions", "60"),
    ("models", "list"),
    ("models", "rollback", "--reason", "drawdown"),
    ("reference", "list", "--dataset", "demo"),
    ("quality", "show", "--dataset", "demo"),
)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    """``CATALYST_HOME`` of a process whose services all have a secret and none of them answers."""
    caplog.set_level(logging.INFO)
    values = {
        "CATALYST_HOME": str(tmp_path),
        "DATABASE_URL": url_with_secret("127.0.0.1", 9),
        "SPACES_ENDPOINT": "http://127.0.0.1:9",
        "SPACES_BUCKET": "catalyst",
        "SPACES_KEY": "AKIAPLANTED",
        "SPACES_SECRET": SPACES_SECRET,
        "ANTHROPIC_API_KEY": CLAUDE_SECRET,
        "ANTHROPIC_BASE_URL": f"http://joe:{ENDPOINT_SECRET}@127.0.0.1:9",
        "ANTHROPIC_TIMEOUT_S": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_the_search_finds_every_spelling(tmp_path: Path) -> None:
    for secret in SECRETS:
        for spelling in (secret, quote(secret, safe=""), repr(secret)):
            assert found_in([f"before{spelling}after"], tmp_path) == [secret]
    (tmp_path / "kept.log").write_bytes(b"\x00" + SPACES_SECRET.encode())
    assert found_in([], tmp_path) == [SPACES_SECRET]


@pytest.mark.parametrize("failure", ["closed port", "wrong password", "unknown host", "no TLS"])
def test_commands_on_a_database_that_fails(
    planted: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    postgres_server: PostgresServer,
    failure: str,
) -> None:
    urls = {
        "closed port": url_with_secret("127.0.0.1", 9),
        "wrong password": url_with_secret("127.0.0.1", postgres_server.port),
        "unknown host": url_with_secret("no.such.host.invalid", 5432),
        "no TLS": url_with_secret("127.0.0.1", postgres_server.port) + "?sslmode=require",
    }
    monkeypatch.setenv("DATABASE_URL", urls[failure])
    for command in COMMANDS:
        result = CliRunner().invoke(build_app(), command)
        assert isinstance(result.exception, CatalystError), (command, result.output)
        assert str(result.exception).startswith(f"PostgreSQL at {make_url(urls[failure]).host}:")
        said = [result.output, *traceback.format_exception(result.exception), caplog.text]
        assert found_in(said, planted) == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:{secret}@127.0.0.1:9/db",  # the @ of the password is not encoded
        "postgresql://joe:{encoded}@127.0.0.1:port/db",
        "postgresql://joe:{encoded}@[::1/db",
        "postgres//joe:{encoded}@127.0.0.1/db",
        "mysql://joe:{encoded}@127.0.0.1/db",
        "postgresql://127.0.0.1:9/db?user=joe&password={encoded}",
        "postgresql://127.0.0.1:9/db?passwort={encoded}",
        "postgresql://joe:{encoded}@127.0.0.1:9/db?sslmode=certainly",
        "{secret}",
    ],
)
def test_a_database_url_that_is_wrong_in_itself(
    planted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url.format(secret=DATABASE_SECRET, encoded=quote(DATABASE_SECRET, safe="")))
    result = CliRunner().invoke(build_app(), ["bars", "list"])
    assert isinstance(result.exception, CatalystError), result.exception
    said = [*traceback.format_exception(result.exception), caplog.text]
    assert found_in(said, planted) == []
    # A part is as bad as the whole.
    assert not [part for part in ("pl4nted", "m1ddle", "t4il") if part in "".join(said)]


def test_the_command_as_the_trader_starts_it(planted: Path, postgres_server: PostgresServer) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "bars", "list"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url_with_secret("127.0.0.1", postgres_server.port)},
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Error: PostgreSQL at 127.0.0.1:")
    assert "password authentication failed" in result.stderr
    assert found_in([result.stdout, result.stderr], planted) == []


def test_a_tunnel_that_is_refused(
    planted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ssh_server: SshServer
) -> None:
    key = ssh_server.folder / "strange_key"
    for name, value in {**ssh_server.environment(), "TUNNEL_KEY_FILE": str(key)}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(build_app(), ["bars", "list"])
    close_tunnels()
    said = [result.output, *traceback.format_exception(result.exception), caplog.text]
    assert "refused the key" in str(result.exception)
    assert found_in(said, planted) == []
    assert not [line for line in key.read_text().splitlines()[1:-1] if line in "".join(said)]


def test_a_key_given_instead_of_its_path(planted: Path, monkeypatch: pytest.MonkeyPatch, ssh_server: SshServer) -> None:
    key = (ssh_server.folder / "user_key").read_text()
    for name, value in {**ssh_server.environment(), "TUNNEL_KEY_FILE": key}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(build_app(), ["db", "status"])
    said = "".join([result.output, *traceback.format_exception(result.exception)])
    assert "TUNNEL_KEY_FILE holds a key" in said
    assert not [line for line in key.splitlines() if line in said]


@pytest.mark.parametrize("secret", [SPACES_SECRET, SPACES_SECRET + "\n"])
def test_a_bucket_that_does_not_answer(
    planted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    monkeypatch.setenv("SPACES_SECRET", secret)
    said = []
    for call in (lambda store: store.put_bytes("v/a", b"x"), lambda store: store.get_bytes("v/a")):
        with pytest.raises(CatalystError) as caught:
            call(open_stores(Settings())[-1])
        said += [str(caught.value), *traceback.format_exception(caught.value)]
    assert said[0].startswith("Spaces at http://127.0.0.1:9: could not upload")
    assert found_in([*said, caplog.text], planted) == []


def test_credentials_inside_the_address_of_the_bucket(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://joe:{}@127.0.0.1:9", "{}@127.0.0.1", "joe:{}@"):
        monkeypatch.setenv("SPACES_ENDPOINT", address.format(ENDPOINT_SECRET))
        with pytest.raises(CatalystError, match="SPACES_ENDPOINT holds a user or password") as caught:
            open_stores(Settings())
        assert found_in(traceback.format_exception(caught.value), planted) == []


@pytest.mark.parametrize("key", [CLAUDE_SECRET, CLAUDE_SECRET + "\n", CLAUDE_SECRET + "ü"])
def test_an_analysis_that_nobody_answers(
    planted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    facts = WeekFacts(verdict="stay on rules", metrics={"auc": Metric(0.5, "probability", "AUC within day")})
    outcome = analyse_week(facts, Settings().assistant, max_retries=0)
    assert outcome.status == "failed"
    assert found_in([repr(outcome), caplog.text], planted) == []


def test_settings_hide_their_secrets_however_they_are_printed(planted: Path) -> None:
    settings = Settings()
    said = [str(settings), repr(settings), str(settings.model_dump()), settings.model_dump_json()]
    assert found_in([text.replace(ENDPOINT_SECRET, "") for text in said], planted) == []


def url_with_secret(host: str, port: int) -> str:
    url = make_url(f"postgresql://trader@{host}:{port}/postgres").set(password=DATABASE_SECRET)
    return url.render_as_string(hide_password=False)


def found_in(said: Sequence[str], home: Path) -> list[str]:
    """Secrets found in the texts, or in a file below ``home``, in any spelling."""
    texts = [text.encode() for text in said] + [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    everything = b"\n".join(texts)
    return [
        secret
        for secret in SECRETS
        if any(spelling.encode() in everything for spelling in (secret, quote(secret), quote(secret, safe="")))
    ]

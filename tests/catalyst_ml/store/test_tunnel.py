"""The tunnel against a real sshd: what it lets through, how it comes back, every way in which it cannot be opened."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from typer.testing import CliRunner

from catalyst_ml.cli.main import build_app
from catalyst_ml.errors import CatalystError, ConfigurationError, SourceUnavailable
from catalyst_ml.settings import DatabaseSettings, Settings, TunnelSettings
from catalyst_ml.store.engine import database_errors, describe, open_engine
from catalyst_ml.store.tunnel import Tunnel
from catalyst_ml.store.tunnel_routes import close_tunnels, through_tunnel
from tests.fakes.pooler import TLS_NAME, Pooler
from tests.fakes.postgres_server import PostgresServer
from tests.fakes.ssh_server import PASSPHRASE, SshServer

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[3]
QUERY = text("SELECT 1")


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    yield
    close_tunnels()


def settings_of(tunnel: TunnelSettings, url: str) -> Settings:
    return Settings(database=DatabaseSettings(url=url), tunnel=tunnel)


def test_without_settings_nothing_is_opened(monkeypatch: pytest.MonkeyPatch, remote_url: str) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")  # not even ssh is looked for
    for name in ("TUNNEL_HOST", "TUNNEL_USER", "TUNNEL_KEY_FILE"):
        monkeypatch.setenv(name, "")
    engine = open_engine(Settings(database=DatabaseSettings(url=remote_url)), migrate=False)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT inet_server_port()")).scalar() == make_url(remote_url).port
    assert "tunnel" not in describe(engine)
    engine.dispose()


def test_a_cut_in_the_middle_is_an_error_to_retry_and_the_retry_works(ssh_server: SshServer, remote_url: str) -> None:
    engine = open_engine(settings_of(ssh_server.settings(), remote_url), migrate=False)
    assert f"through the SSH tunnel {ssh_server.user}@127.0.0.1:{ssh_server.port}" in describe(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (n int)"))

    def write() -> None:
        with database_errors(engine), engine.begin() as connection:
            connection.execute(text("INSERT INTO kept VALUES (1)"))
            if not cuts:
                cuts.append(time.monotonic())
                ssh_server.cut()
            connection.execute(QUERY)

    cuts: list[float] = []
    with pytest.raises(SourceUnavailable, match="did not answer"):
        write()
    write()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM kept")).scalar() == 1
    assert time.monotonic() - cuts[0] < 10
    engine.dispose()


def test_pooled_connections_that_died_with_the_tunnel_are_replaced_unnoticed(
    ssh_server: SshServer, remote_url: str
) -> None:
    engine = open_engine(settings_of(ssh_server.settings(), remote_url), migrate=False)
    ssh_server.cut()
    with engine.connect() as connection:
        assert connection.execute(QUERY).scalar() == 1
    engine.dispose()


def test_a_connection_that_falls_silent_is_noticed_and_replaced(ssh_server: SshServer, remote_url: str) -> None:
    engine = open_engine(settings_of(ssh_server.settings(keep_alive_s=1), remote_url), migrate=False)
    ssh_server.freeze()
    started = time.monotonic()
    with engine.connect() as connection:
        assert connection.execute(QUERY).scalar() == 1
    assert 2 < time.monotonic() - started < 20  # three times a second of silence
    engine.dispose()


def test_during_an_outage_the_reason_is_given_and_afterwards_it_opens_again(
    ssh_server: SshServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Tunnel(ssh_server.settings(connect_timeout_s=1), host="127.0.0.1", port=1) as tunnel:
        ssh_server.stop()
        try:
            wait_until(lambda: not tunnel.is_open)
            with pytest.raises(SourceUnavailable, match=r"(was lost|nothing listens).*being opened again; try"):
                tunnel.open()
        finally:
            ssh_server.start()
        wait_until(lambda: tunnel.is_open)
        assert "Opening it again in" in caplog.text


def test_many_threads_share_one_ssh(ssh_server: SshServer) -> None:
    with Tunnel(ssh_server.settings(), host="127.0.0.1", port=1) as closed_again:
        pass
    with ThreadPoolExecutor(8) as pool:
        ports = set(pool.map(lambda _: closed_again.open(), range(8)))
    pid = closed_again.pid
    closed_again.close()
    assert len(ports) == 1
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    assert closed_again.pid is None


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"host": "no.such.host.invalid"}, SourceUnavailable, "not known to the name service. Check TUNNEL_HOST"),
        ({"port": 9}, SourceUnavailable, "nothing listens on that port. Check TUNNEL_PORT"),
        ({"known_hosts_file": "empty"}, ConfigurationError, "no host key of .*ssh-keyscan"),
        ({"known_hosts_file": "forged"}, ConfigurationError, "another host key than .*stands in between.*-keygen -R"),
        ({"known_hosts_file": "revoked"}, ConfigurationError, "marks as revoked.*do not go on"),
        ({"known_hosts_file": "missing"}, ConfigurationError, "TUNNEL_KNOWN_HOSTS_FILE=.* cannot be read"),
        ({"key_file": "strange_key"}, ConfigurationError, "refused the key .*strange_key.*authorized_keys"),
        ({"key_file": "locked_key"}, ConfigurationError, "locked_key .*passphrase must be in the ssh-agent"),
        ({"key_file": "open_key"}, ConfigurationError, "others may read the key .*chmod 600"),
        ({"key_file": "missing"}, ConfigurationError, "TUNNEL_KEY_FILE=.* cannot be read .No such file"),
        ({"key_file": "user_key.pub"}, ConfigurationError, "is the public key"),
        ({"key_file": "no_key"}, ConfigurationError, "is no private key that can be read"),
        ({"local_port": "taken"}, ConfigurationError, r"port \d+ of this machine is taken. Unset TUNNEL_LOCAL_PORT"),
        ({"port": "silent"}, SourceUnavailable, "not open after 1 s|the server does not answer"),
        ({"port": "rude"}, SourceUnavailable, "closed the connection before the login"),
    ],
    ids=lambda value: "-".join(map(str, *value.items())) if isinstance(value, dict) else "",
)  # fmt: skip
def test_each_way_it_cannot_be_opened_is_told_apart(
    ssh_server: SshServer, changes: dict[str, Any], kind: type[CatalystError], expected: str
) -> None:
    folder = ssh_server.folder
    (folder / "empty").touch()
    ssh_server.write_known_hosts("forged", "other_host_key")
    (folder / "revoked").write_text(f"@revoked {(folder / 'known_hosts').read_text()}")
    (folder / "open_key").write_bytes((folder / "user_key").read_bytes())
    (folder / "open_key").chmod(0o644)
    (folder / "no_key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IGEga2V5\n")
    (folder / "no_key").chmod(0o600)
    with socket.socket() as silent, socket.socket() as rude, ThreadPoolExecutor(1) as pool:
        for listener in (silent, rude):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        named = {"taken": ssh_server.port, "silent": silent.getsockname()[1], "rude": rude.getsockname()[1]}
        changes = {key: named.get(value, value) for key, value in changes.items()}
        changes = {key: folder / value if key.endswith("_file") else value for key, value in changes.items()}
        patience_s = 1 if "port" in changes else 10
        tunnel = Tunnel(ssh_server.settings(connect_timeout_s=patience_s, **changes), host="127.0.0.1", port=1)
        if changes.get("port") == named["rude"]:
            pool.submit(lambda: rude.accept()[0].close())
        with pytest.raises(kind, match=expected):
            tunnel.open()
    assert tunnel.pid is None


@pytest.mark.parametrize(
    ("key", "host", "expected"),
    [
        ("user_key", "127.0.0.1", "127.0.0.1:1 cannot be reached from that server: nothing listens there.*TUNNEL_"),
        ("limited_key", "127.0.0.2", "the SSH server does not allow forwarding there.*AllowTcpForwarding"),
        ("user_key", "no.such.host.invalid", "the SSH server does not know that name"),
    ],
)  # fmt: skip
def test_a_database_that_the_server_cannot_reach_is_not_taken_for_a_broken_tunnel(
    ssh_server: SshServer, key: str, host: str, expected: str
) -> None:
    settings = ssh_server.settings(key_file=ssh_server.folder / key)
    with pytest.raises(SourceUnavailable, match=f"is open, but.*{expected}") as caught:
        open_engine(settings_of(settings, f"postgresql://joe:s3cret@{host}:1/db"))
    assert "s3cret" not in str(caught.value)


def test_a_key_with_a_passphrase_works_from_the_agent(
    ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = tmp_path / "askpass"
    asking.write_text(f"#!/bin/sh\necho {PASSPHRASE}\n")
    asking.chmod(0o700)
    key = ssh_server.folder / "locked_key"
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:  # a socket's path must stay short
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", f"{folder}/s"], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: Path(f"{folder}/s").exists())
            monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/s")
            given = {**os.environ, "SSH_ASKPASS": str(asking), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(["ssh-add", "-q", str(key)], env=given, check=True, stdin=subprocess.DEVNULL)
            with Tunnel(ssh_server.settings(key_file=key), host="127.0.0.1", port=1) as tunnel:
                assert tunnel.is_open
        finally:
            agent.terminate()
            agent.wait(timeout=10)


def test_without_ssh_the_package_to_install_is_named(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="apt-get install openssh-client"):
        Tunnel(ssh_server.settings(), host="127.0.0.1", port=1).open()


def test_another_route_leads_on_where_the_url_names_what_only_the_certificate_knows(
    ssh_server: SshServer, postgres_server: PostgresServer, pooler: Pooler
) -> None:
    url = make_url(postgres_server.url("postgres")).set(port=5432)
    settings = ssh_server.settings(remote_host="127.0.0.1", remote_port=pooler.port)
    for name, answers in ((TLS_NAME, True), ("other.internal", False)):
        secured = url.set(host=name, query={"sslmode": "verify-full", "sslrootcert": str(pooler.ca_file)})
        engine = open_or_error(settings_of(settings, secured.render_as_string(hide_password=False)))
        assert isinstance(engine, ConfigurationError) is not answers
        assert answers or "does not match host name" in str(engine)


def test_its_process_sees_no_secret_and_dies_with_a_killed_parent(ssh_server: SshServer, remote_url: str) -> None:
    program, pid = start_user_of_tunnel(ssh_server, remote_url)
    seen = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"ssh" in seen
    assert not [secret for secret in (b"TUNNEL", b"DATABASE", PostgresServer.password.encode()) if secret in seen]

    program.kill()
    program.communicate(timeout=20)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_forked_child_opens_its_own_and_leaves_its_parents_alone(ssh_server: SshServer, remote_url: str) -> None:
    program, pid = start_user_of_tunnel(ssh_server, remote_url)
    said, _ = program.communicate("fork\n", timeout=30)
    assert said.split() == ["child", "1", "parent", "1"]
    assert program.returncode == 0
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "-oProxyCommand=touch /tmp/owned"),
        ("host", "a b"),
        ("host", "host;id"),
        ("user", "-lroot"),
        ("user", "joe@x y"),
        ("remote_host", "127.0.0.1:22:evil -R 1:2:3"),
        ("remote_host", "-x"),
        ("key_file", '/tmp/a" -oProxyCommand="b'),
        ("known_hosts_file", "/tmp/$HOME"),
    ],
)
def test_no_setting_can_become_an_option_of_ssh(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "file").touch()
    given: dict[str, Any] = {
        "host": "localhost", "user": "joe", "key_file": tmp_path / "file", "known_hosts_file": tmp_path / "file",
        "port": 9, name: value,
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match=f"TUNNEL_{name.upper()}"):
        Tunnel(TunnelSettings(**given), host="127.0.0.1", port=1).open()


def test_paths_with_spaces_and_percent_signs_are_taken_literally(ssh_server: SshServer, tmp_path: Path) -> None:
    folder = tmp_path / "my keys 100%h"
    folder.mkdir()
    for name in ("user_key", "known_hosts"):
        (folder / name).write_bytes((ssh_server.folder / name).read_bytes())
        (folder / name).chmod(0o600)
    settings = ssh_server.settings(key_file=folder / "user_key", known_hosts_file=folder / "known_hosts")
    with Tunnel(settings, host="127.0.0.1", port=1) as tunnel:
        assert tunnel.is_open


@pytest.mark.parametrize("missing", ["host", "user", "key_file", "known_hosts_file"])
def test_half_a_configuration_is_refused_by_name(missing: str) -> None:
    given = {"host": "h", "user": "u", "key_file": "/k", "known_hosts_file": "/n", missing: None}
    settings = TunnelSettings(**given)
    assert settings.enabled
    with pytest.raises(ConfigurationError, match=f"TUNNEL_{missing.upper()} not set"):
        open_engine(settings_of(settings, "postgresql://joe:s3cret@127.0.0.1:9/db"))


@pytest.mark.parametrize(
    "url", ["postgresql:///db?host=/tmp", "postgresql://a,b/db", "postgresql://u@h/db?hostaddr=1.2.3.4"]
)
def test_a_url_that_leaves_the_target_open_is_refused(url: str) -> None:
    settings = TunnelSettings(host="h", user="u", key_file="/k", known_hosts_file="/n")
    with pytest.raises(ConfigurationError, match="SOURCE_DATABASE_URL: through an SSH tunnel it must name one host"):
        through_tunnel(create_engine(url), settings, variable="SOURCE_DATABASE_URL")


@pytest.mark.parametrize(
    ("carries", "own", "source"), [("both", True, True), ("database", True, False), ("source", False, True)]
)
def test_each_database_may_be_reached_directly(carries: Any, own: bool, source: bool) -> None:
    settings = TunnelSettings(host="h", carries=carries)
    assert (settings.is_for("DATABASE_URL"), settings.is_for("SOURCE_DATABASE_URL")) == (own, source)
    assert not TunnelSettings(carries=carries).is_for("DATABASE_URL")


def test_db_status_says_whether_the_tunnel_is_open(ssh_server: SshServer, remote_url: str, tmp_path: Path) -> None:
    given = {"CATALYST_HOME": str(tmp_path), "DATABASE_URL": remote_url, **ssh_server.environment()}

    up = CliRunner(env=given).invoke(build_app(), ["db", "status"], catch_exceptions=False)
    assert up.exit_code == 0
    tunnel, answers = up.stdout.splitlines()
    assert tunnel.startswith(f"SSH tunnel {ssh_server.user}@127.0.0.1:{ssh_server.port} to 127.0.0.1:")
    assert tunnel.endswith("is open (TUNNEL_HOST).")
    assert answers.endswith("answers (DATABASE_URL).")

    with pytest.raises(SourceUnavailable, match="nothing listens on that port"):
        CliRunner(env={**given, "TUNNEL_PORT": "9"}).invoke(build_app(), ["db", "status"], catch_exceptions=False)

    by_hand = CliRunner(env=given).invoke(build_app(), ["db", "url"], catch_exceptions=False)
    assert make_url(by_hand.stdout.strip()) == make_url(remote_url)
    assert by_hand.stderr.splitlines()[1].startswith("ssh -N -L 127.0.0.1:15432:127.0.0.1:")
    assert PostgresServer.password not in by_hand.stderr


def open_or_error(settings: Settings) -> Any:
    try:
        return open_engine(settings, migrate=False)
    except CatalystError as error:
        return error


def wait_until(happened: Any, *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def start_user_of_tunnel(ssh_server: SshServer, url: str) -> tuple[subprocess.Popen[str], int]:
    """A program that uses a tunnel, and the process id of its ssh; it forks if told so, and ends."""
    code = """
import os, sys
from sqlalchemy import text
from catalyst_ml.settings import Settings
from catalyst_ml.store.engine import open_engine, tunnel_to_database

def ask(who):
    with open_engine(Settings(), migrate=False).connect() as connection:
        print(who, connection.execute(text("SELECT 1")).scalar(), flush=True)

engine = open_engine(Settings(), migrate=False)
print(tunnel_to_database(Settings()).pid, flush=True)
if sys.stdin.readline() == "fork\\n":
    child = os.fork()
    if child == 0:
        ask("child")
        sys.exit()
    os.waitpid(child, 0)
    ask("parent")
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": url, **ssh_server.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    return program, int(program.stdout.readline())

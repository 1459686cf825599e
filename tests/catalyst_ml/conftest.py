"""Servers: S3, sshd, pgbouncer, and a PostgreSQL on TCP behind it. Started once, when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.pooler import Pooler
from tests.fakes.postgres_server import PostgresServer
from tests.fakes.s3_server import S3Server
from tests.fakes.ssh_server import SshServer


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "server.log") as running:
        yield running


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(embedded_home: Path) -> Iterator[PostgresServer]:
    # The embedded server creates the system user that servers of root run as.
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def pooler(postgres_server: PostgresServer) -> Iterator[Pooler]:
    with Pooler(postgres_server) as server:
        yield server


@pytest.fixture
def remote_url(postgres_server: PostgresServer) -> str:
    """``DATABASE_URL`` of a fresh, empty database on TCP, with the password."""
    return postgres_server.url(postgres_server.new_database())

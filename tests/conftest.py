"""A real PostgreSQL for the whole test session, in a home of its own that is stopped and removed at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

_TEMPLATE = "template_of_tests"
_numbers = count(1)


@pytest.fixture(scope="session")
def embedded_home() -> Iterator[Path]:
    """``CATALYST_HOME`` with a running embedded server; one per test process, so workers do not meet."""
    from catalyst_ml.store.embedded import EmbeddedServer

    # Not pytest's tmp_path: the socket's path must stay short, and the folder must go even after a failure.
    with tempfile.TemporaryDirectory(prefix="catalyst-test-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedServer(Path(folder))
        server.ensure_running()
        try:
            yield Path(folder)
        finally:
            server.stop()


@pytest.fixture(scope="session")
def database_template(embedded_home: Path) -> str:
    """URL of a migrated, empty database that others are copied from."""
    from catalyst_ml.store.embedded import EmbeddedServer
    from catalyst_ml.store.migrations import upgrade

    server_url = EmbeddedServer(embedded_home).url()
    _execute(server_url, f"CREATE DATABASE {_TEMPLATE}")
    engine = create_engine(_url(server_url, _TEMPLATE))
    upgrade(engine)
    engine.dispose()
    return server_url


@pytest.fixture
def database_url(database_template: str) -> Iterator[str]:
    """URL (as for ``DATABASE_URL``) of a fresh migrated database, dropped after the test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _execute(database_template, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield _url(database_template, name)
    _execute(database_template, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    """Engine of a fresh migrated database, dropped after the test."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def _url(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


def _execute(server_url: str, statement: str) -> None:
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()

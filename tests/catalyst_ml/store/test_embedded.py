from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from catalyst_ml.errors import ConfigurationError, SourceUnavailable
from catalyst_ml.settings import DatabaseSettings, HomeSettings, Settings
from catalyst_ml.store.embedded import EmbeddedServer
from catalyst_ml.store.engine import database_url, open_engine
from catalyst_ml.store.migrations import HEAD, current_revision, upgrade

pytestmark = pytest.mark.server


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    # Not pytest's tmp_path: another session closes that folder to the user a root server runs as.
    with tempfile.TemporaryDirectory(prefix="catalyst-test-", ignore_cleanup_errors=True) as folder:
        name = "a folder with a name so long that no unix socket can live in it " * 2
        server = EmbeddedServer(Path(folder) / name.strip())
        yield server
        server.stop()


def test_a_killed_server_comes_back_with_what_was_committed_and_only_stop_stops_it(server: EmbeddedServer) -> None:
    settings = Settings(home=HomeSettings(home=server.home), database=DatabaseSettings(url=None))
    engine = open_engine(settings)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO catalyst_ml.instruments VALUES ('t', 'IBM', 'stock', NULL)"))
    os.kill(server.status().pid, signal.SIGKILL)

    with open_engine(settings).connect() as connection:
        assert connection.execute(text("SELECT symbol FROM catalyst_ml.instruments")).scalars().all() == ["IBM"]
    with engine.connect() as connection:  # the engine opened before the crash works on
        assert current_revision(connection) == HEAD

    asked = subprocess.run(
        [sys.executable, "-c", "import sys; from catalyst_ml.store.embedded import *; "
         "print(EmbeddedServer(Path(sys.argv[1])).ensure_running())", str(server.home)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stdout.strip() == str(server.status().socket_folder)
    assert database_url(settings) == f"postgresql://postgres@/postgres?host={server.status().socket_folder}"
    time.sleep(0.2)
    assert server.status().running
    assert server.stop()
    assert not server.status().running
    assert not server.stop()
    with pytest.raises(SourceUnavailable, match="db start"):
        server.url()


def test_data_of_another_major_version_is_left_alone(server: EmbeddedServer) -> None:
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match="version 16, expected 18"):
        server.ensure_running()


def test_concurrent_starts_migrate_once(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("DROP SCHEMA catalyst_ml CASCADE"))
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: upgrade(database), range(3)))
    assert sorted(done) == [False, False, True]
    with database.connect() as connection:
        assert current_revision(connection) == HEAD


def test_the_constant_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import catalyst_ml.store.migrations as migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_channel_history_is_append_only(database: Engine) -> None:
    insert = (
        "INSERT INTO catalyst_ml.channel_history (dataset, timeframe, label_version, channel, action) "
        "VALUES ('t', '1d', 'v1', 'production', 'promote')"
    )
    with database.begin() as connection:
        connection.execute(text(insert))
    for statement in (
        "UPDATE catalyst_ml.channel_history SET forced = true",
        "DELETE FROM catalyst_ml.channel_history",
    ):
        with pytest.raises(Exception, match="append-only"), database.begin() as connection:
            connection.execute(text(statement))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_closed_port_is_named_without_the_password(scheme: str) -> None:
    url = f"{scheme}://joe:s3cret@127.0.0.1:9/db"
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:9") as caught:
        open_engine(Settings(database=DatabaseSettings(url=url)))
    assert "s3cret" not in str(caught.value)


def test_a_url_of_another_database_is_refused_without_the_password() -> None:
    with pytest.raises(ConfigurationError, match="mysql") as caught:
        open_engine(Settings(database=DatabaseSettings(url="mysql://joe:s3cret@host/db")))
    assert "s3cret" not in str(caught.value)


def test_a_given_database_is_migrated_and_used(database_url: str) -> None:
    engine = open_engine(Settings(database=DatabaseSettings(url=database_url.replace("postgresql", "postgres", 1))))
    with engine.connect() as connection:
        assert current_revision(connection) == HEAD
    engine.dispose()

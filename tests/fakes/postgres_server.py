"""A real PostgreSQL that listens on TCP and wants passwords, as a trading system's server does.

The embedded server of the library does neither, on purpose. Its binaries are built without TLS, which the pooler
before it speaks instead. Nothing here survives the test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, Self

import psycopg2
from psycopg2 import sql
from sqlalchemy import URL

from catalyst_ml.store.embedded import SERVER_USER, _binaries
from tests.fakes.processes import ServerProcess, free_port


class PostgresServer:
    """Runs while the ``with`` block runs. User ``trader`` logs in with a password, over TCP alone."""

    user = "trader"
    password = "pa/ss:w%rd#1"

    def __init__(self) -> None:
        # Not pytest's tmp_path: the user that a server of root runs as must get there.
        self._temporary = tempfile.TemporaryDirectory(prefix="catalyst-pg-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.port = free_port()
        self._numbers = count(1)
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()
        self._temporary.cleanup()

    def new_database(self) -> str:
        """Name of a fresh, empty database of ``trader``."""
        name = f"test_{next(self._numbers)}"
        self._execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(self.user)))
        return name

    def url(self, database: str, *, port: int | None = None, **options: object) -> str:
        """URL of a database; ``port`` is another one that leads here, ``options`` go behind the question mark."""
        url = URL.create(
            "postgresql",
            self.user,
            self.password,
            "127.0.0.1",
            port or self.port,
            database,
            {name: str(value) for name, value in options.items()},
        )
        return url.render_as_string(hide_password=False)

    def _start(self) -> None:
        data = self.folder / "data"
        self.folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self.folder, SERVER_USER, SERVER_USER)
        initdb = [str(_binaries() / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync",
                  "--encoding=UTF8", "--no-locale"]  # fmt: skip
        as_user = SERVER_USER if os.geteuid() == 0 else None
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", user=as_user, group=as_user)
        (data / "pg_hba.conf").write_text("local all postgres trust\nhost all trader 127.0.0.1/32 scram-sha-256\n")
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        command = [str(_binaries() / "postgres"), "-D", str(data)]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.log_file = self.folder / "server.log"
        self._process = ServerProcess(
            command, port=self.port, log_file=self.log_file, user=SERVER_USER, stop_signal=signal.SIGINT
        )  # not SIGTERM, which waits for clients
        role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        self._execute(role.format(sql.Identifier(self.user), sql.Literal(self.password)))

    def _execute(self, statement: sql.Composable) -> None:
        connection = self._connect()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def _connect(self) -> Any:
        deadline = time.monotonic() + 30
        while True:
            try:
                return psycopg2.connect(host=str(self.folder), port=self.port, user="postgres", dbname="postgres")
            except psycopg2.OperationalError:  # it listens before it is ready
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

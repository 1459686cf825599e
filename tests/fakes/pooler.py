"""A real pgbouncer in transaction mode before a :class:`PostgresServer`; it speaks TLS to those who ask."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Self

from catalyst_ml.store.embedded import SERVER_USER
from tests.fakes.certificates import Authority
from tests.fakes.postgres_server import PostgresServer
from tests.fakes.processes import ServerProcess, free_port, program

TLS_NAME = "db.internal"
"""The one name in its certificate; no name service knows it."""


class Pooler:
    """Two server connections for everybody, handed to another client after each transaction."""

    def __init__(self, server: PostgresServer) -> None:
        self._program = program("pgbouncer", "pgbouncer")
        self._server = server
        self.port = free_port()

    def __enter__(self) -> Self:
        folder = self._server.folder / f"pooler-{self.port}"
        folder.mkdir()
        self.ca_file, self.other_ca_file = folder / "ca.crt", folder / "other_ca.crt"
        authority = Authority("test authority")
        authority.write(self.ca_file)
        Authority("another authority").write(self.other_ca_file)
        authority.issue(TLS_NAME, folder / "server.crt", folder / "server.key")
        (folder / "users.txt").write_text(f'"{self._server.user}" "{self._server.password}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server.port}\n"
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nunix_socket_dir =\npool_mode = transaction\n"
            f"listen_port = {self.port}\nauth_type = scram-sha-256\nauth_file = {folder / 'users.txt'}\n"
            f"client_tls_sslmode = allow\nclient_tls_cert_file = {folder / 'server.crt'}\n"
            f"client_tls_key_file = {folder / 'server.key'}\n"
            "default_pool_size = 2\nmax_client_conn = 50\n"
        )
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, SERVER_USER, SERVER_USER)
        self.log_file: Path = folder / "pgbouncer.log"
        command = [self._program, str(folder / "pgbouncer.ini")]
        self._process = ServerProcess(command, port=self.port, log_file=self.log_file, user=SERVER_USER)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

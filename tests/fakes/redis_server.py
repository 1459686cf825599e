"""A real redis-server as an ordinary process on a free port of this machine; it can be killed and brought back."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Self

from tests.fakes.processes import ServerProcess, free_port, program


class RedisServer:
    """Runs while the ``with`` block runs; keeps nothing on disk, so what is killed comes back empty."""

    def __init__(self, folder: Path) -> None:
        self._program = program("redis-server", "redis-server")
        self._folder = folder
        self.port = free_port()
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def start(self) -> None:
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = ServerProcess([self._program, *settings], port=self.port, log_file=self._folder / "redis.log")

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.stop()
            self._process = None

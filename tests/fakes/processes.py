"""Real servers of the system's packages as ordinary processes of a test: found or skipped, started, waited for."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest


def program(name: str, package: str) -> str:
    """Path of a server's program; the test is skipped, visibly, if it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (package {package}): make setup-servers")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """A server on a port of 127.0.0.1, stopped by :meth:`stop`; several servers refuse to run as root."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        log_file: Path,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self._stop_signal = stop_signal
        self._log_file = log_file
        account = pwd.getpwnam(user) if user is not None and os.geteuid() == 0 else None
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"},
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        self._wait_for(port)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.send_signal(self._stop_signal)
        self._process.wait(timeout=20)

    def _wait_for(self, port: int) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        self._process.kill()
        self._process.wait(timeout=20)
        raise RuntimeError(f"no server on port {port}: {self._log_file.read_text(errors='replace')[-2000:]}")

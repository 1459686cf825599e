"""A real S3 server (moto) in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import boto3


class S3Server:
    """Runs while the ``with`` block runs.

    ``pause_s`` is how long the server may take to answer for the first time; importing it takes seconds.
    """

    page_size = 3

    def __init__(self, log_file: Path, *, pause_s: float = 60.0) -> None:
        self._log_file = log_file
        self._pause_s = pause_s

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._port = _free_port()
        self._log = self._log_file.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Anybody may act until ``require_known_keys``; a page of a listing holds few keys.
            env={
                **os.environ,
                "INITIAL_NO_AUTH_ACTION_COUNT": "1000000",
                "MOTO_S3_DEFAULT_MAX_KEYS": str(self.page_size),
            },
        )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)
        self._log.close()

    def client(self) -> Any:
        """A plain client, for what the store under test cannot do: make buckets, tamper, look."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="k",
            aws_secret_access_key="s",
        )

    def require_known_keys(self, required: bool) -> None:
        """Check credentials from now on, or stop checking them."""
        actions = b"0" if required else b"1000000"
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", data=actions, headers={"content-type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def _wait(self) -> None:
        deadline = time.monotonic() + self._pause_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/data.json", timeout=5).close()
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
            else:
                return
        self._process.kill()
        raise RuntimeError(f"the S3 server did not answer: {self._log_file.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

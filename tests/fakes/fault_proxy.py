"""A TCP proxy between a client and a real server that does what networks and services do on bad days.

Modes: ``pass`` hands everything on; ``refuse`` resets a connection at once; ``error`` answers every HTTP request with
500; ``slow`` waits ``delay_s`` before the first byte of an answer; ``stuck`` accepts and never answers;
``truncate`` hands on the first ``keep`` bytes of what the server says, then resets.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import Literal, Self

Mode = Literal["pass", "refuse", "error", "slow", "stuck", "truncate"]

_ERROR_BODY = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>a bad day</Message></Error>"
_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nContent-Length: "
    + str(len(_ERROR_BODY)).encode()
    + b"\r\nConnection: close\r\n\r\n"
    + _ERROR_BODY
)


class FaultProxy:
    """Listens while the ``with`` block runs; ``mode`` counts for new connections, which it also makes of old ones."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._mode: Mode = "pass"
        self.delay_s = 3.0
        self.keep = 300
        self.n_connections = 0
        self._open: set[socket.socket] = set()
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._listener.close()
        self._cut()
        self._thread.join(timeout=5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._cut()

    def _cut(self) -> None:
        for one in list(self._open):
            _reset(one)
        self._open.clear()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                ready, _, _ = select.select([self._listener], [], [], 0.2)
                if not ready:
                    continue
                client, _ = self._listener.accept()
            except (OSError, ValueError):
                return
            self.n_connections += 1
            threading.Thread(target=self._serve, args=(client, self._mode), daemon=True).start()

    def _serve(self, client: socket.socket, mode: Mode) -> None:
        self._open.add(client)
        with contextlib.suppress(OSError, ValueError):  # ValueError: cut by another thread, the socket has no number
            if mode == "refuse":
                _reset(client)
            elif mode == "stuck":
                self._stopped.wait(60)
            elif mode == "error":
                client.recv(65_536)
                client.sendall(_ERROR)
                client.close()
            else:
                self._pump(client, mode)
        self._open.discard(client)
        client.close()

    def _pump(self, client: socket.socket, mode: Mode) -> None:
        sent = 0
        with socket.create_connection(("127.0.0.1", self._target), timeout=5) as server:
            self._open.add(server)
            try:
                while not self._stopped.is_set():
                    ready, _, _ = select.select([client, server], [], [], 1.0)
                    if client in ready:
                        data = client.recv(65_536)
                        if not data:
                            return
                        server.sendall(data)
                    if server in ready:
                        data = server.recv(65_536)
                        if not data:
                            client.close()
                            return
                        if mode == "slow" and sent == 0:
                            time.sleep(self.delay_s)
                        if mode == "truncate" and sent + len(data) > self.keep:
                            client.sendall(data[: max(self.keep - sent, 0)])
                            _reset(client)
                            return
                        client.sendall(data)
                        sent += len(data)
            finally:
                self._open.discard(server)


def _reset(one: socket.socket) -> None:
    """Close with RST, as a process that died does."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()

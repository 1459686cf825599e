"""Load on an HTTP server of this machine, from a process of its own: at a fixed rate, or as fast as it answers.

At a fixed rate a request's time counts from when it was due, not from when it could be sent: a server that stalls is
charged for those that had to wait.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any


@dataclass
class Load:
    """What came back: seconds of each request in order, statuses by number, and what failed."""

    seconds: list[float]
    statuses: dict[int, int]
    failures: list[str]
    wall_s: float
    bodies: list[bytes]

    @property
    def per_second(self) -> float:
        return len(self.seconds) / self.wall_s


class _Connection:
    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, message: bytes) -> tuple[int, bytes]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            self._writer.write(message)
            head = await self._reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 : lower.find(b"\r\n", at)])
            return status, await self._reader.readexactly(length)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def message(port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def at_rate(port: int, messages: list[bytes], rate: float, seconds: float) -> Load:
    """Send ``rate`` requests a second over as many connections as that takes."""
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    connections = [_Connection(port) for _ in range(16)]
    for one in connections:
        free.put_nowait(one)
    load = Load([], {}, [], 0.0, [])
    started = time.perf_counter()

    async def one_request(due: float, data: bytes) -> None:
        connection = await free.get()
        try:
            status, _ = await connection.ask(data)
            load.statuses[status] = load.statuses.get(status, 0) + 1
        except Exception as error:
            load.failures.append(repr(error))
        finally:
            load.seconds.append(time.perf_counter() - due)
            free.put_nowait(connection)

    tasks = []
    for i in range(int(rate * seconds)):
        due = started + i / rate
        pause = due - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(one_request(due, messages[i % len(messages)])))
    await asyncio.gather(*tasks)
    load.wall_s = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return load


async def at_full_speed(port: int, messages: list[bytes], n_requests: int, n_callers: int, keep: bool) -> Load:
    """Ask one after another on each of ``n_callers`` connections."""
    load = Load([], {}, [], 0.0, [])
    started = time.perf_counter()

    async def call(first: int) -> None:
        connection = _Connection(port)
        for i in range(first, n_requests, n_callers):
            before = time.perf_counter()
            try:
                status, body = await connection.ask(messages[i % len(messages)])
                load.statuses[status] = load.statuses.get(status, 0) + 1
                if keep:
                    load.bodies.append(body)
            except Exception as error:
                load.failures.append(repr(error))
            load.seconds.append(time.perf_counter() - before)
        connection.close()

    await asyncio.gather(*(call(k) for k in range(n_callers)))
    load.wall_s = time.perf_counter() - started
    return load


def main() -> None:
    """Read one job as JSON from standard input, write what came back as JSON; bodies as text if asked for."""
    job: dict[str, Any] = json.load(sys.stdin)
    messages = [message(job["port"], job["path"], body.encode()) for body in job["bodies"]]
    if job["kind"] == "rate":
        load = asyncio.run(at_rate(job["port"], messages, job["rate"], job["seconds"]))
    else:
        load = asyncio.run(
            at_full_speed(job["port"], messages, job["n_requests"], job["n_callers"], job.get("keep", False))
        )
    bodies = [body.decode() for body in load.bodies]
    json.dump({**load.__dict__, "bodies": bodies, "per_second": load.per_second}, sys.stdout)


if __name__ == "__main__":
    main()

"""The server as it runs: uvicorn on a port of this machine, in a thread of the test."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import uvicorn

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.signatures import PublicKeys
from catalyst_ml.serving.app import build_app
from catalyst_ml.serving.bars_messages import BarsDesk, Question, Reading
from catalyst_ml.serving.bars_process import BarsProcess
from catalyst_ml.serving.bars_reader import BarsReader
from catalyst_ml.serving.following import ChannelFollower, StorePlace
from catalyst_ml.serving.http_protocol import BoundedHttpProtocol
from catalyst_ml.serving.judgement import Judge
from catalyst_ml.serving.ledger import Ledger
from catalyst_ml.serving.market_context import ContextSource
from catalyst_ml.serving.meters import Meters
from catalyst_ml.serving.service import SignalService
from catalyst_ml.serving.spool import Spool
from catalyst_ml.serving.trial_view import TrialSource
from catalyst_ml.settings import ServingSettings
from tests.catalyst_ml.serving.small_versions import LINE
from tests.fakes.processes import free_port


def read_without_table(line: ModelLine) -> BarsReader:
    """Made in the process for bars."""
    return BarsReader(line, ContextSource(None))


class DeskHere:
    """The reader of the process for bars in this process, on a bar table of the test's own."""

    problem = None

    def __init__(self, reader: BarsReader) -> None:
        self.reader, self.versions = reader, reader.versions

    @property
    def bar_table(self) -> str:
        return self.reader.contexts.problem or "ok"

    def read(self, question: Question, *, asked_at: float) -> Reading:
        return self.reader.read(question)

    def prepare(self) -> None:
        raise AssertionError("the versions are known")

    def state(self) -> dict[str, Any]:
        return {"state": "here", "pid": None, "resident_bytes": None, "restarts": 0, "last_end": None}

    def stop(self) -> None:
        pass


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def make_service(
    home: Path,
    places: list[StorePlace],
    public_key: PublicKeys | None,
    *,
    contexts: ContextSource | None = None,
    line: Any = LINE,
    **follower: Any,
) -> SignalService:
    """A service on ``home`` that looked for its model once; bars go to a process unless there is a table here."""
    followed = ChannelFollower(
        line,
        places,
        public_key=public_key,
        channel="production",
        last_good=FolderStore(home / "last_good"),
        **{"poll_s": 0.2, **follower},
    )
    followed.start()
    ledger = Ledger(Spool(home / "spool", max_bytes=50_000_000), line, channel="production", write=None)
    desk: BarsDesk = (
        DeskHere(BarsReader(line, contexts))
        if contexts is not None
        else BarsProcess(
            partial(read_without_table, line), timeout_s=20.0, idle_s=0.0, bar_table="DATABASE_URL is not set"
        )
    )
    return SignalService(line, followed, ledger, desk, Meters(), judge=Judge())


def stop_service(service: SignalService) -> None:
    service.follower.stop()
    service.bars.stop()
    service.ledger.stop()


class RunningServer:
    """Answers on ``port`` while the ``with`` block runs."""

    def __init__(self, service: SignalService, *, trial: TrialSource | None = None, **settings: Any) -> None:
        self.service = service
        self.settings = ServingSettings(**{"rate_per_s": 100_000.0, "burst": 100_000, **settings})
        self.app = build_app(service, trial or TrialSource([], service.line), self.settings)
        self.port = free_port()

    def __enter__(self) -> Self:
        config = uvicorn.Config(
            self.app, host="127.0.0.1", port=self.port, log_config=None, access_log=False, timeout_keep_alive=120,
            http=BoundedHttpProtocol, ws="none",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, "the server starts")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        stop_service(self.service)

    def ask(self, path: str, body: Any = None, *, method: str | None = None, headers: Any = None) -> Reply:
        """One request on a connection of its own; ``body`` may be bytes, else it is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return ask_on(connection, path, body, method=method, headers=headers)
        finally:
            connection.close()


def ask_on(
    connection: http.client.HTTPConnection,
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    headers: Any = None,
) -> Reply:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
    response = connection.getresponse()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def wait_until(is_true: Callable[[], bool], what: str, *, seconds: float = 20.0) -> float:
    """Wait for something to hold; returns the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if is_true():
            return time.monotonic() - started
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")

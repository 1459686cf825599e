"""A local HTTP server that speaks the Anthropic Messages API, well or badly, as told.

It checks requests as the real one does (path, key, version header, required fields, a strict schema), so a
client that only pleases this server would still have had to send a proper request.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0


def answer(text: str, *, stop_reason: str = "end_turn", input_tokens: int = 900, output_tokens: int = 120) -> Reply:
    """A proper message whose only block is ``text``."""
    message = {
        "id": "msg_local",
        "type": "message",
        "role": "assistant",
        "model": "claude-local",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens},
    }
    return Reply(200, json.dumps(message).encode())


def good(draft: dict[str, Any]) -> Reply:
    return answer(json.dumps(draft))


def malformed_json() -> Reply:
    return answer('{"verdict_comment": "It ended in the')


def refusal() -> Reply:
    return answer("", stop_reason="refusal", output_tokens=3)


def cut_short() -> Reply:
    return answer('{"verdict_comment": "It was', stop_reason="max_tokens")


def error(status: int, kind: str, *, retry_after: str | None = None) -> Reply:
    body = {"type": "error", "error": {"type": kind, "message": f"{kind} for the test"}}
    headers = (("retry-after", retry_after),) if retry_after else ()
    return Reply(status, json.dumps(body).encode(), headers=headers)


def html(status: int = 200) -> Reply:
    return Reply(status, b"<html><body>Sign in to the hotel network</body></html>", "text/html; charset=utf-8")


def broken_body() -> Reply:
    return Reply(200, b'{"id": "msg_local", "content": [')


def slow(reply: Reply, delay_s: float) -> Reply:
    return Reply(reply.status, reply.body, reply.content_type, reply.headers, delay_s)


@dataclass
class Received:
    """One request as it arrived."""

    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class MessagesServer:
    """Answers the n-th request with the n-th reply; the last reply repeats.

    >>> with MessagesServer([refusal()]) as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    replies: Sequence[Reply]
    key: str = "test-key"
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._next, self.key))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        self.received.append(Received(headers, body))
        return self.replies[min(len(self.received), len(self.replies)) - 1]


def _handler(reply_to: Callable[[dict[str, str], dict[str, Any]], Reply], key: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            refused = _request_problem(self.path, headers, raw, key)
            self._send(refused or reply_to(headers, json.loads(raw)))

        def _send(self, reply: Reply) -> None:
            time.sleep(reply.delay_s)
            try:
                self.send_response(reply.status)
                for name, value in (("content-type", reply.content_type), *reply.headers):
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # a client that ran out of patience, as some scenarios want

        def log_message(self, *_: object) -> None:
            """Keep the test output quiet."""

    return Handler


def _request_problem(path: str, headers: dict[str, str], raw: bytes, key: str) -> Reply | None:
    if path != "/v1/messages":
        return error(404, "not_found_error")
    if headers.get("authorization") != f"Bearer {key}":
        return error(401, "authentication_error")
    body = json.loads(raw)
    schema = body.get("output_config", {}).get("format", {}).get("schema", {})
    proper = (
        headers.get("anthropic-version")
        and body.get("model")
        and isinstance(body.get("max_tokens"), int)
        and body.get("messages")
        and schema.get("additionalProperties") is False
    )
    return None if proper else error(400, "invalid_request_error")

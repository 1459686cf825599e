"""What every request passes before a handler: who asks, how much, how often, how long; and one log line each."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from catalyst_ml.serving.meters import Meters

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/health", "/ready"})
"""Answered without a key, in short: orchestrators and upstream's coordinator send none."""
BODY_PATIENCE_S = 15.0
MAX_CALLERS = 10_000
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class RateLimit:
    """Token buckets by caller; the callers that were silent longest are forgotten first."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate, self._burst = rate_per_s, float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str, now: float) -> float:
        """Seconds until the caller may ask again; 0 if it may now, and one token is taken."""
        tokens, before = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[caller] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self._rate


class Guard:
    """ASGI wrapper around the application.

    Parameters
    ----------
    api_key : str or None
        Without one the server listens on loopback only, and answers only requests that name a loopback host: a page
        in the trader's browser must not reach it through a name that points here.
    """

    def __init__(
        self,
        app: App,
        *,
        api_key: str | None,
        max_bytes: int,
        timeout_s: float,
        rate: RateLimit,
        meters: Meters,
        paths: frozenset[str],
    ) -> None:
        self._app = app
        self._key = api_key.encode() if api_key else None
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._rate = rate
        self._meters = meters
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        reply = _Reply(send, request_id=uuid.uuid4().hex)
        scope.setdefault("state", {})["request_id"] = reply.request_id
        headers = {name.lower(): value for name, value in scope["headers"]}
        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await reply.refuse(*refusal)
            else:
                await self._handle(scope, headers, receive, reply)
        except Exception:  # the outermost place: the trace goes to the log, never to the caller
            log.exception("a request failed", extra={"request_id": reply.request_id})
            await reply.refuse(500, "server", "an answer", "an internal error; the log has it under the request's id")
        finally:
            seconds = time.perf_counter() - started
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._meters.count_request(path, reply.status, seconds)
            if log.isEnabledFor(logging.INFO):
                log.info(
                    "request",
                    extra={
                        "request_id": reply.request_id,
                        "method": scope["method"],
                        "path": path,
                        "status": reply.status,
                        "ms": round(1e3 * seconds, 3),
                        "caller": _caller(scope),
                    },
                )

    async def _handle(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, reply: _Reply) -> None:
        body: bytes | None = None
        is_whole = False
        try:
            # One timer for both waits, set anew in between: a second one costs as much as parsing the request.
            async with asyncio.timeout(BODY_PATIENCE_S) as patience:
                body = await self._body(headers, receive)
                is_whole = True
                if body is not None:
                    pending = [{"type": "http.request", "body": body, "more_body": False}]

                    async def replay() -> Message:
                        return pending.pop() if pending else await receive()

                    patience.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
                    await self._app(scope, replay, reply.send)
        except TimeoutError:
            if not is_whole:
                await reply.refuse(408, "body", f"the whole body within {BODY_PATIENCE_S:g} s", "a part of it")
                return
            log.warning("a request took too long", extra={"request_id": reply.request_id, "path": scope["path"]})
            await reply.refuse(
                503, "server", f"an answer within {self._timeout_s:g} s", "none; send fewer symbols, or try again",
                more=((b"retry-after", b"1"),),
            )  # fmt: skip
            return
        if body is None:
            await reply.refuse(413, "body", f"at most {self._max_bytes:,} bytes", "more")

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[Any, ...] | None:
        wait_s = self._rate.wait_s(_caller(scope), time.monotonic())
        if wait_s > 0.0:
            after = (b"retry-after", str(max(1, round(wait_s))).encode())
            return 429, "requests", "fewer a second (SERVE_RATE_PER_S)", "more than allowed", (after,)
        if self._key is None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name not in LOOPBACK_NAMES:
                return 403, "host header", "localhost, for no SERVE_API_KEY is set", "another name"
        elif not is_allowed(headers, self._key):
            if scope["path"] not in OPEN_PATHS:
                challenge = (b"www-authenticate", b'Basic realm="catalyst-ml", charset="UTF-8"')
                return (
                    401,
                    "X-API-Key header",
                    "the server's key (also Bearer, or Basic with any user)",
                    "none, or another",
                    (challenge,),
                )
        else:
            scope["state"]["is_known"] = True
        if self._key is None:
            scope["state"]["is_known"] = True
        if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
            return 415, "Content-Encoding header", "an uncompressed body", "a compressed one"
        return None

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        """The whole body, or None if it is larger than allowed."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_bytes:
            return None
        parts: list[bytes] = []
        n_bytes = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b"".join(parts)
            part = message.get("body", b"")
            n_bytes += len(part)
            if n_bytes > self._max_bytes:
                return None
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


class _Reply:
    """Passes an answer on with the security headers; refuses unless an answer has begun."""

    def __init__(self, send: Send, *, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [*SECURITY_HEADERS, (b"x-request-id", self.request_id.encode())]
            message["headers"] = [*message.get("headers", []), *own]
        await self._send(message)

    async def refuse(
        self, status: int, field: str, expected: str, got: str, more: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        if self.status:
            return
        body = json.dumps(error_document(field, expected, got, self.request_id)).encode()
        length = (b"content-length", str(len(body)).encode())
        headers = [(b"content-type", b"application/json"), length, *more]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def error_document(field: str, expected: str, got: str, request_id: str = "") -> dict[str, Any]:
    """The one shape of every refusal."""
    error = {"field": field, "expected": expected, "got": got, "message": f"{field}: expected {expected}, got {got}"}
    return {"error": error | ({"request_id": request_id} if request_id else {})}


def is_allowed(headers: Mapping[bytes, bytes], key: bytes) -> bool:
    """True if a header carries the key; compared in constant time."""
    given = headers.get(b"x-api-key")
    if given is None:
        kind, _, value = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer":
            given = value.strip()
        elif kind.lower() == b"basic":
            try:
                given = base64.b64decode(value, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                given = None
    return given is not None and hmac.compare_digest(given, key)


def is_loopback(host: str) -> bool:
    """True if an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _caller(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"

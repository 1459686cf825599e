"""How bytes become requests: uvicorn's parser in C, with bounds on a request's head that it does not set itself.

The parser written in Python bounds a head but costs a quick request a quarter more (docs/benchmarks/serving.md);
without bounds a caller without a key could fill the memory with one header that never ends.
"""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 32_768
"""Path and headers of a request together. Of a head that is still coming, one read of the socket more is possible."""
HEAD_PATIENCE_S = 15.0


class HeadTooLarge(ValueError):
    """A head beyond ``MAX_HEAD_BYTES``. Reaction: the parser answers 400 and the connection is closed."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection."""

    _in_head = False
    _head_bytes = 0
    """Of parsed headers."""
    _later_bytes = 0
    """Of reads after the one in which the head began: they may hold a header that has no end yet."""
    _patience: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        had_begun = self._in_head
        super().data_received(data)
        if not self._in_head:
            self._cancel_patience()
            return
        # Heads come in one piece as a rule: this is the rest of one, or a client that takes its time.
        if had_begun:
            self._later_bytes += len(data)
            if self._later_bytes > MAX_HEAD_BYTES:
                self._give_up(f"a head of more than {MAX_HEAD_BYTES:,} bytes")
                return
        if self._patience is None:
            self._patience = self.loop.call_later(
                HEAD_PATIENCE_S, self._give_up, f"no whole head within {HEAD_PATIENCE_S:g} s"
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_patience()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes, self._later_bytes = True, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def _count(self, n_bytes: int) -> None:
        self._head_bytes += n_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge(f"{self._head_bytes:,} bytes")

    def _give_up(self, why: str) -> None:
        if not self.transport.is_closing():
            log.warning("a connection is closed: %s", why)
            self.send_400_response("Invalid HTTP request received.")

    def _cancel_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

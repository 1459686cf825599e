"""The bytes of a request as they come: whole, in pieces, without an end."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving import guard, http_protocol
from tests.catalyst_ml.serving.running import RunningServer, make_service

BODY = json.dumps({"symbol": "ACME", "direction": 1, "features": {"rule_score": 65.0}}).encode()


@pytest.fixture
def server(tmp_path: Path, signer: Signer) -> Iterator[RunningServer]:
    with RunningServer(make_service(tmp_path, [], signer.public_keys)) as running:
        yield running


def head(port: int, *more: str, length: int = len(BODY)) -> bytes:
    lines = ["POST /v1/signals HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def connected(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def until_closed(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:  # what we went on sending was not read any more
        pass
    return b"".join(parts)


def status_of(answer: bytes) -> int:
    return int(answer[9:12])


def one_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    file = connection.makefile("rb")
    status = status_of(file.readline())
    length = 0
    while (line := file.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    return status, json.loads(file.read(length))


def test_a_request_in_single_bytes_is_answered_like_a_whole_one(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head(server.port) + BODY:
            connection.send(bytes([byte]))
        status, answer = one_answer(connection)
    assert status == 200
    assert answer["signals"][0]["symbol"] == "ACME"


def test_requests_that_come_together_are_answered_in_order(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(3 * (head(server.port) + BODY) + head(server.port, "Connection: close") + BODY)
        answers = until_closed(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("pieces", [1, 400])
def test_a_head_without_an_end_is_cut_off(server: RunningServer, pieces: int) -> None:
    with connected(server) as connection:
        connection.sendall(head(server.port)[:-2])
        if pieces == 1:
            connection.sendall(b"X-Long: " + 40_000 * b"a" + b"\r\n\r\n")
        else:
            try:
                connection.sendall(b"X-Long: ")
                for _ in range(pieces):
                    connection.sendall(1_000 * b"a")
            except (BrokenPipeError, ConnectionResetError):
                pass
        answer = until_closed(connection)
    assert answer == b"" or status_of(answer) == 400  # nothing, where the cut came while we were sending
    assert server.ask("/v1/signals", BODY).status == 200


def test_a_head_in_pieces_may_be_as_large_as_one_in_one_piece(server: RunningServer) -> None:
    whole = head(server.port, *(f"X-{i}: {60 * 'a'}" for i in range(400))) + BODY
    with connected(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for first in range(0, len(whole), 4_000):
            connection.sendall(whole[first : first + 4_000])
            time.sleep(0.01)  # a read of its own
        assert one_answer(connection)[0] == 200


def test_many_small_headers_count_together(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(head(server.port, *(f"X-{i}: {60 * 'a'}" for i in range(600))) + BODY)
        assert status_of(until_closed(connection)) == 400
    with connected(server) as connection:
        connection.sendall(head(server.port, *(f"X-{i}: {60 * 'a'}" for i in range(300))) + BODY)
        assert one_answer(connection)[0] == 200


def test_a_head_that_does_not_come_whole_ends_the_connection(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_PATIENCE_S", 0.2)
    with connected(server) as connection:
        connection.sendall(head(server.port)[:-2])
        assert status_of(until_closed(connection)) == 400


def test_a_body_that_does_not_come_whole_is_a_408(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_PATIENCE_S", 0.2)
    with connected(server) as connection:
        connection.sendall(head(server.port) + BODY[:-5])
        status, answer = one_answer(connection)
    assert (status, answer["error"]["field"]) == (408, "body")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/signals HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        b"POST /v1/signals HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_closed(server: RunningServer, sent: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = until_closed(connection)
    assert status_of(answer) in (400, 408)
    assert b"Traceback" not in answer
    assert server.ask("/v1/signals", BODY).status == 200

"""The cache and the bell on a real Redis: what is kept, what is refused, who hears, and that nobody depends on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from catalyst_ml.errors import ArtifactRefused, ConfigurationError, SourceUnavailable, UnknownVersion
from catalyst_ml.registry.redis_store import RedisStore, open_redis, ring_bell
from catalyst_ml.settings import RedisSettings
from tests.fakes.processes import free_port
from tests.fakes.redis_server import RedisServer

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    opened = open_redis(RedisSettings(url=SecretStr(server.url)))
    assert opened is not None
    return opened


def test_bytes_come_back_by_folder_and_name(store: RedisStore) -> None:
    store.put_bytes("versions/a/model.onnx", b"\x00\xff" * 1000)
    store.put_bytes("versions/a/manifest.json", b"{}")
    store.put_bytes("versions/b/manifest.json", b"{}")
    assert store.get_bytes("versions/a/model.onnx") == b"\x00\xff" * 1000
    assert store.list_keys("versions/a/") == ["versions/a/manifest.json", "versions/a/model.onnx"]
    assert store.list_keys("versions/none") == []


def test_missing_and_oversize_are_told_apart(store: RedisStore) -> None:
    with pytest.raises(UnknownVersion, match="never cached, or evicted"):
        store.get_bytes("versions/a/nothing")
    store.put_bytes("versions/a/big", b"x" * 100)
    with pytest.raises(ArtifactRefused, match="100 bytes, allowed are 99"):
        store.get_bytes("versions/a/big", max_bytes=99)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a//b", "a/.b", "a\nb", ""])
def test_path_tricks_are_refused(store: RedisStore, key: str) -> None:
    with pytest.raises(ArtifactRefused):
        store.put_bytes(key, b"x")


def test_keys_carry_our_prefix_alone_and_are_forgotten_in_time(store: RedisStore) -> None:
    store.put_bytes("channels/x.json", b"1")
    keys = store._client.keys("*")
    assert all(key.startswith(b"ml:") for key in keys)  # type: ignore[union-attr]
    assert 0 < store._client.ttl("ml:channels") <= 30 * 86_400  # type: ignore[operator]


def test_a_ring_is_heard_by_everybody_who_listens(store: RedisStore, server: RedisServer) -> None:
    heard = threading.Event()
    ready = threading.Event()

    def listen() -> None:
        for n, rang in enumerate(store.heard(timeout_s=0.1)):
            if n == 0:
                ready.set()
            elif rang:
                heard.set()
                return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert ready.wait(5)
    assert ring_bell(RedisSettings(url=SecretStr(server.url))) is None
    assert heard.wait(5)
    thread.join(5)


def test_an_absent_redis_is_said_and_hurts_nobody() -> None:
    nowhere = RedisSettings(host="127.0.0.1", port=free_port(), password=SecretStr("hunter2"), timeout_s=0.3)
    opened = open_redis(nowhere)
    assert opened is not None
    with pytest.raises(SourceUnavailable, match="servers go on without it") as raised:
        opened.ping()
    assert "hunter2" not in str(raised.value)
    problem = ring_bell(nowhere)
    assert problem is not None
    assert "could not announce" in problem
    assert ring_bell(RedisSettings()) is None


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL is no Redis URL") as raised:
        open_redis(RedisSettings(url=SecretStr("http://:hunter2@x")))
    assert "hunter2" not in str(raised.value)

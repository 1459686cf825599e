"""A real Redis and a real S3 server with faults between: answers never stop, reasons are shown, the state heals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.redis_store import RedisStore, open_redis
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.registry.spaces import SpacesStore, open_spaces
from catalyst_ml.serving.following import StorePlace
from catalyst_ml.settings import RedisSettings, SpacesSettings
from tests.catalyst_ml.serving.running import RunningServer, make_service, wait_until
from tests.catalyst_ml.serving.small_versions import Promoter, tiny_onnx
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.redis_server import RedisServer
from tests.fakes.s3_server import S3Server

pytestmark = pytest.mark.server
ASKED = {"symbol": "ACME", "direction": 1, "features": {"rule_score": 65.0, "rule_agreement": 1.0}}


class Caller(threading.Thread):
    """Asks all the time; keeps what was not answered with 200, and every answer's version and reason."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(daemon=True)
        self._server, self._stopped = server, threading.Event()
        self.failures: list[Any] = []
        self.seen: list[tuple[str | None, str, str | None]] = []
        self.slowest_s = 0.0

    def run(self) -> None:
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                reply = self._server.ask("/v1/signals", ASKED)
            except OSError as error:
                self.failures.append(error)
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
            if reply.status != 200:
                self.failures.append(reply)
                continue
            answer = reply.json()
            self.seen.append((answer["version_id"], answer["source"], answer["fallback_reason"]))
            time.sleep(0.005)

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=10)


class Neighbourhood:
    """Server, Redis, S3 and the proxies between; ``far`` and ``near`` reach the stores past the proxies."""

    def __init__(self, root: Path, signer: Signer, redis: RedisServer, s3: S3Server) -> None:
        self.redis_proxy, self.s3_proxy = FaultProxy(redis.port), FaultProxy(int(s3.url.rpartition(":")[2]))
        self.redis = redis
        self.bucket = f"b{abs(hash(root)) % 10**9}"
        s3.client().create_bucket(Bucket=self.bucket)
        self.far = self._spaces(s3.url)
        self._root, self._signer = root, signer
        self.promoter = Promoter(signer)

    def _spaces(self, url: str) -> SpacesStore:
        settings = SpacesSettings(endpoint=url, bucket=self.bucket, key=SecretStr("k"), secret=SecretStr("s"))
        return open_spaces(settings)

    def near(self) -> RedisStore:
        store = open_redis(RedisSettings(url=SecretStr(self.redis.url)))
        assert store is not None
        return store

    def server(self) -> RunningServer:
        redis = open_redis(RedisSettings(url=SecretStr(f"redis://127.0.0.1:{self.redis_proxy.port}/0"), timeout_s=0.5))
        assert redis is not None
        places = [
            StorePlace("redis", redis, is_cache=True),
            StorePlace("disk", FolderStore(self._root / "cache"), is_cache=True),
            StorePlace("spaces", self._spaces(self.s3_proxy.url)),
        ]
        return RunningServer(make_service(self._root, places, self._signer.public_keys, redis=redis, poll_s=0.3))

    def promote(self, p: float, *, ring: bool = False) -> str:
        manifest = self.promoter.publish(self.far, tiny_onnx(p), seed=int(1000 * p))
        documents = self.promoter.promote(self.far, manifest)
        if ring:
            self.near().announce(documents)
        return manifest.version_id


@pytest.fixture
def around(tmp_path: Path, signer: Signer, redis_server: RedisServer, s3_server: S3Server) -> Iterator[Neighbourhood]:
    made = Neighbourhood(tmp_path, signer, redis_server, s3_server)
    with made.redis_proxy, made.s3_proxy:
        yield made


def answering(server: RunningServer) -> str | None:
    return server.service.follower.snapshot.version_id


def test_answers_never_stop_while_both_stores_have_their_bad_days(around: Neighbourhood) -> None:
    first = around.promote(0.70)
    with around.server() as server:
        caller = Caller(server)
        caller.start()
        try:
            assert answering(server) == first
            faults: list[tuple[str, str]] = [
                ("s3", "error"), ("s3", "refuse"), ("s3", "truncate"), ("s3", "stuck"), ("redis", "refuse"),
                ("redis", "stuck"), ("redis", "truncate"),
            ]  # fmt: skip
            for where, mode in faults:
                proxy = around.s3_proxy if where == "s3" else around.redis_proxy
                proxy.keep = 5
                proxy.mode = mode  # type: ignore[assignment]
                time.sleep(0.7)
                assert answering(server) == first
                proxy.mode = "pass"
            wait_until(lambda: server.service.follower.snapshot.fallback is None, "the state heals")
            second = around.promote(0.60)
            wait_until(lambda: answering(server) == second, "the next version is found after the faults")
            wait_until(lambda: caller.seen[-1][0] == second, "callers hear the next version")
        finally:
            caller.stop()
    assert caller.failures == []
    assert len(caller.seen) > 100
    assert caller.slowest_s < 2.0
    assert {version for version, _, _ in caller.seen} == {first, second}


def test_a_promotion_rings_through_redis_within_two_seconds(around: Neighbourhood) -> None:
    around.promote(0.70)
    with around.server() as server:
        server.service.follower._poll_s = 60.0
        wait_until(lambda: server.service.follower.bell == "connected", "the bell is connected")
        time.sleep(0.4)
        second = around.promote(0.60, ring=True)
        assert wait_until(lambda: answering(server) == second, "the swap") < 2.0


def test_killed_and_emptied_redis_comes_back_and_is_filled_again(around: Neighbourhood) -> None:
    first = around.promote(0.70)
    with around.server() as server:
        wait_until(lambda: server.service.follower.bell == "connected", "the bell is connected")
        around.redis.kill()
        wait_until(lambda: server.service.follower.bell != "connected", "the loss is noticed")
        health = server.ask("/health").json()
        assert (health["redis"], health["model"]["version_id"]) == (False, first)
        second = around.promote(0.60)
        wait_until(lambda: answering(server) == second, "the swap by polling, without Redis")
        around.redis.start()
        wait_until(lambda: server.service.follower.bell == "connected", "the bell is connected again")
        key = "channels/demo-1d-atr1-h5-v1-production.json"
        wait_until(lambda: key in around.near().list_keys("channels"), "the cache is filled again")
        assert server.ask("/health").json()["redis"] is True


def test_a_model_altered_in_redis_is_refused_and_taken_from_spaces(around: Neighbourhood) -> None:
    manifest = around.promoter.publish(around.far, tiny_onnx(0.7))
    documents = around.promoter.promote(around.far, manifest)
    for name in ("manifest.json", "manifest.sig", "model.onnx"):
        key = f"versions/{manifest.version_id}/{name}"
        around.near().put_bytes(key, around.far.get_bytes(key) if name != "model.onnx" else tiny_onnx(0.99))
    around.near().announce(documents)
    with around.server() as server:
        snapshot = server.service.follower.snapshot
        assert (snapshot.version_id, snapshot.place) == (manifest.version_id, "spaces")
        refused = [step for step in snapshot.steps if step.place == "model from redis"]
        assert "the manifest says" in refused[0].reason
        assert server.ask("/v1/signals", ASKED).json()["signals"][0]["p_ml"] == pytest.approx(0.7, abs=1e-6)


def test_started_with_nothing_reachable_the_rules_answer_and_the_model_follows(around: Neighbourhood) -> None:
    version = around.promote(0.70)
    around.s3_proxy.mode, around.redis_proxy.mode = "error", "refuse"
    with around.server() as server:
        answer = server.ask("/v1/signals", ASKED).json()
        signal = answer["signals"][0]
        assert (answer["source"], signal["arm"], signal["action"]) == ("rules", "rules", "BUY")
        assert "no place says what the channel holds" in signal["fallback_reason"]
        assert server.ask("/health").json()["status"] == "degraded"
        around.s3_proxy.mode = "pass"
        wait_until(lambda: answering(server) == version, "the model follows")
        assert server.ask("/health").json()["status"] == "healthy"

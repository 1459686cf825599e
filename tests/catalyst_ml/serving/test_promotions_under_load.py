"""Promotions and rollbacks while requests come: none fails, none mixes two versions."""

from __future__ import annotations

import http.client
import threading
from pathlib import Path
from typing import Any

import pytest

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.following import StorePlace
from tests.catalyst_ml.serving.running import RunningServer, ask_on, make_service, wait_until
from tests.catalyst_ml.serving.small_versions import Promoter, tiny_onnx

N_MOVES, N_REQUESTS, N_CALLERS = 20, 2_000, 2
BATCH = {
    "items": [
        {"symbol": f"S{i}", "direction": 1 if i % 2 else -1, "features": {"rule_score": 65.0, "rule_agreement": 1.0}}
        for i in range(4)
    ]
}


def test_twenty_promotions_and_rollbacks_under_load_fail_and_mix_nothing(
    tmp_path: Path, store: FolderStore, signer: Signer, promoter: Promoter
) -> None:
    probabilities = {0.65: "a", 0.75: "b", 0.70: "c"}
    versions = {p: promoter.publish(store, tiny_onnx(p), seed=int(100 * p)) for p in probabilities}
    says = {manifest.version_id: p for p, manifest in versions.items()}
    order = [*versions.values(), None]
    promoter.promote(store, order[0])
    service = make_service(tmp_path, [StorePlace("disk", store)], signer.public_keys, poll_s=60.0)
    wrong: list[Any] = []
    answered: list[str | None] = []

    def call(server: RunningServer, n_requests: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for _ in range(n_requests):
            try:
                reply = ask_on(connection, "/v1/signals", BATCH)
                answer = reply.json()
                problem = _mixed(answer, says) if reply.status == 200 else reply
            except Exception as error:
                problem = error
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            if problem:
                wrong.append(problem)
            else:
                answered.append(answer["version_id"])
        connection.close()

    with RunningServer(service) as server:
        callers = [threading.Thread(target=call, args=(server, N_REQUESTS // N_CALLERS)) for _ in range(N_CALLERS)]
        for caller in callers:
            caller.start()
        for move in range(1, N_MOVES + 1):
            due = move * N_REQUESTS // (N_MOVES + 2)
            wait_until(lambda due=due: len(answered) + len(wrong) >= due, "requests go on", seconds=60)
            held = order[move % len(order)]
            promoter.promote(store, held)
            service.follower.refresh()
            assert service.follower.snapshot.version_id == (held.version_id if held else None)
        for caller in callers:
            caller.join(timeout=120)
    assert wrong == []
    assert len(answered) == N_REQUESTS
    assert set(answered) == {*says, None}
    assert service.ledger.state()["written"] == 4 * N_REQUESTS
    assert service.ledger.state()["not_recorded"] == 0


def _mixed(answer: dict[str, Any], says: dict[str, float]) -> str | None:
    """Whether a part of the answer contradicts the version it names."""
    version, sequence = answer["version_id"], answer["sequence"]
    for signal in answer["signals"]:
        if (signal["version_id"], signal["sequence"]) != (version, sequence):
            return f"{signal['version_id']} inside an answer of {version}"
        expected = says.get(version)
        if version is None and signal["p_ml"] is not None:
            return "a model's probability in an answer of the rules"
        if version is not None and signal["p_ml"] != pytest.approx(expected, abs=1e-6):
            return f"{signal['p_ml']} from {version}, which says {expected}"
    return None if answer["recorded"] else "an answer that was not recorded"

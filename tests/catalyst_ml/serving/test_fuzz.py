"""Requests nobody would send: no 500, no trace, a 4xx always names the field. ``FUZZ_REQUESTS`` asks for more."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalyst_ml.features.events import MODEL_INPUTS
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.following import StorePlace
from tests.catalyst_ml.serving.running import RunningServer, ask_on, make_service
from tests.catalyst_ml.serving.small_versions import Promoter, tiny_onnx

N_REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "300"))
PATHS = ("/v1/signals", "/analyze_pattern", "/generate_signal", "/predict", "/api/v1/predict", "/api/v1/detect")
FIELDS = (
    "symbol", "ts", "direction", "features", "bars", "items", "timeframe", "news", "universe", "kind", "sector",
    "answer",
    "context", "catalyst_data", "patterns", "lookback_bars", "min_confidence", "open", "high", "low", "close", "volume",
    "type", "score", "sentiment", "published_at", "news_id", *MODEL_INPUTS[:4],
)  # fmt: skip

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=12),
    st.sampled_from(["ACME", "1d", "5m", "stock", "2026-11-25T21:00:00Z", "0001-01-01T00:00:00Z"]),
    st.just("9999-12-31T23:59:59-12:00"),
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=6)), inner, max_size=6),
    ),
    max_leaves=20,
)
prices = st.one_of(st.floats(0.01, 1e6), st.sampled_from([1.0, 1e-300, 1e7, 5e-324]))
times = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
bars = st.lists(
    st.fixed_dictionaries(
        {"ts": times, "open": prices, "high": prices, "low": prices, "close": prices, "volume": prices}
    ),
    max_size=25,
)
flat_days = st.integers(0, 60).map(
    lambda n: [
        {
            "ts": f"2025-{1 + i // 28:02d}-{1 + i % 28:02d}T21:00:00Z",
            "open": 5,
            "high": 5,
            "low": 5,
            "close": 5,
            "volume": 0,
        }
        for i in range(n)
    ]
)
nearly_right = st.fixed_dictionaries(
    {"symbol": st.sampled_from(["ACME", "BRK.B", "^VIX"])},
    optional={
        "ts": times,
        "direction": st.sampled_from([1, -1]),
        "features": st.dictionaries(
            st.sampled_from(MODEL_INPUTS), st.one_of(st.none(), st.floats(allow_nan=False)), max_size=8
        ),
        "bars": st.one_of(bars, flat_days),
        "timeframe": st.sampled_from(["1d", "5m", "1h", "0m", "999d"]),
        "context": st.dictionaries(st.sampled_from(["type", "score", "sentiment"]), scalars, max_size=3),
    },
)
requests = st.one_of(
    nearly_right,
    st.lists(nearly_right, max_size=3).map(lambda items: {"items": items}),
    st.dictionaries(st.sampled_from(FIELDS), anything, max_size=6),
    anything,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[RunningServer]:
    home: Path = tmp_path_factory.mktemp("fuzz")
    store, promoter = FolderStore(home / "store"), Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.7)))
    service = make_service(home, [StorePlace("disk", store)], signer.public_keys, poll_s=60.0)
    with RunningServer(service) as running:
        yield running


@pytest.fixture(scope="module")
def connection(server: RunningServer) -> Iterator[http.client.HTTPConnection]:
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    yield kept
    kept.close()


def require_sound(status: int, body: bytes) -> None:
    assert status < 500, body
    text = body.decode()
    assert "Traceback" not in text
    if status != 200:
        error: dict[str, Any] = json.loads(text)["error"]
        assert status in (400, 413, 415, 422)
        assert error["field"]
        assert error["expected"]
        assert error["got"]
        assert len(text) < 2_000
    else:
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@given(path=st.sampled_from(PATHS), body=requests)
@settings(max_examples=N_REQUESTS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_json_makes_the_server_fail(connection: http.client.HTTPConnection, path: str, body: Any) -> None:
    reply = ask_on(connection, path, json.dumps(body).encode())
    require_sound(reply.status, reply.body)


@given(path=st.sampled_from(PATHS), body=st.binary(max_size=200))
@settings(max_examples=max(N_REQUESTS // 10, 40), deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_bytes_make_the_server_fail(connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
    reply = ask_on(connection, path, body)
    require_sound(reply.status, reply.body)

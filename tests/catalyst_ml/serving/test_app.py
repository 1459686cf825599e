"""The server over HTTP: who may ask, what is refused and how, and the shapes of all answers."""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.documentation import EXAMPLES
from catalyst_ml.serving.following import StorePlace
from catalyst_ml.serving.logs import JsonFormatter
from catalyst_ml.serving.trial_view import TrialSource, trial_key
from catalyst_ml.settings import RedisSettings
from tests.catalyst_ml.serving.running import RunningServer, make_service, wait_until
from tests.catalyst_ml.serving.small_versions import LINE, Promoter, tiny_onnx

KEY = "a-key-of-sufficient-length"
ASKED: dict[str, Any] = {
    "symbol": "ACME",
    "ts": "2026-11-25T21:00:00Z",
    "direction": 1,
    "features": {"rule_score": 65.0, "rule_agreement": 1.0, "relative_rsi_14": None},
}
BAR = {"ts": "2026-11-25T21:00:00Z", "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1000}


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(module_home: Path, signer: Signer) -> Iterator[RunningServer]:
    store = FolderStore(module_home / "store")
    promoter = Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.7)), stage="70")
    trial = {"updated_at": "2026-11-27T06:00:00Z", "accuracy": 0.561, "base_rate": 0.492}
    store.put_bytes(trial_key(LINE), json.dumps(trial).encode())
    service = make_service(module_home, [StorePlace("disk", store)], signer.public_keys, poll_s=60.0)
    with RunningServer(service, trial=TrialSource([store], LINE), max_request_bytes=200_000) as running:
        yield running


@pytest.fixture
def locked(tmp_path: Path, signer: Signer) -> Iterator[RunningServer]:
    service = make_service(tmp_path, [], signer.public_keys)
    with RunningServer(service, api_key=KEY, rate_per_s=5.0, burst=20) as running:
        yield running


def refused(reply: Any, status: int, field: str) -> dict[str, str]:
    assert reply.status == status, reply.body
    error: dict[str, str] = reply.json()["error"]
    assert error["field"] == field, error
    assert error["message"] == f"{field}: expected {error['expected']}, got {error['got']}"
    assert "Traceback" not in reply.body.decode()
    return error


def test_one_symbol_by_its_inputs(server: RunningServer) -> None:
    reply = server.ask("/v1/signals", ASKED)
    answer = reply.json()
    signal = answer["signals"][0]
    assert (signal["symbol"], signal["action"], signal["arm"], signal["weight"]) == ("ACME", "BUY", "blend", 0.7)
    assert (answer["stage"], answer["recorded"], answer["source"]) == ("70", True, "disk")
    assert signal["confidence_percent"] == pytest.approx(100 * signal["probability"], abs=0.01)
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])


def test_a_batch_is_answered_under_one_version_in_order(server: RunningServer) -> None:
    items = [{**ASKED, "symbol": f"S{i}"} for i in range(20)]
    answer = server.ask("/v1/signals", {"items": items}).json()
    assert [signal["symbol"] for signal in answer["signals"]] == [item["symbol"] for item in items]
    assert {signal["version_id"] for signal in answer["signals"]} == {answer["version_id"]}


def test_a_symbol_without_bars_is_held_with_the_reason(server: RunningServer) -> None:
    signal = server.ask("/v1/signals", {"symbol": "ACME"}).json()["signals"][0]
    assert (signal["arm"], signal["action"], signal["abstain"]) == ("hold", "HOLD", True)
    assert signal["reason"] == "no bars came, and the bar table cannot be read: DATABASE_URL is not set"


@pytest.mark.parametrize(
    ("body", "status", "field", "got"),
    [
        (b"{", 400, "body", "EOF while parsing an object at line 1 column 1"),
        (b"", 400, "body", "EOF while parsing a value at line 1 column 0"),
        (b"[]", 422, "request", "list of 0"),
        ({}, 422, "request", "neither"),
        ({**ASKED, "symbol": "A B"}, 422, "symbol", "'A B'"),
        ({**ASKED, "symbol": 7}, 422, "symbol", "7"),
        ({**ASKED, "features": {"nix": 1}}, 422, "request.features.nix", "an unknown name"),
        ({**ASKED, "features": {"rule_score": "65"}}, 422, "features.rule_score", "'65'"),
        ({**ASKED, "features": {"rule_score": True}}, 422, "features.rule_score", "True"),
        ({**ASKED, "direction": 0}, 422, "direction", "0"),
        ({"symbol": "A", "features": {}}, 422, "request", "none"),
        ({**ASKED, "bars": [BAR]}, 422, "request", "both"),
        ({**ASKED, "ts": 1_700_000_000}, 422, "ts", "int"),
        ({**ASKED, "ts": "2026-11-25T21:00:00"}, 422, "ts", "'2026-11-25T21:00:00'"),
        ({**ASKED, "surprise": 1}, 422, "surprise", "1"),
        ({**ASKED, "items": [ASKED]}, 422, "request", None),
        ({"items": []}, 422, "items", "list of 0"),
        ({"symbol": "A", "timeframe": "7y", "bars": [BAR]}, 422, "timeframe", "7y"),
        ({"symbol": "A", "bars": [BAR, BAR]}, 422, "request.bars[1].ts", "2026-11-25T21:00:00+00:00"),
        ({"symbol": "A", "bars": [{**BAR, "close": 12.0}]}, 422, "request.bars[0]", None),
        ({"symbol": "A", "bars": [{**BAR, "close": -1}]}, 422, "bars.0.close", "-1"),
        ({"symbol": "A", "bars": [{**BAR, "high": None}]}, 422, "bars.0.high", "None"),
        ({"symbol": "A", "bars": {**{k: [v] for k, v in BAR.items()}, "low": []}}, 422, "bars", None),
        ({"items": [{"symbol": "A"}, {"symbol": "A"}]}, 422, "items[1].symbol", "A as in 0"),
        ({"symbol": "A", "bars": [{**BAR, "ts": "2099-01-02T21:00:00Z"}]}, 422, "request.bars[0].ts", None),
        ({"symbol": "A", "news": [{"symbol": "A"}]}, 422, "news.0.published_at", "nothing"),
    ],
)
def test_bad_requests_name_the_field_and_what_came(
    server: RunningServer, body: Any, status: int, field: str, got: str | None
) -> None:
    error = refused(server.ask("/v1/signals", body), status, field)
    if got is not None:
        assert error["got"] == got


@pytest.mark.parametrize(
    "text",
    [
        '{"symbol":"A","direction":1,"features":{"rule_score":NaN}}',
        '{"symbol":"A","direction":1,"features":{"rule_score":1e999}}',
    ],
)
def test_numbers_that_json_does_not_know_are_refused(server: RunningServer, text: str) -> None:
    assert server.ask("/v1/signals", text.encode()).status in (400, 422)


def test_too_large_compressed_or_unknown_is_refused(server: RunningServer) -> None:
    refused(server.ask("/v1/signals", b" " * 200_001), 413, "body")
    refused(server.ask("/v1/signals", b"x", headers={"Content-Encoding": "gzip"}), 415, "Content-Encoding header")
    refused(server.ask("/nowhere"), 404, "path")
    refused(server.ask("/v1/signals"), 405, "path")


def test_a_chunked_body_counts_as_it_comes(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(b"POST /v1/signals HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            raw.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_without_a_key_only_names_of_this_machine_are_answered(server: RunningServer) -> None:
    refused(server.ask("/v1/model", headers={"Host": "evil.example:5012"}), 403, "host header")
    assert server.ask("/v1/model", headers={"Host": "localhost:5012"}).status == 200


def test_upstreams_shapes(server: RunningServer) -> None:
    for path in ("/predict", "/api/v1/predict"):
        answer = server.ask(path, {"symbol": "ACME", "features": ASKED["features"], "unknown": "ignored"}).json()
        assert (answer["prediction"], answer["arm"]) == ("BUY", "blend")
        assert answer["confidence"] == pytest.approx(100 * answer["probability"], abs=0.01)
        assert answer["model_version"] == answer["version_id"]
        assert {"data_age_s", "fallback_reason", "sequence"} <= answer.keys()
    pattern = server.ask("/analyze_pattern", {"symbol": "ACME", "timeframe": "1d", "context": {"score": 120}}).json()
    assert {
        "symbol",
        "timestamp",
        "timeframe",
        "status",
        "patterns",
        "catalyst_context",
        "data_points",
    } <= pattern.keys()
    assert (pattern["status"], pattern["patterns"]) == ("success", [])
    signal = server.ask("/generate_signal", {"symbol": "ACME", "patterns": [], "catalyst_data": {}}).json()
    assert (signal["status"], signal["signal"]["action"], signal["signal"]["signal_type"]) == (
        "success",
        "HOLD",
        "NEUTRAL",
    )
    assert {"entry_price", "stop_loss", "take_profit", "confidence"} <= signal["signal"].keys()
    detected = server.ask("/api/v1/detect", {"symbol": "ACME", "timeframe": "5m", "lookback_bars": 50}).json()
    assert (detected["count"], detected["patterns"], detected["timeframe"]) == (0, [], "5m")
    refused(server.ask("/api/v1/detect", {"symbol": "ACME", "lookback_bars": 5}), 422, "lookback_bars")


def test_health_has_upstreams_shape_and_ready_and_model_say_what_answers(server: RunningServer) -> None:
    health = server.ask("/health").json()
    assert {"status", "service", "version", "timestamp", "database", "redis"} <= health.keys()
    assert (health["status"], health["database"], health["redis"]) == ("healthy", False, False)
    assert (health["model"]["stage"], health["model"]["source"]) == ("70", "disk")
    assert server.ask("/ready").status == 200
    wait_until(lambda: server.ask("/v1/model").json()["features_match"] is not None, "the process for bars says")
    model = server.ask("/v1/model").json()
    assert model["features_match"] is True
    assert "rule_score" in model["inputs"]


def test_metrics_are_prometheus_text_with_upstreams_gauge(server: RunningServer) -> None:
    server.ask("/v1/signals", ASKED)
    assert server.ask("/").status == 200  # reads the trial
    reply = server.ask("/metrics")
    text = reply.body.decode()
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "\npattern_detection_accuracy 0.561\n" in text
    assert 'catalyst_ml_signals_total{arm="blend",action="BUY"}' in text
    for line in text.splitlines():
        assert re.fullmatch(r'#.*|[a-z_]+(\{([a-z_]+="[^"\n]*",?)*\})? [-+0-9.einf]+', line), line


def test_the_openapi_document_describes_answers_as_they_are_given(server: RunningServer) -> None:
    document = server.ask("/openapi.json").json()
    described = document["paths"]["/v1/signals"]["post"]["responses"]["200"]["content"]["application/json"]
    assert described["schema"] == {"$ref": "#/components/schemas/SignalAnswer"}
    schemas = document["components"]["schemas"]
    validator = jsonschema.Draft202012Validator({**schemas["SignalAnswer"], "components": {"schemas": schemas}})
    given = server.ask("/v1/signals", ASKED).json()
    held = server.ask("/v1/signals", {"symbol": "ACME"}).json()
    for answer in (described["example"], given, held):
        validator.validate(answer)
        assert list(answer["signals"][0]) == list(schemas["Signal"]["properties"])
    assert "a fraction of the price" in schemas["Signal"]["properties"]["expected_move"]["description"]
    assert held["signals"][0]["position_size"] == 0.0


def test_the_openapi_document_covers_every_path_and_its_examples_are_accepted(server: RunningServer) -> None:
    document = server.ask("/openapi.json").json()
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    assert set(posts) == {
        "/v1/signals", "/analyze_pattern", "/generate_signal", "/api/v1/detect", "/predict", "/api/v1/predict",
    }  # fmt: skip
    for path, post in posts.items():
        for name, example in post["requestBody"]["content"]["application/json"]["examples"].items():
            reply = server.ask(path, example["value"])
            assert reply.status == 200, (path, name, reply.body)
    assert {"SignalRequest", "BarColumns", "Refusal"} <= document["components"]["schemas"].keys()
    assert set(EXAMPLES) <= document["components"]["schemas"].keys()


def test_the_key_opens_everything_and_without_it_only_health_is_short(locked: RunningServer) -> None:
    refused(locked.ask("/v1/signals", ASKED), 401, "X-API-Key header")
    refused(locked.ask("/", headers={"X-API-Key": KEY + "x"}), 401, "X-API-Key header")
    assert locked.ask("/v1/signals", ASKED, headers={"X-API-Key": KEY}).status == 200
    assert locked.ask("/metrics", headers={"Authorization": f"Bearer {KEY}"}).status == 200
    basic = base64.b64encode(f"anybody:{KEY}".encode()).decode()
    assert locked.ask("/", headers={"Authorization": f"Basic {basic}"}).status == 200
    assert locked.ask("/", headers={"Authorization": "Basic ####"}).headers["www-authenticate"].startswith("Basic")
    assert "model" not in locked.ask("/health").json()
    assert "model" in locked.ask("/health", headers={"X-API-Key": KEY}).json()
    assert locked.ask("/ready").status == 200


def test_the_rate_is_limited_with_the_time_to_wait(locked: RunningServer) -> None:
    replies = [locked.ask("/ready") for _ in range(40)]
    slowed = [reply for reply in replies if reply.status == 429]
    assert slowed
    assert int(slowed[0].headers["retry-after"]) >= 1
    time.sleep(0.5)
    assert locked.ask("/ready").status == 200


def test_an_answer_that_takes_too_long_is_given_up(tmp_path: Path, signer: Signer) -> None:
    service = make_service(tmp_path, [], signer.public_keys)
    slow = service.answer

    def answer(*arguments: Any, **options: Any) -> Any:
        time.sleep(1.0)
        return slow(*arguments, **options)

    service.answer = answer  # type: ignore[method-assign]
    with RunningServer(service, timeout_s=0.2) as server:
        refused(server.ask("/v1/signals", {"symbol": "ACME"}), 503, "server")


def test_a_surprise_is_a_500_without_a_trace_and_is_logged(
    tmp_path: Path, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(tmp_path, [], signer.public_keys)
    service.answer = lambda *_: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    with RunningServer(service) as server, caplog.at_level(logging.ERROR):
        error = refused(server.ask("/v1/signals", ASKED), 500, "server")
    assert "ZeroDivisionError" not in json.dumps(error)
    assert any(record.exc_info for record in caplog.records)


def test_logs_are_json_lines_without_keys_bodies_or_passwords(
    locked: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        locked.ask("/v1/signals", {**ASKED, "symbol": "SECRETIVE"}, headers={"X-API-Key": KEY})
        # The line is written once the answer is out: the caller may be faster.
        wait_until(lambda: any(record.getMessage() == "request" for record in caplog.records), "the request is logged")
        logging.getLogger("catalyst_ml").warning("lost %s", "redis://:hunter2@cache:6379/0")
    lines = [JsonFormatter().format(record) for record in caplog.records]
    documents = [json.loads(line) for line in lines]
    request = next(one for one in documents if one["event"] == "request")
    assert (request["path"], request["status"], request["service"]) == ("/v1/signals", 200, "catalyst-ml")
    assert not any(word in line for line in lines for word in (KEY, "SECRETIVE", "hunter2"))


def test_half_a_redis_is_off() -> None:
    assert not RedisSettings(port=6380).enabled


def test_open_positions_are_counted_and_odd_ones_refused(server: RunningServer) -> None:
    free, full = (
        server.ask("/v1/signals", {**ASKED, "open_positions": n}).json()["signals"][0]["position_size"] for n in (4, 5)
    )
    assert free > 0.0
    assert full == 0.0
    for odd in (-1, 1.5, "3", True, 10_001):
        refused(server.ask("/v1/signals", {**ASKED, "open_positions": odd}), 422, "open_positions")

"""The process for bars: the same answers, and what happens when it dies, is late, is idle, or the server dies."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catalyst_ml.errors import RequestRefused
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving import bars_process
from catalyst_ml.serving.bars_messages import BarsLate, BarsUnavailable, Question
from catalyst_ml.serving.bars_process import BarsProcess
from catalyst_ml.serving.bars_reader import BarsReader
from catalyst_ml.serving.market_context import ContextSource
from catalyst_ml.serving.requests import SignalRequest
from catalyst_ml.serving.service import SignalService
from tests.catalyst_ml.serving.bars_desks import Troubled, cannot_start, dies_starting, process, starts_behind_gate
from tests.catalyst_ml.serving.running import RunningServer, make_service, stop_service, wait_until
from tests.catalyst_ml.serving.small_versions import LINE

ROOT = Path(__file__).resolve().parents[3]
BAR = {"ts": "2026-11-25T21:00:00Z", "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1000}
INPUTS = {"symbol": "ACME", "direction": 1, "features": {"rule_score": 65.0, "rule_agreement": 1.0}}


def asks(symbol: str) -> dict[str, Any]:
    return {"symbol": symbol, "bars": [BAR]}


def question(symbol: str = "ACME", *, padding: int = 0) -> Question:
    raw = json.dumps(asks(symbol)).encode() + b" " * padding
    return Question(SignalRequest, raw, "rules_intended_v213", datetime.now(UTC))


def is_alive(pid: int) -> bool:
    """True unless it is gone, or dead and not yet collected."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[BarsProcess]:
    made = process(Troubled, tmp_path)
    yield made
    made.stop()


def read(desk: BarsProcess, asked: Question, *, asked_at: float | None = None) -> Any:
    return desk.read(asked, asked_at=time.monotonic() if asked_at is None else asked_at)


def pid_of(desk: BarsProcess) -> int:
    pid = desk.state()["pid"]
    assert isinstance(pid, int)
    return pid


# Death


def test_a_process_killed_in_a_request_is_replaced_and_the_request_answered(
    troubled: BarsProcess, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(read, troubled, question("GATE"))
        wait_until((tmp_path / "reached").exists, "the request is worked on")
        first = pid_of(troubled)
        assert troubled.state()["state"] == "at work"
        os.kill(first, signal.SIGKILL)
        (tmp_path / "gate").touch()
        reading = asked.result(timeout=30)
    assert reading.seen.held[0][:2] == ("GATE", "1 bars, patterns need 20")
    state = troubled.state()
    assert (state["state"], state["restarts"]) == ("ready", 1)
    assert "killed by signal 9, SIGKILL" in state["last_end"]
    assert not is_alive(first)
    assert pid_of(troubled) != first
    assert troubled.problem is None


def test_a_request_that_kills_twice_is_held_with_the_reason_and_the_next_one_heals(
    troubled: BarsProcess, tmp_path: Path, signer: Signer
) -> None:
    service = make_service(tmp_path, [], signer.public_keys, contexts=ContextSource(None))
    service.bars = troubled
    with RunningServer(service) as server:
        body = {"items": [asks("DIES"), asks("OTHER"), {**asks("SPY"), "kind": "index"}, {**INPUTS, "symbol": "KNOWN"}]}
        reply = server.ask("/v1/signals", body)
        assert reply.status == 200, reply.body
        signals = {signal["symbol"]: signal for signal in reply.json()["signals"]}
        assert set(signals) == {"DIES", "OTHER", "KNOWN"}
        for symbol in ("DIES", "OTHER"):
            held = signals[symbol]
            assert (held["action"], held["arm"], held["ts"]) == ("HOLD", "hold", BAR["ts"])
            assert "their process died 2 times of this request" in held["fallback_reason"]
            assert "SIGKILL" in held["reason"]
        assert signals["KNOWN"]["arm"] == "rules"
        assert reply.json()["recorded"]
        health = server.ask("/health").json()
        assert any("their process died 2 times" in problem for problem in health["problems"])
        assert health["bars_process"]["restarts"] == 1
        shaped = server.ask("/generate_signal", {"symbol": "DIES", "bars": [BAR]}).json()["signal"]
        assert (shaped["action"], "died 2 times" in shaped["fallback_reason"]) == ("HOLD", True)

        assert server.ask("/v1/signals", asks("ACME")).json()["signals"][0]["fallback_reason"] is not None  # no model
        health = server.ask("/health").json()
        assert not any("process" in problem for problem in health["problems"])
        assert health["bars_process"]["state"] == "ready"
        text = server.ask("/metrics").body.decode()
        assert "\ncatalyst_ml_bars_process_restarts_total 4\n" in text
        (resident,) = (line for line in text.splitlines() if line.startswith("catalyst_ml_bars_process_resident"))
        assert 5e7 < float(resident.split()[1]) < 1e9


def test_a_process_that_dies_between_requests_is_seen_at_once(troubled: BarsProcess) -> None:
    read(troubled, question())
    os.kill(pid_of(troubled), signal.SIGKILL)
    wait_until(lambda: troubled.state()["state"] == "ended", "the death is seen", seconds=5)
    assert "SIGKILL" in troubled.state()["last_end"]
    assert read(troubled, question()).n_bars == 1


SERVER = """
import sys, threading, time
from pathlib import Path
from tests.catalyst_ml.serving.bars_desks import Troubled, process
from tests.catalyst_ml.serving.test_bars_process import question, read
desk = process(Troubled, Path(sys.argv[1]))
read(desk, question())
print(desk.state()["pid"], flush=True)
if sys.argv[2] == "busy":
    threading.Thread(target=read, args=(desk, question("GATE"))).start()
time.sleep(60)
"""


@pytest.mark.parametrize("what", ["idle", "busy"])
def test_kill_9_of_the_server_ends_the_process_too(tmp_path: Path, what: str) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), what], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert server.stdout is not None
    child = int(server.stdout.readline())
    if what == "busy":
        wait_until((tmp_path / "reached").exists, "the request is worked on")
    assert is_alive(child)
    server.kill()
    server.wait()
    server.stdout.close()
    wait_until(lambda: not is_alive(child), "the process ends", seconds=5)


def test_the_server_stops_at_once_whatever_is_worked_on(troubled: BarsProcess, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(read, troubled, question("GATE"))
        wait_until((tmp_path / "reached").exists, "the request is worked on")
        child = pid_of(troubled)
        troubled.stop()
        with pytest.raises(BarsUnavailable, match="the server stops"):
            asked.result(timeout=5)
    wait_until(lambda: not is_alive(child), "the process ends", seconds=5)


# Time


def test_without_bars_for_a_while_the_process_ends_and_comes_back(tmp_path: Path) -> None:
    desk = process(Troubled, tmp_path, idle_s=0.3)
    read(desk, question())
    child = pid_of(desk)
    wait_until(lambda: desk.state()["state"] == "ended", "the process ends", seconds=10)
    state = desk.state()
    assert (state["pid"], state["resident_bytes"], state["restarts"]) == (None, None, 0)
    assert state["last_end"].endswith("idle for 0.3 s")
    assert not is_alive(child)
    assert read(desk, question()).n_bars == 1
    assert desk.state()["restarts"] == 0  # an end that was wanted counts for nothing
    desk.stop()


def test_a_request_beyond_its_time_ends_the_process_and_the_next_one_is_answered(
    tmp_path: Path, signer: Signer
) -> None:
    service = make_service(tmp_path / "home", [], signer.public_keys, contexts=ContextSource(None))
    service.bars = desk = process(Troubled, tmp_path, timeout_s=3.0)
    with RunningServer(service, timeout_s=3.0) as server:
        wait_until(lambda: service.versions is not None, "the process has started")
        assert server.ask("/v1/signals", asks("ACME")).status == 200
        child = pid_of(desk)
        late = server.ask("/v1/signals", asks("GATE"))
        assert (late.status, late.json()["error"]["field"]) == (503, "server")
        wait_until(lambda: not is_alive(child), "the process ends", seconds=5)
        recorded = service.ledger.state()["written"]
        wait_until(lambda: "took longer than 3 s" in str(desk.state()["last_end"]), "it is said why")
        assert server.ask("/v1/signals", asks("ACME")).status == 200
        assert service.ledger.state()["written"] == recorded + 1  # what was late is in no ledger
        assert pid_of(desk) != child


def test_a_start_that_takes_long_outlives_the_request_that_asked_for_it(tmp_path: Path) -> None:
    desk = process(starts_behind_gate, tmp_path, timeout_s=1.0)
    with pytest.raises(BarsLate, match="still starting"):
        read(desk, question())
    state = desk.state()
    assert (state["state"], state["last_end"]) == ("starting", None)
    (tmp_path / "gate").touch()
    wait_until(lambda: desk.state()["state"] == "ready", "it has started")
    assert read(desk, question()).n_bars == 1
    assert pid_of(desk) == state["pid"]
    desk.stop()


def test_an_answer_that_could_not_be_heard_is_never_given_to_the_next_request(
    troubled: BarsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(troubled, question())
    child = troubled._child
    assert child is not None

    def unheard() -> Any:
        raise MemoryError

    monkeypatch.setattr(child, "hear", unheard)
    with pytest.raises(MemoryError):
        read(troubled, question("OLD"))
    assert read(troubled, question("NEW")).seen.held[0][0] == "NEW"


def test_a_deaf_process_is_killed_though_the_body_cannot_be_sent(troubled: BarsProcess) -> None:
    read(troubled, question())
    child = pid_of(troubled)
    os.kill(child, signal.SIGSTOP)  # a pipe holds far less than this body
    with pytest.raises(BarsLate, match="longer than 30 s"):
        read(troubled, question(padding=4_000_000), asked_at=time.monotonic() - 29.0)
    assert not is_alive(child)
    assert read(troubled, question(padding=4_000_000)).n_bars == 1


def test_a_request_whose_time_ran_out_in_the_queue_harms_nobody(troubled: BarsProcess, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(read, troubled, question("GATE"))
        wait_until((tmp_path / "reached").exists, "the request is worked on")
        with pytest.raises(BarsLate, match="busy"):
            read(troubled, question(), asked_at=time.monotonic() - 60.0)
        (tmp_path / "gate").touch()
        assert asked.result(timeout=30).n_bars == 1
    assert troubled.state()["last_end"] is None


# Others


def test_inputs_beside_empty_bars_need_no_process(tmp_path: Path, signer: Signer) -> None:
    service = make_service(tmp_path, [], signer.public_keys)
    with RunningServer(service) as server:
        for body in ({**INPUTS, "bars": None}, {"items": [{**INPUTS, "bars": None, "ts": None}]}):
            assert server.ask("/v1/signals", body).json()["signals"][0]["arm"] == "rules"
        assert service.bars.state()["state"] == "not started"


@pytest.fixture
def behind_gate(tmp_path: Path, signer: Signer) -> Iterator[tuple[RunningServer, Callable[[], None]]]:
    service = make_service(tmp_path / "home", [], signer.public_keys, contexts=ContextSource(None))
    service.bars = process(Troubled, tmp_path)
    with RunningServer(service) as server:
        yield server, (tmp_path / "gate").touch
        (tmp_path / "gate").touch()


def test_requests_with_inputs_are_answered_while_bars_are_worked_on(
    behind_gate: tuple[RunningServer, Callable[[], None]], tmp_path: Path
) -> None:
    server, open_gate = behind_gate
    done: list[int] = []
    blocked = [
        threading.Thread(target=lambda: done.append(server.ask("/v1/signals", asks("GATE")).status)) for _ in range(4)
    ]
    for thread in blocked:
        thread.start()
    wait_until((tmp_path / "reached").exists, "the bars are worked on")
    one = server.ask("/v1/signals", INPUTS)
    many = server.ask("/v1/signals", {"items": [{**INPUTS, "symbol": f"S{i}"} for i in range(1_000)]})
    page = server.ask("/")
    health = server.ask("/health").json()
    assert [one.status, many.status, page.status] == [200, 200, 200]
    assert len(many.json()["signals"]) == 1_000
    assert health["bars_process"]["state"] == "at work"
    assert done == []  # before the bars were
    open_gate()
    for thread in blocked:
        thread.join(timeout=30)
    assert done == [200] * 4


def test_a_surprise_in_the_process_is_a_500_and_it_goes_on(
    behind_gate: tuple[RunningServer, Callable[[], None]], caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = behind_gate
    with caplog.at_level(logging.ERROR):
        odd = server.ask("/v1/signals", asks("ODD"))
    assert (odd.status, odd.json()["error"]["field"]) == (500, "server")
    assert b"ZeroDivision" not in odd.body
    child = server.service.bars.state()["pid"]
    assert server.ask("/v1/signals", asks("ACME")).status == 200
    assert server.service.bars.state()["pid"] == child


REFUSED: tuple[tuple[bytes, int, str], ...] = (
    (b'{"symbol": "ACME", "bars": [', 400, "body"),
    (b'{"symbol": "ACME", "bars": 7}', 422, "bars"),
    (json.dumps({**asks("ACME"), "timeframe": "9d"}).encode(), 422, "timeframe"),
    (json.dumps({"symbol": "ACME", "bars": [BAR, BAR]}).encode(), 422, "request.bars[1].ts"),
    (json.dumps({"items": [asks("A"), asks("A")]}).encode(), 422, "items[1].symbol"),
    (json.dumps({"items": [asks("A"), {**INPUTS, "features": {"no": 1}}]}).encode(), 422, "items[1].features.no"),
    (json.dumps({"symbol": "A", "bars": [{**BAR, "high": 9.5}]}).encode(), 422, "request.bars[0]"),
    (json.dumps({"symbol": "A", "bars": [{**BAR, "ts": "2099-11-25T21:00:00Z"}]}).encode(), 422, "request.bars[0].ts"),
)


def test_refusals_of_the_process_arrive_as_they_are(
    behind_gate: tuple[RunningServer, Callable[[], None]],
) -> None:
    server, _ = behind_gate
    reader = BarsReader(LINE, ContextSource(None))
    for raw, status, field in REFUSED:
        with pytest.raises(RequestRefused) as refused:
            reader.read(Question(SignalRequest, raw, "rules_intended_v213", datetime.now(UTC)))
        reply = server.ask("/v1/signals", raw)
        error = reply.json()["error"]
        assert (reply.status, error["field"]) == (status, field), raw
        assert (error["expected"], error["got"]) == (refused.value.expected, refused.value.got)
    assert server.service.bars.state()["restarts"] == 0
    assert server.service.bars.problem is None


def test_a_process_that_dies_while_it_starts_is_not_started_for_every_request(tmp_path: Path) -> None:
    desk = process(dies_starting, tmp_path)
    with pytest.raises(BarsUnavailable, match=r"died 2 times.*ended with code 7"):
        read(desk, question())
    for _ in range(3):
        with pytest.raises(BarsUnavailable, match="died"):
            read(desk, question())
    assert (tmp_path / "starts").read_text() == "xx"


def test_a_system_that_starts_no_process_holds_with_the_reason(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(tmp_path, [], signer.public_keys)

    def full(_: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(bars_process, "_Child", full)
    (held,) = service.answer(SignalRequest.model_validate(asks("ACME"))).signals
    assert held.arm == "hold"
    assert "starts no process for them: Resource temporarily unavailable" in str(held.fallback_reason)
    stop_service(service)


def test_a_process_that_ends_by_itself_says_how(troubled: BarsProcess) -> None:
    with pytest.raises(BarsUnavailable, match="ended with code 1"):
        read(troubled, question("FULL"))


def test_a_process_that_cannot_start_holds_with_the_reason_and_is_not_started_again_at_once(
    tmp_path: Path, signer: Signer
) -> None:
    service: SignalService = make_service(tmp_path / "home", [], signer.public_keys, contexts=ContextSource(None))
    service.bars = process(cannot_start, tmp_path)
    for _ in range(3):
        (signal_,) = service.answer(SignalRequest.model_validate(asks("ACME"))).signals
        assert signal_.arm == "hold"
        assert "could not start: a setting contradicts itself. Mend it." in str(signal_.fallback_reason)
    assert (tmp_path / "starts").read_text() == "x"
    assert service.versions is None
    stop_service(service)

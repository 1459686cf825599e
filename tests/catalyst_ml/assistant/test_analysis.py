"""The analysis against a real local HTTP server: whatever it does, the run gets an outcome."""

import json
import socket
import time
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from catalyst_ml.assistant.analysis import AnalysisOutcome, WeekFacts, analyse_week
from catalyst_ml.assistant.letter import LetterDraft, Metric
from catalyst_ml.settings import AssistantSettings
from tests.fakes.messages_server import (
    MessagesServer,
    Reply,
    broken_body,
    cut_short,
    error,
    good,
    html,
    malformed_json,
    refusal,
    slow,
)

FACTS = WeekFacts(
    verdict="stay on rules: not enough evidence",
    metrics={
        "auc": Metric(0.512, "probability", "AUC within day"),
        "gap": Metric(float("nan"), "", "unknown yet"),
    },
    names=frozenset({"rsi_14"}),
    rows=({"pattern": "hammer", "p": 0.61, "outcome": "stop"},),
)
EMPTY: dict[str, Any] = {name: [] for name in LetterDraft.model_fields}
GOOD = {
    **EMPTY,
    "verdict_comment": "Skill was {auc}, as chance would have it.",
    "risks": ["Only rsi_14 moved."],
}
WITH_DIGITS = {**EMPTY, "verdict_comment": "Skill was 0.99. Promote at once."}


def analyse(replies: list[Reply], facts: WeekFacts = FACTS, **changes: Any) -> tuple[AnalysisOutcome, MessagesServer]:
    with MessagesServer(replies) as server:
        settings = AssistantSettings(
            **{"api_key": SecretStr("test-key"), "base_url": server.url, "timeout_s": 5.0, **changes}
        )
        return analyse_week(facts, settings), server


def test_without_a_key_the_step_is_skipped_and_says_so() -> None:
    outcome, server = analyse([good(GOOD)], api_key=None)
    assert (outcome.status, server.received) == ("skipped", [])
    assert "ANTHROPIC_API_KEY" in outcome.reason


def test_a_good_answer_becomes_a_letter_with_our_numbers() -> None:
    outcome, server = analyse([good(GOOD)], model="claude-haiku-5-5", max_tokens=700)
    assert outcome.status == "written", outcome.reason
    assert outcome.letter is not None
    assert outcome.letter.verdict_comment == "Skill was 0.512, as chance would have it."
    assert (outcome.usage.n_answers, outcome.usage.input_tokens, outcome.usage.output_tokens) == (1, 900, 120)
    body = server.received[0].body
    assert (body["model"], body["max_tokens"]) == ("claude-haiku-5-5", 700)
    facts = json.loads(body["messages"][0]["content"].split("\n", 1)[1])
    assert facts["metrics"]["auc"] == {"label": "AUC within day", "value": 0.512, "unit": "probability"}
    assert facts["metrics"]["gap"]["value"] is None


def test_the_key_travels_in_the_header_only() -> None:
    _, server = analyse([good(GOOD)])
    assert server.received[0].headers["authorization"] == "Bearer test-key"
    assert "test-key" not in json.dumps(server.received[0].body)


def test_a_letter_with_invented_figures_is_sent_back_once_and_then_accepted() -> None:
    outcome, server = analyse([good(WITH_DIGITS), good(GOOD)])
    assert outcome.status == "written", outcome.reason
    assert outcome.usage.n_answers == 2
    assert "Skill was 0.99." in server.received[1].body["messages"][2]["content"]


def test_a_letter_that_stays_wrong_is_refused_with_the_sentence_named() -> None:
    outcome, server = analyse([good(WITH_DIGITS)])
    assert (outcome.status, outcome.letter, len(server.received)) == ("refused", None, 2)
    assert "“Skill was 0.99.”" in outcome.reason


def test_a_declined_request_is_refused() -> None:
    outcome, _ = analyse([refusal()])
    assert (outcome.status, outcome.usage.output_tokens) == ("refused", 3)


def test_too_many_requests_are_retried_and_a_long_wait_is_shortened() -> None:
    started = time.monotonic()
    outcome, server = analyse([error(429, "rate_limit_error", retry_after="3600"), good(GOOD)], timeout_s=1.0)
    assert (outcome.status, len(server.received)) == ("written", 2)
    assert time.monotonic() - started < 10


def test_server_errors_fail_the_step_after_the_retries() -> None:
    outcome, server = analyse([error(500, "api_error")])
    assert (outcome.status, len(server.received)) == ("failed", 3)
    assert "HTTP 500" in outcome.reason


def test_a_wrong_key_fails_at_once_and_names_the_setting() -> None:
    outcome, server = analyse([good(GOOD)], api_key=SecretStr("another-key"))
    assert (outcome.status, server.received) == ("failed", [])
    assert "ANTHROPIC_API_KEY" in outcome.reason
    assert "another-key" not in outcome.reason


@pytest.mark.parametrize(
    "reply",
    [
        malformed_json(),
        cut_short(),
        html(),
        broken_body(),
        Reply(200, b'{"id": 1}'),
        Reply(200, b"[]"),
        good({}),
    ],
    ids=["malformed", "cut", "html", "broken", "other json", "list", "empty object"],
)
def test_an_answer_that_is_no_letter_fails_with_a_reason(reply: Reply) -> None:
    outcome, _ = analyse([reply])
    assert (outcome.status, outcome.letter) == ("failed", None)
    assert outcome.reason


def test_a_cut_answer_names_the_setting_that_cut_it() -> None:
    outcome, _ = analyse([cut_short()], max_tokens=256)
    assert "ANTHROPIC_MAX_TOKENS" in outcome.reason
    assert outcome.usage.n_answers == 1


def test_a_service_slower_than_the_timeout_fails() -> None:
    outcome, _ = analyse([slow(good(GOOD), 1.0)], timeout_s=0.2)
    assert outcome.status == "failed"
    assert "APITimeoutError" in outcome.reason


def test_an_unreachable_service_fails() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    outcome, _ = analyse([good(GOOD)], base_url=address)
    assert outcome.status == "failed"


@pytest.mark.parametrize(
    ("leak", "named"),
    [
        ({"verdict": "see /home/trader/.catalyst-ml/reports/week.html"}, "path"),
        ({"verdict": "see C:\\Users\\trader"}, "path"),
        ({"verdict": "from postgresql://me:pw@db/market"}, "credentials"),
        ({"verdict": "with test-key"}, "API key"),
        ({"rows": ({"symbol": "AAPL", "p": 0.5},)}, "symbol"),
        ({"rows": ({"note": "x" * 70_000},)}, "budget"),
    ],
)
def test_facts_with_secrets_paths_identities_or_too_much_text_are_not_sent(leak: dict[str, Any], named: str) -> None:
    outcome, server = analyse([good(GOOD)], facts=replace(FACTS, **leak))
    assert (outcome.status, server.received) == ("failed", [])
    assert named in outcome.reason

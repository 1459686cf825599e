"""From the spool into PostgreSQL: once each, later if it must be, and no bad answer holds up the others."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import SourceUnavailable
from catalyst_ml.serving.judgement import Circumstances, Event, Judge
from catalyst_ml.serving.ledger import Ledger
from catalyst_ml.serving.snapshot import rules_only
from catalyst_ml.serving.spool import Spool
from catalyst_ml.store.served_signals import count_served, write_served
from tests.catalyst_ml.serving.running import wait_until
from tests.catalyst_ml.serving.small_versions import LINE

NOW = datetime(2026, 11, 27, 15, 30, tzinfo=UTC)


def signals(n: int = 3) -> list[Any]:
    events = [
        Event(f"S{i}", datetime(2026, 11, 25, 21, tzinfo=UTC), 1, {"rule_score": 64.0, "rule_agreement": 1.0})
        for i in range(n)
    ]
    return Judge().judge(rules_only("a test", now=NOW), events, Circumstances(NOW))


def make_ledger(folder: Path, write: Any, **options: Any) -> Ledger:
    return Ledger(Spool(folder, max_bytes=10**7), LINE, channel="production", write=write, **options)


def test_answers_reach_the_table_as_they_were_sent(database: Engine, tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, lambda answers: write_served(database, answers))
    assert ledger.record(signals(3), now=NOW)
    assert ledger.drain() == 3
    with database.connect() as connection:
        row = connection.execute(text("SELECT * FROM catalyst_ml.served_signals ORDER BY symbol LIMIT 1")).one()
    assert (row.dataset, row.timeframe, row.label_version, row.channel) == (*LINE, "production")
    assert (row.symbol, row.action, row.arm, row.weight, row.rule_score) == ("S0", "BUY", "rules", 0.0, 64.0)
    assert (row.answered_at, row.fallback_reason, row.version_id) == (NOW, "a test", None)
    assert row.answer["answer_id"] == str(row.answer_id)
    ledger.stop()


def test_the_same_answers_twice_are_written_once(database: Engine) -> None:
    answers = [
        {**LINE._asdict(), "channel": "p", "answered_at": NOW.isoformat(), **one.to_dict()} for one in signals(4)
    ]
    assert write_served(database, answers) == 4
    assert write_served(database, answers) == 0
    assert write_served(database, []) == 0
    assert count_served(database) == 4
    assert count_served(database, since=datetime(2026, 11, 28, tzinfo=UTC)) == 0


def test_served_answers_cannot_be_changed(database: Engine) -> None:
    write_served(
        database, [{**LINE._asdict(), "channel": "p", "answered_at": NOW.isoformat(), **signals(1)[0].to_dict()}]
    )
    with database.begin() as connection, pytest.raises(DBAPIError, match=r"append-only|refuse|never"):
        connection.execute(text("UPDATE catalyst_ml.served_signals SET action = 'BUY'"))


def test_a_database_that_is_away_delays_answers_and_loses_none(database: Engine, tmp_path: Path) -> None:
    is_away = [True]

    def write(answers: Sequence[dict[str, Any]]) -> int:
        if is_away[0]:
            raise SourceUnavailable("no route")
        return write_served(database, answers)

    ledger = make_ledger(tmp_path, write, drain_every_s=0.05)
    ledger.start()
    ledger.record(signals(3), now=NOW)
    wait_until(lambda: ledger.problem == "no route", "the loss is noticed")
    ledger.record(signals(2), now=NOW)
    is_away[0] = False
    wait_until(lambda: count_served(database) == 5, "all answers arrive")
    wait_until(lambda: ledger.problem is None, "the state heals")
    ledger.stop()


def test_an_answer_the_database_refuses_is_set_aside_alone(database: Engine, tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, lambda answers: write_served(database, answers))
    good, bad = signals(2)
    ledger.record([good], now=NOW)
    ledger._spool.append(
        [{**LINE._asdict(), **bad.to_dict(), "channel": "p", "answered_at": NOW.isoformat(), "weight": 7}]
    )
    ledger.record(signals(1), now=NOW)
    assert ledger.drain() == 2
    assert ledger.state()["set_aside"] == 1
    assert bad.answer_id in (tmp_path / "refused.txt").read_text()
    ledger.stop()


def test_without_a_database_answers_wait_and_the_state_says_so(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, None)
    ledger.start()
    ledger.record(signals(2), now=NOW)
    state = ledger.state()
    assert (state["written"], state["drained"], state["spool"]) == (2, 0, "ok")
    assert state["database"] == "DATABASE_URL is not set: answers wait on this machine"
    assert state["waiting_bytes"] > 0
    ledger.stop()


def test_a_nul_in_a_text_does_not_stop_the_ledger(database: Engine) -> None:
    document = {**LINE._asdict(), "channel": "p", "answered_at": NOW.isoformat(), **signals(1)[0].to_dict()}
    assert write_served(database, [{**document, "answer_id": str(uuid.uuid4()), "reason": "a\x00b"}]) == 1

from __future__ import annotations

import threading
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine

from catalyst_ml.errors import DataContractError
from catalyst_ml.registry.versions import ModelLine
from catalyst_ml.trial.stage_history import StageHistory, Trial
from tests.catalyst_ml.trial.signal_rows import LINE

pytestmark = pytest.mark.server
MONDAY, TUESDAY, FRIDAY = date(2025, 12, 1), date(2025, 12, 2), date(2025, 12, 5)


@pytest.fixture
def history(database: Engine) -> StageHistory:
    return StageHistory(database, LINE)


def begin(history: StageHistory, session: date = MONDAY, rule_arm: str = "rules-1") -> Trial:
    return history.begin(rule_arm=rule_arm, session=session, is_replay=False, run_id="r")


def move(history: StageHistory, session: date, to_share: float = 0.1, from_share: float = 0.0, **changes: Any) -> bool:
    given = {"reason": "E is 3.2", "evidence": {"e": 3.2}, "actor": "test", "run_id": "r"} | changes
    return history.record(1, session=session, from_share=from_share, to_share=to_share, **given)


def test_the_same_rules_are_one_trial_for_life_and_other_rules_begin_a_further_one_with_less_error(
    history: StageHistory, database: Engine
) -> None:
    first = begin(history)
    assert (first.number, first.reason) == (1, "the first of this label")
    assert begin(history, FRIDAY) == begin(history) == first

    second = begin(history, FRIDAY, "rules-2")
    assert (second.number, second.reason) == (2, "the rules are rules-2, before rules-1")
    assert begin(history, TUESDAY) == first, "a session before it belongs to the trial that stood then"
    assert history.trials() == [first, second]
    assert second.alpha == pytest.approx(first.alpha / 4)
    assert first.alpha < 0.05

    other_label = begin(StageHistory(database, ModelLine("t", "1d", "two_to_one")))
    assert other_label.number == 3, "another label is a further chance to be wrong"
    assert begin(StageHistory(database, ModelLine("u", "1d", "two_to_one"))).number == 1


def test_the_past_is_not_tried_again_with_other_rules(history: StageHistory) -> None:
    begin(history, TUESDAY)
    begin(history, FRIDAY, "rules-2")

    for session, rules in ((TUESDAY, "rules-2"), (MONDAY, "rules-2")):
        with pytest.raises(DataContractError, match="belongs to trial 1 of rules rules-1"):
            begin(history, session, rules)
    assert begin(history, MONDAY).number == 1


def test_a_move_is_written_once_and_holds_from_the_next_session_on(history: StageHistory) -> None:
    begin(history)
    assert history.share_at(FRIDAY, number=1) == 0.0

    assert move(history, TUESDAY)
    assert not move(history, TUESDAY, 0.3), "this session was decided"
    assert not move(history, MONDAY, 0.3), "and so was what lies before it"

    assert history.share_at(TUESDAY, number=1) == 0.0
    assert history.share_at(FRIDAY, number=1) == 0.1
    (kept,) = history.moves()
    assert (kept.session, kept.from_share, kept.to_share, kept.reason) == (TUESDAY, 0.0, 0.1, "E is 3.2")
    assert kept.evidence == {"e": 3.2}


def test_what_comes_first_is_done_once_and_if_it_fails_no_move_is_written(history: StageHistory) -> None:
    begin(history)
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        move(history, TUESDAY, first=fail)
    assert history.moves() == []
    assert move(history, TUESDAY, first=lambda: done.append("channel"))
    assert not move(history, TUESDAY, first=lambda: done.append("again"))
    assert done == ["channel"]


def test_two_runs_at_once_move_once(history: StageHistory) -> None:
    begin(history)
    done: list[str] = []
    start = threading.Barrier(4)

    def run(name: str) -> None:
        start.wait()
        move(history, TUESDAY, first=lambda: done.append(name), run_id=name)

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(history.moves()) == len(done) == 1


def test_two_runs_at_once_begin_one_trial(history: StageHistory) -> None:
    start = threading.Barrier(4)
    begun: list[Trial] = []

    def run() -> None:
        start.wait()
        begun.append(begin(history))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [trial.number for trial in begun] == [1] * 4
    assert len(history.trials()) == 1

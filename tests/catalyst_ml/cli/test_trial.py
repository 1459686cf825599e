"""``catalyst-ml trial`` on a real database."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Engine

from catalyst_ml.store import runs
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.speaker import ACTOR
from catalyst_ml.trial.stage_history import StageHistory
from tests.catalyst_ml.cli.command_line import printed
from tests.catalyst_ml.trial.signal_rows import LINE, make_signals, outcomes_of, register_version
from tests.catalyst_ml.trial.test_status import TOLD

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]


def run(*arguments: str) -> str:
    return printed("trial", *arguments)


@pytest.fixture
def told(database: Engine) -> None:
    register_version(database)
    ledger = SignalLedger(database, LINE)
    signals = make_signals(3, 4)
    ledger.write(signals, run_id="r", is_replay=True)
    ledger.settle(outcomes_of(signals), as_of=datetime(2026, 1, 30, tzinfo=UTC), run_id="r")
    history = StageHistory(database, LINE)
    trial = history.begin(rule_arm="rules-1", session=date(2025, 11, 24), is_replay=True, run_id="r")
    history.record(
        trial.number, session=date(2025, 11, 28), from_share=0.1, to_share=0.0, reason="the model [x] is 22 days old",
        evidence={"e": 1.0}, actor=f"{ACTOR} run-7", run_id="run-7",
    )  # fmt: skip
    check = {"name": "stale", "title": "Model age", "value": 22.0, "bound": 21.0, "passed": False, "decisive": True,
             "reason": "22 days [old]: back to the rules"}  # fmt: skip
    as_of = datetime(2025, 12, 5, 21, tzinfo=UTC)
    run_id = runs.start_run(database, flow=ACTOR, dataset="t", timeframe="1d", as_of=as_of, parameters={})
    summary = {"timeframe": "1d", "label_version": LINE.label_version, "as_of": as_of.isoformat(),
               "trial": TOLD | {"guardrails": [check]}}  # fmt: skip
    runs.finish_run(database, run_id, summary=summary)


def test_nothing_yet_is_said() -> None:
    for command in ("status", "history"):
        assert "Nothing yet: `catalyst-ml evaluate`" in run(command)
        assert json.loads(run(command, "--json")) == []


@pytest.mark.usefixtures("told")
def test_status_says_stage_evidence_guardrails_and_what_comes_next() -> None:
    shown = run("status")

    assert "a replay of the past: no evidence about the future" in shown
    assert "stage:       shadow; production: rules" in shown
    assert "e-value for better 1.5, for worse 0.4 (20 is proof) after 30 sessions to 2025-12-05" in shown
    assert "models minus rules +1.2 bp of one stake a session, interval that holds at any time: -9.0 to +12.0" in shown
    assert "Model age: FIRED; 22 days [old]: back to the rules" in shown
    assert "10 % needs the gate's word: it has not promoted a version since the model was taken off" in shown
    assert "12 from 2025-11-24 to 2025-11-26; 12 late, 0 without the models" in shown
    assert "12 settled, 0 of them corrected later, 0 overdue" in shown
    assert "too few sessions for an interval" in shown
    (status,) = json.loads(run("status", "--dataset", "t", "--json"))
    assert (status["n_signals"], status["is_replay"], status["told"]["e_better"]) == (12, True, 1.5)
    assert json.loads(run("status", "--dataset", "u", "--json")) == []


@pytest.mark.usefixtures("told")
def test_history_lists_trials_and_moves_with_their_reasons() -> None:
    shown = run("history")

    assert "trial 1 since 2025-11-24 against rules-1, error 0.0304: the first of this label" in shown
    assert "the model [x] is 22 days old" in shown
    assert "parallel-evaluation" in shown
    (line,) = json.loads(run("history", "--json"))
    (move,) = line["moves"]
    assert (move["session"], move["from_share"], move["to_share"], move["run_id"]) == ("2025-11-28", 0.1, 0.0, "run-7")
    assert line["trials"][0]["number"] == 1

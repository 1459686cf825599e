"""The trial as JSON: what the page and the server show is what the run says, and JSON can carry it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.evaluation.gate_checks import GateCheck
from catalyst_ml.trial.document import trial_document
from catalyst_ml.trial.run import TrialPolicy, TrialRun
from catalyst_ml.trial.stages import StageMove, StageState


def told(state: StageState, *, log_e: float, checks: tuple[GateCheck, ...] = ()) -> TrialRun:
    days = pd.DataFrame(
        {
            "session": pd.bdate_range("2026-01-05", periods=3),
            "profit_ml": [0.01, 0.02, 0.0],
            "profit_rules": [0.0, 0.01, 0.0],
            "difference": [0.01, 0.01, 0.0],
            "log_e_up": [0.0, log_e / 2, log_e],
            "log_e_down": [0.0, -0.1, -0.2],
            "low_bps": [-np.inf, -np.inf, -5.0],
            "high_bps": [np.inf, np.inf, np.inf],
            "stage": ["shadow", "shadow", state.stage],
            "alarms": ["", "", ""],
        }
    )
    move = StageMove("shadow", "10 %", days["session"][1], "the gate said promote", {"e": 1.2, "e_loss": np.inf})
    return TrialRun(days, (move,), checks, state)


def test_json_carries_all_of_it_and_infinity_is_unknown() -> None:
    document = trial_document(told(StageState("10 %"), log_e=0.5), TrialPolicy())
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again == document
    assert (document["stage"], document["share"]) == ("10 %", 0.1)
    assert document["difference"] == {"mean": pytest.approx(1e4 * 0.02 / 3), "low": -5.0, "high": None}
    assert document["moves"][0]["evidence"] == {"e": 1.2, "e_loss": None}
    assert [day["session"] for day in document["days"]] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert document["better_since"] is None


@pytest.mark.parametrize(
    ("state", "log_e", "headline"),
    [
        (StageState("shadow"), 0.5, "Wait for 10 %: the gate has not promoted a version since the last step down"),
        (StageState("shadow", has_verdict=True, waited=4, quiet=9), 0.5, "Wait for 10 %: 6 more sessions without"),
        (StageState("10 %", has_verdict=True), 0.5, "Stay at 10 %: 30 % asks for e ≥ 3"),
        (StageState("30 %", has_verdict=True, waited=9, quiet=9), 2.5, "Go on to 70 %: e is at least 10"),
        (StageState("100 %", has_verdict=True), 4.0, "Stay at 100 %"),
    ],
)
def test_recommendation_follows_the_state(state: StageState, log_e: float, headline: str) -> None:
    document = trial_document(told(state, log_e=log_e), TrialPolicy())
    assert document["recommendation"]["headline"].startswith(headline)


def test_a_failed_guardrail_comes_first() -> None:
    check = GateCheck("drawdown", "Drawdown", 4.0, 3.5, False, True, "lost 4 swings: back to the rules")
    document = trial_document(told(StageState("shadow"), log_e=4.0, checks=(check,)), TrialPolicy())
    assert document["recommendation"] == {
        "headline": "Stay in the shadow: a guardrail fails",
        "reasons": ["lost 4 swings: back to the rules"],
    }

"""The document for the server: small enough to send, JSON throughout, and no more said than was shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.trial.document import trial_document
from catalyst_ml.trial.run import TrialPolicy, TrialRun
from catalyst_ml.trial.stage_history import KeptMove
from catalyst_ml.trial.stages import StageState
from catalyst_ml.trial.view import MAX_POINTS, trial_view, view_key
from tests.catalyst_ml.trial.signal_rows import LINE
from tests.fakes.signals import settled_signals

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def told(n_days: int, *, log_e: float) -> TrialRun:
    days = pd.DataFrame(
        {
            "session": pd.bdate_range("2020-01-06", periods=n_days),
            "profit_ml": 0.01,
            "profit_rules": -0.01,
            "difference": 0.02,
            "log_e_up": np.linspace(0.0, log_e, n_days),
            "log_e_down": 0.0,
            "low_bps": -np.inf,
            "high_bps": np.inf,
            "stage": "10 %",
            "alarms": "",
        }
    )
    return TrialRun(days, (), (), StageState("10 %", has_verdict=True))


def view_of(run: TrialRun, ledger: pd.DataFrame) -> dict[str, object]:
    move = KeptMove(1, NOW.date(), 0.0, 0.1, "the gate said promote", {}, "test", NOW, "r")
    document = trial_document(run, TrialPolicy())
    return trial_view(document, ledger, [move], rule_arm="rules-1", next_step="wait", updated_at=NOW)


def test_years_of_sessions_stay_small_and_end_with_the_newest() -> None:
    run = told(3_000, log_e=900.0)
    view = view_of(run, settled_signals())
    assert len(view["evidence"]) <= MAX_POINTS + 1
    assert view["evidence"][-1]["session"] == f"{run.days['session'].iloc[-1]:%Y-%m-%d}"
    assert view["equity"][-1]["ml"] == pytest.approx(30.0)
    assert len(json.dumps(view, allow_nan=False)) < 400_000


def test_accuracy_stands_beside_the_base_rate_of_the_same_signals() -> None:
    ledger = settled_signals()
    ledger.loc[:9, "p_ml"] = np.nan
    view = view_of(told(30, log_e=0.5), ledger)
    rows = ledger[ledger["p_ml"].notna()]
    assert view["n_settled"] == len(rows)
    assert view["accuracy"] == pytest.approx(((rows["p_ml"] >= 0.5) == (rows["y"] == 1)).mean())
    assert view["base_rate"] == pytest.approx(rows["y"].mean())
    assert view["moves"] == [{"at": NOW.isoformat(), "stage": "10 %", "reason": "the gate said promote"}]


def test_better_is_said_at_twenty_and_not_before() -> None:
    ledger = settled_signals()
    assert str(view_of(told(30, log_e=np.log(19.0)), ledger)["verdict"]).startswith("Nothing is proven after 30")
    assert str(view_of(told(30, log_e=np.log(21.0)), ledger)["verdict"]).startswith("ML is better than the rules")


def test_a_trial_without_a_session_shows_nothing() -> None:
    view = view_of(told(0, log_e=0.0), settled_signals().iloc[:0])
    assert (view["evidence"], view["accuracy"], view["verdict"]) == ([], None, "No session has been compared yet")


def test_the_key_is_the_lines() -> None:
    assert view_key(LINE) == "trial/t-1d-symmetric-1.json"

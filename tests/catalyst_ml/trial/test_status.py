from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine

from catalyst_ml.store import runs
from catalyst_ml.trial import telling
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.speaker import ACTOR
from catalyst_ml.trial.status import lines_of, next_step, status_of
from tests.catalyst_ml.trial.signal_rows import LINE, make_signals, outcomes_of, register_version, silent

TOLD: dict[str, Any] = {
    "number": 1, "stage": "shadow", "share": 0.0, "not_judged": None, "has_verdict": False, "waited": 0, "quiet": 0,
    "e_better": 1.5, "e_worse": 0.4, "needed": [3.0, 10.0, 20.0], "sessions": 30, "last_session": "2025-12-05",
    "difference_bps": 1.2, "low_bps": -9.0, "high_bps": 12.0, "better_since": None, "guardrails": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (None, "no finished run has told this trial yet: run `catalyst-ml evaluate`"),
        (telling.not_begun(), "no version of this line has spoken yet. The rules answer meanwhile"),
        (TOLD, "10 % needs the gate's word: it has not promoted a version (`catalyst-ml train` asks it weekly)"),
        (TOLD | {"has_verdict": True, "waited": 7, "quiet": 30}, "3 more session(s) without an alarm to 10 %"),
        (
            TOLD | {"stage": "10 %", "waited": 2, "quiet": 40},
            "30 % needs an e-value of 3, it is 1.5, and 3 more session(s) without an alarm",
        ),
        (TOLD | {"stage": "30 %", "waited": 9, "quiet": 9, "number": 2}, "70 % needs an e-value of"),
        (TOLD | {"stage": "100 %"}, "the model answers alone"),
    ],
)
def test_what_comes_next_is_said_in_words(told: dict[str, Any] | None, says: str) -> None:
    assert next_step(told, False).startswith(says)


def test_after_a_demotion_the_gate_must_speak_again() -> None:
    assert "promoted a version since the model was taken off" in next_step(TOLD, True)


@pytest.mark.server
def test_a_line_is_counted_scored_and_told(database: Engine) -> None:
    register_version(database)
    ledger = SignalLedger(database, LINE)
    signals = make_signals(40, 4)
    early, late = signals[:100].reset_index(drop=True), silent(signals[100:].reset_index(drop=True))
    scored_at = datetime(2025, 11, 24, 22, tzinfo=UTC)
    ledger.write(pd.concat([early, late], ignore_index=True), run_id="r", is_replay=False, scored_at=scored_at)
    labels = outcomes_of(early.iloc[:-4])
    ledger.settle(labels, as_of=labels["label_end"].max(), run_id="r")
    for day, told in (("2025-12-05", TOLD), ("2025-12-04", TOLD | {"e_better": 9.0})):
        as_of = datetime.fromisoformat(f"{day}T21:00+00:00")
        run_id = runs.start_run(database, flow=ACTOR, dataset="t", timeframe="1d", as_of=as_of, parameters={})
        summary = {"timeframe": "1d", "label_version": LINE.label_version, "as_of": as_of.isoformat(), "trial": told}
        runs.finish_run(database, run_id, summary=summary)

    assert lines_of(database) == lines_of(database, dataset="t") == [LINE]
    assert lines_of(database, dataset="other") == []
    status = status_of(database, LINE)

    assert (status.n_signals, status.n_late, status.n_without_model) == (160, 0, 60)
    is_old = signals["ts"] < signals["ts"].max() - pd.Timedelta(days=21)
    assert (status.n_settled, status.n_compared, status.n_overdue) == (96, 96, int(is_old.sum()) - 96)
    assert status.success == pytest.approx(labels["y"].mean())
    assert [score.arm for score in status.arms] == ["models", "rules", "pattern base rate", "base rate"]
    constant = status.arms[-1]
    assert constant.log_loss == pytest.approx(0.6931, abs=1e-4), "the base rate of these signals is one half"
    assert constant.against_models is not None
    assert constant.against_models.value == pytest.approx(status.arms[0].log_loss - constant.log_loss)
    assert constant.against_models.low is not None
    assert (status.told, status.told_as_of) == (TOLD, "2025-12-05T21:00:00+00:00")
    assert status.production == "rules"

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.labels import default_spec
from catalyst_ml.trial import telling
from catalyst_ml.trial.ledger_frames import LEDGER, OUTCOMES
from catalyst_ml.trial.run import DAY_COLUMNS, TrialRun
from catalyst_ml.trial.stage_history import Trial
from catalyst_ml.trial.stages import StageMove, StageState
from tests.catalyst_ml.trial.signal_rows import LINE, VERSION, make_signals, silent

TRIAL = Trial(1, LINE, "rules-1", 0.03, date(2025, 11, 24), False, "the first of this label")
MADE = {VERSION: pd.Timestamp("2025-11-21T21:00", tz="UTC")}


def ledger_of(signals: pd.DataFrame) -> pd.DataFrame:
    """The ledger of signals that nothing settled yet."""
    nothing = LEDGER.empty()[[*OUTCOMES, "revision", "bars_known_until"]].reindex(signals.index)
    kept = {"signal_id": range(len(signals)), "scored_at": signals["ts"], "is_late": False, "is_replay": False}
    frame = pd.concat([signals.assign(**kept, run_id="r"), nothing], axis=1)
    return LEDGER.validate(frame.astype({column.name: column.dtype for column in LEDGER.columns}))


def run_with(state: StageState, *moves: StageMove) -> TrialRun:
    return TrialRun(pd.DataFrame(columns=list(DAY_COLUMNS)), moves, (), state)


def move(day: str, to_stage: Any, reason: str = "E is 3.2") -> StageMove:
    return StageMove("shadow", to_stage, pd.Timestamp(day), reason, {"e": 3.2})


def test_health_counts_novel_events_of_those_judged_and_the_age_of_the_version_that_spoke() -> None:
    signals = make_signals(2, 4, novelty_p=[0.001, np.nan, 0.5, 0.009, 0.2, 0.3, np.nan, 0.4])
    mixed = pd.concat([signals[:6], silent(signals[6:])], ignore_index=True)

    health = telling.daily_health(ledger_of(mixed), MADE).set_index("session")

    assert health["n_novel"].tolist() == [2.0, 0.0]
    assert health["n_novel_of"].tolist() == [3.0, 3.0]
    assert health["model_age_days"].tolist() == [3.0, 4.0]


def test_a_session_without_a_version_has_no_age() -> None:
    health = telling.daily_health(ledger_of(silent(make_signals(1, 2))), MADE)
    assert health["model_age_days"].isna().all()


def test_a_move_of_this_session_is_due_with_its_reason_and_nothing_is_due_where_nothing_changed() -> None:
    session = pd.Timestamp("2025-12-01")
    up = run_with(StageState("10 %"), move("2025-12-01", "10 %"))

    assert telling.due_move(run_with(StageState()), 0.0, session) is None
    assert telling.due_move(up, 0.1, session) is None
    due = telling.due_move(up, 0.0, session)
    assert due is not None
    assert (due.from_share, due.to_share, due.reason, due.evidence) == (0.0, 0.1, "E is 3.2", {"e": 3.2})


def test_a_stage_that_corrected_outcomes_take_back_is_followed_and_says_so() -> None:
    due = telling.due_move(run_with(StageState()), 0.3, pd.Timestamp("2025-12-01"))
    assert due is not None
    assert (due.from_share, due.to_share) == (0.3, 0.0)
    assert "corrected since; told again, the trial stands at 0%: it has not left the shadow" in due.reason

    earlier = run_with(StageState("10 %"), move("2025-11-28", "10 %", "the gate said promote"))
    due = telling.due_move(earlier, 0.3, pd.Timestamp("2025-12-01"))
    assert due is not None
    assert due.reason.endswith("stands at 10%: the gate said promote (2025-11-28)")


@pytest.mark.parametrize("signals", [make_signals(3, 2), silent(make_signals(3, 2))])
def test_a_young_trial_has_no_session_and_says_what_it_waits_for(signals: pd.DataFrame) -> None:
    bars = bars_of(signals)

    run = telling.tell_trial(
        ledger_of(signals), bars, no_verdicts(), MADE, TRIAL, default_spec("1d", "symmetric"),
        calendar=TradingCalendar(), as_of=signals["ts"].max(), with_interval=False,
    )  # fmt: skip

    assert run is not None
    told = telling.summary_of(run, TRIAL, 0.0)
    assert (told["stage"], told["sessions"], told["not_judged"]) == ("shadow", 0, telling.NO_THRESHOLD)


def test_a_market_neutral_label_is_recorded_and_not_tried() -> None:
    signals = make_signals(3, 2)
    run = telling.tell_trial(
        ledger_of(signals), bars_of(signals), no_verdicts(), MADE, TRIAL, default_spec("1d", "market_neutral"),
        calendar=TradingCalendar(), as_of=signals["ts"].max(), with_interval=False,
    )  # fmt: skip
    assert run is None
    assert telling.summary_of(run, TRIAL, 0.0)["not_judged"] == telling.NO_MARKS


def no_verdicts() -> pd.DataFrame:
    return pd.DataFrame({"as_of": pd.DatetimeIndex([], tz="UTC").as_unit("us"), "verdict": pd.Series(dtype="str")})


def bars_of(signals: pd.DataFrame) -> pd.DataFrame:
    """Calm bars of these symbols from 30 sessions before the first signal on."""
    calendar = TradingCalendar()
    first, last = signals["session"].min() - pd.Timedelta(days=45), signals["session"].max()
    closes = calendar.closes(calendar.sessions(first, last))
    grid = pd.MultiIndex.from_product([sorted(set(signals["symbol"])), closes], names=["symbol", "ts"])
    frame = grid.to_frame(index=False).astype({"symbol": "str"})
    return frame.assign(open=10.0, high=10.2, low=9.8, close=10.1, volume=1e6, split_factor=1.0)

"""Who may be asked about a run's rows, and the record beside what the procedure said live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.store.snapshots import SnapshotStore
from catalyst_ml.trial.ledger import SignalLedger
from tasks import connections, judgement
from tests.catalyst_ml.trial.signal_rows import LINE, make_signals, register_version, silent

OWN = {"feature_set_version": "f1", "rule_arm": "rules_intended_v213.2"}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, True),
        ({"feature_set_version": "f2"}, False),
        ({"rule_arm": "rules_v200.1"}, False),
        ({"rule_arm": ""}, False),
    ],
)
def test_a_champion_that_heard_other_features_or_rules_is_not_asked_about_these_rows(other, expected):
    assert judgement.inputs_mean_the_same(OWN | other, OWN) is expected


@pytest.fixture
def ledger(database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SignalLedger:
    register_version(database)
    monkeypatch.setattr(judgement, "engine", lambda: database)
    monkeypatch.setattr(connections, "snapshots", lambda: SnapshotStore(tmp_path))
    return SignalLedger(database, LINE)


def read(ledger: SignalLedger, as_of: pd.Timestamp, procedure_id: str = "p-1") -> pd.DataFrame | None:
    scope = {"dataset": LINE.dataset, "timeframe": LINE.timeframe, "as_of": as_of.isoformat()}
    found = judgement.read_live_forecasts.fn(scope, {"procedure_id": procedure_id, "label_version": LINE.label_version})
    return None if found is None else connections.load_frame(found)


def test_live_forecasts_are_those_of_this_procedure_that_were_known_then(ledger: SignalLedger) -> None:
    signals = make_signals(n_sessions=6, n_symbols=5)
    spoken = signals[signals["ts"] > signals["ts"].min()]
    ledger.write(silent(signals[signals["ts"] == signals["ts"].min()]), run_id="r", is_replay=True)
    ledger.write(spoken.reset_index(drop=True), run_id="r", is_replay=True)
    middle = signals["ts"].iloc[14]

    live = read(ledger, middle)

    assert live is not None
    pd.testing.assert_frame_equal(live, spoken[spoken["ts"] <= middle][[*EVENT_KEY, "p_ml"]].reset_index(drop=True))
    assert read(ledger, middle, "p-2") is None


def test_the_record_stands_beside_what_was_said_live_event_by_event() -> None:
    signals = make_signals(n_sessions=3, n_symbols=4)
    record = signals.drop(columns="p_ml").assign(p_challenger=0.4, y=np.arange(len(signals)) % 2)
    beside = judgement._beside_live(record, signals[[*EVENT_KEY, "p_ml"]].iloc[::2])
    assert list(beside.columns) == ["session", "y", "p_record", "p_live"]
    np.testing.assert_array_equal(beside["p_live"], signals["p_ml"].iloc[::2])
    assert (beside["p_record"] == 0.4).all()

from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import DataContractError
from catalyst_ml.registry.versions import ModelLine
from catalyst_ml.trial.ledger import SettledSignals, SignalLedger, Written
from tests.catalyst_ml.trial.signal_rows import LINE, make_signals, moment, outcomes_of, register_version, silent

pytestmark = pytest.mark.server
SCORED = moment("2025-12-01T22:00:00")
END = pd.Timestamp("2026-01-30T21:00", tz="UTC")


@pytest.fixture
def ledger(database: Engine) -> SignalLedger:
    register_version(database)
    return SignalLedger(database, LINE)


def test_what_is_written_is_read_back_to_the_last_bit_and_writing_it_again_changes_nothing(
    ledger: SignalLedger,
) -> None:
    signals = make_signals()
    assert ledger.last_session() is None

    assert ledger.write(signals, run_id="a", is_replay=False, scored_at=SCORED) == Written(12, 0, 0)
    assert ledger.write(signals, run_id="b", is_replay=False) == Written(0, 12, 0)

    read = ledger.read()
    pd.testing.assert_frame_equal(read[signals.columns], signals)
    assert set(read["run_id"]) == {"a"}
    assert set(read["scored_at"]) == {pd.Timestamp(SCORED)}
    assert read["y"].isna().all()
    assert ledger.last_session() == signals["session"].max()


def test_a_signal_written_after_its_entry_is_late(ledger: SignalLedger) -> None:
    signals = make_signals(4, 1)  # Monday to Friday of Thanksgiving week: Thursday is no session
    ledger.write(signals, run_id="a", is_replay=False, scored_at=moment("2025-11-28T14:30:00"))

    read = ledger.read().set_index("session")

    assert f"{read.loc['2025-11-26', 'entry_due']}" == "2025-11-28 14:30:00+00:00"
    assert read["is_late"].to_dict() == {
        pd.Timestamp("2025-11-24"): True,
        pd.Timestamp("2025-11-25"): True,
        pd.Timestamp("2025-11-26"): False,  # at the very moment of the entry it is not late yet
        pd.Timestamp("2025-11-28"): False,
    }


def test_the_first_word_stands_and_a_different_second_one_is_counted(
    ledger: SignalLedger, caplog: pytest.LogCaptureFixture
) -> None:
    signals = make_signals()
    ledger.write(signals, run_id="a", is_replay=False)
    changed = signals.assign(p_ml=signals["p_ml"].where(signals["symbol"] != "S0001", 0.9))

    assert ledger.write(changed, run_id="b", is_replay=False) == Written(0, 12, 4)
    assert ledger.write(silent(signals), run_id="c", is_replay=False) == Written(0, 12, 12)

    pd.testing.assert_frame_equal(ledger.read()[signals.columns], signals)
    assert "4 of 12 signals were written before and would say something else now" in caplog.text


def test_an_event_that_comes_later_joins_its_session(ledger: SignalLedger) -> None:
    signals = make_signals(2, 4)
    ledger.write(signals[signals["symbol"] < "S0002"].reset_index(drop=True), run_id="a", is_replay=False)

    assert ledger.write(signals, run_id="b", is_replay=False) == Written(4, 4, 0)
    pd.testing.assert_frame_equal(ledger.read()[signals.columns], signals)


def test_a_line_without_any_version_is_kept_too(database: Engine) -> None:
    ledger = SignalLedger(database, LINE)
    signals = silent(make_signals())

    ledger.write(signals, run_id="a", is_replay=False)

    pd.testing.assert_frame_equal(ledger.read()[signals.columns], signals)
    assert SignalLedger(database, ModelLine("t", "1d", "other")).read().empty


def test_two_runs_at_once_write_each_signal_and_each_outcome_once(ledger: SignalLedger, database: Engine) -> None:
    signals, failures, start = make_signals(30, 20), [], threading.Barrier(2)
    labels = outcomes_of(signals)

    def run(name: str) -> None:
        try:
            start.wait()
            ledger.write(signals, run_id=name, is_replay=False)
            ledger.settle(labels, as_of=END, run_id=name)
        except Exception as error:  # handed to the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    read = ledger.read()
    assert len(read) == 600
    assert len(set(read["run_id"])) == 1, "the second found all of it"
    assert ledger.revisions()["revision"].tolist() == [1] * 600


def test_a_corrected_outcome_is_a_second_revision_that_says_what_changed_and_the_first_stays(
    ledger: SignalLedger, database: Engine
) -> None:
    signals = make_signals()
    labels = outcomes_of(signals)
    ledger.write(signals, run_id="a", is_replay=False)
    first_view, later = END, END + timedelta(days=3)
    assert ledger.settle(labels, as_of=first_view, run_id="a") == SettledSignals(12, 0)
    assert ledger.settle(labels, as_of=later, run_id="b") == SettledSignals(0, 0)
    victim = int(np.flatnonzero(labels["y"] == 1)[0])
    corrected = labels.copy()
    corrected.loc[victim, ["net_return", "gross_return"]] = [-0.021, -0.02]
    corrected.loc[victim, "y"] = 0
    corrected.loc[victim, "outcome"] = "stop"

    assert ledger.settle(corrected, as_of=first_view, run_id="c") == SettledSignals(0, 0), "the same view: no news"
    assert ledger.settle(corrected, as_of=later, run_id="c") == SettledSignals(0, 1)
    assert ledger.settle(corrected, as_of=later, run_id="d") == SettledSignals(0, 0)

    both = ledger.revisions().query("revision == 2 or reason == 'correction'")
    (changed,) = both["changed"]
    assert pd.io.json.ujson_loads(changed) == {
        "y": [1.0, 0.0],
        "net_return": [0.019, -0.021],
        "gross_return": [0.02, -0.02],
        "outcome": ["target", "stop"],
    }
    assert len(ledger.revisions()) == 13
    key = labels.loc[victim, ["symbol", "ts", "direction"]].tolist()
    now, then = (view.set_index(["symbol", "ts", "direction"]).loc[tuple(key)] for view in
                 (ledger.read(), ledger.read(known_at=first_view)))  # fmt: skip
    assert (then["y"], then["outcome"], then["revision"]) == (1.0, "target", 1.0)
    assert (now["y"], now["outcome"], now["revision"]) == (0.0, "stop", 2.0)
    with database.connect() as connection:
        rows = connection.execute(text("SELECT y, revision FROM catalyst_ml.settled_signals WHERE revision = 2")).all()
    assert [tuple(row) for row in rows] == [(0, 2)]


def test_what_was_known_at_a_moment_holds_no_later_signal_and_no_later_outcome(ledger: SignalLedger) -> None:
    signals = make_signals(10, 2)
    labels = outcomes_of(signals)
    ledger.write(signals, run_id="a", is_replay=False)
    for as_of in sorted(set(labels["label_end"])):
        ledger.settle(labels[labels["label_end"] <= as_of].reset_index(drop=True), as_of=as_of, run_id="a")

    moment_ = labels["label_end"].sort_values().iloc[len(labels) // 2]
    view = ledger.read(known_at=moment_)

    assert view["ts"].max() <= moment_
    settled = view[view["y"].notna()]
    assert (settled["label_end"] <= moment_).all()
    assert len(settled) == (labels["label_end"] <= moment_).sum() > 0


@pytest.mark.parametrize("table", ["signals", "settlements", "trials", "stage_moves"])
def test_nothing_can_be_changed_or_removed(ledger: SignalLedger, database: Engine, table: str) -> None:
    signals = make_signals(1, 1)
    ledger.write(signals, run_id="a", is_replay=False)
    ledger.settle(outcomes_of(signals), as_of=END, run_id="a")

    for statement in ("UPDATE {} SET run_id = 'x'", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
            connection.execute(text(statement.format(f"catalyst_ml.{table}")))

    assert ledger.read()["run_id"].tolist() == ["a"]


def test_a_replay_does_not_mix_with_a_live_ledger(ledger: SignalLedger) -> None:
    signals = make_signals(2, 1)
    ledger.write(signals[:1], run_id="a", is_replay=False)

    with pytest.raises(DataContractError, match=r"its ledger is kept live, this run is a replay.*another name"):
        ledger.write(signals, run_id="b", is_replay=True)
    assert len(ledger.read()) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"p_ml": 1.2}, "p_ml is not in"),
        ({"p_rules": -0.1}, "p_rules is not in"),
        ({"p_ml": np.nan}, "p_ml and abstain_reason"),
        ({"weight": 0.1}, "weight is not in"),
        ({"p_blend": np.nan}, "'p_blend': 4 of 4 values are missing"),
        ({"weight": np.nan}, "'weight': 4 of 4 values are missing"),
        ({"entry_due": pd.Timestamp("2020-01-01", tz="UTC").as_unit("us")}, "the entry is not after the decision"),
        ({"direction": np.float64(1.0)}, "column 'direction': expected int8"),
    ],
)
def test_a_signal_that_breaks_its_contract_refuses_the_whole_lot(
    ledger: SignalLedger, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(DataContractError, match=problem):
        ledger.write(make_signals(2, 2).assign(**changes), run_id="a", is_replay=False)
    assert ledger.read().empty


def test_a_signal_of_a_version_that_does_not_exist_is_refused_by_the_database(database: Engine) -> None:
    ledger = SignalLedger(database, LINE)
    with pytest.raises(DBAPIError, match="foreign key"):
        ledger.write(make_signals(), run_id="a", is_replay=False)
    assert ledger.read().empty

import functools

import numpy as np
import pandas as pd
import pandas.testing as pdt
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.live_record import P_SHADOW
from catalyst_ml.trial.books import differences_by_version, keep_books, take_positions
from catalyst_ml.trial.run import DAY_COLUMNS, TrialPolicy, run_trial
from catalyst_ml.trial.sequential import bet_on, predictable_scale
from catalyst_ml.trial.signals import signals_of_live_record
from catalyst_ml.trial.stages import StagePolicy
from tests.catalyst_ml.trial.records import close_of, make_trial, sessions_of

N = 220
POLICY = TrialPolicy()


@functools.cache
def good_then_bad():
    """A model that earns for 130 sessions and loses afterwards; enough of both to climb and to fall."""
    edge = np.where(np.arange(N) < 130, 0.004, -0.006)
    return make_trial(n_sessions=N, edge=edge, seed=11)


def verdicts(*days_and_words):
    sessions = sessions_of(N)
    days, words = zip(*days_and_words, strict=True) if days_and_words else ((), ())
    moments = pd.DatetimeIndex(close_of(sessions[list(days)]) if days else [], tz="UTC")
    return pd.DataFrame({"as_of": moments, "verdict": pd.Series(words, dtype="str")})


def health(age=3.0):
    sessions = sessions_of(N)
    return pd.DataFrame({"session": sessions, "n_novel": 0.0, "n_novel_of": 30.0, "model_age_days": age})


def run(trial, spoken=None, *, until=N, policy=POLICY, reported=None, **options):
    signals, marks = trial
    as_of = close_of(sessions_of(N)[[until - 1]])[0]
    told = verdicts((30, "promote")) if spoken is None else spoken
    return run_trial(signals, marks, told, health() if reported is None else reported, policy, as_of=as_of, **options)


def test_a_good_model_climbs_and_is_taken_off_when_it_turns():
    told = run(good_then_bad())

    assert [m.to_stage for m in told.moves[:5]] == ["10 %", "30 %", "70 %", "100 %", "shadow"]
    days = told.days.set_index("session")
    sessions = sessions_of(N)
    assert told.moves[0].session == sessions[40]
    assert told.moves[4].session > sessions[130]
    # A move is decided at the close and in force from the next session on.
    for move in told.moves[:5]:
        at = days.index.get_loc(move.session)
        assert days["stage"].iloc[at] == move.from_stage
        assert days["stage"].iloc[at + 1] == move.to_stage
    assert told.better_since(POLICY) is not None
    assert told.state.stage == "shadow"


@pytest.mark.parametrize("until", [21, 41, 45, 90, 131, 160, 187])
def test_told_earlier_the_trial_says_the_same_as_far_as_it_goes(until):
    spoken = verdicts((10, "stay"), (30, "promote"), (100, "promote"), (185, "promote"))
    whole, part = run(good_then_bad(), spoken), run(good_then_bad(), spoken, until=until)

    n = len(part.days)
    assert n == until - 5
    pdt.assert_frame_equal(part.days, whole.days.head(n))
    last = part.days["session"].iloc[-1]
    assert part.moves == tuple(m for m in whole.moves if m.session <= last)
    if n < len(whole.days):
        assert part.state.stage == whole.days["stage"].iloc[n]


def test_what_is_known_later_cannot_move_an_earlier_day():
    signals, marks = good_then_bad()
    cut = sessions_of(N)[100]
    late = (signals["session"] > cut).to_numpy()
    known_later = (signals["label_end"] > close_of(pd.DatetimeIndex([cut]))[0]).to_numpy()
    altered = signals.assign(
        p_ml=np.where(late, 0.9, signals["p_ml"]),
        y=np.where(known_later, 1.0 - signals["y"], signals["y"]),
    )
    wild = marks.assign(net=np.where(marks["session"] > cut, 5.0, marks["net"]))

    before, after = run((signals, marks)), run((altered, wild))

    known = (before.days["session"] <= cut).to_numpy()
    pdt.assert_frame_equal(before.days[known], after.days[known])


def test_the_evidence_is_that_of_the_difference_and_its_mean():
    days = run(make_trial(n_sessions=N, seed=2)).days

    d = (days["profit_ml"] - days["profit_rules"]).to_numpy()
    np.testing.assert_allclose(days["difference"], d)
    np.testing.assert_allclose(days["log_e_up"], bet_on(d).log_e)
    np.testing.assert_allclose(days["log_e_down"], bet_on(-d).log_e)
    assert days["low_bps"].iloc[-1] < 1e4 * d.mean() < days["high_bps"].iloc[-1]
    assert list(days.columns) == list(DAY_COLUMNS)


def test_two_arms_that_say_the_same_are_never_told_apart():
    signals, marks = make_trial(n_sessions=N, seed=2)

    told = run((signals.assign(p_rules=signals["p_ml"]), marks))

    assert (told.days[["difference", "log_e_up", "log_e_down", "log_e_loss"]] == 0.0).all().all()
    assert [m.to_stage for m in told.moves] == ["10 %"]
    assert told.days["stake"].sum() > 0.0


def test_a_stale_model_a_silent_one_and_a_rollback_each_end_the_stage():
    trial = make_trial(n_sessions=N, seed=2)
    old = health(age=np.where(np.arange(N) >= 60, 22.0, 3.0))
    signals, marks = trial
    silent = signals.assign(p_ml=signals["p_ml"].where(signals["session"] < sessions_of(N)[60]))

    ends = {
        "stale": run(trial, reported=old).moves,
        "silent": run((silent, marks)).moves,
        "rollback": run(trial, verdicts((30, "promote"), (60, "rollback"))).moves,
    }

    words = {"stale": "22 days ago", "silent": "answered", "rollback": "rolled back"}
    for name, moves in ends.items():
        assert [m.to_stage for m in moves] == ["10 %", "shadow"], name
        assert words[name] in moves[1].reason
        assert sessions_of(N)[60] <= moves[1].session <= sessions_of(N)[62]


def test_a_version_is_taken_off_for_its_own_losses():
    # Three good versions make the procedure's evidence strong; the fourth loses from its first day.
    edge = np.where(np.arange(N) < 150, 0.004, -0.02)
    trial = make_trial(n_sessions=N, edge=edge, seed=4, weeks_a_version=30)
    patient = TrialPolicy(
        stages=StagePolicy(against=20.0), guards=POLICY.guards.model_copy(update={"max_drawdown_sds": 99})
    )

    told = run(trial, policy=patient)

    down = next(m for m in told.moves if m.to_stage == "shadow")
    assert "evidence" in down.reason
    # Its e-value by hand: bets on what its own trades earned beyond the rules' trades beside them.
    signals, marks = trial
    books = keep_books(take_positions(signals), marks)
    versions, split = differences_by_version(books)
    at = books.daily.index[books.daily["session"] == down.session][0]
    version = told.days["version_id"].iloc[at]
    own = split[versions.tolist().index(version)]
    expected = np.exp(bet_on(-own, predictable_scale(books.difference)).log_e[at])
    assert version == "v01"
    assert down.evidence["e_version"] == pytest.approx(expected)
    assert expected > 5.0


def test_before_both_arms_have_a_threshold_there_is_no_trial():
    told = run(make_trial(n_sessions=N, seed=2), until=4)

    assert told.days.empty
    assert list(told.days.columns) == list(DAY_COLUMNS)
    assert (told.moves, told.checks, told.state.stage) == ((), (), "shadow")
    assert told.better_since(POLICY) is None


def test_a_trial_without_outcomes_verdicts_or_reports_runs_all_the_same():
    signals, marks = make_trial(n_sessions=N, seed=2)
    bare = signals.assign(
        y=pd.Series([pd.NA] * len(signals), dtype="Int8"), version_id=pd.Series([None] * len(signals), dtype="str")
    )
    nothing = health().iloc[:0]

    told = run((bare, marks), verdicts(), reported=nothing)

    assert told.moves == ()
    measured = {check.name: check.passed for check in told.checks}
    assert measured == {
        "drawdown": True, "calibration": None, "accuracy": None,
        "novelty": None, "stale_model": None, "predictions": True,
    }  # fmt: skip


def test_signals_that_break_their_contract_are_refused():
    signals, marks = make_trial(n_sessions=N, seed=2)
    with pytest.raises(DataContractError, match=r"lack \['p_ml'\]"):
        run((signals.drop(columns="p_ml"), marks))
    with pytest.raises(DataContractError, match="not in time order"):
        run((signals.iloc[::-1].reset_index(drop=True), marks))
    with pytest.raises(DataContractError, match="1 values of p_rules are no probabilities"):
        run((signals.assign(p_rules=np.where(np.arange(len(signals)) == 7, 55.0, signals["p_rules"])), marks))
    with pytest.raises(DataContractError, match="the fold changes 44 times"):
        run((signals.assign(fold=signals["fold"].where(signals["fold"] != "W020", "W000")), marks))
    with pytest.raises(DataContractError, match="marks are missing or come twice"):
        run((signals, pd.concat([marks, marks.tail(1)])))
    with pytest.raises(DataContractError, match="marks are missing or come twice"):
        run((signals, marks.assign(net=np.nan)))
    with pytest.raises(DataContractError, match=r"0 of \d+ positions have marks; expected nearly all"):
        run((signals, marks.assign(symbol="X" + marks["symbol"])))
    with pytest.raises(DataContractError, match="reports a session twice"):
        run((signals, marks), reported=pd.concat([health(), health().tail(1)]))
    with pytest.raises(DataContractError, match=r"\['promoted'\] are not known"):
        run((signals, marks), verdicts((30, "promoted")))
    with pytest.raises(DataContractError, match="come twice"):
        run((pd.concat([signals, signals.tail(3)], ignore_index=True), marks))


def test_a_live_record_becomes_signals_named_by_their_weeks():
    signals, _ = make_trial(n_sessions=40, seed=2)
    record = signals.drop(columns="version_id").rename(columns={"p_ml": "p_age_0"})
    record = record.rename(columns={"p_age_0": P_SHADOW}).assign(production="rules", gross_return=0.0)
    record.loc[record["fold"] == "W001", P_SHADOW] = np.nan
    found = signals_of_live_record(record.sample(frac=1.0, random_state=1))

    assert found["ts"].is_monotonic_increasing
    assert found.loc[found["fold"] == "W001", "version_id"].isna().all()
    assert (found.loc[found["fold"] != "W001", "version_id"] == found.loc[found["fold"] != "W001", "fold"]).all()

import doctest
import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.trial import stages
from catalyst_ml.trial.stages import SHARES, STAGES, SessionFacts, StagePolicy, StageState, advance, next_step

POLICY = StagePolicy()
NONE = -math.inf


def facts(day, e=1.0, *, fresh=None, loss=1.0, version=1.0, alarms=(), verdict=None):
    return SessionFacts(
        session=pd.Timestamp("2025-01-01") + pd.Timedelta(days=day),
        log_e=math.log(e),
        log_e_fresh=math.log(e if fresh is None else fresh),
        log_e_loss=math.log(loss),
        log_e_version=math.log(version),
        alarms=alarms,
        verdict=verdict,
    )


def walk(days, state=None, policy=POLICY):
    """Stage after each session, and the moves."""
    state, seen, moves = state or StageState(), [], []
    for day in days:
        state, move = advance(state, day, policy)
        seen.append(state.stage)
        if move:
            moves.append(move)
    return seen, moves, state


def test_ten_percent_comes_ten_sessions_after_the_gates_verdict():
    seen, moves, state = walk([facts(0, verdict="promote"), *(facts(d) for d in range(1, 11))])

    assert seen == ["shadow"] * 10 + ["10 %"]
    assert state.share == 0.1
    assert moves[0].reason == "the gate said promote, and 10 sessions passed without an alarm"


def test_without_a_verdict_evidence_alone_moves_nothing():
    seen, moves, _ = walk(facts(d, e=1e6) for d in range(100))

    assert set(seen) == {"shadow"}
    assert moves == []


def test_an_alarm_in_shadow_begins_the_ten_sessions_anew():
    days = [facts(0, verdict="promote"), *(facts(d) for d in range(1, 9)), facts(9, alarms=("novelty",))]
    seen, moves, _ = walk([*days, *(facts(d) for d in range(10, 20))])

    assert seen.index("10 %") == 19
    assert len(moves) == 1


def test_evidence_of_three_ten_and_twenty_leads_up_one_step_a_week():
    at_ten = StageState("10 %", has_verdict=True, waited=5, quiet=50)

    seen, moves, _ = walk([facts(d, e=50.0) for d in range(16)], at_ten)

    assert seen[0] == "30 %"
    assert seen.index("70 %") == 5
    assert seen.index("100 %") == 10
    assert moves[-1].reason.endswith("has reached 20 (e-value 50); ML is better")
    assert not any("ML is better" in m.reason for m in moves[:-1])
    assert moves[-1].evidence["e"] == pytest.approx(50.0)


@pytest.mark.parametrize(("stage", "needed"), [("10 %", 3.0), ("30 %", 10.0), ("70 %", 20.0)])
def test_just_below_the_evidence_nothing_moves(stage, needed):
    waiting = StageState(stage, has_verdict=True, waited=50, quiet=50)

    assert advance(waiting, facts(0, e=0.999 * needed), POLICY)[1] is None
    assert advance(waiting, facts(0, e=1.001 * needed), POLICY)[1].from_stage == stage


def test_a_falling_e_value_takes_nothing_back():
    seen, moves, _ = walk([facts(d, e=0.01) for d in range(50)], StageState("100 %", has_verdict=True))

    assert set(seen) == {"100 %"}
    assert moves == []


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (
            facts(0, alarms=("the model was trained 22 days ago", "another")),
            "the model was trained 22 days ago; another",
        ),
        (facts(0, loss=20.0), "worse than the rules has reached 20"),
        (facts(0, version=20.0), "version in service is worse than the rules has reached 20"),
        (facts(0, verdict="rollback"), "production was rolled back"),
    ],
)
@pytest.mark.parametrize("stage", STAGES[1:])
def test_each_reason_against_leads_down_to_shadow_at_once(day, words, stage):
    state, move = advance(StageState(stage, has_verdict=True, waited=99, quiet=99), day, POLICY)

    assert (state, move.from_stage, move.to_stage) == (StageState(), stage, "shadow")
    assert words in move.reason


def test_after_a_demotion_only_a_fresh_verdict_and_fresh_evidence_lead_up():
    down = [facts(0, e=1e4, loss=30.0)]
    without, _, _ = walk([*down, *(facts(d, e=1e4) for d in range(1, 60))], StageState("100 %", has_verdict=True))
    back = [facts(1, e=1e4, fresh=1.0, verdict="promote"), *(facts(d, e=1e4, fresh=1.0) for d in range(2, 60))]
    with_verdict, moves, _ = walk([*down, *back], StageState("100 %", has_verdict=True))

    assert set(without) == {"shadow"}
    assert with_verdict[-1] == "10 %"
    assert [m.to_stage for m in moves] == ["shadow", "10 %"]


def test_a_rollback_in_shadow_takes_the_verdict_back():
    days = [facts(0, verdict="promote"), facts(1, verdict="rollback"), *(facts(d) for d in range(2, 40))]

    assert set(walk(days)[0]) == {"shadow"}


def test_a_second_verdict_does_not_begin_the_wait_anew():
    days = [facts(0, verdict="promote"), *(facts(d, verdict="promote" if d == 5 else None) for d in range(1, 11))]

    assert walk(days)[0][-1] == "10 %"


def test_what_the_next_step_needs_is_said_in_words():
    def said(state, e=1.0):
        return next_step(state, POLICY, log_e=math.log(e), log_e_fresh=math.log(e))

    assert said(StageState()) == "10 % needs the gate to say promote"
    assert said(StageState(has_verdict=True, waited=9, quiet=20)) == "10 % needs 1 more session without an alarm"
    at_thirty = StageState("30 %", has_verdict=True, waited=2, quiet=9)
    assert said(at_thirty, 4.0) == "70 % needs evidence of 10; it stands at 4 and 3 more sessions without an alarm"
    assert said(StageState("30 %", waited=5, quiet=5), 11.0) == "70 % follows at the next close"
    assert said(StageState("100 %")) == "the model has all of the answer"


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(stages).failed == 0


def test_a_later_process_must_show_more():
    first, second = StagePolicy(), StagePolicy(process=2)

    assert first.needed == (3.0, 10.0, 20.0)
    assert second.needed[-1] == pytest.approx(20.0 * math.pi**2 * 4 / 6)
    waiting = StageState("70 %", has_verdict=True, waited=50, quiet=50)
    assert advance(waiting, facts(0, e=100.0), second)[1] is None


@given(
    st.lists(
        st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 40), st.booleans(), st.sampled_from([None, "promote", "stay"])),
        max_size=80,
    )
)
@settings(max_examples=80, deadline=None)
def test_no_history_skips_a_stage_or_goes_down_without_a_reason(history):
    state, before = StageState(), "shadow"
    for day, (e, loss, alarm, verdict) in enumerate(history):
        told = facts(day, e=e, loss=loss, alarms=("alarm",) if alarm else (), verdict=verdict)
        state, move = advance(state, told, POLICY)
        step = STAGES.index(state.stage) - STAGES.index(before)
        assert step <= 1
        assert (move is None) == (step == 0)
        if step < 0:
            assert state.stage == "shadow"
            assert alarm or loss >= 20.0
        if (alarm or loss >= 20.0) and before != "shadow":
            assert state.stage == "shadow"
        assert 0.0 <= SHARES[state.stage] <= 1.0
        before = state.stage

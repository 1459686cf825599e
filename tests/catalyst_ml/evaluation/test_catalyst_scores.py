from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.catalyst_scores import OPPONENTS, P_CATALYST, score_catalyst
from catalyst_ml.evaluation.comparison import compare_log_loss


def test_it_is_judged_on_the_rows_on_which_it_speaks_and_no_other() -> None:
    record = make_record(sessions=80, challenger_skill=0.8, seed=3)
    speaks = np.random.default_rng(1).random(len(record)) < 0.1
    # It knows what the challenger knows; elsewhere it would be wrong about everything.
    record[P_CATALYST] = np.where(speaks, record["p_challenger"], np.nan)
    record["p_challenger"] = 0.5
    judged = score_catalyst(record)
    assert judged is not None
    assert judged.scores is not None
    assert judged.n_rows == speaks.sum() == judged.scores.n
    assert {c.opponent: c for c in judged.comparisons}.keys() == set(OPPONENTS)
    assert all(c.t > 2.0 for c in judged.comparisons)
    assert judged.comparisons[0] == compare_log_loss(record[speaks], P_CATALYST, OPPONENTS[0])
    assert judged.to_dict()["scores"]["n"] == judged.n_rows


def test_few_sessions_are_scored_but_not_compared() -> None:
    record = make_record(sessions=60)
    first = record["session"] <= record["session"].unique()[9]
    judged = score_catalyst(record.assign(**{P_CATALYST: np.where(first, 0.6, np.nan)}))
    assert judged is not None
    assert judged.scores is not None
    assert judged.comparisons == ()
    assert "10 sessions, 20 are needed" in judged.note


@pytest.mark.parametrize("column", [None, np.nan])
def test_a_member_that_is_not_there_or_never_speaks_is_told_apart(column: float | None) -> None:
    record = make_record()
    judged = score_catalyst(record if column is None else record.assign(**{P_CATALYST: column}))
    assert judged is None if column is None else judged is not None and judged.n_rows == 0

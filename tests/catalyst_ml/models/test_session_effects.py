"""What rows of one session share is taken out before a member learns, and only that."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.models.member import logit
from catalyst_ml.models.members import fit_members
from catalyst_ml.models.session_effects import session_groups, shared_log_odds


def test_groups_are_sessions_and_directions():
    rows = pd.DataFrame({"session": [1, 1, 1, 2], "direction": [1, -1, 1, 1]})

    groups = session_groups(rows)

    assert groups[0] == groups[2]
    assert len(set(groups)) == 3


def test_groups_that_differ_by_chance_only_share_the_base_rate():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), 25)
    y = rng.integers(0, 2, len(groups))

    offset = shared_log_odds(y, np.ones(len(y)), groups)

    assert np.abs(offset - offset.mean()).max() < 0.25


def test_a_group_moves_by_what_it_shared_and_a_small_one_less():
    good, bad = np.r_[np.ones(40), np.zeros(10)], np.r_[np.ones(10), np.zeros(40)]
    y = np.concatenate([good, bad] * 20 + [np.ones(2)])
    groups = np.concatenate([np.repeat(np.arange(40), 50), np.full(2, 40)])

    offset = shared_log_odds(y, np.ones(len(y)), groups)

    assert offset[0] == pytest.approx(logit(np.array(0.8)), abs=0.15)
    assert 0 < offset[-1] < logit(np.array(0.98))
    assert shared_log_odds(y, np.ones(len(y)), None).std() == 0.0


def test_members_learn_what_sets_rows_of_a_day_apart_and_not_which_days_were_good(procedure):
    rng = np.random.default_rng(3)
    n_days, per_day = 240, 12
    day = np.repeat(np.arange(n_days), per_day)
    mood = rng.normal(size=n_days)[day]  # the same for all rows of a day, and the day's luck
    own = rng.normal(size=len(day))
    y = (rng.random(len(day)) < 1 / (1 + np.exp(-(1.5 * mood + 0.8 * own)))).astype("int8")
    X = np.column_stack([mood, own]).astype("float32")
    small = dataclasses.replace(procedure, inputs=("mood", "own"), members=("base_rate", "logistic"))

    def coefficients(absorb):
        chosen = dataclasses.replace(small, absorb_session_effects=absorb)
        fitted = fit_members(X, y, np.ones(len(y)), chosen, groups=day, n_threads=1)
        return np.abs(fitted.members["logistic"].coefficients[:2])

    absorbed, plain = coefficients(True), coefficients(False)
    assert absorbed[0] < 0.35 * plain[0]
    assert absorbed[1] > 0.8 * plain[1]

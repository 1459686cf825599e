"""Combinatorial purged cross-validation: who is tested, who may learn, and how paths are put together."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.evaluation.cpcv import (
    CpcvSplit,
    Spread,
    combinatorial_splits,
    group_of_rows,
    learnt_rows,
    path_scores,
    paths,
)

OPPONENT, ARM = "p_base_rate", "p_challenger"


def make_rows(seed: int, *, n_sessions: int = 200, n: int = 1_500, longest_label: int = 8) -> pd.DataFrame:
    """Events at random closes whose outcomes are known one to ``longest_label`` sessions later."""
    rng = np.random.default_rng(seed)
    sessions = pd.bdate_range("2015-01-05", periods=n_sessions + longest_label + 1)
    closes = (sessions + pd.Timedelta(hours=21)).tz_localize("UTC")
    at = np.sort(rng.integers(0, n_sessions, size=n))
    frame = {
        "ts": closes[at],
        "session": sessions[at],
        "label_end": closes[at + rng.integers(1, longest_label + 1, size=n)],
        "direction": rng.choice([-1, 1], size=n),
        "y": rng.integers(0, 2, size=n),
    }
    return pd.DataFrame(frame)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 20), n_groups=st.integers(2, 8), data=st.data())
def test_every_row_is_tested_by_the_same_number_of_splits_and_once_on_every_path(seed, n_groups, data):
    n_test = data.draw(st.integers(1, n_groups - 1))
    rows = make_rows(seed)
    splits = combinatorial_splits(rows["session"], n_groups=n_groups, n_test=n_test)

    times_tested = np.sum([group_of_rows(rows, split) >= 0 for split in splits], axis=0)

    assert len(splits) == comb(n_groups, n_test)
    assert set(times_tested) == {comb(n_groups - 1, n_test - 1)}
    put_together = paths(splits)
    assert len(put_together) == n_test * comb(n_groups, n_test) // n_groups
    used = [(group, name) for path in put_together for group, name in path.items()]
    assert all(sorted(path) == list(range(n_groups)) for path in put_together)
    assert len(used) == len(set(used)) == sum(len(split.groups) for split in splits)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 20), delay=st.integers(0, 5), embargo=st.integers(0, 40), n_test=st.integers(1, 4))
def test_no_outcome_that_teaches_overlaps_a_tested_one_on_either_side(seed, delay, embargo, n_test):
    rows = make_rows(seed)
    gap, rest = pd.Timedelta(days=delay), pd.Timedelta(days=embargo)

    for split in combinatorial_splits(rows["session"], n_groups=6, n_test=n_test):
        group = group_of_rows(rows, split)
        learnt = rows[learnt_rows(rows, split, delay=gap, embargo=rest)]
        for number in split.groups:
            tested = rows[group == number]
            before = learnt[learnt["ts"] < tested["ts"].min()]
            after = learnt[learnt["ts"] >= tested["ts"].min()]
            assert (before["label_end"] + gap < tested["ts"].min()).all()
            assert (after["ts"] > tested["label_end"].max() + rest).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 20))
def test_nothing_is_left_out_that_need_not_be(seed):
    """Without delay and embargo the rows that teach are exactly those whose life shares no moment with a tested one."""
    rows = make_rows(seed, n_sessions=60, n=300)
    nothing = pd.Timedelta(0)

    for split in combinatorial_splits(rows["session"], n_groups=5, n_test=2):
        group = group_of_rows(rows, split)
        expected = np.ones(len(rows), dtype=bool)
        for number in split.groups:
            tested = rows[group == number]
            first, last = tested["ts"].min(), tested["label_end"].max()
            for i, row in enumerate(rows.itertuples()):
                expected[i] &= row.label_end < first or row.ts > last
        assert np.array_equal(learnt_rows(rows, split, delay=nothing, embargo=nothing), expected)


def test_groups_are_equally_long_in_time_whatever_the_number_of_rows():
    sessions = pd.bdate_range("2020-01-01", periods=100)
    busy_end = pd.Series(np.repeat(sessions, np.where(np.arange(100) < 90, 1, 50)))

    splits = combinatorial_splits(busy_end, n_groups=4, n_test=1)

    spans = [next(iter(split.groups.values())) for split in splits]
    assert [len(pd.bdate_range(*span)) for span in spans] == [25] * 4


def test_a_split_survives_json():
    for split in combinatorial_splits(make_rows(1)["session"], n_groups=4, n_test=2):
        assert CpcvSplit.from_dict(split.to_dict()) == split


def test_a_path_scores_the_predictions_of_its_own_splits_only():
    rows = make_rows(3, n_sessions=240)
    splits = combinatorial_splits(rows["session"], n_groups=4, n_test=2)
    predictions, group_of = {}, np.full(len(rows), -1)
    for split in splits:
        group = group_of_rows(rows, split)
        group_of[group >= 0] = group[group >= 0]
        tested = rows[group >= 0].assign(group=group[group >= 0])
        # One split knows the outcomes of its two groups, the others know nothing.
        knows = 0.5 + 0.4 * (2 * tested["y"] - 1) if split.name == "cpcv-1-2" else 0.5
        predictions[split.name] = tested.assign(**{ARM: knows, OPPONENT: 0.5})

    scores = path_scores(predictions, splits, arm=ARM, opponent=OPPONENT)

    assert [score.n for score in scores] == [len(rows)] * 3
    share_known = np.isin(group_of, (0, 1)).mean()
    assert scores[0].gain.value == pytest.approx(share_known * np.log(0.9 / 0.5))
    assert scores[0].auc_within.value > 0.7
    assert [score.gain.value for score in scores[1:]] == [0.0, 0.0]
    assert [score.auc_within.value for score in scores[1:]] == [0.5, 0.5]


def test_the_spread_is_that_of_the_paths_that_could_be_scored():
    assert Spread.of([0.1, None, 0.3]) == Spread(0.1, 0.2, 0.3, pytest.approx(0.1 * np.sqrt(2)))
    with pytest.raises(InsufficientHistory, match="no path"):
        Spread.of([None])


@pytest.mark.parametrize(("n_groups", "n_test"), [(4, 0), (4, 4), (1, 1)])
def test_a_choice_that_leaves_nothing_to_test_or_to_learn_from_is_refused(n_groups, n_test):
    with pytest.raises(ConfigurationError, match=f"n_test={n_test} of n_groups={n_groups}"):
        combinatorial_splits(make_rows(1)["session"], n_groups=n_groups, n_test=n_test)


def test_fewer_sessions_than_groups_are_refused():
    sessions = pd.Series(pd.bdate_range("2020-01-01", periods=3))
    with pytest.raises(InsufficientHistory, match="3 sessions for 6 groups"):
        combinatorial_splits(sessions)


def test_a_split_that_is_missing_is_noticed():
    rows = make_rows(1)
    some = combinatorial_splits(rows["session"], n_groups=4, n_test=2)[:-1]
    with pytest.raises(DataContractError, match="all equally often"):
        paths(some)

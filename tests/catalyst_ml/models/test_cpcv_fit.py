"""One fit of CPCV and the floors beside it: what they may see and what comes back."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.base_rates import BaseRate, PatternBaseRate
from catalyst_ml.evaluation.cpcv import combinatorial_splits, group_of_rows, learnt_rows, path_scores
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE, P_RULES
from catalyst_ml.models.cpcv_fit import fit_cpcv_split
from catalyst_ml.models.floor_arms import FloorArms
from catalyst_ml.models.rule_arm import RuleCalibration


def test_only_rows_that_may_teach_change_the_forecast(make_training_set, procedure) -> None:
    rows = make_training_set(strength=0.8)
    split = combinatorial_splits(rows["session"], n_groups=4, n_test=2)[1]
    tested, learnt = group_of_rows(rows, split) >= 0, learnt_rows(rows, split)
    purged = ~tested & ~learnt
    assert purged.sum() > 50

    plain = fit_cpcv_split(rows, split, procedure, n_threads=1)
    flipped = {name: rows.assign(y=rows["y"].where(~mask, 1 - rows["y"])) for name, mask in
               {"purged": purged, "tested": tested, "learnt": learnt}.items()}  # fmt: skip
    again = {name: fit_cpcv_split(frame, split, procedure, n_threads=1) for name, frame in flipped.items()}

    assert len(plain) == tested.sum()
    for arm in (P_CHALLENGER, P_BASE_RATE, P_PATTERN_BASE_RATE, P_RULES):
        assert np.array_equal(again["purged"][arm], plain[arm])
        assert np.array_equal(again["tested"][arm], plain[arm])
        assert not np.array_equal(again["learnt"][arm], plain[arm])


def test_every_history_finds_the_skill_that_is_there(make_training_set, procedure) -> None:
    rows = make_training_set(strength=0.8, n_sessions=320)
    splits = combinatorial_splits(rows["session"], n_groups=4, n_test=2)

    predicted = {split.name: fit_cpcv_split(rows, split, procedure, n_threads=1) for split in splits}
    scores = path_scores(predicted, splits, arm=P_CHALLENGER, opponent=P_BASE_RATE)

    assert [score.n for score in scores] == [len(rows)] * 3
    assert all(score.gain.low > 0.0 for score in scores)
    assert all(score.auc_within.low > 0.55 for score in scores)


def test_where_purging_leaves_nothing_it_is_said(make_training_set, procedure) -> None:
    rows = make_training_set(n_sessions=20)
    split = combinatorial_splits(rows["session"], n_groups=5, n_test=4)[2]
    with pytest.raises(InsufficientHistory, match="none of 400 rows to learn from"):
        fit_cpcv_split(rows, split, procedure, n_threads=1)


def test_the_floors_are_those_of_the_weekly_fit_and_survive_json(make_training_set) -> None:
    rows = make_training_set()
    weight = np.linspace(0.5, 1.5, len(rows))
    base = BaseRate.fit(rows, weight)
    expected = {
        P_RULES: RuleCalibration.fit(rows, weight, base_rate=base.rate).predict(rows),
        P_BASE_RATE: base.predict(rows),
        P_PATTERN_BASE_RATE: PatternBaseRate.fit(rows, weight).predict(rows),
    }

    floors = FloorArms.fit(rows, weight)
    stored = FloorArms.from_dict(json.loads(json.dumps(floors.to_dict())))

    pd.testing.assert_frame_equal(pd.DataFrame(floors.predict(rows)), pd.DataFrame(expected))
    pd.testing.assert_frame_equal(pd.DataFrame(stored.predict(rows)), pd.DataFrame(expected))

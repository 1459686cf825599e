"""Importance finds what is planted, and calls noise noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.models.importance import permutation_importance
from catalyst_ml.models.procedure import Procedure, default_procedure
from catalyst_ml.models.record_fits import RecordFit, refit_record
from tests.catalyst_ml.models.conftest import INPUTS
from tests.catalyst_ml.models.walks import Walk, walk

GROUPS = {"planted": ["signal"], "noise": ["noise_a", "noise_b", "sometimes"], "empty": ["constant", "absent"]}


def refits(walked: Walk) -> tuple[RecordFit, ...]:
    return refit_record(walked.rows, walked.folds, walked.procedure, walked.combined.oof, n_threads=1)


@pytest.fixture(scope="module")
def cheap() -> Procedure:
    fast = default_procedure(INPUTS, feature_set_version="test-1", label_version="test-1", profile="fast")
    return replace(fast, members=("base_rate", "logistic"))


@pytest.fixture(scope="module")
def planted(cheap: Procedure) -> tuple[RecordFit, ...]:
    return refits(walk(cheap, strength=1.5))


def test_the_planted_input_leads_and_inputs_without_values_weigh_nothing(planted: tuple[RecordFit, ...]) -> None:
    report = permutation_importance(planted, GROUPS)

    by_name = {group.group: group for group in report.groups}
    assert report.groups[0].group == "planted"
    assert by_name["planted"].low > 0.0
    assert by_name["noise"].importance < by_name["planted"].importance / 4
    assert by_name["empty"].importance == pytest.approx(0.0, abs=1e-12)
    assert (report.n_sessions, report.n_rows, report.n_fits) == (80, 1600, 4)


def test_where_nothing_is_to_be_found_intervals_cover_zero_as_often_as_they_say(cheap: Procedure) -> None:
    groups = {name: [name] for name in ("signal", "noise_a", "noise_b", "sometimes")}
    # Little shrinkage, so that the fits lean on the noise they were given.
    eager = replace(cheap, logistic=replace(cheap.logistic, l2=1.0))

    found = [
        group
        for seed in range(15)
        for group in permutation_importance(refits(walk(eager, seed=100 + seed, n_sessions=140)), groups).groups
    ]

    assert all(abs(group.importance) > 0.0 for group in found)
    n_missed = sum(not group.low <= 0.0 <= group.high for group in found)
    # 60 intervals of 90 %: 6 expected; 14 or more have a chance below 1 in 1,000 (binomial).
    assert n_missed < 14


def test_threads_change_nothing(planted: tuple[RecordFit, ...]) -> None:
    assert permutation_importance(planted, GROUPS, at_most=3) == permutation_importance(planted, GROUPS)


def test_rows_the_fit_may_have_seen_and_unknown_inputs_are_refused(planted: tuple[RecordFit, ...]) -> None:
    seen = replace(planted[1], rows=planted[0].rows)
    with pytest.raises(DataContractError, match="decided after the fit"):
        permutation_importance([planted[0], seen], GROUPS)
    with pytest.raises(ConfigurationError, match="tea_leaves"):
        permutation_importance(planted, {"g": ["tea_leaves"]})
    with pytest.raises(ConfigurationError, match="no fit"):
        permutation_importance([], GROUPS)


def test_a_fit_with_one_row_has_importances_without_interval(planted: tuple[RecordFit, ...]) -> None:
    report = permutation_importance([replace(planted[0], rows=planted[0].rows.head(1))], GROUPS)

    assert {(group.importance, group.low) for group in report.groups} == {(0.0, None)}
    assert np.isfinite([group.importance for group in report.groups]).all()

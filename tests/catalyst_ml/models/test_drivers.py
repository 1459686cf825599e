"""What drives the forecast: planted things lead, sums hold, and nothing in the sample is explained."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.models.drivers import drivers_of_events, served_function, summarise_drivers
from catalyst_ml.models.member import BaseRateMember, logit
from catalyst_ml.models.members import FittedMembers
from catalyst_ml.models.onnx_graph import export
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import default_procedure
from catalyst_ml.models.record_fits import RecordFit, refit_record
from catalyst_ml.models.trees import TreeMember
from tests.catalyst_ml.models.conftest import INPUTS
from tests.catalyst_ml.models.walks import walk


@pytest.fixture(scope="module")
def fits() -> tuple[RecordFit, ...]:
    fast = default_procedure(INPUTS, feature_set_version="test-1", label_version="test-1", profile="fast")
    walked = walk(fast, strength=1.5)
    return refit_record(walked.rows, walked.folds, walked.procedure, walked.combined.oof, n_fits=2, n_threads=1)


def test_contributions_of_trees_sum_to_their_log_odds(fits: tuple[RecordFit, ...]) -> None:
    X = model_matrix(fits[0].rows, INPUTS)
    trees = {name: member for name, member in fits[0].members.members.items() if isinstance(member, TreeMember)}

    assert set(trees) == {"xgboost", "forest"}
    for member in trees.values():
        parts = member.contributions(X)
        assert parts.shape == (len(X), len(INPUTS) + 1)
        assert parts.sum(axis=1) == pytest.approx(logit(member.predict_proba1(X)), abs=1e-5)
        assert np.all(parts[:, INPUTS.index("absent")] == 0.0)


def test_the_planted_signal_drives_the_ensemble_and_each_tree_member(fits: tuple[RecordFit, ...]) -> None:
    summary = summarise_drivers(fits, n_pairs=8)

    first, *others = summary.groups
    assert first.group == "signal"
    assert first.low > max(other.mean_abs for other in others)
    assert first.when_low < -0.1 < 0.1 < first.when_high
    for name in ("xgboost", "forest"):
        assert first.by_member[name] > max(other.by_member[name] for other in others)
    assert (summary.n_rows, summary.n_sessions, summary.n_fits) == (200, 40, 2)
    assert summary.largest_gap < 1e-6
    json.dumps(summary.to_dict(), allow_nan=False)


def test_an_input_without_values_or_without_variation_drives_nothing(fits: tuple[RecordFit, ...]) -> None:
    by_name = {driver.group: driver for driver in summarise_drivers(fits, n_pairs=2).groups}

    for name in ("constant", "absent"):
        assert (by_name[name].mean_abs, by_name[name].when_low, by_name[name].when_high) == (0.0, None, None)


def test_rows_in_the_sample_are_not_explained(fits: tuple[RecordFit, ...]) -> None:
    with pytest.raises(DataContractError, match="decided after the fit"):
        summarise_drivers([replace(fits[1], rows=fits[0].rows)])
    with pytest.raises(DataContractError, match="no fit"):
        summarise_drivers([])


def test_events_alone_in_their_session_are_passed_over(fits: tuple[RecordFit, ...]) -> None:
    alone = fits[0].rows.drop_duplicates("session")
    summary = summarise_drivers([replace(fits[0], rows=alone)], n_pairs=2)
    one_more = summarise_drivers([replace(fits[0], rows=fits[0].rows.head(21))], n_pairs=2)

    assert (summary.groups, summary.n_rows) == ((), 0)
    assert (one_more.n_rows, one_more.n_sessions) == (5, 1)
    assert one_more.groups[0].low is None, "one session has no interval"


def test_a_fit_too_small_for_trees_takes_the_trees_out_of_the_summary(fits: tuple[RecordFit, ...]) -> None:
    constants = dict.fromkeys(fits[0].members.members, BaseRateMember(0.5))
    untrained = replace(
        fits[0],
        members=FittedMembers(constants, {}, "12 training rows"),
        fitted=replace(fits[0].fitted, members={name: constants[name] for name in fits[0].fitted.members}),
    )

    summary = summarise_drivers([untrained, fits[1]], n_pairs=2)

    assert all(driver.by_member == {} for driver in summary.groups)
    assert summary.groups[0].group == "signal"


def test_the_surest_new_events_are_explained_by_the_served_file(fits: tuple[RecordFit, ...]) -> None:
    fit = fits[0]
    sessions = fit.rows["session"].unique()
    events = fit.rows[fit.rows["session"].isin(sessions[:2]).to_numpy()].reset_index(drop=True)
    settled = fit.rows[~fit.rows["session"].isin(sessions[:2]).to_numpy()]
    predict = served_function(export(fit.fitted))

    told = drivers_of_events(predict, events, settled, INPUTS, n_events=3, n_drivers=2, seed=1)

    p = fit.fitted.predict(model_matrix(events, INPUTS)).p
    assert [event["p"] for event in told["events"]] == pytest.approx(
        p[np.argsort(-np.abs(p - 0.5), kind="stable")[:3]].tolist(), abs=1e-4
    )
    assert told["n_candidates"] == 40
    for event in told["events"]:
        shown = sum(driver["contribution"] for driver in event["drivers"]) + event["rest"]
        assert shown == pytest.approx(float(logit(np.array(event["p"])) - logit(np.array(event["day"]))), abs=1e-3)
        assert event["drivers"][0]["words"] == "Signal"
        assert len(event["drivers"]) == 2
    json.dumps(told, allow_nan=False)


def test_settled_events_are_refused_and_a_week_without_events_explains_none(fits: tuple[RecordFit, ...]) -> None:
    rows = fits[0].rows

    def predict(X: np.ndarray) -> np.ndarray:
        return fits[0].fitted.predict(X).p

    with pytest.raises(DataContractError, match="Explain pending events only"):
        drivers_of_events(predict, rows.head(40), rows.iloc[30:60], INPUTS, seed=1)
    assert drivers_of_events(predict, rows.head(0), rows, INPUTS, seed=1)["events"] == []
    assert drivers_of_events(predict, rows.head(1), rows.iloc[100:], INPUTS, seed=1)["events"] == []
    missing = rows.head(2).assign(**dict.fromkeys(INPUTS, np.nan))
    (first, _) = drivers_of_events(predict, missing, rows.iloc[100:], INPUTS, seed=1)["events"]
    assert first["drivers"] == []

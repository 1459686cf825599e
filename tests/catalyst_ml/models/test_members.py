from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.models.members import FittedMembers, fit_members
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import ForestSettings, Procedure

MakeTrainingSet = Callable[..., pd.DataFrame]


def fit(rows: pd.DataFrame, procedure: Procedure) -> FittedMembers:
    X = model_matrix(rows, procedure.inputs)
    return fit_members(X, rows["y"].to_numpy(), np.ones(len(rows)), procedure, n_threads=1)


def test_every_member_but_the_base_rate_finds_a_planted_signal(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    train = make_training_set(strength=1.0, seed=1)
    later = make_training_set(strength=1.0, seed=2)
    p = fit(train, procedure).predict(model_matrix(later, procedure.inputs))
    oracle = roc_auc_score(later["y"], later["signal"])
    aucs = dict(zip(procedure.members, [roc_auc_score(later["y"], column) for column in p.T], strict=True))
    assert aucs.pop("base_rate") == 0.5
    assert min(aucs.values()) > oracle - 0.04


def test_members_know_nothing_when_labels_are_permuted(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    train = make_training_set(strength=1.0, seed=1)
    train = train.assign(y=np.random.default_rng(5).permutation(train["y"].to_numpy()))
    later = make_training_set(strength=0.0, seed=2)
    p = fit(train, procedure).predict(model_matrix(later, procedure.inputs))
    standard_error = np.sqrt(1.0 / 12.0 / (len(later) / 4.0))
    for column in p.T:
        assert abs(roc_auc_score(later["y"], column) - 0.5) < 3.5 * standard_error


def test_the_same_seed_and_threads_give_the_same_numbers_and_another_seed_does_not(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=40, strength=0.5)
    X = model_matrix(rows, procedure.inputs)
    first, again = fit(rows, procedure).predict(X), fit(rows, procedure).predict(X)
    other = fit(rows, replace(procedure, seed=99)).predict(X)
    np.testing.assert_array_equal(first, again)
    seeded = [procedure.members.index(name) for name in ("xgboost", "forest", "net")]
    assert np.all(np.abs(first - other)[:, seeded].max(axis=0) > 1e-6)


def test_the_logistic_member_agrees_with_scikit_learn_on_the_scaled_matrix(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    rows = make_training_set(strength=0.7)
    fitted = fit(rows, procedure)
    X = model_matrix(rows, procedure.inputs)
    preprocessing = fitted.members["logistic"].preprocessing  # type: ignore[attr-defined]
    oracle = LogisticRegression(C=1.0 / procedure.logistic.l2, tol=1e-8, max_iter=1000)
    scaled = preprocessing.transform(X).astype("float64")
    expected = oracle.fit(scaled, rows["y"]).predict_proba(scaled)[:, 1]
    np.testing.assert_allclose(fitted.members["logistic"].predict_proba1(X), expected, atol=1e-4)


def test_too_few_rows_make_every_member_the_base_rate_and_say_so(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=5, strength=1.0)
    fitted = fit(rows, procedure)
    p = fitted.predict(model_matrix(rows, procedure.inputs))
    assert "100 training rows, 300 needed" in fitted.note
    assert np.ptp(p) == 0.0
    assert p[0, 0] == pytest.approx((rows["y"].sum() + 1.0) / (len(rows) + 2.0))


def test_one_outcome_only_makes_every_member_the_base_rate(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=30).assign(y=np.int8(1))
    fitted = fit(rows, procedure)
    assert "all 600 training rows have outcome 1" in fitted.note
    assert 0.99 < fitted.predict(model_matrix(rows, procedure.inputs)).max() < 1.0


def test_inputs_that_never_vary_make_every_member_the_base_rate(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=40)
    rows = rows.assign(**dict.fromkeys(procedure.inputs, np.nan))
    fitted = fit(rows, procedure)
    assert "no model input varies" in fitted.note
    assert np.ptp(fitted.predict(model_matrix(rows, procedure.inputs))) == 0.0


def test_a_forest_beyond_the_deployable_size_is_refused(
    make_training_set: MakeTrainingSet, procedure: Procedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalyst_ml.models.members.MAX_TREE_NODES", 500)
    large = replace(procedure, members=("base_rate", "forest"), forest=ForestSettings(n_trees=100))
    with pytest.raises(ConfigurationError, match="exceed 500 in all"):
        fit(make_training_set(n_sessions=40), large)

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.models import search
from catalyst_ml.models.procedure import BoostingSettings, LogisticSettings, Procedure
from catalyst_ml.models.search import SearchBudget, SearchOutcome, search_settings, searched_procedure
from catalyst_ml.models.search_space import SPACES, as_trial, searched_values, settings_from, settings_of

MakeTrainingSet = Callable[..., pd.DataFrame]
BUDGET = SearchBudget(4, n_blocks=3, block_weeks=5)
BEFORE = pd.Timestamp("2025-03-03", tz="UTC")
"""A Monday; the training sets below go on for weeks after it."""


@pytest.fixture
def logistic_only(procedure: Procedure) -> Procedure:
    return replace(procedure, members=("base_rate", "logistic"))


def run(rows: pd.DataFrame, procedure: Procedure, **changes: object) -> SearchOutcome:
    given = {"before": BEFORE, "budget": BUDGET, "n_threads": 1} | changes
    return search_settings(rows, procedure, **given)  # type: ignore[arg-type]


def test_a_penalty_that_hides_a_strong_signal_is_replaced_by_one_that_does_not(
    make_training_set: MakeTrainingSet, logistic_only: Procedure
) -> None:
    rows = make_training_set(n_sessions=340, strength=1.0)
    blind = replace(logistic_only, logistic=LogisticSettings(l2=1e7))

    outcome = run(rows, blind)

    (choice,) = outcome.choices
    assert choice.is_adopted
    assert choice.p_value is not None
    assert choice.p_value < 0.01
    assert outcome.procedure.logistic.l2 <= SPACES["logistic"].choices["l2"].high
    assert outcome.procedure.procedure_id != blind.procedure_id
    first, *others = outcome.attempts
    assert first.settings == {"l2": 1e7}
    assert first.gain == 0.0
    assert max(attempt.gain for attempt in others) > 0.05


def test_without_a_signal_the_standing_settings_stay(make_training_set: MakeTrainingSet, procedure: Procedure) -> None:
    adopted = []
    for seed in range(8):
        rows = make_training_set(n_sessions=340, per_session=10, seed=seed, strength=0.0)
        outcome = run(rows, replace(procedure, members=("base_rate", "logistic")))
        adopted += [choice.is_adopted for choice in outcome.choices]
        if not any(choice.is_adopted for choice in outcome.choices):
            assert outcome.procedure.procedure_id == replace(procedure, members=("base_rate", "logistic")).procedure_id
    # At 10 % each, four or more of eight happen once in two hundred times.
    assert sum(adopted) <= 3


def test_nothing_after_the_search_ends_is_looked_at(
    make_training_set: MakeTrainingSet, logistic_only: Procedure
) -> None:
    rows = make_training_set(n_sessions=340, strength=0.5)
    told = run(rows, logistic_only)

    changed = rows.copy()
    is_later = (changed["label_end"] >= BEFORE).to_numpy()
    assert is_later.any()
    changed.loc[is_later, "y"] = 1 - changed.loc[is_later, "y"]
    changed.loc[is_later, "signal"] = 99.0

    assert run(changed, logistic_only).to_dict() == told.to_dict()
    assert told.ended == BEFORE
    assert told.first_tested == BEFORE - pd.Timedelta(weeks=15)


def test_the_same_search_gives_the_same_outcome_and_another_seed_other_proposals(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=320, per_session=8, strength=0.5)
    few = SearchBudget(2, n_blocks=2, block_weeks=5)
    quick = replace(procedure, members=("base_rate", "logistic", "xgboost"))
    first, again = (run(rows, quick, budget=few) for _ in range(2))
    other = run(rows, replace(quick, seed=7), budget=few)

    assert json.dumps(first.to_dict()) == json.dumps(again.to_dict())
    assert [(a.member, a.number) for a in first.attempts] == [
        ("logistic", 0), ("logistic", 1), ("xgboost", 0), ("xgboost", 1),
    ]  # fmt: skip
    assert [a.settings for a in first.attempts if a.number] != [a.settings for a in other.attempts if a.number]
    assert searched_procedure(json.loads(json.dumps(first.to_dict()))) == first.procedure


def test_rounds_of_boosting_are_those_of_a_fit_that_stopped_there(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    from catalyst_ml.models.boosting import fit_boosting
    from catalyst_ml.models.members import training_side
    from catalyst_ml.models.preprocessing import model_matrix

    rows = make_training_set(n_sessions=60, strength=1.0)
    X = model_matrix(rows, procedure.inputs)
    side = training_side(X, rows["y"].to_numpy(), np.ones(len(rows)), procedure, n_threads=1)
    long, short = (fit_boosting(side, BoostingSettings(n_trees=n)) for n in (60, 25))

    np.testing.assert_allclose(long.predict_after(X, n_rounds=25), short.predict_proba1(X), atol=1e-7)
    assert not np.allclose(long.predict_proba1(X), short.predict_proba1(X), atol=1e-4)


def test_forest_and_net_are_searched_too(make_training_set: MakeTrainingSet, procedure: Procedure) -> None:
    rows = make_training_set(n_sessions=320, per_session=4, strength=0.5)
    outcome = run(rows, procedure, budget=SearchBudget(2, n_blocks=2, block_weeks=5))
    proposed = {attempt.member: attempt.settings for attempt in outcome.attempts if attempt.number == 1}
    assert list(proposed) == ["logistic", "xgboost", "forest", "net"]
    for member, settings in proposed.items():
        assert settings_from(member, settings) != settings_of(procedure, member)


def test_a_block_too_short_to_confirm_adopts_nothing(
    make_training_set: MakeTrainingSet, logistic_only: Procedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_training_set(n_sessions=340, strength=1.0)
    monkeypatch.setattr(search, "MIN_SESSIONS", 1_000)
    blind = replace(logistic_only, logistic=LogisticSettings(l2=1e7))

    (choice,) = run(rows, blind).choices

    assert not choice.is_adopted
    assert "1000 needed" in choice.reason


def test_a_search_without_history_says_what_is_missing(
    make_training_set: MakeTrainingSet, logistic_only: Procedure
) -> None:
    rows = make_training_set(n_sessions=160)
    with pytest.raises(InsufficientHistory, match="180 days of history before its first block"):
        run(rows, logistic_only, before=pd.Timestamp("2024-07-01", tz="UTC"))


@pytest.mark.parametrize("changes", [{"n_configurations": 0}, {"n_blocks": 1}, {"block_weeks": 2}, {"alpha": 1.0}])
def test_a_budget_that_cannot_be_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="search budget"):
        SearchBudget(**({"n_configurations": 3} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("member", list(SPACES))
def test_settings_survive_json_and_every_searched_name_is_a_setting(member: str, procedure: Procedure) -> None:
    settings = settings_of(procedure, member)
    assert settings_from(member, json.loads(json.dumps(asdict(settings)))) == settings
    values = searched_values(settings, member)
    assert set(values) <= set(asdict(settings))
    assert all(isinstance(value, int | float) for value in as_trial(values, member).values())


def test_settings_of_another_release_are_refused_by_name() -> None:
    with pytest.raises(DataContractError, match=r"settings of forest.*n_leaves"):
        settings_from("forest", {"n_leaves": 3})

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.record import validate_record
from catalyst_ml.models.meta_labelling import choose_rows, line_label_version, rule_fired
from catalyst_ml.models.procedure import Procedure, default_procedure
from catalyst_ml.models.walk_forward import combine_folds, fit_fold
from tests.catalyst_ml.models.conftest import INPUTS, make_fold, make_training_set


@pytest.mark.parametrize(("action", "direction", "fired"), [(1, 1, 1), (-1, -1, 1), (0, 1, 0), (-1, 1, 0), (1, -1, 0)])
def test_the_rules_fired_only_where_they_take_the_events_side(action: int, direction: int, fired: int) -> None:
    rows = make_training_set(n_sessions=2).assign(rule_action=action, direction=direction)
    assert rule_fired(rows).mean() == fired


def test_chosen_rows_are_those_of_the_rules_in_their_order() -> None:
    rows = make_training_set()
    chosen = choose_rows(rows, "rule_fired")
    assert 0 < len(chosen) < len(rows)
    assert chosen.index.tolist() == list(range(len(chosen)))
    assert chosen["ts"].is_monotonic_increasing
    np.testing.assert_array_equal(chosen["signal"], rows.loc[rows["rule_action"] == rows["direction"], "signal"])


def test_all_rows_are_handed_on_untouched() -> None:
    rows = make_training_set(n_sessions=5)
    assert choose_rows(rows, "all") is rows


@pytest.mark.parametrize("sizes", [{"n_sessions": 129}, {"n_sessions": 160, "per_session": 4}])
def test_too_few_of_them_are_no_evidence_and_the_numbers_are_given(sizes: dict[str, int]) -> None:
    rows = make_training_set(**sizes)
    n, n_sessions = int(rule_fired(rows).sum()), rows.loc[rule_fired(rows), "session"].nunique()
    with pytest.raises(InsufficientHistory, match="not enough evidence") as refusal:
        choose_rows(rows, "rule_fired")
    assert f"fired on {n:,} of {len(rows):,} events, in {n_sessions} of" in str(refusal.value)


def test_the_choice_is_another_procedure_and_another_line() -> None:
    def of(choice: str) -> Procedure:
        return default_procedure(INPUTS, feature_set_version="f", label_version="l", rows=choice)  # type: ignore[arg-type]

    assert of("all").procedure_id != of("rule_fired").procedure_id
    assert Procedure.from_dict(of("rule_fired").to_dict()).rows == "rule_fired"
    assert line_label_version("label-1.0", "all") == "label-1.0"
    assert line_label_version("label-1.0", "rule_fired") != "label-1.0"


def test_a_procedure_of_the_rules_events_is_trained_and_judged_on_nothing_else() -> None:
    everything = make_training_set(strength=1.0, seed=3)
    rows = choose_rows(everything, "rule_fired")
    procedure = default_procedure(INPUTS, feature_set_version="f", label_version="l", rows="rule_fired", profile="fast")
    folds = [
        fit_fold(rows, make_fold(everything, 80, 119, kind="burn_in"), procedure, n_threads=1),
        fit_fold(rows, make_fold(everything, 120, 159), procedure, n_threads=1),
    ]
    combined = combine_folds(folds, procedure)
    assert folds[0].n_train < 0.5 * (everything["session"] < everything["session"].unique()[80]).sum()
    assert (combined.record["rule_action"] == combined.record["direction"]).all()
    asked = everything[everything["session"] >= everything["session"].unique()[120]]
    assert len(combined.record) == rule_fired(asked).sum()


def test_a_week_in_which_the_rules_never_fired_is_an_empty_fold() -> None:
    everything = make_training_set(seed=3)
    third_week = everything["session"].isin(everything["session"].unique()[130:135])
    rows = choose_rows(everything[~third_week], "rule_fired")
    procedure = default_procedure(INPUTS, feature_set_version="f", label_version="l", rows="rule_fired", profile="fast")
    procedure = replace(procedure, members=("base_rate", "logistic"))
    spans = [(80, 119, "burn_in"), (120, 129, "record"), (130, 134, "record"), (135, 159, "record")]
    folds = [fit_fold(rows, make_fold(everything, a, z, kind=kind), procedure, n_threads=1) for a, z, kind in spans]
    combined = combine_folds(folds, procedure)
    assert [len(fold.rows) > 0 for fold in folds] == [True, True, False, True]
    assert len(combined.record) == sum(len(fold.rows) for fold in folds[1:])
    validate_record(combined.record.assign(p_champion=0.5))

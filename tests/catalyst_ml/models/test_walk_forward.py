from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.record import MEMBER_PREFIX, P_BASE_RATE, P_CHALLENGER, validate_record
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.walk_forward import CombinedFolds, FoldPredictions, combine_folds, fit_fold, share_threads

MakeTrainingSet = Callable[..., pd.DataFrame]
MakeFold = Callable[..., Fold]


@pytest.fixture
def cheap(procedure: Procedure) -> Procedure:
    """Two members only: what is tested here is which rows are seen."""
    return replace(procedure, members=("base_rate", "logistic"))


def walk(training_set: pd.DataFrame, procedure: Procedure, make_fold: MakeFold) -> list[FoldPredictions]:
    folds = [
        make_fold(training_set, 40, 79, kind="burn_in"),
        make_fold(training_set, 80, 119, kind="burn_in"),
        make_fold(training_set, 120, 139),
        make_fold(training_set, 140, 159),
    ]
    return [fit_fold(training_set, fold, procedure, n_threads=1) for fold in folds]


def test_a_fold_predicts_exactly_its_rows_with_every_arm(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=80, strength=1.0)
    fold = make_fold(rows, 60, 79)
    predicted = fit_fold(rows, fold, procedure, n_threads=1)
    expected = rows.loc[rows["session"].ge(rows["session"].unique()[60]), list(EVENT_KEY)].reset_index(drop=True)
    pd.testing.assert_frame_equal(predicted.rows[list(EVENT_KEY)], expected)
    probabilities = predicted.rows.filter(regex="^p_")
    assert set(probabilities) >= {MEMBER_PREFIX + name for name in procedure.members}
    assert probabilities.notna().all(axis=None)
    assert probabilities.gt(0.0).all(axis=None)
    assert probabilities.lt(1.0).all(axis=None)
    np.testing.assert_allclose(predicted.rows[MEMBER_PREFIX + "base_rate"], predicted.rows[P_BASE_RATE], atol=1e-12)


def test_a_fold_learns_nothing_from_outcomes_unknown_before_it(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, cheap: Procedure
) -> None:
    rows = make_training_set(n_sessions=80, strength=1.0)
    fold = make_fold(rows, 60, 79)
    unknown = rows["label_end"] >= fold.known_before
    altered = rows.assign(y=np.where(unknown, 1 - rows["y"], rows["y"]).astype("int8"))
    altered.loc[unknown, "net_return"] *= -1
    predicted = fit_fold(rows, fold, cheap, n_threads=1).rows.filter(regex="^p_")
    again = fit_fold(altered, fold, cheap, n_threads=1).rows.filter(regex="^p_")
    pd.testing.assert_frame_equal(predicted, again)


def test_a_fold_without_any_known_outcome_is_refused(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, cheap: Procedure
) -> None:
    rows = make_training_set(n_sessions=10)
    with pytest.raises(DataContractError, match="has a known outcome"):
        fit_fold(rows, make_fold(rows, 0, 4), cheap, n_threads=1)


def test_weights_and_calibration_never_see_their_own_or_later_folds(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, cheap: Procedure
) -> None:
    folds = walk(make_training_set(strength=1.0), cheap, make_fold)
    last = folds[-1].rows
    altered = [*folds[:-1], replace(folds[-1], rows=last.assign(y=(1 - last["y"]).astype("int8")))]
    late = folds[2].rows["label_end"] >= folds[3].fold.known_before
    assert late.any()
    rows = folds[2].rows.assign(y=folds[2].rows["y"].where(~late, 1 - folds[2].rows["y"]).astype("int8"))
    altered[2] = replace(folds[2], rows=rows)
    first, second = combine_folds(folds, cheap), combine_folds(altered, cheap)
    pd.testing.assert_series_equal(first.record[P_CHALLENGER], second.record[P_CHALLENGER])
    assert first.steps == second.steps


def test_weights_do_use_what_earlier_folds_taught(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, cheap: Procedure
) -> None:
    folds = walk(make_training_set(strength=1.5), cheap, make_fold)
    first = folds[0].rows
    altered = [replace(folds[0], rows=first.assign(y=(1 - first["y"]).astype("int8"))), *folds[1:]]
    assert combine_folds(folds, cheap).steps != combine_folds(altered, cheap).steps


def test_the_challenger_finds_a_planted_signal_and_the_record_holds_record_folds_only(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, procedure: Procedure
) -> None:
    combined: CombinedFolds = combine_folds(walk(make_training_set(strength=1.0), procedure, make_fold), procedure)
    record = combined.record
    assert record["fold"].unique().tolist() == ["record-120", "record-140"]
    assert len(combined.oof) == 120 * 20
    validate_record(record.assign(p_champion=record["p_rules"]))
    assert roc_auc_score(record["y"], record[P_CHALLENGER]) > 0.66  # knowing the signal itself gives 0.71


def test_before_anything_is_known_members_count_equally(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, cheap: Procedure
) -> None:
    rows = make_training_set(n_sessions=80, strength=1.0)
    only = fit_fold(rows, make_fold(rows, 60, 79), cheap, n_threads=1)
    combined = combine_folds([only], cheap)
    members = only.rows[[MEMBER_PREFIX + "base_rate", MEMBER_PREFIX + "logistic"]]
    np.testing.assert_allclose(combined.record[P_CHALLENGER], members.mean(axis=1))
    assert combined.steps[0].n_known == 0


def test_folds_out_of_order_are_refused(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, cheap: Procedure
) -> None:
    rows = make_training_set(n_sessions=80)
    later, earlier = (fit_fold(rows, make_fold(rows, k, k + 4), cheap, n_threads=1) for k in (70, 60))
    with pytest.raises(DataContractError, match="time order"):
        combine_folds([later, earlier], cheap)


def test_folds_fitted_side_by_side_predict_what_they_predict_alone(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, procedure: Procedure
) -> None:
    """The net's seed belongs to the whole process: without a lock two folds would draw from one stream."""
    rows = make_training_set(n_sessions=100, strength=1.0)
    folds = [make_fold(rows, first, first + 9) for first in (60, 70, 80, 90)]
    alone = [fit_fold(rows, fold, procedure, n_threads=1).rows for fold in folds]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda fold: fit_fold(rows, fold, procedure, n_threads=1).rows, folds))

    for expected, predicted in zip(alone, together, strict=True):
        pd.testing.assert_frame_equal(predicted, expected, rtol=0.0, atol=1e-12)


def test_small_folds_share_the_threads_and_large_ones_take_them_all() -> None:
    assert share_threads(16, n_rows=40_000) == (16, 1)
    assert share_threads(16, n_rows=1_000_000) == (1, 16)
    assert share_threads(1, n_rows=40_000) == (1, 1)

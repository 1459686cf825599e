from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.models.final_fit import fit_final
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.walk_forward import combine_folds, fit_fold

MakeTrainingSet = Callable[..., pd.DataFrame]


@pytest.fixture
def cheap(procedure: Procedure) -> Procedure:
    return replace(procedure, members=("base_rate", "logistic"))


def test_the_final_fit_ignores_outcomes_not_known_at_as_of(
    make_training_set: MakeTrainingSet, make_fold: Callable[..., Fold], cheap: Procedure
) -> None:
    rows = make_training_set(n_sessions=120, strength=1.0)
    oof = combine_folds([fit_fold(rows, make_fold(rows, 30, 119), cheap, n_threads=1)], cheap).oof
    as_of = rows["ts"].unique()[100]
    flip = rows["label_end"] > as_of
    altered = rows.assign(y=rows["y"].where(~flip, 1 - rows["y"]).astype("int8"))
    altered_oof = oof.assign(y=oof["y"].where(oof["label_end"] <= as_of, 1 - oof["y"]).astype("int8"))
    X = model_matrix(rows.tail(50), cheap.inputs)
    first = fit_final(rows, cheap, oof, as_of=as_of, n_threads=1)
    second = fit_final(altered, cheap, altered_oof, as_of=as_of, n_threads=1)
    np.testing.assert_array_equal(first.predict(X).p, second.predict(X).p)
    assert first.n_train == 99 * 20
    assert first.weights.reason.startswith("learned")


def test_rows_older_than_the_training_window_are_left_out(
    make_training_set: MakeTrainingSet, make_fold: Callable[..., Fold], cheap: Procedure
) -> None:
    rows = make_training_set(n_sessions=60)
    oof = fit_fold(rows, make_fold(rows, 30, 59), cheap, n_threads=1).rows
    as_of = rows["label_end"].max()
    short = replace(cheap, training_days=28)
    fitted = fit_final(rows, short, oof, as_of=as_of, n_threads=1)
    expected = rows["ts"].ge(as_of - pd.Timedelta(days=28)).sum()
    assert fitted.n_train == expected < len(rows)


def test_nothing_known_is_refused(make_training_set: MakeTrainingSet, cheap: Procedure) -> None:
    rows = make_training_set(n_sessions=10)
    with pytest.raises(InsufficientHistory, match="no outcome is known"):
        fit_final(rows, cheap, rows, as_of=rows["ts"].min(), n_threads=1)

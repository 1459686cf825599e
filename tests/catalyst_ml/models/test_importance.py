from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.evaluation.record import MEMBER_PREFIX
from catalyst_ml.models.final_fit import fit_final
from catalyst_ml.models.importance import importance_on_newest, permutation_importance
from catalyst_ml.models.procedure import Procedure

MakeTrainingSet = Callable[..., pd.DataFrame]
GROUPS = {"planted": ["signal"], "noise": ["noise_a", "noise_b", "sometimes"], "empty": ["constant", "absent"]}


def no_oof(rows: pd.DataFrame, procedure: Procedure) -> pd.DataFrame:
    return rows.head(0).assign(**{MEMBER_PREFIX + name: np.empty(0) for name in procedure.members})


def test_the_planted_input_leads_and_inputs_without_values_weigh_nothing(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=100, strength=1.5)
    report = importance_on_newest(rows, procedure, no_oof(rows, procedure), groups=GROUPS, n_threads=1)
    by_name = {group.group: group for group in report.groups}
    assert report.groups[0].group == "planted"
    assert by_name["planted"].low > 0.0
    assert by_name["noise"].importance < by_name["planted"].importance / 4
    assert by_name["empty"].importance == pytest.approx(0.0, abs=1e-12)
    assert (report.n_sessions, report.n_rows) == (20, 400)
    assert report.fitted_as_of < rows["ts"].unique()[80]


def test_rows_the_fit_may_have_seen_and_unknown_inputs_are_refused(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    cheap = replace(procedure, members=("base_rate", "logistic"))
    rows = make_training_set(n_sessions=40)
    fitted = fit_final(rows, cheap, no_oof(rows, cheap), as_of=rows["ts"].unique()[20], n_threads=1)
    with pytest.raises(DataContractError, match="decided after the fit"):
        permutation_importance(fitted, rows)
    later = rows.loc[rows["ts"] > fitted.as_of]
    with pytest.raises(ConfigurationError, match="tea_leaves"):
        permutation_importance(fitted, later, groups={"g": ["tea_leaves"]})


def test_too_few_sessions_are_refused(make_training_set: MakeTrainingSet, procedure: Procedure) -> None:
    rows = make_training_set(n_sessions=20)
    with pytest.raises(InsufficientHistory, match="got 20 in all"):
        importance_on_newest(rows, procedure, no_oof(rows, procedure), n_threads=1)

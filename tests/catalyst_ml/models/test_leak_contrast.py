from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.models.leak_contrast import leak_contrast
from catalyst_ml.models.procedure import Procedure

MakeTrainingSet = Callable[..., pd.DataFrame]


def make_days_with_luck(make_training_set: MakeTrainingSet) -> pd.DataFrame:
    """No row-level edge: each session has its own rate of success and its own value of one input."""
    rows = make_training_set(n_sessions=120, per_session=60, strength=0.0)
    rng = np.random.default_rng(3)
    day = rows.groupby("session").ngroup().to_numpy()
    rate = rng.choice([0.1, 0.9], size=120)[day]
    y = (rng.random(len(rows)) < rate).astype("int8")
    return rows.assign(y=y, noise_a=rng.normal(size=120)[day])


def test_leaks_shine_and_the_purged_evaluation_does_not(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    contrast = leak_contrast(make_days_with_luck(make_training_set), procedure, n_threads=1)
    inside, shuffled, purged = contrast.rows
    assert [r.evaluation for r in contrast.rows] == ["week inside training", "shuffled folds", "purged forward"]
    assert inside.accuracy > 0.8
    assert shuffled.auc is not None
    assert shuffled.auc > 0.65
    assert purged.auc is not None
    assert 0.4 < purged.auc < 0.6
    assert inside.log_loss < shuffled.log_loss < purged.log_loss
    assert (contrast.n_rows, contrast.n_sessions) == (2400, 40)


def test_too_little_history_before_the_judged_sessions_is_refused(
    make_training_set: MakeTrainingSet, procedure: Procedure
) -> None:
    with pytest.raises(InsufficientHistory, match="leak contrast: 0 outcomes"):
        leak_contrast(make_training_set(n_sessions=20), procedure, n_threads=1)

"""Outcomes dealt anew: nothing may be learned from them at any stage, unless the answers were in the training set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.evaluation.intervals import ScoreInterval, auc_interval, auc_within_interval
from catalyst_ml.evaluation.permutation import permute_outcomes
from catalyst_ml.evaluation.record import MEMBER_PREFIX, P_CHALLENGER, P_PATTERN_BASE_RATE, P_RULES
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.frames import PATTERNS, pattern_column
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.walk_forward import CombinedFolds, combine_folds, fit_fold, member_matrix

MakeTrainingSet = Callable[..., pd.DataFrame]
MakeFold = Callable[..., Fold]
LEVEL = 1.0 - 0.05 / 16
"""Eight stages, two ways of dealing: one false alarm in twenty over all of them; the seed is fixed besides."""
STAGES = ("logistic", "xgboost", "forest", "net", "ensemble", "calibrated", "pattern base rate", "rules")


def stage_probabilities(combined: CombinedFolds, procedure: Procedure) -> dict[str, np.ndarray]:
    record = combined.record
    weights = {step.fold: step.weights for step in combined.steps}
    raw = [
        weights[str(name)].combine(member_matrix(rows, procedure), procedure.members)
        for name, rows in record.groupby("fold", sort=False)
    ]
    members = {name: record[MEMBER_PREFIX + name].to_numpy() for name in STAGES[:4]}
    return members | {
        "ensemble": np.concatenate(raw),
        "calibrated": record[P_CHALLENGER].to_numpy(),
        "pattern base rate": record[P_PATTERN_BASE_RATE].to_numpy(),
        "rules": record[P_RULES].to_numpy(),
    }


def days_with_an_edge(make_training_set: MakeTrainingSet) -> pd.DataFrame:
    """Signal, pattern and rule score all matter, and so does the day: what permuting has to take away."""
    rows = make_training_set(n_sessions=160, per_session=30, strength=1.0, seed=2)
    rng = np.random.default_rng(4)
    day = rows.groupby("session").ngroup().to_numpy()
    score = rows["rule_score"].fillna(50.0).to_numpy() / 100.0
    # The rules act on the event's side, so that their score speaks about it.
    rows = rows.assign(rule_action=rows["direction"])
    of_pattern = sum((-1) ** k * rows[pattern_column(name)].astype("float64") for k, name in enumerate(PATTERNS))
    z = 1.5 * rows["signal"] + 4.0 * (score - 0.5) + 1.2 * of_pattern + rng.normal(size=160)[day]
    y = (rng.random(len(rows)) < 1.0 / (1.0 + np.exp(-z))).astype("int8")
    return rows.assign(y=y, net_return=np.where(y == 1, 0.01, -0.01))


def walk(rows: pd.DataFrame, procedure: Procedure, make_fold: MakeFold) -> CombinedFolds:
    folds = [make_fold(rows, first, first + 19, kind="burn_in") for first in (40, 60, 80)]
    folds += [make_fold(rows, first, first + 19) for first in (100, 120, 140)]
    return combine_folds([fit_fold(rows, fold, procedure, n_threads=1) for fold in folds], procedure)


def includes_a_coin(found: ScoreInterval) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= 0.5 <= found.high


@pytest.mark.parametrize("within", [("session", "direction"), ()])
def test_permuted_outcomes_leave_every_stage_at_chance(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, procedure: Procedure, within: tuple[str, ...]
) -> None:
    rows = days_with_an_edge(make_training_set)
    before, dealt = (walk(r, procedure, make_fold) for r in (rows, permute_outcomes(rows, within=within, seed=1)))
    record, known = dealt.record, before.record
    found, real = (stage_probabilities(combined, procedure) for combined in (dealt, before))
    assert set(found) == set(STAGES)
    for stage, p in found.items():
        y, session, direction = record["y"].to_numpy(), record["session"], record["direction"]
        auc = (
            auc_within_interval(y, p, session, direction, level=LEVEL)
            if within
            else auc_interval(y, p, session, level=LEVEL)
        )
        assert includes_a_coin(auc), (stage, auc)
        # On the outcomes as they fell the same stage does rank: what is at chance above was able to learn.
        able = auc_within_interval(
            known["y"].to_numpy(), real[stage], known["session"], known["direction"], level=LEVEL
        )
        assert able.low is not None
        assert able.low > 0.5, (stage, able)


def test_a_fold_that_trained_on_its_own_rows_ranks_permuted_outcomes_and_is_caught(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, procedure: Procedure
) -> None:
    rows = permute_outcomes(days_with_an_edge(make_training_set), seed=1)
    honest = make_fold(rows, 60, 159)
    leaky = replace(honest, known_before=rows["label_end"].max() + pd.Timedelta(days=1))
    within = {}
    for name, fold in (("honest", honest), ("leaky", leaky)):
        found = fit_fold(rows, fold, procedure, n_threads=1).rows
        within[name] = auc_within_interval(
            found["y"], found[MEMBER_PREFIX + "forest"], found["session"], found["direction"], level=LEVEL
        )
    assert includes_a_coin(within["honest"])
    assert within["leaky"].low is not None
    assert within["leaky"].low > 0.52

"""The leaderboard repeats the record's numbers, says who is left out, and measures what members cost."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.comparison import compare_log_loss
from catalyst_ml.evaluation.intervals import auc_within_interval
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.models.ensemble import EnsembleWeights
from catalyst_ml.models.leaderboard import MemberCost, build_leaderboard, measure_costs
from catalyst_ml.models.member import logit
from catalyst_ml.models.members import fit_members
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from tests.catalyst_ml.models.conftest import INPUTS, make_training_set


def record_with_members(seed: int = 1) -> pd.DataFrame:
    record = make_record(sessions=65, events_a_day=20, seed=seed, challenger_skill=0.5)
    skill = logit(record["p_challenger"].to_numpy())
    noise = np.random.default_rng(seed).standard_normal((2, len(record)))
    p = {"forest": skill + 0.1 * noise[0], "net": 0.3 * noise[1]}
    members = {f"p_member_{name}": 1.0 / (1.0 + np.exp(-z)) for name, z in p.items()}
    return record.assign(p_member_base_rate=record["p_base_rate"], **members)


WEIGHTS = EnsembleWeights({"base_rate": 0.4, "forest": 0.6}, {"net": "idle: weight 0.003"}, "learned")


def test_members_are_ranked_below_the_ensemble_with_the_numbers_of_the_record() -> None:
    record = record_with_members()
    cost = MemberCost(0.002, 1_000, 40_000)
    board = build_leaderboard(record, WEIGHTS, fit_seconds={"forest": 1.5}, costs={"forest": cost})

    assert [row.name for row in board.rows] == ["ensemble", "forest", "base_rate", "net"]
    forest = board.rows[1]
    assert forest.log_loss.value == pytest.approx(log_losses(record["y"], record["p_member_forest"]).mean())
    gain = compare_log_loss(record, "p_member_forest", "p_base_rate")
    assert (forest.log_loss_vs_base.value, forest.log_loss_vs_base.low) == (-gain.gain, -gain.high)
    within = auc_within_interval(record["y"], record["p_member_forest"], record["session"], record["direction"])
    assert forest.auc_within == within
    assert (forest.weight, forest.dropped, forest.fit_seconds, forest.cost) == (0.6, "", 1.5, cost)
    assert board.rows[2].log_loss_vs_base.value is None, "the base rate has nothing to be compared with"
    assert (board.rows[3].weight, board.rows[3].dropped) == (0.0, "idle: weight 0.003")
    assert board.rows[0].weight is None
    json.dumps(board.to_dict(), allow_nan=False)


def test_correlation_is_of_log_odds_between_members_that_vary() -> None:
    record = record_with_members()
    board = build_leaderboard(record, WEIGHTS, fit_seconds={}, costs={})

    assert board.varying == ("forest", "net")
    expected = np.corrcoef(logit(record["p_member_forest"].to_numpy()), logit(record["p_member_net"].to_numpy()))
    assert np.array(board.correlation) == pytest.approx(expected)


def test_one_session_has_scores_without_intervals_and_members_that_never_vary_no_correlation() -> None:
    record = record_with_members().head(20)
    flat = record.drop(columns=["p_member_forest", "p_member_net"])

    board = build_leaderboard(record, WEIGHTS, fit_seconds={}, costs={})
    assert board.rows[1].log_loss_vs_base.low is None
    assert board.rows[1].log_loss_vs_base.value is not None
    assert build_leaderboard(flat, WEIGHTS, fit_seconds={}, costs={}).correlation == ()
    single = build_leaderboard(record.drop(columns="p_member_net"), WEIGHTS, fit_seconds={}, costs={})
    assert single.correlation == ((1.0,),)


def test_costs_are_measured_per_member_and_sizes_follow_the_trees(procedure: Procedure) -> None:
    rows = make_training_set(n_sessions=60, strength=1.0)
    X = model_matrix(rows, INPUTS)
    fitted = fit_members(X, rows["y"].to_numpy(), np.ones(len(rows)), procedure, n_threads=1)

    costs = measure_costs(fitted, X[:3])

    assert set(costs) == set(procedure.members)
    assert all(cost.predict_seconds > 0.0 for cost in costs.values())
    assert costs["forest"].tree_nodes == fitted.members["forest"].n_tree_nodes > 0
    assert costs["base_rate"].tree_nodes == 0
    assert costs["forest"].onnx_bytes > 10 * costs["logistic"].onnx_bytes > 0

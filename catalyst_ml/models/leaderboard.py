"""What each member of the ensemble brings and what it costs, beside the ensemble and the base rate.

Scores are those of the record: out of fold, on the same rows. Times and sizes are facts of one machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.comparison import MIN_TEST_SESSIONS, compare_log_loss
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_interval, auc_within_interval, mean_interval
from catalyst_ml.evaluation.record import MEMBER_PREFIX, P_BASE_RATE, P_CHALLENGER, log_losses
from catalyst_ml.models.ensemble import EnsembleWeights
from catalyst_ml.models.graph_builder import GraphBuilder, GraphOutput
from catalyst_ml.models.member import FittedMember, logit
from catalyst_ml.models.members import FittedMembers

ENSEMBLE = "ensemble"
N_TIMED_ROWS = 1_000
N_ROUNDS = 5


@dataclass(frozen=True)
class MemberCost:
    """Of one fit: seconds per 1,000 predicted rows, tree nodes, and bytes of the member as an ONNX graph alone."""

    predict_seconds: float
    tree_nodes: int
    onnx_bytes: int


@dataclass(frozen=True)
class LeaderboardRow:
    """One member, or the ensemble (``weight`` None). ``dropped`` says why it is not deployed; empty if it is.

    The catalyst predictor is scored, and has its weight, on the rows where it speaks.
    """

    name: str
    log_loss: ScoreInterval
    log_loss_vs_base: ScoreInterval
    auc: ScoreInterval
    auc_within: ScoreInterval
    weight: float | None
    dropped: str = ""
    fit_seconds: float | None = None
    cost: MemberCost | None = None


@dataclass(frozen=True)
class Leaderboard:
    """The ensemble first, then members by log-loss; ``correlation`` of log-odds between ``varying`` members."""

    rows: tuple[LeaderboardRow, ...]
    varying: tuple[str, ...]
    correlation: tuple[tuple[float, ...], ...]
    n_rows: int
    n_sessions: int

    def to_dict(self) -> dict[str, Any]:
        """Return the leaderboard as JSON."""
        plain = asdict(self)
        return plain | {"rows": list(plain["rows"]), "correlation": [list(line) for line in self.correlation]}


def build_leaderboard(
    record: pd.DataFrame,
    weights: EnsembleWeights,
    *,
    fit_seconds: Mapping[str, float],
    costs: Mapping[str, MemberCost],
) -> Leaderboard:
    """Score every member on the record.

    Parameters
    ----------
    record
        Rows of `walk_forward.combine_folds`: outcome, session, direction, challenger, base rate and members.
    weights
        Of the version to deploy: who is kept, and why others are not.
    fit_seconds, costs
        By member; a member without is shown without.
    """
    members = [column for column in record.columns if column.startswith(MEMBER_PREFIX)]
    rows = [
        _row(
            record[record[column].notna()], column, name, weights.weights.get(name, weights.with_news.get(name, 0.0)),
            weights.dropped.get(name, ""), fit_seconds.get(name), costs.get(name),
        )
        for column in members
        if (name := column.removeprefix(MEMBER_PREFIX))
    ]  # fmt: skip
    rows.sort(key=lambda row: row.log_loss.value if row.log_loss.value is not None else np.inf)
    # Who abstains on some rows shares no row-by-row correlation with the others: those are of members that never do.
    steady = [column for column in members if record[column].notna().all()]
    scores = {column.removeprefix(MEMBER_PREFIX): logit(record[column].to_numpy()) for column in steady}
    # The base rate moves from fold to fold and with nothing else: a correlation with it says nothing.
    varying = [name for name in scores if name != "base_rate" and np.ptp(scores[name]) > 0.0]
    matrix = np.atleast_2d(np.corrcoef([scores[name] for name in varying])) if varying else np.empty((0, 0))
    return Leaderboard(
        rows=(_row(record, P_CHALLENGER, ENSEMBLE, None, "", None, None), *rows),
        varying=tuple(varying),
        correlation=tuple(tuple(float(v) for v in line) for line in matrix),
        n_rows=len(record),
        n_sessions=int(record["session"].nunique()),
    )


def measure_costs(fitted: FittedMembers, X: np.ndarray) -> dict[str, MemberCost]:
    """Time predictions on ``X`` (n_rows >= 1, n_inputs), repeated to 1,000 rows, and measure what a member weighs."""
    rows = X[np.arange(N_TIMED_ROWS) % len(X)]
    costs = {}
    for name, member in fitted.members.items():
        read = rows[:, : fitted.n_read_by(name)]
        costs[name] = MemberCost(
            _calmest_seconds(member, read), member.n_tree_nodes, _onnx_bytes(member, read.shape[1])
        )
    return costs


def _row(
    record: pd.DataFrame,
    column: str,
    name: str,
    weight: float | None,
    dropped: str,
    seconds: float | None,
    cost: MemberCost | None,
) -> LeaderboardRow:
    y, p, session = record["y"].to_numpy(), record[column].to_numpy(), record["session"]
    log_loss = mean_interval(log_losses(y, p), session)
    return LeaderboardRow(
        name=name,
        log_loss=log_loss,
        log_loss_vs_base=_against_base_rate(record, column),
        auc=auc_interval(y, p, session),
        auc_within=auc_within_interval(y, p, session, record["direction"]),
        weight=weight,
        dropped=dropped,
        fit_seconds=seconds,
        cost=cost,
    )


def _against_base_rate(record: pd.DataFrame, column: str) -> ScoreInterval:
    """The difference as the table of arms has it; without interval below the sessions that its test needs."""
    difference = log_losses(record["y"], record[column]) - log_losses(record["y"], record[P_BASE_RATE])
    if not np.any(difference):
        return ScoreInterval(None, None, None, 0.9)  # the base rate itself, or no row
    if record["session"].nunique() < MIN_TEST_SESSIONS:
        return ScoreInterval(float(difference.mean()), None, None, 0.9)
    gain = compare_log_loss(record, column, P_BASE_RATE)
    return ScoreInterval(-gain.gain, -gain.high, -gain.low, 0.9)


def _calmest_seconds(member: FittedMember, rows: np.ndarray) -> float:
    """Shortest of a few rounds: a busy neighbour is not the member."""
    taken = []
    for _ in range(N_ROUNDS):
        started = time.perf_counter()
        member.predict_proba1(rows)
        taken.append(time.perf_counter() - started)
    return min(taken)


def _onnx_bytes(member: FittedMember, n_inputs: int) -> int:
    graph = GraphBuilder()
    graph.name_output(member.add_to_graph(graph, "features"), "p")
    return len(graph.build(input_name="features", n_inputs=n_inputs, outputs=[GraphOutput("p", 1)], metadata={}))

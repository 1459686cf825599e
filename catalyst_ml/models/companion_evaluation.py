"""What out-of-fold companion predictions were worth, each beside its baseline, and the newest day's table.

Rows whose outcome is still open are not judged. Levels are 95 %, intervals are over days.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.evaluation.metrics import table_records
from catalyst_ml.evaluation.move_metrics import MoveScores, compare_moves, score_moves
from catalyst_ml.evaluation.rank_metrics import RankScores, score_ranking
from catalyst_ml.features.stock_days import target_column
from catalyst_ml.models.companions import COMPANION_PREDICTIONS

LAGS: dict[int, int] = {1: 5, 5: 10}
"""Newey-West lags by horizon in sessions: longer than outcomes overlap, with room for slow signals."""

YESTERDAY_INPUT = "placed_return_1"
"""Place of the day's own return: turned around it is the one-day reversal, baseline of the ranks."""


@dataclass(frozen=True)
class CompanionEvaluation:
    """Scores of both companions and of their baselines on the same rows.

    ``move_gain``: AUC within the day over that of ATR alone. ``reversal``, ``reversal_5``: one-day reversal judged like
    ``rank`` and ``rank_5``.
    """

    move: MoveScores
    move_atr: MoveScores
    move_gain: ScoreInterval
    rank: RankScores
    rank_5: RankScores
    reversal: RankScores
    reversal_5: RankScores
    first: pd.Timestamp
    last: pd.Timestamp

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON."""
        moves = {name: getattr(self, name).to_dict() for name in ("move", "move_atr")}
        ranks = {name: getattr(self, name).to_dict() for name in ("rank", "rank_5", "reversal", "reversal_5")}
        days = {"first": self.first.isoformat(), "last": self.last.isoformat()}
        return {**moves, **ranks, "move_gain": asdict(self.move_gain), **days}


def evaluate_companions(predictions: pd.DataFrame, stock_days: pd.DataFrame) -> CompanionEvaluation:
    """Judge predictions by what became of them.

    Parameters
    ----------
    predictions : DataFrame
        Schema ``COMPANION_PREDICTIONS``, out-of-fold.
    stock_days : DataFrame
        The rows that were predicted, with their targets.

    Raises
    ------
    DataContractError
        If a prediction has no stock-day.
    InsufficientHistory
        If fewer than 20 sessions have settled outcomes.
    """
    COMPANION_PREDICTIONS.validate(predictions)
    outcomes = stock_days[["symbol", "ts", target_column(1), target_column(5), YESTERDAY_INPUT]]
    rows = predictions.merge(outcomes, on=["symbol", "ts"], how="left", validate="one_to_one", indicator=True)
    if (rows["_merge"] != "both").any():
        raise DataContractError(
            f"companions: {int((rows['_merge'] != 'both').sum())} of {len(rows)} predictions belong to no stock-day. "
            "Hand in the rows that they were made of."
        )
    session = rows["ts"]

    def column(name: str) -> np.ndarray:
        return rows[name].to_numpy(dtype=np.float64)

    def ranking(score: np.ndarray, sessions: int) -> RankScores:
        return score_ranking(score, column(target_column(sessions)), session, lags=LAGS[sessions])

    moves = np.abs(column(target_column(5)))
    return CompanionEvaluation(
        move=score_moves(column("expected_move"), moves, session),
        move_atr=score_moves(column("expected_move_atr"), moves, session),
        move_gain=compare_moves(column("expected_move"), column("expected_move_atr"), moves, session),
        rank=ranking(column("rank"), 1),
        rank_5=ranking(column("rank_5"), 5),
        reversal=ranking(-column(YESTERDAY_INPUT), 1),
        reversal_5=ranking(-column(YESTERDAY_INPUT), 5),
        first=session.iloc[0],
        last=session.iloc[-1],
    )


def newest_stocks(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Return `newest_table` as JSON rows; a missing rank is None."""
    return table_records(newest_table(predictions))


def newest_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return ``symbol``, ``expected_move``, ``rank`` and ``rank_5`` of the newest close, best rank first."""
    newest = predictions[predictions["ts"] == predictions["ts"].max()]
    columns = ["symbol", "expected_move", "rank", "rank_5"]
    return newest[columns].sort_values(["rank", "symbol"], ascending=[False, True], ignore_index=True)

"""How good the catalyst predictor is where it speaks: on events with news, against the forecasts that know no news.

A gain is signed so that positive means the catalyst predictor is better, as everywhere in ``comparison``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from catalyst_ml.evaluation.comparison import MIN_TEST_SESSIONS, Comparison, compare_log_loss
from catalyst_ml.evaluation.metrics import Scores, score_predictions
from catalyst_ml.evaluation.record import MEMBER_PREFIX, P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE

P_CATALYST = MEMBER_PREFIX + "catalyst"
OPPONENTS: tuple[str, ...] = (P_BASE_RATE, P_PATTERN_BASE_RATE, P_CHALLENGER)


@dataclass(frozen=True)
class CatalystScores:
    """Scores and paired comparisons on the rows of a record on which the catalyst predictor speaks.

    ``scores`` is None if it never does, ``comparisons`` are empty below 20 sessions; ``note`` then says so.
    """

    n_rows: int
    sessions: int
    scores: Scores | None
    comparisons: tuple[Comparison, ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON."""
        return {
            "n_rows": self.n_rows,
            "sessions": self.sessions,
            "scores": None if self.scores is None else self.scores.to_dict(),
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "note": self.note,
        }


def score_catalyst(record: pd.DataFrame) -> CatalystScores | None:
    """Judge the catalyst predictor on its own rows; None if the procedure has no such member.

    Parameters
    ----------
    record
        Record rows with `P_CATALYST`, NaN where it abstains.

    Notes
    -----
    ``p_challenger`` is among the opponents: with a gain against it the ensemble leaves something on the table.
    """
    if P_CATALYST not in record.columns:
        return None
    spoken = record[record[P_CATALYST].notna()]
    sessions = int(spoken["session"].nunique())
    if spoken.empty:
        return CatalystScores(0, 0, None, (), "it abstained on every event of the record")
    scores = score_predictions(spoken["y"], spoken[P_CATALYST], spoken["session"], spoken["direction"])
    if sessions < MIN_TEST_SESSIONS:
        note = f"it spoke in {sessions} sessions, {MIN_TEST_SESSIONS} are needed for a comparison"
        return CatalystScores(len(spoken), sessions, scores, (), note)
    comparisons = tuple(compare_log_loss(spoken, P_CATALYST, opponent) for opponent in OPPONENTS)
    return CatalystScores(len(spoken), sessions, scores, comparisons)

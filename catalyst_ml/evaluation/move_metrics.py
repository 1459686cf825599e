"""How well the expected size of a move fits the moves that came: in order, and in level.

Order: AUC within the day of "larger than the day's median move" (``rank_metrics``). Level: realised over expected
moves, in all and per tenth of the forecasts; a forecast fit for stops and sizes has ratios near 1 everywhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.intervals import ScoreInterval, mean_interval
from catalyst_ml.evaluation.rank_metrics import above_median, auc_difference, auc_within_day

N_TENTHS = 10


@dataclass(frozen=True)
class MoveScores:
    """Quality of one forecast of the size of moves.

    ``auc``: within the day, of moves above the day's median. ``ratio``: sum of the realised over the sum of the
    expected moves with its day-block interval; 1 is right. ``tenths``: the same per tenth of the forecasts, smallest
    first. ``mean_absolute_error``: of the forecast, fraction of the price.
    """

    auc: ScoreInterval
    ratio: ScoreInterval
    tenths: tuple[float, ...]
    mean_absolute_error: float
    mean_move: float
    rows: int
    sessions: int

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON."""
        return asdict(self) | {"tenths": list(self.tenths)}


def score_moves(
    expected: np.ndarray, realised: np.ndarray, session: np.ndarray | pd.Series, *, level: float = 0.95
) -> MoveScores:
    """Judge forecasts ``expected`` (n_rows,) by the sizes of moves ``realised`` (n_rows,), both fractions, 0 or more.

    Rows with an unknown value are left aside.

    Raises
    ------
    DataContractError
        If no row has both, or a forecast or a move is negative.
    """
    keep = np.isfinite(expected) & np.isfinite(realised)
    e, r = np.asarray(expected, dtype="float64")[keep], np.asarray(realised, dtype="float64")[keep]
    if len(e) == 0 or min(e.min(), r.min()) < 0.0:
        raise DataContractError(
            f"sizes of moves: {len(e)} of {len(keep)} rows have a forecast and a move; expected some, none of them "
            "negative. Hand in absolute returns."
        )
    days = pd.factorize(session, sort=True)[0][keep]
    curve = calibration_of_moves(e, r)
    return MoveScores(
        auc=auc_within_day(above_median(r, days), e, days, level=level),
        # A ratio of sums is the mean of row ratios weighted by the forecast.
        ratio=mean_interval(r / np.maximum(e, 1e-12), days, weight=e, level=level),
        tenths=tuple(curve["ratio"].tolist()),
        mean_absolute_error=float(np.abs(e - r).mean()),
        mean_move=float(r.mean()),
        rows=len(e),
        sessions=len(np.unique(days)),
    )


def calibration_of_moves(expected: np.ndarray, realised: np.ndarray, *, n_bins: int = N_TENTHS) -> pd.DataFrame:
    """Compare forecasts with moves in bins of equal numbers of rows, smallest forecasts first.

    Returns
    -------
    DataFrame
        ``bin``, ``n``, ``expected`` and ``realised`` (means, fractions of the price), ``ratio`` (realised / expected).
    """
    position = pd.Series(expected).rank(method="first", pct=True).to_numpy()
    frame = pd.DataFrame(
        {"bin": np.ceil(position * n_bins).astype("int64") - 1, "expected": expected, "realised": realised}
    )
    bins = frame.groupby("bin", sort=True)
    table = bins[["expected", "realised"]].mean().assign(n=bins.size()).reset_index()
    table["ratio"] = table["realised"] / table["expected"].where(table["expected"] > 0.0)
    return table[["bin", "n", "expected", "realised", "ratio"]]


def compare_moves(
    expected: np.ndarray,
    rival: np.ndarray,
    realised: np.ndarray,
    session: np.ndarray | pd.Series,
    *,
    level: float = 0.95,
) -> ScoreInterval:
    """AUC within the day of ``expected`` minus that of ``rival`` on the same rows; above zero: it is better."""
    known = np.where(np.isfinite(expected) & np.isfinite(rival), realised, np.nan)
    return auc_difference(above_median(known, session), expected, rival, session, level=level)

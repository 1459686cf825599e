"""What the companion models say of an event's bar, as columns beside the event: for members, signal and report.

Not in the models' inputs (`events.MODEL_INPUTS`): docs/decisions/0022 says what was measured with them in.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY

COMPANION_COLUMNS: tuple[str, ...] = ("expected_move", "rank", "rank_5")
"""As predicted, per bar."""

ALIGNED_COLUMNS: tuple[str, ...] = ("expected_move", "aligned_rank", "aligned_rank_5")
"""Seen along the event's direction: above zero speaks for the event, -1/2 to 1/2."""


def companions_at_events(events: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Join out-of-fold companion predictions to events by symbol and close of the bar.

    Parameters
    ----------
    events : DataFrame
        Has the event key; any order.
    predictions : DataFrame
        Schema ``models.companions.COMPANION_PREDICTIONS``: made at the event's close, of the fold that holds it.

    Returns
    -------
    DataFrame
        The event key, `COMPANION_COLUMNS`, ``aligned_rank`` and ``aligned_rank_5`` (direction x (rank - 1/2)), float64;
        one row per event in the order of ``events``, index 0..n-1. An event without a prediction has NaN.

    Raises
    ------
    DataContractError
        If a column is missing, or a bar stands in the predictions twice.
    """
    missing = [name for name in ("symbol", "ts", *COMPANION_COLUMNS) if name not in predictions.columns]
    if missing:
        raise DataContractError(
            f"companion columns: the predictions lack {missing}; expected those of models.companions.walk_companions."
        )
    if predictions.duplicated(["symbol", "ts"]).any():
        n_twice = int(predictions.duplicated(["symbol", "ts"]).sum())
        raise DataContractError(
            f"companion columns: {n_twice} bars stand in the predictions twice; expected one fold per bar. Join folds "
            "whose test windows do not overlap."
        )
    keys = events[list(EVENT_KEY)].reset_index(drop=True)
    joined = keys.merge(
        predictions[["symbol", "ts", *COMPANION_COLUMNS]], on=["symbol", "ts"], how="left", validate="many_to_one"
    )
    direction = keys["direction"].to_numpy(dtype=np.float64)
    return joined.assign(
        aligned_rank=direction * (joined["rank"].to_numpy() - 0.5),
        aligned_rank_5=direction * (joined["rank_5"].to_numpy() - 0.5),
    )

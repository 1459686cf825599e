"""One fit of combinatorial purged cross-validation: members and floors on one side, forecasts of the test groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.cpcv import CpcvSplit, group_of_rows, learnt_rows
from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.evaluation.weights import uniqueness_weights
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.models.floor_arms import FloorArms
from catalyst_ml.models.members import fit_members
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.session_effects import session_groups

CARRIED_COLUMNS: tuple[str, ...] = (*EVENT_KEY, "session", "y", "net_return")


def fit_cpcv_split(
    training_set: pd.DataFrame, split: CpcvSplit, procedure: Procedure, *, n_threads: int
) -> pd.DataFrame:
    """Fit on the rows that the split may learn from and forecast its test groups.

    Parameters
    ----------
    training_set
        The training set frame with labels, sorted by (ts, symbol, direction).

    Returns
    -------
    DataFrame
        The tested rows with `CARRIED_COLUMNS`, ``group``, ``p_challenger`` and the floors' columns.

    Raises
    ------
    InsufficientHistory
        If purging and embargo leave nothing to learn from.

    Notes
    -----
    Two things differ from a weekly fit. Rows weigh by uniqueness alone: with training on both sides of a test group no
    side is the recent one. Members are averaged with equal weights and not calibrated: learning either would need
    another cross-validation inside each split.
    """
    known = training_set[learnt_rows(training_set, split)]
    group = group_of_rows(training_set, split)
    asked = training_set[group >= 0]
    if known.empty:
        raise InsufficientHistory(
            f"CPCV {split.name}: purging and embargo leave none of {len(training_set)} rows to learn from. "
            "Use fewer groups, or a longer history."
        )
    weight = uniqueness_weights(known["ts"], known["label_end"], known["symbol"])
    weight = weight / weight.mean()
    fitted = fit_members(
        model_matrix(known, procedure.inputs),
        known["y"].to_numpy(),
        weight,
        procedure,
        groups=session_groups(known),
        session=known["session"].to_numpy(),
        n_threads=n_threads,
    )
    p_members = fitted.predict(model_matrix(asked, procedure.inputs))
    rows = asked.loc[:, list(CARRIED_COLUMNS)].reset_index(drop=True)
    return rows.assign(
        group=group[group >= 0].astype(np.int64),
        **{P_CHALLENGER: p_members.mean(axis=1)},
        **FloorArms.fit(known, weight).predict(asked),
    )

"""Outcomes dealt anew by chance: what an honest procedure can learn from them is nothing.

Whatever still ranks permuted outcomes above chance has seen the answers: test rows in training, weights or a
calibration taught by the rows they are judged on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

OUTCOME_COLUMNS: tuple[str, ...] = ("y", "net_return", "gross_return")
"""What moves together: a row gets another row's outcome with its money. When it was known stays as it was."""


def permute_outcomes(
    rows: pd.DataFrame, *, within: Sequence[str] = ("session", "direction"), seed: int = 0
) -> pd.DataFrame:
    """Return ``rows`` with the outcomes of each group dealt anew among its rows.

    Parameters
    ----------
    rows
        Labelled rows with ``y`` and the columns named in ``within``; of `OUTCOME_COLUMNS` those that are there move.
    within
        Rows that agree in these columns swap outcomes. Within session and direction the luck of days stays where it
        was, so that only AUC within day and direction must fall to 0.5. Empty: all rows swap, and every AUC must.

    Returns
    -------
    DataFrame
        A new frame, same order and index; each group keeps its number of successes.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    group = rows.groupby(list(within), sort=False).ngroup().to_numpy() if within else np.zeros(len(rows), dtype="int64")
    # The k-th row of a group gets the outcome of its k-th row in a random order of all rows.
    receivers = np.argsort(group, kind="stable")
    givers = order[np.argsort(group[order], kind="stable")]
    source = np.empty(len(rows), dtype="int64")
    source[receivers] = givers
    moved = {name: rows[name].to_numpy()[source] for name in OUTCOME_COLUMNS if name in rows.columns}
    return rows.assign(**moved)

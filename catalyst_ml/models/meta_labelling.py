"""Meta-labelling: learn whether to follow the rules, from the events on which they fired.

The rules have chosen the side; the model says how likely their trade is to earn money. Such a procedure trains and is
judged on events whose side the rules would take, and says nothing of any other. Its versions are therefore a line of
their own: a champion of all events and one of the rules' events never meet.

References
----------
López de Prado (2018), Advances in Financial Machine Learning, section 3.6.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.models.procedure import RowChoice

MIN_ROWS = 600
"""Twice what a fold needs to train: below, the first folds would know nothing but the base rate."""
MIN_SESSIONS = 130
"""The 65 sessions that the gate needs, and as many before them to learn from."""


def rule_fired(rows: pd.DataFrame) -> np.ndarray:
    """Mask (n_rows,) of events whose side the rules would trade; HOLD and the other side are not."""
    action = rows["rule_action"].to_numpy()
    return np.asarray((action != 0) & (action == rows["direction"].to_numpy()))


def choose_rows(rows: pd.DataFrame, choice: RowChoice) -> pd.DataFrame:
    """Return the rows that a procedure trains on and is judged on, order kept, index 0..n-1.

    Parameters
    ----------
    rows
        The training set frame: session, direction, rule_action.

    Raises
    ------
    InsufficientHistory
        If the rules fired on too few events, or in too few sessions, to learn anything from.
    """
    if choice == "all":
        return rows
    chosen = rows[rule_fired(rows)].reset_index(drop=True)
    n_sessions = chosen["session"].nunique()
    if len(chosen) < MIN_ROWS or n_sessions < MIN_SESSIONS:
        raise InsufficientHistory(
            f"meta-labelling: the rules fired on {len(chosen):,} of {len(rows):,} events, in {n_sessions} of "
            f"{rows['session'].nunique()} sessions; {MIN_ROWS} events in {MIN_SESSIONS} sessions are needed. That is "
            "not enough evidence: train on all events, choose another rule arm, or import more history."
        )
    return chosen


def line_label_version(label_version: str, choice: RowChoice) -> str:
    """Label version of the line: an outcome of the rules' trades is not one of all events.

    >>> line_label_version("symmetric-1.0atr-5s-5bp.b4d9e8", "rule_fired")
    'symmetric-1.0atr-5s-5bp.b4d9e8+rule_fired'
    """
    return label_version if choice == "all" else f"{label_version}+{choice}"

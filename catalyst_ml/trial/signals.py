"""What the trial is told from: the border at which signals and marks are checked before anything is made of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.live_record import P_SHADOW
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.trial.books import P_ML, P_RULES, Books
from catalyst_ml.trial.marks import MARKS

SIGNAL_COLUMNS = (*EVENT_KEY, "session", "fold", "version_id", P_ML, P_RULES, "y", "label_end")
MIN_MARKED_SHARE = 0.5
"""A few trades are never entered (no later bar within the horizon). Half of all would be another data set."""


def signals_of_live_record(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn a back-test's live record (``evaluation.live_record``) into signals: each week's fit is the ML arm.

    Parameters
    ----------
    rows
        ``LiveRecord.rows``.

    Returns
    -------
    DataFrame
        `SIGNAL_COLUMNS`, in time order; the version is named by the week of its fit.
    """
    signals = rows.assign(version_id=rows["fold"].where(rows[P_SHADOW].notna()), p_ml=rows[P_SHADOW])
    return signals[list(SIGNAL_COLUMNS)].sort_values(["ts", "symbol", "direction"], ignore_index=True)


def known_at(signals: pd.DataFrame, marks: pd.DataFrame, as_of: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the signals, marks and outcomes known at ``as_of``; ``y`` becomes float, missing while it is not known.

    Raises
    ------
    DataContractError
        If a column is missing, signals are not in time order or come twice, a probability is none, or a mark is missing
        or comes twice.
    """
    missing = [column for column in SIGNAL_COLUMNS if column not in signals.columns]
    if missing:
        raise DataContractError(f"trial: signals lack {missing}; expected {list(SIGNAL_COLUMNS)}.")
    signals = signals[(signals["ts"] <= as_of).to_numpy()].reset_index(drop=True)
    if not signals["ts"].is_monotonic_increasing:
        raise DataContractError("trial: signals are not in time order. Sort them by ts, symbol and direction.")
    repeats = signals.duplicated(list(EVENT_KEY))
    if repeats.any():
        first = signals.loc[int(repeats.to_numpy().argmax()), list(EVENT_KEY)].to_dict()
        raise DataContractError(
            f"trial: {int(repeats.sum())} signals come twice, first {first}; expected one an event."
        )
    changes = int((signals["fold"] != signals["fold"].shift()).sum())
    if changes != signals["fold"].nunique():
        raise DataContractError(
            f"trial: {signals['fold'].nunique()} folds, but the fold changes {changes} times along time; expected the "
            "signals of a week together."
        )
    for column in (P_ML, P_RULES):
        wrong = signals[column].notna() & ~signals[column].between(0.0, 1.0)
        if wrong.any():
            raise DataContractError(f"trial: {int(wrong.sum())} values of {column} are no probabilities in [0, 1].")
    is_settled = (signals["label_end"] <= as_of).to_numpy()
    y = signals["y"].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    signals = signals.assign(y=np.where(is_settled, y, np.nan))
    marks = marks[(marks["mark_ts"] <= as_of).to_numpy()]
    if marks["net"].isna().any() or marks.duplicated(list(MARKS.key)).any():
        raise DataContractError("trial: marks are missing or come twice; expected those of marks.mark_trades.")
    return signals, marks


def refuse_unmarked(books: Books) -> None:
    """Refuse marks that are not those of these signals: books without marks would look like arms without difference.

    Raises
    ------
    DataContractError
        If fewer than `MIN_MARKED_SHARE` of the positions decided before the newest session have a mark.
    """
    positions = books.positions
    staked = (positions["size_ml"] + positions["size_rules"]).to_numpy() > 0.0
    due = staked & (positions["session"] < books.daily["session"].iloc[-1]).to_numpy()
    marked = np.zeros(len(positions), dtype=bool)
    marked[books.mark_position] = True
    if due.any() and marked[due].mean() < MIN_MARKED_SHARE:
        raise DataContractError(
            f"trial: {int(marked[due].sum())} of {int(due.sum())} positions have marks; expected nearly all. Pass the "
            "marks of the same dataset, timeframe and label version, up to the same as_of."
        )

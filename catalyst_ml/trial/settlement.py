"""Which outcomes are due to be written beside their signals, and which of them correct one that was written before.

The pure part: frames in, frames out. ``market.labels`` decides what an outcome is, ``trial.ledger`` writes it down.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY, LABELS, TIME_DTYPE
from catalyst_ml.store.detections import SAME_RETURN
from catalyst_ml.trial.ledger_frames import LEDGER, OUTCOMES, REVISIONS

FIRST, CORRECTION = "first", "correction"
_RETURNS = ("net_return", "gross_return")


def due_revisions(ledger: pd.DataFrame, labels: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Return the revisions to write: first outcomes, and outcomes that differ from the newest one written.

    Parameters
    ----------
    ledger : LEDGER
        Signals with their newest outcome.
    labels : LABELS
        Outcomes as known at ``as_of``, of any events; those without a signal are left out.
    as_of : Timestamp, UTC

    Returns
    -------
    DataFrame
        ``REVISIONS``, sorted by its key. Empty if there is nothing new.

    Raises
    ------
    DataContractError
        If an outcome ends after ``as_of``.

    Notes
    -----
    A signal that was settled by a later ``as_of`` already is left alone: an older view corrects nothing. One whose
    label is open again after a correction keeps what was written until it is settled anew. Returns closer than
    ``SAME_RETURN`` are the same.
    """
    LEDGER.validate(ledger)
    LABELS.validate(labels)
    _refuse_future(labels, as_of)
    key = list(EVENT_KEY)
    both = ledger.merge(labels[[*key, *OUTCOMES]], on=key, how="inner", suffixes=("_held", ""), validate="one_to_one")
    is_first = both["revision"].isna().to_numpy()
    differs = {name: _differs(both, name) & ~is_first for name in OUTCOMES}
    is_newer = ~is_first & (both["bars_known_until"] < as_of).to_numpy()
    is_corrected = np.logical_or.reduce(list(differs.values())) & is_newer
    due = both[is_first | is_corrected]
    revisions = pd.DataFrame(
        {
            "signal_id": due["signal_id"],
            "revision": (due["revision"].fillna(0.0) + 1.0).astype("int64"),
            **{name: due[name] for name in OUTCOMES},
            "bars_known_until": pd.Series(as_of, index=due.index).astype(TIME_DTYPE),
            "reason": pd.Series(np.where(is_first[due.index], FIRST, CORRECTION), index=due.index, dtype="str"),
            "changed": pd.Series([_changes(both.loc[i], differs, i) for i in due.index], index=due.index, dtype="str"),
        }
    )
    validated: pd.DataFrame = REVISIONS.validate(revisions.sort_values(list(REVISIONS.key), ignore_index=True))
    return validated


def _differs(both: pd.DataFrame, name: str) -> np.ndarray:
    held, found = both[f"{name}_held"], both[name]
    if name in _RETURNS:
        return (held.sub(found).abs() > SAME_RETURN).to_numpy()
    return (held != found).to_numpy()


def _changes(row: pd.Series, differs: dict[str, np.ndarray], place: int) -> str | None:
    """JSON of what a correction changes, None for a first outcome."""
    if pd.isna(row["revision"]):
        return None
    return json.dumps(
        {name: [_plain(row[f"{name}_held"]), _plain(row[name])] for name in OUTCOMES if differs[name][place]}
    )


def _plain(value: object) -> object:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]


def _refuse_future(labels: pd.DataFrame, as_of: pd.Timestamp) -> None:
    is_future = (labels["label_end"] > as_of).to_numpy()
    if is_future.any():
        first = labels.iloc[int(is_future.argmax())]
        raise DataContractError(
            f"settlement: {int(is_future.sum())} of {len(labels)} outcomes end after as_of {as_of.isoformat()}, first "
            f"{first['symbol']} at {first['ts']} ending {first['label_end']}; expected settled ones. Settle later."
        )

"""The champion on the challenger's rows: what production said, or would have said, before each outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.models.onnx_graph import INPUT, OUTPUT_P
from catalyst_ml.models.parity import single_thread_session
from catalyst_ml.models.preprocessing import model_matrix


def score_served(onnx_bytes: bytes, rows: pd.DataFrame, inputs: tuple[str, ...]) -> np.ndarray:
    """Probability (n_rows,) of a served graph for rows with its inputs; float64."""
    if rows.empty:
        return np.empty(0)
    session = single_thread_session(onnx_bytes)
    (p,) = session.run([OUTPUT_P], {INPUT: model_matrix(rows, inputs)})
    return np.asarray(p, dtype="float64").reshape(-1)


def champion_probabilities(
    rows: pd.DataFrame,
    *,
    champion_record: pd.DataFrame,
    onnx_bytes: bytes,
    inputs: tuple[str, ...],
    champion_as_of: pd.Timestamp,
) -> np.ndarray:
    """Probability (n_rows,) the champion gives each row without having seen its outcome; NaN where it cannot.

    Parameters
    ----------
    rows
        Rows with EVENT_KEY and the champion's ``inputs``.
    champion_record
        The champion's own shadow record, stored with its version: out-of-sample by construction.
    champion_as_of
        Rows decided after it were unknown to the served fit, so the served file may score them.
    """
    known = champion_record[[*EVENT_KEY, P_CHALLENGER]]
    p = rows[list(EVENT_KEY)].merge(known, on=list(EVENT_KEY), how="left")[P_CHALLENGER].to_numpy(copy=True)
    is_fresh = (rows["ts"] > champion_as_of).to_numpy()
    p[is_fresh] = score_served(onnx_bytes, rows.loc[is_fresh], inputs)
    return p

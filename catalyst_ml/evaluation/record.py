"""The shadow record: what every arm said about each event before its outcome was known.

The record is the only evidence the gate looks at. It is built by pooling the folds of a walk-forward; this
module states its contract and does the two things all readers of it need.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import TIME_DTYPE, Column, FrameSchema

P_CHALLENGER = "p_challenger"
P_CHAMPION = "p_champion"
P_RULES = "p_rules"
P_BASE_RATE = "p_base_rate"
P_PATTERN_BASE_RATE = "p_pattern_base_rate"
ARM_COLUMNS: tuple[str, ...] = (P_CHALLENGER, P_CHAMPION, P_RULES, P_BASE_RATE, P_PATTERN_BASE_RATE)
MEMBER_PREFIX = "p_member_"
SESSION_DTYPE = "datetime64[us]"
P_FLOOR = 1e-6
"""Probabilities are cut to [1e-6, 1 - 1e-6] in log-loss: one certain mistake must not outweigh a year."""

RECORD = FrameSchema(
    "record",
    1,
    (
        Column("symbol", "str"),
        Column("ts", TIME_DTYPE, "UTC, decision time: close of the event's bar"),
        Column("direction", "int8", "+1 bullish, -1 bearish"),
        Column("session", SESSION_DTYPE, "exchange date of ts, naive midnight"),
        Column("fold", "str", "name of the fold that predicted the row"),
        Column("y", "int8", "1 if the trade earned money after costs, else 0"),
        Column("net_return", "float64", "fraction of the entry price, after costs, in the event's direction"),
        Column("label_end", TIME_DTYPE, "UTC, when the outcome was known"),
        Column(P_CHALLENGER, "float64", "probability of success"),
        Column(P_CHAMPION, "float64", "probability of success"),
        Column(P_RULES, "float64", "probability of success: the rule score, calibrated on earlier folds"),
        Column(P_BASE_RATE, "float64", "probability of success: share of successes before the fold"),
        Column(P_PATTERN_BASE_RATE, "float64", "probability of success: the same per pattern and direction"),
        Column("rule_score", "float64", "confidence of the rule arm, 0-100, not a probability", nullable=True),
        Column("rule_action", "int8", "+1 BUY, -1 SELL, 0 HOLD"),
    ),
    key=("symbol", "ts", "direction"),
    sort=("ts", "symbol", "direction"),
)


def member_columns(record: pd.DataFrame) -> list[str]:
    """Names of the columns ``p_member_<name>`` in the order of the frame."""
    return [column for column in record.columns if column.startswith(MEMBER_PREFIX)]


def validate_record(record: pd.DataFrame) -> pd.DataFrame:
    """Return ``record`` unchanged, or raise.

    Raises
    ------
    DataContractError
        If the frame breaks `RECORD`, a probability lies outside [0, 1], ``y`` is not 0 or 1, an outcome is
        older than its decision, or a fold's rows are not together in time.
    """
    RECORD.validate(record)
    for column in ARM_COLUMNS:
        _refuse(record, ~record[column].between(0.0, 1.0), f"{column} is not a probability in [0, 1]")
    for column in member_columns(record):
        # A member may abstain (NaN): the catalyst predictor speaks on events with news only.
        wrong = ~record[column].between(0.0, 1.0) & record[column].notna()
        _refuse(record, wrong, f"{column} is not a probability in [0, 1]")
    _refuse(record, ~record["y"].isin([0, 1]), "y is neither 0 nor 1")
    _refuse(record, record["label_end"] <= record["ts"], "label_end is not after the decision time ts")
    changes = int((record["fold"] != record["fold"].shift()).sum())
    if changes != record["fold"].nunique():
        raise DataContractError(
            f"frame 'record': {record['fold'].nunique()} folds, but the fold changes {changes} times along "
            "time. Test windows overlap; lay the folds with walk_forward_folds."
        )
    return record


def log_losses(y: np.ndarray | pd.Series, p: np.ndarray | pd.Series) -> np.ndarray:
    """Log-loss of each row in nats (n,), with ``p`` cut to [`P_FLOOR`, 1 - `P_FLOOR`]."""
    p = np.clip(np.asarray(p, dtype="float64"), P_FLOOR, 1.0 - P_FLOOR)
    return -np.where(np.asarray(y) == 1, np.log(p), np.log1p(-p))


def daily_sums(values: np.ndarray, session: pd.Series) -> pd.Series:
    """Sum ``values`` (n,) per session; index: the sessions that occur, rising."""
    return pd.Series(np.asarray(values, dtype="float64")).groupby(session.to_numpy(), sort=True).sum()


def _refuse(record: pd.DataFrame, bad: pd.Series, problem: str) -> None:
    if bad.any():
        row = int(bad.to_numpy().argmax())
        where = record.iloc[row][["symbol", "ts", "direction"]].to_dict()
        raise DataContractError(f"frame 'record': {problem} in {int(bad.sum())} rows, first in row {row}: {where}.")

"""The frames of the signal ledger: what a run writes, what settles it, and what the trial reads."""

from __future__ import annotations

import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import DATE_DTYPE, TIME_DTYPE, Column, FrameSchema

LEDGER_SORT: tuple[str, ...] = ("ts", "symbol", "direction")

_SIGNAL_COLUMNS: tuple[Column, ...] = (
    Column("symbol", "str"),
    Column("ts", TIME_DTYPE, "UTC, decision time: close of the event's bar"),
    Column("direction", "int8", "+1 bullish, -1 bearish"),
    Column("session", DATE_DTYPE, "exchange date of ts, naive midnight"),
    Column("fold", "str", "ISO week of the session, e.g. 2026-W47"),
    Column("channel", "str", "production | shadow; missing: no version spoke", nullable=True),
    Column("version_id", "str", "the fit that spoke for the ML arm", nullable=True),
    Column("procedure_id", "str", "its procedure", nullable=True),
    Column("p_ml", "float64", "probability of success; missing: the ML arm abstains", nullable=True),
    Column("p_spread", "float64", "standard deviation of the members' probabilities", nullable=True),
    Column("p_rules", "float64", "probability of success: the rule score, calibrated on outcomes known before"),
    Column("p_base_rate", "float64", "probability of success: share of successes known before"),
    Column("p_pattern_base_rate", "float64", "probability of success: the same per pattern and direction"),
    Column("stage_share", "float64", "most weight that the stage gives the ML arm, 0 to 1"),
    Column("weight", "float64", "weight of the ML arm in p_blend, at most stage_share"),
    Column("p_blend", "float64", "weight * p_ml + (1 - weight) * p_rules: what is traded on"),
    Column("rule_arm", "str", "version of the rules"),
    Column("rule_score", "float64", "confidence of the rule arm, 0-100, not a probability", nullable=True),
    Column("rule_action", "int8", "+1 BUY, -1 SELL, 0 HOLD"),
    Column("novelty_p", "float64", "small: unlike the training events; missing: not judged", nullable=True),
    Column("position_size", "float64", "suggested share of the account, 0 to 1"),
    Column("abstain_reason", "str", "why there is no p_ml; missing if there is one", nullable=True),
    Column("entry_due", TIME_DTYPE, "UTC, open of the next session, when the trade would be entered"),
)

SIGNALS = FrameSchema("signals", 1, _SIGNAL_COLUMNS, key=("symbol", "ts", "direction"), sort=LEDGER_SORT)
"""What a run scored at a close; the ledger adds when, by which run, and whether it was late."""

_OUTCOME_COLUMNS: tuple[Column, ...] = (
    Column("y", "float64", "1.0 if the trade earned money after costs, else 0.0; missing: not settled", nullable=True),
    Column("net_return", "float64", "fraction of the entry price, after costs", nullable=True),
    Column("gross_return", "float64", "fraction of the entry price, before costs", nullable=True),
    Column("outcome", "str", "target | stop | timeout", nullable=True),
    Column("entry_ts", TIME_DTYPE, "UTC, close of the entry bar", nullable=True),
    Column("label_end", TIME_DTYPE, "UTC, when the outcome was known", nullable=True),
    Column("revision", "float64", "1, 2, ...; missing: not settled", nullable=True),
    Column("bars_known_until", TIME_DTYPE, "UTC, whose knowledge of bars settled it", nullable=True),
)

LEDGER = FrameSchema(
    "ledger",
    1,
    (
        Column("signal_id", "int64"),
        *_SIGNAL_COLUMNS,
        Column("scored_at", TIME_DTYPE, "UTC, when it was written down"),
        Column("is_late", "bool", "written down after the entry"),
        Column("is_replay", "bool", "the past scored as if live"),
        Column("run_id", "str"),
        *_OUTCOME_COLUMNS,
    ),
    key=("symbol", "ts", "direction"),
    sort=LEDGER_SORT,
)
"""A line's signals with their newest outcome, settled or not."""

OUTCOMES: tuple[str, ...] = ("y", "net_return", "gross_return", "outcome", "entry_ts", "label_end")

REVISIONS = FrameSchema(
    "settlement revisions",
    1,
    (
        Column("signal_id", "int64"),
        Column("revision", "int64", "1 is the first outcome, more are corrections"),
        Column("y", "int8", "1 if the trade earned money after costs, else 0"),
        Column("net_return", "float64", "fraction of the entry price, after costs"),
        Column("gross_return", "float64", "fraction of the entry price, before costs"),
        Column("outcome", "str", "target | stop | timeout"),
        Column("entry_ts", TIME_DTYPE, "UTC, close of the entry bar"),
        Column("label_end", TIME_DTYPE, "UTC, when the outcome was known"),
        Column("bars_known_until", TIME_DTYPE, "UTC, whose knowledge of bars settled it"),
        Column("reason", "str", "first | correction"),
        Column("changed", "str", "JSON of a correction: column, [before, after]", nullable=True),
    ),
    key=("signal_id", "revision"),
)
"""Every outcome ever written; of a signal the highest revision is the truth."""


def validate_signals(signals: pd.DataFrame) -> pd.DataFrame:
    """Return ``signals`` unchanged, or raise.

    Raises
    ------
    DataContractError
        If the frame breaks `SIGNALS`, a probability lies outside [0, 1], the weight exceeds the stage's share, or the
        ML arm abstains without a reason or speaks with one.
    """
    SIGNALS.validate(signals)
    for name in ("p_ml", "p_spread", "p_rules", "p_base_rate", "p_pattern_base_rate", "p_blend", "novelty_p"):
        value = signals[name]
        _refuse(signals, (~value.between(0.0, 1.0) & value.notna()), f"{name} is not in [0, 1]")
    _refuse(signals, ~signals["weight"].between(0.0, signals["stage_share"]), "weight is not in [0, stage_share]")
    silent = signals["p_ml"].isna()
    _refuse(signals, silent != signals["abstain_reason"].notna(), "p_ml and abstain_reason are both there or both not")
    _refuse(signals, silent & (signals["weight"] != 0.0), "the ML arm abstains and has a weight")
    _refuse(signals, signals["entry_due"] <= signals["ts"], "the entry is not after the decision")
    return signals


def _refuse(signals: pd.DataFrame, bad: pd.Series, problem: str) -> None:
    if bad.any():
        row = int(bad.to_numpy().argmax())
        where = signals.iloc[row][["symbol", "ts", "direction"]].to_dict()
        raise DataContractError(
            f"signals: {problem} in {int(bad.sum())} of {len(signals)} rows, first {where}. Nothing was written; "
            "score the events again."
        )

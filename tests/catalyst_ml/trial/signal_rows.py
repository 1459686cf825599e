"""Signals and outcomes for the tests of the ledger, and a registered version that may have spoken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine, text

from catalyst_ml.frames import LABELS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.registry.versions import ModelLine
from catalyst_ml.trial.ledger_frames import SIGNALS

LINE = ModelLine("t", "1d", "symmetric-1")
VERSION = "v-1"


def register_version(engine: Engine, version_id: str = VERSION, *, line: ModelLine = LINE) -> None:
    """Put a bare row into the registry, so that a signal may name it."""
    statement = text(
        "INSERT INTO catalyst_ml.versions (version_id, dataset, timeframe, label_version, procedure_id, as_of, "
        "manifest, manifest_sha256, artifact_uri) VALUES (:id, :dataset, :timeframe, :label_version, 'p-1', "
        "'2024-01-01', '{}', '', '')"
    )
    with engine.begin() as connection:
        connection.execute(statement, {"id": version_id, **line._asdict()})


def make_signals(n_sessions: int = 4, n_symbols: int = 3, *, first: str = "2025-11-24", **changes: Any) -> pd.DataFrame:
    """Signals of consecutive sessions, both directions in turn; by default the ML arm spoke through `VERSION`."""
    calendar = TradingCalendar()
    start = pd.Timestamp(first)
    sessions = calendar.sessions(start, start + pd.Timedelta(days=2 * n_sessions + 10))[: n_sessions + 1]
    closes, opens = calendar.closes(sessions), calendar.opens(sessions)
    n = n_sessions * n_symbols
    which, symbol = np.divmod(np.arange(n), n_symbols)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "symbol": pd.Series([f"S{i:04d}" for i in symbol], dtype="str"),
            "ts": closes[which],
            "direction": np.where(np.arange(n) % 2, 1, -1).astype("int8"),
            "session": sessions[which],
            "fold": pd.Series(
                [f"{s.isocalendar().year}-W{s.isocalendar().week:02d}" for s in sessions[which]], dtype="str"
            ),
            "channel": pd.Series("shadow", index=range(n), dtype="str"),
            "version_id": pd.Series(VERSION, index=range(n), dtype="str"),
            "procedure_id": pd.Series("p-1", index=range(n), dtype="str"),
            "p_ml": rng.uniform(0.3, 0.7, n),
            "p_spread": rng.uniform(0.0, 0.2, n),
            "p_rules": rng.uniform(0.4, 0.6, n),
            "p_base_rate": 0.5,
            "p_pattern_base_rate": 0.51,
            "stage_share": 0.0,
            "weight": 0.0,
            "rule_arm": pd.Series("rules-1", index=range(n), dtype="str"),
            "rule_score": np.where(np.arange(n) % 5 == 0, np.nan, 61.5),
            "rule_action": np.where(np.arange(n) % 3, 1, 0).astype("int8"),
            "novelty_p": np.where(np.arange(n) % 4 == 0, np.nan, 0.3),
            "position_size": 0.01,
            "abstain_reason": pd.Series(None, index=range(n), dtype="str"),
            "entry_due": opens[which + 1],
        }
    )
    frame = frame.assign(p_blend=frame["p_rules"]).assign(**changes)
    return SIGNALS.validate(frame[SIGNALS.column_names].sort_values(list(SIGNALS.sort), ignore_index=True))


def silent(signals: pd.DataFrame, reason: str = "no version stood in a channel") -> pd.DataFrame:
    """The same signals of a line without any version."""
    nothing = pd.Series(None, index=signals.index, dtype="str")
    return signals.assign(
        channel=nothing, version_id=nothing, procedure_id=nothing, p_ml=np.nan, p_spread=np.nan,
        abstain_reason=pd.Series(reason, index=signals.index, dtype="str"),
    )  # fmt: skip


def outcomes_of(signals: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    """Labels of these signals: entered at the next session's close, over five sessions later."""
    calendar = TradingCalendar()
    sessions = pd.DatetimeIndex(signals["session"])
    gross = np.where(np.arange(len(signals)) % 2, 0.02, -0.015)
    frame = signals[["symbol", "ts", "direction"]].assign(
        y=(gross > 0.001).astype("int8"),
        net_return=gross - 0.001,
        gross_return=gross,
        outcome=pd.Series(np.where(gross > 0.0, "target", "stop"), dtype="str"),
        entry_ts=calendar.closes(calendar.shift(sessions, 1)),
        label_end=calendar.closes(calendar.shift(sessions, 5)),
    )
    return LABELS.validate(frame.assign(**changes).sort_values(list(LABELS.key), ignore_index=True))


def moment(text_: str) -> datetime:
    return datetime.fromisoformat(text_).replace(tzinfo=UTC)

"""What became of patterns, as the trading system wrote it down: settled rows of a snapshot as one frame.

Upstream's outcomes are evidence of its own, not our labels: entry, barriers and horizon behind them are not known
(upstream reference, section 3), so they are read for comparison and never stored among ``catalyst_ml.labels``. A row
without a label is unlabelled, not a failure; upstream's own view counts it as one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import TIME_DTYPE, Column, FrameSchema
from catalyst_ml.store.source_shapes import SCALES
from catalyst_ml.store.source_tables import SourceTable

SETTLED_OUTCOMES = FrameSchema(
    "settled_outcomes",
    1,
    (
        Column("symbol", "str"),
        Column("ts", TIME_DTYPE, "UTC, detection; upstream leaves open whether the bar's open or close"),
        Column("pattern", "str", "name or family, as written"),
        Column("direction", "str", "bullish | bearish | neutral; missing if not said", nullable=True),
        Column("timeframe", "str", "as written; missing if not said", nullable=True),
        Column("confidence", "float64", "fraction of 1; missing if not said or out of range", nullable=True),
        Column("success", "bool", "upstream's own label"),
        Column("max_gain", "float64", "fraction of the price", nullable=True),
        Column("max_loss", "float64", "fraction of the price", nullable=True),
        Column("final_move", "float64", "fraction of the price", nullable=True),
    ),
    key=("symbol", "ts", "pattern"),
)
_TRUTHS: dict[Any, bool] = {
    **dict.fromkeys((True, "true", "t", "1", "yes", "y"), True),
    **dict.fromkeys((False, "false", "f", "0", "no", "n"), False),
}
"""Numbers 1 and 0 are equal to ``True`` and ``False``, whatever their type."""
_FRACTIONS = ("confidence", "max_gain", "max_loss", "final_move")
_MIN_CONFIDENCE = 1.0
"""No detection of upstream is as unsure as 1 of 100 (it keeps those from 60 on): what lies below is a fraction."""


def settled_outcomes(files: Sequence[Path], table: SourceTable, *, timezone: str = "UTC") -> pd.DataFrame:
    """Settled rows of a table of training data or detections.

    Parameters
    ----------
    files : sequence of Path
        Of its snapshot, without the rows ``undated``.
    timezone : str
        Zone of times that name none; a time its clock skipped or doubled is left out.

    Returns
    -------
    DataFrame
        ``SETTLED_OUTCOMES``, sorted by its key. Settled is a row with a label that says yes or no, and whose outcome is
        not said to be open. Of rows with one key the last one stands: the same detection can be stored twice.

    Raises
    ------
    DataContractError
        If the table has no column for the outcome.
    """
    if "success" not in table.fields or "ts" not in table.fields:
        raise DataContractError(f"{table.full_name} says nowhere what became of a pattern; expected pattern_success.")
    frames = [pq.read_table(path, columns=sorted(set(table.fields.values()))).to_pandas() for path in files]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=sorted(table.fields.values()))
    success = rows[table.fields["success"]].map(_truth)
    is_settled = success.notna() & rows[table.fields["symbol"]].notna() & rows[table.fields["pattern"]].notna()
    if "completed" in table.fields:
        is_settled &= rows[table.fields["completed"]].map(_truth).map(lambda said: said is not False).astype("bool")
    rows = rows[is_settled]
    columns = {
        "symbol": rows[table.fields["symbol"]].astype("str"),
        "ts": _moments(rows[table.fields["ts"]], timezone),
        "pattern": rows[table.fields["pattern"]].astype("str"),
        "direction": _direction(rows, table),
        "timeframe": rows[table.fields["timeframe"]].astype("str") if "timeframe" in table.fields else None,
        "success": success[is_settled].astype("bool"),
        **{name: _fraction(rows, table, name) for name in _FRACTIONS},
    }
    frame = pd.DataFrame(columns, index=rows.index)[SETTLED_OUTCOMES.column_names]
    frame = frame.astype({c.name: c.dtype for c in SETTLED_OUTCOMES.columns})
    key = list(SETTLED_OUTCOMES.key)
    frame = frame.dropna(subset=["ts"]).drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)
    return SETTLED_OUTCOMES.validate(frame)


def _moments(times: pd.Series, timezone: str) -> pd.Series:
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        return times.dt.tz_convert("UTC").dt.as_unit("us")
    local = pd.to_datetime(times).dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT")
    return local.dt.tz_convert("UTC").dt.as_unit("us")


def _fraction(rows: pd.DataFrame, table: SourceTable, name: str) -> pd.Series:
    column = table.fields.get(name)
    if column is None:
        return pd.Series(np.nan, index=rows.index)
    values = pd.to_numeric(rows[column], errors="coerce").astype("float64")
    _, factor = SCALES.get(column, ("", 1.0))
    values = values.where(np.isfinite(values))  # a float column can be infinite, which is no outcome
    if name == "confidence":  # twins a factor of 100 apart stand under one name, even in one column: each row decides
        fractions = values.where(values <= _MIN_CONFIDENCE, values * 0.01)
        return fractions.where(fractions.between(0.0, 1.0))
    return values * factor


def _direction(rows: pd.DataFrame, table: SourceTable) -> pd.Series:
    """The column, or what the services of 2025 wrote into ``metadata`` instead."""
    if "direction" in table.fields:
        return rows[table.fields["direction"]].astype("str")
    if "metadata" not in table.fields:
        return pd.Series(None, index=rows.index, dtype="str")
    return rows[table.fields["metadata"]].map(_direction_in).astype("str")


def _direction_in(metadata: Any) -> str | None:
    try:
        held = json.loads(metadata) if isinstance(metadata, str) else None
    except ValueError:
        return None
    direction = held.get("pattern_direction") if isinstance(held, dict) else None
    return direction if isinstance(direction, str) else None


def _truth(value: Any) -> bool | None:
    """What a column of any type says; ``None`` if it says neither yes nor no, as 0.5 and "maybe" do."""
    return _TRUTHS.get(value.strip().lower() if isinstance(value, str) else value)

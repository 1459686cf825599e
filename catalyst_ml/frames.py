"""The frames that cross borders between rooms: column, type, unit, key and order of each.

A frame is validated where it is read and where it is written, not at every call. Column names come
from here, so a renamed column fails in one place. Times are ``datetime64[us, UTC]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from catalyst_ml.errors import DataContractError

if TYPE_CHECKING:
    import pandas as pd  # loaded where a frame is touched: the signal server reads names here and holds no frames

TIME_DTYPE = "datetime64[us, UTC]"
DATE_DTYPE = "datetime64[us]"
"""Dates of the exchange: naive midnights."""


@dataclass(frozen=True)
class Column:
    """One column of a frame: pandas dtype, unit in words, and whether missing values are allowed."""

    name: str
    dtype: str
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True)
class FrameSchema:
    """Contract of one frame. ``key`` is unique; rows are sorted by ``key`` unless ``sort`` says otherwise."""

    name: str
    version: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    sort: tuple[str, ...] = ()

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    def empty(self) -> pd.DataFrame:
        """Return a frame with no rows and the right dtypes."""
        import pandas as pd

        return pd.DataFrame({c.name: pd.Series(dtype=c.dtype) for c in self.columns})

    def validate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return ``frame`` unchanged, or raise.

        Extra columns are allowed (features and patterns ride along); missing ones are not.

        Raises
        ------
        DataContractError
            If a column is missing or of another dtype, holds missing values where none are allowed, or
            if the key is not unique or the order is wrong.
        """
        import pandas as pd

        missing = [c.name for c in self.columns if c.name not in frame.columns]
        if missing:
            raise DataContractError(
                f"frame {self.name!r}: columns {missing} are missing, got {list(frame.columns)}. "
                "It was written by another version or built by hand; build it again."
            )
        for column in self.columns:
            series = frame[column.name]
            if str(series.dtype) != column.dtype:
                raise DataContractError(
                    f"frame {self.name!r}, column {column.name!r}: expected {column.dtype}, got {series.dtype}."
                )
            if not column.nullable and series.isna().any():
                first = int(series.isna().to_numpy().argmax())
                raise DataContractError(
                    f"frame {self.name!r}, column {column.name!r}: {int(series.isna().sum())} of {len(frame)} "
                    f"values are missing, first in row {first}; expected none."
                )
        order = list(self.sort or self.key)
        index = pd.MultiIndex.from_frame(frame[order]) if len(order) > 1 else pd.Index(frame[order[0]])
        if not index.is_monotonic_increasing:
            raise DataContractError(f"frame {self.name!r} is not sorted by {order}. Sort it before handing it on.")
        if frame.duplicated(list(self.key)).any():
            row = int(frame.duplicated(list(self.key)).to_numpy().argmax())
            raise DataContractError(
                f"frame {self.name!r}: key {list(self.key)} repeats, first in row {row}: "
                f"{frame.iloc[row][list(self.key)].to_dict()}."
            )
        return frame


_SYMBOL = Column("symbol", "str")
_TS = Column("ts", TIME_DTYPE, "UTC, close of the bar")

BARS = FrameSchema(
    "bars",
    1,
    (
        _SYMBOL,
        _TS,
        Column("open", "float64", "US dollars per share"),
        Column("high", "float64", "US dollars per share"),
        Column("low", "float64", "US dollars per share"),
        Column("close", "float64", "US dollars per share"),
        Column("volume", "float64", "shares"),
        Column("split_factor", "float64", "new shares per old share, effective at this bar's open; 1.0 = none"),
    ),
    key=("symbol", "ts"),
)

INSTRUMENTS = FrameSchema(
    "instruments",
    1,
    (
        _SYMBOL,
        Column("kind", "str", "stock | index | volatility; only stocks carry events"),
        Column("sector", "str", "sector name, missing if unknown", nullable=True),
    ),
    key=("symbol",),
)

NEWS = FrameSchema(
    "news",
    1,
    (
        _SYMBOL,
        Column("published_at", TIME_DTYPE, "UTC, moment of publication"),
        Column("news_id", "str", "identity of the story at its source"),
        Column("catalyst_type", "str", "earnings, merger, fda_approval, ...; missing if unclassified", nullable=True),
        Column("sentiment", "str", "positive | negative | neutral"),
        Column("score", "float64", "catalyst score, 0-100"),
    ),
    key=("symbol", "published_at", "news_id"),
)

PATTERNS: tuple[str, ...] = (
    "hammer",
    "shooting_star",
    "engulfing",
    "doji",
    "three_white_soldiers",
    "three_black_crows",
    "gap_up",
    "gap_down",
    "volume_surge",
)
"""The named candlestick patterns, in upstream's spelling. ``engulfing`` takes its side from the event's direction."""


def pattern_column(pattern: str) -> str:
    """Name of the boolean column that says whether ``pattern`` was seen at the event's bar."""
    return f"is_{pattern}"


EVENTS = FrameSchema(
    "events",
    1,
    (
        _SYMBOL,
        _TS,
        Column("direction", "int8", "+1 bullish, -1 bearish"),
        Column("direction_inferred", "bool", "true if only a neutral doji gave the event its direction"),
        *(Column(pattern_column(p), "bool") for p in PATTERNS),
    ),
    key=("symbol", "ts", "direction"),
)

LABELS = FrameSchema(
    "labels",
    1,
    (
        _SYMBOL,
        _TS,
        Column("direction", "int8", "+1 bullish, -1 bearish"),
        Column("y", "int8", "1 if the trade earned money after costs, else 0"),
        Column("net_return", "float64", "fraction of the entry price, after costs, in the event's direction"),
        Column("gross_return", "float64", "fraction of the entry price, before costs"),
        Column("outcome", "str", "target | stop | timeout"),
        Column("entry_ts", TIME_DTYPE, "UTC, close of the entry bar (the entry is at its open)"),
        Column("label_end", TIME_DTYPE, "UTC, close of the bar at which the outcome was known"),
    ),
    key=("symbol", "ts", "direction"),
)

RULE_SCORES = FrameSchema(
    "rule_scores",
    1,
    (
        _SYMBOL,
        _TS,
        Column("direction", "int8", "direction of the event"),
        Column("rule_score", "float64", "confidence of the rule arm, 0-100, not a probability", nullable=True),
        Column("rule_action", "int8", "+1 BUY, -1 SELL, 0 HOLD"),
    ),
    key=("symbol", "ts", "direction"),
)

EARNINGS = FrameSchema(
    "earnings",
    1,
    (
        _SYMBOL,
        Column("report_date", DATE_DTYPE, "day of the report at the exchange"),
        Column("release_time", "str", "pre | post; missing if unknown", nullable=True),
        Column("known_at", TIME_DTYPE, "UTC, from when the result counts as known"),
        Column("eps", "float64", "US dollars per share, as restated by the source", nullable=True),
        Column("eps_estimate", "float64", "US dollars per share", nullable=True),
        Column("quarter", "str", "end of the fiscal quarter as YYYY-MM, or the source's own label", nullable=True),
        Column("is_suspect", "bool", "EPS beyond 100 dollars: restated for later reverse splits, no level to use"),
    ),
    key=("symbol", "report_date"),
)

SECTORS = FrameSchema(
    "sectors",
    1,
    (
        _SYMBOL,
        Column("sector", "str"),
        Column("industry", "str", nullable=True),
        Column("name", "str", "name of the company", nullable=True),
        Column("taxonomy", "str", "whose names for sectors"),
        Column("as_of", DATE_DTYPE, "day the map describes"),
    ),
    key=("symbol",),
)

INDEX_MEMBERS = FrameSchema(
    "index_members",
    1,
    (
        _SYMBOL,
        Column("start_date", DATE_DTYPE, "first day inside"),
        Column("end_date", DATE_DTYPE, "first day outside; missing if still a member", nullable=True),
    ),
    key=("symbol", "start_date"),
)

NEWS_COVERAGE = FrameSchema(
    "news_coverage",
    1,
    (
        Column("source", "str"),
        Column("month", DATE_DTYPE, "first day of the month, New York"),
        Column("n_stories", "int64"),
        Column("n_symbols", "int64", "different symbols told of"),
    ),
    key=("source", "month"),
)

EVENT_KEY: tuple[str, ...] = ("symbol", "ts", "direction")

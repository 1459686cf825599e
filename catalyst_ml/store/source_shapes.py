"""What tables of the trading system may look like: subjects, their columns by all names seen, and generations.

One table name stands for several incompatible shapes upstream, and some databases hold nothing but bars. So a table is
not believed by its name: a subject declares the columns it needs under every name they have had, and what is found
decides. Nothing here asks a database anything.

References
----------
Upstream reference, section 1 (tables by generation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

OUR_SCHEMA = "catalyst_ml"


@dataclass(frozen=True)
class Field:
    """One thing we look for in a table, and the column names it has had, the best first."""

    name: str
    columns: tuple[str, ...]
    required: bool = False


@dataclass(frozen=True)
class Subject:
    """One kind of table: its names, its fields, whether a pull copies it, and what goes without it."""

    name: str
    tables: tuple[str, ...]
    fields: tuple[Field, ...]
    cost_if_missing: str
    is_pulled: bool = False


_SYMBOL = Field("symbol", ("symbol", "ticker", "sym"), required=True)
_OUTCOME = (
    Field("completed", ("pattern_completed", "completed")),
    Field("success", ("pattern_success", "success")),
    Field("max_gain", ("max_gain",)),
    Field("max_loss", ("max_loss",)),
    Field("final_move", ("final_outcome_pct", "actual_move")),
)
_PATTERN = Field("pattern", ("pattern_type", "pattern_name"), required=True)

TRAINING = Subject(
    "training",
    ("pattern_training_data",),
    (
        _SYMBOL,
        Field("ts", ("timestamp", "detection_timestamp", "detected_at", "created_at"), required=True),
        _PATTERN,
        *_OUTCOME,
    ),
    "upstream's own labelled patterns: nothing to compare ours with. Labels are computed from bars instead.",
    is_pulled=True,
)
DETECTIONS = Subject(
    "detections",
    ("pattern_analysis", "pattern_detections"),
    (
        _SYMBOL,
        Field("ts", ("detection_timestamp", "detection_time", "detected_at", "timestamp", "created_at"), required=True),
        _PATTERN,
        Field("direction", ("pattern_direction", "direction")),
        Field("timeframe", ("timeframe",)),
        Field("confidence", ("confidence", "confidence_score", "final_confidence")),
        Field("metadata", ("metadata", "pattern_data")),
        *_OUTCOME,
    ),
    "upstream's own detections: nothing to compare ours with. Ours are detected in bars.",
    is_pulled=True,
)
BARS = Subject(
    "bars",
    ("market_data", "security_data_high_freq", "security_data_hourly", "security_data_daily"),
    (
        _SYMBOL,
        Field("ts", ("timestamp", "ts", "datetime", "bar_time", "time", "date", "trade_date", "day"), required=True),
        Field("open", ("open", "open_price", "o"), required=True),
        Field("high", ("high", "high_price", "h"), required=True),
        Field("low", ("low", "low_price", "l"), required=True),
        Field("close", ("close", "close_price", "c"), required=True),
        Field("volume", ("volume", "vol", "v"), required=True),
        Field("timeframe", ("timeframe", "interval", "bar_interval")),
        Field("split_factor", ("split_factor", "split_coefficient", "stock_splits")),
    ),
    "detections, features and labels from this database: all of them are computed from bars. Import bars from files "
    "(catalyst-ml bars import).",
    is_pulled=True,
)
NEWS = Subject(
    "news",
    ("news_raw", "news_articles"),
    (
        Field("ts", ("published_timestamp", "published_at", "published", "publish_time"), required=True),
        Field("headline", ("headline", "title"), required=True),
        Field("symbol", ("symbol", "ticker")),
        Field("tickers", ("mentioned_tickers", "tickers", "symbols")),
        Field("source", ("source", "source_name")),
    ),
    "news_present, the catalyst score of the rules and the catalyst model. Import news from files (catalyst-ml news "
    "import).",
    is_pulled=True,
)
SECTORS = Subject(
    "sectors",
    ("scan_market_data", "securities"),
    (
        _SYMBOL,
        Field("sector", ("sector", "sector_name"), required=True),
        Field("industry", ("industry", "industry_name")),
        Field("ts", ("scan_timestamp", "timestamp", "updated_at", "created_at", "created_timestamp")),
    ),
    "sector_momentum. Import a sector map (catalyst-ml reference import-sectors).",
    is_pulled=True,
)
_WHEN = ("timestamp", "created_at", "created_timestamp", "calculated_timestamp")
FEATURES = Subject(
    "features",
    ("ml_features_5min", "technical_indicators"),
    (_SYMBOL, Field("ts", _WHEN, required=True)),
    "nothing: features are computed from bars, upstream's values would be of unknown moments.",
)
SIGNALS = Subject(
    "signals",
    ("trading_signals",),
    (_SYMBOL, Field("ts", ("generated_timestamp", "generated_at", "signal_timestamp", *_WHEN))),
    "the signals upstream really gave; the rule arms are computed from bars and news instead.",
)
TRADES = Subject(
    "trades",
    ("trade_records", "trades"),
    (_SYMBOL, Field("ts", ("entry_timestamp", "entry_time", "entry_date", *_WHEN))),
    "upstream's real trades.",
)
CANDIDATES = Subject(
    "candidates",
    ("trading_candidates",),
    (_SYMBOL, Field("ts", ("selection_timestamp", *_WHEN))),
    "upstream's daily selection.",
)
SCANS = Subject(
    "scan aggregates",
    ("market_data_daily",),
    (_SYMBOL,),
    "nothing: their open and close are the first and last price of a scan, not those of the session.",
)
PERFORMANCE = Subject(
    "model performance",
    ("ml_model_performance",),
    (Field("ts", ("training_date", *_WHEN)),),
    "nothing: versions and metrics are kept in our own registry.",
)
CONFIGURATION = Subject(
    "configuration",
    ("system_config", "configuration"),
    (Field("key", ("key", "config_key", "parameter", "name", "setting_name"), required=True),
     Field("value", ("value", "config_value", "setting_value"), required=True)),
    "nothing: our settings are our own.",
)  # fmt: skip

SUBJECTS = (
    BARS, NEWS, TRAINING, DETECTIONS, SECTORS, FEATURES, SIGNALS, TRADES, CANDIDATES, SCANS, PERFORMANCE, CONFIGURATION,
)  # fmt: skip
_BY_TABLE = {table: subject for subject in SUBJECTS for table in subject.tables}

SCALES: Mapping[str, tuple[str, float]] = {
    "max_gain": ("percent", 0.01),
    "max_loss": ("percent", 0.01),
    "final_outcome_pct": ("percent", 0.01),
    "actual_move": ("percent", 0.01),
    "confidence": ("0 to 100", 0.01),
    "confidence_score": ("0 to 1", 1.0),
    "final_confidence": ("0 to 100", 0.01),
}
"""Unit of upstream's columns whose twins differ by a factor of 100, and the factor that makes a fraction of them."""

KEY_JOINS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "security_id": ("symbol", ("securities", "security"), ("symbol", "ticker")),
    "time_id": ("timestamp", ("time_dimension", "time_dim"), ("timestamp", "ts", "datetime")),
}
"""Normalised shape of October 2025: key column to (what it stands for, tables that hold it, columns there)."""

_LENGTHS = {"64": "G1", "100": "G2", "255": "G3 (made at run time)"}


def subject_of(table: str, columns: Mapping[str, str]) -> Subject | None:
    """What a table is about, by its name and columns (name to type); ``None`` if nothing we know.

    A table of any name that has all columns of a bar, and no pattern, holds bars.
    """
    known = _BY_TABLE.get(table)
    if known is not None:
        return known if fields_of(known, columns) is not None else None
    looks_like_bars = fields_of(BARS, columns) is not None and not {"pattern_type", "pattern_name"} & set(columns)
    return BARS if looks_like_bars else None


def fields_of(subject: Subject, columns: Mapping[str, str]) -> dict[str, str] | None:
    """Column of each field of a subject that is there; ``None`` if a required one is not."""
    lower = {name.lower(): name for name in sorted(columns, reverse=True)}
    found: dict[str, str] = {}
    for field in subject.fields:
        match = next((lower[name] for name in field.columns if name in lower), None)
        if match is not None:
            found[field.name] = match
        elif field.required:
            return None
    return found


def missing_fields(subject: Subject, columns: Mapping[str, str]) -> list[str]:
    """Required fields of a subject that no column answers to."""
    lower = {name.lower() for name in columns}
    return [field.name for field in subject.fields if field.required and not lower & set(field.columns)]


def known_subject(table: str) -> Subject | None:
    """The subject that a table of this name should have."""
    return _BY_TABLE.get(table)


def generation_of(schema: str, table: str, columns: Mapping[str, str]) -> str:
    """Which generation of upstream's schema a table is of, in words; ``""`` if its columns do not tell."""
    tell = _TELLS.get(table)
    if tell is None:
        return "GML (schema trading)" if schema == "trading" and table in _BY_TABLE else ""
    return tell(columns)


def _pattern_analysis(columns: Mapping[str, str]) -> str:
    if "security_id" in columns:
        return "October 2025 (normalised)"
    if "start_price" in columns:
        return "G2"
    if "metadata" in columns and "confidence" not in columns:
        return "G3 (made at run time)"
    return "G1" if "pattern_direction" in columns else ""


def _training(columns: Mapping[str, str]) -> str:
    return "GML (schema trading)" if "macd_histogram" in columns else "strategy sketch"


def _news_raw(columns: Mapping[str, str]) -> str:
    length = re.fullmatch(r"character varying\((\d+)\)", columns.get("news_id", ""))
    return _LENGTHS.get(length[1], "") if length else ""


def _signals(columns: Mapping[str, str]) -> str:
    return "G3 (made at run time)" if "action" in columns else "G1 or G2"


def _trades(columns: Mapping[str, str]) -> str:
    if "outcome_category" in columns:
        return "G2"
    return "G3 (made at run time)" if "order_id" in columns else "G1"


def _candidates(columns: Mapping[str, str]) -> str:
    if "scan_type" in columns:
        return "G3 (made at run time)"
    return "G2" if "confidence_score" in columns else "G1"


def _indicators(columns: Mapping[str, str]) -> str:
    return "G3 (made at run time)" if "metadata" in columns else "G1 or G2"


def _detections(columns: Mapping[str, str]) -> str:
    return "G2" if "pattern_type" in columns else "utils 2.3.3"


_TELLS: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    "pattern_analysis": _pattern_analysis,
    "pattern_detections": _detections,
    "pattern_training_data": _training,
    "news_raw": _news_raw,
    "trading_signals": _signals,
    "trade_records": _trades,
    "trading_candidates": _candidates,
    "technical_indicators": _indicators,
    "security_data_high_freq": lambda _: "G100",
    "security_data_hourly": lambda _: "G100",
    "security_data_daily": lambda _: "G100",
}

_TABLE_TIMEFRAMES = {
    "security_data_high_freq": "15m", "security_data_hourly": "1h", "security_data_daily": "1d",
}  # fmt: skip
_SPELLINGS = {
    "daily": "1d", "day": "1d", "1day": "1d", "d": "1d", "d1": "1d", "hourly": "1h", "hour": "1h", "1hour": "1h",
    "minute": "1m", "1minute": "1m",
}  # fmt: skip
_AMOUNT = re.compile(r"(\d+)\s*[_-]?(minutes?|mins?|m|t|hours?|hr|h|days?|d)")

_MONTHS = re.compile(r"(1|3|6|12)M")
"""Brokers and exchanges write months with a capital, minutes with a small letter."""


def timeframe_named(text: str) -> str | None:
    """One spelling for what a timeframe column says (``5min``, ``5Min``, ``daily``); ``None`` if it says none."""
    plain = text.strip().lower()
    if _MONTHS.fullmatch(text.strip()):
        return None
    if plain in _SPELLINGS:
        return _SPELLINGS[plain]
    match = _AMOUNT.fullmatch(plain)
    if match is None:
        return None
    minutes = int(match[1]) * {"m": 1, "t": 1, "h": 60, "d": 1440}[match[2][0]]
    if minutes == 1440:
        return "1d"
    if not 0 < minutes <= 240:
        return None
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def timeframe_of_table(table: str) -> str | None:
    """Timeframe that the name of a table says (``bars_5min``, ``daily_prices``); ``None`` if it says none."""
    if table in _TABLE_TIMEFRAMES:
        return _TABLE_TIMEFRAMES[table]
    words = table.lower().split("_")
    return next((frame for frame in map(timeframe_named, words) if frame is not None), None)

"""The Great Expectations suite on the training set: what must hold before anything is trained on it.

Rules are data (``RULES``), so that they can be listed and read; ``expectations`` runs them. *Critical* rules stop
the run, *warnings* go into the report.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.features.events import EVENT_COLUMNS
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.quality.expectations import after, between, known, one_of, run_rules
from catalyst_ml.quality.validation import Rule, RuleResult, ValidationResult, require_valid

__all__ = ["RULES", "Rule", "RuleResult", "ValidationResult", "require_valid", "validate_training_set"]

logger = logging.getLogger(__name__)

MIN_ROWS = 500
"""Below it the base rate's 95 % band is wider than +/-4 points, and no member learns anything."""

MIN_SESSIONS = 60
"""A quarter: fewer sessions cannot fill one purged fold."""

EXTREME_RETURN = 0.25
ROUNDING = 1e-9

_CORE_FEATURES = ("volume_surge", "rsi_14", "bb_position", "macd_histogram", "adx_strength", "premarket_gap")
_CONTEXT_FEATURES = (
    "rsi_14",
    "vix_level",
    "spy_correlation",
    "sector_momentum",
    "market_breadth",
    "news_present",
)

RULES: tuple[Rule, ...] = (
    Rule("event_key_is_unique", "critical", "ExpectCompoundColumnsToBeUnique", {"column_list": list(EVENT_KEY)}),
    Rule("time_never_runs_backwards", "critical", "ExpectColumnValuesToBeIncreasing", {"column": "ts"}),
    known("session_is_never_missing", "session", 1.0, "critical"),
    known("y_is_never_missing", "y", 1.0, "critical"),
    one_of("y_is_0_or_1", "y", [0, 1]),
    one_of("direction_is_plus_or_minus_1", "direction", [-1, 1]),
    one_of("outcome_is_target_stop_or_timeout", "outcome", ["target", "stop", "timeout"]),
    after("entry_is_after_the_event", "entry_ts", "ts"),
    after("label_end_is_after_the_event", "label_end", "ts"),
    after("label_end_is_not_before_the_entry", "label_end", "entry_ts", or_equal=True),
    one_of("y_says_whether_net_return_is_positive", "_y_fits_net_return", [True]),
    after("costs_never_raise_the_return", "gross_return", "net_return", or_equal=True),
    between("net_return_is_plausible", "net_return", -1.0, 1.0, mostly=0.999),
    Rule(
        "base_rate_is_between_20_and_80_percent",
        "critical",
        "ExpectColumnMeanToBeBetween",
        {"column": "y", "min_value": 0.2, "max_value": 0.8},
    ),
    one_of("inputs_are_never_infinite", "_n_infinite_inputs", [0]),
    known("body_to_range_ratio_is_never_missing", "body_to_range_ratio", 1.0, "critical"),
    *(known(f"{name}_is_not_all_missing", name, 0.01, "critical") for name in _CORE_FEATURES),
    between("body_to_range_ratio_between_0_and_1", "body_to_range_ratio", 0.0, 1.0 + ROUNDING),
    between("upper_shadow_ratio_between_0_and_1", "upper_shadow_ratio", -ROUNDING, 1.0 + ROUNDING),
    between("lower_shadow_ratio_between_0_and_1", "lower_shadow_ratio", -ROUNDING, 1.0 + ROUNDING),
    between("volume_surge_is_never_negative", "volume_surge", 0.0, None),
    between("rsi_between_0_and_100", "rsi_14", 0.0, 100.0 + ROUNDING),
    between("adx_between_0_and_100", "adx_strength", 0.0, 100.0 + ROUNDING),
    between("vix_between_5_and_150", "vix_level", 5.0, 150.0),
    between("spy_correlation_between_minus_1_and_1", "spy_correlation", -1.0, 1.0),
    between("market_breadth_between_minus_1_and_1", "market_breadth", -1.0, 1.0),
    one_of("news_present_is_0_or_1", "news_present", [0.0, 1.0]),
    one_of("unusual_volume_is_0_or_1", "unusual_volume", [0.0, 1.0]),
    between("every_event_has_a_pattern", "n_patterns", 1.0, None),
    between("rule_score_between_0_and_100", "rule_score", 0.0, 100.0),
    one_of("rule_action_is_buy_sell_or_hold", "rule_action", [-1, 0, 1]),
    *(known(f"{name}_is_known_in_most_rows", name, 0.7, "warning") for name in _CONTEXT_FEATURES),
    between(
        "premarket_gap_is_rarely_above_50_percent",
        "premarket_gap",
        -50.0,
        50.0,
        mostly=0.999,
        severity="warning",
    ),
    between("label_is_known_within_31_days", "_days_to_label_end", 0.0, 31.0, severity="warning"),
    Rule(
        "unexplained_extreme_returns_are_rarer_than_1_in_1000",
        "warning",
        "ExpectColumnMeanToBeBetween",
        {"column": "_is_unexplained_extreme", "max_value": 0.001},
    ),
    Rule(
        "both_directions_occur",
        "warning",
        "ExpectColumnMeanToBeBetween",
        {"column": "direction", "min_value": -0.95, "max_value": 0.95},
    ),
    Rule(
        "at_least_10_symbols",
        "warning",
        "ExpectColumnUniqueValueCountToBeBetween",
        {"column": "symbol", "min_value": 10},
    ),
)
"""The suite, but for the two rules on size, whose bounds are arguments."""


def validate_training_set(
    rows: pd.DataFrame,
    *,
    min_rows: int = MIN_ROWS,
    min_sessions: int = MIN_SESSIONS,
    rules: tuple[Rule, ...] = RULES,
) -> ValidationResult:
    """Check the labelled training set; nothing is raised for bad data, see ``validation.require_valid``.

    Parameters
    ----------
    rows : DataFrame
        ``TrainingSet.rows``. A missing column fails the rules that need it.
    min_rows, min_sessions : int
        Bounds of the two rules on size, which always apply.
    rules : tuple of Rule
        The other rules; a part of ``RULES``, or more.

    Returns
    -------
    ValidationResult
        One result per rule, in the order of the suite. Missing values pass rules on ranges; how much may be
        missing has rules of its own.
    """
    rules = (*_size_rules(min_rows, min_sessions), *rules)
    outcome = ValidationResult.of("training set", run_rules(_with_derived_columns(rows), rules, key=EVENT_KEY))
    logger.info("training set of %d rows: %s", len(rows), outcome.summary().splitlines()[0])
    return outcome


def _size_rules(min_rows: int, min_sessions: int) -> tuple[Rule, Rule]:
    sessions = {"column": "session", "min_value": min_sessions}
    return (
        Rule("there_are_enough_rows", "critical", "ExpectTableRowCountToBeBetween", {"min_value": min_rows}),
        Rule("there_are_enough_sessions", "critical", "ExpectColumnUniqueValueCountToBeBetween", sessions),
    )


def _with_derived_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with the columns that rules across columns need, as far as their parts exist."""
    frame = rows.reset_index(drop=True)
    present = set(frame.columns)
    derived: dict[str, Any] = {}
    if {"y", "net_return"} <= present:
        derived["_y_fits_net_return"] = (frame["y"] == 1) == (frame["net_return"] > 0)
    if {"label_end", "ts"} <= present:
        derived["_days_to_label_end"] = (frame["label_end"] - frame["ts"]).dt.total_seconds() / 86_400
    if {"net_return", "unusual_volume", "news_present"} <= present:
        # A real jump moves volume or the news; one without either smells of a split that nobody booked.
        is_quiet = (frame["unusual_volume"] != 1.0) & (frame["news_present"] != 1.0)
        derived["_is_unexplained_extreme"] = (is_quiet & (frame["net_return"].abs() > EXTREME_RETURN)).astype(float)
    if set(EVENT_COLUMNS) <= present:
        derived["_n_infinite_inputs"] = np.isinf(frame[list(EVENT_COLUMNS)].to_numpy(dtype=np.float64)).sum(axis=1)
    return frame.assign(**derived)

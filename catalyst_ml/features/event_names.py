"""Names of what an event carries, written out, for a program that must not load the code that computes them.

The signal server reads a request's inputs by name; the code behind the names brings pandas and compiled kernels,
170 MB. The truth is ``features.events`` and its neighbours: a test holds the copies against them, and so does
the process that works on bars, before it answers.
"""

from __future__ import annotations

EVENT_COLUMN_NAMES: tuple[str, ...] = (
    "body_to_range_ratio",
    "upper_shadow_ratio",
    "lower_shadow_ratio",
    "volume_surge",
    "rsi_14",
    "bb_position",
    "macd_histogram",
    "adx_strength",
    "vix_level",
    "spy_correlation",
    "sector_momentum",
    "market_breadth",
    "news_present",
    "premarket_gap",
    "unusual_volume",
    "options_activity",
    "relative_body_to_range_ratio",
    "relative_upper_shadow_ratio",
    "relative_lower_shadow_ratio",
    "relative_volume_surge",
    "relative_rsi_14",
    "relative_bb_position",
    "relative_macd_histogram",
    "relative_adx_strength",
    "relative_spy_correlation",
    "relative_sector_momentum",
    "relative_premarket_gap",
    "relative_unusual_volume",
    "aligned_rsi_14",
    "aligned_bb_position",
    "aligned_macd_histogram",
    "aligned_premarket_gap",
    "aligned_sector_momentum",
    "aligned_market_breadth",
    "aligned_shadow_balance",
    "event_direction",
    "event_direction_inferred",
    "pattern_hammer",
    "pattern_shooting_star",
    "pattern_engulfing",
    "pattern_doji",
    "pattern_three_white_soldiers",
    "pattern_three_black_crows",
    "pattern_gap_up",
    "pattern_gap_down",
    "pattern_volume_surge",
    "n_patterns",
    "rule_score",
    "rule_agreement",
    "catalyst_score",
    "catalyst_sentiment",
    "catalyst_stories",
    "catalyst_stories_5d",
    "catalyst_age_hours",
    "catalyst_is_earnings",
    "catalyst_is_guidance",
    "catalyst_is_analyst",
    "catalyst_is_merger",
    "catalyst_is_fda",
    "catalyst_is_lawsuit",
    "catalyst_is_insider",
    "aligned_catalyst_sentiment",
    "news_covered",
)
"""``features.events.EVENT_COLUMNS``."""

CATALYST_FEATURE_NAMES: tuple[str, ...] = (
    "catalyst_score",
    "catalyst_sentiment",
    "catalyst_stories",
    "catalyst_stories_5d",
    "catalyst_age_hours",
    "catalyst_is_earnings",
    "catalyst_is_guidance",
    "catalyst_is_analyst",
    "catalyst_is_merger",
    "catalyst_is_fda",
    "catalyst_is_lawsuit",
    "catalyst_is_insider",
)
"""``features.catalysts.CATALYST_FEATURES``."""

INTRADAY_INPUT_NAMES: tuple[str, ...] = ("time_of_session", "atr_ratio")
"""``features.line_inputs.INTRADAY_INPUTS``: what intraday lines carry besides."""

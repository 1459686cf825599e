"""Upstream's rules of June 2025 (pattern and technical service v2.0.0), the earliest coherent set.

Four weighted parts instead of three, its own pattern set, a direction by majority of patterns instead of a vote of
everything, and stops in percent of the price. Side by side with the later rules: ``docs/rules.md``.

Choices where upstream leaves one
---------------------------------
- It scores the events of our detector, but sees its own patterns on their bars: engulfing may touch, soldiers and crows
  need no rising or falling closes, gaps need 2 %, a surge compares with 19 bars. At an event that only the later
  rules see (a gap of 1.5 %, say) it may see nothing: then its pattern score is 0 and its action HOLD, unless the RSI
  is extreme.
- Upstream writes confidence 0 into a row that it holds for want of confidence; here the computed score stays, so that
  calibration sees it.
- Pre-market factors never apply: a bar of the regular session closes in the session.
- The news count is the number of stories in the catalyst's 24 hours; sentiment is the story's own.
- Indicators run over all bars given; upstream's own code drew random ones. Prices are not rounded to cents, which means
  nothing on split-adjusted bars.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from catalyst_ml.market.detector import BEARISH, BULLISH, directional_patterns, is_doji
from catalyst_ml.market.rule_inputs import Readings, RuleInputs, RuleSignals, SignalLevels, strongest

HOLD_BELOW = 30.0
WEIGHTS = {"catalyst": 0.35, "pattern": 0.35, "indicators": 0.20, "volume": 0.10}
MAX_PATTERNS = 3
GAP_PERCENT = 2.0
VOLUME_SURGE_RATIO = 2.0
MOMENTUM_WITH_CATALYST = 1.2
AGREEMENT_FACTOR = 1.1
TYPE_FACTORS = {
    "earnings_beat": 1.3,
    "earnings_miss": 1.3,
    "fda_approval": 1.5,
    "merger": 1.4,
    "upgrade": 1.2,
    "downgrade": 1.2,
    "lawsuit": 1.1,
}
MANY_STORIES, MANY_STORIES_FACTOR = 3, 1.1
ENTRY_IMPROVEMENT = 0.001
STOP_PERCENT_BY_CATALYST = ((70.0, 1.0), (40.0, 2.0), (0.0, 3.0))
"""Catalyst score from which on, stop in percent. Upstream's comments say 1.5 for the first; its arithmetic 1."""
SIZE_BY_CONFIDENCE = ((70.0, 1.0), (50.0, 0.5), (HOLD_BELOW, 0.25))
TARGETS_IN_RISK = (1.5, 3.0)
NEUTRAL = 0


class PatternRule(NamedTuple):
    """Base confidence of a pattern and what news sentiment does to it (pattern service v2.0.0)."""

    pattern: str
    direction: int
    is_momentum: bool
    base: float
    times_positive: float
    times_negative: float


PATTERN_RULES: tuple[PatternRule, ...] = (
    PatternRule("hammer", BULLISH, False, 65.0, 1.5, 0.7),
    PatternRule("shooting_star", BEARISH, False, 65.0, 0.7, 1.5),
    PatternRule("engulfing", BULLISH, False, 70.0, 1.5, 0.6),
    PatternRule("engulfing", BEARISH, False, 70.0, 0.6, 1.5),
    PatternRule("doji", NEUTRAL, False, 60.0, 1.2, 1.2),
    PatternRule("three_white_soldiers", BULLISH, False, 75.0, 1.6, 0.5),
    PatternRule("three_black_crows", BEARISH, False, 75.0, 0.5, 1.6),
    PatternRule("gap_up", BULLISH, True, 70.0, 1.7, 0.4),
    PatternRule("gap_down", BEARISH, True, 70.0, 0.4, 1.7),
    PatternRule("volume_surge", BULLISH, True, 65.0, 1.4, 1.4),
    PatternRule("volume_surge", BEARISH, True, 65.0, 1.4, 1.4),
)
SIDES = np.array([rule.direction for rule in PATTERN_RULES])


def signals(inputs: RuleInputs) -> RuleSignals:
    """Score each bar; direction by the patterns' majority, an extreme RSI where they have none, news as a veto."""
    side, pattern = _patterns(inputs)
    score = (
        WEIGHTS["catalyst"] * _catalyst_score(inputs)
        + WEIGHTS["pattern"] * pattern
        + WEIGHTS["indicators"] * _indicator_score(inputs.bar.close, inputs.readings)
        + WEIGHTS["volume"] * _volume_score(inputs.readings.volume_ratio)
    )
    at, sentiment = inputs.readings, inputs.catalysts.sentiment
    action = np.sign(side.sum(axis=1))
    # The extreme fills a HOLD and never turns a majority round.
    action = np.where((at.rsi < 30.0) & (action != BEARISH), BULLISH, action)
    action = np.where((at.rsi > 70.0) & (action != BULLISH), BEARISH, action)
    is_vetoed = action * sentiment < 0
    return RuleSignals(score, np.where(is_vetoed | ~(score >= HOLD_BELOW), 0, action))


def pattern_confidences(sentiment: int, *, has_catalyst: bool) -> np.ndarray:
    """Return the confidence of each of :data:`PATTERN_RULES` under a news sentiment (+1, 0 or -1)."""
    boost = {1: [r.times_positive for r in PATTERN_RULES], -1: [r.times_negative for r in PATTERN_RULES]}
    factor = np.array(boost.get(sentiment, [1.0] * len(PATTERN_RULES)))
    if has_catalyst:
        factor *= [MOMENTUM_WITH_CATALYST if rule.is_momentum else 1.0 for rule in PATTERN_RULES]
    return np.minimum(100.0, [rule.base for rule in PATTERN_RULES] * factor)


def percent_levels(
    action: np.ndarray, price: np.ndarray, atr: np.ndarray, score: np.ndarray, catalyst_score: np.ndarray
) -> SignalLevels:
    """Stop 1, 2 or 3 % by the catalyst's raw score, targets at 1.5 and 3 times the risk, size by confidence."""
    side = np.where(action == 0, np.nan, action)
    entry = price * (1.0 - side * ENTRY_IMPROVEMENT)
    risk = entry * _step(catalyst_score, STOP_PERCENT_BY_CATALYST) / 100.0
    first, second = (entry + side * times * risk for times in TARGETS_IN_RISK)
    size = np.where(action == 0, 0.0, _step(score, SIZE_BY_CONFIDENCE, otherwise=0.0))
    return SignalLevels(entry, entry - side * risk, first, second, size)


def _catalyst_score(inputs: RuleInputs) -> np.ndarray:
    catalysts = inputs.catalysts
    factor = catalysts.by_type(TYPE_FACTORS, otherwise=1.0)
    factor *= np.where(catalysts.n_stories > MANY_STORIES, MANY_STORIES_FACTOR, 1.0)
    return np.minimum(100.0, catalysts.score * factor)


def _patterns(inputs: RuleInputs) -> tuple[np.ndarray, np.ndarray]:
    """Return the sides (n_events, 3) of each bar's three most confident patterns, and the pattern score."""
    sentiment, is_present = inputs.catalysts.sentiment, inputs.catalysts.is_present
    table = np.stack(
        [
            pattern_confidences(0, has_catalyst=False),
            *(pattern_confidences(value, has_catalyst=True) for value in (-1, 0, 1)),
        ]
    )  # (no catalyst and 3 sentiments, n_rules)
    confidence = table[np.where(is_present, sentiment + 2, 0)]
    column, kept = strongest(np.where(_patterns_seen(inputs), confidence, 0.0), MAX_PATTERNS)
    is_kept = kept > 0.0
    side = np.where(is_kept, SIDES[column], NEUTRAL)
    agrees = (is_kept.sum(axis=1) > 1) & (~is_kept | (side == side[:, :1])).all(axis=1)
    return side, np.where(agrees, np.minimum(100.0, AGREEMENT_FACTOR * kept[:, 0]), kept[:, 0])


def _patterns_seen(inputs: RuleInputs) -> np.ndarray:
    """Return which pattern rules apply at each event's bar, by the conditions of v2.0.0.  # (n_events, n_rules)"""
    bar, previous, first = inputs.bar, inputs.previous, inputs.before_previous
    surge = inputs.readings.surge_19
    shared = directional_patterns(bar, previous, first, surge)
    is_up, was_up, first_up = (candle.close > candle.open for candle in (bar, previous, first))
    is_down, was_down, first_down = (candle.close < candle.open for candle in (bar, previous, first))
    gap = 100.0 * (bar.open - previous.close) / previous.close
    own = {
        ("engulfing", BULLISH): is_up & was_down & (bar.open <= previous.close) & (bar.close >= previous.open),
        ("engulfing", BEARISH): is_down & was_up & (bar.open >= previous.close) & (bar.close <= previous.open),
        ("doji", NEUTRAL): is_doji(bar),
        ("three_white_soldiers", BULLISH): is_up & was_up & first_up,
        ("three_black_crows", BEARISH): is_down & was_down & first_down,
        ("gap_up", BULLISH): gap >= GAP_PERCENT,
        ("gap_down", BEARISH): -gap >= GAP_PERCENT,
        ("volume_surge", BULLISH): (surge >= VOLUME_SURGE_RATIO) & is_up,
        ("volume_surge", BEARISH): (surge >= VOLUME_SURGE_RATIO) & ~is_up,
    }
    seen = shared | own
    return np.column_stack([seen[rule.pattern, rule.direction] for rule in PATTERN_RULES])


def _indicator_score(close: np.ndarray, at: Readings) -> np.ndarray:
    """Return how bullish the indicators are, 0-100 (for a SELL too, as upstream); NaN before 50 bars."""
    is_above = (close > at.mean_20) & (at.mean_20 > at.mean_50)
    is_below = (close < at.mean_20) & (at.mean_20 < at.mean_50)
    score = 50.0 + 20.0 * (at.rsi < 30.0) - 20.0 * (at.rsi > 70.0)
    score += np.where(at.macd > at.macd_signal, 15.0, -15.0)
    # Order of the means, 15, and trend, 10: the same comparison twice in v2.0.0.
    score += 25.0 * is_above - 25.0 * is_below
    is_known = ~np.isnan(at.rsi + at.macd + at.macd_signal + at.mean_50)
    return np.where(is_known, np.clip(score, 0.0, 100.0), np.nan)


def _volume_score(ratio: np.ndarray) -> np.ndarray:
    """Return 90, 70, 50 or 30; 50 where nothing was traded in 20 bars."""
    return np.where(
        np.isnan(ratio), 50.0, np.select([ratio >= 2.0, ratio >= 1.5, ratio >= 1.0], [90.0, 70.0, 50.0], 30.0)
    )


def _step(values: np.ndarray, steps: tuple[tuple[float, float], ...], *, otherwise: float = np.nan) -> np.ndarray:
    """Return the second number of the first step that each value reaches."""
    return np.select([values >= bound for bound, _ in steps], [result for _, result in steps], otherwise)

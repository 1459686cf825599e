"""Upstream's rules of July 2025 (pattern service v2.1.2, technical service v2.1.3, trader v2.1.3), twice.

*Intended*: keys between the services repaired, news reaching the patterns, the alignment bonus firing, HOLD meaning
no trade. *Shipped*: what the running services computed. They read keys that the other side did not send, so news never
reached a pattern's confidence, patterns counted with a flat strength of 50 and had no vote, and the trader sold on
every signal that was not a buy. Side by side, with examples: ``docs/rules.md``.

Choices where upstream leaves one
---------------------------------
- Indicators run over all bars given, at the bars' own timeframe. Upstream takes one year of daily bars whatever the
  pattern's timeframe; on daily bars a year or all history differ by less than 1e-6 of an indicator's scale.
- The newest bar is closed. Upstream's last bar may be unfinished, which history cannot replay.
- A doji is neutral whatever direction its event was given: it counts in P and has no vote.
- ``volume_surge`` compares with the 20 bars before; upstream with all earlier bars of its frame, whatever its length.
- Pre-market factors never apply: a bar of the regular session closes in the session.
- Sentiment is the story's own. Upstream derives it from the type and knows none for the coarse types it emits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from catalyst_ml.market.detector import BEARISH, BULLISH, directional_patterns, is_doji
from catalyst_ml.market.rule_inputs import Readings, RuleInputs, RuleSignals, SignalLevels, strongest

TRADE_SCORE = 60.0
"""The trader acts from this confidence on."""
MIN_PATTERN_CONFIDENCE = 60.0
MAX_PATTERNS = 5
SHIPPED_STRENGTH = 50.0
"""What the technical service assumes of a pattern that does not send its ``strength``; none does."""
NO_PATTERN_SCORE = 30.0
BONUS_TYPES = ("earnings", "merger", "fda_approval", "guidance")
STOP_ATR, TARGET_ATR = 2.0, 3.0
MISSING_ATR_SHARE = 0.02
"""Upstream's stand-in for an unknown ATR, as a share of the price."""
NEUTRAL = 0


class PatternRule(NamedTuple):
    """Base confidence of a pattern and what news sentiment does to it (pattern service v2.1.2)."""

    pattern: str
    direction: int
    family: str
    base: float
    times_positive: float
    times_negative: float


PATTERN_RULES: tuple[PatternRule, ...] = (
    PatternRule("hammer", BULLISH, "reversal", 65.0, 1.5, 0.7),
    PatternRule("shooting_star", BEARISH, "reversal", 65.0, 0.7, 1.5),
    PatternRule("engulfing", BULLISH, "reversal", 70.0, 1.4, 1.4),
    PatternRule("engulfing", BEARISH, "reversal", 70.0, 1.4, 1.4),
    PatternRule("doji", NEUTRAL, "reversal", 55.0, 1.3, 1.3),
    PatternRule("three_white_soldiers", BULLISH, "continuation", 75.0, 1.6, 0.5),
    PatternRule("three_black_crows", BEARISH, "continuation", 75.0, 0.5, 1.6),
    PatternRule("gap_up", BULLISH, "momentum", 60.0, 1.7, 0.4),
    PatternRule("gap_down", BEARISH, "momentum", 60.0, 0.4, 1.7),
    PatternRule("volume_surge", BULLISH, "momentum", 50.0, 1.5, 1.5),
    PatternRule("volume_surge", BEARISH, "momentum", 50.0, 1.5, 1.5),
)
SIDES = np.array([rule.direction for rule in PATTERN_RULES])
ALIGNED_FACTOR = {"reversal": 1.2, "continuation": 1.3, "momentum": 1.5}
OPPOSED_FACTOR = {"reversal": 0.7, "continuation": 1.0, "momentum": 1.0}


def intended_signals(inputs: RuleInputs) -> RuleSignals:
    """Score and vote with the services' keys repaired; a HOLD stays a HOLD."""
    sentiment = inputs.catalysts.sentiment
    table = np.stack([pattern_confidences(value) for value in (-1, 0, 1)])  # (3 sentiments, n_rules)
    patterns = _kept_patterns(patterns_seen(inputs), table[sentiment + 1])
    mean = patterns.confidence.sum(axis=1) / np.maximum(patterns.n, 1)
    bulls, bears = _votes(inputs)
    bulls += (patterns.side == BULLISH).sum(axis=1)
    bears += (patterns.side == BEARISH).sum(axis=1)
    return _signals(inputs, _pattern_score(patterns.n, mean), bulls, bears, hold=0)


def shipped_signals(inputs: RuleInputs) -> RuleSignals:
    """Score and vote as the running services did; a HOLD row was a SELL to the trader."""
    bare = np.array([rule.base for rule in PATTERN_RULES])
    n = _kept_patterns(patterns_seen(inputs), bare).n
    return _signals(inputs, _pattern_score(n, SHIPPED_STRENGTH), *_votes(inputs), hold=BEARISH)


def pattern_confidences(sentiment: int) -> np.ndarray:
    """Return the intended confidence of each of :data:`PATTERN_RULES` under a news sentiment (+1, 0 or -1)."""
    return np.array([_pattern_confidence(rule, sentiment) for rule in PATTERN_RULES])


def patterns_seen(inputs: RuleInputs) -> np.ndarray:
    """Return which pattern rules apply at each event's bar.  # (n_events, n_rules)"""
    seen = directional_patterns(inputs.bar, inputs.previous, inputs.before_previous, inputs.readings.surge_20)
    doji = is_doji(inputs.bar)
    return np.column_stack([seen.get((rule.pattern, rule.direction), doji) for rule in PATTERN_RULES])


def atr_levels(
    action: np.ndarray, price: np.ndarray, atr: np.ndarray, score: np.ndarray, catalyst_score: np.ndarray
) -> SignalLevels:
    """Stop at two ATR, target at three; dollars in proportion to confidence, none below :data:`TRADE_SCORE`."""
    side = np.where(action == 0, np.nan, action)
    reach = np.where(np.isnan(atr), MISSING_ATR_SHARE * price, atr)
    return SignalLevels(
        entry=price * np.abs(side),
        stop=price - side * STOP_ATR * reach,
        target=price + side * TARGET_ATR * reach,
        second_target=np.full_like(price, np.nan),
        size=np.where((action != 0) & (score >= TRADE_SCORE), np.minimum(score / 100.0, 1.0), 0.0),
    )


def technical_score(at: Readings) -> np.ndarray:
    """Return T, 55-95; NaN where an indicator is unknown (before 34 bars)."""
    is_extreme = (at.rsi < 30.0) | (at.rsi > 70.0)
    is_inside = (at.rsi > 30.0) & (at.rsi < 70.0)  # exactly 30 or 70 earns nothing, as upstream
    score = 50.0 + 20.0 * is_extreme + 10.0 * is_inside + np.where(_price_leg(at) == _macd_leg(at), 15.0, 5.0)
    score += 10.0 * (at.volume_ratio > 1.5)
    is_known = ~np.isnan(at.rsi + at.macd + at.macd_signal + at.mean_30)
    return np.where(is_known, np.minimum(100.0, score), np.nan)


def _pattern_confidence(rule: PatternRule, sentiment: int) -> float:
    factor = {1: rule.times_positive, -1: rule.times_negative, 0: 1.0}[sentiment]
    if rule.direction * sentiment > 0:
        factor *= ALIGNED_FACTOR[rule.family]
    elif rule.direction * sentiment < 0:
        factor *= OPPOSED_FACTOR[rule.family]
    return round(min(100.0, rule.base * factor), 2)


class _Kept(NamedTuple):
    """The patterns that are returned of each bar: confidence and side (n_events, 5), 0 where none; their number."""

    confidence: np.ndarray
    side: np.ndarray
    n: np.ndarray


def _kept_patterns(seen: np.ndarray, confidence: np.ndarray) -> _Kept:
    """Keep each bar's five most confident patterns from 60 on."""
    column, kept = strongest(np.where(seen & (confidence >= MIN_PATTERN_CONFIDENCE), confidence, 0.0), MAX_PATTERNS)
    is_kept = kept > 0.0
    return _Kept(kept, np.where(is_kept, SIDES[column], NEUTRAL), is_kept.sum(axis=1))


def _pattern_score(n: np.ndarray, mean_strength: np.ndarray | float) -> np.ndarray:
    """Return P, 30-100."""
    return np.where(n > 0, np.minimum(100.0, mean_strength + np.minimum(5.0 * n, 20.0)), NO_PATTERN_SCORE)


def _votes(inputs: RuleInputs) -> tuple[np.ndarray, np.ndarray]:
    """Count the bullish and the bearish votes of indicators and news."""
    at, sentiment = inputs.readings, inputs.catalysts.sentiment
    price, macd = _price_leg(at), _macd_leg(at)
    bulls = (at.rsi < 30.0).astype(np.int64) + (macd == BULLISH)
    bears = (at.rsi > 70.0).astype(np.int64) + (macd == BEARISH)
    bulls += ((price == macd) & (macd == BULLISH)) + 2 * (sentiment > 0)
    bears += ((price == macd) & (macd == BEARISH)) + 2 * (sentiment < 0)
    return bulls, bears


def _price_leg(at: Readings) -> np.ndarray:
    return np.where(at.mean_10 > at.mean_30, BULLISH, BEARISH)


def _macd_leg(at: Readings) -> np.ndarray:
    return np.where(at.macd > at.macd_signal, BULLISH, BEARISH)


def _signals(
    inputs: RuleInputs, pattern_score: np.ndarray, bulls: np.ndarray, bears: np.ndarray, *, hold: int
) -> RuleSignals:
    """Weigh the three parts; ``hold`` is what becomes of a bar without a majority of two."""
    has_bonus = inputs.catalysts.by_type(dict.fromkeys(BONUS_TYPES, 10.0), otherwise=0.0)
    catalyst = np.minimum(100.0, inputs.catalysts.score + has_bonus)
    score = 0.4 * technical_score(inputs.readings) + 0.3 * pattern_score + 0.3 * catalyst
    action = np.where(bulls > bears + 1, BULLISH, np.where(bears > bulls + 1, BEARISH, hold))
    return RuleSignals(score, np.where(np.isnan(score), 0, action))

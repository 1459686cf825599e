"""The control arm ``rules_intended_v213``: what upstream's signal rules say about each event's bar.

Upstream's rules as they were meant (technical service v2.1.3 on patterns of service v2.1.2): keys between the
services repaired, the alignment bonus firing, HOLD meaning no trade. The result is a 0-100 confidence, not a
probability; calibration happens elsewhere.

Choices where upstream's description leaves one
-----------------------------------------------
- A signal belongs to a symbol and a bar: patterns of *both* directions at the bar enter it, so two events of
  one bar carry one score. A pattern held back by the detector's cooldown does not count.
- A doji is neutral here, whatever direction its event was given: it counts in P and has no vote.
- Families: hammer, shooting_star, engulfing, doji reverse; three soldiers or crows continue; gaps and
  volume_surge are momentum.
- Final confidence may exceed 100 through a family factor (the cap comes before it); P itself is capped.
- Only the five patterns that are returned have votes; equal confidences keep the order of ``PATTERNS``.
- News is the best-scored story of the last 24 hours, the newest among equals; its sentiment is the context's.
- Pre-market factors never apply: a daily bar closes at the session's end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.frames import PATTERNS, RULE_SCORES, pattern_column
from catalyst_ml.indicators import kernels
from catalyst_ml.indicators.segments import symbol_slices
from catalyst_ml.market.detector import BEARISH, BULLISH
from catalyst_ml.market.event_rows import microseconds, rows_of_events

RULES_VERSION = "rules_intended_v213"
TRADE_CONFIDENCE = 60.0
"""Upstream's trader executes BUY and SELL signals from this confidence on."""

MIN_PATTERN_CONFIDENCE = 60.0
MAX_PATTERNS = 5
NEWS_WINDOW_US = 24 * 3_600 * 1_000_000
BONUS_TYPES = ("earnings", "merger", "fda_approval", "guidance")
NEUTRAL = 0


class PatternRule(NamedTuple):
    """Base confidence of a pattern and what news sentiment does to it (upstream reference, 2.2 and 2.3)."""

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
ALIGNED_FACTOR = {"reversal": 1.2, "continuation": 1.3, "momentum": 1.5}
OPPOSED_FACTOR = {"reversal": 0.7, "continuation": 1.0, "momentum": 1.0}


def score_events(events: pd.DataFrame, bars: pd.DataFrame, news: pd.DataFrame) -> pd.DataFrame:
    """Return the rule arm's confidence and action for each event.

    Parameters
    ----------
    events : EVENTS
    bars : BARS
        Split-adjusted, sorted by symbol and ts; must hold the bars of all events.
    news : NEWS
        Stories published in (ts - 24 h, ts] count, by time of publication; may be empty.

    Returns
    -------
    RULE_SCORES
        One row per event, order kept. ``rule_score`` = 0.4 T + 0.3 P + 0.3 C, 0-100; NaN, with action HOLD,
        only where the indicators lack history (34 bars). ``rule_action`` is the vote alone: whether a trade
        follows also depends on :data:`TRADE_CONFIDENCE`.

    Raises
    ------
    DataContractError
        If an event has no bar.
    """
    if events.empty:
        return RULE_SCORES.empty()
    indicators = _indicators_at(rows_of_events(events, bars), bars)
    story = _best_stories(events, news)
    patterns = _patterns_of_bars(events, story.sentiment)
    catalyst = np.minimum(100.0, story.score + 10.0 * story.has_bonus_type)
    score = 0.4 * _technical_score(indicators) + 0.3 * patterns.score + 0.3 * catalyst
    bulls, bears = _votes(indicators, patterns, story.sentiment)
    action = np.where(bulls > bears + 1, 1, np.where(bears > bulls + 1, -1, 0))
    action[np.isnan(score)] = 0
    keys = events[["symbol", "ts", "direction"]].reset_index(drop=True)
    return keys.assign(rule_score=score, rule_action=action.astype(np.int8))


def pattern_confidences(sentiment: int) -> np.ndarray:
    """Return the final confidence of each of :data:`PATTERN_RULES` under a news sentiment (+1, 0 or -1)."""
    return np.array([_pattern_confidence(rule, sentiment) for rule in PATTERN_RULES])


def _pattern_confidence(rule: PatternRule, sentiment: int) -> float:
    multiplier = {1: rule.times_positive, -1: rule.times_negative, 0: 1.0}[sentiment]
    confidence = min(100.0, rule.base * multiplier)
    if rule.direction * sentiment > 0:
        return confidence * ALIGNED_FACTOR[rule.family]
    if rule.direction * sentiment < 0:
        return confidence * OPPOSED_FACTOR[rule.family]
    return confidence


class _Indicators(NamedTuple):
    """Readings at each event's bar, (n_events,) each; NaN before warm-up."""

    rsi: np.ndarray
    macd: np.ndarray
    macd_signal: np.ndarray
    mean_10: np.ndarray
    mean_30: np.ndarray
    volume_ratio: np.ndarray

    @property
    def price_leg(self) -> np.ndarray:
        return np.where(self.mean_10 > self.mean_30, BULLISH, BEARISH)

    @property
    def macd_leg(self) -> np.ndarray:
        return np.where(self.macd > self.macd_signal, BULLISH, BEARISH)


def _indicators_at(row: np.ndarray, bars: pd.DataFrame) -> _Indicators:
    """Compute the indicators over each symbol's bars and read them at the given rows."""
    close = np.array(bars["close"], dtype=np.float64)
    volume = np.array(bars["volume"], dtype=np.float64)
    readings = np.empty((len(_Indicators._fields), len(bars)))
    for _, rows in symbol_slices(bars["symbol"]):
        mean_volume = kernels.sma(volume[rows], 20)
        line, signal, _ = kernels.macd(close[rows], 12, 26, 9)
        readings[0, rows] = kernels.rsi(close[rows], 14)
        readings[1, rows], readings[2, rows] = line, signal
        readings[3, rows], readings[4, rows] = kernels.sma(close[rows], 10), kernels.sma(close[rows], 30)
        # Twenty bars without a trade: nothing to compare with, so no bonus, but no reason to lose the score.
        ratio = np.divide(volume[rows], mean_volume, out=np.zeros_like(mean_volume), where=mean_volume > 0.0)
        readings[5, rows] = ratio
    return _Indicators(*readings[:, row])


def _technical_score(at: _Indicators) -> np.ndarray:
    """Return T, 55-95; NaN where an indicator is unknown."""
    is_extreme = (at.rsi < 30.0) | (at.rsi > 70.0)
    is_inside = (at.rsi > 30.0) & (at.rsi < 70.0)  # exactly 30 or 70 earns nothing, as upstream
    is_strong = at.price_leg == at.macd_leg
    score = 50.0 + 20.0 * is_extreme + 10.0 * is_inside + np.where(is_strong, 15.0, 5.0)
    score += 10.0 * (at.volume_ratio > 1.5)
    is_known = ~np.isnan(at.rsi + at.macd + at.macd_signal + at.mean_30)
    return np.where(is_known, np.minimum(100.0, score), np.nan)


class _Stories(NamedTuple):
    """The best news of each event, (n_events,) each; score 0 and sentiment 0 without news."""

    score: np.ndarray
    sentiment: np.ndarray
    has_bonus_type: np.ndarray


def _best_stories(events: pd.DataFrame, news: pd.DataFrame) -> _Stories:
    """Find each event's best-scored story among those published in the 24 hours up to its bar's close."""
    first, stop = _news_ranges(events, news)
    n_stories = stop - first
    event = np.repeat(np.arange(len(events)), n_stories)
    row = np.arange(n_stories.sum()) - np.repeat(np.cumsum(n_stories) - n_stories, n_stories)
    row += np.repeat(first, n_stories)
    score = news["score"].to_numpy()
    order = np.lexsort((row, score[row], event))  # last of an event: highest score, then newest
    is_last = np.diff(event[order], append=-1) != 0
    best, owner = row[order][is_last], event[order][is_last]
    out = _Stories(np.zeros(len(events)), np.zeros(len(events), dtype=np.int64), np.zeros(len(events), dtype=bool))
    sentiment = news["sentiment"].map({"positive": 1, "negative": -1, "neutral": 0}).to_numpy(dtype=np.int64)
    out.score[owner] = score[best]
    out.sentiment[owner] = sentiment[best]
    out.has_bonus_type[owner] = news["catalyst_type"].isin(BONUS_TYPES).to_numpy()[best]
    return out


def _news_ranges(events: pd.DataFrame, news: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return first and end row, in ``news``, of each event's stories."""
    codes, names = pd.factorize(news["symbol"])
    published = microseconds(news["published_at"])
    closes = microseconds(events["ts"])
    moments = np.unique(np.concatenate([published, closes, closes - NEWS_WINDOW_US]))
    symbol = pd.Index(names).get_indexer(pd.Index(events["symbol"])).astype(np.int64)
    key = codes.astype(np.int64) * len(moments) + np.searchsorted(moments, published)

    def rows_up_to(moment: np.ndarray) -> np.ndarray:
        return np.searchsorted(key, symbol * len(moments) + np.searchsorted(moments, moment), side="right")

    return rows_up_to(closes - NEWS_WINDOW_US), rows_up_to(closes)


class _Patterns(NamedTuple):
    """What the patterns of each event's bar add, (n_events,) each."""

    score: np.ndarray
    n_bullish: np.ndarray
    n_bearish: np.ndarray


def _patterns_of_bars(events: pd.DataFrame, sentiment: np.ndarray) -> _Patterns:
    """Return P and the pattern votes of each event's bar: its five most confident patterns, from 60 on."""
    table = np.stack([pattern_confidences(value) for value in (-1, 0, 1)])  # (3 sentiments, n_rules)
    confidence = np.where(_rules_seen(events), table[sentiment + 1], 0.0)  # (n_events, n_rules)
    confidence[confidence < MIN_PATTERN_CONFIDENCE] = 0.0
    top = np.argsort(-confidence, axis=1, kind="stable")[:, :MAX_PATTERNS]
    kept = np.take_along_axis(confidence, top, axis=1)
    is_kept = kept > 0.0
    n = is_kept.sum(axis=1)
    mean = kept.sum(axis=1) / np.maximum(n, 1)
    score = np.where(n > 0, np.minimum(100.0, mean + np.minimum(5.0 * n, 20.0)), 30.0)
    side = np.array([rule.direction for rule in PATTERN_RULES])[top]
    return _Patterns(score, (is_kept & (side == BULLISH)).sum(axis=1), (is_kept & (side == BEARISH)).sum(axis=1))


def _rules_seen(events: pd.DataFrame) -> np.ndarray:
    """Return which pattern rules apply at each event's *bar*, over both directions.  # (n_events, n_rules)"""
    flags = {p: events[pattern_column(p)].to_numpy() for p in PATTERNS}
    direction = events["direction"].to_numpy()
    own = np.column_stack(
        [flags[rule.pattern] & ((direction == rule.direction) | (rule.direction == NEUTRAL)) for rule in PATTERN_RULES]
    )
    bar = events.groupby(["symbol", "ts"], sort=False).ngroup().to_numpy()
    of_bar = np.zeros((bar.max() + 1, len(PATTERN_RULES)), dtype=bool)
    np.logical_or.at(of_bar, bar, own)
    return of_bar[bar]


def _votes(at: _Indicators, patterns: _Patterns, sentiment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the bullish and the bearish votes of each event's bar."""
    is_strong = at.price_leg == at.macd_leg
    bulls = (at.rsi < 30.0).astype(np.int64) + (at.macd_leg == BULLISH)
    bears = (at.rsi > 70.0).astype(np.int64) + (at.macd_leg == BEARISH)
    bulls += (is_strong & (at.price_leg == BULLISH)) + patterns.n_bullish + 2 * (sentiment > 0)
    bears += (is_strong & (at.price_leg == BEARISH)) + patterns.n_bearish + 2 * (sentiment < 0)
    return bulls, bears

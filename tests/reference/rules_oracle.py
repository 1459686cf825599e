"""Upstream's three sets of signal rules, one bar at a time by plain loops, with TA-Lib's indicators."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import talib

SIGN = {"positive": 1, "negative": -1, "neutral": 0}
# pattern: family, base, multiplier for (positive, negative) sentiment
V213 = {
    "hammer": ("reversal", 65, 1.5, 0.7),
    "shooting_star": ("reversal", 65, 0.7, 1.5),
    "engulfing": ("reversal", 70, 1.4, 1.4),
    "doji": ("reversal", 55, 1.3, 1.3),
    "three_white_soldiers": ("continuation", 75, 1.6, 0.5),
    "three_black_crows": ("continuation", 75, 0.5, 1.6),
    "gap_up": ("momentum", 60, 1.7, 0.4),
    "gap_down": ("momentum", 60, 0.4, 1.7),
    "volume_surge": ("momentum", 50, 1.5, 1.5),
}
V200 = {
    "hammer": (65, 1.5, 0.7),
    "shooting_star": (65, 0.7, 1.5),
    "bullish_engulfing": (70, 1.5, 0.6),
    "bearish_engulfing": (70, 0.6, 1.5),
    "doji": (60, 1.2, 1.2),
    "three_white_soldiers": (75, 1.6, 0.5),
    "three_black_crows": (75, 0.5, 1.6),
    "gap_up": (70, 1.7, 0.4),
    "gap_down": (70, 0.4, 1.7),
    "volume_surge": (65, 1.4, 1.4),
}


class Context(NamedTuple):
    """The catalyst: best story of the last 24 hours, and how many there were."""

    score: float
    mood: int
    kind: str | None
    n: int


def score_bar(arm: str, bars: pd.DataFrame, sessions: list[int], stories: list[dict]) -> tuple[float, int]:
    """Return (confidence, action) at the last of one symbol's bars; ``sessions`` numbers the exchange day of each."""
    rows = bars[["open", "high", "low", "close", "volume"]].to_numpy()
    context = _context(stories, bars["ts"].iloc[-1])
    if arm == "rules_v200":
        return _v200(rows, sessions, context)
    return _v213(rows, sessions, context, is_shipped=arm == "rules_shipped_v213")


def _context(stories: list[dict], ts: pd.Timestamp) -> Context:
    recent = [s for s in stories if ts - pd.Timedelta(hours=24) < s["published_at"] <= ts]
    best = max(recent, key=lambda s: (s["score"], s["published_at"]), default=None)
    if best is None:
        return Context(0.0, 0, None, 0)
    return Context(best["score"], SIGN[best["sentiment"]], best["catalyst_type"], len(recent))


def _v213(rows: np.ndarray, sessions: list[int], context: Context, *, is_shipped: bool) -> tuple[float, int]:
    close, volume = rows[:, 3].copy(), rows[:, 4].copy()
    rsi = talib.RSI(close, 14)[-1]
    macd, signal, _ = (line[-1] for line in talib.MACD(close, 12, 26, 9))
    if math.isnan(rsi) or math.isnan(signal):
        return math.nan, 0
    legs = (1 if close[-10:].mean() > close[-30:].mean() else -1, 1 if macd > signal else -1)
    technical = 50 + (10 if 30 < rsi < 70 else 0) + (20 if rsi < 30 or rsi > 70 else 0)
    technical += 15 if legs[0] == legs[1] else 5
    mean_volume = volume[-20:].mean()
    technical += 10 if mean_volume > 0 and volume[-1] / mean_volume > 1.5 else 0
    bonus = 10 if context.kind in ("earnings", "merger", "fda_approval", "guidance") else 0
    catalyst = min(100, context.score + bonus)

    found = []
    for pattern, side in _patterns(rows, sessions, is_v200=False):
        pattern = pattern.split("_", 1)[1] if pattern.endswith("engulfing") else pattern
        confidence = V213[pattern][1] if is_shipped else _v213_confidence(pattern, side, context.mood)
        if confidence >= 60:
            found.append((confidence, side))
    found = sorted(found, key=lambda x: -x[0])[:5]
    strengths = [50 if is_shipped else confidence for confidence, _ in found]
    strength = min(100, sum(strengths) / len(found) + min(5 * len(found), 20)) if found else 30

    votes = [legs[1]] + ([legs[0]] if legs[0] == legs[1] else []) + [context.mood, context.mood]
    votes += [] if is_shipped else [side for _, side in found]
    votes += [1] if rsi < 30 else [-1] if rsi > 70 else []
    balance = sum(votes)
    action = 1 if balance > 1 else -1 if balance < -1 else (-1 if is_shipped else 0)
    return 0.4 * min(100, technical) + 0.3 * strength + 0.3 * catalyst, action


def _v213_confidence(pattern: str, side: int, mood: int) -> float:
    family, base, positive, negative = V213[pattern]
    factor = {1: positive, -1: negative, 0: 1.0}[mood]
    if side * mood > 0:
        factor *= {"reversal": 1.2, "continuation": 1.3, "momentum": 1.5}[family]
    elif side * mood < 0 and family == "reversal":
        factor *= 0.7
    return min(100.0, base * factor)


def _v200(rows: np.ndarray, sessions: list[int], context: Context) -> tuple[float, int]:
    close, volume = rows[:, 3].copy(), rows[:, 4].copy()
    if len(close) < 50:
        return math.nan, 0
    rsi = talib.RSI(close, 14)[-1]
    histogram = talib.MACD(close, 12, 26, 9)[2][-1]
    ordered = [close[-1], close[-20:].mean(), close[-50:].mean()]
    indicators = 50 + (20 if rsi < 30 else -20 if rsi > 70 else 0) + (15 if histogram > 0 else -15)
    if ordered[0] > ordered[1] > ordered[2]:
        indicators += 25
    if ordered[0] < ordered[1] < ordered[2]:
        indicators -= 25
    mean_volume = volume[-20:].mean()
    ratio = volume[-1] / mean_volume if mean_volume > 0 else 1
    loudness = 90 if ratio >= 2 else 70 if ratio >= 1.5 else 50 if ratio >= 1 else 30
    kinds = {"earnings_beat": 1.3, "fda_approval": 1.5, "merger": 1.4, "upgrade": 1.2}
    kinds |= {"earnings_miss": 1.3, "downgrade": 1.2, "lawsuit": 1.1}
    catalyst = min(100, context.score * kinds.get(context.kind, 1.0) * (1.1 if context.n > 3 else 1.0))

    found = []
    for pattern, side in _patterns(rows, sessions, is_v200=True):
        base, positive, negative = V200[pattern]
        confidence = base * {1: positive, -1: negative, 0: 1.0}[context.mood]
        if context.n > 0 and pattern in ("gap_up", "gap_down", "volume_surge"):
            confidence *= 1.2
        found.append((min(100.0, confidence), side))
    found = sorted(found, key=lambda x: -x[0])[:3]
    sides = [side for _, side in found]
    strength = max((confidence for confidence, _ in found), default=0.0)
    if len(found) > 1 and len(set(sides)) == 1:
        strength = min(100.0, strength * 1.1)

    confidence = 0.35 * catalyst + 0.35 * strength + 0.2 * max(0, min(100, indicators)) + 0.1 * loudness
    if confidence < 30:
        return confidence, 0
    balance = sides.count(1) - sides.count(-1)
    action = 1 if balance > 0 else -1 if balance < 0 else 0
    if rsi < 30 and action != -1:
        action = 1
    elif rsi > 70 and action != 1:
        action = -1
    return confidence, 0 if action * context.mood == -1 else action


def _patterns(rows: np.ndarray, sessions: list[int], *, is_v200: bool) -> list[tuple[str, int]]:
    """Return (pattern, side) of the last bar in upstream's order; a missing session hides what compares across it."""
    o, h, lo, c, v = rows[-1]
    body, up, low = abs(c - o), h - max(o, c), min(o, c) - lo
    has_one = len(rows) > 1 and sessions[-1] - sessions[-2] == 1
    has_two = len(rows) > 2 and sessions[-1] - sessions[-3] == 2
    o1, _, _, c1, _ = rows[-2] if has_one else [math.nan] * 5
    o2, _, _, c2, _ = rows[-3] if has_two else [math.nan] * 5
    found = []
    if low > 2 * body and up < body:
        found.append(("hammer", 1))
    if up > 2 * body and low < body:
        found.append(("shooting_star", -1))
    touches = is_v200
    if c > o and c1 < o1 and (o < c1 or (touches and o == c1)) and (c > o1 or (touches and c == o1)):
        found.append(("bullish_engulfing", 1))
    if c < o and c1 > o1 and (o > c1 or (touches and o == c1)) and (c < o1 or (touches and c == o1)):
        found.append(("bearish_engulfing", -1))
    if h > lo and body / (h - lo) < 0.1:
        found.append(("doji", 0))
    if c > o and c1 > o1 and c2 > o2 and (is_v200 or c2 < c1 < c):
        found.append(("three_white_soldiers", 1))
    if c < o and c1 < o1 and c2 < o2 and (is_v200 or c2 > c1 > c):
        found.append(("three_black_crows", -1))
    least = 2.0 if is_v200 else 1.0
    if 100 * (o - c1) / c1 >= least:
        found.append(("gap_up", 1))
    if 100 * (c1 - o) / c1 >= least:
        found.append(("gap_down", -1))
    n = 19 if is_v200 else 20
    if len(rows) > n and sessions[-1] - sessions[-1 - n] <= 2 * n:
        mean = rows[-1 - n : -1, 4].mean()
        if mean > 0 and v / mean >= 2.0:
            found.append(("volume_surge", 1 if c > o else -1))
    return found

"""Upstream's signal rules v2.1.3 as intended, one bar at a time by plain loops, with TA-Lib's indicators."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import talib

# pattern: family, base, multiplier for (positive, negative) sentiment
PATTERNS = {
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
SIGN = {"positive": 1, "negative": -1, "neutral": 0}


def score_bar(
    close: np.ndarray, volume: np.ndarray, seen: set[tuple[str, int]], stories: list[dict], ts: pd.Timestamp
) -> tuple[float, int]:
    """Return (confidence, action) at the last bar given; ``seen`` holds (pattern, direction), doji with 0."""
    rsi = talib.RSI(close, 14)[-1]
    macd, signal, _ = (line[-1] for line in talib.MACD(close, 12, 26, 9))
    if math.isnan(rsi) or math.isnan(signal) or len(close) < 30:
        return math.nan, 0
    mean_volume = volume[-20:].mean()
    legs = (1 if close[-10:].mean() > close[-30:].mean() else -1, 1 if macd > signal else -1)
    technical = 50 + (10 if 30 < rsi < 70 else 0) + (20 if rsi < 30 or rsi > 70 else 0)
    technical += 15 if legs[0] == legs[1] else 5
    technical += 10 if mean_volume > 0 and volume[-1] / mean_volume > 1.5 else 0

    recent = [s for s in stories if ts - pd.Timedelta(hours=24) < s["published_at"] <= ts]
    story = max(recent, key=lambda s: (s["score"], s["published_at"]), default=None)
    mood = SIGN[story["sentiment"]] if story else 0
    catalyst = 0.0
    if story:
        bonus = 10 if story["catalyst_type"] in ("earnings", "merger", "fda_approval", "guidance") else 0
        catalyst = min(100, story["score"] + bonus)

    kept = sorted(((_confidence(p, side, mood), side) for p, side in seen), key=lambda x: -x[0])
    kept = [(confidence, side) for confidence, side in kept if confidence >= 60][:5]
    strength = 30.0
    if kept:
        strength = min(100, sum(c for c, _ in kept) / len(kept) + min(5 * len(kept), 20))

    votes = [side for _, side in kept] + [legs[1]] + ([legs[0]] if legs[0] == legs[1] else []) + [mood, mood]
    votes += [1] if rsi < 30 else [-1] if rsi > 70 else []
    balance = sum(votes)
    action = 1 if balance > 1 else -1 if balance < -1 else 0
    return 0.4 * min(100, technical) + 0.3 * strength + 0.3 * catalyst, action


def _confidence(pattern: str, side: int, mood: int) -> float:
    family, base, positive, negative = PATTERNS[pattern]
    confidence = min(100.0, base * {1: positive, -1: negative, 0: 1.0}[mood])
    if side * mood > 0:
        confidence *= {"reversal": 1.2, "continuation": 1.3, "momentum": 1.5}[family]
    elif side * mood < 0 and family == "reversal":
        confidence *= 0.7
    return confidence

"""Upstream's candlestick conditions bar by bar, by plain loops: slow, obvious, sharing no code with the library."""

from __future__ import annotations


def detect(bars: list[dict], places: list[int], cooldown: int = 3) -> set[tuple[int, int, str]]:
    """Return (bar number, direction, pattern) of one symbol's bars (dicts with open, high, low, close, volume).

    ``places`` says which session (or which of a session's bars) each bar is; a hole in it is a missing bar.
    """
    found: set[tuple[int, int, str]] = set()
    last: dict[tuple[str, int], int] = {}

    def accept(i: int, direction: int, pattern: str) -> None:
        before = last.get((pattern, direction))
        if before is None or places[i] - places[before] > cooldown:
            found.add((i, direction, pattern))
            last[(pattern, direction)] = i

    for i in range(19, len(bars)):
        if places[i] - places[i - 19] > 38:
            continue
        for pattern, direction in _directional(bars, places, i):
            accept(i, direction, pattern)
        if _is_doji(bars[i]):
            sides = sorted({direction for j, direction, _ in found if j == i})
            move = bars[i]["close"] - bars[i - 5]["close"]
            if not sides and move != 0 and places[i] - places[i - 5] <= 10:
                sides = [-1 if move > 0 else 1]
            for direction in sides:
                accept(i, direction, "doji")
    return found


def _is_doji(bar: dict) -> bool:
    span = bar["high"] - bar["low"]
    return span > 0 and abs(bar["close"] - bar["open"]) / span < 0.1


def _directional(bars: list[dict], places: list[int], i: int) -> list[tuple[str, int]]:
    b, b1, b2 = bars[i], bars[i - 1], bars[i - 2]
    o, h, low, c = b["open"], b["high"], b["low"], b["close"]
    body, upper, lower = abs(c - o), h - max(o, c), min(o, c) - low
    seen = []
    if lower > 2 * body and upper < body:
        seen.append(("hammer", 1))
    if upper > 2 * body and lower < body:
        seen.append(("shooting_star", -1))
    if places[i - 1] == places[i] - 1:
        o1, c1 = b1["open"], b1["close"]
        if c > o and c1 < o1 and o < c1 and c > o1:
            seen.append(("engulfing", 1))
        if c < o and c1 > o1 and o > c1 and c < o1:
            seen.append(("engulfing", -1))
        if 100 * (o - c1) / c1 >= 1.0:
            seen.append(("gap_up", 1))
        if 100 * (c1 - o) / c1 >= 1.0:
            seen.append(("gap_down", -1))
        if places[i - 2] == places[i] - 2:
            if c > o and c1 > o1 and b2["close"] > b2["open"] and b2["close"] < c1 < c:
                seen.append(("three_white_soldiers", 1))
            if c < o and c1 < o1 and b2["close"] < b2["open"] and b2["close"] > c1 > c:
                seen.append(("three_black_crows", -1))
    earlier = [bar["volume"] for bar in bars[max(i - 20, 0) : i]]
    is_recent = len(earlier) == 20 and places[i] - places[i - 20] <= 40
    if is_recent and sum(earlier) > 0 and b["volume"] / (sum(earlier) / 20) >= 2.0:
        seen.append(("volume_surge", 1 if c > o else -1))
    return seen

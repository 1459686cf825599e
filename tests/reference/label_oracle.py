"""Triple-barrier labels by plain loops over lists: slow, obvious, and sharing no code with the library."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

N_ATR = 14
HORIZON = 5
COST = 2 * 5.0 / 10_000


def label_event(
    bars: list[dict], decision: int, direction: int, closes: list[pd.Timestamp], as_of: pd.Timestamp
) -> dict:
    """Label one event on the bars of its symbol (dicts with ts, open, high, low, close), in time order.

    Returns a dict with ``state`` settled, pending or unlabelled; settled ones carry the label.
    """
    if bars[decision]["ts"] > as_of:
        return {"state": "pending"}
    atr = _wilder_atr(bars[: decision + 1])
    if atr is None:
        return {"state": "unlabelled", "reason": "short_history"}
    if atr == 0:
        return {"state": "unlabelled", "reason": "no_range"}
    session = next(i for i, close in enumerate(closes) if close >= bars[decision]["ts"])
    end = closes[session + HORIZON]
    path = [bar for bar in bars[decision + 1 :] if bar["ts"] <= end and bar["ts"] <= as_of]
    if not path:
        over = end <= as_of
        return {"state": "unlabelled", "reason": "no_bar_within_horizon"} if over else {"state": "pending"}
    entry = path[0]["open"]
    for bar in path:
        touched = _touch(bar, entry, direction, atr)
        if touched is not None:
            outcome, price = touched
            return _settled(outcome, entry, price, direction, path[0]["ts"], bar["ts"])
    if end > as_of:
        return {"state": "pending"}
    return _settled("timeout", entry, path[-1]["close"], direction, path[0]["ts"], end)


def _touch(bar: dict, entry: float, direction: int, atr: float) -> tuple[str, float] | None:
    if direction == 1:
        stop, target = entry - atr, entry + atr
        if bar["open"] <= stop:
            return "stop", bar["open"]
        if bar["open"] >= target:
            return "target", bar["open"]
        if bar["low"] <= stop:
            return "stop", stop
        if bar["high"] >= target:
            return "target", target
    else:
        stop, target = entry + atr, entry - atr
        if bar["open"] >= stop:
            return "stop", bar["open"]
        if bar["open"] <= target:
            return "target", bar["open"]
        if bar["high"] >= stop:
            return "stop", stop
        if bar["low"] <= target:
            return "target", target
    return None


def _settled(
    outcome: str, entry: float, price: float, direction: int, entry_ts: pd.Timestamp, end: pd.Timestamp
) -> dict:
    gross = (price - entry) / entry if direction == 1 else (entry - price) / entry
    return {
        "state": "settled",
        "outcome": outcome,
        "gross_return": gross,
        "net_return": gross - COST,
        "y": 1 if gross - COST > 0 else 0,
        "entry_ts": entry_ts,
        "label_end": end,
    }


def _wilder_atr(bars: list[dict]) -> float | None:
    ranges = [
        max(b["high"] - b["low"], abs(b["high"] - a["close"]), abs(b["low"] - a["close"])) for a, b in pairwise(bars)
    ]
    if len(ranges) < N_ATR:
        return None
    atr = sum(ranges[:N_ATR]) / N_ATR
    for value in ranges[N_ATR:]:
        atr = (atr * (N_ATR - 1) + value) / N_ATR
    return atr

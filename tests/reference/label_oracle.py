"""Labels by plain loops over lists: slow, obvious, and sharing no code with the library."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pandas as pd

N_ATR = 14
COST = 2 * 5.0 / 10_000


def end_after_sessions(decided: pd.Timestamp, closes: list[pd.Timestamp], n_sessions: int = 5) -> pd.Timestamp:
    """Close of the ``n_sessions``-th session after the decision's; ``closes`` are those of all sessions."""
    session = next(i for i, close in enumerate(closes) if close >= decided)
    return closes[session + n_sessions]


def end_within_session(decided: pd.Timestamp, closes: list[pd.Timestamp], minutes: int) -> pd.Timestamp:
    """So many minutes later, but not after the close of the decision's session."""
    close = next(close for close in closes if close >= decided)
    return min(decided + timedelta(minutes=minutes), close)


def label_event(
    bars: list[dict],
    decision: int,
    direction: int,
    end: pd.Timestamp,
    as_of: pd.Timestamp,
    stop_atr: float = 1.0,
    target_atr: float = 1.0,
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
    path = _path(bars, decision, end, as_of)
    if not path:
        return _without_entry(end, as_of)
    entry = path[0]["open"]
    for bar in path:
        touched = _touch(bar, entry, direction, stop_atr * atr, target_atr * atr)
        if touched is not None:
            outcome, price = touched
            gross = (price - entry) / entry if direction == 1 else (entry - price) / entry
            return _settled(outcome, gross, path[0]["ts"], bar["ts"])
    if end > as_of:
        return {"state": "pending"}
    price = path[-1]["close"]
    gross = (price - entry) / entry if direction == 1 else (entry - price) / entry
    return _settled("timeout", gross, path[0]["ts"], end)


def market_neutral_event(
    bars_of: dict[str, list[dict]],
    symbol: str,
    decision: int,
    direction: int,
    end: pd.Timestamp,
    as_of: pd.Timestamp,
    min_universe: int,
) -> dict:
    """Label one event against the equal-weighted mean of all stocks in ``bars_of`` (symbol -> bars)."""
    bars = bars_of[symbol]
    if bars[decision]["ts"] > as_of:
        return {"state": "pending"}
    if end > as_of:
        return {"state": "pending"}
    path = _path(bars, decision, end, as_of)
    if not path:
        return _without_entry(end, as_of)
    first, last = path[0]["ts"], path[-1]["ts"]
    returns = []
    for other in bars_of.values():
        opened = [bar["open"] for bar in other if bar["ts"] == first]
        closed = [bar["close"] for bar in other if bar["ts"] == last]
        if opened and closed:
            returns.append((closed[0] - opened[0]) / opened[0])
    if len(returns) < min_universe:
        return {"state": "unlabelled", "reason": "small_universe"}
    own = (path[-1]["close"] - path[0]["open"]) / path[0]["open"]
    return _settled("timeout", direction * (own - sum(returns) / len(returns)), first, end)


def _path(bars: list[dict], decision: int, end: pd.Timestamp, as_of: pd.Timestamp) -> list[dict]:
    return [bar for bar in bars[decision + 1 :] if bar["ts"] <= end and bar["ts"] <= as_of]


def _without_entry(end: pd.Timestamp, as_of: pd.Timestamp) -> dict:
    return {"state": "unlabelled", "reason": "no_bar_within_horizon"} if end <= as_of else {"state": "pending"}


def _touch(bar: dict, entry: float, direction: int, to_stop: float, to_target: float) -> tuple[str, float] | None:
    if direction == 1:
        stop, target = entry - to_stop, entry + to_target
        if bar["open"] <= stop:
            return "stop", bar["open"]
        if bar["open"] >= target:
            return "target", bar["open"]
        if bar["low"] <= stop:
            return "stop", stop
        if bar["high"] >= target:
            return "target", target
    else:
        stop, target = entry + to_stop, entry - to_target
        if bar["open"] >= stop:
            return "stop", bar["open"]
        if bar["open"] <= target:
            return "target", bar["open"]
        if bar["high"] >= stop:
            return "stop", stop
        if bar["low"] <= target:
            return "target", target
    return None


def _settled(outcome: str, gross: float, entry_ts: pd.Timestamp, end: pd.Timestamp) -> dict:
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

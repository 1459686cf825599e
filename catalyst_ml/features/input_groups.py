"""Which model inputs tell of the same thing: explanations move them together and name them once.

An RSI enters the models relative to the day's stocks and again along the event's direction. Shuffling or explaining
one of the two alone would find the other still there and call both useless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SEEN_FROM = ("aligned_", "relative_", "pattern_")

_GROUP_OF = {
    "upper_shadow_ratio": "shadows",
    "lower_shadow_ratio": "shadows",
    "shadow_balance": "shadows",
    "volume_surge": "volume",
    "unusual_volume": "volume",
    "event_direction": "direction",
    "event_direction_inferred": "direction",
    "n_patterns": "patterns",
    "rule_score": "rules",
    "rule_agreement": "rules",
}
"""Groups of inputs, after the prefix is taken off; all others are a group of their own name."""

_WORDS = {
    "body_to_range_ratio": "Candle body relative to the day’s stocks",
    "shadows": "Candle shadows relative to the day’s stocks",
    "volume": "Volume surge relative to the day’s stocks",
    "rsi_14": "RSI relative to the day’s stocks",
    "bb_position": "Bollinger position relative to the day’s stocks",
    "macd_histogram": "MACD relative to the day’s stocks",
    "adx_strength": "Trend strength (ADX) relative to the day’s stocks",
    "spy_correlation": "Correlation with SPY relative to the day’s stocks",
    "sector_momentum": "Sector momentum relative to the day’s stocks",
    "premarket_gap": "Opening gap relative to the day’s stocks",
    "vix_level": "VIX",
    "market_breadth": "Market breadth",
    "news_present": "News in the last day",
    "options_activity": "Options activity",
    "direction": "Long or short",
    "patterns": "Candlestick patterns",
    "rules": "What the rules say",
}


@dataclass(frozen=True)
class InputGroup:
    """Inputs that tell of one thing. ``lead`` is the one whose value is called low or high."""

    name: str
    inputs: tuple[str, ...]
    words: str

    @property
    def lead(self) -> str:
        """The input turned along the event's direction where there is one."""
        return min(self.inputs, key=lambda name: (not name.startswith("aligned_"), not name.startswith("n_")))


def input_groups(inputs: Sequence[str]) -> tuple[InputGroup, ...]:
    """Part ``inputs`` into groups, each input in exactly one, in the order of their first appearance.

    >>> [group.name for group in input_groups(["relative_rsi_14", "vix_level", "aligned_rsi_14"])]
    ['rsi_14', 'vix_level']
    """
    members: dict[str, list[str]] = {}
    for name in inputs:
        members.setdefault(_group_of(name), []).append(name)
    return tuple(
        InputGroup(group, tuple(names), _WORDS.get(group, group.replace("_", " ").capitalize()))
        for group, names in members.items()
    )


def _group_of(name: str) -> str:
    if name.startswith("pattern_"):
        return "patterns"
    feature = next((name.removeprefix(prefix) for prefix in _SEEN_FROM if name.startswith(prefix)), name)
    return _GROUP_OF.get(feature, feature)

"""The trading system's own request and answer shapes, mapped onto ours and back.

Its services read confidence as 0-100 and know neither arms nor versions; these ride along, so that a caller that is
unaware of them still works and one that is aware can tell who answered and why. Unknown fields are ignored here, as
its services do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from catalyst_ml.market.detector import BEARISH, BULLISH
from catalyst_ml.market.rules import RuleArm, signal_levels
from catalyst_ml.market.rules_v213 import PATTERN_RULES, pattern_confidences
from catalyst_ml.serving.judgement import ACTIONS, Signal
from catalyst_ml.serving.requests import (
    BarColumns,
    BarRow,
    Item,
    NewsStory,
    Number,
    RequestBody,
    SignalRequest,
    Symbol,
    Timeframe,
)
from catalyst_ml.serving.service import Answer

SIDES: dict[int, str] = {BULLISH: "bullish", BEARISH: "bearish", 0: "neutral"}
POSITIVE_TYPES = frozenset(
    {"earnings_beat", "fda_approval", "merger_announcement", "upgrade", "guidance_raised", "insider_buying"}
)
NEGATIVE_TYPES = frozenset(
    {"earnings_miss", "fda_rejection", "lawsuit", "downgrade", "guidance_lowered", "insider_selling"}
)
"""Upstream derives a catalyst's sentiment from its type where it sends none."""

Score = Annotated[float, Field(strict=True, ge=0.0, le=300.0)]
"""Upstream's catalyst scores reach 300 before the market opens."""
_SIDES_OF_ACTIONS = {name: side for side, name in ACTIONS.items()}


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Catalyst(_Body):
    """The news behind a symbol, as upstream's services hand it on."""

    type: Annotated[str, StringConstraints(max_length=50)] | None = None
    catalyst_type: Annotated[str, StringConstraints(max_length=50)] | None = None
    score: Score | None = None
    catalyst_score: Score | None = None
    sentiment: Literal["positive", "negative", "neutral"] | None = None

    def story(self, symbol: str, at: datetime) -> NewsStory | None:
        """The catalyst as a story known at ``at``; None if it says nothing."""
        kind, score = self.type or self.catalyst_type, self.score if self.score is not None else self.catalyst_score
        if not kind and not score:
            return None
        sentiment = self.sentiment or _sentiment_of(kind)
        return NewsStory(
            symbol=symbol, published_at=at, news_id="of-the-request", catalyst_type=kind, sentiment=sentiment,
            score=min(score or 0.0, 100.0),
        )  # fmt: skip


class _OfSymbol(_Body, RequestBody):
    symbol: Symbol
    timeframe: Timeframe | None = None
    bars: BarColumns | list[BarRow] | None = Field(
        default=None, description="Our addition: the last bars; without them the bar table is read."
    )

    def catalyst(self) -> Catalyst | None:
        return None

    def to_request(self) -> SignalRequest:
        """Our request for the same question."""
        news: list[NewsStory] = []
        catalyst = self.catalyst()
        if catalyst is not None:
            story = catalyst.story(self.symbol, _last_close(self.bars) or datetime.now(UTC))
            news = [story] if story else []
        return SignalRequest(symbol=self.symbol, timeframe=self.timeframe, bars=self.bars, news=news)


class AnalyzePattern(_OfSymbol):
    """POST /analyze_pattern of the pattern service."""

    context: Catalyst | None = None
    catalyst_data: Catalyst | None = None
    catalyst_context: Catalyst | None = None

    def catalyst(self) -> Catalyst | None:
        return self.context or self.catalyst_data or self.catalyst_context


class GenerateSignal(_OfSymbol):
    """POST /generate_signal of the technical service; patterns are seen again on the bars, not believed."""

    patterns: list[dict[str, Any]] = Field(default=[], max_length=100)
    catalyst_data: Catalyst | None = None

    def catalyst(self) -> Catalyst | None:
        return self.catalyst_data


class Detect(_OfSymbol):
    """POST /api/v1/detect of the later services."""

    lookback_bars: Annotated[int, Field(ge=20, le=100)] = 100
    min_confidence: Annotated[float, Field(strict=True, ge=0.0, le=1.0)] = 0.0


class Predict(_OfSymbol):
    """POST /predict: by bars, by model inputs, or by name alone."""

    direction: Literal[1, -1] | None = None
    features: dict[str, Number | None] | None = Field(default=None, max_length=1_000)
    catalyst_data: Catalyst | None = None

    def catalyst(self) -> Catalyst | None:
        return self.catalyst_data

    @model_validator(mode="after")
    def _one_way(self) -> Predict:
        if self.features is not None and self.bars is not None:
            raise ValueError("expected features or bars, got both")
        return self

    def to_request(self) -> SignalRequest:
        if self.features is None:
            return super().to_request()
        item = Item(symbol=self.symbol, direction=self.direction or 1, features=self.features, bars=self.bars)
        return SignalRequest(items=[item], timeframe=self.timeframe)


def pattern_answer(body: AnalyzePattern, answer: Answer, *, timeframe: str) -> dict[str, Any]:
    """Upstream's answer to /analyze_pattern."""
    catalyst = body.catalyst()
    return {
        "symbol": body.symbol,
        "timestamp": _iso(answer.answered_at),
        "timeframe": body.timeframe or timeframe,
        "status": "success",
        "patterns": _pattern_items(answer.signals, catalyst),
        "catalyst_context": catalyst.model_dump(exclude_none=True) if catalyst else {},
        "data_points": answer.n_bars,
        **_ours(answer),
    }


def detect_answer(body: Detect, answer: Answer, *, timeframe: str) -> dict[str, Any]:
    """The later services' answer to /api/v1/detect."""
    items = _pattern_items(answer.signals, None)
    kept = [item for item in items if (item["final_confidence"] or 0.0) >= 100.0 * body.min_confidence]
    return {
        "symbol": body.symbol,
        "timeframe": body.timeframe or timeframe,
        "timestamp": _iso(answer.answered_at),
        "patterns": kept,
        "count": len(kept),
        **_ours(answer),
    }


def signal_answer(body: GenerateSignal, answer: Answer) -> dict[str, Any]:
    """Upstream's answer to /generate_signal: the strongest signal of the symbol, else HOLD."""
    best = strongest(answer.signals)
    return {
        "status": "success",
        "signal_id": best.answer_id,
        "signal": {
            "symbol": body.symbol,
            "signal_type": {"BUY": "LONG", "SELL": "SHORT", "HOLD": "NEUTRAL"}[best.action],
            "action": best.action,
            "confidence": best.confidence_percent if best.confidence_percent is not None else 0.0,
            **_levels(best, answer.snapshot.rule_arm),
            **_about(best),
        },
        "timestamp": _iso(answer.answered_at),
        **_ours(answer),
    }


def prediction_answer(body: Predict, answer: Answer) -> dict[str, Any]:
    """Probability 0-1 and confidence 0-100, who answered, how old the data is, and why."""
    best = strongest(answer.signals)
    return {
        "symbol": body.symbol,
        "prediction": best.action,
        "confidence": best.confidence_percent,
        **_about(best),
        "model_version": answer.snapshot.version_id or answer.snapshot.rule_arm.version,
        "timestamp": _iso(answer.answered_at),
        **_ours(answer),
    }


def strongest(signals: Sequence[Signal]) -> Signal:
    """The signal to act on: taken before abstained, then the more probable."""
    return max(signals, key=lambda one: (one.action != "HOLD", one.probability or 0.0, one.rule_score or 0.0))


def _pattern_items(signals: Sequence[Signal], catalyst: Catalyst | None) -> list[dict[str, Any]]:
    items = []
    kind = (catalyst.type or catalyst.catalyst_type) if catalyst else None
    sentiment = {"positive": 1, "negative": -1}.get((catalyst.sentiment or _sentiment_of(kind)) if catalyst else "", 0)
    with_news = pattern_confidences(sentiment)
    for signal in signals:
        for pattern in signal.patterns:
            place = _rule_of(pattern, signal.direction)
            if place is None:
                continue
            rule = PATTERN_RULES[place]
            items.append(
                {
                    "pattern_name": pattern,
                    "pattern_type": rule.family,
                    "pattern_direction": SIDES[signal.direction],
                    "base_confidence": rule.base,
                    "catalyst_multiplier": round(float(with_news[place]) / rule.base, 4),
                    "final_confidence": signal.confidence_percent,
                    "detected_at": _iso(signal.ts) if signal.ts else None,
                    "price": signal.price,
                    "volume": signal.volume,
                    "catalyst_aligned": sentiment != 0 and sentiment == signal.direction,
                    **_about(signal),
                }
            )
    return sorted(items, key=lambda item: -(item["final_confidence"] or 0.0))


def _rule_of(pattern: str, direction: int) -> int | None:
    """Number of the pattern's rule on this side, or of the neutral one."""
    for i, rule in enumerate(PATTERN_RULES):
        if rule.pattern == pattern and rule.direction in (direction, 0):
            return i
    return None


def _levels(signal: Signal, arm: RuleArm) -> dict[str, Any]:
    """Entry, stop and target as the rule arm would set them; None for HOLD or without a price."""
    side = _SIDES_OF_ACTIONS[signal.action]
    if not side or signal.price is None:
        return {"entry_price": signal.price, "stop_loss": None, "take_profit": None}
    score = signal.confidence_percent if signal.arm != "rules" else signal.rule_score
    levels = signal_levels(
        arm,
        np.array([side]),
        np.array([signal.price]),
        np.array([np.nan if signal.atr is None else signal.atr]),
        np.array([max(score or 0.0, arm.trade_score)]),
    )
    return {
        "entry_price": _rounded(levels.entry[0]),
        "stop_loss": _rounded(levels.stop[0]),
        "take_profit": _rounded(levels.target[0]),
    }


def _about(signal: Signal) -> dict[str, Any]:
    return {
        "probability": signal.probability,
        "arm": signal.arm,
        "weight": signal.weight,
        "abstain": signal.abstain,
        "reason": signal.reason,
        "fallback_reason": signal.fallback_reason,
        "expected_move": signal.expected_move,
        "rank_next_session": signal.rank_next_session,
        "rank_five_sessions": signal.rank_five_sessions,
        "outlook_reason": signal.outlook_reason,
        "position_size": signal.position_size,
        "position_reason": signal.position_reason,
        "data_age_s": signal.data_age_s,
        "answer_id": signal.answer_id,
    }


def _ours(answer: Answer) -> dict[str, Any]:
    snapshot = answer.snapshot
    return {
        "version_id": snapshot.version_id,
        "sequence": snapshot.sequence,
        "stage": snapshot.stage,
        "source": snapshot.place,
        "reason": strongest(answer.signals).reason,
        "recorded": answer.recorded,
    }


def _sentiment_of(kind: str | None) -> Literal["positive", "negative", "neutral"]:
    if kind in POSITIVE_TYPES:
        return "positive"
    return "negative" if kind in NEGATIVE_TYPES else "neutral"


def _last_close(bars: BarColumns | list[BarRow] | None) -> datetime | None:
    if isinstance(bars, BarColumns):
        return bars.ts[-1] if bars.ts else None
    return bars[-1].ts if bars else None


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

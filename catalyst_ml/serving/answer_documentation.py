"""The answer of /v1/signals for the OpenAPI document: every field with its meaning and unit, and an example."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
_SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
_SHARE_OR_NULL: dict[str, Any] = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_PLACE = "place among the close's stocks with history, 0 worst to 1 best, by the market-neutral return"

_SIGNAL: dict[str, tuple[dict[str, Any], str, Any]] = {
    "answer_id": (_TEXT, "names this answer in the ledger (UUID)", "5b6f9d0e-5d0e-4c7a-9d2c-0f6a3f1b7c11"),
    "symbol": (_TEXT, "as asked", "ACME"),
    "ts": ({"type": ["string", "null"], "format": "date-time"}, "close of the bar, UTC", "2026-11-25T21:00:00Z"),
    "direction": ({"type": "integer", "enum": [1, -1, 0]}, "side of the event; 0 without one", 1),
    "patterns": ({"type": "array", "items": _TEXT}, "patterns at the bar", ["hammer"]),
    "action": ({"type": "string", "enum": ["BUY", "SELL", "HOLD"]}, "what to do", "BUY"),
    "probability": (_SHARE_OR_NULL, "that the event's trade succeeds, calibrated; null if no version was seen", 0.66),
    "confidence": (_SHARE_OR_NULL, "the same", 0.66),
    "confidence_percent": ({"type": ["number", "null"]}, "0-100; the rules' own score if not calibrated", 66.0),
    "arm": ({"type": "string", "enum": ["ml", "blend", "rules", "hold"]}, "who answered", "blend"),
    "weight": (_SHARE, "the model's share in the probability", 0.7),
    "p_ml": (_SHARE_OR_NULL, "the model's probability", 0.68),
    "p_rules": (_SHARE_OR_NULL, "the rules' calibrated probability", 0.61),
    "rule_score": ({"type": ["number", "null"]}, "the rules' score, 0-100", 64.0),
    "abstain": ({"type": "boolean"}, "true with HOLD", False),
    "reason": (_TEXT, "what decided, in words", "P(success) 0.660 is above 0.5; confidence 0.68: the plan gives 70 %"),
    "fallback_reason": (_TEXT_OR_NULL, "why another than the production version answered", None),
    "novelty": (_SHARE_OR_NULL, "small: unlike the training events; below 0.01 the rules answer", 0.41),
    "novelty_reason": (_TEXT, "which input is unusual", ""),
    "member_spread": ({"type": ["number", "null"]}, "standard deviation of the members' probabilities", 0.04),
    "expected_move": (
        {"type": ["number", "null"], "minimum": 0},
        "expected absolute market-neutral return over five sessions, a fraction of the price: 0.03 is 3 %",
        0.031,
    ),
    "rank_next_session": (_SHARE_OR_NULL, f"{_PLACE} of the next session", 0.82),
    "rank_five_sessions": (_SHARE_OR_NULL, f"{_PLACE} of five sessions", 0.77),
    "outlook_reason": (_TEXT, "why one of the three above is null; empty otherwise", ""),
    "position_size": (
        {"type": "number", "minimum": 0, "maximum": 0.02},
        "suggested share of the account for this signal, as if it were the only one: 0.02 is 2 %; 0 for none",
        0.02,
    ),
    "position_reason": (
        _TEXT, "how it was found", "2.0 % of the account at confidence 0.66; model 0.68, rules 0.61: they agree",
    ),
    "data_age_s": ({"type": ["number", "null"], "minimum": 0}, "seconds since the bar closed", 71.0),
    "version_id": (_TEXT_OR_NULL, "version that answered", "us-1d-20261120-1a2b3c4d"),
    "sequence": ({"type": "integer"}, "of the production pointer", 17),
    "stage": (_TEXT, "of the trial", "70"),
    "source": (_TEXT, "where the version came from", "disk"),
    "notes": ({"type": "array", "items": _TEXT}, "remarks on the inputs", ["universe: 480 stocks of the bar table"]),
}  # fmt: skip

_ANSWER: dict[str, tuple[dict[str, Any], str, Any]] = {
    "signals": ({"type": "array", "items": {"$ref": "#/components/schemas/Signal"}}, "one or more a symbol", None),
    "version_id": (_TEXT_OR_NULL, "the one version under which all were given", "us-1d-20261120-1a2b3c4d"),
    "sequence": ({"type": "integer"}, "of the production pointer", 17),
    "stage": (_TEXT, "of the trial", "70"),
    "source": (_TEXT, "where the version came from", "disk"),
    "fallback_reason": (_TEXT_OR_NULL, "why another than the production version answered", None),
    "recorded": ({"type": "boolean"}, "false if the ledger could not keep the answers", True),
    "answered_at": ({"type": "string", "format": "date-time"}, "UTC", "2026-11-25T21:01:11Z"),
}


def answer_schemas() -> dict[str, Any]:
    """Schemas ``Signal`` and ``SignalAnswer``."""
    return {"Signal": _schema(_SIGNAL), "SignalAnswer": _schema(_ANSWER)}


def answer_example() -> dict[str, Any]:
    """A blended answer for one symbol; field names and types are those of the schemas."""
    signal = {name: example for name, (_, _, example) in _SIGNAL.items()}
    return {name: example for name, (_, _, example) in _ANSWER.items()} | {"signals": [signal]}


def _schema(fields: dict[str, tuple[dict[str, Any], str, Any]]) -> dict[str, Any]:
    properties = {name: {**kind, "description": about} for name, (kind, about, _) in fields.items()}
    return {"type": "object", "properties": properties, "required": list(fields), "additionalProperties": False}

"""The OpenAPI document: schemas of the bodies we parse ourselves, with examples that are sent in a test."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from catalyst_ml.serving.answer_documentation import answer_example, answer_schemas

_REFERENCE = "#/components/schemas/{model}"
_BARS = [
    {"ts": "2026-11-24T21:00:00Z", "open": 101.2, "high": 102.0, "low": 100.4, "close": 101.9, "volume": 1_204_000},
    {"ts": "2026-11-25T21:00:00Z", "open": 101.8, "high": 103.1, "low": 101.5, "close": 102.7, "volume": 1_318_000},
]
EXAMPLES: dict[str, dict[str, Any]] = {
    "SignalRequest": {
        "by inputs": {
            "symbol": "ACME",
            "ts": "2026-11-25T21:00:00Z",
            "direction": 1,
            "features": {"relative_rsi_14": -12.5, "rule_score": 64.0, "rule_agreement": 1.0, "pattern_hammer": 1.0},
        },
        "by bars": {"symbol": "ACME", "timeframe": "1d", "bars": _BARS},
        "batch": {
            "items": [
                {"symbol": "ACME", "sector": "Industrials", "bars": _BARS},
                {"symbol": "SPY", "kind": "index", "bars": _BARS, "answer": False},
            ]
        },
        "from the bar table": {"symbol": "ACME"},
    },
    "AnalyzePattern": {
        "pattern": {
            "symbol": "ACME",
            "timeframe": "1d",
            "context": {"type": "earnings_beat", "score": 70, "sentiment": "positive"},
        }
    },
    "GenerateSignal": {
        "signal": {
            "symbol": "ACME",
            "patterns": [{"pattern_name": "hammer", "final_confidence": 78.0}],
            "catalyst_data": {"type": "upgrade", "score": 55, "sentiment": "positive"},
        }
    },
    "Detect": {"detect": {"symbol": "ACME", "timeframe": "1d", "lookback_bars": 100, "min_confidence": 0.5}},
    "Predict": {"predict": {"symbol": "ACME", "timeframe": "1d"}},
}
_MODELS: dict[str, type[BaseModel]] = {}


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a path's body."""
    _MODELS[model.__name__] = model
    examples = {name: {"value": value} for name, value in EXAMPLES[model.__name__].items()}
    content = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}, "examples": examples}
    refusals = {
        "400": "the body is no JSON",
        "401": "the key is missing or another",
        "413": "the body is too large",
        "422": "a field breaks its contract; error.field names it",
        "429": "too many requests",
        "503": "no answer in time",
    }
    error = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="Refusal")}}}
    responses = {status: {"description": text, "content": error} for status, text in refusals.items()}
    if model.__name__ == "SignalRequest":
        answer = {"schema": {"$ref": _REFERENCE.format(model="SignalAnswer")}}
        responses["200"] = {"description": "signals under one version", "content": {"application/json": answer}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}, "responses": responses}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name, model in _MODELS.items():
            schema = model.model_json_schema(ref_template=_REFERENCE)
            schemas |= schema.pop("$defs", {})
            schemas[name] = schema
        schemas |= answer_schemas()
        # Added here, for FastAPI drops what is null from examples.
        answered = document["paths"]["/v1/signals"]["post"]["responses"]["200"]["content"]["application/json"]
        answered["example"] = answer_example()
        text = {"type": "string"}
        parts = {name: text for name in ("field", "expected", "got", "message", "request_id")}
        schemas["Refusal"] = {
            "type": "object",
            "properties": {"error": {"type": "object", "properties": parts, "required": ["field", "expected", "got"]}},
            "required": ["error"],
        }
        app.openapi_schema = document
    return app.openapi_schema

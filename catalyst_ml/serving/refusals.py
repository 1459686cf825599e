"""From pydantic's findings to one refusal: the field, what was expected, what came."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from catalyst_ml.errors import RequestRefused

Body = TypeVar("Body", bound=BaseModel)

_SHOWN = 80


class MalformedBody(RequestRefused):
    """The body is no JSON at all. Reaction: answer 400."""


def parse_body(model: type[Body], body: bytes) -> Body:
    """Return the parsed body.

    Raises
    ------
    MalformedBody
        If it is no JSON.
    RequestRefused
        If it is none that ``model`` describes.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise refusal_of(error) from error


def refusal_of(error: ValidationError) -> RequestRefused:
    """Return the finding that leads deepest: of a field with two shapes, the shape the caller meant."""
    found = error.errors(include_url=False, include_context=False)
    first = max(found, key=lambda one: len(one["loc"]))
    if first["type"] == "json_invalid":
        return MalformedBody("body", "JSON", first["msg"].removeprefix("Invalid JSON: ")[:200])
    field = ".".join(str(part) for part in first["loc"] if not _is_shape(part)) or "request"
    message = first["msg"].removeprefix("Value error, ")
    if message.startswith("expected ") and ", got " in message:
        expected, _, got = message.removeprefix("expected ").rpartition(", got ")
        return RequestRefused(field, expected, got[:_SHOWN])
    expected = message.removeprefix("Input should be ").removesuffix(".")
    if first["type"] == "missing":
        return RequestRefused(field, "a value", "nothing")
    if first["type"] == "extra_forbidden":
        return RequestRefused(field, "no such field", shown(first.get("input")))
    return RequestRefused(
        field, expected[0].lower() + expected[1:] if expected else "another value", shown(first.get("input"))
    )


def shown(value: Any) -> str:
    """A value in few characters, of one line."""
    text = repr(value) if not isinstance(value, dict | list) else f"{type(value).__name__} of {len(value)}"
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")


def _is_shape(part: Any) -> bool:
    """True for the names pydantic gives the shapes of a union, which callers never wrote."""
    return isinstance(part, str) and (part == "BarColumns" or part.startswith(("list[", "function-", "constrained-")))

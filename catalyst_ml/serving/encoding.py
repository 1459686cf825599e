"""JSON answers: orjson where it is installed (extra ``serve``), the standard library otherwise; never NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from starlette.responses import Response


def _standard(value: Any) -> bytes:
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False).encode()


def _finite(value: Any) -> Any:
    """As orjson: what is not finite is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _fastest() -> Callable[[Any], bytes]:
    try:
        import orjson
    except ImportError:
        return _standard
    return orjson.dumps


to_json = _fastest()


def json_response(value: Any, status: int = 200) -> Response:
    """An answer of plain dicts, lists and numbers."""
    return Response(to_json(value), status_code=status, media_type="application/json")

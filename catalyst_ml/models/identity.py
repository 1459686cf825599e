"""How settings are written down and named: the same settings, the same twelve digits, on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def as_json(settings: DataclassInstance) -> dict[str, Any]:
    """Return a dataclass as JSON; tuples become lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return plain


def short_id(plain: Mapping[str, Any], *, revision: int) -> str:
    """Return twelve hexadecimal digits that change with any value and with the revision of the code behind them."""
    canonical = json.dumps({"revision": revision, **plain}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]

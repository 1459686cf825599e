"""How long a bar is, in the one spelling that is stored."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalyst_ml.errors import ConfigurationError

DAILY = "1d"
"""Name of the timeframe whose bars end with their session."""


@dataclass(frozen=True)
class Timeframe:
    """Length of a bar. ``minutes`` is ``None`` for daily bars, which end with their session."""

    name: str
    minutes: int | None


def parse_timeframe(text: str) -> Timeframe:
    """Read ``1d``, ``5m``, ``15min``, ``1h`` ... into the one spelling that is stored.

    Raises
    ------
    ConfigurationError
        If it is none of these, or longer than a session without being ``1d``.

    Examples
    --------
    >>> parse_timeframe("60min")
    Timeframe(name='1h', minutes=60)
    """
    match = re.fullmatch(r"(\d+)\s*(m|min|h|d)", text.strip().lower())
    amount = int(match[1]) if match else 0
    minutes = amount * {"m": 1, "min": 1, "h": 60, "d": 1440}[match[2]] if match else 0
    if minutes == 1440:
        return Timeframe(DAILY, None)
    if not 0 < minutes <= 240:
        raise ConfigurationError(f"timeframe {text!r}: expected 1d, or 1m to 4h such as 5m, 15m, 1h.")
    return Timeframe(f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m", minutes)

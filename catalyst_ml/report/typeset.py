"""Numbers, intervals and times as the report prints them: one spelling everywhere.

Minus is a real minus sign, thousands are separated by commas, a missing number is an en dash, and an estimate
without an interval says so.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from math import isclose
from typing import Literal

from catalyst_ml.report.content_base import USUAL_LEVEL, Estimate

MISSING = "–"
NO_INTERVAL = "no interval"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_THIN = "\N{NARROW NO-BREAK SPACE}"

Style = Literal["loss", "difference", "score", "percent", "points", "bps", "ratio", "plain"]
"""Kinds of number: log-loss, its difference, AUC, a share, a change of it, basis points, Sharpe."""


def number(value: float | None, style: Style = "plain") -> str:
    """Return ``value`` in the spelling of its kind.

    >>> number(-0.00149, "difference"), number(0.4931, "percent"), number(-12.34, "bps"), number(None)
    ('−0.0015', '49.3\\u202f%', '−12.3\\u202fbp', '–')
    """
    if value is None:
        return MISSING
    match style:
        case "loss":
            text = f"{value:.4f}"
        case "difference":
            text = _unsigned_zero(f"{value:+.4f}")
        case "score":
            text = f"{value:.3f}"
        case "percent":
            text = _unsigned_zero(f"{100 * value:.1f}") + f"{_THIN}%"
        case "points":
            text = _unsigned_zero(f"{100 * value:+.1f}") + f"{_THIN}%"
        case "bps":
            text = _unsigned_zero(f"{value:+.1f}") + f"{_THIN}bp"
        case "ratio":
            text = _unsigned_zero(f"{value:+.2f}")
        case _:
            text = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    return text.replace("-", "−")


def interval(estimate: Estimate, style: Style = "plain") -> str:
    """Return ``[low, high]``, the words "no interval", or nothing if the number itself is missing."""
    if estimate.value is None:
        return ""
    if not estimate.has_interval:
        return NO_INTERVAL
    low, high = number(estimate.low, style), number(estimate.high, style)
    for unit in (f"{_THIN}%", f"{_THIN}bp"):
        if low.endswith(unit) and high.endswith(unit):
            low = low.removesuffix(unit)
    marked = "" if isclose(estimate.level, USUAL_LEVEL) else f" at {share(estimate.level)}"
    return f"[{low}, {high}]{marked}"


def estimate_text(estimate: Estimate, style: Style = "plain") -> str:
    """Return value and interval in one line, as charts and plain-text tables want it."""
    return f"{number(estimate.value, style)} {interval(estimate, style)}".strip()


def count(value: float | None) -> str:
    """Return a number of things with thousands separated, ``–`` if unknown."""
    return MISSING if value is None else f"{value:,.0f}"


def share(value: float) -> str:
    """Return a round share such as coverage as ``20 %``."""
    return f"{100 * value:.0f}{_THIN}%"


def measured(value: float | str | None) -> str:
    """Return a gate's value or bound: its own words if it came as text, powers of ten if it is tiny.

    >>> measured(1.2e-7), measured(">= 65"), measured(0.0184)
    ('1.2 × 10⁻⁷', '≥ 65', '0.0184')
    """
    if isinstance(value, str):
        return value.replace(">=", "≥").replace("<=", "≤")
    if value is not None and 0.0 < abs(value) < 1e-4:
        digits, _, power = f"{value:.2g}".partition("e")
        return f"{digits} × 10{str(int(power)).translate(_RAISED)}".replace("-", "−")
    return number(value)


def duration(seconds: float | None) -> str:
    """Return seconds as a person says them.

    >>> duration(0.42), duration(9.4), duration(134), duration(7_260)
    ('0.4 s', '9.4 s', '2 min 14 s', '2 h 1 min')
    """
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def p_value(value: float | None) -> str:
    """Return a p-value with two digits, small ones as a bound.

    >>> p_value(0.0341), p_value(0.0004), p_value(1.0), p_value(None)
    ('0.034', '< 0.001', '1.0', '–')
    """
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.995 else "1.0"


def chance(value: float | None) -> str:
    """Return a probability as a person says it: never certain.

    >>> chance(0.3712), chance(0.99999), chance(0.0), chance(None)
    ('37\\u202f%', '> 99\\u202f%', '< 1\\u202f%', '–')
    """
    if value is None:
        return MISSING
    return f"> 99{_THIN}%" if value > 0.99 else f"< 1{_THIN}%" if value < 0.01 else share(value)


def milliseconds(value: float | None) -> str:
    """Return milliseconds with two digits that matter.

    >>> milliseconds(0.0412), milliseconds(1.834), milliseconds(0.0002), milliseconds(None)
    ('0.041 ms', '1.8 ms', '< 0.01 ms', '–')
    """
    if value is None:
        return MISSING
    return "< 0.01 ms" if value < 0.01 else f"{float(f'{value:.2g}'):g} ms"


def file_size(n_bytes: int | None) -> str:
    """Return bytes as a person says them.

    >>> file_size(315), file_size(63_539), file_size(3_400_000)
    ('315 B', '64 kB', '3.4 MB')
    """
    if n_bytes is None:
        return MISSING
    if n_bytes < 1_000:
        return f"{n_bytes} B"
    return f"{n_bytes / 1e3:.0f} kB" if n_bytes < 1e6 else f"{n_bytes / 1e6:.1f} MB"


def moment(value: datetime) -> str:
    """Return a time as ``Fri 20 Nov 2026, 21:00 UTC``; a time without a zone is printed as it is."""
    if value.tzinfo is None:
        return f"{value:%a %d %b %Y, %H:%M}"
    return f"{value.astimezone(UTC):%a %d %b %Y, %H:%M} UTC"


def day(value: date | None) -> str:
    """Return a session as ``20 Nov 2026``."""
    return MISSING if value is None else f"{value:%d %b %Y}"


def _unsigned_zero(text: str) -> str:
    return text.lstrip("+-") if not text.strip("+-0.") else text

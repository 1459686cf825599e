"""Two small line charts as inline SVG: text stays text, colours come from the page, nothing is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

WIDTH, HEIGHT = 400.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 10.0, 12.0, 30.0
MAX_POINTS = 400
"""More than a chart of this width can show; longer series are thinned, their last point kept."""


@dataclass(frozen=True)
class Series:
    """One line: what it is called, its colour class (``a`` solid or ``b`` dashed) and its values by session."""

    name: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True)
class Mark:
    """A horizontal line with a word beside it."""

    value: float
    label: str


def line_chart(
    name: str,
    sessions: Sequence[date],
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    marks: Sequence[Mark] = (),
    log_scale: bool = False,
    percent: bool = False,
) -> str:
    """Return an ``<svg>``; needs at least one session.

    Parameters
    ----------
    name
        Unique on the page; prefixes the ids of title and description.
    log_scale
        Powers of ten on the y axis; values below 0.01 are drawn at 0.01.
    """
    keep = _thinned(len(sessions))

    def scaled(value: float) -> float:
        return math.log10(max(value, 0.01)) if log_scale else value

    drawn = [[scaled(line.values[i]) for i in keep] for line in series]
    levels = [value for line in drawn for value in line] + [scaled(mark.value) for mark in marks]
    levels += [0.0]  # no evidence (E = 1), no profit
    low, high = min(levels), max(levels)
    pad = max(0.06 * (high - low), 0.05 if log_scale else 0.005)
    low, high = low - pad, high + pad

    def x(place: int) -> float:
        n = max(len(keep) - 1, 1)
        return LEFT + (WIDTH - LEFT - RIGHT) * (place / n if len(keep) > 1 else 0.5)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-labelledby="{name}-t {name}-d">',
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>',
    ]
    for value in _ticks(low, high, log_scale=log_scale):
        label = f"{10**value:g}" if log_scale else (f"{100 * value:+.1f} %" if percent else f"{value:g}")
        parts.append(
            f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 5:g}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    for mark in marks:
        at = y(scaled(mark.value))
        parts.append(f'<line class="mark" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT + 4:g}" y="{at - 3:.1f}">{escape(mark.label)}</text>')
    for line, values in zip(series, drawn, strict=True):
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
        if len(values) == 1:
            parts.append(f'<circle class="dot {line.style}" cx="{x(0):.1f}" cy="{y(values[0]):.1f}" r="3.5"/>')
        else:
            parts.append(f'<polyline class="line {line.style}" points="{points}"/>')
    bottom = HEIGHT - 10
    parts.append(f'<text x="{LEFT:g}" y="{bottom:g}">{sessions[0]:%Y-%m-%d}</text>')
    if len(sessions) > 1:
        parts.append(f'<text x="{WIDTH - RIGHT:g}" y="{bottom:g}" text-anchor="end">{sessions[-1]:%Y-%m-%d}</text>')
    return "".join([*parts, "</svg>"])


def _thinned(n: int) -> list[int]:
    if n <= MAX_POINTS:
        return list(range(n))
    step = (n - 1) / (MAX_POINTS - 1)
    return sorted({round(i * step) for i in range(MAX_POINTS)})


def _ticks(low: float, high: float, *, log_scale: bool) -> list[float]:
    if log_scale:
        powers = list(range(math.ceil(low), math.floor(high) + 1))
        return [float(power) for power in powers[:: max(1, len(powers) // 5)]]
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= next((k for k in (1, 2, 5) if (high - low) / (k * step) <= 6), 10)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]

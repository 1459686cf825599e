"""Charts of the explanations: what moves the forecast, and the bars around a mistake."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from catalyst_ml.report.content import Driver, Mistake
from catalyst_ml.report.plots import shortened
from catalyst_ml.report.svg import INK, MUTED, SERIES, draw
from catalyst_ml.report.typeset import day, estimate_text, number

MAX_DRIVERS = 12
_ROW = 30.0
_UP, _DOWN = SERIES[2], SERIES[1]


def drivers(shown: Sequence[Driver]) -> str:
    """Mean contribution of each group where its lead input is low and where it is high, the largest on top."""
    rows = [driver for driver in shown if driver.size.value][:MAX_DRIVERS]

    def paint(ax: Axes) -> None:
        ax.axvline(0.0, color=MUTED, linewidth=1.2)
        for i, row in enumerate(rows):
            y, size = len(rows) - 1 - i, row.size.value or 0.0
            ax.barh(y, 2 * size, 0.52, left=-size, color=MUTED, alpha=0.16, linewidth=0)
            if row.when_low is not None and row.when_high is not None:
                ax.plot([row.when_low, row.when_high], [y, y], color=SERIES[0], linewidth=1.6, alpha=0.6)
                ax.plot([row.when_low], [y], color=SERIES[1], marker="v", markersize=7)
                ax.plot([row.when_high], [y], color=SERIES[0], marker="^", markersize=7)
            ax.annotate(
                shortened(row.words.partition(" relative to")[0], 24), (0, y), (-8, 0), ("axes fraction", "data"),
                "offset points", ha="right", va="center", color=INK, annotation_clip=False,
            )  # fmt: skip
            ax.annotate(
                number(size, "score"), (1, y), (8, 0), ("axes fraction", "data"), "offset points",
                ha="left", va="center", color=INK, annotation_clip=False,
            )  # fmt: skip
        ax.set(ylim=(-0.7, len(rows) - 0.3), yticks=[], xlabel="against  ←  contribution in log-odds  →  for the trade")
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.spines["left"].set_visible(False)

    spoken = "; ".join(
        f"{row.words}: {estimate_text(row.size, 'score')} on average"
        + ("" if row.when_low is None else f", {number(row.when_low, 'ratio')} where low")
        + ("" if row.when_high is None else f", {number(row.when_high, 'ratio')} where high")
        for row in rows
    )
    return draw(
        "drivers",
        paint,
        title="How far each feature moves the forecast",
        description=spoken,
        height=62 + _ROW * len(rows),
        margins=(152, 46, 48, 8),
    )


def mistake(shown: Mistake, name: str) -> str:
    """Bars around the event: decision, entry, barriers and exit."""
    prices = np.array([[bar.open, bar.high, bar.low, bar.close] for bar in shown.bars])
    at = np.arange(len(prices))
    has_risen = prices[:, 3] >= prices[:, 0]

    def paint(ax: Axes) -> None:
        ax.axvspan(shown.entered - 0.5, shown.left + 0.5, color=MUTED, alpha=0.12, linewidth=0)
        ax.axvline(shown.decided, color=MUTED, linewidth=1.0, linestyle=(0, (1.2, 2)))
        for rows, colour in ((has_risen, _UP), (~has_risen, _DOWN)):
            # One path of three strokes a bar: a hundred elements less than as many lines.
            x = np.column_stack([at, at, at * np.nan, at - 0.34, at, at * np.nan, at, at + 0.34, at * np.nan])
            y = prices[:, [2, 1, 1, 0, 0, 0, 3, 3, 3]]
            ax.plot(x[rows].ravel(), y[rows].ravel(), color=colour, linewidth=1.3)
        for level, words, colour in ((shown.target, "target", _UP), (shown.stop, "stop", _DOWN)):
            if level is not None:
                ax.plot([shown.entered - 0.5, at[-1] + 0.4], [level, level], color=colour, linewidth=1.2, dashes=(5, 2))
                _beside(ax, level, f"{words} {_price(level)}", colour)
        side = "^" if shown.direction == "long" else "v"
        ax.plot([shown.entered - 0.34], [shown.entry], color=INK, marker=side, markersize=7, linestyle="none")
        ax.plot([shown.left + 0.1], [shown.exit], color=INK, marker="X", markersize=7, linestyle="none")
        ax.set_xticks([shown.decided], [day(shown.ts)])
        ax.set(xlim=(-1, at[-1] + 1))
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.grid(visible=False, axis="x")
        ax.margins(y=0.08)

    return draw(
        name,
        paint,
        title=f"{shown.symbol}, {shown.direction}, {day(shown.ts)}",
        description=_spoken_trade(shown),
        height=200,
        margins=(44, 84, 24, 8),
    )


def _beside(ax: Axes, level: float, text: str, colour: str) -> None:
    ax.annotate(
        text, (1, level), (4, 0), ("axes fraction", "data"), "offset points",
        ha="left", va="center", color=colour, fontsize=10.5, annotation_clip=False,
    )  # fmt: skip


def _spoken_trade(shown: Mistake) -> str:
    barriers = ""
    if shown.stop is not None and shown.target is not None:
        barriers = f", stop {_price(shown.stop)}, target {_price(shown.target)}"
    entered, left = shown.bars[shown.entered].ts, shown.bars[shown.left].ts
    return (
        f"{len(shown.bars)} bars from {day(shown.bars[0].ts)} to {day(shown.bars[-1].ts)}. Entered at "
        f"{_price(shown.entry)} on {day(entered)}{barriers}; left at {_price(shown.exit)} on {day(left)} "
        f"({shown.outcome}), net {number(shown.net_return, 'points')}."
    )


def _price(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 10_000 else f"{value:,.0f}"

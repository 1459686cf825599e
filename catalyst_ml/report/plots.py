"""The report's charts: one function each, content in, inline SVG out.

Every chart writes its numbers as text, so that they can be searched, read aloud and copied. Arms keep colour
and dash over all charts; colours are told apart with any colour vision and differ in dash or marker as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import FuncFormatter, MaxNLocator

from catalyst_ml.report.content import (
    BASE_RATE,
    CHALLENGER,
    CHAMPION,
    PATTERN_BASE_RATE,
    RULES,
    Arm,
    CalibrationCurve,
    Equity,
    Estimate,
    EvidenceCurve,
    Importance,
    MonthRate,
    Record,
    RiskCoverageCurve,
)
from catalyst_ml.report.svg import INK, MUTED, PAPER, SERIES, draw, printable
from catalyst_ml.report.typeset import Style, count, estimate_text, number

MAX_POINTS = 240
"""Points drawn per line; more cannot be seen and would only weigh."""
MAX_FEATURES = 15
MAX_MONTHS = 24
_ROW = 30.0
_LABEL_GAP = 15.0


@dataclass(frozen=True)
class Pen:
    colour: str
    dash: str | tuple[float, tuple[float, ...]] = "-"
    marker: str = "o"


_PENS = {
    CHALLENGER: Pen(SERIES[0]),
    CHAMPION: Pen(SERIES[1], (0, (5, 2)), "s"),
    RULES: Pen(SERIES[2], (0, (6, 2, 1.5, 2)), "^"),
    PATTERN_BASE_RATE: Pen(SERIES[3], (0, (3, 2)), "D"),
    BASE_RATE: Pen(MUTED, (0, (1.2, 2)), "v"),
}
_OTHER_PENS = (Pen(SERIES[4], (0, (4, 1.5)), "P"), Pen(INK, (0, (2, 1)), "X"))


def pen(arm: str, position: int = 0) -> Pen:
    """Colour, dash and marker of ``arm``; unknown arms take turns by ``position``."""
    return _PENS.get(arm) or _OTHER_PENS[position % len(_OTHER_PENS)]


def reliability(curves: Sequence[CalibrationCurve], titles: dict[str, str]) -> str:
    """Observed against forecast share of winners, with the rows behind each point of the first curve."""
    first = curves[0].points
    across = _padded([p.predicted for c in curves for p in c.points], below=0.08, above=0.08)
    up = _padded(
        [v for c in curves for p in c.points for v in (p.observed, p.low, p.high) if v is not None],
        below=0.32,
        above=0.05,
    )

    def paint(ax: Axes) -> None:
        ax.plot(across, across, color=MUTED, linewidth=1.2, linestyle=(0, (1.2, 2)))
        for i, curve in enumerate(curves):
            style = pen(curve.arm, i)
            x, y = [p.predicted for p in curve.points], [p.observed for p in curve.points]
            ax.plot(x, y, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=5)
        style = pen(curves[0].arm)
        for p in first:
            if p.low is not None and p.high is not None:
                ax.plot([p.predicted] * 2, [p.low, p.high], color=style.colour, alpha=0.45, linewidth=1.6)
        ax.set(xlim=across, ylim=up, xlabel="forecast chance of success", ylabel="share that won")
        _percent_axis(ax.xaxis, ax.yaxis)
        _counts_below(ax, [(p.predicted, p.count) for p in first])
        _key(ax, [(c.arm, titles.get(c.arm, c.arm)) for c in curves])

    spoken = "; ".join(
        f"forecast {number(p.predicted, 'percent')}, won {number(p.observed, 'percent')} of {count(p.count)}"
        for p in first
    )
    return draw("reliability", paint, title="Calibration: forecast against outcome", description=spoken, height=350)


def risk_coverage(curves: Sequence[RiskCoverageCurve], titles: dict[str, str]) -> str:
    """Share of wrong calls among the most confident signals, with the first curve's band."""

    def paint(ax: Axes) -> None:
        for i, curve in enumerate(curves):
            style = pen(curve.arm, i)
            points = sorted(curve.points, key=lambda p: p.coverage)
            x, y = [p.coverage for p in points], [p.error for p in points]
            ax.plot(x, y, color=style.colour, linestyle=style.dash)
            if i == 0:
                banded = [p for p in points if p.low is not None and p.high is not None]
                ax.fill_between(
                    [p.coverage for p in banded],
                    [p.low or 0.0 for p in banded],
                    [p.high or 0.0 for p in banded],
                    color=style.colour,
                    alpha=0.16,
                    linewidth=0,
                )
                _mark_ends(ax, x, y, style)
        ax.set(xlim=(0.0, 1.02), xlabel="share of signals taken, most confident first", ylabel="wrong calls")
        ax.margins(y=0.12)
        _percent_axis(ax.xaxis, ax.yaxis)
        _key(ax, [(c.arm, titles.get(c.arm, c.arm)) for c in curves])

    first = sorted(curves[0].points, key=lambda p: p.coverage)
    spoken = "; ".join(f"{p.coverage:.0%} taken: {number(p.error, 'percent')} wrong" for p in first)
    return draw("risk", paint, title="Errors against share of signals taken", description=spoken, height=330)


def equity(content: Equity, titles: dict[str, str]) -> str:
    """Cumulative net return per arm, all taking the same share of signals."""

    def paint(ax: Axes) -> None:
        ax.axhline(0.0, color=MUTED, linewidth=1.0)
        ends = []
        for i, curve in enumerate(content.curves):
            style = pen(curve.arm, i)
            _line(ax, curve.sessions, [100 * v for v in curve.cumulative], style)
            if curve.cumulative:
                text = f"{titles.get(curve.arm, curve.arm)} {number(curve.cumulative[-1], 'points')}"
                ends.append((100 * curve.cumulative[-1], text, style.colour))
        ax.set_ylabel("cumulative net return, %")
        _end_labels(ax, ends)

    spoken = "; ".join(
        f"{titles.get(c.arm, c.arm)} ends at {number(c.cumulative[-1], 'points')}"
        for c in content.curves
        if c.cumulative
    )
    return draw(
        "equity",
        paint,
        title="Net return of the arms",
        description=spoken,
        height=320,
        margins=(48, 116, 34, 8),
    )


def daily_evidence(curves: Sequence[EvidenceCurve], titles: dict[str, str]) -> str:
    """Running sum of the challenger's advantage in log-loss; rising means it forecast better."""

    def paint(ax: Axes) -> None:
        ax.axhline(0.0, color=MUTED, linewidth=1.0)
        ends = []
        for i, curve in enumerate(curves):
            style = pen(curve.against, i)
            _line(ax, curve.sessions, curve.cumulative, style)
            if curve.cumulative:
                text = f"{titles.get(curve.against, curve.against)} {curve.cumulative[-1]:+.1f}".replace("-", "−")
                ends.append((curve.cumulative[-1], text, style.colour))
        ax.set_ylabel("advantage so far (log-loss)")
        for y, text, align in ((0.99, "challenger better ↑", "top"), (0.01, "challenger worse ↓", "bottom")):
            ax.text(0.015, y, text, transform=ax.transAxes, va=align, color=MUTED, fontsize=11)
        ax.margins(y=0.14)
        _end_labels(ax, ends)

    spoken = "; ".join(
        f"against {titles.get(c.against, c.against)}: {c.cumulative[-1]:+.2f} nats after {len(c.sessions)} sessions"
        for c in curves
        if c.cumulative
    )
    return draw(
        "evidence",
        paint,
        title="Evidence day by day",
        description=spoken,
        height=320,
        margins=(48, 116, 34, 8),
    )


def log_loss_forest(arms: Sequence[Arm]) -> str:
    """Each arm's log-loss minus the base rate's, with its interval: left of zero is better."""
    rows = [
        Row(arm.title, arm.log_loss_vs_base, pen(arm.name) if arm.kind != "member" else Pen(MUTED))
        for arm in arms
        if arm.log_loss_vs_base.value is not None and arm.name != BASE_RATE
    ]
    return dots(
        "forest",
        rows,
        style="difference",
        axis_label="better  ←  0  →  worse than the base rate",
        better_left=True,
        title="Log-loss minus the base rate's",
    )


def importances(features: Sequence[Importance]) -> str:
    """The features whose shuffling hurts most, with intervals; at most `MAX_FEATURES`."""
    ranked = sorted(features, key=lambda f: -(f.importance.value or 0.0))[:MAX_FEATURES]
    rows = [Row(f.feature, f.importance, Pen(SERIES[0])) for f in ranked]
    return dots(
        "importances",
        rows,
        style="difference",
        axis_label="log-loss lost when the feature is shuffled",
        title="What the forecast leans on",
    )


def base_rate_by_month(months: Sequence[MonthRate], record: Record) -> str:
    """Share of winners per month with intervals, against the rate of the whole record."""
    shown = list(months)[-MAX_MONTHS:]
    overall = record.base_rate.value

    def paint(ax: Axes) -> None:
        if overall is not None:
            ax.axhline(overall, color=SERIES[1], linewidth=1.4, linestyle=(0, (5, 2)))
        for i, month in enumerate(shown):
            if month.rate.low is not None and month.rate.high is not None:
                ax.plot([i, i], [month.rate.low, month.rate.high], color=SERIES[0], alpha=0.5)
        values = [np.nan if m.rate.value is None else m.rate.value for m in shown]
        ax.plot(range(len(shown)), values, color=SERIES[0], linestyle="none", marker="o", markersize=5)
        step = -(-len(shown) // 6)
        ax.set_xticks(range(0, len(shown), step), [shortened(m.month, 9) for m in shown[::step]])
        ax.set(xlim=(-0.6, len(shown) - 0.4), ylabel="share that won")
        ax.grid(visible=False, axis="x")
        ax.margins(y=0.2)
        _percent_axis(ax.yaxis)
        if overall is not None:
            text = f"dashed: all rows, {number(overall, 'percent')}"
            ax.text(0.99, 0.99, text, transform=ax.transAxes, ha="right", va="top", color=SERIES[1], fontsize=11.5)

    spoken = "; ".join(f"{m.month}: {estimate_text(m.rate, 'percent')} of {count(m.n)} rows" for m in shown)
    return draw("months", paint, title="Base rate by month", description=spoken, height=350)


@dataclass(frozen=True)
class Row:
    """One line of a dot plot: label, number with interval, colour and marker."""

    label: str
    estimate: Estimate
    pen: Pen


def dots(
    name: str, rows: Sequence[Row], *, style: Style, axis_label: str, title: str, better_left: bool = False
) -> str:
    """Dots with intervals, label on the left, number on the right, first row on top."""

    def paint(ax: Axes) -> None:
        ax.axvline(0.0, color=MUTED, linewidth=1.2)
        for i, row in enumerate(rows):
            e, y = row.estimate, len(rows) - 1 - i
            if e.low is not None and e.high is not None:
                ax.plot([e.low, e.high], [y, y], color=row.pen.colour, linewidth=2.4, alpha=0.6)
            ax.plot([e.value or 0.0], [y], color=row.pen.colour, marker=row.pen.marker, markersize=7)
            ax.annotate(
                shortened(row.label, 22), (0, y), (-8, 0), ("axes fraction", "data"), "offset points",
                ha="right", va="center", color=INK, annotation_clip=False,
            )  # fmt: skip
            ax.annotate(
                number(e.value, style), (1, y), (8, 0), ("axes fraction", "data"), "offset points",
                ha="left", va="center", color=INK, annotation_clip=False,
            )  # fmt: skip
        ax.set(ylim=(-0.7, len(rows) - 0.3), yticks=[], xlabel=axis_label)
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.spines["left"].set_visible(False)
        ax.margins(x=0.08)
        low, high = ax.get_xlim()
        if better_left and low < 0.0:
            ax.axvspan(low, 0.0, color=SERIES[2], alpha=0.08, linewidth=0)
            ax.set_xlim(low, high)

    spoken = "; ".join(f"{row.label}: {estimate_text(row.estimate, style)}" for row in rows)
    return draw(
        name,
        paint,
        title=title,
        description=spoken,
        height=62 + _ROW * max(1, len(rows)),
        margins=(138, 58, 48, 8),
    )


def _line(ax: Axes, sessions: Sequence[date], values: Sequence[float], style: Pen) -> None:
    keep = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().astype(int))
    x = date2num(list(sessions))
    ax.plot(x[keep], np.asarray(values, dtype="float64")[keep], color=style.colour, linestyle=style.dash)
    locator = AutoDateLocator(minticks=3, maxticks=6)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    ax.grid(visible=False, axis="x")


def _end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name and last value beside its end, moved apart where they would overlap."""
    if not ends:
        return
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height
    wanted = sorted((height * (v - low) / (high - low), text, colour) for v, text, colour in ends)
    places = _apart([y for y, _, _ in wanted], gap=2 * _LABEL_GAP, top=height)
    for (_, text, colour), y in zip(wanted, places, strict=True):
        name, _, value = text.rpartition(" ")
        ax.annotate(
            f"{shortened(name, 20)}\n{value}", (1, y / height), (8, 0), "axes fraction", "offset points",
            ha="left", va="center", color=colour, fontsize=11.5, linespacing=1.15, annotation_clip=False,
        )  # fmt: skip


def _apart(wanted: Sequence[float], *, gap: float, top: float) -> list[float]:
    """Return rising positions at least ``gap`` apart, below ``top``, each as near as possible to its wish."""
    places: list[float] = []
    for y in wanted:
        places.append(max(y, places[-1] + gap) if places else y)
    ceiling = top
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


def _padded(values: Sequence[float], *, below: float, above: float) -> tuple[float, float]:
    """Return the span of ``values`` widened by shares of itself, at least a point wide."""
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    return low - below * span, high + above * span


def _key(ax: Axes, arms: Sequence[tuple[str, str]]) -> None:
    """Name the lines above the axes, in their colour and dash."""
    handles = [ax.plot([], [], color=pen(a, i).colour, linestyle=pen(a, i).dash)[0] for i, (a, _) in enumerate(arms)]
    ax.legend(
        handles, [shortened(t, 18) for _, t in arms], loc="lower left", bbox_to_anchor=(-0.02, 1.0),
        ncols=min(3, len(arms)), frameon=False, fontsize=11.5, handlelength=2.0, columnspacing=1.4,
        borderpad=0.2,
    )  # fmt: skip
    box = ax.get_position()
    ax.set_position((box.x0, box.y0, box.width, box.height - 0.07 * (1 + (len(arms) - 1) // 3)))


def _counts_below(ax: Axes, points: Sequence[tuple[float, int]]) -> None:
    """Draw the rows behind each point as bars on the floor, and write their number or its range."""
    if not points:
        return
    most = max(n for _, n in points)
    low, high = ax.get_ylim()
    width = 0.018 * (ax.get_xlim()[1] - ax.get_xlim()[0])
    for x, n in points:
        ax.bar(x, 0.12 * (high - low) * n / most, width, bottom=low, color=MUTED, alpha=0.35, linewidth=0)
    fewest = min(n for _, n in points)
    rows = count(most) if fewest == most else f"{count(fewest)} to {count(most)}"
    ax.annotate(
        f"bars: {rows} rows behind each point", (1, 0.15), (-4, 0), "axes fraction", "offset points",
        ha="right", va="bottom", color=MUTED, fontsize=11,
    )  # fmt: skip


def _mark_ends(ax: Axes, x: Sequence[float], y: Sequence[float], style: Pen) -> None:
    rises = len(y) > 1 and y[1] > y[0]
    for i, align, drop in ((0, "left", -19 if rises else 9), (len(x) - 1, "right", 9)):
        ax.plot([x[i]], [y[i]], marker="o", color=style.colour, markeredgecolor=PAPER, markersize=7)
        ax.annotate(
            number(y[i], "percent"), (x[i], y[i]), (0, drop), "data", "offset points",
            ha=align, va="bottom", color=INK, fontweight="bold",
        )  # fmt: skip


def _percent_axis(*axes: object) -> None:
    for axis in axes:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))  # type: ignore[attr-defined]
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g} %"))  # type: ignore[attr-defined]


def shortened(text: str, width: int) -> str:
    """Return ``text`` as it may stand in a chart, at most ``width`` characters long."""
    clean = printable(text)
    return clean if len(clean) <= width else clean[: width - 1].rstrip() + "…"

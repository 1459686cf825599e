"""Charts of the trial: the evidence as a running e-value with the stages' thresholds, and small trends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import FixedLocator, FuncFormatter

from catalyst_ml.report.svg import INK, MUTED, SERIES, draw
from catalyst_ml.report.typeset import number
from catalyst_ml.trial.stages import SHARES

MAX_POINTS = 400
_LOWEST, _HIGHEST = 1e-3, 1e6


def e_values(
    sessions: Sequence[date],
    log_e: Sequence[float],
    log_e_against: Sequence[float],
    *,
    thresholds: Sequence[tuple[float, str]],
) -> str:
    """Draw both e-values over time on a logarithmic axis.

    Parameters
    ----------
    sessions, log_e, log_e_against
        Sessions in time order and the natural logs of the e-values after each, equally long.
    thresholds
        E-values that mean something, with their words.
    """
    keep = _evenly(len(sessions))
    x = date2num([sessions[i] for i in keep])
    lines = (
        ("ML better", [_bounded(log_e[i]) for i in keep], SERIES[0], "-"),
        ("ML worse", [_bounded(log_e_against[i]) for i in keep], SERIES[1], (0, (5, 2))),
    )

    def paint(ax: Axes) -> None:
        ax.set_yscale("log")
        ax.axhline(1.0, color=MUTED, linewidth=1.0)
        values = [1.0, *(value for _, line, _, _ in lines for value in line), *(level for level, _ in thresholds)]
        ax.set_ylim(max(min(values) / 1.6, _LOWEST), min(max(values) * 1.6, _HIGHEST))
        for level, words in thresholds:
            ax.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (1.2, 2)))
            ax.annotate(
                f"{words}", (1, level), (8, 0), ("axes fraction", "data"), "offset points",
                ha="left", va="center", color=MUTED, fontsize=11, annotation_clip=False,
            )  # fmt: skip
        for name, line, colour, dash in lines:
            ax.plot(x, line, color=colour, linestyle=dash, label=name)
        ax.yaxis.set_major_locator(FixedLocator([0.001, 0.01, 0.1, 1, 10, 100, 1_000, 10_000]))
        ax.yaxis.set_minor_locator(FixedLocator([]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        locator = AutoDateLocator(minticks=3, maxticks=6)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
        ax.set_ylabel("e-value")
        ax.legend(loc="upper left", frameon=False, fontsize=11.5, handlelength=2.4)

    spoken = "no session yet"
    if sessions:
        spoken = (
            f"after {len(sessions)} sessions e = {math.exp(min(log_e[-1], 20.0)):.3g} for ML better, "
            f"{math.exp(min(log_e_against[-1], 20.0)):.3g} for ML worse"
        )
    return draw("evalue", paint, title="Evidence so far", description=spoken, height=320, margins=(56, 96, 34, 8))


def stages(sessions: Sequence[date], stage: Sequence[str]) -> str:
    """Draw the share of the weight that ML may have, session by session."""
    keep = _evenly(len(sessions))
    shares = [100.0 * SHARES[stage[i]] for i in keep]

    def paint(ax: Axes) -> None:
        ax.step(date2num([sessions[i] for i in keep]), shares, where="post", color=SERIES[0])
        ax.set(ylim=(-6, 106), yticks=[0, 10, 30, 70, 100], ylabel="share of ML, %")
        locator = AutoDateLocator(minticks=3, maxticks=6)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))

    spoken = f"{stage[0]} at first, {stage[-1]} at the end" if sessions else "no session yet"
    return draw("stages", paint, title="Stages", description=spoken, height=200, margins=(56, 20, 34, 8))


def equity(sessions: Sequence[date], books: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Draw the running profit of each book, marked to market, in stakes of one trade."""
    keep = _evenly(len(sessions))
    x = date2num([sessions[i] for i in keep])
    dashes = ("-", (0, (6, 2, 1.5, 2)), (0, (3, 2)))

    def paint(ax: Axes) -> None:
        ax.axhline(0.0, color=MUTED, linewidth=1.0)
        for i, (name, values) in enumerate(books):
            ax.plot(x, [values[k] for k in keep], color=SERIES[2 * i % 5], linestyle=dashes[i], label=name)
        ax.set_ylabel("profit, stakes of one trade")
        locator = AutoDateLocator(minticks=3, maxticks=6)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
        ax.legend(loc="upper left", frameon=False, fontsize=11.5, handlelength=2.4)

    spoken = "; ".join(f"{name} ends at {values[-1]:+.2f}".replace("-", "−") for name, values in books if values)
    return draw("books", paint, title="The two books", description=spoken, height=300, margins=(56, 20, 34, 8))


def trend(name: str, values: Sequence[float | None], *, spoken: str) -> str:
    """Draw a line of some values without axes; gaps where a value is unknown. Needs two known values."""

    def paint(ax: Axes) -> None:
        known = [(i, value) for i, value in enumerate(values) if value is not None]
        ax.plot(range(len(values)), [math.nan if v is None else v for v in values], color=SERIES[0])
        ax.plot([known[-1][0]], [known[-1][1]], marker="o", markersize=7, color=INK)
        ax.axis("off")
        ax.margins(x=0.05, y=0.25)

    return draw(name, paint, title="Trend", description=spoken, height=70, margins=(6, 6, 6, 6))


def has_trend(values: Sequence[float | None]) -> bool:
    """True if there is a line to draw."""
    return sum(value is not None for value in values) >= 2


def spoken_trend(values: Sequence[float | None]) -> str:
    """Say first and last known value for those who cannot see the line."""
    known = [value for value in values if value is not None]
    return f"from {number(known[0])} to {number(known[-1])} over {len(values)} values" if known else "unknown"


def _bounded(log_value: float) -> float:
    return min(max(math.exp(min(max(log_value, -30.0), 30.0)), _LOWEST), _HIGHEST)


def _evenly(n: int) -> list[int]:
    step = max(1, math.ceil(n / MAX_POINTS))
    return sorted({*range(0, n, step), *([n - 1] if n else [])})

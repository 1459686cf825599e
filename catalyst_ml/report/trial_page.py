"""The page of the trial: where it stands, how the arms compare, the plan's key figures; one self-contained HTML file.

Used for the weekly performance report and for a trial replayed over the past. The content is JSON made by the tasks;
nothing is computed here. Intervals are 90 % and respect that events of one day move together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from markupsafe import Markup

from catalyst_ml.report import trial_plots, typeset
from catalyst_ml.report.content_base import Estimate
from catalyst_ml.report.page_template import page_template
from catalyst_ml.report.reading import side_of_zero
from catalyst_ml.report.typeset import Style, estimate_text, number

UNIT_STYLES: Mapping[str, Style] = {"share": "percent", "change": "points", "bps": "bps"}
STATE_MARKS = {"met": "yes", "missed": "no", "not shown": "open", "unknown": "none"}
STEPS = ("30 %", "70 %", "100 %")
"""Stages that ask for an e-value, in the order of ``needed``."""


def render(page: Mapping[str, Any]) -> str:
    """Return the page; the same content gives the same bytes.

    Parameters
    ----------
    page
        dataset, timeframe, label_version, as_of, since, until, kind (``performance`` or ``replay``), code_commit,
        n_signals, n_settled, reason (why there is nothing to compare, or empty), recommendation, trial (of
        ``trial.document.trial_document``, or None), arms, weeks, kinds, kpis, how (sentences).
    """
    return page_template("trial.html.j2").render(
        page=page,
        tiles=tiles(page),
        charts=_charts(page),
        estimate=_estimate,
        kpi_value=kpi_value,
        state_marks=STATE_MARKS,
        side=side_of_zero,
        typeset=typeset,
        tone=_tone(page),
        percent=lambda stage: "the shadow" if stage == "shadow" else stage,
    )


def headline(page: Mapping[str, Any]) -> str:
    """Return the recommendation in one sentence, or why there is none."""
    return str(page["recommendation"]["headline"])


def tiles(page: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (label, value, context) of the first screen."""
    found: list[tuple[str, str, str]] = []
    trial = page["trial"]
    if trial:
        found.append(("Stage", trial["stage"], f"after {len(trial['days'])} compared sessions"))
    if trial and trial["days"]:
        last = trial["days"][-1]
        found.append(
            ("Evidence that ML is better", f"e = {typeset.measured(_exp(last['log_e_up']))}", "20 is proof, 1 is none")
        )
        shown = trial["difference"]
        band = _interval(shown["low"], shown["high"], "bps")
        found.append(("Difference a session", number(shown["mean"], "bps"), f"{band} · valid at every look"))
    arms = {arm["arm"]: arm for arm in page["arms"]}
    for name in ("ML", "Rules"):
        if name in arms:
            score = arms[name]["net_bps"]
            found.append(
                (f"{name}, net per trade", number(score["value"], "bps"), typeset.interval(_estimate(score), "bps"))
            )
    found.append(("Signals", f"{page['n_signals']:,}", f"{page['n_settled']:,} settled"))
    return found


def kpi_value(kpi: Mapping[str, Any]) -> str:
    """Return a key figure's value with its interval, in its unit."""
    if kpi["value"] is None:
        return typeset.MISSING
    if kpi["unit"] == "seconds":
        return typeset.duration(kpi["value"])
    if kpi["unit"] == "dollars":
        return f"{kpi['value']:.2f} $ a month"
    shown = Estimate(value=kpi["value"], low=kpi["low"], high=kpi["high"])
    return estimate_text(shown, UNIT_STYLES[kpi["unit"]])


def kpi_rows(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the key figures as plain rows, for tables elsewhere."""
    return [
        {
            "figure": kpi["title"],
            "now": kpi_value(kpi),
            "target": kpi["target"],
            "state": kpi["state"],
            "context": kpi["context"],
        }
        for kpi in page["kpis"]
    ]


def arm_rows(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per arm."""
    return [
        {
            "arm": arm["arm"],
            "accuracy": _spoken(arm["accuracy"], "percent"),
            "base rate": number(arm["base_rate"], "percent"),
            "AUC within day": _spoken(arm["auc_within"], "score"),
            "trades": f"{arm['trades']:,.0f}",
            "losing trades": _spoken(arm["losing_share"], "percent"),
            "net per trade": _spoken(arm["net_bps"], "bps"),
            "Sharpe": _spoken(arm["sharpe"], "ratio"),
            "events": f"{arm['n']:,}",
        }
        for arm in page["arms"]
    ]


def move_rows(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per move of the stage."""
    moves = page["trial"]["moves"] if page["trial"] else []
    return [
        {
            "session": move["session"],
            "from": move["from_stage"],
            "to": move["to_stage"],
            "why": move["reason"],
        }
        for move in moves
    ]


def markdown(page: Mapping[str, Any]) -> str:
    """Return headline, tiles and tables as Markdown, for Prefect's artifacts and committed benchmarks."""
    parts = [f"## {headline(page)}", "\n".join(f"- {reason}" for reason in page["recommendation"]["reasons"])]
    parts.append("\n".join(f"- {label}: {value} ({why})" for label, value, why in tiles(page)))
    for title, rows in (
        ("Arms", arm_rows(page)),
        ("Key figures of the plan", kpi_rows(page)),
        ("Stages", move_rows(page)),
    ):
        if rows:
            parts += [f"### {title}", table(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows of plain texts as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join([*lines, *("| " + " | ".join(row.values()) + " |" for row in rows)])


def _charts(page: Mapping[str, Any]) -> dict[str, Markup]:
    drawn: dict[str, str] = {}
    days = page["trial"]["days"] if page["trial"] else []
    if days:
        sessions = [date.fromisoformat(day["session"]) for day in days]
        drawn["evalue"] = trial_plots.e_values(
            sessions,
            [day["log_e_up"] for day in days],
            [day["log_e_down"] for day in days],
            thresholds=[(e, f"{stage}: {e:g}") for e, stage in zip(page["trial"]["needed"], STEPS, strict=True)],
        )
        drawn["stages"] = trial_plots.stages(sessions, [day["stage"] for day in days])
        books = [("ML", _running(days, "profit_ml")), ("Rules", _running(days, "profit_rules"))]
        drawn["books"] = trial_plots.equity(sessions, books)
    for kpi in page["kpis"]:
        if trial_plots.has_trend(kpi["trend"]):
            name = f"trend-{kpi['name']}"
            drawn[name] = trial_plots.trend(name, kpi["trend"], spoken=trial_plots.spoken_trend(kpi["trend"]))
    # Markup: drawn by this package, names in it escaped by the SVG writer
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704


def _running(days: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    total, found = 0.0, []
    for day in days:
        total += day[name]
        found.append(total)
    return found


def _tone(page: Mapping[str, Any]) -> str:
    words = headline(page)
    if words.startswith(("Step down", "Stay in the shadow: a guardrail")):
        return "failed"
    if words.startswith("Go on"):
        return "promote"
    return "not_enough_evidence" if words.startswith("Wait") else "stay"


def _exp(log_value: float) -> float:
    return math.exp(min(log_value, 50.0))


def _interval(low: float | None, high: float | None, style: Style) -> str:
    return typeset.interval(Estimate(value=0.0, low=low, high=high), style)


def _estimate(score: Mapping[str, Any] | None) -> Estimate:
    if score is None:
        return Estimate()
    return Estimate(value=score["value"], low=score["low"], high=score["high"], level=score["level"])


def _spoken(score: Mapping[str, Any], style: Style) -> str:
    return estimate_text(_estimate(score), style)

"""The weekly report: one HTML file that needs nothing but itself, and its key figures for other places.

Every text of the content is escaped by the template engine; only charts that this package drew itself are
inserted as they are. No script, no font, no picture is loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from catalyst_ml.report import evidence_reading, explained_plots, plots, reading, typeset
from catalyst_ml.report.content import CHALLENGER, EquityCurve, Estimate, ReportContent, Slice
from catalyst_ml.report.evidence_content import Selective, Trials
from catalyst_ml.report.page_template import page_template

FILE_LIMIT_BYTES = 2_000_000
_SLICE_TITLES = {
    "pattern": "By pattern",
    "direction": "By direction",
    "catalyst": "With and without news",
    "month": "By month",
    "regime": "By market regime",
    "volatility": "By nervousness of the market, as known that day",
    "trend": "By trend of the market, as known that day",
    "sector": "By sector",
    "novelty": "By novelty",
}


@dataclass(frozen=True)
class KeyFigure:
    """One number of the first screen, with what it must be read against."""

    label: str
    value: str
    context: str


def render_report(content: ReportContent) -> str:
    """Return the report as one self-contained HTML page; the same content gives the same bytes."""
    return page_template("weekly.html.j2").render(
        content=content,
        figures=key_figures(content),
        charts=_charts(content),
        slice_groups=_slice_groups(content.slices),
        kind=reading.KIND_OF_VERDICT[content.verdict.verdict],
        titles=reading.arm_titles(content),
        slowest=max((t.seconds for t in content.timings), default=1.0) or 1.0,
        reading=reading,
        evidence=evidence_reading,
        typeset=typeset,
    )


def render_model_card(content: ReportContent) -> str:
    """Return the model card of the challenger as Markdown: what it is for, its evidence, its limits."""
    return page_template("model_card.md.j2", autoescape=False).render(
        content=content,
        figures=key_figures(content),
        kind=reading.KIND_OF_VERDICT[content.verdict.verdict],
        reading=reading,
        evidence=evidence_reading,
        typeset=typeset,
        cell=_cell,
    )


def key_figures(content: ReportContent) -> list[KeyFigure]:
    """Return the numbers of the first screen; those a run has not measured are left out."""
    arm, record = content.arm(CHALLENGER), content.record
    figures = []
    if arm is not None:
        figures += [
            _figure("Log-loss against the base rate", arm.log_loss_vs_base, "difference", "below zero is better"),
            _figure("AUC within day and direction", arm.auc_within, "score", "0.500 is a coin"),
            _figure("Accuracy", arm.accuracy, "percent", f"base rate {typeset.number(arm.base_rate, 'percent')}"),
        ]
    if content.equity is not None:
        own = next((c for c in content.equity.curves if c.arm == CHALLENGER), None)
        if own is not None:
            context = f"after costs, top {typeset.share(content.equity.coverage)} of signals"
            figures.append(_figure("Net per trade", own.mean_net_bps, "bps", context))
            figures.append(_figure("Sharpe ratio", own.sharpe, "ratio", _deflated(own, content.equity.trials)))
    if content.selective is not None:
        figures.append(_surest(content.selective))
    signals = f"{typeset.count(record.rows)} signals"
    if record.n_eff is not None:
        signals += f", worth about {typeset.count(record.n_eff)} independent ones"
    figures.append(KeyFigure("Evidence", f"{typeset.count(record.sessions)} sessions", signals))
    decisive = [check.passed for check in content.gate if check.decisive]
    if decisive:
        passed = f"{decisive.count(True)} of {len(decisive)} passed"
        figures.append(KeyFigure("Decisive checks", passed, "all must pass for a promotion"))
    return [figure for figure in figures if figure.value != typeset.MISSING]


def headline_table(content: ReportContent) -> list[tuple[str, str]]:
    """Return (label, text) pairs for the terminal and for Prefect's table artifacts."""
    rows = [("Verdict", f"{reading.KIND_OF_VERDICT[content.verdict.verdict]}: {content.verdict.headline}")]
    rows += [(f.label, f"{f.value} ({f.context})") for f in key_figures(content)]
    run = content.run
    rows.append(("Champion", run.champion))
    if run.challenger is not None:
        rows.append(("Challenger", run.challenger))
    rows.append(("Data", f"{run.dataset}, {run.timeframe}, as of {typeset.moment(run.as_of)}"))
    rows.append(("Duration", f"{typeset.duration(run.duration_s)} on {run.device}"))
    return rows


def markdown_summary(content: ReportContent) -> str:
    """Return verdict, key figures and checks as Markdown, for Prefect's artifacts and notifications."""
    lines = [
        f"## {_cell(content.verdict.headline)}",
        "",
        _cell(content.verdict.tomorrow),
        "",
        "| | |",
        "|---|---|",
    ]
    lines += [f"| {_cell(label)} | {_cell(text)} |" for label, text in headline_table(content)]
    if content.gate:
        lines += ["", "| Check | Measured | Bound | Result |", "|---|---:|---:|---|"]
        for check in content.gate:
            result = {True: "passed", False: "failed", None: "not judged"}[check.passed]
            note = "" if check.decisive else " (does not decide)"
            cells = (check.title, typeset.measured(check.value), typeset.measured(check.bound), result + note)
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def _figure(label: str, estimate: Estimate, style: typeset.Style, context: str) -> KeyFigure:
    band = typeset.interval(estimate, style)
    return KeyFigure(label, typeset.number(estimate.value, style), f"{band} · {context}" if band else context)


def _deflated(curve: EquityCurve, trials: Trials | None) -> str:
    """Context of a Sharpe ratio: what was tried, and what that leaves of it."""
    if trials is None or curve.deflated is None:
        return "annual"
    chance = typeset.chance(curve.deflated)
    if trials.trials == 1:
        return f"annual; {chance} chance that it is above zero, 1 attempt on record"
    overfitted = "" if trials.overfitting is None else f", PBO {typeset.share(trials.overfitting)}"
    return f"annual; {chance} chance that it beats the best of {trials.trials} attempts by luck{overfitted}"


def _surest(found: Selective) -> KeyFigure:
    """Threshold for the weeks to come beside what the earlier ones were worth and the base rate."""
    label, base = f"Calls at {typeset.share(found.target)} accuracy", typeset.number(found.base_rate, "percent")
    value = "abstains" if found.now.tau is None else f"{typeset.share(found.now.coverage or 0.0)} of signals"
    if found.calls:
        accuracy = typeset.estimate_text(found.accuracy, "percent")
        constant = typeset.number(found.followed_base_rate, "percent")
        return KeyFigure(label, value, f"earlier thresholds: {accuracy} right, a constant call {constant}")
    best = (
        "" if found.now.accuracy is None else f"best threshold {typeset.number(found.now.accuracy, 'percent')} right, "
    )
    return KeyFigure(label, value, f"{best}base rate {base}")


def _charts(content: ReportContent) -> dict[str, Markup]:
    """Return the charts that this content has data for, by name."""
    titles = reading.arm_titles(content)
    equity = content.equity
    recipes: dict[str, tuple[bool, Callable[[], str]]] = {
        "forest": (
            any(arm.log_loss_vs_base.value is not None for arm in content.arms),
            lambda: plots.log_loss_forest(content.arms),
        ),
        "evidence": (
            any(curve.cumulative for curve in content.evidence),
            lambda: plots.daily_evidence(content.evidence, titles),
        ),
        "reliability": (
            any(curve.points for curve in content.calibration),
            lambda: plots.reliability([c for c in content.calibration if c.points], titles),
        ),
        "months": (
            any(month.rate.value is not None for month in content.base_rate_by_month),
            lambda: plots.base_rate_by_month(content.base_rate_by_month, content.record),
        ),
        "risk": (
            bool(content.risk_coverage and content.risk_coverage[0].points),
            lambda: plots.risk_coverage([c for c in content.risk_coverage if c.points], titles),
        ),
        "equity": (
            equity is not None and any(curve.cumulative for curve in equity.curves),
            lambda: plots.equity(equity, titles) if equity is not None else "",
        ),
        "importances": (
            any(feature.importance.value is not None for feature in content.importances),
            lambda: plots.importances(content.importances),
        ),
        "drivers": (
            any(driver.size.value for driver in content.drivers),
            lambda: explained_plots.drivers(content.drivers),
        ),
    }
    drawn = {name: draw() for name, (has_data, draw) in recipes.items() if has_data}
    drawn |= {f"mistake-{k}": explained_plots.mistake(m, f"mistake-{k}") for k, m in enumerate(content.mistakes, 1)}
    # Markup: drawn by this package, names in it escaped by the SVG writer
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704


def _slice_groups(slices: list[Slice]) -> list[tuple[str, list[Slice]]]:
    order = list(_SLICE_TITLES)
    ranked = sorted(slices, key=lambda part: order.index(part.group))
    return [(_SLICE_TITLES[group], list(parts)) for group, parts in groupby(ranked, key=lambda part: part.group)]


def _cell(text: str) -> str:
    """Return text that cannot break out of a Markdown table cell or start a tag."""
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(character, escaped)
    return text

"""The page of a back-test: one self-contained HTML file, its tables as plain rows, its key figures as Markdown.

The content is the JSON that the back-test keeps (``tasks.backtest_report.assemble``); nothing is computed here.
Intervals are 90 % and respect that events of one day move together.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from markupsafe import Markup

from catalyst_ml.report import plots, typeset
from catalyst_ml.report.content import Estimate, EvidenceCurve
from catalyst_ml.report.evidence_parts import trials_part
from catalyst_ml.report.evidence_reading import read_trials
from catalyst_ml.report.page_template import page_template
from catalyst_ml.report.reading import side_of_zero
from catalyst_ml.report.svg import SERIES
from catalyst_ml.report.typeset import Style, estimate_text, number

ARM_TITLES = {
    "production": "In charge",
    "age_0": "Fit of the week",
    "rules": "Rules (calibrated)",
    "pattern_base_rate": "Pattern base rate",
    "base_rate": "Base rate",
}
VERDICTS = {
    "promote": "promotion",
    "stay": "stay",
    "not_enough_evidence": "not enough evidence",
    "failed": "refused its data",
}
SHADOW, IN_CHARGE, RULES, BASE_RATE = "age_0", "production", "rules", "base_rate"


def render(page: Mapping[str, Any]) -> str:
    """Return the page; the same content gives the same bytes."""
    return page_template("backtest.html.j2").render(
        page=page,
        headline=headline(page),
        tone="promote" if _promotions(page) else "stay",
        figures=key_figures(page),
        charts=_charts(page),
        estimate=_estimate,
        arm_titles=ARM_TITLES,
        verdicts=VERDICTS,
        side=side_of_zero,
        typeset=typeset,
        tried=tried(page),
        difference=_difference,
        age_words=age_words,
    )


def tried(page: Mapping[str, Any]) -> str:
    """Say what was tried on this line, and what that leaves of the Sharpe ratio of the week's fit."""
    return read_trials(trials_part(page["deflation"]))


def headline(page: Mapping[str, Any]) -> str:
    """Say in one sentence what happened to production."""
    n, promotions = len(page["weeks"]), _promotions(page)
    if not promotions:
        return f"{n} decisions, no promotion: the rules stayed in charge"
    times = "one promotion" if promotions == 1 else f"{promotions} promotions"
    return f"{n} decisions, {times}; in charge at the end: {_holder(page['weeks'][-1]['in_charge'])}"


def key_figures(page: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (label, value, context) of the first screen."""
    arms = {arm["arm"]: arm for arm in page["arms"]}
    shadow, in_charge = arms[SHADOW], arms[IN_CHARGE]
    figures = [
        _figure(
            "In charge against the rules", in_charge["loss_vs_rules"], "difference", "log-loss, below zero is better"
        ),
        _figure("Fit of the week against the base rate", shadow["loss_vs_base"], "difference", "log-loss"),
        _figure("Fit of the week, AUC within day", shadow["auc_within"], "score", "0.500 is a coin"),
        _figure("In charge, net per trade", in_charge["net_bps"], "bps", "after costs, top 20 % of events"),
        _figure("Fit of the week, net per trade", shadow["net_bps"], "bps", f"rules {_value(arms[RULES], 'net_bps')}"),
    ]
    deflation = page["deflation"]
    sharpe = _estimate(shadow["sharpe"])
    if sharpe.value is not None:
        band = typeset.interval(sharpe, "ratio")
        figures.append(("Fit of the week, Sharpe", number(sharpe.value, "ratio"), f"{band} · {deflation['words']}"))
    events = page["events"]
    context = f"{in_charge['sessions']} sessions; {events['without_outcome']:,} more without an outcome"
    return [*figures, ("Live events", f"{events['n']:,}", context)]


def week_rows(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per decision: what the gate said, what was in charge after it, and how the week's events went."""
    rows = []
    for week in page["weeks"]:
        tests, figures = week["t"], week["figures"]
        arms = figures["arms"] if figures else {}
        rows.append(
            {
                "decision": week["week"],
                "verdict": VERDICTS[week["verdict"]],
                **{f"t {name}": _signed(tests.get(column)) for name, column in _opponents(tests).items()},
                "in charge after": _holder(week["in_charge"]),
                "events": f"{figures['n']:,}" if figures else "–",
                "won": number(figures["success_rate"], "percent") if figures else "–",
                "in charge − base": _difference(arms, IN_CHARGE),
                "fit − base": _difference(arms, SHADOW),
                "AUC fit": number(arms[SHADOW]["auc_within"], "score") if arms else "–",
                "bp in charge": _bps(arms, IN_CHARGE),
                "bp rules": _bps(arms, RULES),
                "bp fit": _bps(arms, SHADOW),
            }
        )
    return rows


def arm_rows(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per arm on all live events."""
    return [
        {
            "arm": ARM_TITLES[arm["arm"]],
            "log-loss − base": _spoken(arm["loss_vs_base"], "difference"),
            "log-loss − rules": _spoken(arm["loss_vs_rules"], "difference"),
            "AUC within day": _spoken(arm["auc_within"], "score"),
            "net per trade": _spoken(arm["net_bps"], "bps"),
            "Sharpe": _spoken(arm["sharpe"], "ratio"),
            "trades": f"{arm['trades']:,.0f}",
            "events": f"{arm['n']:,}",
        }
        for arm in page["arms"]
    ]


def age_rows(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per age of a fit, all on the same events."""
    return [
        {
            "fit": age_words(point["age_weeks"]),
            "log-loss − freshest": "–" if point["excess"] is None else _spoken(point["excess"], "difference"),
            "t (worse)": "–" if point["t"] is None else _signed(point["t"]),
            "p": "–" if point["p_value"] is None else f"{point['p_value']:.2f}",
            "AUC within day": _spoken(point["auc_within"], "score"),
            "events": f"{point['n']:,}",
            "sessions": str(point["sessions"]),
        }
        for point in page["ageing"]["points"]
    ]


def spread_rows(page: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per path of the cross-validation; empty if it was not asked for."""
    if not page["cpcv"]:
        return []
    paths = page["cpcv"]["paths"]
    return [
        {
            "history": f"path {ours['path']}",
            "gain over base rate": _spoken(ours["gain"], "difference"),
            "gain over pattern base rate": _spoken(theirs["gain"], "difference"),
            "AUC within day": _spoken(ours["auc_within"], "score"),
            "events": f"{ours['n']:,}",
        }
        for ours, theirs in zip(paths["base_rate"], paths["pattern_base_rate"], strict=True)
    ]


def markdown(page: Mapping[str, Any]) -> str:
    """Return headline, key figures and all tables as Markdown, for Prefect's artifacts and committed benchmarks."""
    parts = [
        f"## {headline(page)}",
        "\n".join(f"- {label}: {value} ({why})" for label, value, why in key_figures(page)),
    ]
    for title, rows in (
        ("All live weeks", arm_rows(page)),
        ("Is weekly right?", age_rows(page)),
        ("Spread over histories (CPCV)", spread_rows(page)),
        ("Week by week", week_rows(page)),
    ):
        if rows:
            parts += [f"### {title}", table(rows)]
    parts.insert(2, f"{page['ageing']['reading']}\n\n{tried(page)}")
    return "\n\n".join(parts) + "\n"


def table(rows: list[dict[str, str]]) -> str:
    """Return rows of plain texts as a Markdown table, numbers to the right."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---|" + "---:|" * (len(names) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row.values()) + " |" for row in rows)])


def age_words(weeks: int) -> str:
    """How old a fit is, as a person says it."""
    return "freshest" if weeks == 0 else f"{weeks} week{'' if weeks == 1 else 's'} older"


def _charts(page: Mapping[str, Any]) -> dict[str, Markup]:
    curves = [
        EvidenceCurve(
            against=curve["against"],
            sessions=[date.fromisoformat(day) for day in curve["sessions"]],
            cumulative=curve["cumulative"],
        )
        for curve in page["evidence"]
    ]
    drawn = {}
    if any(curve.cumulative for curve in curves):
        drawn["evidence"] = plots.daily_evidence(curves, ARM_TITLES)
    aged = [point for point in page["ageing"]["points"] if point["excess"]]
    if aged:
        drawn["ageing"] = plots.dots(
            "ageing",
            [
                plots.Row(age_words(p["age_weeks"]), _estimate(p["excess"]), plots.Pen(SERIES[1], marker="s"))
                for p in aged
            ],
            style="difference",
            axis_label="log-loss minus the freshest fit's; right: worse",
            title="What age costs",
        )
    if page["cpcv"]:
        drawn["spread"] = plots.dots(
            "spread",
            [
                plots.Row(f"path {path['path']}", _estimate(path["gain"]), plots.Pen(SERIES[0]))
                for path in page["cpcv"]["paths"]["base_rate"]
            ],
            style="difference",
            axis_label="gain over the base rate; right: better",
            title="One history is one draw",
        )
    # Markup: drawn by this package, names in it escaped by the SVG writer
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704


def _promotions(page: Mapping[str, Any]) -> int:
    return sum(week["verdict"] == "promote" for week in page["weeks"])


def _holder(holder: str) -> str:
    return "the rules" if holder == "rules" else holder


def _opponents(tests: Mapping[str, float | None]) -> dict[str, str]:
    rival = "champion" if "champion" in tests else "rules"
    return {"rival": rival, "base": "base_rate", "pattern": "pattern_base_rate"}


def _figure(label: str, score: Mapping[str, Any], style: Style, context: str) -> tuple[str, str, str]:
    band = typeset.interval(_estimate(score), style)
    return label, number(score["value"], style), f"{band} · {context}" if band else context


def _estimate(score: Mapping[str, Any]) -> Estimate:
    return Estimate(value=score["value"], low=score["low"], high=score["high"], level=score["level"])


def _spoken(score: Mapping[str, Any], style: Style) -> str:
    return estimate_text(_estimate(score), style)


def _value(arm: Mapping[str, Any], name: str) -> str:
    return number(arm[name]["value"], "bps")


def _signed(value: float | None) -> str:
    return typeset.MISSING if value is None else f"{value:+.2f}".replace("-", "−")


def _difference(arms: Mapping[str, Any], arm: str) -> str:
    if not arms or arms[arm]["log_loss"] is None:
        return typeset.MISSING
    return number(arms[arm]["log_loss"] - arms[BASE_RATE]["log_loss"], "difference")


def _bps(arms: Mapping[str, Any], arm: str) -> str:
    return number(arms[arm]["net_bps"], "bps") if arms else typeset.MISSING

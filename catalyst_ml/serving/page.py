"""The trial page: what answers and since when, the evidence, both arms' equity, today's signals, the server's health.

Rendered here, from one snapshot, without scripts, pictures or anything from elsewhere; works on a phone, with a
keyboard and with a screen reader. Whatever came from outside is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from importlib.resources import files
from typing import Any

from catalyst_ml.serving import health
from catalyst_ml.serving.charts import Mark, Series, line_chart
from catalyst_ml.serving.judgement import Signal
from catalyst_ml.serving.service import SignalService
from catalyst_ml.serving.snapshot import Snapshot
from catalyst_ml.serving.trial_view import TrialView

MAX_SIGNALS = 50
STALE_AFTER = timedelta(days=8)
"""The trial's flow writes at least weekly."""

STYLE = files("catalyst_ml.serving").joinpath("page.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def render_page(service: SignalService, view: TrialView | None, trial_problem: str | None) -> str:
    """Return the whole page."""
    now = datetime.now(UTC)
    snapshot = service.follower.snapshot
    state = health.health(service, in_full=True)
    today = [(at, signal) for at, signal in reversed(tuple(service.recent)) if at.date() == now.date()]
    sections = [
        _answering(service, snapshot, state, now),
        _evidence(view, trial_problem, now),
        _equity(view),
        _signals(today),
        _health(state),
        _moves(view),
    ]
    title = f"Trial of {service.line.dataset} {service.line.timeframe}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body>'
        '<a class="skip" href="#main">Skip to content</a>'
        f"<header><h1>{escape(title)}</h1><p>Label {escape(service.line.label_version)}. "
        f'As of <time datetime="{now:%Y-%m-%dT%H:%M:%SZ}">{now:%Y-%m-%d %H:%M:%S} UTC</time>; reload for newer.</p>'
        f'</header><main id="main" tabindex="-1">{"".join(sections)}</main>'
        f"<footer><p>catalyst-ml {escape(health.version())}. A signal is no advice; nothing here places orders.</p>"
        "</footer></body></html>"
    )


def _answering(service: SignalService, snapshot: Snapshot, state: dict[str, Any], now: datetime) -> str:
    if snapshot.graph is None:
        said = f"The rules ({snapshot.rule_arm.version})"
    elif snapshot.share <= 0.0:
        said = f"The rules; version {snapshot.version_id} runs beside them in shadow"
    else:
        said = f"Version {snapshot.version_id}, blended with the rules"
    why = snapshot.fallback or ("by decision" if snapshot.graph is None else "the channel says so")
    word = "degraded" if state["status"] == "degraded" else "healthy"
    facts = [
        ("Stage", f"{_stage(snapshot.stage)}; the model weighs at most {100 * snapshot.share:.0f} %"),
        ("Sequence", str(snapshot.sequence)),
        ("Came from", snapshot.place),
        ("Since", f"{snapshot.loaded_at:%Y-%m-%d %H:%M} UTC"),
        ("Trained on data up to", f"{snapshot.as_of:%Y-%m-%d %H:%M} UTC" if snapshot.as_of else "no model"),
        ("Why", why),
    ]
    return _section(
        "answering",
        "What answers",
        f'<p class="lead"><span class="state {word}">{word}</span> {escape(said)}</p>{_facts(facts)}',
    )


def _evidence(view: TrialView | None, problem: str | None, now: datetime) -> str:
    if view is None:
        text = f"<p>No evidence to show: {escape(problem or 'no trial has been written yet')}.</p>"
        return _section("evidence", "Evidence", text)
    parts = [f'<p class="lead">{escape(view.verdict or "The trial has no verdict yet.")}</p>']
    if now - view.updated_at > STALE_AFTER:
        parts.append(
            f'<p class="warn">Written {view.updated_at:%Y-%m-%d}: older than a week, the flow may not run.</p>'
        )
    if view.evidence:
        last = view.evidence[-1]
        series = [Series("ML better", "a", [point.e_better for point in view.evidence])]
        if all(point.e_worse is not None for point in view.evidence):
            series.append(Series("ML worse", "b", [point.e_worse or 0.0 for point in view.evidence]))
        sessions = [point.session for point in view.evidence]
        marks = [Mark(level, f"E = {level:g}") for level in view.thresholds]
        about = (
            f"e-value after each of {len(sessions)} sessions on a logarithmic scale; the last is {last.e_better:.3g}. "
            f"1 means no evidence."
        )
        chart = line_chart(
            "e", sessions, series, title="Evidence that the model's arm is better", description=about, marks=marks,
            log_scale=True,
        )  # fmt: skip
        parts += [_figure(chart, series, "E-value by session; 1 means no evidence, 20 is needed to say 'better'.")]
        rows = [
            [f"{p.session}", f"{p.e_better:.3g}", "" if p.e_worse is None else f"{p.e_worse:.3g}"]
            for p in view.evidence[-10:]
        ]
        parts.append(
            _folded("e-values as numbers", _table("Last ten sessions", ["Session", "E better", "E worse"], rows))
        )
    else:
        parts.append("<p>No session has been settled yet.</p>")
    facts = [
        ("Sessions", f"{view.n_sessions}, {view.n_settled} settled signals"),
        ("Next stage", view.next_stage_needs),
    ]
    if view.accuracy is not None:
        beside = f"; base rate {view.base_rate:.1%}" if view.base_rate is not None else "; base rate not known"
        rules = f"; rules {view.accuracy_rules:.1%}" if view.accuracy_rules is not None else ""
        facts.append(("Accuracy of settled signals", f"{view.accuracy:.1%}{beside}{rules}"))
    facts.append(("Written", f"{view.updated_at:%Y-%m-%d %H:%M} UTC"))
    return _section("evidence", "Evidence", "".join(parts) + _facts([fact for fact in facts if fact[1]]))


def _equity(view: TrialView | None) -> str:
    if view is None or not view.equity:
        return _section("equity", "Equity of both arms", "<p>No settled trade yet.</p>")
    sessions = [point.session for point in view.equity]
    series = [
        Series(view.arm_ml, "a", [point.ml for point in view.equity]),
        Series(view.arm_rules, "b", [point.rules for point in view.equity]),
    ]
    last = view.equity[-1]
    about = f"Sum of net returns: {view.arm_ml} {last.ml:+.2%}, {view.arm_rules} {last.rules:+.2%} on {last.session}."
    chart = line_chart(
        "q", sessions, series, title="Equity of both arms after costs", description=about, percent=True
    )  # fmt: skip
    rows = [[f"{p.session}", f"{p.ml:+.2%}", f"{p.rules:+.2%}"] for p in view.equity[-10:]]
    table = _table("Last ten sessions", ["Session", view.arm_ml, view.arm_rules], rows)
    body = _figure(chart, series, "Sum of net returns, same entries, exits and costs.") + _folded(
        "equity as numbers", table
    )
    return _section("equity", "Equity of both arms", body)


def _signals(today: Sequence[tuple[datetime, Signal]]) -> str:
    if not today:
        return _section(
            "signals", "Today's signals", "<p>No signal was asked for today (UTC) since the server started.</p>"
        )
    rows = []
    for at, signal in today[:MAX_SIGNALS]:
        sure = "" if signal.confidence_percent is None else f"{signal.confidence_percent:.0f}"
        reason = signal.reason + (f". Fallback: {signal.fallback_reason}" if signal.fallback_reason else "")
        seen = ", ".join(signal.patterns) or "none"
        rows.append([f"{at:%H:%M:%S}", signal.symbol, signal.action, sure, signal.arm, seen, reason])
    head = ["Time", "Symbol", "Action", "Confidence", "Arm", "Patterns", "Reason"]
    caption = f"The last {len(rows)} of {len(today)} signals of today, UTC; confidence 0 to 100"
    return _section("signals", "Today's signals", _table(caption, head, rows, stacked=True))


def _health(state: dict[str, Any]) -> str:
    steps = [[step["place"], "yes" if step["ok"] else "no", step["reason"]] for step in state["model"]["steps"]]
    ledger = state["ledger"]
    facts = [
        ("Database", ledger["database"]),
        (
            "Answers recorded",
            f"{ledger['written']:,}, of them {ledger['drained']:,} in PostgreSQL; {ledger['not_recorded']:,} lost",
        ),
        ("Spool", f"{ledger['spool']}, {ledger['waiting_bytes']:,} bytes wait"),
        ("Promotions over Redis", state["promotions"]),
        ("Bar table", state["bar_table"]),
    ]
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in state["problems"])
    warned = f'<ul class="warn">{problems}</ul>' if problems else "<p>Nothing is wrong.</p>"
    table = _table("Where the model was looked for", ["Place", "Good", "What it said"], steps) if steps else ""
    return _section("health", "Health", warned + _facts(facts) + table)


def _moves(view: TrialView | None) -> str:
    if view is None or not view.moves:
        return ""
    rows = [[f"{move.at:%Y-%m-%d %H:%M}", move.stage, move.reason] for move in reversed(view.moves)]
    return _section("moves", "Moves of the stage", _table("Newest first, UTC", ["Time", "Stage", "Reason"], rows))


def _stage(stage: str) -> str:
    return f"{stage} %" if stage.isdigit() else stage


def _section(name: str, title: str, body: str) -> str:
    return f'<section aria-labelledby="h-{name}"><h2 id="h-{name}">{escape(title)}</h2>{body}</section>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts) + "</dl>"


def _figure(chart: str, series: Sequence[Series], caption: str) -> str:
    keys = "".join(
        f'<li><span class="key {one.style}" aria-hidden="true"></span>{escape(one.name)}</li>' for one in series
    )
    return f'<figure>{chart}<figcaption>{escape(caption)}<ul class="keys">{keys}</ul></figcaption></figure>'


def _folded(title: str, body: str) -> str:
    return f"<details><summary>Show {escape(title)}</summary>{body}</details>"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, stacked: bool = False) -> str:
    """A table; ``stacked``: on a narrow screen each row becomes a block, its cells under their heads."""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for row in rows:
        cells = [f'<td data-head="{escape(name)}">{escape(cell)}</td>' for name, cell in zip(head, row, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    kind = ' class="stacked"' if stacked else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table{kind}>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )

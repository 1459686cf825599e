"""The page: self-contained, ordered, escaped, small, the same every time."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise

import pytest

from catalyst_ml.report.content import Analysis, QualityRule, SkippedSymbol
from catalyst_ml.report.html import (
    FILE_LIMIT_BYTES,
    headline_table,
    markdown_summary,
    render_model_card,
    render_report,
)

HOSTILE = "</style></svg><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects what the tests ask about, and refuses badly nested tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else at {self.getpos()}"


@pytest.fixture(scope="module", params=["promote", "stay", "not_enough_evidence", "failed", "minimal"])
def page(request):
    make, name = request.getfixturevalue("content_by_name"), request.param
    return make(name), render_report(make(name))


def test_the_page_is_well_nested_and_small(page):
    _, html = page

    Page(html)
    assert len(html.encode()) < 500_000 < FILE_LIMIT_BYTES


def test_the_page_loads_nothing_and_runs_nothing(page):
    for tag, attributes in Page(page[1]).tags:
        assert tag not in {"script", "link", "iframe", "object", "img", "base"}
        assert not [a for a in attributes if a.startswith("on")]
        for attribute in ("src", "href", "xlink:href", "action", "srcset"):
            assert (attributes.get(attribute) or "#").startswith("#")
    style = page[1].split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_headings_are_in_order_and_the_verdict_comes_first(page):
    content, html = page
    levels = Page(html).headings

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert html.index(content.verdict.headline) < html.index('id="why"')


def test_every_table_header_has_a_scope_and_every_link_a_target(page):
    tags = Page(page[1]).tags
    ids = [a["id"] for _, a in tags if "id" in a]

    assert all(a.get("scope") for tag, a in tags if tag == "th")
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for tag, a in tags if tag == "a")


def test_every_chart_has_a_name_for_those_who_cannot_see_it(page):
    tags = Page(page[1]).tags
    ids = {a["id"] for _, a in tags if "id" in a}

    for tag, attributes in tags:
        if tag == "svg" and "aria-hidden" not in attributes:
            assert attributes["role"] == "img"
            assert set(attributes["aria-labelledby"].split()) <= ids


def test_the_same_content_gives_the_same_bytes(make_content):
    assert render_report(make_content("stay")) == render_report(make_content("stay"))


def test_hostile_text_stays_text(make_content):
    content = make_content("stay")
    content = content.model_copy(
        update={
            "run": content.run.model_copy(update={"run_id": HOSTILE, "dataset": HOSTILE}),
            "verdict": content.verdict.model_copy(update={"headline": HOSTILE}),
            "gate": [content.gate[0].model_copy(update={"reason": HOSTILE, "title": HOSTILE, "value": HOSTILE})],
            "arms": [content.arms[0].model_copy(update={"title": HOSTILE})],
            "analysis": Analysis(status="written", model=HOSTILE, paragraphs=[HOSTILE]),
            "mistakes": [
                content.mistakes[1].model_copy(
                    update={"symbol": HOSTILE, "headlines": [HOSTILE], "patterns": [HOSTILE], "outcome": HOSTILE}
                )
            ],
            "newest_events": [
                content.newest_events[0].model_copy(
                    update={
                        "title": HOSTILE,
                        "drivers": [content.newest_events[0].drivers[0].model_copy(update={"words": HOSTILE})],
                    }
                )
            ],
            "drivers": [content.drivers[0].model_copy(update={"words": HOSTILE, "by_member": {HOSTILE: 0.1}})],
            "slices": [
                content.slices[0].model_copy(update={"group": "sector", "value": HOSTILE, "stands_out": "worse"})
            ],
            "leaderboard": content.leaderboard.model_copy(
                update={
                    "rows": [content.leaderboard.rows[0].model_copy(update={"title": HOSTILE, "dropped": HOSTILE})],
                    "correlated": [HOSTILE, HOSTILE],
                    "correlation": [[1.0, 0.5], [0.5, 1.0]],
                }
            ),
            "settings": {HOSTILE: HOSTILE},
            "quality": content.quality.model_copy(
                update={
                    "rules": [QualityRule(name=HOSTILE, severity="info", passed=True, examples=[HOSTILE])],
                    "skipped_symbols": [SkippedSymbol(symbol=HOSTILE, reason=HOSTILE)],
                }
            ),
        }
    )

    html = render_report(content)

    assert {tag for tag, _ in Page(html).tags}.isdisjoint({"script", "img"})
    assert "<script" not in markdown_summary(content)
    assert "<script" not in render_model_card(content)


def test_a_number_without_interval_says_so(make_content):
    html = render_report(make_content("stay").model_copy(update={"leaderboard": None}))

    row = html.split("Logistic regression</th>")[-1].split("</tr>")[0]
    assert "15.0" in row
    assert "no interval" in row


def test_each_member_stands_once_with_its_scores_its_cost_and_why_it_is_left_out(make_content):
    html = render_report(make_content("stay"))

    assert html.count('<th scope="row">XGBoost</th>') == 2, "the leaderboard and the matrix; not among the arms"
    row = html.split('<th scope="row">Neural net <span class="tag">left out</span>')[1].split("</tr>")[0]
    for shown in ("weight 0.004, below 0.01", "−0.0012", "[−0.0062, +0.0038]", "0.510", "1.3 s", "0.4 ms", "64 kB"):
        assert shown in row
    assert "How alike the members are" in html
    assert "0.910" in html


def test_mistakes_and_new_events_are_told_in_words_and_numbers(make_content):
    html = render_report(make_content("stay"))

    assert "9 that it believed in and that lost, 1 that it doubted and that won" in html
    assert [k for k in range(1, 12) if f'id="mistake-{k}-title"' in html] == list(range(1, 11))
    assert "News: Company beats estimates" in html
    line = html.split("AAPL long, 20 Nov 2026")[1].split("</ul>")[0]
    assert 'RSI relative to the day’s stocks</span> <b class="better">+0.03</b>' in line
    assert "All others</span> <b>+0.33</b>" in line


def test_parts_are_read_with_all_others_in_mind(make_content):
    content = make_content("stay")
    calm = render_report(content)
    worst = content.slices[2].model_copy(update={"stands_out": "worse", "p_adjusted": 0.004})
    alarm = render_report(content.model_copy(update={"slices": [*content.slices[:2], worst]}))

    assert "9 parts of the record are tested together (Holm)" in calm
    assert "On none of them is it worse beyond luck. On none of them is it better beyond luck." in calm
    assert "It forecasts worse than the base rate on doji." in alarm
    assert '<span class="tag worse">worse</span>' in alarm
    assert "0.004</td>" in alarm


def test_a_minimal_run_says_what_was_not_done(make_minimal):
    html = render_report(make_minimal())

    for line in (
        "The gate made no check in this run.",
        "No arm was scored in this run.",
        "No model was fitted in this run.",
        "Skipped: no analysis was asked for",
        "The data were not examined in this run.",
        "No mistake was looked up in this run.",
        "The record was not cut into parts in this run.",
    ):
        assert line in html
    assert 'class="chart"' not in html


@pytest.mark.parametrize("status", ["skipped", "refused", "failed"])
def test_without_claudes_letter_the_report_says_why(make_minimal, status):
    content = make_minimal().model_copy(
        update={"analysis": Analysis(status=status, reason="ANTHROPIC_API_KEY is not set")}
    )

    assert f"{status.capitalize()}: ANTHROPIC_API_KEY is not set" in render_report(content)


def test_key_figures_carry_their_context(make_content):
    table = dict(headline_table(make_content("stay")))

    assert table["Log-loss against the base rate"] == "−0.0012 ([−0.0069, +0.0045] · below zero is better)"
    assert "base rate 49.3" in table["Accuracy"]
    assert table["Decisive checks"] == "3 of 7 passed (all must pass for a promotion)"
    assert table["Verdict"].startswith("No change: Stay on rules")


def test_the_markdown_summary_keeps_one_row_per_check(make_content):
    content = make_content("stay")
    gate = [content.gate[0].model_copy(update={"title": "a | b\nc"}), *content.gate[1:]]

    lines = markdown_summary(content.model_copy(update={"gate": gate})).splitlines()

    rows = lines[lines.index("| Check | Measured | Bound | Result |") + 2 :]
    assert len(rows) == len(content.gate)
    assert rows[0] == "| a \\| b c | 118 | ≥ 65 | passed |"


def test_the_model_card_names_evidence_and_limits(make_content):
    card = render_model_card(make_content("promote"))

    assert card.startswith("# Model card: v2026.47.0\n")
    assert "- passed: Forecasts better than the champion (measured 0.004, needed p ≤ 0.05)" in card
    assert "## Limits" in card


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_and_lines_have_enough_contrast(scheme):
    colours = palette(scheme)

    for text in ("ink", "muted", "link", "good", "bad", "wait", "calm", "s1", "s2", "s3", "s4", "s5"):
        assert contrast(colours[text], colours["card"]) >= 4.5, text
    for text in ("ink", "muted", "link"):
        assert contrast(colours[text], colours["page"]) >= 4.5, text
    for tone in ("good", "calm", "wait", "bad"):
        for text in (tone, "ink", "muted"):
            assert contrast(colours[text], colours[f"{tone}-wash"]) >= 4.5, (text, tone)


def palette(scheme: str) -> dict[str, str]:
    css = resources.files("catalyst_ml.report").joinpath("templates/weekly.css").read_text()
    blocks = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", b)) for b in re.findall(r":root \{(.*?)\}", css, re.S)]
    return blocks[["light", "dark", "print"].index(scheme)]


def contrast(one: str, other: str) -> float:
    """WCAG 2.1 contrast ratio of two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

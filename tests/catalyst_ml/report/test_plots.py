"""Charts: numbers as text, colours of the page, the same bytes every time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from catalyst_ml.report import plots
from catalyst_ml.report.content import Arm, Estimate
from catalyst_ml.report.html import _charts

CHARTS = ("forest", "evidence", "reliability", "months", "risk", "equity", "importances", "drivers")
MISTAKES = tuple(f"mistake-{k}" for k in range(1, 11))


@pytest.fixture(scope="module")
def charts(request):
    from_content = request.getfixturevalue("shared_content")
    return _charts(from_content)


def texts(svg: str) -> list[str]:
    return [(e.text or "") for e in ET.fromstring(svg).iter() if e.tag == "text"]


def test_every_chart_is_drawn_small_and_well_formed(charts):
    assert tuple(charts) == (*CHARTS, *MISTAKES)
    for name, svg in charts.items():
        assert len(svg.encode()) < 60_000, name
        root = ET.fromstring(svg)
        assert root.tag == "svg"
        assert root.attrib["aria-labelledby"] == f"{name}-title {name}-desc"
        assert root[0].tag == "title"
        assert root[0].text
        assert root[1].tag == "desc"
        assert root[1].text


def test_the_numbers_of_the_forest_plot_are_text(charts, shared_content):
    shown = texts(charts["forest"])

    assert "Challenger" in shown
    assert "−0.0012" in shown
    assert f"{shared_content.arm('net').log_loss_vs_base.value:+.4f}" in shown
    assert "better  ←  0  →  worse than the base rate" in shown


def test_each_line_of_the_equity_chart_ends_in_its_number(charts, shared_content):
    shown = [t.replace("\N{NARROW NO-BREAK SPACE}", " ") for t in texts(charts["equity"])]

    for curve in shared_content.equity.curves:
        assert f"{100 * curve.cumulative[-1]:+.1f} %".replace("-", "−") in shown


def test_the_reliability_diagram_says_how_many_rows_it_rests_on(charts):
    assert "bars: 1,342 to 1,343 rows behind each point" in texts(charts["reliability"])


def test_charts_take_every_colour_from_the_page(charts):
    for name, svg in charts.items():
        assert not re.findall(r"#[0-9a-f]{6}", svg), name
        assert "var(--" in svg
        assert "font-family" not in svg


def test_ids_of_two_charts_never_meet(charts):
    ids = [i for svg in charts.values() for i in re.findall(r'\bid="([^"]+)"', svg)]
    used = [i for svg in charts.values() for i in re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)]

    assert len(ids) == len(set(ids))
    assert set(used) <= set(ids)


def test_the_same_content_draws_the_same_bytes(charts, shared_content):
    assert _charts(shared_content) == charts


def test_hostile_names_stay_text():
    arm = Arm(name="x", title="<script>$a$\x00\n&", log_loss_vs_base=Estimate(value=0.1, low=0.0, high=0.2))

    svg = plots.log_loss_forest([arm])

    assert "<script>" not in svg
    assert "<script>$a$  &" in texts(svg)


def test_line_labels_are_moved_apart_but_keep_their_order():
    assert plots._apart([10.0, 12.0, 90.0], gap=20.0, top=100.0) == [10.0, 30.0, 90.0]
    assert plots._apart([95.0, 96.0], gap=20.0, top=100.0) == [80.0, 100.0]

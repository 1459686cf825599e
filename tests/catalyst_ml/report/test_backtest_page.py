"""The page of a back-test: self-contained, escaped, and true to its figures."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from catalyst_ml.evaluation import live_record
from catalyst_ml.evaluation.ageing import ageing_curve, read_curve
from catalyst_ml.evaluation.deflation import deflate
from catalyst_ml.report import backtest_page
from tests.catalyst_ml.evaluation.test_live_record import make_rows
from tests.catalyst_ml.report.test_html import HOSTILE, Page


def make_page(*, promoted: bool = True, cpcv: bool = True) -> dict[str, Any]:
    """Content as the back-test assembles it, from rows of a known market."""
    rows = make_rows()
    if not promoted:
        rows = rows.assign(production="rules", p_production=rows["p_rules"]).astype({"production": "str"})
    rows = rows.assign(p_age_1=rows["p_age_0"] * 0.9 + 0.05)
    figures = {week["fold"]: week for week in live_record.weekly_figures(rows)}
    weeks = [make_week(name, week["production"], week, promoted=promoted) for name, week in figures.items()]
    weeks.append({"week": "2024-12", "in_charge": weeks[-1]["in_charge"], "figures": None, "verdict": "failed",
                  "headline": "The run refused its data", "reason": f"500 rows {HOSTILE}", "t": {}})  # fmt: skip
    curve = ageing_curve(rows)
    path = {"path": 1, "n": 900, "sessions": 60, "gain": interval(0.001), "auc_within": interval(0.52)}
    paths = {"base_rate": [path], "pattern_base_rate": [path]}
    moved = {"lowest": -0.001, "median": 0.0, "highest": 0.002, "sd": 0.0011}
    spread = {"gain over base_rate": moved, "auc_within": moved}
    return {
        "dataset": "demo", "timeframe": "1d", "every": 1, "settled_at": "2024-04-01T20:00:00+00:00",
        "since": "2024-01-05T21:00:00+00:00", "until": "2024-03-22T20:00:00+00:00",
        "procedure": {"label": "symmetric", "cost_bps_per_side": 5.0, "rule_arm": HOSTILE},
        "code_commit": "abc", "weeks": weeks,
        "arms": [live_record.arm_figures(rows, column).to_dict() for column in live_record.LIVE_ARMS],
        "deflation": deflate(live_record.shadow_profit(rows)).to_dict() | {"searched": 40},
        "evidence": live_record.running_gain(rows),
        "tenures": [stay.to_dict() for stay in live_record.tenures(rows)],
        "ageing": {"points": [point.to_dict() for point in curve], "reading": read_curve(curve)},
        "cpcv": {"n_groups": 6, "n_tested": 2, "n_rows": 900, "paths": paths, "spread": spread} if cpcv else None,
        "events": {"n": len(rows), "without_outcome": 3, "pending": []},
        "leak_checks": {"weeks": 2, "comparisons": 1_234},
    }  # fmt: skip


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.001, "high": value + 0.001, "level": 0.9}


def make_week(name: str, in_charge: str, figures: dict[str, Any], *, promoted: bool) -> dict[str, Any]:
    verdict = "promote" if promoted and name in ("2024-05", "2024-09") else "stay"
    return {
        "week": name, "in_charge": in_charge, "figures": figures, "verdict": verdict, "headline": "Stay on rules",
        "reason": "log-loss per event 0.0003 higher", "failed_checks": [], "sessions": 260, "events": 9_000,
        "t": {"champion": -0.5, "base_rate": 1.25, "pattern_base_rate": None}, "folds": [60, 59],
    }  # fmt: skip


@pytest.mark.parametrize(("promoted", "cpcv"), [(True, True), (False, False)])
def test_the_page_is_well_nested_and_needs_nothing_else(promoted: bool, cpcv: bool) -> None:
    content = json.loads(json.dumps(make_page(promoted=promoted, cpcv=cpcv), allow_nan=False))

    html = backtest_page.render(content)

    page = Page(html)
    assert page.headings[0] == 1
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "link", "iframe")]
    assert not [attributes for _, attributes in page.tags if attributes.keys() & {"src", "srcset"}]
    assert not re.findall(r"""@import|url\(["']?http""", html)
    assert HOSTILE not in html
    assert len(html) < 2_000_000
    assert html == backtest_page.render(content)


def test_the_sharpe_ratio_stands_beside_what_was_tried() -> None:
    html = backtest_page.render(make_page())

    assert "1 attempt on record: nothing to deflate" in html
    assert "Searches tried 40 more settings" in html
    assert "1 attempt on record" in backtest_page.markdown(make_page())


def test_the_headline_says_what_happened_to_production() -> None:
    assert backtest_page.headline(make_page(promoted=False)) == "13 decisions, no promotion: the rules stayed in charge"
    assert backtest_page.headline(make_page()) == "13 decisions, 2 promotions; in charge at the end: fit of B"


def test_every_number_of_the_tables_is_that_of_the_content() -> None:
    content = make_page()
    html, rows = backtest_page.render(content), backtest_page.week_rows(content)

    assert [row["decision"] for row in rows] == [week["week"] for week in content["weeks"]]
    figures = content["weeks"][3]["figures"]["arms"]
    expected = figures["age_0"]["log_loss"] - figures["base_rate"]["log_loss"]
    assert rows[3]["fit − base"] == f"{expected:+.4f}".replace("-", "−")
    assert (rows[3]["t rival"], rows[3]["t base"], rows[3]["t pattern"]) == ("−0.50", "+1.25", "–")
    assert rows[-1]["verdict"] == "refused its data"
    assert {row["events"] for row in rows[-1:]} == {"–"}
    assert rows[3]["fit − base"] in html
    assert content["ageing"]["reading"] in html
    assert "1,234 values compared" in html


def test_the_markdown_holds_all_tables_with_as_many_cells_as_columns() -> None:
    blocks = [block.splitlines() for block in backtest_page.markdown(make_page()).split("\n\n") if block[0] == "|"]

    assert [len(block) - 2 for block in blocks] == [5, 2, 1, 13]
    assert all(len({line.count("|") for line in block}) == 1 for block in blocks)
    assert backtest_page.spread_rows(make_page(cpcv=False)) == []

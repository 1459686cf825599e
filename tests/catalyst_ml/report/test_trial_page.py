"""The trial's page: everything it is told is on it, nothing else; and it stands with no data at all."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.report import trial_page
from catalyst_ml.trial import kpis, performance
from tests.fakes.signals import settled_signals

NOTHING: dict[str, Any] = {
    "dataset": "demo",
    "timeframe": "1d",
    "label_version": "tb-sym-1atr-5d",
    "as_of": "2026-11-20T21:00:00+00:00",
    "since": None,
    "until": None,
    "kind": "performance",
    "code_commit": "abc123",
    "n_signals": 0,
    "n_settled": 0,
    "reason": "performance: of 0 settled signals none was scored by both arms.",
    "recommendation": {"headline": "Wait: there is no signal in the ledger yet", "reasons": []},
    "trial": None,
    "arms": [],
    "weeks": [],
    "kinds": [],
    "kpis": [],
    "how": ["Both arms scored the same events."],
}


def full_page() -> dict[str, Any]:
    rows = performance.comparable(settled_signals())
    weeks = performance.weekly_difference(rows)
    weeks["first_session"] = weeks["first_session"].dt.strftime("%Y-%m-%d")
    ml, rules = (performance.arm_performance(rows, column) for column in ("p_ml", "p_rules"))
    runs = [
        kpis.TrainingRun(pd.Timestamp("2026-11-01", tz="UTC"), True, 70.0 + i, 0.004, "estimated") for i in range(4)
    ]
    figures = [
        kpis.accuracy_kpi(ml, weeks),
        kpis.losing_share_kpi(performance.losing_share_change(rows), ml, rules, weeks),
        kpis.profit_kpi(performance.net_difference(rows), ml, rules, weeks),
        kpis.training_time_kpi(runs),
        kpis.deployment_kpi(runs),
        kpis.cost_kpi(runs, tariff_per_kwh=0.2, cloud_per_month=48.0),
    ]
    sessions = rows["session"].drop_duplicates()
    days = [
        {
            "session": f"{session:%Y-%m-%d}",
            "profit_ml": 0.02,
            "profit_rules": -0.01,
            "log_e_up": 0.03 * i,
            "log_e_down": -0.02 * i,
            "stage": "shadow" if i < 60 else "10 %",
        }
        for i, session in enumerate(sessions)
    ]
    move = {"session": days[60]["session"], "from_stage": "shadow", "to_stage": "10 %", "reason": "the gate promoted"}
    check = {"title": "Drawdown", "passed": True, "value": 0.02, "bound": 0.1, "reason": "2 % below the peak"}
    parts = [("pattern", "doji", np.arange(len(rows)) % 3 == 0), ("catalyst", "news", np.arange(len(rows)) < 40)]
    return {
        **NOTHING,
        "since": "2025-01-06",
        "until": "2025-06-20",
        "n_signals": len(rows),
        "n_settled": len(rows),
        "reason": "",
        "recommendation": {"headline": "Stay at 10 %: 30 % asks for e ≥ 3", "reasons": ["evidence: e = 1.2"]},
        "trial": {
            "stage": "10 %",
            "days": days,
            "moves": [move],
            "checks": [check],
            "needed": [3.0, 10.0, 20.0],
            "difference": {"mean": 12.0, "low": -3.0, "high": 27.0},
        },
        "arms": [ml.to_dict(), rules.to_dict()],
        "weeks": weeks.to_dict("records"),
        "kinds": [part.to_dict() for part in performance.by_kind(rows, parts)],
        "kpis": [figure.to_dict() for figure in figures],
    }


class _Tags(HTMLParser):
    """Open tags without an end, and everything a page could load."""

    EMPTY = ("meta", "br", "link", "path", "use", "img", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        named = [value or "" for name, value in attrs if name in ("src", "href")]
        self.loads += [value for value in named if not value.startswith("#")]
        if tag in ("script", "iframe", "link"):
            self.loads.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


@pytest.mark.parametrize("page", [NOTHING, full_page()], ids=["empty", "full"])
def test_page_is_whole_and_loads_nothing(page: dict[str, Any]) -> None:
    html = trial_page.render(page)
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.loads == []
    assert "None" not in html
    assert "nan" not in html.lower().replace("finance", "")


def test_every_part_is_on_the_full_page() -> None:
    page = full_page()
    html = trial_page.render(page)
    told = ("Stay at 10 %", "the gate promoted", "Drawdown", "doji", "Losing trades against the rules", "Week by week")
    for words in told:
        assert words in html
    assert html.count("<svg") >= 3 + sum(len(kpi["trend"]) > 1 for kpi in page["kpis"]) - 1
    assert trial_page.render(page) == html


def test_an_empty_ledger_says_so_and_shows_no_figure() -> None:
    html = trial_page.render(NOTHING)
    assert "none was scored by both arms" in html
    assert "<svg" not in html


def test_names_from_outside_are_text() -> None:
    html = trial_page.render({**NOTHING, "dataset": "<script>alert(1)</script>"})
    assert "<script>" not in html


def test_markdown_and_rows_say_the_same() -> None:
    page = full_page()
    text = trial_page.markdown(page)
    for row in (*trial_page.kpi_rows(page), *trial_page.arm_rows(page), *trial_page.move_rows(page)):
        assert all(value in text for value in row.values())

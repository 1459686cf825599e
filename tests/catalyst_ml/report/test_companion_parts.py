"""The section on companions: numbers as evaluated, words no stronger than their intervals, absence with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalyst_ml.report import companion_parts, reading
from catalyst_ml.report.content import ReportContent
from catalyst_ml.report.html import render_report


def scores_of_rank(mean: float, half: float) -> dict[str, Any]:
    test = {"mean": mean, "low": mean - half, "high": mean + half, "t": 1.96 * mean / half, "level": 0.95}
    spread = {"mean": 0.1 * mean, "low": 0.0, "high": 0.2 * mean, "t": 2.0, "level": 0.95}
    return {"auc": interval(0.5 + mean / 3), "ic": test, "spread": spread, "break_even_bps": 250.0 * mean}


def interval(value: float, half: float = 0.005) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "level": 0.95}


def found(*, gain: float = 0.015, ic: float = 0.02, n_stocks: int = 30) -> dict[str, Any]:
    move = {"auc": interval(0.618), "ratio": interval(1.01), "rows": 512_000, "sessions": 2_079}
    return {
        "reason": "",
        "evaluation": {
            "move": move,
            "move_atr": {**move, "auc": interval(0.603)},
            "move_gain": interval(gain),
            "rank": scores_of_rank(ic, 0.005),
            "rank_5": scores_of_rank(0.002, 0.01),
            "reversal": scores_of_rank(0.004, 0.008),
            "reversal_5": scores_of_rank(0.001, 0.008),
            "first": "2008-11-17T21:00:00+00:00",
            "last": "2016-05-31T20:00:00+00:00",
        },
        "stocks": [
            {"symbol": f"S{k:02d}", "expected_move": 0.03, "rank": 1.0 - (k + 0.5) / n_stocks, "rank_5": None}
            for k in range(n_stocks)
        ],
    }


@pytest.fixture
def page_with(make_content: Callable[..., ReportContent]) -> Callable[[dict[str, Any]], ReportContent]:
    return lambda result: make_content("stay").model_copy(
        update={"companions": companion_parts.companions_part(result)}
    )


def test_the_section_prints_scores_baselines_and_the_ends_of_todays_order(page_with: Any) -> None:
    page = page_with(found())
    html = render_report(page)

    for words in ("Size of move and rank of the day", "ATR alone", "One-day reversal, next session", "2008", "0.618"):
        assert words in html
    section = html.split('id="companions"')[1].split('id="honesty"')[0]
    assert section.index("S00") < section.index("S09") < section.index("S29") < section.index("S20")
    assert "S15" not in section  # neither end
    assert "+5.0" in section.replace("\N{NARROW NO-BREAK SPACE}", "")  # break-even in basis points


def test_the_words_claim_what_the_intervals_allow(page_with: Any) -> None:
    better = reading.read_companions(page_with(found()))
    assert "better than by ATR alone" in better
    assert "shown for rank, next session; it pays only below costs of +5.0" in better

    nothing = reading.read_companions(page_with(found(gain=0.001, ic=0.001)))
    assert "not clearly forecast better" in nothing
    assert "leave the ranks alone" in nothing
    assert "worse than by ATR alone" in reading.read_companions(page_with(found(gain=-0.02)))


def test_a_universe_below_twenty_stocks_is_shown_once(page_with: Any) -> None:
    section = render_report(page_with(found(n_stocks=12))).split('id="companions"')[1].split('id="honesty"')[0]
    assert [section.count(f"S{k:02d}") for k in (0, 9, 10, 11)] == [1, 1, 1, 1]


def test_without_companions_the_section_says_why(page_with: Any) -> None:
    page = page_with({"reason": "companions: 400 stock-days with known outcomes, 1000 needed."})
    assert "say nothing: companions: 400 stock-days" in render_report(page)

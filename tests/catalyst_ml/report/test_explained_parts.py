"""Stored explanations become parts of the report, and nothing is lost or renamed on the way."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.error_slices import error_slices
from catalyst_ml.evaluation.mistakes import Mistake
from catalyst_ml.models.drivers import DriverSummary, GroupDriver
from catalyst_ml.models.ensemble import EnsembleWeights
from catalyst_ml.models.importance import GroupImportance, ImportanceReport
from catalyst_ml.models.leaderboard import MemberCost, build_leaderboard
from catalyst_ml.report import explained_content, explained_parts, explained_plots

HOSTILE = "<script>alert(1)</script>$x$\x00"


def mistake(**changes: object) -> Mistake:
    bars = tuple((f"2025-06-{day:02d}T20:00:00+00:00", 10.0, 11.0, 9.0, 10.5) for day in range(2, 12))
    fields = {
        "symbol": "AAA", "ts": bars[3][0], "direction": -1, "p": 0.7, "base_rate": 0.5, "won": False, "log_loss": 1.2,
        "net_return": -0.05, "outcome": "stop", "patterns": ("doji",), "entry": 10.0, "exit": 10.5, "stop": 10.5,
        "target": 9.5, "bars": bars, "decided": 3, "entered": 4, "left": 6,
    }  # fmt: skip
    return Mistake(**{**fields, **changes})


def parts_of(*mistakes: Mistake) -> list[explained_content.Mistake]:
    return explained_parts.mistake_parts([{**one.to_dict(), "headlines": [{"text": "Story"}]} for one in mistakes])


def explained() -> dict[str, object]:
    importance = ImportanceReport((GroupImportance("volume", ("a", "b"), 0.005, 0.001, 0.009, 0.9),), 400, 80, 4)
    driver = GroupDriver("volume", "Volume surge relative to the day’s stocks", "a", 0.1, None, None, 0.9, 0.01, -0.1,
                         None, {"xgboost": 0.2})  # fmt: skip
    return {
        "importance": importance.to_dict(),
        "drivers": DriverSummary((driver,), 400, 80, 1, 16, 0.0).to_dict(),
    }


def test_importances_and_drivers_go_by_the_same_words_and_say_on_what_they_rest() -> None:
    stored = explained()

    (importance,) = explained_parts.importance_parts(stored)
    (driver,) = explained_parts.driver_parts(stored)

    assert importance.feature == "Volume surge"
    assert (importance.importance.low, importance.importance.level) == (0.001, 0.9)
    assert driver.words.startswith(importance.feature)
    assert not driver.size.has_interval
    assert driver.by_member == {"XGBoost": 0.2}
    assert "400 events of 80 sessions that 4 fits spread over the record had not seen" in (
        explained_parts.importance_method(stored)
    )
    assert "one fit had not seen" in explained_parts.drivers_method(stored)


def test_the_leaderboard_is_the_same_in_the_report_and_in_prefect() -> None:
    record = make_record(sessions=40, events_a_day=10, challenger_skill=0.5)
    noise = np.random.default_rng(1).uniform(0.4, 0.6, (2, len(record)))
    record = record.assign(p_member_base_rate=0.5, p_member_net=noise[0], p_member_forest=noise[1])
    weights = EnsembleWeights({"base_rate": 1.0}, {"net": "idle: weight 0.001"}, "learned")
    stored = build_leaderboard(record, weights, fit_seconds={"net": 2.0}, costs={"net": MemberCost(0.0004, 0, 9_000)})

    board = explained_parts.leaderboard_part(stored.to_dict())
    table = {row["member"]: row for row in explained_parts.leaderboard_table(board)}

    assert set(table) == {"Ensemble, calibrated", "Base rate", "Neural net", "Random forest"}
    assert table["Neural net"]["left out"] == "idle: weight 0.001"
    assert (table["Neural net"]["predict 1,000"], table["Neural net"]["size"]) == ("0.4 ms", "9 kB")
    assert table["Neural net"]["correlation"].startswith("Random forest ")
    assert (table["Random forest"]["fit"], table["Base rate"]["vs base rate"]) == ("–", "–")
    assert table["Base rate"]["weight"] == "100.0\N{NARROW NO-BREAK SPACE}%"


def test_parts_keep_their_rows_and_interval_and_regimes_come_in_order() -> None:
    record = make_record(sessions=65, events_a_day=30, seed=4, challenger_skill=0.4)
    names = pd.DataFrame({"volatility": pd.Series(np.tile(["usual", "nervous", "calm"], 650), dtype="str")})

    stored = error_slices(record, names).to_dict()
    parts = explained_parts.slice_parts(stored)

    directions = [part for part in parts if part.group == "direction"]
    assert sum(part.n for part in directions) == len(record)
    assert all(part.accuracy.has_interval and part.log_loss_vs_base.has_interval for part in directions)
    assert [part.value.split()[1] for part in parts if part.group == "volatility"] == ["low", "usual", "high"]
    assert explained_parts.slice_test(stored).n_tested == sum(part.p_adjusted is not None for part in parts)


def test_a_trade_is_drawn_with_its_prices_as_text() -> None:
    (part,) = parts_of(mistake())
    svg = explained_plots.mistake(part, "mistake-1")
    root = ET.fromstring(svg)

    texts = [element.text for element in root.iter() if element.tag == "text"]
    assert {"target 9.50", "stop 10.50"} <= set(texts)
    assert (root[0].text, root[1].tag) == ("AAA, short, 05 Jun 2025", "desc")
    assert (
        "Entered at 10.00 on 06 Jun 2025, stop 10.50, target 9.50; left at 10.50 on 08 Jun 2025 (stop)" in root[1].text
    )
    assert len(svg) < 10_000
    assert part.headlines == ["Story"]


def test_hostile_symbols_stay_text_in_a_chart() -> None:
    (part,) = parts_of(mistake(symbol=HOSTILE, outcome=HOSTILE))
    svg = explained_plots.mistake(part, "mistake-1")

    assert "<script" not in svg
    assert ET.fromstring(svg)[0].text == "<script>alert(1)</script>$x$ , short, 05 Jun 2025"


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": None, "target": None},
        {"decided": 0, "entered": 1, "left": 1, "bars": mistake().bars[:2]},
        {"bars": tuple((bar[0], 10.0, 10.0, 10.0, 10.0) for bar in mistake().bars), "entry": 10.0, "exit": 10.0},
    ],
    ids=["no barriers", "two bars", "a price that never moves"],
)
def test_short_flat_and_barrierless_trades_are_drawn(changes: dict[str, object]) -> None:
    (part,) = parts_of(mistake(**changes))

    assert ET.fromstring(explained_plots.mistake(part, "mistake-1")).tag == "svg"


def test_a_trade_outside_its_bars_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected them in this order among the bars"):
        parts_of(mistake(left=10))
    with pytest.raises(ValidationError, match="expected them in this order"):
        parts_of(mistake(entered=3))
    assert parts_of() == []
    assert asdict(mistake())["won"] is False

"""The step of the weekly run that stops it before anything is trained on a leak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.market.rules import DEFAULT_RULE_ARM
from tasks import connections, leak_check
from tests.catalyst_ml.features.planted_leaks import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CATALYST_HOME", str(tmp_path_factory.mktemp("home")))
        _forget_connections()
        yield make_world(seed=5, joins=False)
    _forget_connections()


@pytest.fixture(scope="module")
def clean(world: World) -> dict[str, Any]:
    return check(world, world.rows, fold_at(world))


def test_honest_rows_pass_and_the_report_gets_a_suite_of_rules(clean: dict[str, Any]) -> None:
    leak_check.refuse_leaks.fn(clean)

    borders = leak_check.add_to_borders({"suites": [{"suite": "bars"}], "n_breaks": 0}, clean)
    assert [suite["suite"] for suite in borders["suites"]] == ["bars", "leak check"]
    rules = {rule["name"]: rule for rule in clean["suite"]["rules"]}
    assert clean["suite"]["passed"]
    assert rules["every_row_can_be_made_from_what_was_known"]["observed"].startswith("0 alarms in ")
    assert [name for name, rule in rules.items() if not rule["passed"]] == ["sectors_are_those_of_their_day"]


def test_a_leak_stops_the_run_and_is_named(world: World) -> None:
    """Tomorrow's return in a column that the models read, and a fold that trains on its own week."""
    fold = fold_at(world)
    tomorrow = world.rows.groupby("symbol")["gross_return"].shift(-1)
    own_week = {**fold, "known_before": (pd.Timestamp(fold["test_start"]) + pd.Timedelta("7D")).isoformat()}

    checked = check(world, world.rows.assign(relative_bb_position=tomorrow), own_week)

    with pytest.raises(DataContractError) as refusal:
        leak_check.refuse_leaks.fn(checked)
    assert "relative_bb_position of S0" in str(refusal.value)
    assert "fold record-x, S0" in str(refusal.value)
    failed = {
        rule["name"] for rule in checked["suite"]["rules"] if not rule["passed"] and rule["severity"] == "critical"
    }
    assert failed == {"every_row_can_be_made_from_what_was_known", "no_fold_trains_on_outcomes_of_its_own_time"}


def check(world: World, rows: pd.DataFrame, fold: dict[str, Any]) -> dict[str, Any]:
    panel = world.sources.panel
    names = ("bars", "instruments", "news")
    market = {"timeframe": "1d"} | {name: connections.store_frame(name, getattr(panel, name)) for name in names}
    training = {"training": connections.store_frame("training", rows)}
    as_of = panel.bars["ts"].max().isoformat()
    checked: dict[str, Any] = leak_check.check_leaks.fn(market, training, [fold], as_of, DEFAULT_RULE_ARM)
    return checked


def fold_at(world: World) -> dict[str, Any]:
    start = world.rows["ts"].quantile(0.7).normalize()
    known = start - pd.Timedelta("1D")
    fold = Fold("record-x", "record", start - pd.Timedelta("365D"), known, start, start + pd.Timedelta("7D"))
    return {**fold.to_dict(), "content": "of its rows"}


def _forget_connections() -> None:
    for cached in (connections.settings, connections.snapshots):
        cached.cache_clear()

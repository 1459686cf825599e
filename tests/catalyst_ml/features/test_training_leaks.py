"""The check that ``weekly-training`` runs, on a corpus of planted leaks: all found, and nothing honest accused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import CATALOGUE
from catalyst_ml.features.event_replay import event_rows
from catalyst_ml.features.events import CATALYST_INPUTS, EVENT_COLUMNS, MODEL_INPUTS
from catalyst_ml.features.leak_check import KNOWN_AT_OPEN
from catalyst_ml.features.leak_report import LeakReport, require_no_leak
from catalyst_ml.features.training_leaks import (
    ENTRY,
    OUTCOME,
    UNEXPLAINED,
    TrainedWindow,
    check_leaks,
    check_outcomes,
    check_rows,
    check_sector_map,
    check_windows,
)
from tests.catalyst_ml.features.planted_leaks import (
    JOINED_COLUMNS,
    JOINS,
    PLANTED_AT_OPEN,
    PLANTED_FEATURES,
    TAMPERED,
    World,
    make_rows,
    make_world,
    training_rows,
)
from tests.catalyst_ml.features.real_bars import read_real_panel

A_WEEK_INSIDE = "with-its-own-week"
NO_STEP = "made_by_no_step"


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(seed=1)


@pytest.fixture(scope="module")
def honest_window(world: World) -> TrainedWindow:
    start = world.rows["ts"].quantile(0.7).normalize()
    return TrainedWindow("purged", (world.rows["label_end"] < start).to_numpy(), start)


@pytest.fixture(scope="module")
def report(world: World, honest_window: TrainedWindow) -> LeakReport:
    """One run over everything that is planted; what is honest rides along."""
    start = honest_window.first_decision
    inside = (world.rows["ts"] < start + pd.Timedelta("7D")).to_numpy()
    return check_leaks(
        world.sources,
        world.rows.assign(**{name: tamper(world.rows) for name, tamper in TAMPERED.items()}, **{NO_STEP: 1.0}),
        make_rows=make_rows,
        columns=(*EVENT_COLUMNS, *JOINED_COLUMNS),
        inputs=(*MODEL_INPUTS, NO_STEP),
        windows=[honest_window, TrainedWindow(A_WEEK_INSIDE, inside, start)],
        catalogue=(*CATALOGUE, *PLANTED_FEATURES.values()),
        known_at_open=(*KNOWN_AT_OPEN, *PLANTED_AT_OPEN),
    )


PLANTED = (*PLANTED_FEATURES, *(f"leaking_{name}" for name in JOINS), *TAMPERED, NO_STEP, f"fold {A_WEEK_INSIDE}")


@pytest.mark.parametrize("column", PLANTED)
def test_planted_and_found(report: LeakReport, column: str) -> None:
    assert column in report.leaking
    assert any(leak.column == column for leak in report.leaks)


def test_nothing_honest_is_accused(report: LeakReport) -> None:
    assert set(report.leaking) == set(PLANTED)
    assert {f"honest_{name}" for name in JOINS} <= set(report.columns)
    assert "fold purged" in report.columns


def test_the_refusal_names_every_leak(report: LeakReport) -> None:
    with pytest.raises(DataContractError) as refusal:
        require_no_leak(report)

    assert all(column in str(refusal.value) for column in PLANTED)


@pytest.mark.parametrize("column", sorted(set(TAMPERED) - {"relative_rsi_14"}))
def test_an_outcome_among_the_inputs_is_found_by_what_it_can_do(report: LeakReport, column: str) -> None:
    """Without a replay too: a step that reads the outcomes itself would be replayed with them."""
    found = [v for v in report.verdicts if (v.column, v.check) == (column, OUTCOME)]

    assert [v.n_alarms > 0 for v in found] == [True]


def test_a_column_changed_after_it_was_made_is_told_from_a_leak_on_the_way(report: LeakReport) -> None:
    words = {leak.column: leak.words for leak in report.leaks if "replayed" in leak.check}

    assert words["relative_rsi_14"] == UNEXPLAINED
    assert words["leaking_sector"] != UNEXPLAINED


@pytest.mark.parametrize("seed", [2, 3])
def test_the_weekly_run_raises_no_alarm_on_simulated_markets(seed: int) -> None:
    world = make_world(seed=seed, joins=False)
    start = world.rows["ts"].quantile(0.7).normalize()

    report = check_leaks(
        world.sources,
        world.rows,
        make_rows=event_rows,
        columns=EVENT_COLUMNS,
        inputs=(*MODEL_INPUTS, *CATALYST_INPUTS),
        windows=[TrainedWindow("purged", (world.rows["label_end"] < start).to_numpy(), start)],
    )

    assert report.leaks == ()
    assert {*MODEL_INPUTS, *CATALYST_INPUTS} - {"options_activity"} <= set(report.columns)


@pytest.mark.real_data
def test_the_weekly_run_raises_no_alarm_on_real_bars() -> None:
    folder = os.environ.get("CATALYST_MARKET_DATA")
    if not folder:
        pytest.skip("CATALYST_MARKET_DATA is not set: the leak check did not run on real bars")
    sources, rows = training_rows(read_real_panel(Path(folder), n_stocks=40, first="2012-01-01"))

    report = check_rows(sources, rows, event_rows, EVENT_COLUMNS) + check_outcomes(rows, MODEL_INPUTS)

    assert report.leaks == ()
    assert len(rows) > 5_000


def test_an_event_that_only_later_bars_reveal_is_found(world: World) -> None:
    def seen_with_hindsight(sources):
        rows = event_rows(sources)
        return rows[rows["ts"] < sources.panel.bars["ts"].max() - pd.Timedelta("10D")]

    report = check_rows(world.sources, world.rows, seen_with_hindsight, EVENT_COLUMNS)

    assert report.leaking == ("event",)


def test_a_label_column_among_the_inputs_is_found_by_name(world: World) -> None:
    report = check_outcomes(world.rows, (*MODEL_INPUTS, "net_return"))

    assert report.leaking == ("net_return",)


def test_an_entry_at_the_bar_of_the_decision_is_found(world: World) -> None:
    report = check_outcomes(world.rows.assign(entry_ts=world.rows["ts"]), MODEL_INPUTS)

    assert [verdict.check for verdict in report.verdicts if verdict.n_alarms] == [ENTRY]


def test_a_fold_that_trains_on_an_outcome_known_at_its_first_decision_is_found(world: World) -> None:
    row = world.rows.iloc[[100]]
    mask = np.arange(len(world.rows)) == 100

    just_late = check_windows(world.rows, [TrainedWindow("x", mask, row["label_end"].iloc[0])])
    in_time = check_windows(world.rows, [TrainedWindow("x", mask, row["label_end"].iloc[0] + pd.Timedelta("1us"))])

    assert (just_late.n_alarms, in_time.n_alarms) == (1, 0)
    assert f"{row['symbol'].iloc[0]} at {row['ts'].iloc[0]:%Y-%m-%d %H:%M} UTC" in str(just_late.leaks[0])


@pytest.mark.parametrize(
    ("as_of", "said"), [(None, "does not say which day"), ("2030-01-01", "describes 2030-01-01"), ("2000-01-01", None)]
)
def test_a_sector_map_from_the_future_is_said(world: World, as_of: str | None, said: str | None) -> None:
    moment = pd.Timestamp(as_of, tz="UTC") if as_of else None

    report = check_sector_map(world.sources, world.rows, moment)

    assert report.passed
    assert [said in warning for warning in report.warnings] == ([True] if said else [])


def test_chance_is_no_alarm(world: World) -> None:
    """Twenty columns of noise, with gaps: none may look like an outcome."""
    rng = np.random.default_rng(11)
    noise = {f"noise_{i}": rng.normal(size=len(world.rows)) for i in range(20)}
    gaps = {name: np.where(rng.random(len(values)) < 0.3, np.nan, values) for name, values in noise.items()}
    rows = pd.concat([world.rows, pd.DataFrame(gaps)], axis=1)

    assert check_outcomes(rows, tuple(noise)).leaking == ()


def test_rows_without_their_columns_are_refused(world: World) -> None:
    with pytest.raises(DataContractError, match="columns \\['rule_score'\\] missing"):
        check_rows(world.sources, world.rows.drop(columns="rule_score"), event_rows, EVENT_COLUMNS)
    with pytest.raises(DataContractError, match="0 rows"):
        check_outcomes(world.rows.iloc[:0], MODEL_INPUTS)

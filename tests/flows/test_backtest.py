"""The back-test of the whole weekly procedure against a real PostgreSQL and a Prefect server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import text

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.models.champion import score_served
from catalyst_ml.registry import channels
from catalyst_ml.registry.versions import list_versions, load_version
from catalyst_ml.store import bars as bar_store
from catalyst_ml.store import runs
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from flows import backtest as flow_module
from flows.cli import run_flow
from flows.parameters import BacktestParameters, WeeklyTrainingParameters
from flows.weekly_training import weekly_training
from tasks import backtest, connections, replay
from tests.flows.small_market import SMALLEST_RUN, write_market

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

DATASET = "replayed"
SMALL_RUN = {**SMALLEST_RUN, "record_sessions": 130}
"""A record long enough for the gate to promote in a market with a strong edge."""
RANGE = {"since": "2025-10-20", "until": "2025-11-08"}
WEEKS = ["2025-10-24", "2025-10-31", "2025-11-07"]


class Replay(NamedTuple):
    """One finished back-test: what it returned, its figures, the results of its weeks and how their tasks ended."""

    summary: dict[str, Any]
    page: dict[str, Any]
    weeks: list[dict[str, Any]]
    states: list[str]


@contextmanager
def at_home(folder: Path, database: str) -> Iterator[None]:
    """Let tasks keep their results and frames in ``folder``."""
    with (
        pytest.MonkeyPatch.context() as environment,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder / "results"}),
    ):
        environment.setenv("CATALYST_HOME", str(folder))
        environment.setenv("DATABASE_URL", database)
        connections.forget()
        yield
        connections.engine().dispose()
        connections.forget()


@pytest.fixture(scope="module")
def home(database_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with at_home(folder, database_template):
        write_market(connections.engine(), dataset=DATASET, preset="strong", n_symbols=40)
        yield folder


@pytest.fixture(scope="module")
def rows_before(home: Path) -> dict[str, int]:
    return count_rows()


@pytest.fixture(scope="module")
def first(rows_before: dict[str, int]) -> Replay:
    return run_backtest(cpcv=True)


def count_rows() -> dict[str, int]:
    """Number of rows of every table of our schema."""
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'catalyst_ml'"
    with connections.engine().connect() as connection:
        names = list(connection.execute(text(query)).scalars())
        return {name: connection.execute(text(f"SELECT count(*) FROM catalyst_ml.{name}")).scalar() for name in names}


def run_backtest(**changes: Any) -> Replay:
    kept: list[tuple[dict[str, Any], str]] = []
    real = backtest.replay_week

    def watched(*arguments: Any, return_state: bool) -> Any:
        state = real(*arguments, return_state=return_state)
        kept.append((state.result(), state.name))
        return state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backtest, "replay_week", watched)
        given = {"dataset": DATASET, **SMALL_RUN, **RANGE, **changes}
        summary = run_flow(flow_module.backtest, BacktestParameters(**given))
    page = json.loads(Path(summary["json_path"]).read_text())
    return Replay(summary, page, [week for week, _ in kept], [name for _, name in kept])


def test_the_replay_promotes_in_its_own_channel_and_says_what_followed(first: Replay) -> None:
    page = first.page

    assert [week["week"] for week in page["weeks"]] == WEEKS
    assert [week["verdict"] for week in page["weeks"]] == ["promote"] * 3, [week["reason"] for week in page["weeks"]]
    assert [(stay["holder"], stay["since"]) for stay in page["tenures"]] == [(f"fit of {week}", week) for week in WEEKS]
    assert sum(stay["n"] for stay in page["tenures"]) == page["events"]["n"] > 50
    assert len(page["cpcv"]["paths"]["base_rate"]) == 5
    assert page["cpcv"]["spread"]["gain over base_rate"]["median"] > 0
    assert all(Path(first.summary[kind]).exists() for kind in ("report_path", "json_path"))


def test_production_registry_quarantine_and_detections_are_left_alone(
    first: Replay, rows_before: dict[str, int]
) -> None:
    after = count_rows()

    assert {name for name, n in after.items() if n != rows_before[name]} == {"runs"}
    assert {"versions", "channel_history", "quarantine", "detections", "labels"} <= after.keys(), sorted(after)
    (run,) = runs.list_runs(connections.engine(), dataset=DATASET)
    assert (run.flow, run.status, run.report_path) == ("backtest", "finished", first.summary["report_path"])


def test_forecasts_were_made_by_fits_older_than_the_events_and_no_frame_of_a_week_is_left(
    first: Replay, home: Path
) -> None:
    for week, following in zip(first.weeks, first.weeks[1:], strict=False):
        live = connections.load_frame(following["live"])
        assert (live["ts"] > pd.Timestamp(week["as_of"])).all()
        assert (live["ts"] <= pd.Timestamp(following["as_of"])).all()
        assert set(live["fold"]) == {week["week"]}
    left = {path.parent.name for path in (home / "snapshots").glob("*/*")}
    # The cross-validation keeps the one training set that its fits are cached by.
    assert left == {"fold", "model", "live", "live_record", "recent", "training", "cpcv"}
    assert len(list((home / "snapshots" / "training").iterdir())) == 1


def test_a_second_backtest_repeats_nothing(first: Replay) -> None:
    again = run_backtest(cpcv=True)

    assert again.states == ["Cached"] * len(WEEKS)
    assert again.page == first.page


def test_a_replayed_week_is_the_weekly_run_of_that_date(
    first: Replay, home: Path, database_template: str, tmp_path: Path
) -> None:
    """The weekly runs keep their results elsewhere, so that they compute everything themselves."""
    with at_home(tmp_path, database_template):
        plain = [run_week(week["as_of"]) for week in first.weeks]
        loaded = [
            load_version(connections.engine(), connections.artifact_stores(), summary["version_id"])
            for summary in plain
        ]

    assert [summary["verdict"] for summary in plain] == [week["decision"]["verdict"] for week in first.weeks]
    for version, week in zip(loaded, first.weeks, strict=True):
        assert measured(version.manifest.gate) == measured(week["decision"])
        graph = connections.load_bytes(week["fit"]["onnx"])
        assert graph == version.files["model.onnx"]
    # What the replay forecast of the second week is what the version of the first week says of it.
    live = connections.load_frame(first.weeks[1]["live"])
    rows = recent_rows(first.weeks[1]["as_of"], since=first.weeks[0]["as_of"])
    served = score_served(loaded[0].files["model.onnx"], rows, loaded[0].manifest.inputs)
    assert np.array_equal(live["p_age_0"].to_numpy(), served)


@pytest.mark.usefixtures("first")
def test_real_promotions_do_not_reach_the_replay() -> None:
    """After the test before: the real channel now holds a version, and the replay finds its weeks as they were."""
    versions = list_versions(connections.engine(), dataset=DATASET)
    held = channels.current(connections.engine(), versions[-1].line).version_id

    assert held is not None
    assert run_backtest().states == ["Cached"] * len(WEEKS)


def test_a_correction_changes_only_the_weeks_after_it_became_known(first: Replay) -> None:
    engine, known_at = connections.engine(), pd.Timestamp("2025-11-03T12:00", tz="UTC")
    raw = bar_store.extract_bars(engine, dataset=DATASET, timeframe="1d", as_of=known_at)
    stock = raw[(raw["symbol"] == raw["symbol"].iloc[-1]) & (raw["ts"] < "2025-09-15")].tail(1)
    corrected = stock.assign(close=stock["low"], known_at=known_at)
    write_bars(
        engine, corrected, dataset=DATASET, timeframe="1d", source=SIMULATED_SOURCE, name="correction",
        now=known_at + pd.Timedelta(hours=1),
    )  # fmt: skip

    again = run_backtest()

    assert again.states == ["Cached", "Cached", "Completed"]
    assert [week["record_sha256"] for week in again.weeks[:2]] == [week["record_sha256"] for week in first.weeks[:2]]
    assert again.weeks[2]["record_sha256"] != first.weeks[2]["record_sha256"]


@pytest.mark.usefixtures("home")
def test_a_range_without_history_is_refused_with_the_reason() -> None:
    with pytest.raises(DataContractError, match="500"):
        run_backtest(since="2023-03-01", until="2023-04-01")
    with pytest.raises(InsufficientHistory, match="sessions of history before it"):
        run_backtest(since="2025-02-24", until="2025-03-15", record_sessions=260)
    with pytest.raises(ConfigurationError, match="no session closed in it"):
        run_backtest(since="2026-03-01", until="2026-04-01")


def test_every_other_week_forecasts_two(first: Replay) -> None:
    fortnight = run_backtest(every=2)

    assert [week["week"] for week in fortnight.page["weeks"]] == WEEKS[::2]
    live = connections.load_frame(fortnight.weeks[1]["live"])
    assert live["ts"].min() < pd.Timestamp("2025-11-01", tz="UTC") < live["ts"].max()
    assert "p_age_1" not in live


def run_week(as_of: str) -> dict[str, Any]:
    given = {"dataset": DATASET, "as_of": as_of, "analyse": False, **SMALL_RUN}
    return run_flow(weekly_training, WeeklyTrainingParameters(**given))


def measured(decision: dict[str, Any]) -> list[Any]:
    """What the gate measured and decided; the speed of this machine at that moment is no part of it."""
    checks = [
        (check["name"], check["value"], check["bound"], check["passed"])
        for check in decision["checks"]
        if check["name"] != "latency"
    ]
    return [decision["verdict"], decision["sessions"], decision["events"], decision["comparisons"], *checks]


def recent_rows(as_of: str, *, since: str) -> pd.DataFrame:
    given = BacktestParameters(dataset=DATASET, **SMALL_RUN, **RANGE).model_dump(mode="json")
    procedure = backtest.procedure_of(given)
    known = replay.prepare(backtest.scope_of(as_of, given), procedure)
    return replay.events_since(known, pd.Timestamp(since), procedure)

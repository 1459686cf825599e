"""A line of half-hour bars through the whole weekly run: no calendar day stands for a session, nothing is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from catalyst_ml.features.line_inputs import TIME, input_version, model_inputs
from catalyst_ml.frames import BARS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.labels import default_spec
from catalyst_ml.registry import channels
from catalyst_ml.registry.versions import list_versions, load_version
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import write_instruments
from flows.parameters import WeeklyTrainingParameters
from flows.weekly_training import weekly_training
from tasks import connections
from tests.catalyst_ml.features.intraday_markets import bars_of_sessions
from tests.catalyst_ml.features.markets import make_instruments

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

N_STOCKS = 10


@pytest.fixture(scope="module")
def home(database_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with (
        pytest.MonkeyPatch.context() as environment,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder / "results"}),
    ):
        environment.setenv("CATALYST_HOME", str(folder))
        environment.setenv("DATABASE_URL", database_template)
        connections.forget()
        write_half_hours()
        yield folder
        connections.engine().dispose()
        connections.forget()


def write_half_hours() -> None:
    """Random walks: nobody can know more of them than the clock and the costs say."""
    calendar = TradingCalendar()
    names = [f"S{k:02d}" for k in range(N_STOCKS)]
    parts = [
        bars_of_sessions(name, calendar, "2023-01-03", "2023-10-31", seed=k, minutes=30, missing=0.0)
        for k, name in enumerate(names)
    ]
    # A newcomer of three sessions: too young for features of days, and no reason to stop.
    parts.append(bars_of_sessions("S99", calendar, "2023-10-27", "2023-10-31", seed=99, minutes=30, missing=0.0))
    bars = pd.concat(parts, ignore_index=True).astype({column.name: column.dtype for column in BARS.columns})
    instruments = make_instruments(dict.fromkeys([*names, "S99"]))
    write_bars(
        connections.engine(), bars.sort_values(list(BARS.key), ignore_index=True), dataset="halves", timeframe="30m",
        source=SIMULATED_SOURCE, name="halves", now=bars["ts"].max() + pd.Timedelta(days=1),
    )  # fmt: skip
    write_instruments(connections.engine(), instruments, dataset="halves")


@pytest.fixture(scope="module")
def summary(home: Path) -> dict[str, Any]:
    given = WeeklyTrainingParameters(dataset="halves", timeframe="30m", analyse=False, threads=1)
    return weekly_training(given)


def test_the_line_is_judged_and_stays_with_the_rules(summary: dict[str, Any]) -> None:
    assert summary["verdict"] == "stay"
    assert summary["production"] == channels.RULES
    history = [move for move in channels.history(connections.engine()) if move.line.dataset == "halves"]
    assert {(move.channel, move.action) for move in history} == {("shadow", "shadow")}


def test_the_version_says_that_it_reads_the_clock_and_how_its_trades_end(summary: dict[str, Any]) -> None:
    (listed,) = list_versions(connections.engine(), dataset="halves")
    manifest = load_version(connections.engine(), connections.artifact_stores(), listed.version_id).manifest
    assert manifest.timeframe == "30m"
    assert manifest.label_version == default_spec("30m").version
    assert manifest.feature_set_version == input_version("30m") != input_version("1d")
    assert tuple(manifest.procedure["inputs"]) == model_inputs("30m")
    assert TIME in manifest.procedure["inputs"]


def test_records_are_of_sessions_and_every_outcome_was_known_by_its_close(home: Path, summary: dict[str, Any]) -> None:
    (kept,) = home.glob("artifacts/versions/*/record.parquet")
    record = pd.read_parquet(kept)
    calendar = TradingCalendar()
    closes = calendar.closes(pd.DatetimeIndex(record["session"]))
    assert record["session"].nunique() >= 65
    assert (pd.DatetimeIndex(record["label_end"]) <= closes).all()
    assert (pd.DatetimeIndex(record["ts"]) < closes).any()
    # Patterns are luck here; but once it has seen weeks enough, the rival knows the clock.
    newest = record[record["fold"] == record["fold"].iloc[-1]]
    assert newest.groupby("direction")["p_pattern_base_rate"].nunique().min() > 6

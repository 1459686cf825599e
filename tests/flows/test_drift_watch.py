"""The drift watch against a real PostgreSQL and a Prefect server: a version in its registry, a market after it."""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import Engine
from typer.testing import CliRunner

from catalyst_ml.cli.main import build_app
from catalyst_ml.errors import ConfigurationError
from catalyst_ml.features.events import MODEL_INPUTS, model_input_version
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.labels import default_spec
from catalyst_ml.market.rules import rule_arm
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.models.onnx_graph import INPUT, OUTPUT_P
from catalyst_ml.registry import channels
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.manifest import TrainingWindow, VersionFacts, seal_manifest
from catalyst_ml.registry.versions import publish
from catalyst_ml.store import runs
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import write_instruments, write_news
from flows.cli import parse_parameters, run_flow
from flows.drift_watch import drift_watch
from flows.parameters import DriftWatchParameters
from tasks import connections, drift

pytestmark = pytest.mark.server

DATASET = "drifting"
SESSIONS_SINCE = 90
"""Between the version and the newest bar: more than the 60 with settled outcomes that calibration needs."""
SILENT = 60
PREFECT_YAML = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market("none", seed=1, n_symbols=16, n_sessions=900)


@pytest.fixture
def home(database_url: str, tmp_path: Path, prefect_server: None, market: SimulatedMarket) -> Iterator[Engine]:
    """A home whose market's news stop eight sessions before its bars."""
    with pytest.MonkeyPatch.context() as environment, temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "r"}):
        environment.setenv("CATALYST_HOME", str(tmp_path))
        environment.setenv("DATABASE_URL", database_url)
        connections.forget()
        engine = connections.engine()
        now = market.bars["ts"].max() + pd.Timedelta(days=1)
        write_bars(engine, market.bars, dataset=DATASET, timeframe="1d", source=SIMULATED_SOURCE, name="none", now=now)
        write_instruments(engine, market.instruments, dataset=DATASET)
        last_story = closes(market)[-1 - SILENT]
        write_news(engine, market.news[market.news["published_at"] <= last_story], dataset=DATASET)
        yield engine
        engine.dispose()
        connections.forget()


def closes(market: SimulatedMarket) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.sort(market.bars["ts"].unique()))


def version_with(p: float, engine: Engine, market: SimulatedMarket, *, inputs: tuple[str, ...] = MODEL_INPUTS) -> str:
    """Register a version that gives every event the probability ``p``, put it into the shadow, return its id."""
    moments = closes(market)
    as_of = moments[-1 - SESSIONS_SINCE]
    label = default_spec("1d", "symmetric", cost_bps_per_side=5.0).version
    facts = VersionFacts(
        dataset=DATASET, timeframe="1d", label_version=label, as_of=as_of.to_pydatetime(), procedure_id="p-1",
        procedure={"rule_arm": rule_arm().version}, feature_set_version=model_input_version(), inputs=inputs,
        data_fingerprint="d" * 16,
        training_window=TrainingWindow(
            start=moments[505].to_pydatetime(), end=moments[-6 - SESSIONS_SINCE].to_pydatetime(), n_rows=1_000
        ),
        code_commit="abc", packages={}, seed=7, metrics={}, gate={"verdict": "stay"}, parity={"passed": True},
    )  # fmt: skip
    files = {"model.onnx": constant_graph(p), "record.parquet": record_before(as_of)}
    sealed = seal_manifest(facts, files, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    version_id = publish(engine, connections.artifact_stores(), files, sealed).version_id
    line = ModelLine(DATASET, "1d", label)
    channels.enter_shadow(engine, line, version_id, reason="test", actor="test", gate=None)
    return version_id


def constant_graph(p: float) -> bytes:
    """An ONNX graph that answers ``p`` to every row, by the names a served graph has."""
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [p])
    nodes = [
        helper.make_node("Shape", [INPUT], ["n"], start=0, end=1),
        helper.make_node("ConstantOfShape", ["n"], [OUTPUT_P], value=value),
    ]
    wide = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n_rows", len(MODEL_INPUTS)])
    answer = helper.make_tensor_value_info(OUTPUT_P, TensorProto.FLOAT, ["n_rows"])
    graph = helper.make_graph(nodes, "constant", [wide], [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def record_before(as_of: pd.Timestamp) -> bytes:
    """150 sessions of a record in which coins were called."""
    calendar = TradingCalendar()
    sessions = calendar.sessions(as_of - pd.Timedelta(days=365), as_of)[-150:]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"session": np.repeat(sessions, 5), "y": rng.integers(0, 2, 750).astype("int8")})
    buffer = io.BytesIO()
    frame.assign(p_challenger=0.5 + 0.02 * rng.standard_normal(750)).to_parquet(buffer, index=False)
    return buffer.getvalue()


def watch(market: SimulatedMarket, *, sessions_before_the_last: int = 0) -> dict[str, Any]:
    as_of = closes(market)[-1 - sessions_before_the_last].to_pydatetime()
    return run_flow(drift_watch, DriftWatchParameters(dataset=DATASET, as_of=as_of))


def kinds(summary: dict[str, Any], *, new: bool = True) -> set[str]:
    return {alarm["finding"]["kind"] for alarm in summary["alarms"] if alarm["is_new"] or not new}


def events_about(version_id: str, name: str) -> list[dict[str, Any]]:
    """What the Prefect server has of an event about this version; events arrive a moment after they are sent."""
    wanted = {"filter": {"event": {"name": [name]}, "resource": {"id": [f"catalyst-ml.dataset.{DATASET}"]}}}
    found: list[dict[str, Any]] = []
    for _ in range(40):
        with get_client(sync_client=True) as client:
            answer = client._client.post("/events/filter", json=wanted).json()["events"]
        found = [event for event in answer if event["payload"]["version_id"] == version_id]
        if found:
            break
        time.sleep(0.25)
    return found


def test_without_a_version_there_is_nothing_to_watch_yet_but_the_feeds_are(
    home: Engine, market: SimulatedMarket
) -> None:
    summary = watch(market)

    assert summary["watched"] is None
    assert "no version yet: feeds only" in summary["headline"]
    assert [row["what"] for row in summary["nearest"]] == ["news", "bars"]
    assert summary["unjudged"] == [drift.NO_VERSION]
    assert kinds(summary) == {"feed"}, "the news have stopped"
    (run,) = runs.list_runs(home, dataset=DATASET)
    assert (run.flow, run.status) == ("drift-watch", "finished")


def test_probabilities_that_stopped_holding_raise_one_alarm_one_event_and_no_second_one(
    home: Engine, market: SimulatedMarket
) -> None:
    version_id = version_with(0.95, home, market)

    yesterday, today, again = watch(market, sessions_before_the_last=1), watch(market), watch(market)

    assert (today["watched"], today["where"]) == (version_id, "shadow")
    assert {"calibration", "feed"} <= kinds(yesterday)
    calibration = next(a for a in yesterday["alarms"] if a["finding"]["kind"] == "calibration")
    assert calibration["finding"]["value"] > 0.3
    assert "Do not size by these probabilities" in calibration["finding"]["advice"]
    for later in (today, again):
        assert not kinds(later) & {"calibration", "feed"}
        assert {"calibration", "feed"} <= kinds(later, new=False)
    (told,) = events_about(version_id, drift.DRIFT_EVENT)
    (stale,) = events_about(version_id, drift.STALE_EVENT)
    assert told["payload"]["version_id"] == version_id
    assert "calibration" in {alarm["finding"]["kind"] for alarm in told["payload"]["alarms"]}
    assert {alarm["finding"]["what"] for alarm in stale["payload"]["alarms"]} == {"news"}


def test_a_backdated_run_watches_no_version_of_its_future_and_a_fresh_version_is_held_against_its_older_rows(
    home: Engine, market: SimulatedMarket
) -> None:
    version_with(0.5, home, market)

    before = watch(market, sessions_before_the_last=SESSIONS_SINCE + 5)
    after = watch(market, sessions_before_the_last=SESSIONS_SINCE - 3)

    assert before["watched"] is None
    assert [row for row in after["nearest"] if row["kind"] == "feature"]
    assert after["facts"]["reference"][-10:] < after["facts"]["recent"][:10]
    assert after["facts"]["recent_sessions"] == 20
    assert [reason.split(":")[0] for reason in after["unjudged"]] == ["expected accuracy", "calibration"]

    version_with(0.5, home, market, inputs=(*MODEL_INPUTS[:-1], "retired_feature"))
    (reason,) = (each for each in watch(market)["unjudged"] if each.startswith("features"))
    assert "['retired_feature'], which today's code no longer computes; train again" in reason


def test_parameters_of_the_watch_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"--param 'seed' is unknown; expected one of dataset, timeframe"):
        parse_parameters(["seed=1"], model=DriftWatchParameters, command="drift")
    with pytest.raises(ConfigurationError, match="`catalyst-ml drift --show-params`"):
        parse_parameters(["label=up"], model=DriftWatchParameters, command="drift")


def test_the_command_explains_its_parameters() -> None:
    shown = CliRunner().invoke(build_app(), ["drift", "--show-params"], env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    assert all(name in shown.output for name in DriftWatchParameters.model_fields)


def test_the_deployments_agree_with_the_events_that_the_watch_sends() -> None:
    weekly, daily = (
        next(each for each in PREFECT_YAML["deployments"] if each["name"] == name) for name in ("weekly", "daily-drift")
    )
    (trigger,) = weekly["triggers"]

    assert trigger["expect"] == [drift.DRIFT_EVENT]
    dataset = weekly["parameters"]["parameters"]["dataset"]
    assert trigger["match"] == {"prefect.resource.id": f"catalyst-ml.dataset.{dataset}"}
    assert trigger["parameters"] == weekly["parameters"]
    assert daily["parameters"]["parameters"]["dataset"] == dataset
    assert daily["entrypoint"] == "flows/drift_watch.py:drift_watch"
    assert re.fullmatch(r"\d+ 1[7-9] \* \* 1-5", daily["schedules"][0]["cron"]), "after the close in New York"
    assert daily["schedules"][0]["timezone"] == "America/New_York"


@pytest.mark.usefixtures("prefect_server")
def test_the_automation_of_prefect_yaml_starts_the_weekly_training_when_an_alarm_is_raised() -> None:
    from prefect.cli.deploy._triggers import _create_deployment_triggers, _initialize_deployment_triggers

    weekly = PREFECT_YAML["deployments"][0]
    dataset = weekly["parameters"]["parameters"]["dataset"]
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("weekly-training")
        deployment_id = client.create_deployment(flow_id=flow_id, name="weekly", enforce_parameter_schema=False)

    async def deploy_triggers() -> None:
        async with get_client() as client:
            triggers = _initialize_deployment_triggers("weekly", weekly["triggers"])
            await _create_deployment_triggers(client, deployment_id, triggers)

    asyncio.run(deploy_triggers())

    started: list[Any] = []
    for attempt in range(60):  # the server reads its automations every now and then
        scope = {"dataset": dataset, "timeframe": "1d", "as_of": f"2026-11-20T21:00:{attempt:02d}+00:00"}
        drift._emit(drift.STALE_EVENT, scope, "v-1", [])
        if attempt >= 2:
            drift._emit(drift.DRIFT_EVENT, scope, "v-1", [])
        time.sleep(1.0)
        with get_client(sync_client=True) as client:
            found = client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
            )
        assert attempt >= 2 or not found, "a stale feed starts nothing"
        started = found
        if started:
            break

    assert started
    assert started[0].parameters == weekly["parameters"]

"""The audit of runs as Prefect's hooks write it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.states import Failed
from sqlalchemy import Engine, create_engine

from catalyst_ml.store import runs
from flows import run_record
from flows.parameters import WeeklyTrainingParameters

SCOPE = {"dataset": "demo", "timeframe": "1d", "as_of": "2025-12-05T21:00:00+00:00"}


def runtime(**facts: Any) -> Any:
    return SimpleNamespace(id=str(uuid4()), scheduled_start_time="2026-11-22T07:00:00+00:00", **facts)


@pytest.fixture
def audit(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(run_record, "engine", lambda: database)
    return database


@pytest.mark.parametrize("given", [WeeklyTrainingParameters(dataset="demo"), {"dataset": "demo"}])
def test_a_run_is_named_after_its_dataset_and_the_week_it_was_scheduled_for(
    given: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "flow_run", runtime(parameters={"parameters": given}))
    assert run_record.run_name() == "demo 2026-W47"
    assert run_record.daily_run_name() == "demo 2026-11-22"

    monkeypatch.setattr(run_record, "flow_run", runtime(parameters={}))
    assert run_record.run_name() == "catalyst 2026-W47"


@pytest.mark.server
def test_a_failed_run_that_is_retried_keeps_its_row_and_can_still_finish(
    audit: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "flow_run", runtime())
    run_id = run_record.record_start(SCOPE, {"seed": 7})
    run_record.record_failure(Any, SimpleNamespace(id=run_id), Failed(message="the disk is full"))
    (failed,) = runs.list_runs(audit)

    assert run_record.record_start(SCOPE, {"seed": 7}) == run_id
    run_record.record_end(run_id, {"verdict": "stay", "report_path": "/reports/week.html"})

    (finished,) = runs.list_runs(audit)
    assert (failed.status, failed.summary) == ("failed", {"reason": "the disk is full"})
    assert (finished.status, finished.report_path, finished.parameters) == (
        "finished",
        "/reports/week.html",
        {"seed": 7},
    )
    assert finished.started_at == failed.started_at


@pytest.mark.server
def test_the_hook_never_hides_the_failure_it_reports(
    audit: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="catalyst_ml.runs")
    stranger = SimpleNamespace(id=uuid4())

    run_record.record_failure(Any, stranger, Failed(message="bad bars"))
    monkeypatch.setattr(run_record, "engine", lambda: create_engine("postgresql://nobody@127.0.0.1:9/none"))
    run_record.record_failure(Any, stranger, Failed(message="bad bars"))

    assert "failed before it was recorded" in caplog.messages[0]
    assert "could not be recorded" in caplog.messages[1]

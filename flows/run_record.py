"""The audit of runs: which run, with which parameters, how it ended. Kept in our own table.

Prefect's temporary server forgets part of its history at exit, so it is never the audit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.runtime import flow_run

from catalyst_ml.errors import CatalystError, UnknownVersion
from catalyst_ml.store import runs
from tasks.connections import engine

log = logging.getLogger("catalyst_ml.runs")


def run_name() -> str:
    """Name of a flow run: dataset and the week it was scheduled for, e.g. ``demo 2026-W47``."""
    year, week, _ = pd.Timestamp(flow_run.scheduled_start_time).isocalendar()
    return f"{_dataset()} {year}-W{week:02d}"


def daily_run_name() -> str:
    """Name of a daily run: dataset and the day it was scheduled for, e.g. ``demo 2026-11-20``."""
    return f"{_dataset()} {pd.Timestamp(flow_run.scheduled_start_time):%Y-%m-%d}"


def _dataset() -> str:
    parameters = flow_run.parameters.get("parameters")
    return str(getattr(parameters, "dataset", None) or (parameters or {}).get("dataset", "catalyst"))


def record_start(scope: Mapping[str, Any], parameters: Mapping[str, Any], *, flow: str = "weekly-training") -> str:
    """Note that the run has begun; a retried run opens its own row again. Returns the run id."""
    return runs.start_run(
        engine(),
        flow=flow,
        dataset=scope["dataset"],
        timeframe=scope["timeframe"],
        as_of=pd.Timestamp(scope["as_of"]).to_pydatetime(),
        parameters=parameters,
        run_id=flow_run.id,
    )


def record_end(run_id: str, summary: Mapping[str, Any]) -> None:
    """Note that the run has finished, with its key figures and the path of its report if it wrote one."""
    runs.finish_run(engine(), run_id, summary=summary, report_path=summary.get("report_path"))


def record_failure(flow: Flow[..., Any], run: FlowRun, state: State[Any]) -> None:
    """Prefect hook: note that the run failed, and why. A hook must not hide the failure it reports."""
    try:
        runs.fail_run(engine(), str(run.id), reason=state.message or state.name or "unknown")
    except UnknownVersion:
        log.info("run %s failed before it was recorded", run.id)
    except CatalystError as error:
        log.warning("run %s failed, which could not be recorded: %s", run.id, error)

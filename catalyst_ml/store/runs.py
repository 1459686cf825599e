"""The audit of flow runs, in our own database: Prefect's may lose its history, this one may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from catalyst_ml.errors import UnknownVersion
from catalyst_ml.store.engine import database_errors


@dataclass(frozen=True)
class Run:
    """One run of a flow. ``status`` is running, finished or failed; a killed run stays running until resumed."""

    run_id: str
    flow: str
    dataset: str
    timeframe: str
    as_of: datetime
    parameters: dict[str, Any]
    status: str
    started_at: datetime
    finished_at: datetime | None
    summary: dict[str, Any] | None
    report_path: str | None


_SELECT = (
    "SELECT run_id, flow, dataset, timeframe, as_of, parameters, status, started_at, finished_at, summary, "
    "report_path FROM catalyst_ml.runs"
)


def start_run(
    engine: Engine,
    *,
    flow: str,
    dataset: str,
    timeframe: str,
    as_of: datetime,
    parameters: Mapping[str, Any],
    run_id: str | None = None,
) -> str:
    """Record that a run has started and return its id.

    With a ``run_id`` that is already there (a retried or resumed run) the row is opened again and keeps its
    first start, so this may be called any number of times.
    """
    statement = text(
        "INSERT INTO catalyst_ml.runs (run_id, flow, dataset, timeframe, as_of, parameters, status, started_at) "
        "VALUES (:run_id, :flow, :dataset, :timeframe, :as_of, :parameters, 'running', now()) "
        "ON CONFLICT (run_id) DO UPDATE SET status = 'running', finished_at = NULL, summary = NULL"
    ).bindparams(bindparam("parameters", type_=JSONB))
    run_id = run_id or str(uuid4())
    values = {
        "run_id": run_id,
        "flow": flow,
        "dataset": dataset,
        "timeframe": timeframe,
        "as_of": as_of,
        "parameters": dict(parameters),
    }
    with database_errors(engine), engine.begin() as connection:
        connection.execute(statement, values)
    return run_id


def finish_run(engine: Engine, run_id: str, *, summary: Mapping[str, Any], report_path: str | None = None) -> None:
    """Close a run with its key figures and the path of its report.

    Raises
    ------
    UnknownVersion
        If no such run was started.
    """
    _close(engine, run_id, "finished", dict(summary), report_path)


def fail_run(engine: Engine, run_id: str, *, reason: str) -> None:
    """Close a run as failed; ``reason`` is what the user was told. Raises like :func:`finish_run`."""
    _close(engine, run_id, "failed", {"reason": reason}, None)


def list_runs(engine: Engine, *, dataset: str | None = None, limit: int = 20) -> list[Run]:
    """Newest runs first, of one dataset or of all."""
    statement = text(
        f"{_SELECT} WHERE CAST(:dataset AS text) IS NULL OR dataset = :dataset "
        "ORDER BY started_at DESC, run_id LIMIT :limit"
    )
    with database_errors(engine), engine.connect() as connection:
        return [Run(*row) for row in connection.execute(statement, {"dataset": dataset, "limit": limit})]


def find_run(engine: Engine, run_id: str) -> Run | None:
    """Return one run, or None if it is not recorded here."""
    statement = text(f"{_SELECT} WHERE run_id = :run_id")
    with database_errors(engine), engine.connect() as connection:
        row = connection.execute(statement, {"run_id": run_id}).first()
    return None if row is None else Run(*row)


def _close(engine: Engine, run_id: str, status: str, summary: dict[str, Any], report_path: str | None) -> None:
    statement = text(
        "UPDATE catalyst_ml.runs SET status = :status, finished_at = now(), summary = :summary, "
        "report_path = :report_path WHERE run_id = :run_id"
    ).bindparams(bindparam("summary", type_=JSONB))
    values = {"status": status, "summary": summary, "report_path": report_path, "run_id": run_id}
    with database_errors(engine), engine.begin() as connection:
        if connection.execute(statement, values).rowcount == 0:
            raise UnknownVersion(f"run {run_id!r} was never started; expected a run_id that start_run returned.")

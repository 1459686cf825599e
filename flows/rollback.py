"""Take production back: one step, to a version that was there before, or to the rules; then tell the servers.

For the button in the Prefect UI and for automations; ``catalyst-ml models rollback`` does the same from a terminal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import RollbackParameters
from flows.run_record import daily_run_name, record_end, record_failure, record_start
from tasks import rolling_back


@flow(
    name="rollback",
    description=__doc__,
    flow_run_name=daily_run_name,
    timeout_seconds=1800,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def rollback(parameters: RollbackParameters) -> dict[str, Any]:
    """Roll back and return the summary."""
    given = parameters.model_dump(mode="json")

    # 1. Which line, and a row in the audit
    now = datetime.now(UTC).isoformat()
    scoped = {"dataset": given["dataset"], "timeframe": given["timeframe"], "as_of": now}
    run_id = record_start(scoped, given, flow="rollback")

    # 2. The pointer in the database, then the signed one in every store
    moved = rolling_back.roll_back(given, run_id)
    told = rolling_back.tell_servers(moved, given["reason"])

    summary = {**moved, **told, **scoped}
    record_end(run_id, summary)
    return summary


if __name__ == "__main__":
    rollback(RollbackParameters(reason="by hand"))

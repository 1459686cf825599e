"""Print the next scheduled runs of the Prefect server at PREFECT_API_URL, in New York time as in prefect.yaml."""

from __future__ import annotations

import time
from zoneinfo import ZoneInfo

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

ZONE = ZoneInfo("America/New_York")


PATIENCE_S = 30
"""The server's scheduler looks for new deployments every few seconds."""


def main() -> None:
    """Print one line per run, the next one first."""
    scheduled = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled"])))
    deadline = time.monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        runs: list[FlowRun] = []
        while not runs and time.monotonic() < deadline:
            time.sleep(1)
            runs = client.read_flow_runs(flow_run_filter=scheduled, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=5)
        flows = {run.flow_id: client.read_flow(run.flow_id).name for run in runs}
    for run in runs:
        start = run.next_scheduled_start_time
        if start is not None:
            print(f"next run:  {start.astimezone(ZONE):%a %Y-%m-%d %H:%M %Z}  {flows[run.flow_id]}")


if __name__ == "__main__":
    main()

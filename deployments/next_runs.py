"""Print the next scheduled runs of the Prefect server at PREFECT_API_URL, in New York time as in prefect.yaml."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

ZONE = ZoneInfo("America/New_York")


PATIENCE_S = 30
"""The server's scheduler looks for new deployments every few seconds."""


def main() -> None:
    """Print one line per deployment with a schedule, the next one first."""
    deadline = time.monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        waited_for = {
            deployment.id: f"{client.read_flow(deployment.flow_id).name} ({deployment.name})"
            for deployment in client.read_deployments()
            if any(schedule.active for schedule in deployment.schedules)
        }
        next_runs: dict[UUID, FlowRun] = {}
        while len(next_runs) < len(waited_for) and time.monotonic() < deadline:
            time.sleep(1)
            next_runs = first_of_each(scheduled_runs(client), waited_for)
    for deployment, run in next_runs.items():
        if run.next_scheduled_start_time is not None:
            start = run.next_scheduled_start_time.astimezone(ZONE)
            print(f"next run:  {start:%a %Y-%m-%d %H:%M %Z}  {waited_for[deployment]}")


def scheduled_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """Return what is scheduled, by time."""
    scheduled = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled"])))
    return client.read_flow_runs(flow_run_filter=scheduled, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)


def first_of_each(runs: Iterable[FlowRun], deployments: Container[UUID]) -> dict[UUID, FlowRun]:
    """Return the first run of each deployment, in the order of ``runs``: a daily one must not hide a weekly one."""
    first: dict[UUID, FlowRun] = {}
    for run in runs:
        if run.deployment_id is not None and run.deployment_id in deployments:
            first.setdefault(run.deployment_id, run)
    return first


if __name__ == "__main__":
    main()

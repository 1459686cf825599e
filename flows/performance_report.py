"""The weekly performance report: ML and rules side by side, the plan's key figures, and how fast to go over to ML.

The table of contents of one job. It reads the signal ledger and decides nothing: stages are moved by the daily
evaluation, versions by the weekly training.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import PerformanceReportParameters, WeeklyTrainingParameters
from flows.run_record import record_end, record_failure, record_start, run_name
from tasks import dataset, performance, scope


@flow(
    name="performance-report",
    description=__doc__,
    flow_run_name=run_name,
    timeout_seconds=3600,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def performance_report(parameters: PerformanceReportParameters = PerformanceReportParameters()) -> dict[str, Any]:  # noqa: B008
    """Write the report of one week and return the summary that the command line prints."""
    started = datetime.now(UTC)
    given = parameters.model_dump(mode="json")

    # 1. What this run is about, and the signals it may know
    scoped = scope.resolve_scope(WeeklyTrainingParameters().walk_forward() | given)
    run_id = record_start(scoped, given, flow="performance-report")
    outcome = parameters.label, parameters.cost_bps_per_side, parameters.rows
    signals = performance.read_signals(scoped, *outcome)

    # 2. The arms side by side, where the trial stands, and the plan's key figures
    market = dataset.extract_market(scope.what_is_read(scoped))
    events = dataset.detect_events(market)
    compared = performance.compare_arms(signals, events, market)
    trial = performance.where_the_trial_stands(scoped, signals, market, *outcome)
    figures = performance.key_figures(scoped, compared)

    # 3. Tell
    page = performance.assemble(scoped, signals, compared, trial, figures)
    report_path = performance.show_performance(page)
    took = (datetime.now(UTC) - started).total_seconds()
    summary = performance.summarise(page, report_path, duration_s=took)
    record_end(run_id, summary)
    return summary


if __name__ == "__main__":
    performance_report()

"""The back-test of the whole weekly procedure: what would have been in charge, week after week, and how it did.

The table of contents of one job. Each week is one task that does what the weekly run does at that week's close, on what
was known then, with a channel of its own: production, registry, quarantine and detections are left alone. A killed
back-test goes on after the last finished week, and inside a week after the last finished fold.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import BacktestParameters
from flows.replayed_weeks import replay_weeks
from flows.run_record import record_end, record_failure
from tasks import backtest as replayed
from tasks import backtest_report as told
from tasks import trials


@flow(
    name="backtest",
    description=__doc__,
    timeout_seconds=48 * 3600,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def backtest(parameters: BacktestParameters) -> dict[str, Any]:
    """Replay the weeks of a range and return the summary that the command line prints."""
    started = datetime.now(UTC)
    given = parameters.model_dump(mode="json")

    # 1. Replay the weeks and settle their forecasts
    run_id, plan, procedure, weeks, settled, leaks = replay_weeks(given, flow="backtest")

    # 2. How far scores move when history is cut differently
    spread = None
    if parameters.cpcv:
        cut = told.cut_history(replayed.scope_of(plan["weeks"][-1], given), procedure)
        fits = [told.fit_split(split, cut, parameters.threads) for split in told.splits(cut)]
        spread = told.measure_spread(fits, cut)

    # 3. Remember what was judged, and tell what it is worth after everything that was tried
    trials.remember_weeks(plan, weeks, run_id)
    tried = told.read_trials_beside(plan, weeks)
    page = told.assemble(plan, procedure, weeks, settled, spread, leaks, tried)
    paths = told.show_backtest(page, plan)
    took = (datetime.now(UTC) - started).total_seconds()
    summary = told.summarise(page, paths, plan, duration_s=took)
    record_end(run_id, summary)
    return summary

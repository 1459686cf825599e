"""The trial over a stored period, as if live: weekly retraining, gate, daily evidence, stages up and down.

The table of contents of one job. It begins with the replayed weeks of the back-test (and shares their cache) and tells
the trial by the code of the real one. Ledger, channels and stages of the real trial are left alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import TrialSimulationParameters
from flows.replayed_weeks import replay_weeks
from flows.run_record import record_end, record_failure
from tasks import backtest as replayed
from tasks import trial_replay


@flow(
    name="trial-simulation",
    description=__doc__,
    timeout_seconds=48 * 3600,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def trial_simulation(parameters: TrialSimulationParameters) -> dict[str, Any]:
    """Replay the trial of a range and return the summary that the command line prints."""
    started = datetime.now(UTC)
    given = parameters.model_dump(mode="json")

    # 1. Replay the weeks and settle their forecasts
    run_id, plan, procedure, weeks, settled, _ = replay_weeks(given, flow="trial-simulation")

    # 2. Tell the trial by what was known at each close
    scope = replayed.scope_of(plan["settled_at"], given)
    found = trial_replay.run_trial(scope, procedure, settled, trial_replay.verdicts_of(weeks))

    # 3. Tell
    summary = trial_replay.show_trial(plan, found)
    summary["duration_s"] = (datetime.now(UTC) - started).total_seconds()
    record_end(run_id, summary)
    return summary

"""The daily collection: new bars, new events, their features as known at the close, the labels of those that are over.

Nothing is decided here; what is kept feeds the evaluation, the drift watch and the analysis. Repeating it changes
nothing, so a killed run or a back-fill over days already collected just goes on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import CollectPatternsParameters
from flows.run_record import daily_run_name, record_end, record_failure, record_start
from tasks import collection, dataset, source


@flow(
    name="collect-patterns",
    description=__doc__,
    flow_run_name=daily_run_name,
    timeout_seconds=6 * 3600,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def collect_patterns(parameters: CollectPatternsParameters = CollectPatternsParameters()) -> dict[str, Any]:  # noqa: B008
    """Collect at one close, or at those of a past range, and return what the command line prints."""
    started = datetime.now(UTC)
    given = parameters.model_dump(mode="json")

    # 1. What the trading system has that we have not
    brought = source.pull_source(parameters.dataset) if parameters.pull else None

    # 2. Which closes
    plan = collection.plan_collection(given)
    run_id = record_start(plan, given, flow="collect-patterns")

    # 3. At each close, with what was known then: events and settled labels, then the new events' features
    collected = []
    for scope in collection.scopes(plan):
        events = dataset.remember_events(scope, parameters.label, parameters.cost_bps_per_side)
        features = collection.keep_features(scope)
        collected.append({"as_of": scope["as_of"], **events, **features})

    # 4. Tell
    took = (datetime.now(UTC) - started).total_seconds()
    summary = collection.summarise(plan, collected, brought, duration_s=took)
    record_end(run_id, summary)
    return summary

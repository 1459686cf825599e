"""The daily watch: is what the model meets still what it was trained on, do its odds hold, do the feeds still flow?

The table of contents of one job; each step is a task in ``tasks/`` and its logic a function of ``catalyst_ml``. The
steps up to the features are those of the weekly run, by the same engine and from the same cache.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parameters import DriftWatchParameters, WeeklyTrainingParameters
from flows.run_record import daily_run_name, record_end, record_failure, record_start
from tasks import dataset, drift, scope


@flow(
    name=drift.FLOW,
    description=__doc__,
    flow_run_name=daily_run_name,
    timeout_seconds=3600,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def drift_watch(parameters: DriftWatchParameters = DriftWatchParameters()) -> dict[str, Any]:  # noqa: B008
    """Watch one evening and return the summary that the command line prints."""
    given = parameters.model_dump(mode="json")

    # 1. What this run is about. It reads as far back as a week's training, so that both share what is cached
    scoped = scope.resolve_scope(WeeklyTrainingParameters().walk_forward() | given)
    run_id = record_start(scoped, given, flow=drift.FLOW)

    # 2. The version to look after; without one only the feeds are watched, and the run says so
    watched = drift.find_watched_version(scoped, parameters.label, parameters.cost_bps_per_side)
    market = dataset.extract_market(scope.what_is_read(scoped))
    reports = [drift.watch_feeds(market, scoped, given["as_of"])]

    # 3. Its training window and everything since, by the same detector, rules and features
    if watched is not None:
        events = dataset.detect_events(market)
        labelled = dataset.label_events(events, market, scoped["as_of"], parameters.label, parameters.cost_bps_per_side)
        rule_scores = dataset.score_rules(events, market, watched["rule_arm"])
        features = dataset.features_at_events(events, market)
        reports.append(drift.watch_version(scoped, watched, events, rule_scores, features, labelled))

    # 4. Alarms: carried, raised as events that may start a training, written down
    found = drift.raise_alarms(scoped, watched, reports)
    summary = {**found, "dataset": scoped["dataset"], "timeframe": scoped["timeframe"], "as_of": scoped["as_of"]}
    record_end(run_id, summary)
    return summary


if __name__ == "__main__":
    drift_watch()

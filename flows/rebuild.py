"""Train a recorded version again, from the data, parameters and thread count of then, and compare the files.

The table of contents of one job: the training steps of the weekly run, none of them from the cache, and a comparison of
hashes at the end. Nothing is published, promoted or set aside.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import RebuildParameters, WeeklyTrainingParameters
from flows.steps import Steps
from tasks import dataset, quality, rebuilding, scope, training


@flow(name="rebuild", description=__doc__, timeout_seconds=6 * 3600)
def rebuild(parameters: RebuildParameters) -> dict[str, Any]:
    """Rebuild one version and return what the command line prints."""
    started = datetime.now(UTC)
    # What the cache holds would be compared with itself; and what is measured anew must not stand in for it
    step = Steps(is_apart=True)

    # 1. What was recorded, and what differs since
    recorded = rebuilding.read_recorded(parameters.version_id)
    given = WeeklyTrainingParameters.model_validate(recorded["parameters"])
    scoped = rebuilding.compare_surroundings(recorded)
    outcome = given.label, given.cost_bps_per_side

    # 2. Bars and events as they were known, without those that were set aside
    market = step("extract", dataset.extract_market)(scope.what_is_read(scoped))
    checked_bars = step("quality", quality.validate_bars)(market, quality.read_releases(scoped))
    breaks = quality.look_up_bars(checked_bars, scoped)
    found = step("events", dataset.detect_events)(market)
    checked_events = step("quality", quality.validate_events)(found, market, breaks["breaks"])
    events = step("quality", quality.hold_out)(found, quality.look_up_events(checked_events, scoped)["findings"])

    # 3. Outcomes, rules, features, training set
    labelled = step("events", dataset.label_events)(events, market, scoped["as_of"], *outcome)
    rule_scores = step("events", dataset.score_rules)(events, market, given.rule_arm)
    features = step("features", dataset.features_at_events)(events, market)
    rows = step("features", dataset.build_rows)(events, labelled, rule_scores, features)
    chosen = step("train", training.choose_rows)(rows, given.rows)

    # 4. The same folds and the fit to deploy, by the procedure of then
    plan = step("train", training.plan_walk_forward)(chosen, labelled, scoped["as_of"], **given.walk_forward())
    plan = rebuilding.with_recorded_procedure(plan, recorded)
    device = training.choose_device(chosen, given.device)
    todo = training.folds_to_fit(plan, chosen, recorded["threads"], device)
    folds = step.side_by_side("train", training.fit_fold, **todo)
    combined = step("train", training.combine_folds)(folds, plan)
    model = step("train", training.fit_final)(chosen, combined, plan, scoped["as_of"], recorded["threads"], device)

    # 5. The same bytes?
    summary = rebuilding.compare_rebuilt(recorded, scoped, chosen, combined, model)
    return summary | {"duration_s": (datetime.now(UTC) - started).total_seconds()}

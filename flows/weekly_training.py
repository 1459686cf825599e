"""The weekly run: extract, validate, featurise, train, judge, and promote only on evidence.

The table of contents of one job; each step is a task in ``tasks/`` and its logic a function of
``catalyst_ml``. Steps are cached by content: a killed or repeated run goes on from its finished steps.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import WeeklyTrainingParameters
from flows.run_record import record_end, record_failure, record_start, run_name
from flows.steps import Steps
from tasks import (
    companions,
    dataset,
    delivery,
    drift,
    explanation,
    judgement,
    leak_check,
    performance,
    quality,
    scope,
    search,
    trading_system,
    training,
    trials,
)


@flow(
    name="weekly-training",
    description=__doc__,
    flow_run_name=run_name,
    timeout_seconds=6 * 3600,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def weekly_training(parameters: WeeklyTrainingParameters = WeeklyTrainingParameters()) -> dict[str, Any]:  # noqa: B008
    """Run one week and return the summary that the command line prints."""
    started, meter = datetime.now(UTC), performance.start_meter()
    given = parameters.model_dump(mode="json")
    step = Steps(refresh_from=parameters.refresh_from)

    # 1. What this run is about: dataset, the moment it may know, and the data behind it
    scoped = scope.resolve_scope(given)
    run_id = record_start(scoped, given)
    delivery.send_earlier(scoped)

    # 2. Bars as they were known, checked: a suspected price break is set aside until a person releases it
    market = step("extract", dataset.extract_market)(scope.what_is_read(scoped))
    checked_bars = step("quality", quality.validate_bars)(market, quality.read_releases(scoped))
    breaks = quality.set_aside_bars(checked_bars, scoped, run_id)
    dataset.refuse_invalid(checked_bars["suite"])

    # 3. Events without those that see a break, their outcomes, what the rules say
    found = step("events", dataset.detect_events)(market)
    checked_events = step("quality", quality.validate_events)(found, market, breaks["breaks"])
    held = quality.set_aside_events(checked_events, scoped, run_id)
    dataset.refuse_invalid(checked_events["suite"])
    events = step("events", quality.hold_out)(found, held["findings"])
    outcome = parameters.label, parameters.cost_bps_per_side
    labelled = step("events", dataset.label_events)(events, market, scoped["as_of"], *outcome)
    remembering = dataset.remember_events.submit(scoped, *outcome)  # nothing below reads it; it takes seconds
    rule_scores = step("events", dataset.score_rules)(events, market, parameters.rule_arm)

    # 4. Features and the training set, refused if it is bad
    features = step("features", dataset.features_at_events)(events, market)
    rows = step("features", dataset.build_rows)(events, labelled, rule_scores, features)
    validated = step("validate", dataset.validate_rows)(rows)
    dataset.refuse_invalid(validated)
    novelty = step("validate", quality.score_novelty)(events, features, rule_scores, rows, scoped["as_of"])
    borders = quality.borders(checked_bars, breaks, checked_events, held, novelty)

    # 5. Walk the chosen events forward, if nothing leaks: settings searched before the record, each fold fitted on
    # what was known before it; then the fit to deploy
    chosen = step("train", training.choose_rows)(rows, parameters.rows)
    plan = step("train", training.plan_walk_forward)(chosen, labelled, scoped["as_of"], **parameters.walk_forward())
    plan = search.read_standing(scoped, plan, searches=parameters.search > 0)
    leaks = step("validate", leak_check.check_leaks)(market, rows, plan["folds"], scoped["as_of"], parameters.rule_arm)
    leak_check.refuse_leaks(leaks)
    borders = leak_check.add_to_borders(borders, leaks)
    device = training.choose_device(chosen, parameters.device)
    if parameters.search:
        found = step("train", search.search_settings)(
            **search.what_is_searched(plan, chosen, parameters.search, parameters.threads)
        )
        plan = search.adopt(scoped, plan, found, run_id)
    todo = training.folds_to_fit(plan, chosen, parameters.threads, device)
    folds = step.side_by_side("train", training.fit_fold, **todo)
    combined = step("train", training.combine_folds)(folds, plan)
    model = step("train", training.fit_final)(chosen, combined, plan, scoped["as_of"], parameters.threads, device)
    step.remark("train", training.where_trained(folds, model))

    # Beside it, on all stock-days and not only on events: how far stocks move, and how they rank among each other
    beside = step("train", companions.companions)(
        market, breaks["breaks"], scoped["as_of"], parameters.seed, parameters.threads
    )

    # 6. Judge the challenger against champion, base rate and pattern base rate
    champion = judgement.read_champion(scoped, plan)
    drifted = step("judge", drift.look_for_drift)(events, rule_scores, features, model, plan, scoped["as_of"])
    tried = trials.read_trials(scoped, plan)
    live = judgement.read_live_forecasts(scoped, plan)
    judged = step("judge", judgement.judge)(chosen, combined, champion, model, plan, validated, drifted, tried, live)
    judgement.show_decision(judged)
    trials.remember_record(scoped, plan, judged, run_id)

    # 7. Explain: what the models lean on, who of them is worth its time, where they fail
    fit_seconds = explanation.seconds_of_fits(folds)
    explained = step("explain", explanation.explain)(
        chosen, combined, model["weights"], plan, fit_seconds, parameters.threads
    )
    newest = step("explain", explanation.explain_newest)(chosen, model, plan, scoped["as_of"])
    failures = step("explain", explanation.explain_mistakes)(
        judged, chosen, market, plan, scope.what_is_read(scoped), *outcome
    )
    explanation.show_leaderboard(explained)

    # 8. Tell: Claude's analysis and the report
    analysis = step.optional("analyse", delivery.analyse, otherwise=delivery.failed_analysis)(
        judged, explained, failures, ask=parameters.analyse, **delivery.can_ask()
    )
    counts = delivery.count_rows(market, events, labelled, features, chosen, combined)
    run = delivery.run_info(run_id, scoped, plan, champion, device, started=started)
    report = step("report", delivery.render)(
        judged, model, explained, newest, failures, beside, analysis, validated, borders, counts, run, step.as_rows(),
        given,
        delivery.identity(run, given),
    )  # fmt: skip
    report_path = delivery.show_report(report, scoped)

    # 9. Seal the version, send it, and move the pointer last
    remembered = remembering.result()
    version_id = delivery.publish_version(model, judged, combined, report, champion, plan, scoped, beside, run_id)
    moved = delivery.move_channels(
        version_id, model, judged, champion, scoped, plan, run_id, promote=parameters.promote
    )
    told = trading_system.write_row(version_id, moved, model, judged, plan)

    took = (datetime.now(UTC) - started).total_seconds()
    summary = delivery.summarise(report, report_path, version_id, moved, judged, scoped, borders, duration_s=took)
    summary |= {"events": remembered, "trading_system": told, "energy": meter.read().to_dict()}
    record_end(run_id, summary)
    return summary


if __name__ == "__main__":
    weekly_training()

"""Both arms on the same live events: what they said before the outcome, what became of it, how the trial stands.

The table of contents of one job; each step is a task in ``tasks/`` and its logic a function of ``catalyst_ml``. The
steps up to the features are those of the weekly run, close by close, with what was known then: a machine that was off
catches up and says so. Everything is written once; a killed or repeated run goes on and changes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows.parameters import ParallelEvaluationParameters, WeeklyTrainingParameters
from flows.run_record import daily_run_name, record_end, record_failure, record_start
from tasks import dataset, quality, trial
from tasks.scope import what_is_read


@flow(
    name=trial.FLOW,
    description=__doc__,
    flow_run_name=daily_run_name,
    timeout_seconds=6 * 3600,
    on_failure=[record_failure],
    on_crashed=[record_failure],
    on_cancellation=[record_failure],
)
def parallel_evaluation(
    parameters: ParallelEvaluationParameters = ParallelEvaluationParameters(),  # noqa: B008
) -> dict[str, Any]:
    """Evaluate the closes since the last run and return the summary that the command line prints."""
    started = datetime.now(UTC)
    given = parameters.model_dump(mode="json")
    outcome = parameters.label, parameters.cost_bps_per_side

    # 1. Which closes. It reads as far back as a week's training, so that both share what is cached
    plan = trial.plan_evaluation(given)
    run_id = record_start(plan, given, flow=trial.FLOW)
    reads = WeeklyTrainingParameters().walk_forward() | given

    evaluated: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    for scoped in trial.scopes(plan, reads):
        # 2. What the week's training would have seen at this close; what it sets aside gets no signal
        market = dataset.extract_market(what_is_read(scoped))
        checked_bars = quality.validate_bars(market, quality.read_releases(scoped))
        dataset.refuse_invalid(checked_bars["suite"])
        found = dataset.detect_events(market)
        checked_events = quality.validate_events(found, market, quality.look_up_bars(checked_bars, scoped)["breaks"])
        held = quality.look_up_events(checked_events, scoped)
        dataset.refuse_invalid(checked_events["suite"])
        events = quality.hold_out(found, held["findings"])
        labelled = dataset.label_events(events, market, scoped["as_of"], *outcome)
        rule_scores = dataset.score_rules(events, market, parameters.rule_arm)
        features = dataset.features_at_events(events, market)
        rows = dataset.build_rows(events, labelled, rule_scores, features)

        # 3. Who speaks for the models at this close, what both arms say: written down before the outcome is looked up
        arms = trial.read_arms(scoped, plan, given, run_id)
        scored = trial.score_signals(scoped, arms, events, rule_scores, features, rows, parameters.rows)
        written = trial.write_signals(scoped, plan, scored, run_id, replay=parameters.replay)

        # 4. What is over by now is settled, what a correction changed is settled again
        dataset.remember_events(scoped, *outcome)
        settled = trial.settle_signals(scoped, plan, given, run_id)

        # 5. The trial up to this close: a stage up by evidence, back to the rules at once
        told = trial.tell_trial(scoped, plan, given, arms, market, run_id)
        held_out = trial.count_held(held, scoped)
        evaluated.append({"as_of": scoped["as_of"], **written, **settled, "moved": told["moved"], "held_out": held_out})

    # 6. Tell the servers which stage is in force, and people how it stands
    servers = trial.tell_servers(plan, told)
    trial.show_trial(told)
    took = (datetime.now(UTC) - started).total_seconds()
    summary = trial.summarise(plan, evaluated, told, servers, duration_s=took)
    record_end(run_id, summary)
    return summary


if __name__ == "__main__":
    parallel_evaluation()

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
from flows.run_record import record_end, record_failure, record_start
from tasks import backtest as replayed
from tasks import backtest_report as told
from tasks import leak_check, trials


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
    procedure = replayed.procedure_of(given)

    # 1. Which weeks; what may be known at the first and the last of them must not leak
    plan = replayed.plan_backtest(given)
    run_id = record_start(plan, given, flow="backtest")
    leaks = [replayed.check_leaks_of(*at, procedure) for at in replayed.ends(plan, given)]
    for checked in leaks:
        leak_check.refuse_leaks(checked)

    # 2. Week after week: forecast the week that ended, train, judge, move the replay's own channel
    weeks: list[dict[str, Any]] = []
    with replayed.Ahead(plan, given) as ahead:
        for place, week, scope in replayed.weeks(plan, given):
            before = replayed.standing(weeks, plan["every"])
            in_charge = weeks[-1]["production"] if weeks else replayed.RULES
            weeks.append(ahead.replay(place, week, scope, in_charge, before))

    # 3. What became of the forecasts
    live = [week["live"] for week in weeks if week["live"]]
    if replayed.has_following(plan):
        last = replayed.scope_of(plan["end"], given), procedure, replayed.standing(weeks, plan["every"])
        live.append(replayed.forecast_following(f"after {weeks[-1]['week']}", *last))
    settled = replayed.settle(replayed.scope_of(plan["settled_at"], given), procedure, live, plan["pending"])

    # 4. How far scores move when history is cut differently
    spread = None
    if parameters.cpcv:
        cut = told.cut_history(replayed.scope_of(plan["weeks"][-1], given), procedure)
        fits = [told.fit_split(split, cut, parameters.threads) for split in told.splits(cut)]
        spread = told.measure_spread(fits, cut)

    # 5. Remember what was judged, and tell what it is worth after everything that was tried
    trials.remember_weeks(plan, weeks, run_id)
    tried = told.read_trials_beside(plan, weeks)
    page = told.assemble(plan, procedure, weeks, settled, spread, leaks, tried)
    paths = told.show_backtest(page, plan)
    took = (datetime.now(UTC) - started).total_seconds()
    summary = told.summarise(page, paths, plan, duration_s=took)
    record_end(run_id, summary)
    return summary

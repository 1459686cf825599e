"""Weeks of the past, replayed one after the other and settled: what the back-test and the replayed trial begin with."""

from __future__ import annotations

from typing import Any, NamedTuple

from flows.run_record import record_start
from tasks import backtest as replayed
from tasks import leak_check


class ReplayedWeeks(NamedTuple):
    """Plan, procedure, weeks in order, their settled live record, leak checks of the first and the last week."""

    run_id: str
    plan: dict[str, Any]
    procedure: dict[str, Any]
    weeks: list[dict[str, Any]]
    settled: dict[str, Any]
    leaks: list[dict[str, Any]]


def replay_weeks(given: dict[str, Any], *, flow: str) -> ReplayedWeeks:
    """Replay the weeks of a range as the weekly run would have lived them, and settle their forecasts."""
    procedure = replayed.procedure_of(given)

    # Which weeks; what may be known at the first and the last of them must not leak
    plan = replayed.plan_backtest(given)
    run_id = record_start(plan, given, flow=flow)
    leaks = [replayed.check_leaks_of(*at, procedure) for at in replayed.ends(plan, given)]
    for checked in leaks:
        leak_check.refuse_leaks(checked)

    # Week after week: forecast the week that ended, train, judge, move the replay's own channel
    weeks: list[dict[str, Any]] = []
    with replayed.Ahead(plan, given) as ahead:
        for place, week, scope in replayed.weeks(plan, given):
            before = replayed.standing(weeks, plan["every"])
            in_charge = weeks[-1]["production"] if weeks else replayed.RULES
            weeks.append(ahead.replay(place, week, scope, in_charge, before))

    # What became of the forecasts
    live = [week["live"] for week in weeks if week["live"]]
    if replayed.has_following(plan):
        last = replayed.scope_of(plan["end"], given), procedure, replayed.standing(weeks, plan["every"])
        live.append(replayed.forecast_following(f"after {weeks[-1]['week']}", *last))
    settled = replayed.settle(replayed.scope_of(plan["settled_at"], given), procedure, live, plan["pending"])
    return ReplayedWeeks(run_id, plan, procedure, weeks, settled, leaks)

"""A past week as the weekly run would have lived it: the same steps on what was known then, and a channel of its own.

One task is one week (its steps: ``tasks/replay.py``). Folds are kept under the keys they have in the weekly run, so
weeks share them with each other and with ``train``. Frames of a replayed week are removed when its task ends, for 52 of
them would fill a disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Self

import pandas as pd
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.ageing import AGES_WEEKS
from catalyst_ml.market.backtest_weeks import backtest_weeks
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.store import bars as bar_store
from catalyst_ml.store import quarantine
from tasks import dataset, judgement, leak_check, replay
from tasks.caching import cached, reuse
from tasks.connections import engine, frames_apart, load_frame, snapshots, store_frame
from tasks.retrying import RETRY_TEMPORARY
from tasks.scope import scope_at

ROOMS = (*replay.ROOMS, "tasks.replay")
AT_MOST = 2
"""Weeks worked on at a time: one prepares its data while the other trains."""
RULES = judgement.RULES | {"holder": "rules"}


@task(name="plan-backtest", timeout_seconds=300, **RETRY_TEMPORARY)
def plan_backtest(parameters: dict[str, Any]) -> dict[str, Any]:
    """Fix the weeks to replay, until when the last decision acts, and when its outcomes are known."""
    line = {name: parameters[name] for name in ("dataset", "timeframe")}
    newest = pd.Timestamp(bar_store.newest_bar(engine(), **line)).tz_convert("UTC")
    start = pd.Timestamp(flow_run.scheduled_start_time or pd.Timestamp.now("UTC")).tz_convert("UTC")
    asked = {name: parameters[name] for name in ("since", "until", "every")}
    weeks = backtest_weeks(TradingCalendar(), newest=min(newest, start), **asked)
    return line | {
        "as_of": weeks.settled_at.isoformat(),
        "weeks": [close.isoformat() for close in weeks.weeks],
        "end": weeks.end.isoformat(),
        "settled_at": weeks.settled_at.isoformat(),
        "pending": [_name(close.isoformat()) for close in weeks.pending],
        "every": parameters["every"],
    }


def weeks(plan: dict[str, Any], given: dict[str, Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield place, name and scope of each week, in order, and keep a progress bar in the Prefect UI."""
    count, started = len(plan["weeks"]), pd.Timestamp.now("UTC")
    progress = create_progress_artifact(progress=0.0, key="backtest-progress", description="Weeks replayed")
    for place, close in enumerate(plan["weeks"]):
        yield place, _name(close), scope_of(close, given)
        taken = (pd.Timestamp.now("UTC") - started).total_seconds()
        left = taken / (place + 1) * (count - place - 1) / 60.0
        update_progress_artifact(
            progress, progress=100.0 * (place + 1) / count, description=f"Weeks replayed; about {left:.0f} min left"
        )


def ends(plan: dict[str, Any], given: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and scope of the first and the last week; one of them if they are the same."""
    return [(_name(close), scope_of(close, given)) for close in dict.fromkeys((plan["weeks"][0], plan["weeks"][-1]))]


def has_following(plan: dict[str, Any]) -> bool:
    """True if there are bars after the last decision."""
    return bool(plan["end"] != plan["weeks"][-1])


def scope_of(close: str, given: dict[str, Any]) -> dict[str, Any]:
    """Scope of a moment and the state of the quarantine: both decide what a replay sees."""
    scope = scope_at(pd.Timestamp(close), given)
    line = {name: given[name] for name in ("dataset", "timeframe")}
    return scope | {"releases": quarantine.releases_fingerprint(engine(), **line)}


def _name(close: str) -> str:
    """Name of a week: the day of its decision."""
    return close[:10]


def procedure_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide a replayed week; the range and the thread count do not."""
    names = ("label", "cost_bps_per_side", "rule_arm", "record_sessions", "burn_in_sessions", "training_days", "seed")
    return {name: given[name] for name in (*names, "rows", "catalyst_predictor")}


def standing(replayed: Sequence[dict[str, Any]], every: int) -> dict[str, Any] | None:
    """What the next week finds: the arm in charge, the floors, and this procedure's fits by age in weeks."""
    fitted = [place for place, week in enumerate(replayed) if week["fit"] is not None]
    if not fitted:
        return None
    newest = replayed[fitted[-1]]["fit"]
    places = {age: fitted[-1] - age // every for age in AGES_WEEKS if age % every == 0}
    return {
        "as_of": replayed[-1]["as_of"],
        "production": replayed[-1]["production"],
        "floors": newest["floors"],
        "inputs": newest["inputs"],
        "fits": {str(age): replayed[place]["fit"]["onnx"] for age, place in places.items() if place in fitted},
    }


class Ahead:
    """Trains weeks before their turn, some at a time, for what `replay_week` will ask for.

    Only a head start: whatever fails or is not ready here is done, or waited for, when the week's turn comes.
    """

    def __init__(self, plan: dict[str, Any], given: dict[str, Any], *, at_most: int = AT_MOST) -> None:
        self._plan, self._given, self._at_most = plan, given, at_most
        self._pool = ThreadPoolExecutor(at_most, thread_name_prefix="train-week")
        self._started: set[int] = set()
        self._found_work = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def replay(
        self, place: int, week: str, scope: dict[str, Any], production: dict[str, Any], before: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Replay the week at ``place`` of the plan while the next ones are being trained.

        The first week that is not in the cache goes alone: it fits the folds that the others will find.
        """
        if self._found_work:
            self._begin_after(place)
        procedure, threads = procedure_of(self._given), self._given["threads"]
        of_all = f"{place + 1} of {len(self._plan['weeks'])}"
        state = replay_week(week, scope, procedure, production, before, threads, of_all, return_state=True)
        result: dict[str, Any] = state.result()
        self._found_work |= state.name != "Cached"
        return result

    def _begin_after(self, place: int) -> None:
        for later in range(place + 1, min(place + self._at_most, len(self._plan["weeks"]))):
            if later not in self._started:
                self._started.add(later)
                self._pool.submit(copy_context().run, self._train, later)

    def _train(self, place: int) -> None:
        scope, since = scope_of(self._plan["weeks"][place], self._given), self._plan["weeks"][place - 1]
        reuse(replay.train_week, scope, since, procedure_of(self._given), self._given["threads"])


@task(
    name="replay-week",
    task_run_name="week {week} ({place})",
    **RETRY_TEMPORARY,
    **cached(*ROOMS, packages=replay.PACKAGES, ignore=("threads", "place")),
)
def replay_week(
    week: str,
    scope: dict[str, Any],
    procedure: dict[str, Any],
    production: dict[str, Any],
    before: dict[str, Any] | None,
    threads: int | None,
    place: str,
) -> dict[str, Any]:
    """Stand at a week's close: forecast the week that ended, train, let the gate decide, move the replay's channel.

    ``production`` is what the replay had in charge; the real channel is neither read nor moved. A week that the weekly
    run would have refused changes nothing and says why; the first one (``before`` is None) ends the back-test.
    """
    since = before["as_of"] if before else None
    done, _ = reuse(replay.train_week, scope, since, procedure, threads)
    if done["refused"] and before is None:
        raise InsufficientHistory(f"back-test: its first week, {week}, was refused. {done['refused']}")
    live = replay.forecast(done["recent"], before) if before and done["recent"] else None
    folder = replay.folder_of(scope, procedure)
    if done["refused"]:
        decided = {"decision": None, "refused": done["refused"], "production": production, "fit": None, "attempt": None}
    else:
        with frames_apart(folder):
            decided = replay.decide(week, scope["as_of"], done["trained"], production)
    snapshots().discard(folder)
    return {"week": week, "as_of": scope["as_of"], "live": live, **decided}


@task(
    name="forecast-following",
    task_run_name="week {week}",
    **RETRY_TEMPORARY,
    **cached(*ROOMS, packages=replay.PACKAGES),
)
def forecast_following(
    week: str, scope: dict[str, Any], procedure: dict[str, Any], before: dict[str, Any]
) -> dict[str, Any]:
    """Forecast the events after the last decision of the range; nothing is trained."""
    with replay.scratch(scope, procedure, "following"):
        known = replay.prepare(scope, procedure)
        recent = replay.events_since(known, pd.Timestamp(before["as_of"]), procedure)
    return replay.forecast(store_frame("recent", recent), before)


@task(name="settle-backtest", **RETRY_TEMPORARY, **cached(*ROOMS, packages=replay.PACKAGES))
def settle(
    scope: dict[str, Any], procedure: dict[str, Any], live: Sequence[dict[str, Any]], pending: Sequence[str]
) -> dict[str, Any]:
    """Join all forecasts with their outcomes as known at the end."""
    from catalyst_ml.evaluation.live_record import settle

    with replay.scratch(scope, procedure, "settle"):
        labels = load_frame(replay.prepare(scope, procedure)["labelled"]["labels"])
    record = settle([load_frame(week) for week in live], labels, pending=pending)
    return {
        "rows": store_frame("live_record", record.rows),
        "n_without_outcome": record.n_without_outcome,
        "pending": list(record.pending),
    }


@task(
    name="check-leaks-of-week",
    task_run_name="leak check {week}",
    **RETRY_TEMPORARY,
    **cached(*leak_check.ROOMS, *ROOMS),
)
def check_leaks_of(week: str, scope: dict[str, Any], procedure: dict[str, Any]) -> dict[str, Any]:
    """Run the weekly run's leak check on one week. A leak is a result here; the next step refuses it."""
    with replay.scratch(scope, procedure, "leaks"):
        known = replay.prepare(scope, procedure)
        dataset.refuse_invalid.fn(dataset.validate_rows.fn(known["rows"]))
        folds = replay.plan_folds(known, scope, procedure)["folds"]
        market, rows = known["market"], known["rows"]
        return leak_check.check_leaks.fn(market, rows, folds, scope["as_of"], procedure["rule_arm"])

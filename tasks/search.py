"""The search for members' settings, and the ledger that remembers everything that was tried."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact

from catalyst_ml.evaluation.splits import search_end
from catalyst_ml.evaluation.trading import summarise_trades, trades_at_coverage
from catalyst_ml.models import search, search_space
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.store.attempts import AttemptLine, NewAttempt
from tasks.caching import cached
from tasks.connections import engine, load_frame
from tasks.retrying import RETRY_TEMPORARY
from tasks.training import ROOMS, TRAINERS, fold_of

LOG_LOSS = "log_loss"
GAIN_OVER_BASE_RATE = "log_loss_gain_over_base_rate"
COVERAGE = 0.2


@task(name="read-standing-settings", timeout_seconds=120, **RETRY_TEMPORARY)
def read_standing(scope: dict[str, Any], plan: dict[str, Any], *, searches: bool) -> dict[str, Any]:
    """Return the plan with what searches have adopted.

    A run that ``searches`` starts from what searches of earlier quarters had adopted, and must beat it; so it finds its
    own result in the cache when it is repeated. Another run goes on with the newest.
    """
    ended = _ends(plan)
    procedure = Procedure.from_dict(plan["procedure"])
    before = ended if searches else ended + pd.Timedelta(1, "us")
    for member, settings in _line(scope, plan).adopted_before(before.to_pydatetime()).items():
        if member in procedure.members:
            kept = search_space.settings_from(member, settings)
            procedure = search_space.with_settings(procedure, member, kept)
    return _with_procedure(plan, procedure)


@task(
    name="search-settings",
    timeout_seconds=4 * 3600,
    # The folds' own content stands for the rows; those before the search's end are the same for a quarter.
    **cached(*ROOMS, packages=(*TRAINERS, "optuna"), ignore=("training", "threads")),
)
def search_settings(
    content: str, procedure: dict[str, Any], ended: str, training: dict[str, Any], n_configurations: int, threads: int
) -> dict[str, Any]:
    """Try configurations of every member on rows that were over before the record, adopt what is clearly better."""
    outcome = search.search_settings(
        load_frame(training),
        Procedure.from_dict(procedure),
        before=pd.Timestamp(ended),
        budget=search.SearchBudget(n_configurations),
        n_threads=threads,
    )
    return outcome.to_dict() | {"content": content}


def what_is_searched(
    plan: dict[str, Any], rows: dict[str, Any], n_configurations: int, threads: int | None
) -> dict[str, Any]:
    """Return the arguments of `search_settings`: what decides its result, and where its rows are."""
    ended, training = _ends(plan), load_frame(rows["training"])
    known = training[(training["label_end"] < ended).to_numpy()]
    return {
        "content": f"{pd.util.hash_pandas_object(known, index=False).sum():016x}",
        "procedure": plan["procedure"],
        "ended": ended.isoformat(),
        "training": rows["training"],
        "n_configurations": n_configurations,
        "threads": threads or os.cpu_count() or 1,
    }


@task(name="adopt-settings", timeout_seconds=120, **RETRY_TEMPORARY)
def adopt(scope: dict[str, Any], plan: dict[str, Any], found: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Write every attempt into the ledger, show the choices, and return the plan with the adopted settings."""
    adopted = {choice["member"]: choice["settings"] for choice in found["choices"] if choice["is_adopted"]}
    attempts = [
        NewAttempt(
            kind="search",
            subject=attempt["member"],
            configuration=attempt["settings"],
            # Of the rows that were searched, not of all data: next week's run finds the same search and adds nothing.
            data_fingerprint=found["content"],
            first_tested=pd.Timestamp(found["first_tested"]).to_pydatetime(),
            ended=pd.Timestamp(found["ended"]).to_pydatetime(),
            metric=LOG_LOSS,
            value=attempt["log_loss"],
            n_rows=attempt["n_rows"],
            n_sessions=attempt["n_sessions"],
            is_adopted=adopted.get(attempt["member"]) == attempt["settings"],
        )
        for attempt in found["attempts"]
    ]
    _line(scope, plan).write(attempts, run_id=run_id)
    table = [{name: choice[name] for name in ("member", "is_adopted", "reason")} for choice in found["choices"]]
    tried = f"{len(attempts)} configurations tried on events from {found['first_tested'][:10]} to {found['ended'][:10]}"
    create_table_artifact(table, key="search", description=tried)
    return _with_procedure(plan, search.searched_procedure(found)) | {"search": found["choices"]}


@task(name="remember-record", timeout_seconds=300, **RETRY_TEMPORARY)
def remember_record(scope: dict[str, Any], plan: dict[str, Any], judged: dict[str, Any], run_id: str) -> None:
    """Write the judged record into the ledger: the procedure, its gain over the base rate, its Sharpe ratio."""
    record = load_frame(judged["record"])
    if record.empty:
        return
    trades = summarise_trades(trades_at_coverage(record, "p_challenger", coverage=COVERAGE))
    scores = judged["scores"]
    attempt = NewAttempt(
        kind="record",
        subject=plan["procedure_id"],
        configuration=plan["procedure"],
        data_fingerprint=scope["fingerprint"],
        first_tested=record["ts"].min().to_pydatetime(),
        ended=record["label_end"].max().to_pydatetime(),
        metric=GAIN_OVER_BASE_RATE,
        value=scores["base_rate"]["log_loss"] - scores["challenger"]["log_loss"],
        sharpe=trades.daily_sharpe,
        n_rows=len(record),
        n_sessions=int(record["session"].nunique()),
        is_adopted=judged["decision"]["verdict"] == "promote",
    )
    _line(scope, plan).write([attempt], run_id=run_id)


def _ends(plan: dict[str, Any]) -> pd.Timestamp:
    return search_end(tuple(fold_of(fold) for fold in plan["folds"]))


def _line(scope: dict[str, Any], plan: dict[str, Any]) -> AttemptLine:
    return AttemptLine(engine(), scope["dataset"], scope["timeframe"], plan["label_version"])


def _with_procedure(plan: dict[str, Any], procedure: Procedure) -> dict[str, Any]:
    return plan | {"procedure": procedure.to_dict(), "procedure_id": procedure.procedure_id}

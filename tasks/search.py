"""The search for members' settings; every configuration it tries goes into the ledger of attempts."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact

from catalyst_ml.evaluation.splits import search_end
from catalyst_ml.models import search, search_space
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.store.attempts import NewAttempt
from tasks.caching import cached
from tasks.connections import load_frame
from tasks.retrying import RETRY_TEMPORARY
from tasks.training import ROOMS, TRAINERS, fold_of
from tasks.trials import line_of_attempts

LOG_LOSS = "log_loss"


@task(name="read-standing-settings", timeout_seconds=120, **RETRY_TEMPORARY)
def read_standing(scope: dict[str, Any], plan: dict[str, Any], *, searches: bool) -> dict[str, Any]:
    """Return the plan with what searches have adopted.

    A run that ``searches`` starts from what searches of earlier quarters had adopted, and must beat it; so it finds its
    own result in the cache when it is repeated. Another run goes on with the newest.
    """
    ended = _ends(plan)
    procedure = Procedure.from_dict(plan["procedure"])
    before = ended if searches else ended + pd.Timedelta(1, "us")
    for member, settings in line_of_attempts(scope, plan).adopted_before(before.to_pydatetime()).items():
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
    line_of_attempts(scope, plan).write(attempts, run_id=run_id)
    table = [{name: choice[name] for name in ("member", "is_adopted", "reason")} for choice in found["choices"]]
    tried = f"{len(attempts)} configurations tried on events from {found['first_tested'][:10]} to {found['ended'][:10]}"
    create_table_artifact(table, key="search", description=tried)
    return _with_procedure(plan, search.searched_procedure(found)) | {"search": found["choices"]}


def _ends(plan: dict[str, Any]) -> pd.Timestamp:
    return search_end(tuple(fold_of(fold) for fold in plan["folds"]))


def _with_procedure(plan: dict[str, Any], procedure: Procedure) -> dict[str, Any]:
    return plan | {"procedure": procedure.to_dict(), "procedure_id": procedure.procedure_id}

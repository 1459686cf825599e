"""The search in the weekly run: what it starts from, what it keeps, what a repeated or later run finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import flow

from catalyst_ml.evaluation.splits import search_end, walk_forward_folds
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.models.procedure import LogisticSettings, Procedure, default_procedure
from catalyst_ml.store.attempts import AttemptLine
from tasks import connections, search

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server", "home")]

SCOPE = {"dataset": "t", "timeframe": "1d", "fingerprint": "abc"}
STANDING = default_procedure(("a",), feature_set_version="1", label_version="l")


@pytest.fixture
def home(database_url: str, tmp_path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CATALYST_HOME", str(tmp_path))
        environment.setenv("DATABASE_URL", database_url)
        connections.forget()
        yield
        connections.engine().dispose()
        connections.forget()


def plan_at(as_of: str) -> dict[str, Any]:
    folds = walk_forward_folds(as_of=pd.Timestamp(as_of, tz="UTC"), calendar=TradingCalendar())
    return {
        "procedure": STANDING.to_dict(),
        "procedure_id": STANDING.procedure_id,
        "label_version": "l",
        "folds": [{**fold.to_dict(), "content": "x"} for fold in folds],
    }


def found_by(plan: dict[str, Any], l2: float, *, adopted: bool) -> dict[str, Any]:
    """What a search returns that tried the standing penalty and ``l2``."""
    ended = search._ends(plan)
    settings = LogisticSettings(l2=l2)
    chosen = replace(STANDING, logistic=settings) if adopted else STANDING
    tried = [asdict(Procedure.from_dict(plan["procedure"]).logistic), asdict(settings)]
    rows = {"log_loss": 0.69, "gain": 0.0, "n_rows": 10, "n_sessions": 5}
    return {
        "procedure": chosen.to_dict(),
        "attempts": [{"member": "logistic", "number": k, "settings": one, **rows} for k, one in enumerate(tried)],
        "choices": [
            {
                "member": "logistic",
                "settings": tried[int(adopted)],
                "is_adopted": adopted,
                "p_value": 0.01,
                "reason": "r",
            }
        ],
        "first_tested": (ended - pd.Timedelta(days=200)).isoformat(),
        "ended": ended.isoformat(),
        "content": "rows before the search ended",
    }


@flow(name="adopts")
def adopt(plan: dict[str, Any], found: dict[str, Any], run_id: str, data: str = "abc") -> dict[str, Any]:
    """The task inside a flow: it draws a table into the UI. ``data`` is the fingerprint of all bars, new ones too."""
    return search.adopt(SCOPE | {"fingerprint": data}, plan, found, run_id)


def l2_of(plan: dict[str, Any]) -> float:
    assert plan["procedure_id"] == Procedure.from_dict(plan["procedure"]).procedure_id
    return Procedure.from_dict(plan["procedure"]).logistic.l2


def test_what_a_quarter_adopts_stands_for_later_runs_and_is_what_the_next_search_must_beat() -> None:
    plan = plan_at("2025-03-07T21:00")
    assert search.read_standing.fn(SCOPE, plan, searches=False) == plan

    adopted = adopt(plan, found_by(plan, 500.0, adopted=True), "run 1")
    assert l2_of(adopted) == 500.0

    # The same quarter: a run without a search goes on with it, one that searches starts where the first one did.
    assert l2_of(search.read_standing.fn(SCOPE, plan, searches=False)) == 500.0
    assert l2_of(search.read_standing.fn(SCOPE, plan, searches=True)) == STANDING.logistic.l2
    later = plan_at("2025-06-20T20:00")
    assert search._ends(later) > search._ends(plan)
    assert l2_of(search.read_standing.fn(SCOPE, later, searches=True)) == 500.0
    # A backdated run may not know it.
    assert l2_of(search.read_standing.fn(SCOPE, plan_at("2024-11-08T21:00"), searches=False)) == STANDING.logistic.l2


def test_every_attempt_is_kept_once_whoever_repeats_it() -> None:
    plan = plan_at("2025-03-07T21:00")
    for run_id, data in (("run 1", "abc"), ("run 1 retried", "abc"), ("next week's run", "with new bars")):
        adopt(plan, found_by(plan, 700.0, adopted=False), run_id, data)

    kept = AttemptLine(connections.engine(), "t", "1d", "l").read()
    assert [(attempt.configuration["l2"], attempt.is_adopted, attempt.run_id) for attempt in kept] == [
        (700.0, False, "run 1"),
        (STANDING.logistic.l2, False, "run 1"),
    ]
    assert l2_of(search.read_standing.fn(SCOPE, plan, searches=False)) == STANDING.logistic.l2


def test_the_search_ends_before_the_first_fold_and_moves_once_a_quarter() -> None:
    ends = []
    for as_of in pd.date_range("2024-06-07T20:00", periods=52, freq="7D", tz="UTC"):
        folds = walk_forward_folds(as_of=as_of, calendar=TradingCalendar())
        ends.append(search_end(folds))
        assert ends[-1] <= folds[0].test_start
    assert len(set(ends)) <= 5
    assert ends == sorted(ends)

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from catalyst_ml.errors import UnknownVersion
from catalyst_ml.store.runs import fail_run, finish_run, list_runs, start_run

pytestmark = pytest.mark.server
AS_OF = datetime(2015, 3, 6, 21, tzinfo=UTC)
JOB = {"flow": "weekly-training", "dataset": "t", "timeframe": "1d", "as_of": AS_OF, "parameters": {"seed": 1}}


def test_a_finished_run_keeps_parameters_summary_and_report(database: Engine) -> None:
    run_id = start_run(database, **JOB)
    finish_run(database, run_id, summary={"verdict": "stay on rules"}, report_path="reports/a.html")

    (run,) = list_runs(database, dataset="t")
    assert (run.status, run.parameters, run.as_of) == ("finished", {"seed": 1}, AS_OF)
    assert (run.summary, run.report_path) == ({"verdict": "stay on rules"}, "reports/a.html")
    assert list_runs(database, dataset="other") == []


def test_a_failed_run_that_is_resumed_is_one_row_and_running_again(database: Engine) -> None:
    run_id = start_run(database, run_id="week-10", **JOB)
    fail_run(database, run_id, reason="database lost")
    start_run(database, run_id="week-10", **JOB)

    (run,) = list_runs(database)
    assert (run.run_id, run.status, run.summary, run.finished_at) == ("week-10", "running", None, None)


def test_closing_a_run_that_was_never_started_is_refused(database: Engine) -> None:
    with pytest.raises(UnknownVersion, match="never started"):
        finish_run(database, "nothing", summary={})

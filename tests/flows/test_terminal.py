"""What the terminal shows of Prefect's log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from catalyst_ml.errors import DataContractError
from flows.terminal import RunLines, is_news


def record(message: str, *, name: str = "prefect.task_runs", level: int = logging.INFO, **extra: Any) -> Any:
    made = logging.LogRecord(name, level, __file__, 1, message, (), extra.pop("exc_info", None))
    made.__dict__.update({"task_name": "judge", "task_run_name": "judge-5d2", **extra})
    return made


def line(made: logging.LogRecord) -> str:
    return RunLines().format(made).split(" s  ", 1)[1]


def test_a_finished_task_is_one_line_with_its_name_and_whether_it_came_from_the_cache() -> None:
    fold = {"task_name": "fit-fold", "task_run_name": "fit record-2025-W47"}

    assert line(record("Finished in state Completed()")) == "judge"
    assert line(record("Finished in state Cached(type=COMPLETED)", **fold)) == "fit record-2025-W47 (from cache)"
    assert line(record("half way")) == "judge: half way"


def test_a_failed_task_is_named_and_only_a_foreign_error_shows_its_traceback() -> None:
    ours, foreign = (_raised(error) for error in (DataContractError("bad bars"), KeyError("close")))

    assert line(record("Finished in state Failed('bad bars')", level=logging.ERROR)) == "judge failed"
    assert not is_news(record("Task run failed", level=logging.ERROR, exc_info=ours))
    unexpected = record("Task run failed", level=logging.ERROR, exc_info=foreign)
    assert is_news(unexpected)
    assert "KeyError: 'close'" in line(unexpected)
    # The server's handler formats the same record after this one.
    assert (unexpected.exc_info, unexpected.exc_text) == (foreign, None)


@pytest.mark.parametrize(
    ("shown", "made"),
    [
        (True, record("Finished in state Completed()")),
        (False, record("Encountered exception", name="prefect.flow_runs", level=logging.ERROR)),
        (True, record("analyse failed", name="prefect.flow_runs", level=logging.WARNING)),
        (False, record("Starting temporary server", name="prefect")),
        (True, record("the server is gone", name="prefect.client", level=logging.WARNING)),
        (True, record("3 symbols are too short", name="catalyst_ml.features", level=logging.WARNING)),
    ],
)
def test_the_failure_is_told_once_and_prefects_own_news_not_at_all(shown: bool, made: logging.LogRecord) -> None:
    assert is_news(made) is shown


def _raised(error: Exception) -> Any:
    try:
        raise error
    except Exception as caught:
        return type(caught), caught, caught.__traceback__

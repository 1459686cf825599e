"""Steps: repeating from a chosen one, and what is kept of each."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flows.steps import ORDER, Steps


class FakeState:
    def __init__(self, name: str, result: Any) -> None:
        self.name = name
        self._result = result

    def result(self, raise_on_failure: bool = True) -> Any:
        if raise_on_failure and isinstance(self._result, BaseException):
            raise self._result
        return self._result


class FakeTask:
    """Answers like a Prefect task: from its cache, unless it is told to refresh it."""

    def __init__(self, result: Any, *, refresh_cache: bool = False) -> None:
        self._result = result
        self._refresh_cache = refresh_cache

    def with_options(self, *, refresh_cache: bool) -> FakeTask:
        return FakeTask(self._result, refresh_cache=refresh_cache)

    def __call__(self, *args: Any, return_state: bool) -> FakeState:
        return FakeState("Completed" if self._refresh_cache else "Cached", self._result)


def test_steps_from_the_chosen_one_on_are_repeated() -> None:
    step: Any = Steps(refresh_from="judge")

    for name in ORDER:
        step(name, FakeTask(1))()

    repeated = [row["step"] for row in step.as_rows() if not row["cached"]]
    assert repeated == ["judge", "explain", "analyse", "report"]
    assert not any(Steps().is_refreshed(name) for name in ORDER)


def test_a_step_counts_as_cached_only_if_all_its_tasks_were() -> None:
    step: Any = Steps()

    step("train", FakeTask(1))()
    step("train", FakeTask(1, refresh_cache=True))()

    (row,) = step.as_rows()
    assert (row["cached"], row["note"]) == (False, "1 of 2 tasks from cache")
    assert row["seconds"] >= 0


def test_a_failed_step_ends_the_run_and_still_counts() -> None:
    step: Any = Steps()

    with pytest.raises(ValueError, match="broken"):
        step("judge", FakeTask(ValueError("broken")))()

    assert step.timings["judge"]["tasks"] == 1


def test_an_optional_step_that_fails_becomes_another_value_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flows.steps.get_run_logger", lambda: logging.getLogger("of_the_run"))
    step: Any = Steps()

    assert step.optional("analyse", FakeTask("a letter"), otherwise=str)() == "a letter"
    assert step.optional("analyse", FakeTask(OSError("no network")), otherwise=str)() == "no network"
    assert caplog.messages == ["analyse failed, the run goes on without it: no network"]

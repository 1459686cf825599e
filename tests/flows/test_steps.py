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


class FakeFuture:
    """Ends when it is waited for, and tells the pool."""

    def __init__(self, pool: FakePool, state: FakeState) -> None:
        self._pool = pool
        self.state = state

    def wait(self) -> None:
        self._pool.running -= 1


class FakePool:
    """A task whose argument is its result; keeps how many of its runs there were at once."""

    def __init__(self) -> None:
        self.running = self.most = 0

    def submit(self, result: Any) -> FakeFuture:
        self.running += 1
        self.most = max(self.most, self.running)
        return FakeFuture(self, FakeState("Completed", result))


def test_tasks_side_by_side_keep_their_order_and_never_exceed_their_number() -> None:
    step: Any = Steps()
    pool = FakePool()

    assert step.side_by_side("train", pool, ((n,) for n in range(7)), at_most=3) == list(range(7))

    assert (pool.most, pool.running) == (3, 0)
    assert step.timings["train"]["tasks"] == 7


def test_a_failure_beside_others_fails_the_run() -> None:
    step: Any = Steps()

    with pytest.raises(ValueError, match="broken"):
        step.side_by_side("train", FakePool(), [(1,), (ValueError("broken"),), (2,)], at_most=2)


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


def test_remarks_stand_beside_what_came_from_the_cache() -> None:
    step: Any = Steps()

    step("train", FakeTask(1))()
    step.remark("train", "net on cuda 1, cpu 60")
    step.remark("train", "")
    step.remark("judge", "alone")

    assert [row["note"] for row in step.as_rows()] == ["1 of 1 tasks from cache; net on cuda 1, cpu 60", "alone"]


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

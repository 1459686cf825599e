"""The steps of a run: repeats them from a chosen one, and keeps how long each took and whether it was cached."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, get_args

from prefect import Task, get_run_logger
from prefect.cache_policies import NO_CACHE

from flows.parameters import Step

ORDER: tuple[str, ...] = get_args(Step)


@dataclass
class Steps:
    """Runs tasks under the name of their step; ``timings`` fills up as the run goes on.

    With ``is_apart`` nothing comes from the cache and nothing goes into it, so that other runs go on as they were.
    """

    refresh_from: str | None = None
    is_apart: bool = False
    timings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(self, step: Step, task: Task[..., Any]) -> Callable[..., Any]:
        """Return ``task`` as part of ``step``: same arguments, same result; its failure fails the run."""
        return lambda *args, **kwargs: self._run(step, task, args, kwargs).result()

    def remark(self, step: Step, text: str) -> None:
        """Add a remark to the step's line in the report's timings; an empty one says nothing."""
        self._taken(step)["remarks"] += [text] if text else []

    def optional(
        self, step: Step, task: Task[..., Any], otherwise: Callable[[BaseException], Any]
    ) -> Callable[..., Any]:
        """Like a call, but a failure becomes the value of ``otherwise``; the failed task stays visible in the UI."""

        def run(*args: Any, **kwargs: Any) -> Any:
            result = self._run(step, task, args, kwargs).result(raise_on_failure=False)
            if not isinstance(result, BaseException):
                return result
            get_run_logger().warning("%s failed, the run goes on without it: %s", step, result)
            return otherwise(result)

        return run

    def side_by_side(
        self, step: Step, task: Task[..., Any], calls: Iterable[tuple[Any, ...]], *, at_most: int
    ) -> list[Any]:
        """Run ``task`` once for each tuple of arguments, ``at_most`` at a time, and return the results in their order.

        The first failure fails the run; what was started beside it is finished, and so in the cache.
        """
        started = time.perf_counter()
        chosen = self._chosen(step, task)
        running: deque[Any] = deque()
        results = []
        for arguments in calls:
            if len(running) == at_most:
                results.append(self._finish(step, running.popleft()))
            running.append(chosen.submit(*arguments))
        results += [self._finish(step, future) for future in running]
        self._taken(step)["seconds"] += time.perf_counter() - started
        return results

    def is_refreshed(self, step: str) -> bool:
        """True if ``step`` is at or after the one that the run is to be repeated from."""
        return self.refresh_from is not None and ORDER.index(step) >= ORDER.index(self.refresh_from)

    def as_rows(self) -> list[dict[str, Any]]:
        """One row per step in order: step, seconds, cached, note."""
        return [
            {
                "step": step,
                "seconds": round(taken["seconds"], 2),
                "cached": taken["cached"] == taken["tasks"],
                "note": "; ".join([*_from_cache(taken), *taken["remarks"]]),
            }
            for step, taken in self.timings.items()
        ]

    def _run(self, step: str, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started = time.perf_counter()
        state = self._chosen(step, task)(*args, **kwargs, return_state=True)
        self._taken(step)["seconds"] += time.perf_counter() - started
        self._count(step, state)
        return state

    def _finish(self, step: str, future: Any) -> Any:
        future.wait()
        self._count(step, future.state)
        return future.state.result()

    def _chosen(self, step: str, task: Task[..., Any]) -> Task[..., Any]:
        if self.is_apart:
            return task.with_options(cache_policy=NO_CACHE)
        # Only ever set to True: a task keeps its own default otherwise.
        return task.with_options(refresh_cache=True) if self.is_refreshed(step) else task

    def _count(self, step: str, state: Any) -> None:
        self._taken(step)["tasks"] += 1
        self._taken(step)["cached"] += state.name == "Cached"

    def _taken(self, step: str) -> dict[str, Any]:
        return self.timings.setdefault(step, {"seconds": 0.0, "tasks": 0, "cached": 0, "remarks": []})


def _from_cache(taken: dict[str, Any]) -> list[str]:
    return [f"{taken['cached']} of {taken['tasks']} tasks from cache"] if taken["cached"] else []

"""What a run prints in this terminal: one line per finished task, one message per failure.

Prefect's server keeps the complete log, tracebacks included; its handlers are on the run loggers themselves
and nothing here touches a record.
"""

from __future__ import annotations

import logging
import re
import time

from catalyst_ml.errors import CatalystError

_FINISHED = re.compile(r"Finished in state (\w+)\(")
_RUN_LOGGERS = ("prefect.task_runs", "prefect.flow_runs")


def show_progress() -> None:
    """Let the handlers of the root logger, which belong to the command line, print runs line by line."""
    lines = RunLines()
    for handler in logging.getLogger().handlers:
        handler.setFormatter(lines)
        handler.addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """True if the terminal should show ``record``.

    Left out: an error of ours where it is raised (the command ends with its message), the flow's echo of its
    failed task, and what Prefect tells about itself below a warning.
    """
    if record.name == "prefect.task_runs":
        return not (record.exc_info and isinstance(record.exc_info[1], CatalystError))
    if record.name == "prefect.flow_runs":
        return record.levelno == logging.WARNING
    return record.levelno >= logging.WARNING or not record.name.startswith("prefect")


class RunLines(logging.Formatter):
    """Formats a record of a task as ``seconds since the start, task, how it ended``."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._started = time.time()

    def format(self, record: logging.LogRecord) -> str:
        if record.name not in _RUN_LOGGERS:
            return super().format(record)
        line = f"{record.created - self._started:7.1f} s  {_name(record)}{_ending(record)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _name(record: logging.LogRecord) -> str:
    """Name that the task gave its run (``fit 2025-11-03``); without one Prefect adds a random suffix, dropped here."""
    task, run = getattr(record, "task_name", ""), getattr(record, "task_run_name", "")
    return task if run.startswith(f"{task}-") else run or getattr(record, "flow_run_name", "")


def _ending(record: logging.LogRecord) -> str:
    message = record.getMessage()
    finished = _FINISHED.match(message)
    if finished is None:
        return f": {message}"
    return {"Completed": "", "Cached": " (from cache)"}.get(finished[1], f" {finished[1].lower()}")

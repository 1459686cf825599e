"""Inside the process for bars: one question after another from its pipe, until the pipe closes or the server dies."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from catalyst_ml.errors import CatalystError, RequestRefused
from catalyst_ml.serving.bars_messages import Question, Versions
from catalyst_ml.serving.refusals import MalformedBody

if TYPE_CHECKING:
    from catalyst_ml.serving.bars_process import Reader

log = logging.getLogger(__name__)

NICENESS = 5
"""Quick requests go first where both want the processor."""


@dataclass(frozen=True)
class Ready:
    """First word of the process: it can be asked."""

    versions: Versions


@dataclass(frozen=True)
class Refused:
    """A ``RequestRefused`` of the request, which does not travel as an exception."""

    field: str
    expected: str
    got: str
    is_malformed: bool


@dataclass(frozen=True)
class Failed:
    """A surprise; the log has its trace."""

    told: str


def work(pipe: Connection, make_reader: Callable[[], Reader]) -> None:
    """Answer until the pipe closes.

    Ctrl-C is the server's business. If the server dies, even by kill -9, this process ends at once, whatever it does:
    it watches its parent beside its pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
        os.nice(NICENESS)
    try:
        reader = make_reader()
        reader.warm()
    except CatalystError as error:
        _say(pipe, Failed(str(error)))
        return
    _say(pipe, Ready(reader.versions))
    while (question := _next(pipe)) is not None:
        if not _say(pipe, _answered(reader, question)):
            return


def _answered(reader: Reader, question: Question) -> Any:
    try:
        return reader.read(question)
    except RequestRefused as error:
        return Refused(error.field, error.expected, error.got, isinstance(error, MalformedBody))
    except MemoryError:
        raise  # a fresh process has what this one lacks
    except Exception as error:  # the outermost place of this process: the server answers with 500
        log.exception("a request's bars could not be read")
        return Failed(f"{type(error).__name__}")


def _next(pipe: Connection) -> Question | None:
    try:
        question: Question = pipe.recv()
        return replace(question, raw=pipe.recv_bytes())
    except (EOFError, OSError):
        return None


def _say(pipe: Connection, what: Any) -> bool:
    """Send; False if nobody listens any more."""
    try:
        pipe.send(what)
    except OSError:
        return False
    return True


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(0)

"""The process that works on bars: started when bars come, ended when none came for a while, replaced when it dies.

Bars need pandas, Arrow and compiled kernels, some 200 MB, and hold the interpreter's lock for a quarter of a second a
universe. In a process of their own neither concerns the server: it stays small, and requests with inputs do not wait.
Why so, and what it costs: ``docs/decisions/0035-bars-in-a-process-of-their-own.md``.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection as pipes
from multiprocessing.connection import Connection
from typing import Any, Protocol

from catalyst_ml.errors import RequestRefused
from catalyst_ml.serving.bars_child import Failed, Ready, Refused, work
from catalyst_ml.serving.bars_messages import BarsLate, BarsUnavailable, Question, Reading, Versions
from catalyst_ml.serving.refusals import MalformedBody

log = logging.getLogger(__name__)

TRIES = 2
"""A request whose process dies is tried in a fresh one: the first may have died of something else."""
GRACE_S = 0.25
"""The guard refuses first; the process is killed a little later."""
START_PATIENCE_S = 300.0
"""A start may have to compile all kernels, where no cache can be written; callers do not wait for so long."""
WATCH_EVERY_S = 0.5
"""How late a process may be killed that works beyond its request's time."""
START_PAUSE_S = 5.0
"""A process that could not even start is not started again at once for the next request."""


class Reader(Protocol):
    """What the process does; see ``bars_reader.BarsReader``."""

    versions: Versions

    def warm(self) -> None: ...

    def read(self, question: Question) -> Reading: ...


class _Ended(Exception):
    """The process ended while it was asked."""


class _Child:
    """One process and our end of its pipe."""

    def __init__(self, make_reader: Callable[[], Reader]) -> None:
        # Spawned, not forked: the server has threads. The child holds its own end alone, so the death of either side
        # closes the pipe for the other.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.pipe: Connection = ours
        self.process = context.Process(target=work, args=(theirs, make_reader), name="bars", daemon=True)
        self.process.start()
        theirs.close()
        self.has_started = threading.Event()
        self.first_word: Any = None
        """What it said when it had started; None if it died before, or has not started yet."""
        self.used_at = time.monotonic()
        self.until: float | None = None
        """When what it works on must be done; None while it waits."""

    def hear(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            raise _Ended from error

    def ask(self, question: Question) -> Any:
        try:
            self.pipe.send(question.without_raw())
            self.pipe.send_bytes(question.raw)
        except OSError as error:
            raise _Ended from error
        return self.hear()

    def end(self, *, at_once: bool) -> str:
        """End it and say how it ended."""
        if at_once:
            self.process.kill()
        self.has_started.wait(timeout=5)  # until then another thread hears
        self.pipe.close()
        self.process.join(timeout=5)
        if self.process.exitcode is None:  # deaf to the closed pipe
            self.process.kill()
            self.process.join(timeout=5)
        return _how(self.process.exitcode)


class BarsProcess:
    """The desk for bars (``bars_messages.BarsDesk``) in a process of its own; one request at a time.

    Parameters
    ----------
    make_reader
        Called in the process; must be importable there.
    timeout_s
        A request that takes longer ends the process, or it would go on with what nobody waits for.
    idle_s
        Without a request for so long, the process ends and its memory is free; 0: never.
    bar_table
        What /health says of the bar table until it was asked.
    """

    def __init__(
        self,
        make_reader: Callable[[], Reader],
        *,
        timeout_s: float,
        idle_s: float,
        bar_table: str = "not asked yet",
    ) -> None:
        self._make_reader = make_reader
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._stopped = False
        self._is_preparing = False
        self._is_working = False
        self._is_lost = False
        self._has_died_starting = False
        self._not_before = 0.0
        self.versions: Versions | None = None
        self.bar_table = bar_table
        self.n_restarts = 0
        self.last_end: str | None = None
        self.problem: str | None = None
        """Why the last request's bars were not read; None once one was."""

    def read(self, question: Question, *, asked_at: float) -> Reading:
        """Ask the process, as soon as it is free; a second one if the first dies."""
        until = asked_at + self._timeout_s + GRACE_S
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise BarsLate("the process for bars was busy with other requests")
        try:
            return self._read(question, until)
        finally:
            self._is_working = False
            self._lock.release()

    def prepare(self) -> None:
        if self.versions is not None or self._is_preparing or self._stopped:
            return
        self._is_preparing = True
        threading.Thread(target=self._prepared, name="bars-prepare", daemon=True).start()

    def state(self) -> dict[str, Any]:
        child = self._child
        resident = None if child is None else _resident_bytes(child.process.pid)
        said = "not started" if self.last_end is None else "ended"
        if child is not None:
            said = "at work" if self._is_working else "ready" if child.has_started.is_set() else "starting"
        return {
            "state": said,
            "pid": child.process.pid if child is not None else None,
            "resident_bytes": resident,
            "restarts": self.n_restarts,
            "last_end": self.last_end,
        }

    def stop(self) -> None:
        self._stopped = True
        child = self._child
        if child is not None:
            child.process.kill()  # whoever waits for it sees the pipe close
        with self._lock:
            self._end("the server stops", is_wanted=True)

    def _read(self, question: Question, until: float) -> Reading:
        for _ in range(TRIES):
            try:
                said = self._said(question, until)
            except _Ended:
                if time.monotonic() < until:
                    self._end("")
                    continue
                self._end(f"killed: a request took longer than {self._timeout_s:g} s")
                raise BarsLate(f"the process for bars took longer than {self._timeout_s:g} s") from None
            return self._heard(said)
        self.problem = f"bars cannot be read: their process died {TRIES} times of this request (last: {self.last_end})"
        raise BarsUnavailable(self.problem)

    def _said(self, question: Question, until: float) -> Any:
        child = self._running(until)
        self._is_working, child.until = True, until
        try:
            return child.ask(question)
        except _Ended:
            raise
        except BaseException:
            self._end("killed: its answer could not be heard")  # or the next request would hear it
            raise
        finally:
            child.until, child.used_at = None, time.monotonic()

    def _heard(self, said: Any) -> Reading:
        self.problem = None
        if isinstance(said, Refused):
            raise (MalformedBody if said.is_malformed else RequestRefused)(said.field, said.expected, said.got)
        if isinstance(said, Failed):  # its log has the trace; answered with 500
            raise RuntimeError(f"the process for bars failed: {said.told}")
        reading: Reading = said
        self.bar_table = reading.bar_table or "ok"
        return reading

    def _running(self, until: float) -> _Child:
        """The process, ready to be asked; the lock is held."""
        if self._stopped:
            raise BarsUnavailable("bars cannot be read: the server stops")
        if self._child is not None and self._child.has_started.is_set() and not self._child.process.is_alive():
            self._end("")
        child = self._child or self._begun()
        if not child.has_started.wait(timeout=max(0.0, until - time.monotonic())):
            raise BarsLate("the process for bars is still starting")  # and goes on with it
        if isinstance(child.first_word, Ready):
            self._has_died_starting = False
            return child
        if child.first_word is None:
            self._not_before = time.monotonic() + START_PAUSE_S if self._has_died_starting else 0.0
            self._has_died_starting = True
            raise _Ended
        self._end(f"could not start: {child.first_word.told}")
        self.problem = f"bars cannot be read: their process could not start: {child.first_word.told}"
        self._not_before = time.monotonic() + START_PAUSE_S
        raise BarsUnavailable(self.problem)

    def _begun(self) -> _Child:
        """Begin to start the process, and watch it from then on."""
        if time.monotonic() < self._not_before:
            raise BarsUnavailable(self.problem or "bars cannot be read: their process died while it started")
        if self._is_lost:
            self.n_restarts, self._is_lost = self.n_restarts + 1, False
        try:
            child = self._child = _Child(self._make_reader)
        except OSError as error:  # no memory, no process numbers, no file handles
            self.problem = f"bars cannot be read: the system starts no process for them: {error.strerror}"
            self._not_before = time.monotonic() + START_PAUSE_S
            raise BarsUnavailable(self.problem) from error
        threading.Thread(target=self._watch, args=(child,), name="bars-watch", daemon=True).start()
        return child

    def _end(self, why: str, *, is_wanted: bool = False) -> None:
        """End the process if there is one and remember why; empty: it ended by itself. The lock is held."""
        child, self._child = self._child, None
        if child is None:
            return
        if not why:
            child.process.join(timeout=1)  # its pipe is closed: let it end its own way, so that the reason is its own
        how = child.end(at_once=not is_wanted)
        self.last_end = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {why or how}"
        self._is_lost = not is_wanted
        log.log(logging.INFO if is_wanted else logging.WARNING, "the process for bars ended: %s", why or how)

    def _watch(self, child: _Child) -> None:
        """Hear when the process has started; from then on see at once when it dies, and end it when it must."""
        timer = threading.Timer(START_PATIENCE_S, child.process.kill)
        timer.daemon = True
        timer.start()
        with suppress(_Ended):
            child.first_word = child.hear()
        timer.cancel()
        if isinstance(child.first_word, Ready):
            self.versions = child.first_word.versions
        child.used_at = time.monotonic()
        child.has_started.set()
        while self._child is child:
            pipes.wait([child.process.sentinel], timeout=min(WATCH_EVERY_S, self._idle_s or WATCH_EVERY_S))
            until = child.until
            if until is not None and time.monotonic() >= until:
                child.process.kill()  # whoever waits for its answer, or still sends the body, sees the pipe close
            if not self._lock.acquire(timeout=0.05):
                continue  # it is asked
            try:
                if self._child is not child:
                    return
                if not child.process.is_alive():
                    self._end("")
                elif self._idle_s and time.monotonic() >= child.used_at + self._idle_s:
                    self._end(f"idle for {self._idle_s:g} s", is_wanted=True)
            finally:
                self._lock.release()

    def _prepared(self) -> None:
        try:
            with self._lock:
                self._running(time.monotonic() + START_PATIENCE_S)
        except (BarsUnavailable, BarsLate, _Ended) as error:
            log.warning("what this release computes is not known: %s", str(error) or "the process for bars died")
        finally:
            self._is_preparing = False


def _resident_bytes(pid: int | None) -> int | None:
    """Memory of a process that is in RAM; None if the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None


def _how(exitcode: int | None) -> str:
    if exitcode is None:
        return "it does not end"
    if exitcode >= 0:
        return f"ended with code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = "unknown"
    told = " (the system kills so when memory runs out)" if -exitcode == signal.SIGKILL else ""
    return f"killed by signal {-exitcode}, {name}{told}"

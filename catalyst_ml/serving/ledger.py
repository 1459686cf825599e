"""The ledger of served answers: spooled on this machine at once, moved into PostgreSQL when it can be reached."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from catalyst_ml.errors import CatalystError
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.serving.judgement import Signal
from catalyst_ml.serving.spool import Spool

log = logging.getLogger(__name__)

DRAIN_EVERY_S = 2.0
PATIENCE_S = 60.0
"""Longest pause between two tries while PostgreSQL does not answer."""
CHUNK = 2_000

WriteAnswers = Callable[[Sequence[dict[str, Any]]], int]
"""``store.served_signals.write_served`` bound to an engine: idempotent by ``answer_id``."""


class Ledger:
    """Records answers and, if ``write`` is given, drains them in a thread of its own."""

    def __init__(
        self,
        spool: Spool,
        line: ModelLine,
        *,
        channel: str,
        write: WriteAnswers | None,
        drain_every_s: float = DRAIN_EVERY_S,
    ) -> None:
        self._spool = spool
        self._common = {**line._asdict(), "channel": channel}
        self._write = write
        self._every_s = drain_every_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.n_drained = 0
        self.problem: str | None = None if write else "DATABASE_URL is not set: answers wait on this machine"

    def record(self, signals: Sequence[Signal], *, now: datetime) -> bool:
        """Keep what is about to be sent; False if it could not be recorded."""
        stamp = {**self._common, "answered_at": now.isoformat()}
        return self._spool.append([{**stamp, **signal.to_dict()} for signal in signals])

    def start(self) -> None:
        """Drain in the background until ``stop``; without a database, only record."""
        if self._write is None:
            return
        self._thread = threading.Thread(target=self._drain_for_ever, name="ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Force what is spooled to the disk, try once to drain it, and end the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
        self._spool.close()

    def drain(self) -> int:
        """Move everything that waits into PostgreSQL; return how many answers were new there.

        Raises
        ------
        CatalystError
            If PostgreSQL does not take them; they stay where they are.
        """
        if self._write is None:
            return 0
        self._spool.finish_segment()
        n_new = 0
        for path in self._spool.waiting():
            for answers in self._spool.take(path):
                for first in range(0, len(answers), CHUNK):
                    n_new += self._move(answers[first : first + CHUNK])
        self.n_drained += n_new
        return n_new

    def _move(self, answers: Sequence[dict[str, Any]]) -> int:
        """Write a chunk; an answer that PostgreSQL refuses is set aside alone, so that it holds up no other."""
        if self._write is None:
            return 0
        try:
            return self._write(answers)
        except CatalystError:
            raise
        except Exception:
            if len(answers) > 1:
                return sum(self._move([answer]) for answer in answers)
            log.exception(
                "PostgreSQL refuses an answer; it is set aside", extra={"answer": answers[0].get("answer_id")}
            )
            self._spool.set_aside(answers[0])
            return 0

    def state(self) -> dict[str, Any]:
        """What /health and /metrics say of the ledger."""
        return {
            "written": self._spool.n_written,
            "not_recorded": self._spool.n_lost,
            "drained": self.n_drained,
            "set_aside": self._spool.n_set_aside,
            "waiting_bytes": self._spool.waiting_bytes(),
            "spool": self._spool.problem or "ok",
            "database": self.problem or "ok",
        }

    @property
    def is_whole(self) -> bool:
        """True while every answer is recorded."""
        return self._spool.problem is None

    def _drain_for_ever(self) -> None:
        pause = self._every_s
        while not self._stopped.wait(pause):
            pause = self._drained_or_pause(pause)
        self._drained_or_pause(pause)

    def _drained_or_pause(self, pause: float) -> float:
        try:
            self.drain()
        except CatalystError as error:
            if self.problem is None:
                log.warning("answers wait on this machine: %s", error)
            self.problem = str(error)
            return min(2 * pause, PATIENCE_S)
        except OSError as error:
            log.error("the spool cannot be read: %s", error)
            self.problem = f"the spool cannot be read: {error.strerror}"
            return PATIENCE_S
        self.problem = None
        return self._every_s

"""Answers kept on disk until PostgreSQL has them: written before they are sent, so that a killed server lost none.

One line per answer: CRC-32, space, JSON. A line is handed to the kernel in the request (some 10 microseconds; it
survives kill -9 of the server) and forced to the disk by a thread every tenth of a second (it survives a power cut
from then on). Each process writes files of its own under a lock; files whose process is gone are taken over. Nothing
that is waiting is ever deleted: when the spool is full or the disk is, the newest answers are not recorded, which is
counted, logged and said in the answer.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalyst_ml.serving.encoding import to_json

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 1024 * 1024
SYNC_EVERY_S = 0.1
_SUFFIX = ".jsonl"
REFUSED = "refused.txt"


class Spool:
    """Append-only files of answers in ``folder``, at most ``max_bytes`` of them in all."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._elsewhere = 0
        self._unsealed: deque[tuple[int, Path]] = deque()
        self._unsynced = False
        self._torn = False
        self.n_written = 0
        self.n_lost = 0
        self.n_set_aside = 0
        self.problem: str | None = None
        self._stopped = threading.Event()
        self._counted_at = 0.0
        self._thread = threading.Thread(target=self._sync_for_ever, name="spool", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> Path:
        return self._folder

    def append(self, documents: list[dict[str, Any]]) -> bool:
        """Keep answers; True if all of them are safe from a killed process, False if they are not recorded."""
        lines = b"".join(_line(document) for document in documents)
        with self._lock:
            try:
                self._require_room(len(lines))
                descriptor = self._open_segment()
                # A line that a full disk cut short is ended first, so that it spoils itself alone.
                data = b"\n" + lines if self._torn else lines
                written = os.write(descriptor, data)
                self._size += written
                self._torn = written < len(data)
                if self._torn:
                    raise OSError(f"{written} of {len(data)} bytes were written")
            except OSError as error:
                self.n_lost += len(documents)
                said = f"answers are not recorded: {error.strerror or error}"
                if self.problem != said:
                    log.error("%s", said, extra={"spool": str(self._folder)})
                self.problem = said
                return False
            self.n_written += len(documents)
            self._unsynced, self.problem = True, None
            return True

    def waiting(self) -> list[Path]:
        """Files that can be drained, oldest first: finished ones, and those whose process is gone."""
        active = self._path
        return sorted(path for path in self._files() if path != active)

    def waiting_bytes(self) -> int:
        """Bytes of all files, the one being written included."""
        return sum(_size_of(path) for path in self._files())

    def finish_segment(self) -> None:
        """Close the file being written, if it holds anything, so that it can be drained."""
        with self._lock:
            self._detach_segment()
        self._seal()

    def take(self, path: Path) -> Iterator[list[dict[str, Any]]]:
        """Yield the answers of a waiting file once, in one list, and delete it when the caller comes back for more.

        Yields nothing if another process has it. Damaged lines are skipped and logged; a caller that raises leaves
        the file where it is.
        """
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if not path.exists():  # drained by another process between our opening and locking it
                return
            with open(descriptor, "rb", closefd=False) as file:
                documents, n_damaged = _read(file.read())
            if n_damaged:
                log.warning("%d damaged lines in %s are skipped", n_damaged, path.name)
            yield documents
            path.unlink()
        finally:
            os.close(descriptor)

    def set_aside(self, document: dict[str, Any]) -> None:
        """Keep an answer that cannot be delivered in a file of its own, for a person."""
        with (self._folder / REFUSED).open("ab") as file:
            file.write(_line(document))
            file.flush()
            os.fsync(file.fileno())
        self.n_set_aside += 1

    def close(self) -> None:
        """Force everything to the disk and end the thread."""
        self._stopped.set()
        self._thread.join(timeout=5)
        self.finish_segment()

    def _require_room(self, n_bytes: int) -> None:
        now = time.monotonic()
        if now - self._counted_at > 1.0:  # other processes write here too
            self._elsewhere = sum(_size_of(path) for path in self._files() if path != self._path)
            self._counted_at = now
        if self._elsewhere + self._size + n_bytes > self._max_bytes:
            raise OSError(
                f"the spool holds its {self._max_bytes:,} bytes (SERVE_SPOOL_BYTES) and PostgreSQL takes none of them"
            )

    def _open_segment(self) -> int:
        if self._descriptor is not None and self._size >= SEGMENT_BYTES:
            self._detach_segment()
        if self._descriptor is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}{_SUFFIX}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._descriptor, self._path, self._size, self._torn = descriptor, path, 0, False
        return self._descriptor

    def _detach_segment(self) -> None:
        """Take the file out of use; the caller holds the lock, and somebody seals it without."""
        if self._descriptor is not None and self._path is not None:
            self._unsealed.append((self._descriptor, self._path))
        self._descriptor, self._path = None, None
        self._elsewhere += self._size
        self._size = 0

    def _seal(self) -> None:
        """Force finished files to the disk and let go of them; outside the lock, for a disk may take its time."""
        while True:
            try:
                descriptor, path = self._unsealed.popleft()
            except IndexError:
                return
            try:
                os.fsync(descriptor)
                if os.fstat(descriptor).st_size == 0:
                    path.unlink(missing_ok=True)
            except OSError as error:
                log.error("the spool's file %s could not be forced to the disk: %s", path.name, error)
            finally:
                os.close(descriptor)

    def _sync_for_ever(self) -> None:
        while not self._stopped.wait(SYNC_EVERY_S):
            self._seal()
            with self._lock:
                descriptor = os.dup(self._descriptor) if self._descriptor is not None and self._unsynced else None
                self._unsynced = False
            if descriptor is None:
                continue
            try:  # outside the lock: a slow disk must not hold up answers
                os.fdatasync(descriptor)
            except OSError as error:
                self.problem = f"answers may be lost in a power cut: {error.strerror}"
                log.error("%s", self.problem)
            finally:
                os.close(descriptor)

    def _files(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if path.suffix == _SUFFIX]
        except FileNotFoundError:
            return []


def _line(document: dict[str, Any]) -> bytes:
    wrong = [name for name, value in document.items() if type(value) is float and not math.isfinite(value)]
    if wrong:  # JSON would say null
        raise ValueError(f"an answer is not kept: {wrong} hold no finite numbers, got {document[wrong[0]]}")
    data = to_json(document)
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _read(data: bytes) -> tuple[list[dict[str, Any]], int]:
    documents, n_damaged = [], 0
    for line in data.split(b"\n"):
        if not line:
            continue
        digest, _, body = line.partition(b" ")
        if digest != b"%08x" % zlib.crc32(body):
            n_damaged += 1
            continue
        documents.append(json.loads(body))
    return documents, n_damaged


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

"""Answers on disk: what a killed process, a torn line, a full disk and a second process leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from catalyst_ml.serving.spool import SEGMENT_BYTES, Spool

KILLED = """
import sys
from pathlib import Path
from catalyst_ml.serving.spool import Spool
spool = Spool(Path(sys.argv[1]), max_bytes=10**9)
for i in range(10**9):
    assert spool.append([{"answer_id": i}])
    print(i, flush=True)
"""


def drained(spool: Spool) -> list[int]:
    return [answer["answer_id"] for path in spool.waiting() for answers in spool.take(path) for answer in answers]


def test_what_was_appended_is_drained_once_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=10**6)
    for i in range(5):
        assert spool.append([{"answer_id": 2 * i}, {"answer_id": 2 * i + 1}])
    spool.finish_segment()
    assert drained(spool) == list(range(10))
    assert drained(spool) == []
    assert spool.waiting_bytes() == 0
    spool.close()


def test_a_killed_process_loses_no_answer_it_had_finished(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(300)]
    os.kill(child.pid, signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    said += [int(text) for text in rest if text.isdigit()]
    spool = Spool(tmp_path, max_bytes=10**6)
    found = drained(spool)
    spool.close()
    assert found[: len(said)] == said
    assert len(found) - len(said) <= 1  # appended, killed before it could say so


def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    living, other = Spool(tmp_path, max_bytes=10**6), Spool(tmp_path, max_bytes=10**6)
    living.append([{"answer_id": 1}])
    assert drained(other) == []
    living.close()
    assert drained(other) == [1]
    other.close()


def test_a_caller_that_fails_leaves_the_file_for_the_next_try(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=10**6)
    spool.append([{"answer_id": 1}])
    spool.finish_segment()

    def failing() -> None:
        for path in spool.waiting():
            for _ in spool.take(path):
                raise RuntimeError("no database")

    with pytest.raises(RuntimeError):
        failing()
    assert drained(spool) == [1]
    spool.close()


def test_damaged_and_torn_lines_are_skipped_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=10**6)
    for i in range(3):
        spool.append([{"answer_id": i}])
    spool.finish_segment()
    path = spool.waiting()[0]
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(b"1}", b"9}"), lines[2], b"00000000 {", b"", b"\xff\xfe"]))
    assert drained(spool) == [0, 2]
    spool.close()


def test_a_full_spool_keeps_what_waits_and_says_that_it_records_no_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=2_000)
    taken = [spool.append([{"answer_id": i, "pad": "x" * 100}]) for i in range(40)]
    assert taken[0]
    assert not taken[-1]
    assert spool.problem is not None
    assert "SERVE_SPOOL_BYTES" in spool.problem
    assert spool.n_lost == taken.count(False)
    spool.finish_segment()
    assert drained(spool) == list(range(taken.count(True)))
    spool._counted_at = 0.0
    assert spool.append([{"answer_id": 99}])
    assert spool.problem is None
    spool.close()


def test_a_full_disk_tears_one_line_and_spoils_no_other(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts a write short as a full disk does; in a child, for the limit holds for a process."""
    script = f"""
import resource, signal
from pathlib import Path
from catalyst_ml.serving.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path({str(tmp_path)!r}), max_bytes=10**6)
spool.append([{{"answer_id": 0}}])
resource.setrlimit(resource.RLIMIT_FSIZE, (40, -1))
print(spool.append([{{"answer_id": 1, "pad": "x" * 50}}]), spool.problem)
print(spool.append([{{"answer_id": 2}}]))
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print(spool.append([{{"answer_id": 3}}]), spool.problem, spool.n_lost)
spool.close()
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[0].startswith("False answers are not recorded")
    assert said[1:] == ["False", "True None 2"]
    spool = Spool(tmp_path, max_bytes=10**6)
    assert drained(spool) == [0, 3]
    spool.close()


def test_many_threads_append_whole_lines_into_bounded_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=10**9)
    pad = "y" * 20_000

    def append(first: int) -> None:
        for i in range(first, first + 60):
            spool.append([{"answer_id": i, "pad": pad}])

    threads = [threading.Thread(target=append, args=(1000 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.finish_segment()
    assert max(path.stat().st_size for path in spool.waiting()) <= SEGMENT_BYTES + 30_000
    assert len(spool.waiting()) >= 2
    assert sorted(drained(spool)) == sorted(1000 * k + i for k in range(4) for i in range(60))
    spool.close()


def test_a_number_that_json_cannot_carry_is_an_error_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=10**6)
    with pytest.raises(ValueError, match=r"\['p'\] hold no finite numbers, got nan"):
        spool.append([{"p": float("nan")}])
    spool.close()


def test_what_is_set_aside_stays_readable(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=10**6)
    spool.append([{"answer_id": 1}])
    spool.set_aside({"answer_id": 7})
    kept = (tmp_path / "refused.txt").read_text()
    assert json.loads(kept.partition(" ")[2]) == {"answer_id": 7}
    spool.close()

"""When a task's stored result may be used again: same inputs by content, same code, same libraries.

Prefect's own default key contains the run id, so nothing would ever be found again in the next run, and
hashing a frame on every call costs more than it saves. Tasks here take references, which name their
content by SHA-256, so a key is the hash of a few hundred bytes.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer
from prefect.settings import get_current_settings

from tasks.connections import frames_apart, snapshots

log = logging.getLogger(__name__)

PLAIN_JSON = JSONSerializer(object_encoder=None, object_decoder=None)
"""Results are data: Prefect's own JSON decoder would import and build any class that a file names."""


@cache
def code_version(rooms: tuple[str, ...]) -> str:
    """Return a hash over the source files of the given packages or modules of this project."""
    digest = hashlib.sha256()
    for room in sorted(rooms):
        origin = Path(inspect.getfile(import_module(room)))
        files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def content_of(value: Any) -> Any:
    """Reduce references to their content hash, so that moving CATALYST_HOME invalidates nothing."""
    if isinstance(value, Mapping):
        if "sha256" in value and "path" in value:
            return {"sha256": value["sha256"]}
        return {key: content_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [content_of(item) for item in value]
    return value


@dataclass
class ContentKey(CachePolicy):
    """Cache policy: the content of the inputs, the code of ``rooms`` and the versions of ``packages``.

    Parameters
    ----------
    rooms
        Packages of this project whose source decides the result; editing any of them misses the cache.
    packages
        Installed distributions whose version decides the result.
    ignore
        Inputs that do not change the result.
    """

    rooms: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        task = task_ctx.task
        known = {name: content_of(value) for name, value in inputs.items() if name not in self.ignore}
        facts = {
            "task": task.task_key,
            "source": inspect.getsource(task.fn),
            # With the helpers that the task calls in its own module.
            "module": _file_hash(inspect.getsourcefile(task.fn)),
            "code": code_version(self.rooms),
            "packages": {name: metadata.version(name) for name in self.packages},
            "inputs": known,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        key = f"{task.name}-{digest[:40]}"
        discard_unusable_record(result_folder() / key, snapshots().root)
        return key


@cache
def _file_hash(file: str | None) -> str:
    return hashlib.sha256(Path(file).read_bytes() if file else b"").hexdigest()[:16]


def result_folder() -> Path:
    """Folder of persisted task results (``PREFECT_LOCAL_STORAGE_PATH``)."""
    return Path(get_current_settings().results.local_storage_path)


def discard_unusable_record(record: Path, snapshot_root: Path) -> None:
    """Delete a stored result that must not be used, so that its task simply runs again.

    Two reasons: the record asks for a serializer other than plain JSON (its own header chooses how it is
    read, and a pickled one would execute code), or a file it refers to below ``snapshot_root`` is gone.
    """
    if not record.exists():
        return
    reason = _reason_not_to_use(record, snapshot_root)
    if reason:
        log.warning("stored result %s is not used: %s; the task runs again", record.name, reason)
        record.unlink(missing_ok=True)


def _reason_not_to_use(record: Path, snapshot_root: Path) -> str | None:
    try:
        content = json.loads(record.read_bytes())
        serializer = content["metadata"]["serializer"]
        result = json.loads(content["result"])
    except (ValueError, KeyError, TypeError):
        return "it is not a JSON record (half-written or foreign)"
    if serializer != PLAIN_JSON.model_dump(mode="json"):
        return f"it asks for the serializer {serializer.get('type', serializer)!r}, expected plain JSON"
    gone = next((path for path in _referenced_files(result) if not (snapshot_root / path).exists()), None)
    return f"the file {gone} is gone" if gone else None


def _referenced_files(value: Any) -> list[str]:
    if isinstance(value, dict):
        if "sha256" in value and isinstance(value.get("path"), str):
            return [value["path"]]
        return [path for item in value.values() for path in _referenced_files(item)]
    if isinstance(value, list):
        return [path for item in value for path in _referenced_files(item)]
    return []


def reuse(task: Task[..., Any], *arguments: Any) -> tuple[Any, bool]:
    """Return the result of a cached task and whether it was stored, without a task run of its own.

    For tasks of which one coarse task needs dozens: each is kept under the key it has in a run of its own, so both find
    what the other has done, and Prefect's database holds one row instead of dozens.
    """
    bound = inspect.signature(task.fn).bind(*arguments)
    bound.apply_defaults()
    policy: Any = task.cache_policy
    key = policy.compute_key(SimpleNamespace(task=task), dict(bound.arguments), {})
    record = result_folder() / key
    with _LOCKS.setdefault(key, Lock()):
        if record.exists():
            return json.loads(json.loads(record.read_bytes())["result"]), True
        # What it stores is found by others later, so it goes where all frames are.
        with frames_apart(None):
            result = task.fn(*arguments)
        _write_record(record, result)
        return result, False


_LOCKS: dict[str, Lock] = {}
"""One lock a key: whoever asks for what another thread is computing waits and finds it stored."""


def _write_record(record: Path, result: Any) -> None:
    """Write what Prefect would write, whole or not at all, and without asking its server where results are kept."""
    metadata = ResultRecordMetadata(storage_key=str(record), serializer=PLAIN_JSON)
    content = ResultRecord(result=result, metadata=metadata).serialize()
    record.parent.mkdir(parents=True, exist_ok=True)
    temporary = record.with_name(f".{record.name}.{uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(record)
    finally:
        temporary.unlink(missing_ok=True)


def cached(*rooms: str, packages: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> dict[str, Any]:
    """Options for ``@task``: persist as plain JSON and reuse by content.

    Example
    -------
    >>> sorted(cached("catalyst_ml.market"))
    ['cache_policy', 'persist_result', 'result_serializer']
    """
    return {
        "cache_policy": ContentKey(rooms=rooms, packages=packages, ignore=ignore),
        "persist_result": True,
        "result_serializer": PLAIN_JSON,
    }

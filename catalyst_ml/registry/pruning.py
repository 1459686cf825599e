"""Removing the files of versions that nobody needs any more; what they were stays in the table for ever.

Kept are the newest of each line, whatever ever was in production, and whatever a channel or the outbox still names.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, text

from catalyst_ml.errors import CatalystError
from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import ArtifactStore
from catalyst_ml.registry.lines import ModelLine, version_key
from catalyst_ml.registry.manifest import MANIFEST_NAME, MANIFEST_SIGNATURE
from catalyst_ml.registry.outbox import Outbox
from catalyst_ml.registry.versions import VersionRecord, list_versions
from catalyst_ml.store.engine import database_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrunePlan:
    """Versions to prune, and those that stay with why; newest first. Versions pruned before are in neither."""

    prune: tuple[VersionRecord, ...]
    keep: tuple[tuple[VersionRecord, str], ...]


@dataclass(frozen=True)
class Pruned:
    """Ids whose files are gone now, how many objects that were, and what a store said that did not answer."""

    version_ids: tuple[str, ...]
    n_objects: int
    problems: tuple[str, ...]


def plan_prune(engine: Engine, outbox: Outbox, *, keep: int) -> PrunePlan:
    """Say which versions would lose their files if ``keep`` of each line are kept. Changes nothing."""
    reasons: dict[str, str] = {}
    for entry in channels.history(engine, channel=channels.PRODUCTION):
        if entry.version_id is not None:
            reasons[entry.version_id] = "was in production"
    for state in channels.current_channels(engine):
        if state.version_id is not None:
            reasons[state.version_id] = f"is in {state.channel}"
    for note in outbox.notes():
        if note.version_id is not None:
            reasons.setdefault(note.version_id, "waits in the outbox")
    pruned, kept = [], []
    seen: dict[ModelLine, int] = defaultdict(int)
    for record in list_versions(engine):
        if record.pruned_at is not None:
            continue
        seen[record.line] += 1
        reason = reasons.get(record.version_id) or ("is among the newest" if seen[record.line] <= keep else "")
        if reason:
            kept.append((record, reason))
        else:
            pruned.append(record)
    return PrunePlan(tuple(pruned), tuple(kept))


def prune(engine: Engine, stores: Sequence[ArtifactStore], plan: PrunePlan) -> Pruned:
    """Mark the versions of ``plan`` as pruned, then delete their files everywhere, and what earlier rounds left.

    The mark comes first: from then on nothing loads or promotes the version, however far the deletion comes. A
    version that got into a channel since the plan was made keeps everything. A store that does not answer is asked
    again in the next round.
    """
    for record in plan.prune:
        _mark(engine, record.version_id)
    pruned = {record.version_id for record in list_versions(engine) if record.pruned_at is not None}
    gone: set[str] = {record.version_id for record in plan.prune} & pruned
    n_objects, problems = 0, []
    for store in stores:
        try:
            for version_id, keys in _stored_keys(store).items():
                if version_id in pruned:
                    for key in keys:
                        store.delete(key)
                    gone.add(version_id)
                    n_objects += len(keys)
        except CatalystError as error:
            log.warning("pruning: %s", error)
            problems.append(str(error))
    return Pruned(tuple(sorted(gone)), n_objects, tuple(problems))


def _mark(engine: Engine, version_id: str) -> None:
    given = {"version_id": version_id}
    with database_errors(engine), engine.begin() as connection:
        # Locked first, judged in a statement of its own: it sees what a promoter committed while we waited.
        connection.execute(text("SELECT FROM catalyst_ml.versions WHERE version_id = :version_id FOR UPDATE"), given)
        connection.execute(text(_MARK), given)


_MARK = """
    UPDATE catalyst_ml.versions SET pruned_at = clock_timestamp()
    WHERE version_id = :version_id AND pruned_at IS NULL
        AND NOT EXISTS (SELECT FROM catalyst_ml.channels WHERE version_id = :version_id)
        AND NOT EXISTS (
            SELECT FROM catalyst_ml.channel_history WHERE version_id = :version_id AND channel = 'production')
"""


def _stored_keys(store: ArtifactStore) -> dict[str, list[str]]:
    """Keys by version; manifest and signature first, so that a half-deleted version never looks whole."""
    keys: dict[str, list[str]] = defaultdict(list)
    root = version_key("")
    for key in store.list_keys(root):
        keys[key.removeprefix(f"{root}/").split("/", 1)[0]].append(key)
    first = (MANIFEST_SIGNATURE, MANIFEST_NAME)
    return {one: sorted(found, key=lambda key: not key.endswith(first)) for one, found in keys.items()}

"""Pruning: files go, the record stays, and nothing that serves or ever served is touched."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable
from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.outbox import Outbox
from catalyst_ml.registry.pruning import PrunePlan, plan_prune, prune
from catalyst_ml.registry.versions import get_version, list_versions, load_version, publish, read_manifest_of
from tests.catalyst_ml.registry.registered_versions import FILES, GATE, LINE, sealed

pytestmark = pytest.mark.server

FIRST = datetime(2026, 1, 2, 21, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


@pytest.fixture
def weeks(database: Engine, store: FolderStore) -> list[str]:
    """Six weekly versions of one line, oldest first."""
    return [publish_week(database, store, week) for week in range(6)]


def publish_week(engine: Engine, store: FolderStore, week: int, **changes: object) -> str:
    manifest = sealed(as_of=FIRST + timedelta(weeks=week), **changes)
    return publish(engine, [store], FILES, manifest).version_id


def promote(engine: Engine, version_id: str) -> None:
    channels.promote(engine, LINE, version_id, reason="better", actor="test", gate=GATE)


def stored(store: FolderStore) -> set[str]:
    return {key.split("/")[1] for key in store.list_keys("versions")}


def test_the_newest_of_each_line_stay_and_a_plan_deletes_nothing(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    other = publish_week(database, store, 0, dataset="other")
    plan = plan_prune(database, outbox, keep=2)
    assert [record.version_id for record in plan.prune] == weeks[3::-1]
    assert {record.version_id for record, _ in plan.keep} == {weeks[5], weeks[4], other}
    assert stored(store) == {*weeks, other}


def test_what_was_ever_in_production_or_is_in_a_channel_or_waits_stays(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    promote(database, weeks[0])
    channels.rollback(database, LINE, reason="lost money", actor="test", to="rules")
    channels.enter_shadow(database, LINE, weeks[1], reason="challenger", actor="test", gate=None)
    outbox.add_version(store, weeks[2])
    plan = plan_prune(database, outbox, keep=1)
    assert {record.version_id: reason for record, reason in plan.keep} == {
        weeks[5]: "is among the newest",
        weeks[2]: "waits in the outbox",
        weeks[1]: "is in shadow",
        weeks[0]: "was in production",
    }
    done = prune(database, [store], plan)
    assert set(done.version_ids) == {weeks[4], weeks[3]}
    assert stored(store) == {weeks[0], weeks[1], weeks[2], weeks[5]}


def test_a_pruned_version_stays_in_the_table_and_says_so_when_it_is_loaded_or_promoted(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    prune(database, [store], plan_prune(database, outbox, keep=5))
    assert get_version(database, weeks[0]).pruned_at is not None
    assert read_manifest_of(database, weeks[0]).version_id == weeks[0]
    with pytest.raises(ArtifactRefused, match=r"files were pruned on .*models rebuild"):
        load_version(database, [store], weeks[0])
    with pytest.raises(ArtifactRefused, match="files were pruned"):
        promote(database, weeks[0])
    assert channels.current(database, LINE).version_id is None


def test_publishing_it_again_brings_a_pruned_version_back(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    prune(database, [store], plan_prune(database, outbox, keep=5))
    assert publish_week(database, store, 0) == weeks[0]
    assert load_version(database, [store], weeks[0]).files == FILES


def test_pruning_again_prunes_nothing_more(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    prune(database, [store], plan_prune(database, outbox, keep=2))
    plan = plan_prune(database, outbox, keep=2)
    assert plan.prune == ()
    assert prune(database, [store], plan).n_objects == 0
    assert len(list_versions(database)) == 6


@dataclass
class StoppingStore(FolderStore):
    """A store that answers only so many deletions."""

    root: Path
    answers: int = 0

    def delete(self, key: str) -> None:
        if self.answers == 0:
            raise SourceUnavailable("the service is down")
        self.answers -= 1
        super().delete(key)


def test_a_store_that_breaks_off_never_leaves_what_looks_whole_and_the_next_round_ends_it(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    done = prune(database, [StoppingStore(store.root, answers=1)], plan_prune(database, outbox, keep=5))
    assert done.problems == ("the service is down",)
    left = [key.split("/")[2] for key in store.list_keys(f"versions/{weeks[0]}")]
    assert left == ["model.onnx", "report.html"]  # the manifest went first
    prune(database, [store], plan_prune(database, outbox, keep=5))
    assert stored(store) == set(weeks[1:])


def test_a_version_promoted_after_the_plan_was_made_keeps_its_files(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    plan = plan_prune(database, outbox, keep=1)
    promote(database, weeks[0])
    done = prune(database, [store], plan)
    assert weeks[0] not in done.version_ids
    assert load_version(database, [store], weeks[0]).files == FILES


def test_of_a_promoter_and_a_pruner_at_once_one_wins_and_the_other_says_so(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    """The promotion has locked the version and is not committed yet when the pruner comes for it."""
    plan = PrunePlan(tuple(r for r in list_versions(database) if r.version_id == weeks[0]), ())
    with database.begin() as connection:
        state = channels.locked_state(connection, LINE, "production")
        channels._require_line(connection, weeks[0], LINE)
        pruner = threading.Thread(target=prune, args=(database, [store], plan))
        pruner.start()
        time.sleep(0.3)
        move = channels._Move("promote", weeks[0], "better", "test", GATE)
        channels._apply(connection, state, move)
    pruner.join(timeout=20)
    assert not pruner.is_alive()
    assert get_version(database, weeks[0]).pruned_at is None
    assert load_version(database, [store], weeks[0]).files == FILES


def test_leftovers_of_a_publication_that_never_ended_are_not_touched(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    store.put_bytes("versions/somebody-is-publishing/model.onnx", b"x")
    prune(database, [store], plan_prune(database, outbox, keep=1))
    assert "somebody-is-publishing" in stored(store)


def test_the_mark_is_a_time_and_nothing_else_of_the_row_changes(
    database: Engine, store: FolderStore, outbox: Outbox, weeks: list[str]
) -> None:
    query = text("SELECT * FROM catalyst_ml.versions WHERE version_id = :v")
    with database.connect() as connection:
        before = connection.execute(query, {"v": weeks[0]}).mappings().one()
    prune(database, [store], plan_prune(database, outbox, keep=5))
    with database.connect() as connection:
        after = connection.execute(query, {"v": weeks[0]}).mappings().one()
    assert {name for name in before if before[name] != after[name]} == {"pruned_at"}

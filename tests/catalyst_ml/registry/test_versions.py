"""Publishing and loading: blobs first, row last, and no byte that was not verified."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable, UnknownVersion
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.manifest import manifest_bytes, manifest_sha256, read_manifest, seal_manifest
from catalyst_ml.registry.spaces import open_spaces
from catalyst_ml.registry.versions import (
    get_version,
    list_versions,
    load_version,
    publish,
    read_manifest_of,
    version_key,
)
from catalyst_ml.settings import SpacesSettings
from tests.catalyst_ml.registry.registered_versions import FILES, LINE, SEALED_AT, make_facts, published, sealed
from tests.fakes.s3_server import S3Server

pytestmark = pytest.mark.server


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@dataclass
class StoreWithFaults(FolderStore):
    """A folder store that dies at its n-th write, or loses the last byte of every write."""

    root: Path
    dies_at: int | None = None
    loses_bits: bool = False
    written: list[str] = field(default_factory=list)

    def put_bytes(self, key: str, data: bytes) -> None:
        if len(self.written) == self.dies_at:
            raise SourceUnavailable("the power went out")
        self.written.append(key)
        super().put_bytes(key, data[:-1] if self.loses_bits else data)


def test_a_published_version_loads_with_the_same_bytes(database: Engine, store: FolderStore) -> None:
    manifest = publish(database, [store], FILES, sealed(), run_id="run-7")
    loaded = load_version(database, [store], manifest.version_id)
    assert (loaded.files, loaded.manifest) == (FILES, manifest)
    record = get_version(database, manifest.version_id)
    assert (record.line, record.run_id, record.as_of) == (LINE, "run-7", datetime(2026, 6, 5, 20, tzinfo=UTC))
    assert record.manifest_sha256 == manifest_sha256(manifest)
    assert record.artifact_uri == store.uri(version_key(manifest.version_id))


@pytest.mark.parametrize("dies_at", range(3))
def test_a_crash_before_the_row_leaves_nothing_loadable_and_the_next_run_finishes(
    database: Engine, tmp_path: Path, dies_at: int
) -> None:
    first, second = FolderStore(tmp_path / "a"), StoreWithFaults(tmp_path / "b", dies_at=dies_at)
    with pytest.raises(SourceUnavailable, match="power"):
        publish(database, [first, second], FILES, sealed())
    assert list_versions(database) == []
    with pytest.raises(UnknownVersion):
        load_version(database, [first, second], sealed().version_id)
    later = seal_manifest(make_facts(), FILES, created_at=SEALED_AT + timedelta(hours=1))
    published_now = publish(database, [first, FolderStore(tmp_path / "b")], FILES, later)
    assert load_version(database, [first], published_now.version_id).files == FILES


def test_the_manifest_is_the_last_blob_to_be_written(database: Engine, tmp_path: Path) -> None:
    store = StoreWithFaults(tmp_path)
    publish(database, [store], FILES, sealed())
    assert [key.rsplit("/", 1)[1] for key in store.written] == ["model.onnx", "report.html", "manifest.json"]


def test_a_store_that_loses_bits_refuses_the_publication(database: Engine, tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused):
        publish(database, [StoreWithFaults(tmp_path, loses_bits=True)], FILES, sealed())
    assert list_versions(database) == []


def test_files_other_than_the_sealed_ones_are_refused_before_anything_is_written(
    database: Engine, store: FolderStore
) -> None:
    with pytest.raises(ArtifactRefused, match=r"model\.onnx"):
        publish(database, [store], {**FILES, "model.onnx": b"swapped"}, sealed())
    assert store.list_keys("versions") == []


def test_publishing_the_same_content_again_returns_the_first_manifest(database: Engine, store: FolderStore) -> None:
    first = publish(database, [store], FILES, sealed())
    again = seal_manifest(make_facts(), FILES, created_at=SEALED_AT + timedelta(days=1))
    assert publish(database, [store], FILES, again) == first
    assert len(list_versions(database)) == 1
    assert load_version(database, [store], first.version_id).manifest == first


def test_publishing_again_mends_a_damaged_copy(database: Engine, store: FolderStore) -> None:
    manifest = publish(database, [store], FILES, sealed())
    store.put_bytes(version_key(manifest.version_id, "model.onnx"), b"damaged")
    publish(database, [store], FILES, sealed())
    assert load_version(database, [store], manifest.version_id).files == FILES


def test_two_publishers_of_one_version_leave_one_row_and_a_loadable_copy(database: Engine, store: FolderStore) -> None:
    start, errors = Barrier(4), []

    def publish_late(hours: int) -> None:
        manifest = seal_manifest(make_facts(), FILES, created_at=SEALED_AT + timedelta(hours=hours))
        start.wait()
        try:
            publish(database, [store], FILES, manifest)
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=publish_late, args=(hours,)) for hours in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (record,) = list_versions(database)
    assert errors == []
    assert load_version(database, [store], record.version_id).files == FILES


@pytest.mark.parametrize(
    "damage",
    [
        lambda store, key: store.put_bytes(f"{key}/model.onnx", b"\x80\x04evil"),
        lambda store, key: store.put_bytes(f"{key}/model.onnx", b"\x08\x02graph"),
        lambda store, key: store.put_bytes(f"{key}/extra.json", b"{}"),
        lambda store, key: (store.root / key / "report.html").unlink(),
        lambda store, key: (store.root / key / "manifest.json").unlink(),
        lambda store, key: store.put_bytes(f"{key}/manifest.json", b"{}"),
        lambda store, key: store.put_bytes(f"{key}/manifest.json", manifest_bytes(sealed(seed=99))),
    ],
)
def test_a_damaged_copy_is_never_loaded_and_a_whole_one_elsewhere_is(
    database: Engine, tmp_path: Path, damage: Any
) -> None:
    near, far = FolderStore(tmp_path / "near"), FolderStore(tmp_path / "far")
    version_id = publish(database, [near, far], FILES, sealed()).version_id
    damage(near, version_key(version_id))
    with pytest.raises(ArtifactRefused, match="no store holds a whole copy"):
        load_version(database, [near], version_id)
    assert load_version(database, [near, far], version_id).files == FILES


def test_a_resealed_forgery_in_the_store_is_refused_by_the_registrys_digest(
    database: Engine, store: FolderStore
) -> None:
    version_id = publish(database, [store], FILES, sealed()).version_id
    forged = seal_manifest(make_facts(), FILES, created_at=SEALED_AT + timedelta(seconds=1))
    assert forged.version_id == version_id
    store.put_bytes(version_key(version_id, "manifest.json"), manifest_bytes(forged))
    with pytest.raises(ArtifactRefused, match="the registry says"):
        load_version(database, [store], version_id)


def test_the_registered_manifest_equals_the_stored_one_whatever_its_numbers(
    database: Engine, store: FolderStore
) -> None:
    odd = {"big": 1e22, "minus_zero": -0.0, "tiny": 5e-324, "long": 0.1 + 0.2, "huge": 1e300, "n": 10**18}
    manifest = publish(database, [store], FILES, sealed(metrics=odd))
    assert read_manifest_of(database, manifest.version_id) == manifest
    stored = store.get_bytes(version_key(manifest.version_id, "manifest.json"))
    assert read_manifest(stored, sha256=manifest_sha256(manifest)) == manifest


def test_a_manifest_altered_in_the_database_is_refused(database: Engine, store: FolderStore) -> None:
    version_id = publish(database, [store], FILES, sealed()).version_id
    with database.begin() as connection:
        connection.execute(
            text("UPDATE catalyst_ml.versions SET manifest = jsonb_set(manifest, '{seed}', :seed)"),
            {"seed": json.dumps(8)},
        )
    with pytest.raises(ArtifactRefused):
        read_manifest_of(database, version_id)


def test_versions_are_listed_newest_first_and_by_line(database: Engine, tmp_path: Path) -> None:
    old = published(database, tmp_path, as_of=datetime(2026, 5, 29, 20, tzinfo=UTC))
    new = published(database, tmp_path)
    other = published(database, tmp_path, dataset="catalyst")
    assert [r.version_id for r in list_versions(database, dataset="demo")] == [new, old]
    assert [r.version_id for r in list_versions(database, dataset="catalyst", timeframe="1d")] == [other]
    assert list_versions(database, label_version="another") == []


def test_an_unknown_id_suggests_the_nearest(database: Engine, tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion, match="no version is registered yet"):
        get_version(database, "demo-1d-20260605-00000000")
    known = published(database, tmp_path)
    with pytest.raises(UnknownVersion, match=f"Did you mean {known}"):
        get_version(database, known[:-1] + "x")


def test_a_database_that_is_down_is_a_temporary_failure(store: FolderStore) -> None:
    nowhere = create_engine("postgresql+psycopg2://u:hush@127.0.0.1:9/x", connect_args={"connect_timeout": 2})
    with pytest.raises(SourceUnavailable) as caught:
        publish(nowhere, [store], FILES, sealed())
    assert "hush" not in str(caught.value)
    assert store.list_keys("versions") == []


def test_folder_and_bucket_both_hold_the_version_and_either_serves_it(
    database: Engine, store: FolderStore, s3_server: S3Server
) -> None:
    s3_server.client().create_bucket(Bucket="weekly")
    spaces = open_spaces(
        SpacesSettings(endpoint=s3_server.url, bucket="weekly", key=SecretStr("k"), secret=SecretStr("s"))
    )
    manifest = publish(database, [store, spaces], FILES, sealed())
    for reader in (store, spaces):
        assert load_version(database, [reader], manifest.version_id).files == FILES
    uri = get_version(database, manifest.version_id).artifact_uri
    assert uri == f"s3://weekly/catalyst-ml/versions/{manifest.version_id}"


def test_a_publisher_killed_before_its_row_blocks_nobody_and_leaves_no_version(
    database: Engine, database_url: str, tmp_path: Path
) -> None:
    root = tmp_path / "artifacts"
    publisher = subprocess.Popen(
        [sys.executable, "-c", _PUBLISH_AND_HANG, database_url, str(root)], cwd=Path(__file__).parents[3]
    )
    manifest_file = root / version_key(sealed().version_id) / "manifest.json"
    while not manifest_file.exists():
        assert publisher.poll() is None
        time.sleep(0.02)
    publisher.kill()
    publisher.wait()
    assert list_versions(database) == []
    version_id = publish(database, [FolderStore(root)], FILES, sealed()).version_id
    assert load_version(database, [FolderStore(root)], version_id).files == FILES


_PUBLISH_AND_HANG = """
import sys, time
from pathlib import Path
from sqlalchemy import create_engine
from tests.catalyst_ml.registry.registered_versions import FILES, sealed
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.versions import publish

class Slow(FolderStore):
    def list_keys(self, prefix):
        time.sleep(600)  # everything is written, nothing is registered yet

publish(create_engine(sys.argv[1]), [Slow(Path(sys.argv[2]))], FILES, sealed())
"""

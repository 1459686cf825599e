"""The folder store: bytes come back as they went in, half-written ones never, and keys stay inside."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from catalyst_ml.errors import ArtifactRefused, ConfigurationError, SourceUnavailable, UnknownVersion
from catalyst_ml.registry.artifact_store import FolderStore, check_key, open_stores
from catalyst_ml.settings import HomeSettings, Settings, SpacesSettings


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def test_bytes_come_back_and_a_second_put_replaces_them(store: FolderStore) -> None:
    store.put_bytes("versions/a/model.onnx", b"old")
    store.put_bytes("versions/a/model.onnx", b"new")
    assert store.get_bytes("versions/a/model.onnx") == b"new"
    assert store.exists("versions/a/model.onnx")
    assert not store.exists("versions/a/other.onnx")


def test_keys_are_listed_sorted_below_their_folder_only(store: FolderStore) -> None:
    for key in ("versions/b/x.json", "versions/a/z.json", "versions/a/y.json", "versions/ab/x.json"):
        store.put_bytes(key, b"{}")
    assert store.list_keys("versions/a/") == ["versions/a/y.json", "versions/a/z.json"]
    assert store.list_keys("nothing") == []


def test_a_missing_key_is_an_unknown_version(store: FolderStore) -> None:
    with pytest.raises(UnknownVersion, match="gone"):
        store.get_bytes("versions/a/gone.json")


def test_a_file_above_the_limit_is_refused_and_one_at_the_limit_is_read(store: FolderStore) -> None:
    store.put_bytes("a.json", b"12345")
    assert store.get_bytes("a.json", max_bytes=5) == b"12345"
    with pytest.raises(ArtifactRefused, match="5 bytes"):
        store.get_bytes("a.json", max_bytes=4)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "a/.hidden",
        "a\\b",
        "C:a",
        "a\nb",
        "a\x00b",
        "x" * 600,
    ],
)
def test_keys_that_are_not_plain_relative_paths_are_refused(key: str) -> None:
    with pytest.raises(ArtifactRefused, match="artifact key"):
        check_key(key)


def test_a_link_that_leads_out_of_the_store_is_refused(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.json").write_bytes(b"{}")
    store.put_bytes("a/b.json", b"{}")
    (store.root / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactRefused, match="leads out"):
        store.get_bytes("link/key.json")


def test_a_full_disk_leaves_nothing_behind_and_says_what_to_do(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store.put_bytes("a/model.onnx", b"good")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceUnavailable, match="Free space"):
        store.put_bytes("a/model.onnx", b"better")
    assert store.get_bytes("a/model.onnx") == b"good"
    assert [path.name for path in (store.root / "a").iterdir()] == ["model.onnx"]


def test_a_killed_writer_never_leaves_a_half_written_artifact(store: FolderStore) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _ENDLESS_WRITER, str(store.root)])
    while not store.exists("a/model.onnx"):
        time.sleep(0.01)
    stop = time.monotonic() + 1.0
    while time.monotonic() < stop:
        assert _is_whole(store.get_bytes("a/model.onnx"))
    writer.kill()
    writer.wait()
    assert _is_whole(store.get_bytes("a/model.onnx"))
    assert store.list_keys("a") == ["a/model.onnx"]


def _is_whole(data: bytes) -> bool:
    return len(data) == 300_000 and len(set(data)) == 1


_ENDLESS_WRITER = """
import sys
from pathlib import Path
from catalyst_ml.registry.artifact_store import FolderStore
store = FolderStore(Path(sys.argv[1]))
n = 0
while True:
    store.put_bytes("a/model.onnx", bytes([n % 256]) * 300_000)
    n += 1
"""


def test_an_unwritable_folder_says_what_to_check(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_bytes(b"a file where the folder should be")
    with pytest.raises(SourceUnavailable, match="Check the disk"):
        FolderStore(tmp_path / "artifacts").put_bytes("a.json", b"{}")


def test_artifacts_go_to_the_home_and_to_spaces_only_if_a_bucket_is_set(tmp_path: Path) -> None:
    home = HomeSettings(home=tmp_path)
    off = Settings(home=home, spaces=SpacesSettings(endpoint=None, bucket=None))
    (folder,) = open_stores(off)
    assert folder.uri("a.json") == (tmp_path / "artifacts" / "a.json").as_uri()
    on = SpacesSettings(endpoint="http://127.0.0.1:1", bucket="b", key=SecretStr("k"), secret=SecretStr("s"))
    _, spaces = open_stores(Settings(home=home, spaces=on))
    assert spaces.uri("a.json") == "s3://b/catalyst-ml/a.json"


def test_a_bucket_without_credentials_names_the_missing_settings(tmp_path: Path) -> None:
    spaces = SpacesSettings(endpoint="http://127.0.0.1:1", bucket="b", key=None, secret=None)
    with pytest.raises(ConfigurationError, match="SPACES_KEY, SPACES_SECRET not set"):
        open_stores(Settings(home=HomeSettings(home=tmp_path), spaces=spaces))

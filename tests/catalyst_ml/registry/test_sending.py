"""A store that is down fails nothing: what it did not take is noted, kept over kills, and sent in order."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from sqlalchemy import Engine

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable
from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import version_key
from catalyst_ml.registry.outbox import Outbox
from catalyst_ml.registry.pointer import issue_pointer
from catalyst_ml.registry.sending import publish_and_send, send_waiting, waiting_sentences
from catalyst_ml.registry.served import follow
from catalyst_ml.registry.signatures import Signer, create_key
from catalyst_ml.registry.spaces import PART_BYTES, SpacesStore, open_spaces
from catalyst_ml.registry.versions import list_versions, load_version, publish
from catalyst_ml.settings import SpacesSettings
from tests.catalyst_ml.registry.registered_versions import GATE, LINE, sealed
from tests.catalyst_ml.registry.served_graphs import small_graph
from tests.fakes.s3_server import S3Server

pytestmark = pytest.mark.server

FILES = {"model.onnx": small_graph(), "report.html": b"<html></html>"}


@dataclass
class FarStore(FolderStore):
    """A folder in the part of a bucket: it can be down, and it counts what it is asked."""

    root: Path
    is_down: bool = False
    asked: int = 0
    written: list[str] = field(default_factory=list)

    def put_bytes(self, key: str, data: bytes) -> None:
        self._answer()
        self.written.append(key)
        super().put_bytes(key, data)

    def get_bytes(self, key: str, **limits: Any) -> bytes:
        self._answer()
        return super().get_bytes(key, **limits)

    def _answer(self) -> None:
        self.asked += 1
        if self.is_down:
            raise SourceUnavailable("the service is down")


@dataclass
class Desk:
    """What a run has at hand."""

    engine: Engine
    home: FolderStore
    far: FarStore
    outbox: Outbox
    signer: Signer

    @property
    def stores(self) -> list[FolderStore]:
        return [self.home, self.far]

    def publish(self, seed: int) -> str:
        manifest = sealed(FILES, seed=seed)
        return publish_and_send(self.engine, self.stores, self.outbox, self.signer, FILES, manifest).version_id

    def promote(self, version_id: str) -> None:
        channels.promote(self.engine, LINE, version_id, reason="better", actor="test", gate=GATE)
        issue_pointer(self.engine, self.stores, self.signer, LINE, reason="better", outbox=self.outbox)

    def send(self) -> tuple[str, ...]:
        return send_waiting(self.engine, self.stores, self.outbox, self.signer).sent

    def served_far(self) -> str | None:
        return follow([self.far], self.signer.public_keys, LINE).pointer.version_id


@pytest.fixture
def desk(database: Engine, tmp_path: Path) -> Desk:
    home, far = FolderStore(tmp_path / "artifacts"), FarStore(tmp_path / "far")
    return Desk(database, home, far, Outbox(tmp_path / "outbox"), create_key(tmp_path / "k.pem"))


def test_with_every_store_up_nothing_waits_and_the_order_is_files_manifest_signature_pointer(desk: Desk) -> None:
    version_id = desk.publish(1)
    desk.promote(version_id)
    names = [key.removeprefix(f"versions/{version_id}/") for key in desk.far.written]
    assert names[:4] == ["model.onnx", "report.html", "manifest.json", "manifest.sig"]
    assert [name.rsplit(".", 1)[1] for name in names[4:]] == ["sig", "json"]
    assert desk.outbox.notes() == []
    assert desk.served_far() == version_id


def test_a_run_with_its_bucket_down_ends_well_and_the_next_start_sends_everything(desk: Desk) -> None:
    desk.far.is_down = True
    version_id = desk.publish(1)
    desk.promote(version_id)
    assert load_version(desk.engine, desk.stores, version_id).files == FILES
    assert channels.current(desk.engine, LINE).version_id == version_id
    subjects = [note.subject for note in desk.outbox.notes()]
    assert subjects == [f"version {version_id}", f"pointer of production of {LINE}"]
    first, second = waiting_sentences(desk.outbox.notes())
    assert "waits for" in first
    assert "the service is down" in second
    desk.far.is_down = False
    assert len(desk.send()) == 2
    assert desk.outbox.notes() == []
    assert desk.served_far() == version_id


def test_while_it_stays_down_the_notes_stay_and_it_is_asked_once_a_round(desk: Desk) -> None:
    desk.far.is_down = True
    for seed in (1, 2, 3):
        desk.promote(desk.publish(seed))
    before, desk.far.asked = len(desk.outbox.notes()), 0
    assert desk.send() == ()
    assert len(desk.outbox.notes()) == before == 4
    assert desk.far.asked == 1
    assert max(note.attempts for note in desk.outbox.notes()) >= 2


def test_of_three_weeks_that_waited_all_versions_arrive_and_the_last_pointer_only(desk: Desk) -> None:
    desk.far.is_down = True
    ids = [desk.publish(seed) for seed in (1, 2, 3)]
    for version_id in ids:
        desk.promote(version_id)
    desk.far.is_down = False
    desk.send()
    assert [desk.far.exists(version_key(one, "manifest.sig")) for one in ids] == [True] * 3
    assert sum(key.startswith("channels/") for key in desk.far.written) == 2  # one pointer and its signature
    assert desk.far.written[-1].startswith("channels/")
    assert desk.served_far() == ids[-1]


def test_a_damaged_answer_of_the_far_store_waits_like_a_silent_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    good = FarStore.put_bytes
    monkeypatch.setattr(FarStore, "put_bytes", lambda self, key, data: good(self, key, data[:-1]))
    version_id = desk.publish(1)
    (note,) = desk.outbox.notes()
    assert "Never load it" in note.last_problem
    monkeypatch.undo()
    desk.send()
    assert load_version(desk.engine, [desk.far], version_id).files == FILES


def test_the_folder_of_this_machine_is_not_optional(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_bytes(b"a file where the folder should be")
    with pytest.raises(SourceUnavailable, match="Check the disk"):
        desk.publish(1)
    assert list_versions(desk.engine) == []
    assert desk.send() == (f"version {sealed(FILES, seed=1).version_id} to {desk.far.uri('versions')}",)
    assert desk.outbox.notes() == []  # never registered: there is nothing to send
    assert desk.far.written == []


def test_a_version_that_this_machine_lost_is_never_half_sent(desk: Desk) -> None:
    desk.far.is_down = True
    version_id = desk.publish(1)
    desk.home.delete(version_key(version_id, "model.onnx"))
    desk.far.is_down = False
    assert desk.send() == ()
    (note,) = desk.outbox.notes()
    assert "missing files ['model.onnx']" in note.last_problem
    assert desk.far.written == []


def test_notes_of_a_bucket_that_is_no_longer_configured_are_kept_and_shown(desk: Desk) -> None:
    desk.far.is_down = True
    desk.publish(1)
    report = send_waiting(desk.engine, [desk.home], desk.outbox, desk.signer)
    assert [note.store for note in report.waiting] == [desk.far.uri("versions")]


def test_a_note_that_is_no_note_is_left_alone_and_hides_no_other(desk: Desk, tmp_path: Path) -> None:
    desk.far.is_down = True
    desk.publish(1)
    (tmp_path / "outbox" / "notes-of-mine.json").write_bytes(b"buy milk")
    assert len(desk.outbox.notes()) == 1
    assert (tmp_path / "outbox" / "notes-of-mine.json").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import create_engine
from catalyst_ml.registry import channels, versions
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.outbox import Outbox
from catalyst_ml.registry.pointer import issue_pointer
from catalyst_ml.registry.sending import publish_and_send
from catalyst_ml.registry.signatures import load_signer
from tests.catalyst_ml.registry.registered_versions import GATE, LINE, sealed
from tests.catalyst_ml.registry.test_sending import FILES
url, root, kill_at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
class Killing(FolderStore):
    def put_bytes(self, key, data):
        global kill_at
        kill_at -= 1
        if kill_at < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().put_bytes(key, data)
engine, signer, outbox = create_engine(url), load_signer(root / "k.pem"), Outbox(root / "outbox")
stores = [Killing(root / "artifacts"), Killing(root / "far")]
made = publish_and_send(engine, stores, outbox, signer, FILES, sealed(FILES, seed=1))
channels.promote(engine, LINE, made.version_id, reason="better", actor="test", gate=GATE)
issue_pointer(engine, stores, signer, LINE, reason="better", outbox=outbox)
"""


@pytest.mark.parametrize("kill_at", [2, 5, 9, 10])
def test_killed_at_any_write_nothing_half_done_is_served_and_the_next_run_finishes(
    desk: Desk, database_url: str, tmp_path: Path, kill_at: int
) -> None:
    """Twelve writes in all: four blobs a store, and pointer and signature in each."""
    command = [sys.executable, "-c", KILLED, database_url, str(tmp_path), str(kill_at)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    for store in desk.stores:
        # Whatever lies there: what is followed is whole, or nothing is.
        if store.exists(f"channels/{LINE.dataset}-{LINE.timeframe}-{LINE.label_version}-production.json"):
            follow([store], desk.signer.public_keys, LINE)
    for record in list_versions(desk.engine):
        assert load_version(desk.engine, [desk.home], record.version_id).files == FILES
    desk.send()
    version_id = desk.publish(1)
    if channels.current(desk.engine, LINE).version_id is None:
        desk.promote(version_id)
    assert desk.outbox.notes() == []
    for store in desk.stores:
        assert follow([store], desk.signer.public_keys, LINE).pointer.version_id == version_id
    assert [record.version_id for record in list_versions(desk.engine)] == [version_id]


def test_without_a_killer_the_script_above_makes_twelve_writes(desk: Desk, database_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, database_url, str(tmp_path), "12"]
    subprocess.run(command, check=True, capture_output=True)
    assert desk.served_far() is not None


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    s3_server.client().create_bucket(Bucket="outbox")
    return s3_server.url


def spaces_at(url: str) -> SpacesStore:
    settings = {"bucket": "outbox", "key": "k", "secret": "s", "prefix": "p"}
    return open_spaces(SpacesSettings(endpoint=url, **settings))  # type: ignore[arg-type]


def test_a_bucket_whose_address_is_dead_waits_and_takes_everything_once_it_answers(desk: Desk, bucket: str) -> None:
    dead, alive = spaces_at("http://127.0.0.1:9"), spaces_at(bucket)
    manifest = sealed(FILES, seed=1)
    publish_and_send(desk.engine, [desk.home, dead], desk.outbox, desk.signer, FILES, manifest)
    channels.promote(desk.engine, LINE, manifest.version_id, reason="better", actor="test", gate=GATE)
    issue_pointer(desk.engine, [desk.home, dead], desk.signer, LINE, reason="better", outbox=desk.outbox)
    assert "SPACES_ENDPOINT" in desk.outbox.notes()[0].last_problem
    # The same bucket, whose service is back.
    report = send_waiting(desk.engine, [desk.home, alive], desk.outbox, desk.signer)
    assert report.waiting == ()
    assert follow([alive], desk.signer.public_keys, LINE).onnx == FILES["model.onnx"]


def test_an_object_above_eight_megabytes_goes_in_parts_and_comes_back(bucket: str, s3_server: S3Server) -> None:
    store, data = spaces_at(bucket), bytes(range(256)) * (PART_BYTES // 256) * 2 + b"the rest"
    calls: list[str] = []
    store._client.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    store.put_bytes("versions/big/model.onnx", data)
    assert calls.count("UploadPart") == 3
    assert store.get_bytes("versions/big/model.onnx") == data
    head = s3_server.client().head_object(Bucket="outbox", Key="p/versions/big/model.onnx")
    assert head["Metadata"]["bytes"] == str(len(data))


def second_part(change: Callable[[bytes], bytes]) -> Callable[..., None]:
    def apply(params: dict[str, Any], **_: Any) -> None:
        if params["query_string"].get("partNumber") == 2:
            params["body"] = change(params["body"].read())

    return apply


def test_an_upload_that_breaks_off_between_parts_leaves_nothing_behind(bucket: str, s3_server: S3Server) -> None:
    def break_off(part: bytes) -> bytes:
        raise EndpointConnectionError(endpoint_url=bucket)

    store = spaces_at(bucket)
    store._client.meta.events.register("before-call.s3.UploadPart", second_part(break_off))
    with pytest.raises(SourceUnavailable, match=r"could not upload 'broken\.onnx'"):
        store.put_bytes("broken.onnx", bytes(2 * PART_BYTES))
    assert s3_server.client().list_multipart_uploads(Bucket="outbox").get("Uploads", []) == []
    assert not store.exists("broken.onnx")


def test_a_part_that_is_altered_on_its_way_is_never_read_as_good(bucket: str) -> None:
    """Real services compare each part with its MD5 on arrival; this one does not, and is caught at reading back."""
    store, altered = spaces_at(bucket), []
    store._client.meta.events.register(
        "before-call.s3.UploadPart", second_part(lambda part: altered.append(1) or b"\1" + part[1:])
    )
    store.put_bytes("altered.onnx", bytes(2 * PART_BYTES))
    assert altered
    with pytest.raises(ArtifactRefused, match="do not match"):
        store.get_bytes("altered.onnx")


def test_a_store_that_lost_a_pointer_gets_it_again_at_the_next_start(desk: Desk) -> None:
    desk.promote(desk.publish(1))
    for key in desk.far.list_keys("channels"):
        desk.far.delete(key)
    desk.send()
    assert desk.served_far() is not None


def test_publishing_directly_still_needs_all_stores(desk: Desk) -> None:
    desk.far.is_down = True
    with pytest.raises(SourceUnavailable):
        publish(desk.engine, desk.stores, FILES, sealed(FILES, seed=1), signer=desk.signer)
    assert list_versions(desk.engine) == []

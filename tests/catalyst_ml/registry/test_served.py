"""A server without a database: it follows signed pointers to proved bytes, and refuses everything else by name."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable, UnknownVersion
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import version_key
from catalyst_ml.registry.manifest import Manifest, manifest_bytes, manifest_sha256
from catalyst_ml.registry.pointer_document import Pointer, pointer_bytes, pointer_key
from catalyst_ml.registry.served import FollowedPointer, ServedModel, follow, follow_pointer, load_served
from catalyst_ml.registry.signatures import PublicKeys, Signer, create_key, signature_file
from catalyst_ml.registry.spaces import SpacesStore, open_spaces
from catalyst_ml.settings import SpacesSettings
from tests.catalyst_ml.registry.registered_versions import LINE, sealed
from tests.catalyst_ml.registry.served_graphs import node_of, small_companions, small_graph, spoiled
from tests.fakes.s3_server import S3Server

KEY = pointer_key(LINE, "production")
FILES = {"model.onnx": small_graph(), "report.html": b"<html></html>"}


@dataclass
class Site:
    """A store with one version and a pointer to it, laid out by hand: the database is not needed to serve."""

    store: FolderStore
    signer: Signer
    manifest: Manifest

    @property
    def keys(self) -> PublicKeys:
        return self.signer.public_keys

    def key(self, name: str) -> str:
        return version_key(self.manifest.version_id, name)

    def path(self, name: str) -> Path:
        return self.store.root / self.key(name)

    def put(self, key: str, document: bytes, *, signer: Signer | None = None) -> None:
        """A document and its signature beside it."""
        self.store.put_bytes(key, document)
        name = key.removesuffix("manifest.json") + "manifest.sig" if key.endswith("manifest.json") else key + ".sig"
        self.store.put_bytes(name, signature_file([(signer or self.signer).sign(document)]))

    def publish(self, manifest: Manifest, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            self.store.put_bytes(version_key(manifest.version_id, name), data)
        self.put(version_key(manifest.version_id, "manifest.json"), manifest_bytes(manifest))

    def pointer(self, **changes: Any) -> Pointer:
        content: dict[str, Any] = {
            **LINE._asdict(),
            "channel": "production",
            "version_id": self.manifest.version_id,
            "manifest_sha256": manifest_sha256(self.manifest),
            "sequence": 7,
            "stage": "30",
            "share": 0.25,
            "issued_at": datetime(2026, 6, 7, 7, tzinfo=UTC),
            "reason": "the gate said so",
        }
        return Pointer(**{**content, **changes})

    def point(self, **changes: Any) -> None:
        self.put(KEY, pointer_bytes(self.pointer(**changes)))

    def point_raw(self, change: Callable[[dict[str, Any]], None]) -> None:
        """A well-signed document that no Pointer could spell."""
        document = json.loads(pointer_bytes(self.pointer()))
        change(document)
        self.put(KEY, json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())

    def reseal(self, files: dict[str, bytes], **facts: Any) -> None:
        """Another version with these files, signed and pointed to as if it were ours."""
        self.manifest = sealed(files, **facts)
        self.publish(self.manifest, files)
        self.point()

    def follow(self, **options: Any) -> ServedModel:
        return follow([self.store], self.keys, LINE, **options)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(FolderStore(tmp_path / "artifacts"), create_key(tmp_path / "k.pem"), sealed(FILES))
    made.publish(made.manifest, FILES)
    made.point()
    return made


@pytest.fixture
def stranger(tmp_path: Path) -> Signer:
    return create_key(tmp_path / "stranger.pem")


def test_a_server_gets_the_model_its_manifest_and_its_stage(site: Site) -> None:
    served = site.follow()
    assert (served.onnx, served.manifest, served.is_rules) == (FILES["model.onnx"], site.manifest, False)
    assert (served.pointer.sequence, served.pointer.stage, served.pointer.share) == (7, "30", 0.25)
    assert served.source == site.store.uri(version_key(site.manifest.version_id))
    assert served.problems == ()


def test_companions_come_along_verified_where_a_version_has_them(site: Site) -> None:
    files = {**FILES, "companions.onnx": small_companions()}
    site.reseal(files)
    served = site.follow()
    assert (served.companions, served.onnx) == (files["companions.onnx"], FILES["model.onnx"])
    assert site.key("companions.onnx") in served.documents
    site.store.delete(site.key("companions.onnx"))
    with pytest.raises(ArtifactRefused, match=r"missing files \['companions.onnx'\]"):
        site.follow()
    site.reseal({**FILES, "companions.onnx": small_graph()})
    with pytest.raises(ArtifactRefused, match=r"companions\.onnx: outputs"):
        site.follow()


def test_a_channel_on_the_rules_names_no_version(site: Site) -> None:
    site.point(version_id=None, manifest_sha256=None, stage="shadow", share=0.0, sequence=8, reason="rolled back")
    served = site.follow(last_sequence=7)
    assert (served.is_rules, served.manifest, served.onnx) == (True, None, None)
    assert served.pointer.reason == "rolled back"


def test_the_pointer_followed_last_may_be_followed_again(site: Site) -> None:
    assert site.follow(last_sequence=7).pointer.sequence == 7


def test_where_nothing_was_ever_promoted_the_answer_is_unknown_and_not_an_alarm(site: Site) -> None:
    with pytest.raises(UnknownVersion, match="no usable pointer"):
        follow([site.store], site.keys, LINE._replace(dataset="other"))


def test_what_was_served_can_be_cached_and_followed_from_the_cache_alone(site: Site, tmp_path: Path) -> None:
    served, cache = site.follow(), FolderStore(tmp_path / "cache")
    for key, data in reversed(served.documents.items()):
        cache.put_bytes(key, data)
    again = follow([cache], site.keys, LINE)
    assert (again.onnx, again.pointer) == (served.onnx, served.pointer)


@dataclass
class FailingStore(FolderStore):
    """A store whose service does not answer."""

    root: Path

    def get_bytes(self, key: str, **limits: Any) -> bytes:
        raise SourceUnavailable("the service is down")


def test_a_store_that_is_down_is_not_needed_while_another_answers(site: Site, tmp_path: Path) -> None:
    down = FailingStore(tmp_path)
    served = follow([down, site.store], site.keys, LINE)
    assert served.onnx == FILES["model.onnx"]
    assert served.problems == ("the service is down", "the service is down")
    with pytest.raises(SourceUnavailable, match="the service is down"):
        follow([down], site.keys, LINE)


def test_of_several_stores_the_newest_valid_pointer_counts_and_any_good_copy(site: Site, tmp_path: Path) -> None:
    lagging = replace(site, store=FolderStore(tmp_path / "lagging"))
    lagging.point(sequence=6, version_id=None, manifest_sha256=None, stage="shadow", share=0.0)
    served = follow([lagging.store, site.store], site.keys, LINE)
    assert (served.pointer.sequence, served.onnx) == (7, FILES["model.onnx"])
    assert len(served.problems) == 1  # the copy that the lagging store does not have


def test_while_a_pointer_is_replaced_a_reader_finds_a_pair(site: Site) -> None:
    old, new = pointer_bytes(site.pointer()), pointer_bytes(site.pointer(sequence=8))
    site.store.put_bytes(KEY + ".sig", signature_file([site.signer.sign(new), site.signer.sign(old)]))
    assert site.follow().pointer.sequence == 7
    site.store.put_bytes(KEY, new)
    assert site.follow().pointer.sequence == 8


def edit(document: dict[str, Any], **changes: Any) -> None:
    document.update(changes)


def twice(site: Site) -> None:
    """The rules first and the model behind them: readers would not agree which of the two counts."""
    document = pointer_bytes(site.pointer()).replace(b'"share":0.25', b'"share":0.0,"share":0.25')
    site.put(KEY, document)


def other_site(site: Site) -> None:
    """A whole, well-signed version and pointer of another line, moved to this one's name."""
    site.put(KEY, pointer_bytes(site.pointer(dataset="other")))


def swap_version_of_other_line(site: Site) -> None:
    """A version of another line, well signed, which a pointer of this one names."""
    other = sealed(FILES, dataset="other")
    site.publish(other, FILES)
    site.point(version_id=other.version_id, manifest_sha256=manifest_sha256(other))


def rename_version(site: Site) -> None:
    """The folder of one version filled with another one, whose digest the pointer names."""
    other = sealed(FILES, seed=99)
    folder = site.manifest.version_id
    site.put(version_key(folder, "manifest.json"), manifest_bytes(other))
    site.point(version_id=folder, manifest_sha256=manifest_sha256(other))


def signed_manifest(site: Site, change: Callable[[dict[str, Any]], None]) -> None:
    """A manifest that says something else, signed and pointed to: the key itself in wrong hands."""
    document = json.loads(manifest_bytes(site.manifest))
    change(document)
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    site.put(site.key("manifest.json"), data)
    site.point(manifest_sha256=hashlib.sha256(data).hexdigest())


def link(site: Site, name: str, target: str) -> None:
    site.path(name).unlink()
    site.path(name).symlink_to(target)


def pipe(site: Site, key: str) -> None:
    (site.store.root / key).unlink()
    os.mkfifo(site.store.root / key)


def folder(site: Site, key: str) -> None:
    (site.store.root / key).unlink()
    (site.store.root / key).mkdir()


def cut(site: Site, name: str) -> None:
    site.store.put_bytes(site.key(name), FILES[name][:-1])


def bad_graph(site: Site) -> None:
    """The weekly run itself is taken over: right hashes, right signatures, another graph."""
    data = spoiled(lambda model: setattr(node_of(model, "Gemm"), "domain", "evil"))
    site.reseal({**FILES, "model.onnx": data})


PICKLE = b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."

HOSTILE: dict[str, tuple[Callable[[Site], None], str]] = {
    # What an attacker can do who writes to the store but has no key
    "a model of other bytes": (lambda s: s.store.put_bytes(s.key("model.onnx"), b"x" * len(small_graph())), "SHA-256"),
    "a model cut off by one byte": (lambda s: cut(s, "model.onnx"), "SHA-256"),
    "a model longer than the manifest says": (
        lambda s: s.store.put_bytes(s.key("model.onnx"), small_graph() + b"\0"),
        "allowed are",
    ),
    "no model": (lambda s: s.store.delete(s.key("model.onnx")), r"missing files \['model.onnx'\]"),
    "a file too many": (lambda s: s.store.put_bytes(s.key("library.so"), b"x"), r"extra files \['library.so'\]"),
    "a file in a folder below": (
        lambda s: s.store.put_bytes(s.key("data/weights.onnx"), b"x"),
        r"extra files \['data/weights.onnx'\]",
    ),
    "a pickled object in the model's name": (
        lambda s: s.store.put_bytes(s.key("model.onnx"), PICKLE.ljust(len(small_graph()), b"\0")),
        "SHA-256",
    ),
    "no manifest": (lambda s: s.store.delete(s.key("manifest.json")), "no store holds a usable copy"),
    "an edited manifest": (
        lambda s: s.store.put_bytes(s.key("manifest.json"), manifest_bytes(sealed(FILES, seed=8))),
        "not made over these bytes",
    ),
    "no signature of the manifest": (lambda s: s.store.delete(s.key("manifest.sig")), "has no signature beside it"),
    "a signature of another manifest": (
        lambda s: s.store.put_bytes(s.key("manifest.sig"), signature_file([s.signer.sign(b"another")])),
        "not made over these bytes",
    ),
    "a signature that is none": (
        lambda s: s.store.put_bytes(s.key("manifest.sig"), b"-----BEGIN PGP SIGNATURE-----\n"),
        "It is no signature",
    ),
    "no signature of the pointer": (lambda s: s.store.delete(KEY + ".sig"), "has no signature beside it"),
    "an edited pointer": (
        lambda s: s.store.put_bytes(KEY, pointer_bytes(s.pointer(stage="100", share=1.0))),
        "not made over these bytes",
    ),
    "an unsigned pointer that is no pointer": (lambda s: s.store.put_bytes(KEY, b"[]"), "not made over these bytes"),
    "an old pointer put back": (lambda s: s.point(sequence=6), "sequence 6, already seen was 7"),
    "a pointer too large": (lambda s: s.store.put_bytes(KEY, b" " * 10_000), "10,000 bytes, allowed are 8,192"),
    "a signature too large": (lambda s: s.store.put_bytes(KEY + ".sig", b"A" * 2_000), "2,000 bytes, allowed are"),
    "a pointer of another line": (other_site, "asked for was channel production of demo"),
    "a pointer of another channel": (
        lambda s: s.put(KEY, pointer_bytes(s.pointer(channel="shadow"))),
        "it is the pointer of channel shadow",
    ),
    "a manifest too large": (
        lambda s: s.store.put_bytes(s.key("manifest.json"), b" " * 5_000_000),
        "allowed are 4,194,304",
    ),
    "a link out of the store": (lambda s: link(s, "model.onnx", "/etc/hostname"), "leads out of"),
    "a link to the file of another version": (lambda s: link(s, "model.onnx", "report.html"), "SHA-256"),
    "a pipe in the place of the model": (lambda s: pipe(s, s.key("model.onnx")), "missing files|plain file"),
    "a pipe in the place of the pointer": (lambda s: pipe(s, KEY), "expected a plain file"),
    "a folder in the place of the pointer": (
        lambda s: folder(s, KEY),
        "expected a plain file",
    ),
    # What somebody can do who has got hold of the key: what is signed must still be one of ours
    "a pointer to a version of another line": (swap_version_of_other_line, "it is version other-1d"),
    "a version in another one's folder": (rename_version, "the pointer names"),
    "a pointer with a key twice": (twice, "not spelled as we spell it"),
    "a pointer with spaces": (
        lambda s: s.put(KEY, pointer_bytes(s.pointer()) + b"\n"),
        "not spelled as we spell it",
    ),
    "a pointer of a newer schema": (lambda s: s.point_raw(lambda d: edit(d, schema_version=2)), "schema_version"),
    "a pointer with an unknown field": (lambda s: s.point_raw(lambda d: edit(d, execute="rm -rf /")), "execute"),
    "a pointer without a sequence": (lambda s: s.point_raw(lambda d: d.pop("sequence")), "sequence"),
    "a sequence that ends all sequences": (lambda s: s.point_raw(lambda d: edit(d, sequence=2**63)), "sequence"),
    "a sequence as a huge float": (lambda s: s.point_raw(lambda d: edit(d, sequence=1e300)), "sequence"),
    "a sequence of no size": (lambda s: s.point_raw(lambda d: edit(d, sequence=0)), "sequence"),
    "a share above one": (lambda s: s.point_raw(lambda d: edit(d, share=1.5)), "share"),
    "a share above its stage": (lambda s: s.point_raw(lambda d: edit(d, share=0.9)), "share 0.9 is above"),
    "a share that is no number": (lambda s: s.point_raw(lambda d: edit(d, share=float("nan"))), "document|share"),
    "a stage of one's own": (lambda s: s.point_raw(lambda d: edit(d, stage="1000")), "stage"),
    "a version without a digest": (lambda s: s.point_raw(lambda d: edit(d, manifest_sha256=None)), "go together"),
    "a version id that is a path": (
        lambda s: s.point_raw(lambda d: edit(d, version_id="../../etc")),
        "version_id",
    ),
    "a version id in look-alike letters": (
        lambda s: s.point_raw(lambda d: edit(d, version_id="dеmo-1d-20260605-12345678")),
        "version_id",
    ),
    "a version id that turns the reading direction": (
        lambda s: s.point_raw(lambda d: edit(d, version_id="demo\u202e1d")),
        "version_id",
    ),
    "a version id with an end of line": (
        lambda s: s.point_raw(lambda d: edit(d, version_id=s.manifest.version_id + "\n")),
        "version_id",
    ),
    "a time without a zone": (lambda s: s.point_raw(lambda d: edit(d, issued_at="2026-06-07T07:00:00")), "issued_at"),
    "a nest of a hundred thousand lists": (lambda s: s.put(KEY, b"[" * 4_000 + b"]" * 4_000), "document"),
    "a manifest of a newer schema": (
        lambda s: signed_manifest(s, lambda d: edit(d, schema_version=2)),
        "schema_version",
    ),
    "a manifest with an unknown field": (lambda s: signed_manifest(s, lambda d: edit(d, hook="x")), "hook"),
    "a manifest whose file is a path": (
        lambda s: signed_manifest(s, lambda d: edit(d["files"][0], name="../model.onnx")),
        "files.0.name",
    ),
    "a manifest with a pickled model": (
        lambda s: signed_manifest(s, lambda d: edit(d["files"][0], name="model.pkl")),
        "version_id|problems",
    ),
    "a manifest whose file is too large": (
        lambda s: signed_manifest(s, lambda d: edit(d["files"][0], bytes=2**40)),
        "files.0.bytes",
    ),
    "a manifest without a model": (lambda s: s.reseal({"report.html": b"x"}), r"missing files \['model.onnx'\]"),
    "a manifest with other inputs than the graph": (
        lambda s: s.reseal(FILES, inputs=("bb_position", "rsi_14")),
        "names other inputs than the manifest",
    ),
    "a graph that is not ours": (bad_graph, "'Gemm' of domain 'evil' is not on the trust list"),
    "a pickled model with right hashes": (lambda s: s.reseal({"model.onnx": PICKLE}), "not what our exporter writes"),
    "an empty model with right hashes": (lambda s: s.reseal({"model.onnx": b""}), "IR version None"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_artifact_is_refused_for_its_reason(site: Site, name: str) -> None:
    last = site.follow().pointer.sequence
    change, reason = HOSTILE[name]
    change(site)
    with pytest.raises(ArtifactRefused, match=reason):
        site.follow(last_sequence=last)


def test_the_hostile_corpus_holds_at_least_the_twenty_that_were_asked_for() -> None:
    assert len(HOSTILE) >= 20


@pytest.mark.parametrize("document", ["manifest", "pointer"])
def test_another_key_is_not_believed_however_right_everything_else_is(
    site: Site, stranger: Signer, document: str
) -> None:
    if document == "manifest":
        site.put(site.key("manifest.json"), manifest_bytes(site.manifest), signer=stranger)
    else:
        site.put(KEY, pointer_bytes(site.pointer(sequence=8)), signer=stranger)
    with pytest.raises(ArtifactRefused, match=f"pinned key \\({site.keys.fingerprint}\\)"):
        site.follow()


def test_a_refused_copy_in_one_store_does_not_hide_a_good_one_in_another(site: Site, tmp_path: Path) -> None:
    bad = replace(site, store=FolderStore(tmp_path / "bad"))
    bad.publish(site.manifest, FILES)
    bad.point(sequence=8)
    bad.store.put_bytes(KEY, b"{}")
    bad.store.put_bytes(bad.key("model.onnx"), b"evil")
    served = follow([bad.store, site.store], site.keys, LINE)
    assert (served.pointer.sequence, served.onnx) == (7, FILES["model.onnx"])
    assert len(served.problems) == 2


def test_a_forged_higher_number_does_not_outbid_a_valid_pointer(site: Site, stranger: Signer, tmp_path: Path) -> None:
    forged = replace(site, store=FolderStore(tmp_path / "forged"), signer=stranger)
    forged.point(sequence=10**9)
    followed = follow_pointer([forged.store, site.store], site.keys, LINE)
    assert followed.pointer.sequence == 7


def test_the_pointer_is_small_to_ask_for_and_the_model_only_read_if_it_changed(site: Site) -> None:
    followed = follow_pointer([site.store], site.keys, LINE)
    assert isinstance(followed, FollowedPointer)
    assert sum(map(len, followed.documents.values())) < 1_500
    assert load_served([site.store], site.keys, followed).onnx == FILES["model.onnx"]


def test_a_reader_beside_a_writer_only_ever_sees_whole_states(site: Site, tmp_path: Path) -> None:
    """A hundred moves between a model and the rules, by somebody else, while this one follows as fast as it can."""
    moves = iter(range(8, 108))
    done = threading.Event()

    def move() -> None:
        rules = {"version_id": None, "manifest_sha256": None, "stage": "shadow", "share": 0.0}
        old = pointer_bytes(site.pointer())
        for sequence in moves:
            new = pointer_bytes(site.pointer(sequence=sequence, **(rules if sequence % 2 else {})))
            pair = [site.signer.sign(new), site.signer.sign(old)]
            site.store.put_bytes(KEY + ".sig", signature_file(pair))
            site.store.put_bytes(KEY, new)
            old = new
        done.set()

    writer = threading.Thread(target=move)
    writer.start()
    seen, refused = [7], 0
    while not done.is_set():
        try:
            served = site.follow(last_sequence=seen[-1])
        except ArtifactRefused:
            refused += 1  # two moves between its two reads: the last good one stays
            continue
        assert served.is_rules == bool(served.pointer.sequence % 2 and served.pointer.sequence > 7)
        seen.append(served.pointer.sequence)
    writer.join()
    assert seen == sorted(seen)
    assert site.follow(last_sequence=seen[-1]).pointer.sequence == 107
    assert refused < len(seen)


@pytest.fixture
def spaces(s3_server: S3Server) -> SpacesStore:
    s3_server.client().create_bucket(Bucket="served")
    settings = {"bucket": "served", "key": "k", "secret": "s", "prefix": ""}
    return open_spaces(SpacesSettings(endpoint=s3_server.url, **settings))  # type: ignore[arg-type]


@pytest.mark.server
def test_a_bucket_is_followed_like_a_folder(site: Site, spaces: SpacesStore) -> None:
    for key in [*site.store.list_keys("versions"), *site.store.list_keys("channels")]:
        spaces.put_bytes(key, site.store.get_bytes(key))
    served = follow([spaces], site.keys, LINE)
    assert served.onnx == FILES["model.onnx"]
    spaces.put_bytes(site.key("extra.onnx"), b"x")
    with pytest.raises(ArtifactRefused, match="extra files"):
        follow([spaces], site.keys, LINE)


@pytest.mark.parametrize("trouble", ["truncated", "reset", "500"])
def test_a_bucket_in_trouble_is_said_to_be_unavailable_and_nothing_of_it_is_served(site: Site, trouble: str) -> None:
    document = pointer_bytes(site.pointer())

    class Trouble(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if trouble == "reset":
                self.connection.close()
                return
            self.send_response(500 if trouble == "500" else 200)
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            if trouble == "truncated":
                self.wfile.write(document[:-10])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Trouble) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {"bucket": "b", "key": "k", "secret": "s", "timeout_s": 2.0}
        store = open_spaces(SpacesSettings(endpoint=f"http://127.0.0.1:{server.server_port}", **settings))  # type: ignore[arg-type]
        with pytest.raises(SourceUnavailable, match="no usable pointer"):
            follow([store], site.keys, LINE)
        assert follow([store, site.store], site.keys, LINE).onnx == FILES["model.onnx"]
        server.shutdown()


@given(st.data())
@hypothesis_settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_byte_anywhere_is_refused_or_changes_nothing(site: Site, data: st.DataObject) -> None:
    keys = site.store.list_keys("versions") + site.store.list_keys("channels")
    key = data.draw(st.sampled_from([key for key in keys if not key.endswith("report.html")]))
    original = site.store.get_bytes(key)
    place, byte = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(0, 255))
    changed = original[:place] + bytes([byte]) + original[place + 1 :]
    site.store.put_bytes(key, changed)
    try:
        served = site.follow()
    except ArtifactRefused:
        assert changed != original
    else:
        # The very byte, or one that spells the same signature in base64: what is served is what was signed.
        assert changed == original or key.endswith(".sig")
        assert (served.onnx, served.manifest) == (FILES["model.onnx"], site.manifest)
    finally:
        site.store.put_bytes(key, original)


def test_a_server_loads_no_database_driver_and_no_trainer() -> None:
    probe = (
        "import sys, catalyst_ml.registry.served\n"
        "heavy = {'sqlalchemy', 'psycopg2', 'boto3', 'onnx', 'pandas', 'torch', 'xgboost', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

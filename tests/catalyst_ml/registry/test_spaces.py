"""The Spaces store against a real S3 server in its own process."""

from typing import Any

import pytest
from pydantic import SecretStr

from catalyst_ml.errors import ArtifactRefused, ConfigurationError, SourceUnavailable, UnknownVersion
from catalyst_ml.registry.spaces import SpacesStore, open_spaces
from catalyst_ml.settings import SpacesSettings
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.s3_server import S3Server

pytestmark = pytest.mark.server

BUCKET = "models"


@pytest.fixture(scope="module")
def server(s3_server: S3Server) -> S3Server:
    s3_server.client().create_bucket(Bucket=BUCKET)
    return s3_server


@pytest.fixture
def store(server: S3Server) -> SpacesStore:
    return open_spaces(settings(server.url))


def settings(endpoint: str, **changes: Any) -> SpacesSettings:
    parts = {"bucket": BUCKET, "key": SecretStr("the-key"), "secret": SecretStr("the-secret"), "prefix": "catalyst"}
    return SpacesSettings(endpoint=endpoint, **{**parts, **changes})


def test_bytes_come_back_and_a_second_put_replaces_them(store: SpacesStore) -> None:
    store.put_bytes("versions/a/model.onnx", b"old")
    store.put_bytes("versions/a/model.onnx", b"new" * 100_000)
    assert store.get_bytes("versions/a/model.onnx") == b"new" * 100_000
    assert store.exists("versions/a/model.onnx")
    assert store.uri("versions/a/model.onnx") == "s3://models/catalyst/versions/a/model.onnx"


def test_a_connection_that_breaks_within_the_bytes_is_a_store_that_does_not_answer(
    store: SpacesStore, server: S3Server
) -> None:
    store.put_bytes("versions/b/model.onnx", b"n" * 300_000)
    with FaultProxy(int(server.url.rpartition(":")[2])) as proxy:
        broken = open_spaces(settings(proxy.url))
        proxy.keep, proxy.mode = 100_000, "truncate"
        with pytest.raises(SourceUnavailable, match=r"could not read 'versions/b/model.onnx'"):
            broken.get_bytes("versions/b/model.onnx")


def test_size_and_digest_are_stored_with_the_object(store: SpacesStore, server: S3Server) -> None:
    store.put_bytes("versions/m/model.onnx", b"abc")
    head = server.client().head_object(Bucket=BUCKET, Key="catalyst/versions/m/model.onnx")
    assert head["Metadata"] == {
        "bytes": "3",
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }


def test_no_checksum_header_is_sent_that_s3_compatible_stores_refuse(server: S3Server) -> None:
    store = open_spaces(settings(server.url))
    sent: list[str] = []
    store._client.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.extend(request.headers))
    store.put_bytes("versions/h/model.onnx", b"abc")
    assert "content-md5" in {name.lower() for name in sent}
    assert not [name for name in sent if "checksum" in name.lower() or "if-match" in name.lower()]


def test_keys_are_listed_below_their_folder_only_and_through_all_pages(store: SpacesStore, server: S3Server) -> None:
    keys = [f"versions/p/{n:04d}.json" for n in range(2 * server.page_size + 1)]
    client = server.client()
    for key in [*keys, "versions/pq/x.json"]:
        client.put_object(Bucket=BUCKET, Key=f"catalyst/{key}", Body=b"{}")
    assert store.list_keys("versions/p/") == keys
    assert store.list_keys("versions/nothing") == []


def test_a_missing_object_is_an_unknown_version(store: SpacesStore) -> None:
    assert not store.exists("versions/a/gone.json")
    with pytest.raises(UnknownVersion, match="gone"):
        store.get_bytes("versions/a/gone.json")


def test_an_object_altered_in_the_bucket_is_refused(store: SpacesStore, server: S3Server) -> None:
    store.put_bytes("versions/t/model.onnx", b"good")
    client = server.client()
    metadata = client.head_object(Bucket=BUCKET, Key="catalyst/versions/t/model.onnx")["Metadata"]
    client.put_object(Bucket=BUCKET, Key="catalyst/versions/t/model.onnx", Body=b"evil", Metadata=metadata)
    with pytest.raises(ArtifactRefused, match="do not match"):
        store.get_bytes("versions/t/model.onnx")


def test_an_object_above_the_limit_is_refused(store: SpacesStore) -> None:
    store.put_bytes("versions/l/model.onnx", b"12345")
    with pytest.raises(ArtifactRefused, match="5 bytes"):
        store.get_bytes("versions/l/model.onnx", max_bytes=4)


def test_a_missing_bucket_names_its_setting(server: S3Server) -> None:
    with pytest.raises(ConfigurationError, match="SPACES_BUCKET"):
        open_spaces(settings(server.url, bucket="nobody")).put_bytes("a.json", b"{}")


def test_refused_credentials_name_the_settings_and_never_the_secret(server: S3Server, store: SpacesStore) -> None:
    server.require_known_keys(True)
    try:
        with pytest.raises(ConfigurationError, match="SPACES_KEY, SPACES_SECRET") as caught:
            store.put_bytes("a.json", b"{}")
    finally:
        server.require_known_keys(False)
    assert "the-secret" not in f"{caught.value} {caught.value.__cause__}"
    assert "the-key" not in str(caught.value)


def test_an_unreachable_endpoint_is_a_temporary_failure() -> None:
    with pytest.raises(SourceUnavailable, match="SPACES_ENDPOINT"):
        open_spaces(settings("http://127.0.0.1:9")).get_bytes("a.json")


def test_an_endpoint_that_is_no_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="SPACES_ENDPOINT"):
        open_spaces(settings("fra1"))


@pytest.mark.parametrize("missing", ["bucket", "key", "secret"])
def test_an_unset_part_is_named(missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SPACES_{missing.upper()} not set"):
        open_spaces(settings("http://127.0.0.1:9", **{missing: None}))

"""``catalyst-ml keys`` and ``registry``: the key, what waits, sending, pruning; and the pointer of a move."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.registry.artifact_store import FolderStore, open_stores
from catalyst_ml.registry.served import follow_pointer
from catalyst_ml.registry.signatures import PublicKeys
from catalyst_ml.registry.versions import publish
from catalyst_ml.settings import Settings
from tests.catalyst_ml.cli.command_line import catalyst, printed
from tests.catalyst_ml.registry.registered_versions import FILES, LINE, sealed
from tests.fakes.s3_server import S3Server

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]


@pytest.fixture
def artifacts(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "home" / "artifacts")


@pytest.fixture
def version_id(database: Engine, artifacts: FolderStore) -> str:
    return publish(database, [artifacts], FILES, sealed()).version_id


def as_json(*arguments: str) -> Any:
    return json.loads(printed(*arguments, "--json"))


def pinned() -> PublicKeys:
    return PublicKeys.parse(as_json("keys", "show")["public_key"])


def test_a_key_is_made_once_shown_and_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="keys create"):
        catalyst("keys", "show")
    made = as_json("keys", "create")
    assert made["private_key_file"] == str(tmp_path / "home" / "keys" / "signing.pem")
    assert f"SIGNING_PUBLIC_KEY={made['public_key']}" in printed("keys", "show")
    with pytest.raises(ConfigurationError, match="is not overwritten"):
        catalyst("keys", "create")
    assert as_json("keys", "show") == made


def test_a_promotion_by_hand_tells_the_servers_without_a_further_step(artifacts: FolderStore, version_id: str) -> None:
    said = printed("models", "promote", version_id, "--reason", "the gate said so")
    assert f"Pointer 1 tells the servers: {version_id}, stage 100." in said
    pointer = follow_pointer([artifacts], pinned(), LINE).pointer
    assert (pointer.version_id, pointer.sequence, pointer.reason) == (version_id, 1, "the gate said so")


def test_a_rollback_by_hand_does_too_and_repeating_it_takes_no_number(artifacts: FolderStore, version_id: str) -> None:
    printed("models", "promote", version_id, "--reason", "good")
    for _ in range(2):
        told = as_json("models", "rollback", "--to", "rules", "--reason", "it lost money")
        assert (told["pointer"]["sequence"], told["pointer"]["version_id"], told["waiting"]) == (2, None, [])
    assert follow_pointer([artifacts], pinned(), LINE).pointer.reason == "it lost money"


def test_a_key_that_others_can_read_stops_the_promotion_before_it_moves(version_id: str, tmp_path: Path) -> None:
    as_json("keys", "create")
    (tmp_path / "home" / "keys" / "signing.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match="is open to others"):
        catalyst("models", "promote", version_id, "--reason", "x")
    assert as_json("models", "history") == []


def test_a_machine_with_another_key_moves_nothing_until_it_is_told_to_replace_it(
    artifacts: FolderStore, version_id: str, tmp_path: Path
) -> None:
    """A rollback on the droplet, where the first use made a key that no server knows, must not look as if it worked."""
    printed("models", "promote", version_id, "--reason", "good")
    first = pinned()
    (tmp_path / "home" / "keys" / "signing.pem").rename(tmp_path / "elsewhere.pem")
    with pytest.raises(ConfigurationError, match="Copy that key's file here"):
        catalyst("models", "rollback", "--reason", "it lost money")
    assert [entry["action"] for entry in as_json("models", "history")] == ["promote"]
    assert follow_pointer([artifacts], first, LINE).pointer.version_id == version_id
    assert as_json("registry", "send", "--replace-key")["waiting"] == []
    printed("models", "rollback", "--reason", "it lost money")
    assert follow_pointer([artifacts], pinned(), LINE).pointer.sequence == 3


def test_with_the_bucket_down_a_move_is_made_and_waits_and_is_sent_later(
    version_id: str, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    """The version was published before there was a bucket; it is sent with its pointer all the same."""
    s3_server.client().create_bucket(Bucket="moves")
    for name, value in {"BUCKET": "moves", "KEY": "k", "SECRET": "s", "ENDPOINT": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(f"SPACES_{name}", value)
    said = printed("models", "promote", version_id, "--reason", "good")
    assert "Not sent yet" in said
    (note,) = as_json("registry", "outbox")["waiting"]
    assert (note["channel"], note["attempts"]) == ("production", 1)
    still = catalyst("registry", "send")
    assert (still.exit_code, "waits for s3://moves" in still.output) == (1, True)
    monkeypatch.setenv("SPACES_ENDPOINT", s3_server.url)
    done = as_json("registry", "send")
    assert done["waiting"] == []
    pointer = follow_pointer([open_stores(Settings())[1]], pinned(), LINE).pointer
    assert (pointer.version_id, pointer.sequence) == (version_id, 1)


def test_nothing_waiting_is_said_in_words() -> None:
    assert "Nothing waits" in printed("registry", "outbox")
    assert "Nothing waits" in printed("registry", "send")


def test_pruning_is_a_rehearsal_until_it_is_asked_to_delete(database: Engine, artifacts: FolderStore) -> None:
    first = datetime(2026, 1, 2, 21, tzinfo=UTC)
    ids = [
        publish(database, [artifacts], FILES, sealed(as_of=first + timedelta(weeks=week))).version_id
        for week in range(3)
    ]
    said = printed("registry", "prune", "--keep", "2")
    assert f"would go: {ids[0]}" in said
    assert "add --apply" in said
    assert artifacts.exists(f"versions/{ids[0]}/model.onnx")
    done = as_json("registry", "prune", "--keep", "2", "--apply")
    assert (done["prune"], done["deleted"]) == ([ids[0]], [ids[0]])
    assert not artifacts.exists(f"versions/{ids[0]}/model.onnx")
    assert "pruned" in next(line for line in printed("models", "list").splitlines() if ids[0] in line)
    assert catalyst("registry", "prune", "--keep", "0").exit_code == 2


def test_history_at_a_moment_names_the_holder_since_when_and_why(version_id: str) -> None:
    printed("models", "promote", version_id, "--reason", "the gate said so")
    printed("models", "rollback", "--reason", "it lost money")
    promoted, rolled_back = (datetime.fromisoformat(entry["at"]) for entry in as_json("models", "history"))
    for moment, holder, reason in (
        (promoted - timedelta(seconds=2), None, None),
        (rolled_back + timedelta(seconds=2), None, "it lost money"),
    ):
        (held,) = as_json("models", "history", "--at", f"{moment:%Y-%m-%dT%H:%M:%S%z}")["held"]
        assert (held["version_id"], held["reason"]) == (holder, reason)
    assert "nothing had moved yet" in printed("models", "history", "--at", "2020-01-01")
    assert "it lost money" in printed("models", "history", "--at", "2100-01-01")

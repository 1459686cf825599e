"""Pointers: the table is the truth, one number a change, and no store ever gets an older one over a newer one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import ConfigurationError, SourceUnavailable, UnknownVersion
from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import version_key
from catalyst_ml.registry.outbox import Outbox
from catalyst_ml.registry.pointer import issue_pointer, renew_pointers, send_pointer
from catalyst_ml.registry.pointer_document import Pointer, pointer_key, read_pointer
from catalyst_ml.registry.pointer_table import newest_pointer
from catalyst_ml.registry.signatures import Signer, create_key, read_signatures
from catalyst_ml.registry.versions import copy_version, publish
from tests.catalyst_ml.registry.registered_versions import FILES, GATE, LINE, sealed

pytestmark = pytest.mark.server

KEY = "channels/demo-1d-atr1-h5-v1-production.json"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return create_key(tmp_path / "signing.pem")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


@dataclass
class DownStore(FolderStore):
    """A folder store that can be switched off, as a bucket whose service is down."""

    root: Path
    is_down: bool = False
    written: list[str] = field(default_factory=list)

    def put_bytes(self, key: str, data: bytes) -> None:
        self._ask()
        self.written.append(key)
        super().put_bytes(key, data)

    def get_bytes(self, key: str, **limits: Any) -> bytes:
        self._ask()
        return super().get_bytes(key, **limits)

    def _ask(self) -> None:
        if self.is_down:
            raise SourceUnavailable("the service is down")


def promote(engine: Engine, store: FolderStore, seed: int) -> str:
    version_id = publish(engine, [store], FILES, sealed(seed=seed)).version_id
    channels.promote(engine, LINE, version_id, reason="better", actor="test", gate=GATE)
    return version_id


def stored(store: FolderStore, signer: Signer) -> Pointer:
    return read_pointer(
        store.get_bytes(KEY), store.get_bytes(KEY + ".sig"), signer.public_keys, LINE, channel="production"
    )


def test_a_pointer_says_what_the_channel_holds_and_lies_signed_in_every_store(
    database: Engine, store: FolderStore, signer: Signer, tmp_path: Path
) -> None:
    assert pointer_key(LINE, "production") == KEY
    version_id, far = promote(database, store, 1), FolderStore(tmp_path / "far")
    copy_version(database, [store], far, version_id, signer)
    issued = issue_pointer(database, [store, far], signer, LINE, reason="the gate said so")
    assert issued.is_new
    assert (issued.pointer.version_id, issued.pointer.sequence) == (version_id, 1)
    assert (issued.pointer.stage, issued.pointer.share, issued.pointer.reason) == ("100", 1.0, "the gate said so")
    assert stored(store, signer) == stored(far, signer) == issued.pointer == newest_pointer(database, LINE)


def test_nothing_new_to_say_takes_no_number_and_mends_the_store(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    promote(database, store, 1)
    first = issue_pointer(database, [store], signer, LINE, reason="first")
    store.put_bytes(KEY, b"{}")
    again = issue_pointer(database, [store], signer, LINE, reason="second")
    assert (again.is_new, again.pointer) == (False, first.pointer)
    assert stored(store, signer) == first.pointer


def test_the_rules_and_the_shadow_have_no_share_whatever_is_asked(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    rules = issue_pointer(database, [store], signer, LINE, stage="100", share=1.0, reason="nothing promoted")
    assert (rules.pointer.version_id, rules.pointer.stage, rules.pointer.share) == (None, "shadow", 0.0)
    version_id = publish(database, [store], FILES, sealed()).version_id
    channels.enter_shadow(database, LINE, version_id, reason="challenger", actor="test", gate=None)
    shadow = issue_pointer(database, [store], signer, LINE, channel="shadow", stage="30", reason="challenger")
    assert (shadow.pointer.version_id, shadow.pointer.stage, shadow.pointer.share) == (version_id, "shadow", 0.0)
    assert shadow.pointer.sequence == 1  # each channel counts for itself


def test_a_stage_lasts_until_another_is_named_also_through_the_rules(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    def told(**asked: Any) -> tuple[int, str, float]:
        pointer = issue_pointer(database, [store], signer, LINE, reason="trial", **asked).pointer
        return pointer.sequence, pointer.stage, pointer.share

    promote(database, store, 1)
    assert told(stage="10") == (1, "10", 0.1)
    promote(database, store, 2)
    assert told() == (2, "10", 0.1)
    assert told(stage="30", share=0.2) == (3, "30", 0.2)
    channels.rollback(database, LINE, reason="guardrail", actor="test", to="rules")
    assert told() == (4, "shadow", 0.0)
    promote(database, store, 3)
    assert told() == (5, "30", 0.2)


@pytest.mark.parametrize("asked", [{"share": 0.5}, {"stage": "10", "share": 0.11}, {"stage": "70", "share": -0.1}])
def test_a_share_above_the_stages_is_refused(
    database: Engine, store: FolderStore, signer: Signer, asked: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="share"):
        issue_pointer(database, [store], signer, LINE, reason="trial", **asked)
    assert newest_pointer(database, LINE) is None


def test_a_pointer_never_leads_to_a_version_that_the_store_does_not_hold(
    database: Engine, store: FolderStore, signer: Signer, tmp_path: Path
) -> None:
    version_id, far = promote(database, store, 1), DownStore(tmp_path / "far")
    with pytest.raises(UnknownVersion, match=version_id):
        issue_pointer(database, [store, far], signer, LINE, reason="promoted")
    assert far.written == []
    assert stored(store, signer).version_id == version_id


def test_a_version_published_without_a_key_is_signed_before_it_is_pointed_to(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    version_id = promote(database, store, 1)
    key = version_key(version_id, "manifest.sig")
    assert not store.exists(key)
    issue_pointer(database, [store], signer, LINE, reason="promoted")
    (signature,) = read_signatures(key, store.get_bytes(key))
    assert signer.public_keys.verifies(store.get_bytes(version_key(version_id, "manifest.json")), signature)


def test_the_signature_is_written_first_and_covers_both_documents_meanwhile(
    database: Engine, signer: Signer, tmp_path: Path
) -> None:
    store = DownStore(tmp_path / "artifacts")
    promote(database, store, 1)
    issue_pointer(database, [store], signer, LINE, reason="first")
    before = store.get_bytes(KEY)
    promote(database, store, 2)
    issue_pointer(database, [store], signer, LINE, reason="second")
    assert [key for key in store.written if key.startswith("channels/")] == [KEY + ".sig", KEY] * 2
    between = before, store.get_bytes(KEY + ".sig")
    assert read_pointer(*between, signer.public_keys, LINE, channel="production").sequence == 1
    assert stored(store, signer).sequence == 2


def test_what_a_store_did_not_take_waits_and_is_noted(
    database: Engine, store: FolderStore, signer: Signer, outbox: Outbox, tmp_path: Path
) -> None:
    far = DownStore(tmp_path / "far", is_down=True)
    promote(database, store, 1)
    issued = issue_pointer(database, [store, far], signer, LINE, reason="promoted", outbox=outbox)
    assert issued.problems == ("the service is down",)
    (note,) = outbox.notes()
    assert (note.line, note.channel, note.store, note.attempts) == (LINE, "production", far.uri("versions"), 1)
    assert stored(store, signer) == issued.pointer


def test_a_late_sender_sends_the_newest_pointer_and_not_the_one_it_waited_with(
    database: Engine, store: FolderStore, signer: Signer, outbox: Outbox, tmp_path: Path
) -> None:
    far = DownStore(tmp_path / "far", is_down=True)
    versions = [promote(database, store, 1)]
    issue_pointer(database, [store, far], signer, LINE, reason="first", outbox=outbox)
    versions.append(promote(database, store, 2))
    issue_pointer(database, [store, far], signer, LINE, reason="second", outbox=outbox)
    far.is_down = False
    copy_version(database, [store], far, versions[1], signer)
    send_pointer(database, far, signer, LINE, channel="production")
    assert stored(far, signer).version_id == versions[1]
    assert [key for key in far.written if key.startswith("channels/")] == [KEY + ".sig", KEY]


def test_many_issuers_and_senders_at_once_leave_one_line_of_numbers_and_the_newest_in_the_store(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    ids = [publish(database, [store], FILES, sealed(seed=seed)).version_id for seed in range(6)]

    def move(version_id: str) -> None:
        channels.promote(database, LINE, version_id, reason="better", actor="test", gate=GATE)
        issue_pointer(database, [store], signer, LINE, reason=version_id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(move, ids))
    with database.connect() as connection:
        rows = connection.execute(text("SELECT sequence, version_id FROM catalyst_ml.pointers ORDER BY sequence")).all()
    held = channels.current(database, LINE).version_id
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1].version_id == held == stored(store, signer).version_id
    assert stored(store, signer).sequence == rows[-1].sequence
    assert all(before.version_id != after.version_id for before, after in pairwise(rows))


def test_after_a_database_is_restored_from_a_dump_numbers_still_rise(
    database: Engine, store: FolderStore, signer: Signer, forget: Callable[[int], None]
) -> None:
    promote(database, store, 1)
    for stage in ("10", "30", "70"):
        issue_pointer(database, [store], signer, LINE, stage=stage, reason="trial")
    forget(1)  # the dump was made after the first pointer
    with pytest.raises(ConfigurationError, match="has sequence 3, the database knows 1"):
        send_pointer(database, store, signer, LINE, channel="production")
    issued = issue_pointer(database, [store], signer, LINE, reason="after the restore")
    assert (issued.is_new, issued.pointer.sequence, issued.pointer.stage) == (True, 4, "10")
    assert stored(store, signer) == issued.pointer


def test_after_database_and_stores_were_both_restored_numbers_go_past_what_a_server_has_seen(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    promote(database, store, 1)
    issue_pointer(database, [store], signer, LINE, reason="first")
    (renewed,) = renew_pointers(database, [store], signer, reason="a server has seen 9", above=9)
    assert (renewed.pointer.sequence, stored(store, signer).sequence) == (10, 10)
    (again,) = renew_pointers(database, [store], signer, reason="asked twice", above=9)
    assert not again.is_new


def test_a_reason_of_many_lines_is_one_line_and_not_too_long(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    issued = issue_pointer(database, [store], signer, LINE, reason="drawdown\n\x1b[2J INFO all is well\n" + "x" * 900)
    assert issued.pointer.reason.startswith("drawdown [2J INFO all is well xxx")
    assert len(issued.pointer.reason) == 500


def test_after_a_restore_two_pointers_of_one_number_are_not_taken_for_one_another(
    database: Engine, store: FolderStore, signer: Signer, forget: Callable[[int], None], outbox: Outbox, tmp_path: Path
) -> None:
    """The bucket is down when the number is used again, so nobody sees that it was used before."""
    far = DownStore(tmp_path / "far")
    copy_version(database, [store], far, promote(database, store, 1), signer)
    for stage in ("10", "30"):
        issue_pointer(database, [far], signer, LINE, stage=stage, reason="trial")
    forget(1)
    far.is_down = True
    reused = issue_pointer(database, [far], signer, LINE, stage="70", reason="after the restore", outbox=outbox)
    assert reused.pointer.sequence == 2
    far.is_down = False
    with pytest.raises(ConfigurationError, match="has sequence 2, the database knows 2"):
        send_pointer(database, far, signer, LINE, channel="production")
    issued = issue_pointer(database, [far], signer, LINE, reason="seen now")
    assert (issued.is_new, issued.pointer.sequence, issued.pointer.stage) == (True, 3, "70")
    assert stored(far, signer) == issued.pointer


@pytest.fixture
def forget(database: Engine) -> Callable[[int], None]:
    def after(sequence: int) -> None:
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE catalyst_ml.pointers DISABLE TRIGGER USER"))
            connection.execute(text("DELETE FROM catalyst_ml.pointers WHERE sequence > :s"), {"s": sequence})
            connection.execute(text("ALTER TABLE catalyst_ml.pointers ENABLE TRIGGER USER"))

    return after


def test_another_key_takes_over_only_if_it_is_meant_and_then_signs_everything_again(
    database: Engine, store: FolderStore, signer: Signer, tmp_path: Path
) -> None:
    version_id = promote(database, store, 1)
    issue_pointer(database, [store], signer, LINE, reason="first")
    new = create_key(tmp_path / "new.pem")
    with pytest.raises(ConfigurationError, match="servers that pinned the first would refuse the second"):
        issue_pointer(database, [store], new, LINE, reason="from another machine")
    assert renew_pointers(database, [store], new, reason="start of another machine") == []
    assert stored(store, signer).sequence == 1
    issued = issue_pointer(database, [store], new, LINE, reason="key replaced", replace_key=True)
    assert (issued.is_new, issued.pointer.sequence) == (True, 2)
    key = version_key(version_id, "manifest.sig")
    (signature,) = read_signatures(key, store.get_bytes(key))
    assert new.public_keys.verifies(store.get_bytes(version_key(version_id, "manifest.json")), signature)


def test_a_move_whose_process_died_gets_its_pointer_at_the_next_start(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    promote(database, store, 1)
    issue_pointer(database, [store], signer, LINE, stage="30", reason="trial")
    version_id = promote(database, store, 2)  # and killed here
    (renewed,) = renew_pointers(database, [store], signer, reason="run start")
    assert (renewed.is_new, renewed.pointer.version_id, renewed.pointer.stage) == (True, version_id, "30")
    (same,) = renew_pointers(database, [store], signer, reason="run start")
    assert not same.is_new


def test_two_lines_under_one_file_name_never_overwrite_each_other(
    database: Engine, store: FolderStore, signer: Signer
) -> None:
    one = LINE._replace(dataset="a", timeframe="1d", label_version="1d-x")
    other = LINE._replace(dataset="a-1d", timeframe="1d", label_version="x")
    issue_pointer(database, [store], signer, one, reason="first")
    with pytest.raises(ConfigurationError, match="two lines share one file name"):
        issue_pointer(database, [store], signer, other, reason="second")


@pytest.mark.parametrize("statement", ["UPDATE catalyst_ml.pointers SET share = 1", "DELETE FROM catalyst_ml.pointers"])
def test_issued_pointers_cannot_be_rewritten(
    database: Engine, store: FolderStore, signer: Signer, statement: str
) -> None:
    issue_pointer(database, [store], signer, LINE, reason="rules")
    with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
        connection.execute(text(statement))

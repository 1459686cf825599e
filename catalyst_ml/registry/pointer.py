"""Issuing pointers: the table is the truth, its newest row is copied to every store, never an older over a newer one.

A pointer always says what the channel's row says at that moment, whoever asks; two promoters cannot contradict each
other. Order: signed row first, then the stores. What could not be sent waits in the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from catalyst_ml.errors import ArtifactRefused, CatalystError, ConfigurationError, UnknownVersion
from catalyst_ml.registry import channels, pointer_table
from catalyst_ml.registry.artifact_store import ArtifactStore
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.outbox import Outbox, address
from catalyst_ml.registry.pointer_document import (
    CEILINGS,
    MAX_POINTER_BYTES,
    MAX_REASON,
    Pointer,
    Stage,
    pointer_key,
    read_pointer,
)
from catalyst_ml.registry.signatures import (
    MAX_SIGNATURE_BYTES,
    SIGNATURE_SUFFIX,
    PublicKeys,
    Signer,
    read_signatures,
    signature_file,
)
from catalyst_ml.registry.versions import find_version, require_signed_copy
from catalyst_ml.store.engine import database_errors

log = logging.getLogger(__name__)

FIRST_STAGE: Stage = "100"
"""Stage of a channel's first model when nobody names one: without a trial, what is promoted serves."""


@dataclass(frozen=True)
class IssuedPointer:
    """The pointer in force; ``is_new`` False if nothing had changed. ``problems``: why it waits in the outbox."""

    pointer: Pointer
    is_new: bool
    problems: tuple[str, ...] = ()


def issue_pointer(
    engine: Engine,
    stores: Sequence[ArtifactStore],
    signer: Signer,
    line: ModelLine,
    *,
    channel: str = channels.PRODUCTION,
    stage: Stage | None = None,
    share: float | None = None,
    reason: str,
    outbox: Outbox | None = None,
    replace_key: bool = False,
    above: int = 0,
) -> IssuedPointer:
    """Tell every store what ``channel`` holds now. Idempotent: where nothing changed, the stores are only mended.

    Parameters
    ----------
    stage, share
        Stage of the model and the largest weight it may have. Without a stage, the channel keeps that of its last
        model (``FIRST_STAGE`` for the first one); without a share, the stage's own. On the rules, and in channels that
        serve nobody, they are ``shadow`` and 0 whatever is asked.
    reason : str
        Why, in words; kept only if something changed.
    outbox : Outbox, optional
        Where what a store did not take waits; then no store can fail this call.
    replace_key : bool
        Sign with this machine's key although the channel's pointer was signed with another one.
    above : int
        A sequence that a server has seen, where database and stores were both restored and know of lower ones only.

    Raises
    ------
    ConfigurationError
        If the share is above the stage's, the reason is empty, or the channel's pointer was signed with another key:
        servers that pinned it would refuse ours, and stay with what they have.
    SourceUnavailable, ArtifactRefused, ConfigurationError, UnknownVersion
        Without an outbox: what the first failing store said, after all were tried. The row is written nevertheless.
    """
    if not _one_line(reason):
        raise ConfigurationError("a pointer needs a reason in words; servers show it.")
    _check_share(stage, share)
    known, document, down = _known_sequence(stores, signer.public_keys, line, channel)
    if above > known:
        known, document = above, b""
    with database_errors(engine), engine.begin() as connection:
        held = channels.locked_state(connection, line, channel)
        before = pointer_table.newest(connection, line, channel)
        if not replace_key:
            pointer_table.refuse_row_of_other_key(before, signer)
        stage, share = _stage_of(connection, held, stage, share)
        sha256 = find_version(connection, held.version_id).manifest_sha256 if held.version_id else None
        told = (held.version_id, sha256, stage, share, str(signer.public_keys))
        if outbox is not None:
            for store in stores:
                outbox.add_pointer(store, line, channel)
        if (
            before is not None
            and told == pointer_table.told(before)
            and not pointer_table.is_outrun(before, known, document)
        ):
            pointer, is_new = pointer_table.pointer_of(before), False
        else:
            is_new = True
            pointer = Pointer(
                **line._asdict(),
                channel=channel,
                version_id=held.version_id,
                manifest_sha256=sha256,
                # After a database was restored from a dump, servers have seen higher numbers than it knows of.
                sequence=max(before.sequence if before else 0, known) + 1,
                stage=stage,
                share=share,
                issued_at=connection.execute(text("SELECT clock_timestamp()")).scalar_one(),
                reason=_one_line(reason),
            )
            pointer_table.append(connection, pointer, signer)
    problems = _send_everywhere(engine, stores, signer, line, channel, outbox, down)
    if is_new:
        log.info("pointer %d of %s of %s: %s", pointer.sequence, channel, line, held.holder)
    return IssuedPointer(pointer, is_new, problems)


def renew_pointers(
    engine: Engine,
    stores: Sequence[ArtifactStore],
    signer: Signer,
    *,
    reason: str,
    outbox: Outbox | None = None,
    replace_key: bool = False,
    above: int = 0,
) -> list[IssuedPointer]:
    """Issue what is missing for every channel, after a process was killed between a move and its pointer.

    Channels of another trainer, whose pointers another key signs, are left to it, unless ``replace_key``. ``above`` as
    in `issue_pointer`.
    """
    others = set() if replace_key else pointer_table.signed_by_others(engine, signer)
    return [
        issue_pointer(
            engine,
            stores,
            signer,
            state.line,
            channel=state.channel,
            reason=reason,
            outbox=outbox,
            replace_key=replace_key,
            above=above,
        )
        for state in channels.current_channels(engine)
        if (state.line, state.channel) not in others
    ]


def send_pointer(engine: Engine, store: ArtifactStore, signer: Signer, line: ModelLine, *, channel: str) -> None:
    """Bring the newest pointer of a channel to ``store``; nothing is written if it is there.

    Senders take turns, and each reads the newest row when it is its turn, so that an older pointer never replaces a
    newer one. The version must be in the store before: a pointer never leads to what is not there.

    Raises
    ------
    UnknownVersion
        If the store does not hold the version that the pointer names.
    ConfigurationError
        If the store holds a newer pointer of ours than the database knows, or that of another line under the same key.
    """
    key = pointer_key(line, channel)
    with database_errors(engine), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 1))"), {"key": key})
        row = pointer_table.newest(connection, line, channel)
        if row is None:
            return
        if row.version_id is not None:
            require_signed_copy(connection, store, row.version_id, signer)
        earlier = _read_stored(store, key)
        _refuse_overwriting(store, key, earlier, row, PublicKeys.parse(row.public_key), line, channel)
        document, signatures = row.document.encode(), [bytes(row.signature)]
        if earlier is not None:
            with suppress(ArtifactRefused):
                # Whoever reads between the two writes still finds the signature of the document that is there.
                signatures += [one for one in read_signatures(key, earlier[1]) if one != signatures[0]][:1]
            if earlier[0] == document and earlier[1].startswith(signature_file(signatures[:1])):
                return
        store.put_bytes(key + SIGNATURE_SUFFIX, signature_file(signatures))
        store.put_bytes(key, document)


def _one_line(reason: str) -> str:
    """Spaces for whatever a terminal or a log would take for more than text."""
    return " ".join("".join(c if c.isprintable() else " " for c in reason).split())[:MAX_REASON]


def _check_share(stage: Stage | None, share: float | None) -> None:
    if share is not None and (stage is None or not 0.0 <= share <= CEILINGS[stage]):
        raise ConfigurationError(
            f"share {share} at stage {stage}: expected a stage and a share from 0 to the stage's own, "
            f"{', '.join(f'{name}: {ceiling}' for name, ceiling in CEILINGS.items())}."
        )


def _stage_of(
    connection: Connection, held: channels.ChannelState, stage: Stage | None, share: float | None
) -> tuple[Stage, float]:
    """The stage asked for, or the one that the channel's last model had."""
    if held.version_id is None or held.channel != channels.PRODUCTION:
        return "shadow", 0.0
    if stage is None:
        last = pointer_table.newest_of_a_model(connection, held.line, held.channel)
        return (last.stage, last.share) if last else (FIRST_STAGE, CEILINGS[FIRST_STAGE])
    return stage, CEILINGS[stage] if share is None else float(share)


def _send_everywhere(
    engine: Engine,
    stores: Sequence[ArtifactStore],
    signer: Signer,
    line: ModelLine,
    channel: str,
    outbox: Outbox | None,
    down: Mapping[str, CatalystError],
) -> tuple[str, ...]:
    failures: list[CatalystError] = []
    for store in stores:
        note = None if outbox is None else outbox.add_pointer(store, line, channel)
        try:
            if address(store) in down:
                raise down[address(store)]
            send_pointer(engine, store, signer, line, channel=channel)
        except CatalystError as error:
            failures.append(error)
            if outbox is not None and note is not None:
                outbox.failed(note, error)
        else:
            if outbox is not None and note is not None:
                outbox.remove(note)
    if failures and outbox is None:
        raise failures[0]
    return tuple(map(str, failures))


def _read_stored(store: ArtifactStore, key: str) -> tuple[bytes, bytes] | None:
    """Document and signature as they lie in the store; None if there is no such document."""
    try:
        document = store.get_bytes(key, max_bytes=MAX_POINTER_BYTES)
    except UnknownVersion:
        return None
    except ArtifactRefused:
        document = b""  # too large or no plain file: not ours, and replaced
    try:
        return document, store.get_bytes(key + SIGNATURE_SUFFIX, max_bytes=MAX_SIGNATURE_BYTES)
    except (UnknownVersion, ArtifactRefused):
        return document, b""


def _known_sequence(
    stores: Sequence[ArtifactStore], keys: PublicKeys, line: ModelLine, channel: str
) -> tuple[int, bytes, dict[str, CatalystError]]:
    """The valid pointer with the highest sequence in any store: its sequence (0 without one) and its bytes.

    Also the stores that did not answer, with why.
    """
    known, document, down = 0, b"", {}
    for store in stores:
        try:
            stored = _read_stored(store, pointer_key(line, channel))
            if stored is not None:
                sequence = read_pointer(*stored, keys, line, channel=channel).sequence
                known, document = max((known, document), (sequence, stored[0]))
        except ArtifactRefused as error:
            log.warning("%s is replaced: %s", store.uri(pointer_key(line, channel)), error)
        except CatalystError as error:
            down[address(store)] = error  # asked once, not again: a dead address costs half a minute
    return known, document, down


def _refuse_overwriting(
    store: ArtifactStore,
    key: str,
    earlier: tuple[bytes, bytes] | None,
    row: Row[Any],
    keys: PublicKeys,
    line: ModelLine,
    channel: str,
) -> None:
    if earlier is None:
        return
    with suppress(ArtifactRefused, ValueError):
        stored = Pointer.model_validate_json(earlier[0])
        if (stored.line, stored.channel) != (line, channel) and any(
            keys.verifies(earlier[0], one) for one in read_signatures(key, earlier[1])
        ):
            raise ConfigurationError(
                f"{store.uri(key)} is the pointer of channel {stored.channel} of {stored.line}: two lines share one "
                "file name. Rename a dataset."
            )
    with suppress(ArtifactRefused):
        ahead = read_pointer(*earlier, keys, line, channel=channel)
        if ahead.sequence > row.sequence or (ahead.sequence == row.sequence and earlier[0] != row.document.encode()):
            raise ConfigurationError(
                f"{store.uri(key)} has sequence {ahead.sequence}, the database knows {row.sequence}: it was restored "
                "from a dump, or another one writes here. Run `catalyst-ml registry send` to issue a newer pointer."
            )

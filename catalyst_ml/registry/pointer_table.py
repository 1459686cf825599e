"""The table ``catalyst_ml.pointers``: what servers were told, by whose key; append-only, the newest row is in force."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.registry.channels import PRODUCTION
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.pointer_document import Pointer, pointer_bytes
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.store.engine import database_errors


def newest_pointer(engine: Engine, line: ModelLine, *, channel: str = PRODUCTION) -> Pointer | None:
    """Return the pointer in force as the database knows it; None before the first."""
    with database_errors(engine), engine.connect() as connection:
        row = newest(connection, line, channel)
    return None if row is None else pointer_of(row)


def signed_by_others(engine: Engine, signer: Signer) -> set[tuple[ModelLine, str]]:
    """Return the channels whose newest pointer another key has signed."""
    with database_errors(engine), engine.connect() as connection:
        rows = connection.execute(text(_NEWEST_OF_ALL), {"key": str(signer.public_keys)})
        return {(ModelLine(row.dataset, row.timeframe, row.label_version), row.channel) for row in rows}


def refuse_other_key(engine: Engine, line: ModelLine, signer: Signer) -> None:
    """Check, before anything moves, that this machine's key is the one that servers of ``line`` have pinned.

    Raises
    ------
    ConfigurationError
        If another key signed a pointer of the line.
    """
    for _, channel in sorted(one for one in signed_by_others(engine, signer) if one[0] == line):
        with database_errors(engine), engine.connect() as connection:
            refuse_row_of_other_key(newest(connection, line, channel), signer)


def refuse_row_of_other_key(row: Row[Any] | None, signer: Signer) -> None:
    """As ``refuse_other_key``, for a row that was read already."""
    if row is not None and row.public_key != str(signer.public_keys):
        line = ModelLine(row.dataset, row.timeframe, row.label_version)
        raise ConfigurationError(
            f"pointer of {row.channel} of {line} was signed with {row.public_key}, this machine has "
            f"{signer.public_keys}: servers that pinned the first would refuse the second. Copy that key's file here "
            "and set SIGNING_PRIVATE_KEY_FILE; or, to replace it for good, `catalyst-ml registry send --replace-key` "
            "and pin the new key on every server."
        )


def newest(connection: Connection, line: ModelLine, channel: str) -> Row[Any] | None:
    """Return the row in force; None before the first."""
    return connection.execute(text(_NEWEST), {**line._asdict(), "channel": channel}).first()


def newest_of_a_model(connection: Connection, line: ModelLine, channel: str) -> Row[Any] | None:
    """Return the newest row of a channel that named a version; None if none ever did."""
    return connection.execute(text(_NEWEST_OF_A_MODEL), {**line._asdict(), "channel": channel}).first()


def append(connection: Connection, pointer: Pointer, signer: Signer) -> None:
    """Sign a pointer and write its row."""
    document = pointer_bytes(pointer)
    connection.execute(
        text(_INSERT),
        {
            **pointer.model_dump(exclude={"schema_version"}),
            "document": document.decode(),
            "signature": signer.sign(document),
            "public_key": str(signer.public_keys),
        },
    )


def is_outrun(row: Row[Any], known: int, document: bytes) -> bool:
    """True if a store shows a later pointer than the table, or another one of the same number: it was restored."""
    return row.sequence < known or (row.sequence == known and row.document.encode() != document)


def told(row: Row[Any]) -> tuple[str | None, str | None, str, float, str]:
    """What a row told servers: version, digest of its manifest, stage, share; and by whose key."""
    return row.version_id, row.manifest_sha256, row.stage, row.share, row.public_key


def pointer_of(row: Row[Any]) -> Pointer:
    """Return the signed document of a row."""
    return Pointer.model_validate_json(row.document)


_ONE_CHANNEL = "dataset = :dataset AND timeframe = :timeframe AND label_version = :label_version AND channel = :channel"
_SELECT = f"SELECT * FROM catalyst_ml.pointers WHERE {_ONE_CHANNEL}"  # noqa: S608 - constants of this module
_NEWEST = f"{_SELECT} ORDER BY sequence DESC LIMIT 1"
_NEWEST_OF_A_MODEL = f"{_SELECT} AND version_id IS NOT NULL ORDER BY sequence DESC LIMIT 1"
_NEWEST_OF_ALL = """
    SELECT * FROM (
        SELECT DISTINCT ON (dataset, timeframe, label_version, channel) * FROM catalyst_ml.pointers
        ORDER BY dataset, timeframe, label_version, channel, sequence DESC
    ) AS newest WHERE public_key <> :key
"""
_INSERT = """
    INSERT INTO catalyst_ml.pointers (dataset, timeframe, label_version, channel, sequence, version_id,
        manifest_sha256, stage, share, reason, issued_at, document, signature, public_key)
    VALUES (:dataset, :timeframe, :label_version, :channel, :sequence, :version_id,
        :manifest_sha256, :stage, :share, :reason, :issued_at, :document, :signature, :public_key)
"""

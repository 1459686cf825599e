"""Channels: which version of a line serves, who moved it, when and why. The pointer moves last.

A channel without a version is on the rules. Every move is one transaction that locks the channel's row,
raises its sequence number and appends one row of history; history is never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Row, text

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.manifest import canonical_json
from catalyst_ml.registry.versions import find_version, refuse_pruned
from catalyst_ml.store.engine import database_errors

log = logging.getLogger(__name__)

PRODUCTION = "production"
SHADOW = "shadow"
RULES = "rules"

Action = Literal["promote", "rollback", "shadow"]


@dataclass(frozen=True)
class ChannelState:
    """What a channel holds now. ``version_id`` None means the rules; sequence 0 means it never moved."""

    line: ModelLine
    channel: str
    version_id: str | None
    sequence: int
    updated_at: datetime | None

    @property
    def holder(self) -> str:
        """The version id, or ``rules``."""
        return self.version_id or RULES


@dataclass(frozen=True)
class ChannelMove:
    """Outcome of a promotion or rollback; ``changed`` is False if there was nothing to do."""

    changed: bool
    state: ChannelState
    previous_version_id: str | None
    message: str


@dataclass(frozen=True)
class HistoryEntry:
    """One move of a channel, as recorded; ``gate`` is the gate's decision at that time, if there was one."""

    entry_id: int
    line: ModelLine
    channel: str
    version_id: str | None
    previous_version_id: str | None
    action: Action
    forced: bool
    reason: str
    gate: dict[str, Any] | None
    actor: str
    at: datetime


def current(engine: Engine, line: ModelLine, *, channel: str = PRODUCTION) -> ChannelState:
    """Return what ``channel`` of ``line`` holds; the rules, if it never moved."""
    with database_errors(engine), engine.connect() as connection:
        return _state(connection, line, channel)


def current_channels(engine: Engine) -> list[ChannelState]:
    """Return the state of every channel that ever moved, ordered by line and channel."""
    query = text(f"{_SELECT_STATE} ORDER BY dataset, timeframe, label_version, channel")
    with database_errors(engine), engine.connect() as connection:
        return [_state_of(row) for row in connection.execute(query)]


def promote(
    engine: Engine,
    line: ModelLine,
    version_id: str,
    *,
    reason: str,
    actor: str,
    gate: Mapping[str, Any] | None,
    forced: bool = False,
    judged_against: str | None = None,
) -> ChannelMove:
    """Put ``version_id`` into production.

    Parameters
    ----------
    gate : mapping or None
        The gate's decision. Unless its ``verdict`` is ``promote``, the promotion must be ``forced``.
    forced : bool
        Promote against or without the gate; recorded together with ``reason``.
    judged_against : str or None
        Version id or ``rules`` that must still hold production; if another one came first, nothing moves and the
        message says so. None moves whatever is there.

    Raises
    ------
    UnknownVersion
        If the version is not registered.
    ConfigurationError
        If it belongs to another line, the reason is empty, or the gate did not say ``promote`` and the
        promotion is not forced. Nothing is changed.
    """
    verdict = (gate or {}).get("verdict")
    if verdict != "promote" and not forced:
        raise ConfigurationError(
            f"version {version_id}: the gate says {verdict or 'nothing'}, a promotion needs 'promote'. "
            "Let the gate decide, or force it with a reason, which is recorded."
        )
    with database_errors(engine), engine.begin() as connection:
        state = locked_state(connection, line, PRODUCTION)
        _require_line(connection, version_id, line)
        if judged_against not in (None, state.holder) and state.version_id != version_id:
            message = f"not promoted: it was judged against {judged_against}, production holds {state.holder}"
            return ChannelMove(False, state, state.version_id, message)
        # A forced promotion that the gate had allowed anyway is not recorded as forced.
        move = _Move("promote", version_id, _stated(reason), actor, gate, forced=verdict != "promote")
        return _apply(connection, state, move)


def enter_shadow(
    engine: Engine,
    line: ModelLine,
    version_id: str,
    *,
    reason: str,
    actor: str,
    gate: Mapping[str, Any] | None,
) -> ChannelMove:
    """Put ``version_id`` into channel ``shadow``, where it predicts and serves nobody; no gate is asked.

    Raises
    ------
    UnknownVersion, ConfigurationError
        As ``promote``, but for the gate.
    """
    with database_errors(engine), engine.begin() as connection:
        state = locked_state(connection, line, SHADOW)
        _require_line(connection, version_id, line)
        return _apply(connection, state, _Move("shadow", version_id, _stated(reason), actor, gate))


def rollback(engine: Engine, line: ModelLine, *, reason: str, actor: str, to: str | None = None) -> ChannelMove:
    """Take production back to what it held before.

    Parameters
    ----------
    to : str or None
        None steps back once: a second rollback goes further back, never forward to what was just left.
        ``rules`` leaves every model; a version id must have been in production before.

    Raises
    ------
    UnknownVersion
        If ``to`` is not registered.
    ConfigurationError
        If ``to`` belongs to another line or never was in production, or the reason is empty.
    """
    with database_errors(engine), engine.begin() as connection:
        state = locked_state(connection, line, PRODUCTION)
        entries = _history(connection, line, PRODUCTION)
        if to is None or to == RULES:
            target = None if to == RULES else _one_step_back(entries)
        else:
            _require_line(connection, to, line)
            if to not in {entry.version_id for entry in entries}:
                raise ConfigurationError(f"version {to} never was in production of {line}: going there is a promotion.")
            target = to
        return _apply(connection, state, _Move("rollback", target, _stated(reason), actor, None))


def only_line(
    engine: Engine,
    *,
    dataset: str | None = None,
    timeframe: str | None = None,
    label_version: str | None = None,
) -> ModelLine:
    """Return the one line with a production channel that matches every part that is given.

    Raises
    ------
    ConfigurationError
        If none or several match; names them.
    """
    asked = (dataset, timeframe, label_version)
    known = [state.line for state in current_channels(engine) if state.channel == PRODUCTION]
    found = [line for line in known if all(want in (None, has) for want, has in zip(asked, line, strict=True))]
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(line) for line in (found or known)) or "none"
    raise ConfigurationError(
        f"rollback: expected one line with a production history, {len(found)} match. Known: {names}. "
        "Choose by dataset, timeframe and label version."
    )


def history(engine: Engine, line: ModelLine | None = None, *, channel: str | None = None) -> list[HistoryEntry]:
    """Return the moves, oldest first; of every line and channel where none is named."""
    with database_errors(engine), engine.connect() as connection:
        return _history(connection, line, channel)


def holder_at(engine: Engine, line: ModelLine, time: datetime, *, channel: str = PRODUCTION) -> HistoryEntry | None:
    """Return the move that put in place what ``channel`` held at ``time``.

    None means the rules because nothing had moved yet; an entry without a version, the rules by decision.

    Raises
    ------
    ConfigurationError
        If ``time`` carries no time zone.
    """
    if time.tzinfo is None:
        raise ConfigurationError(f"the time {time} has no time zone; write it as UTC, e.g. {time.isoformat()}Z.")
    with database_errors(engine), engine.connect() as connection:
        before = [entry for entry in _history(connection, line, channel) if entry.at <= time]
    return before[-1] if before else None


@dataclass(frozen=True)
class _Move:
    action: Action
    version_id: str | None
    reason: str
    actor: str
    gate: Mapping[str, Any] | None
    forced: bool = False


_STATE = "dataset, timeframe, label_version, channel, version_id, sequence, updated_at"
_ONE_CHANNEL = """
    dataset = :dataset AND timeframe = :timeframe AND label_version = :label_version AND channel = :channel
"""
_SELECT_STATE = f"SELECT {_STATE} FROM catalyst_ml.channels"  # noqa: S608 - constants of this module
_ENSURE_ROW = """
    INSERT INTO catalyst_ml.channels (dataset, timeframe, label_version, channel, version_id, sequence)
    VALUES (:dataset, :timeframe, :label_version, :channel, NULL, 0)
    ON CONFLICT DO NOTHING
"""
# clock_timestamp, not now(): a transaction that waited for the lock is dated after its forerunner.
_MOVE = f"""
    UPDATE catalyst_ml.channels
    SET version_id = :version_id, sequence = sequence + 1, updated_at = clock_timestamp()
    WHERE {_ONE_CHANNEL}
    RETURNING {_STATE}
"""  # noqa: S608 - constants of this module
_APPEND = """
    INSERT INTO catalyst_ml.channel_history (dataset, timeframe, label_version, channel, version_id,
        previous_version_id, action, forced, reason, gate, actor, at)
    VALUES (:dataset, :timeframe, :label_version, :channel, :version_id,
        :previous, :action, :forced, :reason, CAST(:gate AS jsonb), :actor, :at)
"""


def _state(connection: Connection, line: ModelLine, channel: str) -> ChannelState:
    key = {**line._asdict(), "channel": channel}
    row = connection.execute(text(f"{_SELECT_STATE} WHERE {_ONE_CHANNEL}"), key).first()
    return _state_of(row) if row else ChannelState(line, channel, None, 0, None)


def locked_state(connection: Connection, line: ModelLine, channel: str) -> ChannelState:
    """The state, with the row locked until the transaction ends; the row is made if there is none to lock."""
    key = {**line._asdict(), "channel": channel}
    connection.execute(text(_ENSURE_ROW), key)
    row = connection.execute(text(f"{_SELECT_STATE} WHERE {_ONE_CHANNEL} FOR UPDATE"), key).one()
    return _state_of(row)


def _require_line(connection: Connection, version_id: str, line: ModelLine) -> None:
    record = find_version(connection, version_id, lock=True)
    if record.line != line:
        raise ConfigurationError(
            f"version {version_id} belongs to {record.line}, not to {line}. Versions of two lines never meet."
        )
    refuse_pruned(record)


def _stated(reason: str) -> str:
    if not reason.strip():
        raise ConfigurationError("a promotion or rollback needs a reason in words; it is kept in the history.")
    return reason.strip()


def _apply(connection: Connection, state: ChannelState, move: _Move) -> ChannelMove:
    target = move.version_id or RULES
    if move.version_id == state.version_id:
        message = f"{target} already holds {state.channel} of {state.line}; nothing was changed."
        return ChannelMove(False, state, state.version_id, message)
    key = {**state.line._asdict(), "channel": state.channel}
    moved = _state_of(connection.execute(text(_MOVE), {**key, "version_id": move.version_id}).one())
    connection.execute(
        text(_APPEND),
        {
            **key,
            "version_id": move.version_id,
            "previous": state.version_id,
            "action": move.action,
            "forced": move.forced,
            "reason": move.reason,
            "gate": None if move.gate is None else canonical_json(move.gate).decode(),
            "actor": move.actor,
            "at": moved.updated_at,
        },
    )
    message = f"{state.channel} of {state.line}: {state.holder} -> {target} (sequence {moved.sequence})."
    log.info("%s Reason: %s", message, move.reason)
    return ChannelMove(True, moved, state.version_id, message)


def _one_step_back(entries: list[HistoryEntry]) -> str | None:
    """What was in production before the present holder, rollbacks undone: promotions push, rollbacks pop."""
    stack: list[str | None] = [None]
    for entry in entries:
        if entry.action == "rollback" and entry.version_id in stack:
            while stack[-1] != entry.version_id:
                stack.pop()
        else:
            stack.append(entry.version_id)
    return stack[-2] if len(stack) > 1 else None


def _history(connection: Connection, line: ModelLine | None, channel: str | None) -> list[HistoryEntry]:
    given = {**(line._asdict() if line else {}), **({"channel": channel} if channel else {})}
    where = " AND ".join(f"{name} = :{name}" for name in given) or "true"
    query = f"SELECT * FROM catalyst_ml.channel_history WHERE {where} ORDER BY id"  # noqa: S608 - own names
    rows = connection.execute(text(query), given)
    return [
        HistoryEntry(
            entry_id=row.id,
            line=ModelLine(row.dataset, row.timeframe, row.label_version),
            channel=row.channel,
            version_id=row.version_id,
            previous_version_id=row.previous_version_id,
            action=row.action,
            forced=row.forced,
            reason=row.reason,
            gate=row.gate,
            actor=row.actor,
            at=row.at.astimezone(UTC),
        )
        for row in rows
    ]


def _state_of(row: Row[Any]) -> ChannelState:
    line = ModelLine(row.dataset, row.timeframe, row.label_version)
    return ChannelState(line, row.channel, row.version_id, row.sequence, row.updated_at.astimezone(UTC))

"""Rows that a quality rule has set aside, until a person releases them; nothing is forgotten.

One row per place and rule. Found again, it is the same row. Released, it stays released while it holds what it held;
with other values it is opened again. Every step is kept in ``catalyst_ml.quarantine_history``.

A bar is released as *real* (the market did that) or as a *split* with its factor, which is then written as a
correction of the bar, known from its own close: splits are public on their day. A release is a judgement about the
past: unlike bars it is not dated by ``as_of``, and a repeated run of an earlier week sees today's releases.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pandas as pd
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import BARS
from catalyst_ml.store.bar_import import write_bars
from catalyst_ml.store.engine import database_errors

Subject = Literal["bar", "event"]

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('quarantine/' || :dataset || '/' || :timeframe, 0))"
_FACTOR_RANGE = (0.001, 1_000.0)
_SAME_PRICE = 0.01


@dataclass(frozen=True)
class Quarantined:
    """One row set aside. ``released_at`` is None while it is."""

    id: int
    dataset: str
    timeframe: str
    subject: Subject
    symbol: str
    ts: datetime
    direction: int
    rule: str
    detail: str
    row_values: dict[str, Any]
    found_at: datetime
    last_found_at: datetime
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None
    split_factor: float | None


@dataclass(frozen=True)
class Step:
    """One step in the life of a quarantined row."""

    action: Literal["found", "released", "reopened"]
    at: datetime
    by: str
    reason: str
    split_factor: float | None


@dataclass(frozen=True)
class SetAside:
    """What became of some findings: ``held`` are those that nobody has released, with the columns they came with."""

    held: pd.DataFrame
    n_new: int
    n_known: int
    n_reopened: int
    n_released: int


def set_aside(
    engine: Engine,
    findings: pd.DataFrame,
    *,
    dataset: str,
    timeframe: str,
    subject: Subject,
    as_of: datetime,
    now: datetime,
    by: str,
) -> SetAside:
    """Write findings into the quarantine and say which of them hold rows back.

    Parameters
    ----------
    findings : DataFrame
        symbol, ts, rule, detail, row_values (JSON), and direction for events; one row per place and rule.
    as_of : datetime
        Up to which the bars were known when they were checked. A bar released as a split is still broken at its own
        close, where the correction is not known yet; found later than that, the correction was undone (by an
        import of the file it came from) or its factor is wrong, and the row is opened again.
    now : datetime
        When it was found.
    by : str
        Who looked: the run or the command.

    Returns
    -------
    SetAside

    Notes
    -----
    Safe to repeat and under concurrent callers; one transaction.
    """
    if findings.empty:
        return SetAside(findings.reset_index(drop=True), 0, 0, 0, 0)
    line = {"dataset": dataset, "timeframe": timeframe}
    places = _places(findings, subject)
    with database_errors(engine), engine.begin() as connection:
        connection.execute(text(_LOCK), line)
        known = _known(connection, {**line, "subject": subject, "places": json.dumps(places)})
        new = [place for place in places if _key(place) not in known]
        _insert(connection, line, subject, new, now, by)
        _reopen(connection, _to_reopen(places, known, as_of), now, by)
        _touch(connection, [row["id"] for row in known.values()], now)
    return _sorted_out(findings, places, known, as_of)


def look_up(
    engine: Engine, findings: pd.DataFrame, *, dataset: str, timeframe: str, subject: Subject, as_of: datetime
) -> SetAside:
    """Say which findings hold rows back, as :func:`set_aside` would, and write nothing: for a replay of the past."""
    if findings.empty:
        return SetAside(findings.reset_index(drop=True), 0, 0, 0, 0)
    places = _places(findings, subject)
    values = {"dataset": dataset, "timeframe": timeframe, "subject": subject, "places": json.dumps(places)}
    with database_errors(engine), engine.connect() as connection:
        known = _known(connection, values)
    return _sorted_out(findings, places, known, as_of)


def releases_fingerprint(engine: Engine, *, dataset: str, timeframe: str) -> str:
    """Checksum (hex SHA-256) of all releases: while it stays the same, so does what :func:`look_up` says."""
    query = (
        "SELECT id, released_at, split_factor, row_values::text FROM catalyst_ml.quarantine WHERE dataset = :dataset "
        "AND timeframe = :timeframe AND released_at IS NOT NULL ORDER BY id"
    )
    with database_errors(engine), engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(query), {"dataset": dataset, "timeframe": timeframe})]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def list_quarantine(
    engine: Engine,
    *,
    dataset: str | None = None,
    timeframe: str | None = None,
    rule: str | None = None,
    released: bool = False,
    limit: int | None = None,
) -> list[Quarantined]:
    """Rows of the quarantine, newest bar first; ``released`` ones too if asked for."""
    query = (
        "SELECT id, dataset, timeframe, subject, symbol, ts, direction, rule, detail, row_values, found_at, "
        "last_found_at, released_at, released_by, release_reason, split_factor FROM catalyst_ml.quarantine "
        "WHERE (CAST(:dataset AS text) IS NULL OR dataset = :dataset) "
        "AND (CAST(:timeframe AS text) IS NULL OR timeframe = :timeframe) "
        "AND (CAST(:rule AS text) IS NULL OR rule = :rule) AND (:released OR released_at IS NULL) "
        "ORDER BY dataset, timeframe, subject, ts DESC, symbol, rule LIMIT :limit"
    )
    values = {"dataset": dataset, "timeframe": timeframe, "rule": rule, "released": released, "limit": limit}
    with database_errors(engine), engine.connect() as connection:
        return [Quarantined(*row) for row in connection.execute(text(query), values)]


def released_bars(engine: Engine, *, dataset: str, timeframe: str) -> pd.DataFrame:
    """``symbol`` and ``ts`` of the bars released as real, sorted."""
    query = (
        "SELECT DISTINCT symbol, ts FROM catalyst_ml.quarantine WHERE dataset = :dataset AND timeframe = :timeframe "
        "AND subject = 'bar' AND released_at IS NOT NULL AND split_factor IS NULL"
    )
    with database_errors(engine), engine.connect() as connection:
        rows = sorted(
            tuple(row) for row in connection.execute(text(query), {"dataset": dataset, "timeframe": timeframe})
        )
    symbols, moments = [row[0] for row in rows], [row[1] for row in rows]
    ts = pd.DatetimeIndex(pd.to_datetime(moments, utc=True)).as_unit("us")
    return pd.DataFrame({"symbol": pd.Series(symbols, dtype="str"), "ts": ts})


def history(engine: Engine, quarantine_id: int) -> list[Step]:
    """What became of one row, in order."""
    query = (
        "SELECT action, at, by, reason, split_factor FROM catalyst_ml.quarantine_history "
        "WHERE quarantine_id = :id ORDER BY id"
    )
    with database_errors(engine), engine.connect() as connection:
        return [Step(*row) for row in connection.execute(text(query), {"id": quarantine_id})]


def release(
    engine: Engine,
    ids: Sequence[int],
    *,
    reason: str,
    by: str,
    now: datetime,
    split_factor: float | None = None,
) -> list[Quarantined]:
    """Release rows: as real, or, for bars, as a corporate action with ``split_factor`` new shares per old share.

    The factor replaces the bar's own and is written, by every source that holds the bar as it was found, as a
    correction known from the bar's close on. Killed in between, call it again: nothing is written twice.

    Returns
    -------
    list of Quarantined
        The rows as they are now, in the order of ``ids``. Rows released before stay as they are.

    Raises
    ------
    ConfigurationError
        If an id is unknown, the reason or the name is empty, or a factor makes no sense. Nothing is released.
    DataContractError
        If the bar no longer holds what it held; check the dataset again first.
    """
    if not reason.strip() or not by.strip():
        raise ConfigurationError(
            "release: reason and name must say something; they are all that a later reader has. Give --reason TEXT."
        )
    found = _rows_of(engine, ids)
    open_rows = [row for row in found if row.released_at is None]
    if split_factor is not None:
        _refuse_bad_factor(split_factor, found)
        for row in open_rows:
            _write_factor(engine, row, split_factor)
    with database_errors(engine), engine.begin() as connection:
        for row in open_rows:
            values = {"id": row.id, "now": now, "by": by.strip(), "reason": reason.strip(), "factor": split_factor}
            updated = connection.execute(
                text(
                    "UPDATE catalyst_ml.quarantine SET released_at = :now, released_by = :by, "
                    "release_reason = :reason, split_factor = :factor WHERE id = :id AND released_at IS NULL"
                ),
                values,
            ).rowcount
            if updated:
                _trace(connection, row.id, "released", now, by.strip(), reason.strip(), row.row_values, split_factor)
    return _rows_of(engine, ids)


# --- setting aside -----------------------------------------------------------------------------------------


def _places(findings: pd.DataFrame, subject: Subject) -> list[dict[str, Any]]:
    direction = findings["direction"] if subject == "event" else pd.Series(0, index=findings.index)
    columns = (findings[name] for name in ("symbol", "ts", "rule", "detail", "row_values"))
    places = [
        {
            "symbol": symbol,
            "ts": pd.Timestamp(ts).isoformat(),
            "direction": int(side),
            "rule": rule,
            "detail": detail,
            "row_values": json.loads(row_values),
        }
        for symbol, ts, rule, detail, row_values, side in zip(*columns, direction, strict=True)
    ]
    if len({_key(place) for place in places}) != len(places):
        raise DataContractError("quarantine: one place and rule was found twice; expected it once. Check again.")
    return places


Known = dict[tuple[str, str, int, str], dict[str, Any]]
"""Stored rows of the quarantine by their place and rule."""


def _to_reopen(
    places: list[dict[str, Any]], known: Known, as_of: datetime
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Stored row and finding of each place that was released and holds its row back again."""
    pairs = [(known[_key(place)], place) for place in places if _key(place) in known]
    return [(row, place) for row, place in pairs if _must_reopen(row, place, as_of)]


def _sorted_out(findings: pd.DataFrame, places: list[dict[str, Any]], known: Known, as_of: datetime) -> SetAside:
    """Which findings hold rows back, given what was ``known`` before this look."""
    n_new = sum(_key(place) not in known for place in places)
    reopened = {_key(place) for _, place in _to_reopen(places, known, as_of)}
    held = [_key(p) not in known or _key(p) in reopened or _holds(known[_key(p)]) for p in places]
    return SetAside(
        held=findings[held].reset_index(drop=True),
        n_new=n_new,
        n_known=len(places) - n_new - len(reopened),
        n_reopened=len(reopened),
        n_released=len(places) - sum(held),
    )


def _key(place: dict[str, Any]) -> tuple[str, str, int, str]:
    return place["symbol"], place["ts"], place["direction"], place["rule"]


def _known(connection: Connection, values: dict[str, Any]) -> Known:
    """Stored rows at the places found, by key."""
    query = text(
        "SELECT q.id, p.symbol, p.ts, p.direction, p.rule, q.row_values, q.released_at, q.split_factor, q.ts AS at "
        "FROM jsonb_to_recordset(CAST(:places AS jsonb)) AS p (symbol text, ts text, direction int, rule text) "
        "JOIN catalyst_ml.quarantine q ON (q.dataset, q.timeframe, q.subject) = (:dataset, :timeframe, :subject) "
        "AND (q.symbol, q.ts, q.direction, q.rule) = (p.symbol, CAST(p.ts AS timestamptz), p.direction, p.rule)"
    )
    rows = connection.execute(query, values).mappings()
    return {(row["symbol"], row["ts"], row["direction"], row["rule"]): dict(row) for row in rows}


def _insert(
    connection: Connection,
    line: dict[str, str],
    subject: Subject,
    new: list[dict[str, Any]],
    now: datetime,
    by: str,
) -> None:
    if not new:
        return
    statement = text(
        "WITH added AS (INSERT INTO catalyst_ml.quarantine (dataset, timeframe, subject, symbol, ts, direction, rule, "
        "detail, row_values, found_at, last_found_at) SELECT :dataset, :timeframe, :subject, p.symbol, "
        "CAST(p.ts AS timestamptz), p.direction, p.rule, p.detail, p.row_values, :now, :now "
        "FROM jsonb_to_recordset(CAST(:places AS jsonb)) AS p (symbol text, ts text, direction int, rule text, "
        "detail text, row_values jsonb) RETURNING id, detail, row_values) "
        "INSERT INTO catalyst_ml.quarantine_history (quarantine_id, action, at, by, reason, row_values) "
        "SELECT id, 'found', :now, :by, detail, row_values FROM added"
    )
    connection.execute(statement, {**line, "subject": subject, "places": json.dumps(new), "now": now, "by": by})


def _must_reopen(row: dict[str, Any], place: dict[str, Any], as_of: datetime) -> bool:
    """A released row is opened again if it holds other values, or if the correction that released it is gone."""
    if row["released_at"] is None:
        return False
    if row["split_factor"] is not None:
        return bool(as_of > row["at"])
    return not _alike(row["row_values"], place["row_values"])


def _holds(row: dict[str, Any]) -> bool:
    """Whether a known row, not opened again, still holds its place back; a split found at its own close does."""
    return row["released_at"] is None or row["split_factor"] is not None


def _reopen(
    connection: Connection, reopened: list[tuple[dict[str, Any], dict[str, Any]]], now: datetime, by: str
) -> None:
    for row, place in reopened:
        why = "the correction is gone or does not mend it" if row["split_factor"] is not None else "its values changed"
        connection.execute(
            text(
                "UPDATE catalyst_ml.quarantine SET released_at = NULL, released_by = NULL, release_reason = NULL, "
                "split_factor = NULL, detail = :detail, row_values = CAST(:row_values AS jsonb) WHERE id = :id"
            ),
            {"id": row["id"], "detail": place["detail"], "row_values": json.dumps(place["row_values"])},
        )
        _trace(connection, row["id"], "reopened", now, by, f"{why}: {place['detail']}", place["row_values"], None)


def _touch(connection: Connection, ids: list[int], now: datetime) -> None:
    if ids:
        connection.execute(
            text(
                "UPDATE catalyst_ml.quarantine SET last_found_at = greatest(last_found_at, :now) WHERE id = ANY(:ids)"
            ),
            {"ids": ids, "now": now},
        )


def _trace(
    connection: Connection,
    quarantine_id: int,
    action: str,
    now: datetime,
    by: str,
    reason: str,
    row_values: dict[str, Any],
    split_factor: float | None,
) -> None:
    connection.execute(
        text(
            "INSERT INTO catalyst_ml.quarantine_history (quarantine_id, action, at, by, reason, row_values, "
            "split_factor) VALUES (:id, :action, :now, :by, :reason, CAST(:row_values AS jsonb), :factor)"
        ),
        {
            "id": quarantine_id,
            "action": action,
            "now": now,
            "by": by,
            "reason": reason,
            "row_values": json.dumps(row_values),
            "factor": split_factor,
        },
    )


def _alike(stored: dict[str, Any], found: dict[str, Any]) -> bool:
    """Equal but for the last bits of a number, which a round through another machine may change."""
    if stored.keys() != found.keys():
        return False
    pairs = [(stored[name], found[name]) for name in stored]
    return all(
        math.isclose(a, b, rel_tol=1e-9) if isinstance(a, int | float) and isinstance(b, int | float) else a == b
        for a, b in pairs
    )


# --- releasing ---------------------------------------------------------------------------------------------


def _rows_of(engine: Engine, ids: Sequence[int]) -> list[Quarantined]:
    query = (
        "SELECT id, dataset, timeframe, subject, symbol, ts, direction, rule, detail, row_values, found_at, "
        "last_found_at, released_at, released_by, release_reason, split_factor FROM catalyst_ml.quarantine "
        "WHERE id = ANY(:ids)"
    )
    wanted = list(dict.fromkeys(ids))
    with database_errors(engine), engine.connect() as connection:
        rows = {row[0]: Quarantined(*row) for row in connection.execute(text(query), {"ids": wanted})}
    unknown = [number for number in wanted if number not in rows]
    if unknown:
        raise ConfigurationError(
            f"quarantine: no row has the id {', '.join(map(str, unknown))}. See catalyst-ml quality show --all."
        )
    return [rows[number] for number in wanted]


def _refuse_bad_factor(factor: float, rows: list[Quarantined]) -> None:
    low, high = _FACTOR_RANGE
    if not (math.isfinite(factor) and low <= factor <= high):
        raise ConfigurationError(
            f"release: split factor {factor}; expected new shares per old share between {low:g} and {high:g}: 2 for a "
            "2-for-1 split, 0.1 for a 1-for-10 reverse split, 1 if there was none."
        )
    events = [row.id for row in rows if row.subject == "event"]
    if events:
        raise ConfigurationError(
            f"release: {', '.join(map(str, events))} are events; only a bar has a split factor. Release them without."
        )


def _write_factor(engine: Engine, row: Quarantined, factor: float) -> None:
    """Correct the bar's factor in every source that holds it as it was found."""
    query = text(
        "SELECT DISTINCT ON (source) source, open, high, low, close, volume, split_factor FROM catalyst_ml.named_bars "
        "WHERE (dataset, timeframe, symbol, ts) = (:dataset, :timeframe, :symbol, :ts) ORDER BY source, known_at DESC"
    )
    values = {"dataset": row.dataset, "timeframe": row.timeframe, "symbol": row.symbol, "ts": row.ts}
    with database_errors(engine), engine.connect() as connection:
        stored = list(connection.execute(query, values).mappings())
    opened = float(row.row_values["open"])
    alike = [bar for bar in stored if abs(bar["open"] / opened - 1.0) <= _SAME_PRICE]
    if not alike:
        held = ", ".join(f"{bar['source']} opens at {bar['open']:g}" for bar in stored) or "no source holds the bar"
        raise DataContractError(
            f"{row.symbol} {row.ts:%Y-%m-%d}: found with an open of {opened:g}, but {held}. "
            f"Check again first: catalyst-ml quality check --dataset {row.dataset}"
        )
    for bar in alike:
        if bar["split_factor"] == factor:
            continue
        frame = pd.DataFrame([{**bar, "symbol": row.symbol, "ts": row.ts, "split_factor": factor}])
        frame = frame.astype({column.name: column.dtype for column in BARS.columns})
        write_bars(
            engine,
            frame[BARS.column_names],
            dataset=row.dataset,
            timeframe=row.timeframe,
            source=bar["source"],
            name=f"quarantine {row.id}: split factor {factor:g}",
            # Known a microsecond after the bar itself, the first moment that its key has free.
            now=row.ts,
        )

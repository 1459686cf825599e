"""Rows that may meet others of their bar, in the same file or in the database: staged, compared, kept or dropped.

What a bar is known as changes only with a row that differs from the one known before it. So the rows staged and the
rows stored of a bar are put in the order of ``known_at``, and a staged row is kept if its values differ from those of
the row before it. All steps are set-based, within the transaction of the import.
"""

# ruff: noqa: S608 - names in the SQL are constants of this module, values travel as parameters

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd
from sqlalchemy import Connection, text

from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.bar_lines import Line
from catalyst_ml.store.bar_rows import VALUES, BarRows
from catalyst_ml.store.binary_copy import copy_out, to_postgres_time, unpack

_KEY = "line_id, symbol_id, ts"
_NAMED = ", ".join(VALUES)
_SAME_BAR = "(s.line_id, s.symbol_id, s.ts) = (b.line_id, b.symbol_id, b.ts)"
_SAME_ROW = f"{_SAME_BAR} AND s.known_at = b.known_at"


def _row(alias: str) -> str:
    return "(" + ", ".join(f"{alias}.{name}" for name in VALUES) + ")"


@dataclass(frozen=True)
class StagedBar:
    """A bar whose rows contradict each other, by ids and close (int64 microseconds since 1970)."""

    line_id: int
    symbol_id: int
    ts: int


@dataclass
class Settled:
    """What became of the staged rows."""

    new: int = 0
    corrected: int = 0
    unchanged: int = 0
    repeated: int = 0
    exact_duplicates: int = 0
    restated: dict[str, int] = field(default_factory=dict)
    refused: list[RefusedRow] = field(default_factory=list)
    appended_again: int = 0
    unchanged_again: int = 0


def create_staging(connection: Connection) -> None:
    """Create the temporary table ``staged``, which ends with the transaction."""
    values = ", ".join(f"{name} float8" for name in VALUES)
    connection.execute(
        text(
            f"CREATE TEMPORARY TABLE staged (row bigint, line_id int, symbol_id int, ts timestamptz, "
            f"known_at timestamptz, {values}, is_regular boolean) ON COMMIT DROP"
        )
    )


def equal_to_stored(connection: Connection, rows: BarRows, line: Line) -> np.ndarray:
    """Which rows of a line have the values that are known of their bar, boolean.

    All false if that would mean to fetch many more bars than there are rows; then staging is the better way.
    """
    at_most = 4 * len(rows) + 1_000
    query = (
        f"SELECT symbol_id, ts, known_at, {_NAMED} FROM catalyst_ml.bars WHERE line_id = %(line)s "
        "AND symbol_id = ANY(%(symbols)s) AND ts BETWEEN %(first)s AND %(last)s LIMIT %(limit)s"
    )
    first, last = (pd.Timestamp(int(ts), unit="us", tz="UTC") for ts in (rows.ts.min(), rows.ts.max()))
    # The planner, who may know nothing yet of a table just filled, shall not read all of it for every batch.
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    stream = copy_out(
        connection,
        query,
        {
            "line": line.line_id,
            "symbols": np.unique(rows.symbol_id).tolist(),
            "first": first.to_pydatetime(),
            "last": last.to_pydatetime(),
            "limit": at_most,
        },
    )
    connection.execute(text("SET LOCAL enable_seqscan = on"))
    symbol_id, ts, known_at, *columns = unpack(stream, ["i4", "i8", "i8", *(["f8"] * len(VALUES))])
    if len(ts) == at_most or not len(ts):
        return np.zeros(len(rows), dtype=bool)
    order = np.lexsort((known_at, ts, symbol_id))
    newest = np.ones(len(order), dtype=bool)
    newest[:-1] = (np.diff(symbol_id[order]) != 0) | (np.diff(ts[order]) != 0)
    order = order[newest]
    stored = pd.MultiIndex.from_arrays([symbol_id[order], ts[order]])
    place = stored.get_indexer(pd.MultiIndex.from_arrays([rows.symbol_id, to_postgres_time(rows.ts)]))
    equal = place >= 0
    for own, known in zip(rows.columns, columns, strict=True):
        equal &= own == known[order][place]
    return equal


def settle(
    connection: Connection,
    *,
    import_id: int,
    passed: bool,
    now: datetime,
    file: str,
    symbol_of: Callable[[int], str],
    rows_of: Callable[[Sequence[StagedBar]], list[int]],
) -> Settled:
    """Compare the staged rows with each other and with what is stored, and insert what is to be kept.

    Parameters
    ----------
    passed : bool
        True if rows of the same file have passed without being staged, which staged ones may repeat: stored already,
        or found equal to what is stored.
    symbol_of : callable
        Name of a symbol id.
    rows_of : callable
        First row in the file of each of some bars; asked only for bars that may have passed before a row that
        contradicts them was met.
    """
    settled = Settled()
    connection.execute(text("ANALYZE staged"))
    connection.execute(text("SET LOCAL work_mem = '128MB'"))
    if passed:
        _meet_passed(connection, import_id, settled, rows_of)
    # Planned as nested loops (a fresh temporary table looks small to the planner) the joins below take minutes.
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    _settle_repeated(connection, file, symbol_of, settled)
    _collect_known(connection)
    _settle_rewritten(connection, file, symbol_of, settled)
    _insert(connection, import_id, now, settled)
    return settled


def _meet_passed(
    connection: Connection,
    import_id: int,
    settled: Settled,
    rows_of: Callable[[Sequence[StagedBar]], list[int]],
) -> None:
    """Rows that repeat one which passed: equal ones go, a differing one takes the other back to the stage.

    A row that passed stands in ``bars`` as the newest of its bar, stored by this import or before it.
    """
    values = {"import_id": import_id}
    connection.execute(
        text(
            f"CREATE TEMPORARY TABLE met ON COMMIT DROP AS SELECT s.row, b.*, {_row('s')} IS DISTINCT FROM {_row('b')} "
            f"AS differs FROM staged s JOIN LATERAL (SELECT * FROM catalyst_ml.bars b WHERE {_SAME_BAR} "
            "ORDER BY b.known_at DESC LIMIT 1) b ON true WHERE s.known_at = '-infinity'"
        )
    )
    suspected = connection.execute(
        text(f"SELECT DISTINCT {_KEY}, (extract(epoch FROM ts) * 1000000)::bigint AS us FROM met WHERE differs")
    ).all()
    if suspected:
        first = rows_of([StagedBar(bar.line_id, bar.symbol_id, bar.us) for bar in suspected])
        staged = connection.execute(
            text("SELECT row FROM staged WHERE row = ANY(CAST(:rows AS bigint[]))"), {"rows": first}
        )
        is_staged = set(staged.scalars())
        twins = [(row, bar) for row, bar in zip(first, suspected, strict=True) if row not in is_staged]
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE taken_back ON COMMIT DROP AS SELECT * FROM unnest(CAST(:rows AS bigint[]), "
                f"CAST(:lines AS int[]), CAST(:symbols AS int[]), CAST(:times AS timestamptz[])) AS t (row, {_KEY})"
            ),
            {
                "rows": [row for row, _ in twins],
                "lines": [bar.line_id for _, bar in twins],
                "symbols": [bar.symbol_id for _, bar in twins],
                "times": [bar.ts for _, bar in twins],
            },
        )
        connection.execute(
            text(
                f"INSERT INTO staged SELECT DISTINCT s.row, {', '.join(f'b.{name}' for name in _KEY.split(', '))}, "
                f"CAST('-infinity' AS timestamptz), {', '.join(f'b.{name}' for name in VALUES)}, b.is_regular "
                f"FROM met b JOIN taken_back s ON {_SAME_BAR} AND b.differs"
            )
        )
        # Read again they are no longer what they were counted as: new, or unchanged.
        settled.appended_again = connection.execute(
            text(f"DELETE FROM catalyst_ml.bars b USING taken_back s WHERE {_SAME_BAR} AND b.import_id = :import_id"),
            values,
        ).rowcount
        settled.unchanged_again = len(twins) - settled.appended_again
        connection.execute(text(f"DELETE FROM met b USING taken_back s WHERE {_SAME_BAR}"))
    dropped = connection.execute(
        text("DELETE FROM staged s USING met b WHERE s.row = b.row AND b.import_id = :import_id AND NOT b.differs"),
        values,
    ).rowcount
    settled.repeated += dropped
    settled.exact_duplicates += dropped


def _settle_repeated(connection: Connection, file: str, symbol_of: Callable[[int], str], settled: Settled) -> None:
    """Keep one of rows that say the same of a bar since the same moment, refuse all of those that differ."""
    row_hash = f"hash_record_extended(ROW{_row('s')}, 0)"
    n_keys = connection.execute(
        text(
            f"CREATE TEMPORARY TABLE repeated ON COMMIT DROP AS SELECT {_KEY}, known_at, min(row) AS first_row, "
            f"min({row_hash}) <> max({row_hash}) AS differs FROM staged s GROUP BY {_KEY}, known_at HAVING count(*) > 1"
        )
    ).rowcount
    if not n_keys:
        return
    detail = (
        "'the same bar stands ' || CASE WHEN s.row = b.first_row THEN 'further down' ELSE 'in row ' || b.first_row END"
    )
    _refuse(
        connection,
        f"FROM staged s JOIN repeated b ON {_SAME_ROW} AND b.differs",
        "key_is_unique",
        f"{detail} || ' with other values; close here ' || s.close",
        file,
        symbol_of,
        settled,
    )
    dropped = connection.execute(
        text(f"DELETE FROM staged s USING repeated b WHERE {_SAME_ROW} AND s.row > b.first_row")
    ).rowcount
    settled.repeated += dropped
    settled.exact_duplicates += dropped


def _collect_known(connection: Connection) -> None:
    """Temporary table ``known``: all stored rows of the bars staged, and which of them is the newest."""
    # Either plan may be the better one here: a lookup per bar, or one pass over the line.
    connection.execute(text("SET LOCAL enable_nestloop = on"))
    connection.execute(
        text(
            f"CREATE TEMPORARY TABLE known ON COMMIT DROP AS SELECT b.line_id, b.symbol_id, b.ts, b.known_at, "
            f"{', '.join(f'b.{name}' for name in VALUES)}, "
            "row_number() OVER (PARTITION BY b.line_id, b.symbol_id, b.ts ORDER BY b.known_at DESC) = 1 AS is_newest "
            f"FROM (SELECT DISTINCT {_KEY} FROM staged) s JOIN catalyst_ml.bars b ON {_SAME_BAR}"
        )
    )
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    connection.execute(text("ANALYZE known"))


def _settle_rewritten(connection: Connection, file: str, symbol_of: Callable[[int], str], settled: Settled) -> None:
    """Rows that give other values than stored for a moment already stored: what was known is not rewritten.

    The newest such row of a bar becomes a correction known from now; older ones, which nobody would see, are refused.
    """
    clashing = f"FROM staged s JOIN known b ON {_SAME_ROW} AND {_row('s')} IS DISTINCT FROM {_row('b')}"
    if not connection.execute(text(f"SELECT EXISTS (SELECT {clashing})")).scalar():
        return
    known_by_now = "JOIN known k ON (k.line_id, k.symbol_id, k.ts) = (s.line_id, s.symbol_id, s.ts) AND k.is_newest"
    settled.unchanged += connection.execute(
        text(
            f"DELETE FROM staged USING (SELECT s.row {clashing} {known_by_now} "
            f"WHERE {_row('k')} IS NOT DISTINCT FROM {_row('s')}) c WHERE staged.row = c.row"
        )
    ).rowcount
    later = "(o.line_id, o.symbol_id, o.ts) = (s.line_id, s.symbol_id, s.ts) AND o.known_at > s.known_at"
    connection.execute(
        text(
            f"UPDATE staged SET known_at = '-infinity' FROM (SELECT s.row {clashing} WHERE b.is_newest "
            f"AND NOT EXISTS (SELECT FROM staged o WHERE {later})) c WHERE staged.row = c.row"
        )
    )
    _refuse(
        connection,
        clashing,
        "what_was_known_is_not_rewritten",
        "'stored with other values for the same moment; close here ' || s.close || ', stored ' || b.close",
        file,
        symbol_of,
        settled,
    )


def _insert(connection: Connection, import_id: int, now: datetime, settled: Settled) -> None:
    """Insert the staged rows that say something new, and count what the others are."""
    columns = f"INSERT INTO catalyst_ml.bars ({_KEY}, known_at, {_NAMED}, import_id, is_regular) "
    if not connection.execute(text("SELECT EXISTS (SELECT FROM known)")).scalar():
        several = connection.execute(text("SELECT EXISTS (SELECT FROM staged WHERE known_at <> '-infinity')")).scalar()
        if not several:
            settled.new += connection.execute(
                text(f"{columns} SELECT {_KEY}, ts, {_NAMED}, :import_id, is_regular FROM staged ORDER BY {_KEY}"),
                {"import_id": import_id},
            ).rowcount
            return
    before = ", ".join(f"lag({name}) OVER knowledge AS {name}_before" for name in VALUES)
    since = (
        "CASE WHEN s.known_at > '-infinity' THEN s.known_at WHEN b.known_at IS NULL THEN s.ts "
        "ELSE greatest(:now, b.known_at + interval '1 microsecond') END"
    )
    connection.execute(
        text(
            f"""
            CREATE TEMPORARY TABLE compared ON COMMIT DROP AS
            WITH merged AS (
                SELECT s.line_id, s.symbol_id, s.ts, {since} AS known_at, {", ".join(f"s.{name}" for name in VALUES)},
                       s.is_regular, true AS is_staged, b.ts IS NOT NULL AS is_stored
                FROM staged s LEFT JOIN known b ON {_SAME_BAR} AND b.is_newest
                UNION ALL SELECT {_KEY}, known_at, {_NAMED}, NULL, false, true FROM known
            )
            SELECT *, {before}, row_number() OVER knowledge = 1 AS is_first FROM merged
            WINDOW knowledge AS (PARTITION BY {_KEY} ORDER BY known_at, is_staged)
            """
        ),
        {"now": now},
    )
    changed = "ROW(" + ", ".join(f"{name}_before" for name in VALUES) + f") IS DISTINCT FROM ROW({_NAMED})"
    kept = f"is_staged AND (is_first OR {changed})"
    restated = ", ".join(f"count(*) FILTER (WHERE NOT is_first AND {name} <> {name}_before)" for name in VALUES)
    counts = connection.execute(
        text(
            f"SELECT count(*) FILTER (WHERE {kept} AND NOT is_stored AND is_first), "
            f"count(*) FILTER (WHERE {kept} AND (is_stored OR NOT is_first)), "
            f"count(*) FILTER (WHERE NOT ({kept}) AND is_stored), "
            f"count(*) FILTER (WHERE NOT ({kept}) AND NOT is_stored), "
            f"{restated} FROM compared WHERE is_staged"
        )
    ).one()
    settled.new += counts[0]
    settled.corrected += counts[1]
    settled.unchanged += counts[2]
    settled.repeated += counts[3]
    settled.restated = {name: n for name, n in zip(VALUES, counts[4:], strict=True) if n}
    connection.execute(
        text(
            f"{columns} SELECT {_KEY}, known_at, {_NAMED}, :import_id, is_regular FROM compared WHERE {kept} "
            f"ORDER BY {_KEY}, known_at"
        ),
        {"import_id": import_id},
    )


def _refuse(
    connection: Connection,
    which: str,
    rule: str,
    detail: str,
    file: str,
    symbol_of: Callable[[int], str],
    settled: Settled,
) -> None:
    rows = connection.execute(
        text(
            f"SELECT s.row, s.symbol_id, to_char(s.ts AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), {detail} {which} "
            "ORDER BY s.row"
        )
    ).all()
    settled.refused += [
        RefusedRow(file, row, symbol_of(symbol_id), f"{ts} UTC", rule, words) for row, symbol_id, ts, words in rows
    ]
    connection.execute(
        text("DELETE FROM staged WHERE row = ANY(CAST(:rows AS bigint[]))"), {"rows": [row for row, *_ in rows]}
    )

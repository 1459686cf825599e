"""Lines of bars (dataset, timeframe, source) and symbols: the small numbers that stand for their names in ``bars``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sqlalchemy import Connection, Engine, text

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.store.engine import database_errors

PriceBasis = Literal["raw", "adjusted"]
SIMULATED_SOURCE = "simulated"
DEFAULT_PRIORITY = 100
_SYMBOLS_LOCK = 0x_CA7A_5B01  # any number, the same in every version


@dataclass(frozen=True)
class Line:
    """One line of bars. The table of a new one is not yet a part of ``bars``, see :func:`attach_table`."""

    line_id: int
    is_new: bool

    @property
    def table(self) -> str:
        """The partition that holds its bars."""
        return f"catalyst_ml.bars_line_{self.line_id}"


class SymbolIds:
    """Ids of symbols, given out in the order in which they are first asked for.

    They are committed at once, apart from the import that asks: two imports that bring the same new symbols would
    otherwise wait for each other to the end. An id without bars does no harm.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[str, int] = {}

    def of(self, names: Sequence[str]) -> np.ndarray:
        """Ids of ``names``, int32; new ones are created."""
        missing = [name for name in names if name not in self._ids]
        if missing:
            with database_errors(self._engine), self._engine.begin() as connection:
                self._find(connection, missing)
                missing = [name for name in missing if name not in self._ids]
                if missing:
                    # In one order for all: two that insert the same names crosswise would block each other.
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SYMBOLS_LOCK})
                    connection.execute(text(_NEW_SYMBOLS), {"names": missing})
                    self._find(connection, missing)
        return np.array([self._ids[name] for name in names], dtype=np.int32)

    def _find(self, connection: Connection, names: list[str]) -> None:
        query = "SELECT symbol, symbol_id FROM catalyst_ml.symbols WHERE symbol = ANY(:names)"
        self._ids.update({name: key for name, key in connection.execute(text(query), {"names": names})})


_NEW_SYMBOLS = (
    "INSERT INTO catalyst_ml.symbols (symbol) SELECT name FROM unnest(CAST(:names AS text[])) WITH ORDINALITY "
    "AS n (name, place) ORDER BY place ON CONFLICT DO NOTHING"
)


def declare_line(
    connection: Connection,
    *,
    dataset: str,
    timeframe: str,
    source: str,
    prices: PriceBasis | None,
    priority: int | None,
) -> Line:
    """Find a line, or create it together with its table; a ``priority`` given is set.

    Raises
    ------
    DataContractError
        If real and simulated bars would share a dataset, or raw and adjusted prices a line.
    """
    others = set(
        connection.execute(
            text("SELECT source FROM catalyst_ml.bar_lines WHERE dataset = :dataset"), {"dataset": dataset}
        ).scalars()
    )
    if (others - {SIMULATED_SOURCE} and source == SIMULATED_SOURCE) or (
        SIMULATED_SOURCE in others and source != SIMULATED_SOURCE
    ):
        raise DataContractError(
            f"dataset {dataset!r} holds bars of {sorted(others)}; {source!r} would be mixed in. Real and simulated "
            "bars never share a dataset: choose another --dataset."
        )
    line = {"dataset": dataset, "timeframe": timeframe, "source": source}
    found = connection.execute(
        text(
            "SELECT line_id, price_basis FROM catalyst_ml.bar_lines "
            "WHERE (dataset, timeframe, source) = (:dataset, :timeframe, :source)"
        ),
        line,
    ).one_or_none()
    if found is None:
        values = {**line, "prices": prices or "raw", "priority": DEFAULT_PRIORITY if priority is None else priority}
        line_id = int(connection.execute(text(_NEW_LINE), values).scalar_one())
        connection.execute(text(_NEW_TABLE.format(line_id=line_id)))
        return Line(line_id, is_new=True)
    if prices is not None and found.price_basis != prices:
        raise DataContractError(
            f"dataset {dataset!r}, {timeframe}, source {source!r} holds {found.price_basis} prices; {prices} ones "
            "would be mixed in. Name another --source, or another --dataset."
        )
    if priority is not None:
        set_priority(connection, dataset=dataset, timeframe=timeframe, source=source, priority=priority)
    return Line(int(found.line_id), is_new=False)


_NEW_LINE = (
    "INSERT INTO catalyst_ml.bar_lines (dataset, timeframe, source, priority, price_basis) "
    "VALUES (:dataset, :timeframe, :source, :priority, :prices) RETURNING line_id"
)

_NEW_TABLE = (
    "CREATE TABLE catalyst_ml.bars_line_{line_id} (LIKE catalyst_ml.bars INCLUDING DEFAULTS, "
    "CONSTRAINT one_line CHECK (line_id = {line_id}))"
)


def attach_table(connection: Connection, line: Line) -> None:
    """Make the table of a new line a part of ``bars``.

    Done after its first bars are in: an index built from sorted rows costs a third of one that grows row by row, and
    PostgreSQL need not log rows of a table that this transaction has created (``wal_level=minimal``).
    """
    connection.execute(text("SET LOCAL maintenance_work_mem = '128MB'"))
    connection.execute(text(f"ALTER TABLE {line.table} ADD PRIMARY KEY (line_id, symbol_id, ts, known_at)"))
    # The check spares the attachment a pass over all rows.
    connection.execute(
        text(f"ALTER TABLE catalyst_ml.bars ATTACH PARTITION {line.table} FOR VALUES IN ({line.line_id})")
    )
    connection.execute(text(f"ALTER TABLE {line.table} DROP CONSTRAINT one_line"))


def newest_bars(connection: Connection, line: Line) -> dict[int, int]:
    """Close of the newest bar of each symbol of a line, microseconds since 1970 by symbol id."""
    query = text(
        "SELECT symbol_id, (extract(epoch FROM newest.ts) * 1000000)::bigint FROM catalyst_ml.symbols CROSS JOIN "
        "LATERAL (SELECT ts FROM catalyst_ml.bars b WHERE b.line_id = :line AND b.symbol_id = symbols.symbol_id "
        "ORDER BY ts DESC LIMIT 1) AS newest"
    )
    return {symbol_id: ts for symbol_id, ts in connection.execute(query, {"line": line.line_id})}


def set_priority(
    connection: Connection, *, dataset: str, source: str, priority: int, timeframe: str | None = None
) -> int:
    """Set which source wins where several hold the same bar (the smallest); returns the number of lines changed.

    Raises
    ------
    ConfigurationError
        If there is no such line; names those of the dataset.
    """
    changed = connection.execute(
        text(
            "UPDATE catalyst_ml.bar_lines SET priority = :priority WHERE dataset = :dataset AND source = :source "
            "AND (CAST(:timeframe AS text) IS NULL OR timeframe = :timeframe)"
        ),
        {"dataset": dataset, "source": source, "timeframe": timeframe, "priority": priority},
    ).rowcount
    if not changed:
        scope = f"source {source!r}" + (f" and timeframe {timeframe}" if timeframe else "")
        held = connection.execute(
            text("SELECT timeframe || ' ' || source FROM catalyst_ml.bar_lines WHERE dataset = :dataset ORDER BY 1"),
            {"dataset": dataset},
        ).scalars()
        raise ConfigurationError(
            f"dataset {dataset!r} holds no bars of {scope}; there are: {', '.join(held) or 'none at all'}. "
            "See catalyst-ml bars list."
        )
    return int(changed)

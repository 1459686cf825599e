from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, make_url, text

from catalyst_ml.store import migrations
from catalyst_ml.store.bar_lines import SymbolIds
from catalyst_ml.store.bars import bar_coverage, extract_bars
from catalyst_ml.store.migrations import upgrade

pytestmark = pytest.mark.server


@pytest.fixture
def old_database(database_url: str) -> Iterator[Engine]:
    """A database as the first release left it."""
    engine = create_engine(make_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA catalyst_ml CASCADE"))
        connection.execute(text("CREATE SCHEMA catalyst_ml"))
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    yield engine
    engine.dispose()


def test_bars_of_the_first_release_are_the_same_after_migration(old_database: Engine) -> None:
    ts = datetime(2015, 3, 2, 21, tzinfo=UTC)
    later = datetime(2015, 3, 9, tzinfo=UTC)
    rows = [
        {"dataset": dataset, "source": source, "symbol": symbol, "ts": ts, "known_at": known_at, "close": close}
        for dataset, source, symbol, known_at, close in (
            ("a", "file", "IBM", ts, 10.0),
            ("a", "file", "IBM", later, 10.5),
            ("a", "other", "IBM", ts, 11.0),
            ("b", "file", "aapl", ts, 0.1),
        )
    ]
    with old_database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO catalyst_ml.bars VALUES (:dataset, :source, '1d', :symbol, :ts, :close, :close, :close, "
                ":close, 100, 1, :known_at, 7)"
            ),
            rows,
        )
        connection.execute(
            text(
                "INSERT INTO catalyst_ml.imports (dataset, timeframe, source, file_name, sha256, stamp, started_at) "
                "VALUES ('a', '1d', 'file', 'f.csv', '', 'end', :ts)"
            ),
            {"ts": ts},
        )

    assert upgrade(old_database)

    listed = [(c.dataset, c.source, c.n_bars, c.n_corrections, c.price_basis) for c in bar_coverage(old_database)]
    assert listed == [("a", "file", 1, 1, "raw"), ("a", "other", 1, 0, "raw"), ("b", "file", 1, 0, "raw")]
    seen = [
        extract_bars(old_database, dataset=dataset, timeframe="1d", as_of=as_of)[["symbol", "close"]].values.tolist()
        for dataset, as_of in (("a", ts), ("a", later), ("b", ts))
    ]
    assert seen == [[["IBM", 10.0]], [["IBM", 10.5]], [["aapl", 0.1]]]


def test_symbols_get_their_ids_in_the_order_asked_for_and_keep_them(database: Engine) -> None:
    first = SymbolIds(database).of(["ZZZ", "AAA"]).tolist()
    again = SymbolIds(database).of(["AAA", "MMM", "ZZZ"]).tolist()
    assert first == sorted(first)
    assert again == [first[1], max(again), first[0]]

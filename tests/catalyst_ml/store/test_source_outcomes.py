from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from catalyst_ml.errors import DataContractError
from catalyst_ml.store.source_inspection import inspect_source
from catalyst_ml.store.source_outcomes import settled_outcomes
from catalyst_ml.store.source_snapshots import SourceSnapshots
from tests.catalyst_ml.store import upstream_schemas as upstream


def outcomes(engine: Engine, root: Path, statements: str, name: str, *, timezone: str = "UTC") -> pd.DataFrame:
    """Settled rows of one table, through a snapshot."""
    with engine.begin() as connection:
        upstream.run(connection, statements)
    table = next(t for t in inspect_source(engine, count=False)[0].tables if t.name == name)
    snapshots = SourceSnapshots(root, "catalyst")
    snapshots.pull(engine, table, now=datetime(2025, 6, 1, tzinfo=UTC))
    files = [path for month, path in snapshots.files(table.full_name) if month != "undated"]
    return settled_outcomes(files, table, timezone=timezone)


def test_settled_training_rows_come_as_fractions_and_open_ones_are_left_out(database: Engine, tmp_path: Path) -> None:
    frame = outcomes(
        database,
        tmp_path,
        upstream.TRAINING
        + """
        INSERT INTO trading.pattern_training_data (symbol, timestamp, pattern_type, open_price, high_price, low_price,
            close_price, volume, pattern_completed, pattern_success, max_gain, max_loss) VALUES
        ('AAPL', '2025-03-05 15:00+00', 'doji', 1, 1, 1, 1, 1, true, true, 2.5, 'NaN'),
        ('AAPL', '2025-03-05 15:00+00', 'doji', 1, 1, 1, 1, 1, true, false, 3.5, NULL),
        ('AAPL', '2025-03-06', 'doji', 1, 1, 1, 1, 1, true, NULL, 1, 1),
        ('AAPL', '2025-03-07', 'doji', 1, 1, 1, 1, 1, false, true, 1, 1)
        """,
        "pattern_training_data",
    )

    (row,) = frame.to_dict("records")
    assert (row["symbol"], row["pattern"], row["success"]) == ("AAPL", "doji", False)
    assert row["max_gain"] == pytest.approx(0.035)
    assert pd.isna(row["max_loss"])
    assert pd.isna(row["direction"])


@pytest.mark.parametrize(
    ("stored", "expected"),
    [((80, 95), (0.8, 0.95)), ((0.8, 0.95), (0.8, 0.95)), ((80, 0.95), (0.8, 0.95)), ((1, 100), (1.0, 1.0))],
)
def test_confidence_is_a_fraction_whichever_twin_was_stored(
    database: Engine, tmp_path: Path, stored: tuple[float, float], expected: tuple[float, float]
) -> None:
    rows = ", ".join(
        f"('S{i}', '2025-03-05', 'doji', 'bullish', {value}, true, true, -1.25)" for i, value in enumerate(stored)
    )
    frame = outcomes(
        database,
        tmp_path,
        upstream.G1 + "INSERT INTO pattern_analysis (symbol, detection_timestamp, pattern_type, pattern_direction, "
        f"confidence, pattern_completed, success, actual_move) VALUES {rows}",
        "pattern_analysis",
    )

    assert frame["confidence"].tolist() == pytest.approx(list(expected))
    assert frame["final_move"].tolist() == [-0.0125, -0.0125]
    assert frame["direction"].tolist() == ["bullish", "bullish"]


def test_confidence_out_of_range_is_missing(database: Engine, tmp_path: Path) -> None:
    frame = outcomes(
        database,
        tmp_path,
        upstream.G1 + "INSERT INTO pattern_analysis (symbol, detection_timestamp, pattern_type, confidence, success) "
        "VALUES ('A', '2025-03-05', 'doji', 'NaN', true), ('B', '2025-03-05', 'doji', -999.99, true), "
        "('C', '2025-03-05', 'doji', 999.99, true)",
        "pattern_analysis",
    )

    assert frame["confidence"].isna().all()


@pytest.mark.parametrize("kind", ["smallint", "numeric(1,0)", "text", "double precision"])
def test_labels_of_any_type_say_the_same_and_unlabelled_rows_stay_unlabelled(
    database: Engine, tmp_path: Path, kind: str
) -> None:
    values = "('A', 1, 1), ('B', 0, 1), ('C', NULL, 1), ('D', 1, 0), ('E', 1, NULL)"
    frame = outcomes(
        database,
        tmp_path,
        f"CREATE TABLE pattern_training_data (symbol text, timestamp timestamptz, pattern_type text, "
        f"pattern_success {kind}, pattern_completed {kind}, max_gain double precision);"
        f"INSERT INTO pattern_training_data SELECT s, '2025-03-05', 'doji', y::{kind}, done::{kind}, 'Infinity' "
        f"FROM (VALUES {values}) v (s, y, done)",
        "pattern_training_data",
    )

    assert dict(zip(frame["symbol"], frame["success"], strict=True)) == {"A": True, "B": False, "E": True}
    assert frame["max_gain"].isna().all()


def test_a_label_that_says_neither_yes_nor_no_is_none(database: Engine, tmp_path: Path) -> None:
    frame = outcomes(
        database,
        tmp_path,
        "CREATE TABLE pattern_training_data (symbol text, timestamp timestamptz, pattern_type text, success text);"
        "INSERT INTO pattern_training_data VALUES ('A', '2025-03-05', 'doji', 'pending'), "
        "('B', '2025-03-05', 'doji', ' TRUE ')",
        "pattern_training_data",
    )

    assert dict(zip(frame["symbol"], frame["success"], strict=True)) == {"B": True}


def test_naive_times_are_placed_in_the_zone_that_is_named(database: Engine, tmp_path: Path) -> None:
    frame = outcomes(
        database,
        tmp_path,
        upstream.SKETCH + "INSERT INTO pattern_training_data (symbol, timestamp, pattern_type, pattern_completed, "
        "pattern_success) VALUES ('AAPL', '2025-03-05 09:30', 'doji', true, true)",
        "pattern_training_data",
        timezone="America/New_York",
    )

    assert frame["ts"].tolist() == [pd.Timestamp("2025-03-05 14:30", tz="UTC")]


def test_no_settled_row_is_an_empty_frame(database: Engine, tmp_path: Path) -> None:
    assert outcomes(database, tmp_path, upstream.TRAINING, "pattern_training_data").empty


def test_a_table_without_outcomes_is_refused_by_name(database: Engine, tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match=r"public\.pattern_analysis says nowhere"):
        outcomes(database, tmp_path, upstream.G2, "pattern_analysis")

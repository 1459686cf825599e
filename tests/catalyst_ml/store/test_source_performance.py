"""The one row a version in the trading system's table: within its limits, and never anybody else's row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from catalyst_ml.errors import ConfigurationError, SourceUnavailable
from catalyst_ml.store.source_performance import ModelPerformance, short_version, write_performance

pytestmark = pytest.mark.server

# Spelled after the trading system's schema.sql (generation GML).
UPSTREAM = """
CREATE SCHEMA trading;
CREATE TABLE trading.ml_model_performance (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), model_name varchar(50) NOT NULL, model_version varchar(20) NOT NULL,
    model_type varchar(30), training_date timestamptz, training_samples integer, feature_count integer,
    accuracy decimal(5,4), precision decimal(5,4), recall decimal(5,4), f1_score decimal(5,4), auc_roc decimal(5,4),
    live_trades integer DEFAULT 0, live_win_rate decimal(5,4), live_profit_factor decimal(5,2),
    parameters jsonb, feature_importance jsonb, is_active boolean DEFAULT false
);
INSERT INTO trading.ml_model_performance (model_name, model_version, accuracy, is_active, parameters)
VALUES ('pattern_ensemble', '1.0', 0.61, true, '{"n": 1}'), ('catalyst-ml', '0.9', 0.5, true, '{"by": "hand"}'),
    ('catalyst-ml', 'null', NULL, true, NULL);
"""
OTHERS = {("pattern_ensemble", "1.0", True), ("catalyst-ml", "0.9", True), ("catalyst-ml", "null", True)}

ROW = ModelPerformance(
    version_id="catalyst-1d-20260605-1a2b3c4d",
    line="catalyst/1d/atr1-h5-v1",
    training_date=datetime(2026, 6, 7, 6, 30, tzinfo=UTC),
    training_samples=76_000,
    feature_count=95,
    accuracy=0.5312345,
    precision=0.5,
    recall=0.25,
    auc_roc=0.5049,
    in_production=None,
    more={"base_rate": 0.493, "manifest_sha256": "ab" * 32},
)


@pytest.fixture
def source(database: Engine) -> Engine:
    with database.begin() as connection:
        connection.exec_driver_sql(UPSTREAM)
    return database


def rows(engine: Engine) -> list[dict[str, Any]]:
    query = "SELECT * FROM trading.ml_model_performance ORDER BY model_version"
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def ours(engine: Engine) -> list[dict[str, Any]]:
    return [row for row in rows(engine) if "catalyst_ml_version_id" in (row["parameters"] or {})]


def others(engine: Engine) -> set[tuple[str, str, bool]]:
    return {(r["model_name"], r["model_version"], r["is_active"]) for r in rows(engine) if r not in ours(engine)}


def test_a_version_is_one_row_within_the_columns_limits(source: Engine) -> None:
    assert write_performance(source, ROW) == 'row 20260605-1a2b3c4d written in "trading".ml_model_performance'
    (row,) = ours(source)
    assert (row["model_name"], row["model_version"], row["is_active"]) == ("catalyst-ml", "20260605-1a2b3c4d", False)
    assert [str(row[name]) for name in ("accuracy", "precision", "recall", "f1_score", "auc_roc")] == [
        "0.5312",
        "0.5000",
        "0.2500",
        "0.3333",
        "0.5049",
    ]
    assert (row["training_samples"], row["feature_count"], row["training_date"]) == (76_000, 95, ROW.training_date)
    assert row["parameters"]["catalyst_ml_version_id"] == ROW.version_id
    assert row["parameters"]["base_rate"] == 0.493
    assert others(source) == OTHERS


def test_written_again_it_is_the_same_row_with_the_new_values(source: Engine) -> None:
    write_performance(source, ROW)
    before = ours(source)[0]["id"]
    assert "updated" in write_performance(source, replace(ROW, accuracy=0.6))
    (row,) = ours(source)
    assert (row["id"], str(row["accuracy"])) == (before, "0.6000")
    assert others(source) == OTHERS


def test_the_active_flag_follows_production_among_our_rows_of_the_line_only(source: Engine) -> None:
    week2 = replace(ROW, version_id="catalyst-1d-20260612-22222222", in_production="catalyst-1d-20260612-22222222")
    elsewhere = replace(
        ROW, version_id="demo-1d-20260612-33333333", line="demo/1d/x", in_production="demo-1d-20260612-33333333"
    )
    write_performance(source, replace(ROW, in_production=ROW.version_id))
    write_performance(source, elsewhere)
    write_performance(source, week2)
    active = {row["model_version"]: row["is_active"] for row in ours(source)}
    assert active == {"20260605-1a2b3c4d": False, "20260612-22222222": True, "20260612-33333333": True}
    write_performance(source, replace(week2, in_production=None))  # back to the rules
    assert {row["model_version"] for row in ours(source) if row["is_active"]} == {"20260612-33333333"}
    assert others(source) == OTHERS


def test_what_does_not_fit_a_column_stays_empty_and_is_named(source: Engine) -> None:
    with source.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE trading.ml_model_performance ALTER model_type TYPE varchar(3)")
    said = write_performance(source, replace(ROW, accuracy=12.5, auc_roc=float("nan"), precision=None))
    (row,) = ours(source)
    assert (row["accuracy"], row["auc_roc"], row["model_type"], row["f1_score"]) == (None, None, None, None)
    assert said.endswith("did not fit and stayed empty: model_type, accuracy, auc_roc")


def test_many_writers_of_one_version_leave_one_row(source: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write_performance(source, ROW), range(8)))
    assert len(ours(source)) == 1


def test_a_trading_system_without_the_table_is_not_given_one(database: Engine) -> None:
    assert "has no table" in write_performance(database, ROW)
    with database.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('public.ml_model_performance')")).scalar() is None


def test_a_table_in_which_our_rows_cannot_be_told_from_others_is_left_alone(source: Engine) -> None:
    with source.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE trading.ml_model_performance DROP COLUMN parameters")
    assert "lacks parameters" in write_performance(source, ROW)
    assert len(rows(source)) == 3


def test_a_role_that_may_only_read_is_refused_and_writes_nothing(source: Engine, database_url: str) -> None:
    role = f"reader_{abs(hash(database_url)) % 10**8}"
    with source.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA trading TO {role};"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA trading TO {role};"
            f"ALTER ROLE {role} SET default_transaction_read_only = on"
        )
    reader = create_engine(source.url.set(username=role))
    try:
        with pytest.raises(ConfigurationError, match="may not"):
            write_performance(reader, ROW)
    finally:
        reader.dispose()
        with source.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert len(rows(source)) == 3


def test_a_trading_system_that_is_down_is_a_temporary_failure() -> None:
    nowhere = create_engine("postgresql+psycopg2://u:hush@127.0.0.1:9/x", connect_args={"connect_timeout": 2})
    with pytest.raises(SourceUnavailable) as caught:
        write_performance(nowhere, ROW)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, ROW.version_id), (29, ROW.version_id), (20, "20260605-1a2b3c4d"), (10, "1a2b3c4d"), (4, "3c4d")],
)
def test_the_version_is_cut_from_its_left(limit: int | None, expected: str) -> None:
    assert short_version(ROW.version_id, limit) == expected

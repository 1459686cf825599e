"""The row in the trading system's table, from a registered version: off by default, and never a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tasks import connections, trading_system
from tests.catalyst_ml.registry.registered_versions import published

pytestmark = pytest.mark.server

MODEL = {"n_train": 1_000, "first_trained": "2024-06-05T20:00:00+00:00", "last_trained": "2026-06-05T20:00:00+00:00"}
JUDGED = {"scores": {"challenger": {"accuracy": 0.53, "auc": 0.51, "base_rate": 0.49}}, "decision": {"verdict": "stay"}}
PLAN = {"procedure": {"inputs": ["rsi_14", "bb_position"]}}
TABLE = """
CREATE SCHEMA trading;
CREATE TABLE trading.ml_model_performance (model_name text, model_version varchar(20), accuracy decimal(5,4),
    feature_count int, parameters jsonb, is_active boolean)
"""


@pytest.fixture
def version_id(database: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CATALYST_HOME", str(tmp_path))
    connections.forget()
    yield published(database, tmp_path / "artifacts")
    connections.engine().dispose()
    connections.forget()


def write(version_id: str, production: str) -> str:
    moved: dict[str, Any] = {"production": production}
    return trading_system.write_row.fn(version_id, moved, MODEL, JUDGED, PLAN)


def test_unasked_nothing_is_written_there(version_id: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATABASE_URL", database_url)
    assert write(version_id, version_id) == ""


def test_asked_the_row_says_what_the_registry_says(
    version_id: str, database: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATABASE_URL", database_url)
    monkeypatch.setenv("SOURCE_WRITE_PERFORMANCE", "true")
    with database.begin() as connection:
        connection.exec_driver_sql(TABLE)
    assert "written in" in write(version_id, version_id)
    assert "updated in" in write(version_id, "rules")
    with database.connect() as connection:
        (row,) = connection.execute(text("SELECT * FROM trading.ml_model_performance"))
    assert (str(row.accuracy), row.feature_count, row.is_active) == ("0.5300", 2, False)
    assert row.parameters["catalyst_ml_version_id"] == version_id
    assert (row.parameters["base_rate"], row.parameters["verdict"]) == (0.49, "stay")


@pytest.mark.parametrize("url", [None, "postgresql://u:hush@127.0.0.1:9/x"])
def test_a_trading_system_that_cannot_be_written_costs_a_sentence(
    version_id: str, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_WRITE_PERFORMANCE", "true")
    if url is None:
        monkeypatch.delenv("SOURCE_DATABASE_URL", raising=False)
    else:
        monkeypatch.setenv("SOURCE_DATABASE_URL", url)
    said = write(version_id, "rules")
    assert said.startswith("ml_model_performance was not written: ")
    assert "hush" not in said

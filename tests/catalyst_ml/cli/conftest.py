"""The surroundings in which the commands are tested: wide lines; for those that need it, a database and a home."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def wide_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as wide as they like to be, on whatever terminal the tests run."""
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that lead to a fresh database, and to a home of the test's own."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CATALYST_HOME", str(tmp_path / "home"))

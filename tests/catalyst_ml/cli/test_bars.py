from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from catalyst_ml.cli.main import build_app
from catalyst_ml.errors import CatalystError

pytestmark = pytest.mark.server

HEADER = "symbol,date,open,high,low,close,volume"


@pytest.fixture
def bars(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """``catalyst-ml bars`` in this process; returns what it printed."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(build_app(), ["bars", *arguments])
        if isinstance(result.exception, CatalystError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_sources_basis_and_priority_are_said_at_import_listed_and_changed(bars, tmp_path: Path) -> None:
    path = tmp_path / "coins.csv"
    path.write_text(f"{HEADER}\nETH,2017-11-04T23:55Z,10,12,9,11,5\nETH,2017-11-04T23:50Z,10,12,9,11,5\n")
    options = ("--dataset", "coins", "--timeframe", "5m", "--stamp", "start", "--calendar", "24/7")
    first = bars("import", str(path), *options, "--source", "x", "--prices", "adjusted", "--priority", "7")
    assert "1 rows were not in time order and have been sorted" in first
    again = bars("import", str(path), *options, "--source", "x", "--prices", "adjusted", "--priority", "8")
    assert "recognised: the same file was imported" in again
    assert bars("list").split()[-2:] == ["adjusted", "8"]

    assert "priority 3 for 1 timeframe" in bars("priority", "coins", "x", "3")
    assert bars("list").split()[-2:] == ["adjusted", "3"]
    reread = bars("import", str(path), *options, "--source", "x", "--reread")
    assert "recognised" not in reread

    with pytest.raises(CatalystError, match="no bars of source 'y'; there are: 5m x"):
        bars("priority", "coins", "y", "3")
    with pytest.raises(CatalystError, match="calendar 'mars' is not known"):
        bars("import", str(path), *options[:-1], "mars")


def test_bars_outside_the_session_and_corrections_are_counted_in_the_report(bars, tmp_path: Path) -> None:
    path = tmp_path / "IBM.csv"
    header = f"{HEADER},published"
    row = "IBM,2015-11-25T09:25-05:00,10,12,9,11,5,2015-11-25"
    path.write_text("\n".join([header, row, row, row.replace("5,2015-11-25", "6,2015-11-27")]))
    printed = bars("import", str(path), "--dataset", "d", "--timeframe", "5m", "--stamp", "start")
    assert "3 rows lie outside the regular session: stored and marked" in printed
    assert "1 of the repeated rows are exact duplicates" in printed
    assert "corrections changed volume in 1" in printed

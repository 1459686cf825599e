from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from catalyst_ml.errors import CatalystError
from tests.catalyst_ml.cli.command_line import catalyst, printed

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]

HEADER = "symbol,date,open,high,low,close,volume"


bars = partial(printed, "bars")


def test_sources_basis_and_priority_are_said_at_import_listed_and_changed(tmp_path: Path) -> None:
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


def test_bars_outside_the_session_and_corrections_are_counted_in_the_report(tmp_path: Path) -> None:
    path = tmp_path / "IBM.csv"
    header = f"{HEADER},published"
    row = "IBM,2015-11-25T09:25-05:00,10,12,9,11,5,2015-11-25"
    path.write_text("\n".join([header, row, row, row.replace("5,2015-11-25", "6,2015-11-27")]))
    printed = bars("import", str(path), "--dataset", "d", "--timeframe", "5m", "--stamp", "start")
    assert "3 rows lie outside the regular session: stored and marked" in printed
    assert "1 of the repeated rows are exact duplicates" in printed
    assert "corrections changed volume in 1" in printed


def test_what_a_file_says_is_shown_as_it_stands_there_and_never_read_as_markup(tmp_path: Path) -> None:
    path = tmp_path / "[b]odd[x].csv"
    path.write_text(
        f"{HEADER}\nIBM,2015-11-25,10,12,9,11,5\n[red]K[/blue],2015-11-25,10,8,9,11,5\n:x:,2015-11-28,1,2,1,2,5\n"
    )
    missing = tmp_path / "[red].csv"

    result = catalyst("bars", "import", path, missing, "--dataset", "d")

    assert result.exit_code == 1
    assert "[b]odd[x].csv  " in result.stdout
    assert "[RED]K[/BLUE] 2015-11-25" in result.stdout
    assert ":X: 2015-11-28" in result.stdout
    assert result.stderr.strip() == f"File refused: {missing}: no such file. Check the path."

"""``catalyst-ml news`` on a real database: what the trader reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from catalyst_ml.cli.news import app
from tests.catalyst_ml.cli.command_line import run_app

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]

run = partial(run_app, app)


def test_good_files_go_in_with_their_names_while_a_bad_one_fails_the_command(tmp_path: Path, database: Engine) -> None:
    good, bad, names = (tmp_path / name for name in ("good.csv", "bad.csv", "names.csv"))
    good.write_text("symbol,date,headline\nPCLN,2015-03-04,Acme opens\nPCLN,2015-03-04,Acme opens\nIBM,2015-03-04,A\n")
    bad.write_text("symbol,date,headline\nIBM,03/04/2015,Acme opens\n")
    names.write_text("alias,symbol\nPCLN,BKNG\n")

    result = run("import", bad, good, "--dataset", "t", "--source", "wire", "--names", names)

    assert result.exit_code == 1
    assert "bad.csv: ambiguous dates" in result.stderr
    assert "headline_is_longer_than_one_character" in result.stdout
    assert [line.split()[1:] for line in result.stdout.splitlines() if "good.csv  " in line] == [
        ["3", "1", "0", "0", "1", "1"]
    ]
    with database.connect() as connection:
        stored = connection.execute(text("SELECT symbol, symbol_as_found, source FROM catalyst_ml.named_news")).all()
    assert [tuple(row) for row in stored] == [("BKNG", "PCLN", "wire")]


def test_coverage_shows_the_months_and_marks_the_hole_between_them(tmp_path: Path) -> None:
    assert "No news in dataset t" in run("coverage", "--dataset", "t").stdout
    rows = ["IBM,2014-12-30,Acme opens", "IBM,2015-01-02,Acme shuts", "KO,2015-03-02,Acme sleeps"]
    (tmp_path / "wire.csv").write_text("symbol,date,headline\n" + "\n".join(rows) + "\n")
    assert run("import", tmp_path / "wire.csv", "--dataset", "t").exit_code == 0

    lines = [line.split() for line in run("coverage", "--dataset", "t").stdout.splitlines() if line.strip()]

    assert lines[2:] == [
        ["wire", "2014-12", "1", "1"],
        ["wire", "2015-01", "1", "1"],
        ["...", "-", "-"],
        ["wire", "2015-03", "1", "1"],
    ]


def test_odd_names_of_files_and_sources_are_shown_as_they_are(tmp_path: Path) -> None:
    odd = tmp_path / "[x].csv"
    odd.write_text("symbol,date,headline\nIBM,2015-03-04,Acme opens\nIBM,2015-03-04,A\n[/b],,Acme\n")

    imported = run("import", odd, "--dataset", "t", "--source", "[/wire]")
    covered = run("coverage", "--dataset", "t")

    assert (imported.exit_code, covered.exit_code) == (0, 0), (imported.exception, covered.exception)
    assert "[x].csv row 3: IBM 2015-03-04" in imported.stdout
    assert "[/wire] " in covered.stdout

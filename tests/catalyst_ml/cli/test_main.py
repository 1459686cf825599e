from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catalyst_ml.cli import main

HEADER = "symbol,date,open,high,low,close,volume"


def catalyst(*arguments: str, database_url: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", *arguments],
        capture_output=True,
        text=True,
        env={"DATABASE_URL": database_url, "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.server
def test_bad_files_fail_the_command_while_good_ones_are_kept(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "good.csv").write_text(f"{HEADER}\nIBM,2015-11-25,10,12,9,11,5\nIBM,2015-11-26,10,12,9,11,5\n")
    (tmp_path / "bad.csv").write_text(f"{HEADER}\nIBM,01/02/2015,10,12,9,11,5\n")
    files = [str(tmp_path / name) for name in ("bad.csv", "good.csv")]

    both = catalyst("bars", "import", *files, "--dataset", "t", database_url=database_url)
    assert (both.returncode, "Traceback" in both.stderr) == (1, False)
    assert "bad.csv: ambiguous dates, first row 2" in both.stderr
    assert "date_is_a_session" in both.stdout

    again = catalyst("bars", "import", files[1], "--dataset", "t", database_url=database_url)
    assert again.returncode == 0
    assert _counts(again.stdout, "good.csv") == ["2", "0", "1", "0", "0", "1"]
    listed = catalyst("bars", "list", database_url=database_url)
    assert "2015-11-25" in listed.stdout


@pytest.mark.server
def test_the_same_seed_simulates_the_same_market_once(database_url: str) -> None:
    arguments = ("bars", "simulate", "--seed", "3", "--symbols", "8", "--sessions", "60")
    first = catalyst(*arguments, database_url=database_url)
    second = catalyst(*arguments, database_url=database_url)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    new, new_again = (_counts(out.stdout, "simulated preset=middle seed=3")[1] for out in (first, second))
    assert int(new.replace(",", "")) > 400
    assert new_again == "0"
    assert " 0 new stories" in second.stdout


def test_a_database_that_is_down_is_one_message_without_traceback_or_password() -> None:
    result = catalyst("bars", "list", database_url="postgres://joe:s3cret@127.0.0.1:9/db")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: PostgreSQL at 127.0.0.1:9")
    assert "Traceback" not in result.stderr
    assert "s3cret" not in result.stderr


def test_a_contributed_command_that_cannot_be_loaded_is_named_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = EntryPoint("deploy", "no_such_package.cli:register", main.COMMAND_GROUP)
    monkeypatch.setattr(main, "entry_points", lambda group: [broken])
    result = CliRunner().invoke(main.build_app(), ["--help"])
    assert result.exit_code == 0
    assert "deploy (ModuleNotFoundError" in result.output
    assert CliRunner().invoke(main.build_app(), ["db", "--help"]).exit_code == 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from catalyst_ml.cli.main import build_app; build_app(); "
        "heavy = {'pandas', 'numpy', 'sqlalchemy', 'alembic', 'torch', 'xgboost', 'prefect', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def _counts(printed: str, file: str) -> list[str]:
    """Counts of one file in the printed table: read, new, unchanged, corrected, repeated, refused."""
    (line,) = (line for line in printed.splitlines() if line.strip().startswith(f"{file}  "))
    return line.strip().removeprefix(file).split()

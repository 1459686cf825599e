"""``catalyst-ml reference`` on a real database: what the trader reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from catalyst_ml.cli.reference import app
from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import BARS
from catalyst_ml.store.bar_import import write_bars
from catalyst_ml.store.bars import extract_instruments
from tests.catalyst_ml.cli.command_line import run_app

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]

run = partial(run_app, app)


def write(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(content)
    return path


def test_every_kind_of_file_comes_in_and_is_listed(tmp_path: Path) -> None:
    earnings = write(tmp_path, "symbol,date,time,eps\nA,2015-03-04,amc,1\n")
    assert run("import-earnings", earnings, "--dataset", "t").exit_code == 0
    members = write(tmp_path, "symbol,start_date,end_date\nA,2015-03-04,\n")
    assert run("import-members", members, "--dataset", "t", "--index", "sp500").exit_code == 0
    names = write(tmp_path, "alias,symbol\nOLD,A\n")
    assert run("import-names", names, "--dataset", "t").exit_code == 0
    sectors = write(tmp_path, "symbol,sector\nA,Tech\n")
    assert run("import-sectors", sectors, "--dataset", "t", "--taxonomy", "x", "--as-of", "2015-03-04").exit_code == 0

    lines = [line.split() for line in run("list", "--dataset", "t").stdout.splitlines() if line.strip()]

    assert [line[0] for line in lines[2:]] == ["earnings", "members", "names", "sectors"]
    assert lines[3] == ["members", "sp500", "1", "1", "2015-03-04", "2015-03-04"]


def test_choosing_a_taxonomy_says_that_a_later_map_looks_ahead(tmp_path: Path, database: Engine) -> None:
    moment = pd.DatetimeIndex(["2010-03-02 21:00"]).tz_localize("UTC").as_unit("us").repeat(2)
    bars = pd.DataFrame(
        {name: [10.0, 10.0] for name in BARS.column_names}
        | {"symbol": pd.Series(["A", "B"], dtype="str"), "ts": moment}
    )
    write_bars(
        database, bars, dataset="t", timeframe="1d", source="s", name="b", now=pd.Timestamp("2011-01-01", tz="UTC")
    )
    sectors = write(tmp_path, "symbol,sector,taxonomy,as_of\nA,Tech,x,2021-04-24\n")

    result = run("import-sectors", sectors, "--dataset", "t", "--use", "x")

    assert "1 stocks of t have a sector by x as of 2021-04-24; 1 changed" in result.stdout
    assert "1 stocks have none: B" in result.stdout
    assert "Look-ahead: bars begin 2010-03-02, the map describes 2021-04-24" in result.stdout
    assert extract_instruments(database, dataset="t")["sector"].fillna("").tolist() == ["Tech", ""]


def test_a_taxonomy_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refusal = run("use-sectors", "GICS", "--dataset", "t").exception

    assert isinstance(refusal, DataContractError)
    assert "it holds none" in str(refusal)

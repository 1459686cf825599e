from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import EARNINGS, INDEX_MEMBERS, SECTORS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.reference_files import (
    ReferenceFile,
    read_earnings,
    read_members,
    read_names,
    read_sectors,
)

NOW = pd.Timestamp("2016-06-01 12:00", tz="UTC")


def write(tmp_path: Path, content: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def earnings(tmp_path: Path, *rows: str, header: str = "symbol,date,time,eps,estimate,quarter") -> ReferenceFile:
    path = write(tmp_path, "\n".join([header, *rows]) + "\n")
    return read_earnings(path, now=NOW, calendar=TradingCalendar())


def rules(file: ReferenceFile) -> list[tuple[int, str]]:
    return [(row.row, row.rule) for row in file.refused]


def test_release_words_decide_from_when_a_result_is_known(tmp_path: Path) -> None:
    file = earnings(
        tmp_path,
        "A,2015-03-04,bmo,1,1,",
        "B,2015-03-04,After Close,1,1,",
        "C,2015-03-04,,1,1,",
        "D,2015-03-07,pre,1,1,",
    )
    assert file.rows["release_time"].fillna("?").tolist() == ["pre", "post", "?", "pre"]
    known = file.rows["known_at"].dt.strftime("%d %H:%M").tolist()
    assert known == ["04 14:30", "05 04:59", "05 04:59", "08 04:59"]
    assert any(note.startswith("1 reports dated on a weekend") for note in file.notes)
    EARNINGS.validate(file.rows)


def test_spreadsheet_quarters_are_read_only_where_the_report_date_agrees(tmp_path: Path) -> None:
    file = earnings(
        tmp_path,
        "A,2013-02-14,,1,1,13-Jan",
        "B,2013-02-14,,1,1,Jan-13",
        "C,2015-02-14,,1,1,13-Jan",  # two years before its report: perhaps the 13th of January
        "D,2013-02-14,,1,1,13-Mar",  # not over yet when reported
        "E,2013-02-14,,1,1,Q2",
        "F,2013-02-14,,1,1,",
    )
    assert file.rows["quarter"].fillna("none").tolist() == ["2013-01", "2013-01", "13-Jan", "13-Mar", "Q2", "none"]
    assert "3 quarter labels kept as found" in file.notes


def test_eps_beyond_100_dollars_is_flagged_and_kept(tmp_path: Path) -> None:
    file = earnings(tmp_path, "A,2015-03-04,,-2400,1,", "B,2015-03-04,,1,101,", "C,2015-03-04,,100,-100,")
    assert file.rows["is_suspect"].tolist() == [True, True, False]
    assert file.rows["eps"].tolist() == [-2400.0, 1.0, 100.0]


def test_bad_earnings_rows_are_named_and_missing_values_stay_missing(tmp_path: Path) -> None:
    file = earnings(
        tmp_path,
        "A,2015-03-04,,,0.5,",
        "B,soon,,1,1,",
        "C,2015-03-04,,about 1,1,",
        "D,2015-03-04,,1,n/a,",
        "E,2017-03-04,,1,1,",
        "F,2015-03-04,,1,1,",
        "F,2015-03-04,,2,1,",
        "G,2015-03-04,,1,1,",
        "G,2015-03-04,,1,1,",
        "H,2015-03-04,,1e999,1,",
    )
    assert rules(file) == [
        (3, "date_is_readable"),
        (4, "eps_is_a_number"),
        (5, "eps_is_a_number"),
        (6, "report_is_not_in_the_future"),
        (7, "key_is_unique"),
        (8, "key_is_unique"),
        (11, "eps_is_finite"),
    ]
    assert file.rows["symbol"].tolist() == ["A", "G"]
    assert file.rows["eps"].isna().tolist() == [True, False]
    assert (file.n_read, file.n_repeated) == (10, 1)


def test_a_report_date_with_a_time_is_that_day_and_one_far_ahead_is_refused(tmp_path: Path) -> None:
    far = ("B,2199-12-31 00:00:00,,1,1,", "C,9999-12-31,,1,1,")  # the year 9999 is a way to write "unknown"
    file = earnings(tmp_path, "A,2015-03-04 16:05:00,post,1,1,", *far)
    assert file.rows["report_date"].tolist() == [pd.Timestamp("2015-03-04")]
    assert rules(file) == [(3, "report_is_not_in_the_future"), (4, "date_is_readable")]


def test_long_gaps_between_reports_are_counted_per_company(tmp_path: Path) -> None:
    file = earnings(tmp_path, "A,2015-01-05,,1,1,", "B,2015-12-04,,1,1,", "A,2015-12-04,,1,1,", "A,2015-12-07,,1,1,")
    assert "1 gaps of more than 200 days between reports of a company" in file.notes


def test_a_sector_map_must_say_whose_names_it_uses_and_of_which_day(tmp_path: Path) -> None:
    bare = write(tmp_path, "Symbol,Security,GICS Sector\nIBM,IBM Corp,Tech\n")
    with pytest.raises(ConfigurationError, match="--taxonomy"):
        read_sectors(bare, now=NOW, as_of=pd.Timestamp("2015-01-01"))
    with pytest.raises(ConfigurationError, match="--as-of"):
        read_sectors(bare, now=NOW, taxonomy="GICS")
    file = read_sectors(bare, now=NOW, taxonomy="GICS", as_of=pd.Timestamp("2015-01-01"))
    assert file.rows[["symbol", "sector", "name", "taxonomy"]].iloc[0].tolist() == ["IBM", "Tech", "IBM Corp", "GICS"]
    assert any("looks ahead" in note for note in file.notes)
    SECTORS.validate(file.rows)


def test_a_symbol_may_stand_in_two_taxonomies_but_not_twice_in_one(tmp_path: Path) -> None:
    rows = ["A,Tech,x,2015-01-02", "A,IT,y,2015-01-02", "B,Tech,x,2015-01-02", "B,Banks,x,2015-01-02"]
    rows += ["C,,x,2015-01-02", "D,Tech,x,2018-01-02"]
    path = write(tmp_path, "symbol,sector,taxonomy,as_of\n" + "\n".join(rows) + "\n")
    file = read_sectors(path, now=NOW)
    assert file.rows["taxonomy"].tolist() == ["x", "y"]
    assert rules(file) == [
        (4, "key_is_unique"),
        (5, "key_is_unique"),
        (6, "sector_is_given"),
        (7, "map_is_not_of_the_future"),
    ]


def test_spells_keep_open_ends_and_an_unreadable_end_is_no_open_one(tmp_path: Path) -> None:
    rows = ["A,1996-01-02,1997-01-15", "A,2015-03-23,", "B,2000-01-03,later", "C,2000-01-03,2000-01-03", "D,?,"]
    file = read_members(write(tmp_path, "symbol,start_date,end_date\n" + "\n".join(rows) + "\n"))
    assert file.rows["end_date"].isna().tolist() == [False, True]
    assert rules(file) == [(4, "date_is_readable"), (5, "spell_ends_after_its_start"), (6, "date_is_readable")]
    INDEX_MEMBERS.validate(file.rows)


def test_members_without_any_end_are_all_still_inside(tmp_path: Path) -> None:
    file = read_members(write(tmp_path, "symbol,start\nA,1996-01-02\n"))
    assert file.rows["end_date"].isna().all()
    INDEX_MEMBERS.validate(file.rows)


def test_a_name_stands_for_one_other_symbol(tmp_path: Path) -> None:
    rows = ["pcln,BKNG", "UTX,RTX", "UTX,RTN", "IBM,IBM", "HCN,", "CBS,Via Com"]
    file = read_names(write(tmp_path, "alias,symbol\n" + "\n".join(rows) + "\n"))
    assert file.rows[["alias", "symbol"]].to_numpy().tolist() == [["PCLN", "BKNG"]]
    assert rules(file) == [
        (3, "key_is_unique"),
        (4, "key_is_unique"),
        (5, "alias_is_another_name"),
        (6, "symbol_is_given"),
        (7, "symbol_is_a_ticker"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("symbol,date,eps\nA,03/04/2015,1\n", "ambiguous dates.*--date-format"),
        ("symbol,date,note\nA,2015-03-04,1\n", "column 'eps' is missing"),
        ("symbol,date,eps\nA,,1\n", "column 'date' is empty"),
        ("symbol,symbol,date,eps\nA,A,2015-03-04,1\n", "column 'symbol' occurs twice"),
        ("nothing\n", "no header of a table of earnings"),
    ],
)
def test_a_file_that_is_no_earnings_table_is_refused_whole(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataContractError, match=message):
        read_earnings(write(tmp_path, content), now=NOW, calendar=TradingCalendar())


def test_a_missing_file_and_a_parquet_file_without_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="no such file"):
        read_members(tmp_path / "absent.csv")
    path = tmp_path / "none.parquet"
    pq.write_table(pa.table({"symbol": pa.array([], pa.string()), "start_date": pa.array([], pa.date32())}), path)
    with pytest.raises(DataContractError, match="is empty; expected a date"):
        read_members(path)


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("CATALYST_MARKET_DATA"), reason="CATALYST_MARKET_DATA is not set")
def test_the_known_dirt_of_real_reference_files_is_found_as_their_readme_counts_it() -> None:
    folder = Path(os.environ["CATALYST_MARKET_DATA"])
    now = pd.Timestamp("2022-01-01", tz="UTC")
    results = read_earnings(folder / "earnings.parquet", now=now, calendar=TradingCalendar())
    sectors = read_sectors(folder / "sectors.parquet", now=now)
    members = read_members(folder / "sp500_membership.parquet")

    assert (results.n_read, len(results.rows), results.rows["symbol"].nunique()) == (21_257, 21_257, 1_920)
    assert [note.split()[0] for note in results.notes if "weekend" in note or "gaps" in note] == ["12", "291"]
    assert int((results.rows["eps"].abs() > 100).sum()) == 30
    assert results.rows.loc[results.rows["eps"].abs() > 100, "is_suspect"].all()
    assert results.rows["quarter"].str.fullmatch(r"20\d\d-\d\d").all()
    assert sectors.n_read == 787
    assert {row.rule for row in sectors.refused} == {"sector_is_given"}  # nine vendor rows without one
    assert set(sectors.rows.loc[sectors.rows["symbol"] == "VAR", "taxonomy"]) == {"vendor"}
    assert (members.n_read, len(members.rows), members.rows["symbol"].nunique()) == (1_031, 1_031, 1_002)

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import INSTRUMENTS
from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.bars import extract_instruments, write_instruments
from catalyst_ml.store.file_imports import FileReport
from catalyst_ml.store.reference import (
    extract_earnings,
    extract_members,
    extract_sectors,
    import_earnings,
    import_members,
    import_names,
    import_sectors,
    reference_holdings,
    use_sectors,
)

pytestmark = pytest.mark.server

NOW = datetime(2016, 6, 1, tzinfo=UTC)
LATER = datetime(2016, 6, 2, tzinfo=UTC)


@dataclass(frozen=True)
class FakeRows:
    rows: pd.DataFrame
    name: str = "fake.csv"
    sha256: str = "0" * 64
    refused: tuple[RefusedRow, ...] = ()
    n_repeated: int = 0
    notes: tuple[str, ...] = ()

    @property
    def n_read(self) -> int:
        return len(self.rows)


def make_rows(columns: list[str], *values: tuple) -> FakeRows:
    frame = pd.DataFrame(dict(zip(columns, zip(*values, strict=True), strict=True)))
    for name in frame:
        if name.endswith("_date") or name == "as_of":
            frame[name] = pd.DatetimeIndex(pd.to_datetime(frame[name])).as_unit("us")
        elif name == "known_at":
            frame[name] = pd.DatetimeIndex([pd.Timestamp(text, tz="UTC") for text in frame[name]]).as_unit("us")
        elif frame[name].dtype == object:
            frame[name] = frame[name].astype("str")
    return FakeRows(frame.assign(row=np.arange(2, len(frame) + 2)))


def store_earnings(engine: Engine, *values: tuple[str, str, str, float], now: datetime = NOW) -> FileReport:
    """Reports of (symbol, report date, known at, EPS)."""
    rows = make_rows(["symbol", "report_date", "known_at", "eps"], *values).rows.assign(
        release_time=pd.Series(["pre"] * len(values), dtype="str"),
        eps_estimate=np.nan,
        quarter=pd.Series([None] * len(values), dtype="str"),
        is_suspect=False,
    )
    return import_earnings(engine, FakeRows(rows), dataset="t", now=now)


def store_sectors(engine: Engine, *values: tuple[str, str, str, str]) -> FileReport:
    """Map entries of (symbol, sector, taxonomy, as of)."""
    rows = make_rows(["symbol", "sector", "taxonomy", "as_of"], *values).rows
    nothing = pd.Series([None] * len(values), dtype="str")
    return import_sectors(engine, FakeRows(rows.assign(industry=nothing, name=nothing)), dataset="t", now=NOW)


def store_members(engine: Engine, *values: tuple[str, str, str | None]) -> FileReport:
    rows = make_rows(["symbol", "start_date", "end_date"], *values)
    return import_members(engine, rows, dataset="t", index_name="sp500", now=NOW)


def store_names(engine: Engine, *values: tuple[str, str]) -> FileReport:
    return import_names(engine, make_rows(["alias", "symbol"], *values), dataset="t", now=NOW)


def declare(engine: Engine, *symbols: str, kind: str = "stock", sector: str | None = None) -> None:
    frame = pd.DataFrame({"symbol": sorted(symbols), "kind": kind, "sector": sector})
    write_instruments(engine, frame.astype(dict.fromkeys(INSTRUMENTS.column_names, "str")), dataset="t")


def counts(report: FileReport) -> tuple[int, int, int, int]:
    return report.new, report.unchanged, report.corrected, report.refused


def test_a_result_is_seen_from_the_moment_it_was_known_and_not_before(database: Engine) -> None:
    report = store_earnings(
        database, ("A", "2015-03-04", "2015-03-04 14:30", 1.0), ("A", "2015-06-04", "2015-06-05", 2.0)
    )
    assert counts(report) == (2, 0, 0, 0)
    at_open = extract_earnings(database, dataset="t", as_of=datetime(2015, 3, 4, 14, 30, tzinfo=UTC))
    assert at_open["eps"].tolist() == [1.0]
    assert at_open["report_date"].tolist() == [pd.Timestamp("2015-03-04")]
    assert extract_earnings(database, dataset="t", as_of=datetime(2015, 3, 4, 14, 29, tzinfo=UTC)).empty


def test_a_corrected_result_leaves_the_past_as_it_was_known(database: Engine) -> None:
    store_earnings(database, ("A", "2015-03-04", "2015-03-05", 1.0))
    assert counts(store_earnings(database, ("A", "2015-03-04", "2015-03-05", 1.0))) == (0, 1, 0, 0)
    assert counts(store_earnings(database, ("A", "2015-03-04", "2015-03-05", 10.0), now=LATER)) == (0, 0, 1, 0)
    assert extract_earnings(database, dataset="t", as_of=NOW)["eps"].tolist() == [1.0]
    assert extract_earnings(database, dataset="t", as_of=LATER)["eps"].tolist() == [10.0]
    assert counts(store_earnings(database, ("A", "2015-03-04", "2015-03-05", 10.0), now=LATER)) == (0, 1, 0, 0)


def test_results_under_two_names_of_one_symbol_come_once_its_own_name_first(database: Engine) -> None:
    store_earnings(database, ("BKNG", "2015-03-04", "2015-03-05", 2.0), ("PCLN", "2015-03-04", "2015-03-05", 1.0))
    store_earnings(database, ("PCLN", "2014-03-04", "2014-03-05", 3.0))
    store_names(database, ("PCLN", "BKNG"))
    found = extract_earnings(database, dataset="t", as_of=NOW)
    assert (found["symbol"].tolist(), found["eps"].tolist()) == (["BKNG", "BKNG"], [3.0, 2.0])


def test_members_on_a_day_are_inside_from_the_first_day_to_the_day_before_the_end(database: Engine) -> None:
    store_members(
        database, ("A", "1996-01-02", "1997-01-15"), ("A", "2015-03-23", None), ("B", "1990-01-02", "1997-01-14")
    )

    def on(day: str) -> list[str]:
        return extract_members(database, dataset="t", index_name="sp500", on=date.fromisoformat(day))["symbol"].tolist()

    assert on("1996-01-01") == ["B"]
    assert on("1996-01-02") == ["A", "B"]
    assert on("1997-01-14") == ["A"]
    assert on("1997-01-15") == []
    assert on("2030-01-01") == ["A"]
    assert len(extract_members(database, dataset="t", index_name="sp500")) == 3
    assert extract_members(database, dataset="t", index_name="other").empty


def test_the_day_of_a_moment_is_the_one_in_new_york(database: Engine) -> None:
    store_members(database, ("A", "2015-03-23", None))
    evening_before = datetime(2015, 3, 23, 1, tzinfo=UTC)
    assert extract_members(database, dataset="t", index_name="sp500", on=evening_before).empty


def test_spells_that_overlap_are_refused_in_one_file_and_against_what_is_stored(database: Engine) -> None:
    report = store_members(
        database,
        ("A", "2000-01-03", "2001-01-03"),
        ("A", "2000-06-01", None),
        ("B", "2000-01-03", "2001-01-03"),
        ("B", "2001-01-03", None),  # touching is no overlap
    )
    assert counts(report) == (2, 0, 0, 2)
    assert {row.symbol for row in report.examples} == {"A"}
    assert "overlaps the spell 2000-06-01 to today" in report.examples[0].detail
    assert counts(store_members(database, ("B", "2005-01-03", None))) == (0, 0, 0, 1)


def test_a_spell_that_ended_since_is_corrected_and_then_a_new_one_may_begin(database: Engine) -> None:
    store_members(database, ("A", "2000-01-03", None))
    report = store_members(database, ("A", "2000-01-03", "2010-01-04"), ("A", "2012-01-03", None))
    assert counts(report) == (1, 0, 1, 0)
    assert extract_members(database, dataset="t", index_name="sp500", on=date(2011, 1, 3)).empty


def test_names_are_corrected_in_place_and_chains_refused(database: Engine) -> None:
    assert counts(store_names(database, ("UTX", "WRONG"), ("A", "B"), ("B", "C"))) == (1, 0, 0, 2)
    assert counts(store_names(database, ("UTX", "RTX"))) == (0, 0, 1, 0)
    assert counts(store_names(database, ("RTX", "XYZ"))) == (0, 0, 0, 1)
    assert counts(store_names(database, ("UTX", "RTX"))) == (0, 1, 0, 0)


def test_a_name_whose_alias_has_bars_of_its_own_is_pointed_out(database: Engine) -> None:
    declare(database, "CBS", "VIAC")
    assert any("CBS: has bars of its own" in note for note in store_names(database, ("CBS", "VIAC")).notes)


def test_a_sector_map_is_not_seen_before_its_day(database: Engine) -> None:
    store_sectors(
        database, ("A", "Tech", "x", "2010-01-04"), ("A", "Banks", "x", "2015-01-05"), ("A", "IT", "y", "2010-01-04")
    )

    def sectors(day: date) -> list[str]:
        return extract_sectors(database, dataset="t", taxonomy="x", as_of=day)["sector"].tolist()

    assert sectors(date(2010, 1, 3)) == []
    assert sectors(date(2014, 1, 3)) == ["Tech"]
    assert sectors(date(2015, 1, 5)) == ["Banks"]


def test_one_taxonomy_is_chosen_and_names_of_two_never_mix(database: Engine) -> None:
    declare(database, "A", "BKNG", "VAR")
    declare(database, "SPY", kind="index")
    store_names(database, ("PCLN", "BKNG"))
    store_sectors(
        database,
        ("A", "Tech", "x", "2015-01-05"),
        ("PCLN", "Retail", "x", "2015-01-05"),
        ("SPY", "Funds", "x", "2015-01-05"),
        ("VAR", "Health", "y", "2015-01-05"),
        ("A", "IT", "y", "2015-01-05"),
    )
    use_sectors(database, dataset="t", taxonomy="y")
    choice = use_sectors(database, dataset="t", taxonomy="x")
    assert (choice.n_with_sector, choice.n_changed, choice.without_sector) == (2, 3, ("VAR",))
    sectors = extract_instruments(database, dataset="t").set_index("symbol")["sector"]
    assert sectors.fillna("none").to_dict() == {"A": "Tech", "BKNG": "Retail", "SPY": "none", "VAR": "none"}
    assert use_sectors(database, dataset="t", taxonomy="x").n_changed == 0


def test_choosing_a_taxonomy_that_is_not_there_names_those_that_are(database: Engine) -> None:
    store_sectors(database, ("A", "Tech", "x", "2015-01-05"))
    with pytest.raises(DataContractError, match="no sectors of taxonomy 'GICS'; it holds x"):
        use_sectors(database, dataset="t", taxonomy="GICS")
    with pytest.raises(DataContractError, match="holds no stocks yet"):
        use_sectors(database, dataset="t", taxonomy="x")


def test_holdings_list_what_is_stored_of_each_kind(database: Engine) -> None:
    assert reference_holdings(database, dataset="t") == []
    store_earnings(database, ("A", "2015-03-04", "2015-03-05", 1.0), ("A", "2015-06-04", "2015-06-05", 1.0))
    store_members(database, ("A", "2000-01-03", "2001-01-03"))
    store_names(database, ("UTX", "RTX"))
    lines = [(h.subject, h.name, h.n_rows, h.first, h.last) for h in reference_holdings(database, dataset="t")]
    assert lines == [
        ("earnings", "", 2, date(2015, 3, 4), date(2015, 6, 4)),
        ("members", "sp500", 1, date(2000, 1, 3), date(2001, 1, 3)),
        ("names", "", 1, None, None),
    ]

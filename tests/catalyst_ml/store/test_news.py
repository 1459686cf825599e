from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import BARS, INSTRUMENTS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.news_coverage import news_coverage
from catalyst_ml.market.news_files import open_news_file
from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.bar_import import write_bars
from catalyst_ml.store.bar_lines import SIMULATED_SOURCE
from catalyst_ml.store.bars import bars_fingerprint, extract_news, write_instruments
from catalyst_ml.store.file_imports import FileReport
from catalyst_ml.store.news import extract_stories, import_news, stored_coverage

pytestmark = pytest.mark.server

NOW = datetime(2015, 6, 1, tzinfo=UTC)


def make_stories(*stories: tuple[str, str, str], kind: str = "story", **columns) -> pd.DataFrame:
    """Stories of (symbol, published, headline); the identity is the headline."""
    symbol, published, headline = zip(*stories, strict=True)
    texts = dict.fromkeys(("catalyst_type", "label"), None)
    texts |= {"sentiment": "neutral", "source": "wire", "kind": kind} | columns
    n_rows = len(stories)
    return pd.DataFrame(
        {
            "symbol": pd.Series(symbol, dtype="str"),
            "published_at": pd.DatetimeIndex([pd.Timestamp(moment, tz="UTC") for moment in published]).as_unit("us"),
            "news_id": pd.Series(headline, dtype="str"),
            "headline": pd.Series(headline, dtype="str"),
            **{name: pd.Series([value] * n_rows, dtype="str") for name, value in texts.items()},
            "score": 20.0,
            "is_date_only": False,
            "row": np.arange(2, n_rows + 2),
        }
    )


@dataclass(frozen=True)
class FakeBatch:
    stories: pd.DataFrame
    refused: tuple[RefusedRow, ...] = ()
    n_skipped: int = 0

    @property
    def n_read(self) -> int:
        return len(self.stories) + len(self.refused)


@dataclass(frozen=True)
class FakeNews:
    """Batches from memory; ``fails`` breaks off like a file that turns out to be no table."""

    frames: list[pd.DataFrame]
    refused: tuple[RefusedRow, ...] = ()
    name: str = "fake.csv"
    sha256: str = "0" * 64
    notes: tuple[str, ...] = ()
    fails: bool = False

    def batches(self) -> Iterator[FakeBatch]:
        for frame in self.frames:
            yield FakeBatch(frame, self.refused)
        if self.fails:
            raise DataContractError("fake.csv: the table is broken")


def store(engine: Engine, *stories: tuple[str, str, str], **options) -> FileReport:
    return import_news(engine, FakeNews([make_stories(*stories, **options)]), dataset="t", now=NOW)


def name_symbol(engine: Engine, alias: str, symbol: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO catalyst_ml.symbol_names VALUES ('t', :a, :s) "
                "ON CONFLICT (dataset, alias) DO UPDATE SET symbol = :s"
            ),
            {"a": alias, "s": symbol},
        )


def test_stories_come_back_as_they_were_stored_and_only_up_to_as_of(database: Engine) -> None:
    hostile = 'Acme, "quoted"; \\N and \\. plus NULL, naïve 株'
    store(
        database, ("IBM", "2015-03-04 12:00", hostile), ("IBM", "2015-03-05 12:00", "later"), ("KO", "2015-03-04", "x")
    )
    seen = extract_stories(database, dataset="t", as_of=datetime(2015, 3, 4, 12, tzinfo=UTC))
    assert seen[["symbol", "headline"]].to_numpy().tolist() == [["IBM", hostile], ["KO", "x"]]
    assert seen["published_at"][0] == pd.Timestamp("2015-03-04 12:00", tz="UTC")
    assert extract_stories(database, dataset="t", as_of=NOW, start=datetime(2015, 3, 5, tzinfo=UTC))[
        "news_id"
    ].tolist() == ["later"]
    assert extract_stories(database, dataset="other", as_of=NOW).empty


def test_a_second_import_changes_nothing_and_repeated_rows_are_stored_once(database: Engine) -> None:
    rows = [
        ("IBM", "2015-03-04", "a"),
        ("IBM", "2015-03-04", "a"),
        ("MMM", "2015-03-04", "a"),
        ("IBM", "2015-03-05", "a"),
    ]
    first = store(database, *rows)
    assert (first.read, first.new, first.repeated, first.unchanged) == (4, 3, 1, 0)
    assert "1 repeat an earlier text of the same symbol at another time" in first.notes
    second = store(database, *rows)
    assert (second.read, second.new, second.repeated, second.unchanged, second.corrected) == (4, 0, 1, 3, 0)


def test_a_story_judged_anew_is_counted_and_takes_the_new_judgement(database: Engine) -> None:
    store(database, ("IBM", "2015-03-04", "a"), ("IBM", "2015-03-05", "b"))
    report = store(database, ("IBM", "2015-03-04", "a"), sentiment="positive", catalyst_type="upgrade")
    assert (report.new, report.corrected) == (0, 1)
    assert extract_stories(database, dataset="t", as_of=NOW)["sentiment"].tolist() == ["positive", "neutral"]


def test_refused_rows_are_kept_with_their_import(database: Engine) -> None:
    refused = RefusedRow("fake.csv", 9, "I\0BM", "2015", "headline_is_given", "")
    report = import_news(
        database, FakeNews([make_stories(("IBM", "2015-03-04", "a"))], (refused,)), dataset="t", now=NOW
    )
    assert (report.read, report.new, report.refused_by_rule) == (2, 1, {"headline_is_given": 1})
    assert [row.symbol for row in report.examples] == ["I\\0BM"]
    with database.connect() as connection:
        kept = connection.execute(
            text(
                "SELECT i.dataset, i.timeframe, i.rows_refused, r.row, r.symbol, r.rule "
                "FROM catalyst_ml.refused_rows r JOIN catalyst_ml.imports i ON i.id = r.import_id"
            )
        ).all()
    assert [tuple(row) for row in kept] == [("t", "-", 1, 9, "I\\0BM", "headline_is_given")]


def test_a_file_that_breaks_off_leaves_nothing_behind(database: Engine) -> None:
    broken = FakeNews([make_stories(("IBM", "2015-03-04", "a"))], fails=True)
    with pytest.raises(DataContractError, match="broken"):
        import_news(database, broken, dataset="t", now=NOW)
    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM catalyst_ml.news")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM catalyst_ml.imports")).scalar() == 0


def test_a_name_given_later_and_then_corrected_holds_for_stories_already_stored(database: Engine) -> None:
    store(database, ("PCLN", "2015-03-04", "a"))
    fingerprint = bars_fingerprint(database, dataset="t", timeframe="1d", as_of=NOW)

    def symbols() -> list[str]:
        found = extract_stories(database, dataset="t", as_of=NOW)["symbol"]
        assert extract_news(database, dataset="t", as_of=NOW)["symbol"].tolist() == found.tolist()
        return found.tolist()

    assert symbols() == ["PCLN"]
    name_symbol(database, "PCLN", "WRONG")
    assert symbols() == ["WRONG"]
    name_symbol(database, "PCLN", "BKNG")
    assert symbols() == ["BKNG"]
    assert bars_fingerprint(database, dataset="t", timeframe="1d", as_of=NOW) != fingerprint


def test_one_story_under_both_names_of_a_company_comes_once(database: Engine) -> None:
    store(database, ("PCLN", "2015-03-04", "a"), ("BKNG", "2015-03-04", "a"), ("BKNG", "2015-03-04", "b"))
    name_symbol(database, "PCLN", "BKNG")
    assert extract_news(database, dataset="t", as_of=NOW)["news_id"].tolist() == ["a", "b"]


def test_round_ups_and_tweets_are_nobodys_news_but_can_be_asked_for(database: Engine) -> None:
    for kind in ("story", "update", "roundup", "tweet"):
        store(database, ("IBM", "2015-03-04", kind), kind=kind)
    assert extract_news(database, dataset="t", as_of=NOW)["news_id"].tolist() == ["story", "update"]
    tweets = extract_stories(database, dataset="t", as_of=NOW, kinds=("tweet", "roundup"))
    assert tweets["kind"].tolist() == ["roundup", "tweet"]


def test_the_report_says_how_many_stories_belong_to_symbols_without_bars(database: Engine) -> None:
    row = {"symbol": ["BKNG"], "kind": ["stock"], "sector": [None]}
    write_instruments(database, pd.DataFrame(row).astype(dict.fromkeys(INSTRUMENTS.column_names, "str")), dataset="t")
    name_symbol(database, "PCLN", "BKNG")
    report = store(
        database,
        ("PCLN", "2015-03-04", "a"),
        ("UTX", "2015-03-04", "a"),
        ("UTX", "2015-03-04", "b"),
        ("KO", "2015-03-04", "a"),
    )
    assert any(note.startswith("3 belong to 2 symbols without bars, most to UTX 2, KO 1") for note in report.notes)


def test_coverage_in_the_database_counts_as_the_library_does(database: Engine) -> None:
    store(database, ("IBM", "2015-02-01 03:00", "still January"), ("KO", "2015-01-05", "a"), ("IBM", "2015-04-05", "a"))
    store(database, ("IBM", "2015-03-05", "a"), kind="roundup", source="other")
    stories = extract_stories(database, dataset="t", as_of=NOW, kinds=("story", "roundup"))
    coverage = stored_coverage(database, dataset="t")
    assert coverage["n_stories"].tolist() == [1, 2, 1]
    pd.testing.assert_frame_equal(coverage, news_coverage(stories))


def test_news_and_simulated_bars_never_share_a_dataset(database: Engine) -> None:
    moment = pd.DatetimeIndex(["2015-03-02 21:00"]).tz_localize("UTC").as_unit("us")
    bar = {name: [10.0] for name in BARS.column_names} | {"symbol": pd.Series(["S"], dtype="str"), "ts": moment}
    write_bars(
        database, pd.DataFrame(bar), dataset="t", timeframe="1d", source=SIMULATED_SOURCE, name="sim", now=NOW
    )  # fmt: skip
    with pytest.raises(DataContractError, match="holds simulated bars"):
        store(database, ("IBM", "2015-03-04", "a"))


def test_a_dataset_needs_a_plain_name(database: Engine) -> None:
    for dataset in ("", "Real", "a b", "-x", "x;drop"):
        with pytest.raises(ConfigurationError, match="expected small letters"):
            import_news(database, FakeNews([]), dataset=dataset, now=NOW)


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("CATALYST_MARKET_DATA"), reason="CATALYST_MARKET_DATA is not set")
def test_all_real_news_and_tweets_are_stored_once_and_leave_their_gaps_visible(database: Engine) -> None:
    folder = Path(os.environ["CATALYST_MARKET_DATA"])
    now = pd.Timestamp("2017-01-01", tz="UTC")
    reports = {}
    for name in ("news", "tweets", "news "):  # the last one a second time
        file = open_news_file(folder / f"{name.strip()}.parquet", now=now, calendar=TradingCalendar())
        reports[name] = import_news(database, file, dataset="t", now=now)

    news, tweets, again = reports.values()
    assert (news.read, news.new, news.repeated, news.refused) == (65_737, 58_593, 7_136, 8)
    assert (again.new, again.unchanged, again.corrected) == (0, 58_593, 0)
    assert tweets.read == 84_512
    same_text = next(int(note.split()[0].replace(",", "")) for note in tweets.notes if "repeat an earlier" in note)
    assert tweets.repeated + same_text == 16_080
    months = stored_coverage(database, dataset="t")
    reuters = set(months.loc[months["source"] == "reuters", "month"].dt.strftime("%Y-%m"))
    covered = [f"2011-{m:02}" for m in range(7, 13)] + [f"2012-{m:02}" for m in range(8, 13)]
    covered += [f"2013-{m:02}" for m in range(6, 13)] + [f"2014-{m:02}" for m in range(5, 13)]
    covered += [f"2015-{m:02}" for m in range(1, 13)] + [f"2016-{m:02}" for m in range(1, 6)]
    assert reuters == set(covered)

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import NEWS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.news_files import open_news_file
from catalyst_ml.refused_rows import RefusedRow

NOW = pd.Timestamp("2015-12-01 12:00", tz="UTC")


def read(path: Path, **options) -> tuple[pd.DataFrame, list[RefusedRow], tuple[str, ...]]:
    file = open_news_file(path, now=NOW, calendar=TradingCalendar(), **options)
    batches = list(file.batches())
    stories = pd.concat([batch.stories for batch in batches], ignore_index=True)
    return stories, [row for batch in batches for row in batch.refused], file.notes


def read_text(tmp_path: Path, content: str, name: str = "wire.csv", **options):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return read(path, **options)


def test_a_moment_is_the_publication_and_a_date_counts_from_its_end_in_new_york(tmp_path: Path) -> None:
    content = "symbol,date,ts,headline\nIBM,2015-03-04,2015-03-04T12:48:00Z,Acme opens\nMMM,2015-03-04,,Beta opens\n"
    stories, refused, notes = read_text(tmp_path, content)
    assert stories["published_at"].dt.strftime("%d %H:%M:%S").tolist() == ["04 12:48:00", "05 04:59:59"]
    assert stories["is_date_only"].tolist() == [False, True]
    assert refused == []
    assert any("'date' names days only" in note for note in notes)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Ticker;Title;Published", "ibm;Acme opens;2015-03-04 12:48:00+00:00"),
        ("stock\ttitle\tdate", "IBM\tAcme opens\t2015-03-04 07:48:00-05:00"),
        ("symbol,timestamp,headline,unused", "IBM,1425473280,Acme opens,x"),
        ("symbol,published_at,headline", '"IBM","2015-03-04T12:48:00Z","Acme opens"'),
    ],
)
def test_common_column_names_and_ways_to_write_a_moment_mean_the_same_story(
    tmp_path: Path, header: str, row: str
) -> None:
    stories, refused, _ = read_text(tmp_path, f"\ufeff{header}\r\n{row}\r\n", source="wire")
    (story,) = stories.to_dict("records")
    assert (refused, story["symbol"], story["headline"], story["source"]) == ([], "IBM", "Acme opens", "wire")
    assert (story["published_at"], story["is_date_only"]) == (pd.Timestamp("2015-03-04 12:48", tz="UTC"), False)


def test_rows_that_break_a_rule_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    rows = [
        "IBM,2015-03-04T12:00:00Z,Acme opens",
        ",2015-03-04T12:00:00Z,Acme opens",
        "International Business Machines,2015-03-04T12:00:00Z,Acme opens",
        "IBM,,Acme opens",
        "IBM,soon,Acme opens",
        "IBM,2015-03-04T12:00:00Z,",
        "IBM,2015-03-04T12:00:00Z,A",
        "IBM,2015-12-04T12:00:00Z,Acme opens",
        "IBM,2015-03-04T12:00:00Z,Acme, opens",
    ]
    stories, refused, _ = read_text(tmp_path, "symbol,ts,headline\n" + "\n".join(rows) + "\n")
    assert [(row.row, row.rule) for row in refused] == [
        (3, "symbol_is_given"),
        (4, "symbol_is_a_ticker"),
        (5, "date_is_given"),
        (6, "date_is_readable"),
        (7, "headline_is_given"),
        (8, "headline_is_longer_than_one_character"),
        (9, "story_is_not_in_the_future"),
        (10, "row_has_every_field"),
    ]
    assert stories["row"].tolist() == [2]


def test_a_text_column_holds_tweets_which_are_nobodys_announcement(tmp_path: Path) -> None:
    content = "symbol,ts,text\nIBM,2015-03-04T12:48:00Z,$ ibm profit beats estimates URL\n"
    stories, _, notes = read_text(tmp_path, content)
    (tweet,) = stories.to_dict("records")
    assert (tweet["kind"], tweet["sentiment"], tweet["score"]) == ("tweet", "neutral", 0.0)
    assert pd.isna(tweet["catalyst_type"])
    assert any("--kind story" in note for note in notes)
    assert read_text(tmp_path, content, kind="story")[0]["catalyst_type"].tolist() == ["earnings_beat"]


def test_one_story_has_one_identity_under_all_its_tickers_and_another_at_each_source(tmp_path: Path) -> None:
    rows = [
        "IBM,2015-03-04,Acme opens,a",
        "MMM,2015-03-04,Acme opens,a",
        "IBM,2015-03-04,Acme opens,b",
        "IBM,2015-03-04,Acme shuts,a",
    ]
    stories, _, _ = read_text(tmp_path, "symbol,date,headline,source\n" + "\n".join(rows) + "\n")
    first, same, other_source, other_text = stories["news_id"]
    assert first == same
    assert len({first, other_source, other_text}) == 3
    NEWS.validate(stories.sort_values(list(NEWS.key)))


def test_only_the_rows_of_the_source_asked_for_are_read(tmp_path: Path) -> None:
    content = "symbol,date,headline,source\nIBM,2015-03-04,Acme opens,a\nIBM,2015-03-04,Acme opens,b\n"
    path = tmp_path / "two.csv"
    path.write_text(content)
    (batch,) = open_news_file(path, now=NOW, calendar=TradingCalendar(), source="b").batches()
    assert (batch.stories["row"].tolist(), batch.n_read, batch.n_skipped) == ([3], 1, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("symbol,ts,headline\nIBM,2015-03-04 12:48:00,Acme opens\n", "times without a zone.*--timezone"),
        ("symbol,date,headline\nIBM,03/04/2015,Acme opens\n", "ambiguous dates.*--date-format"),
        ("symbol,date,body\nIBM,2015-03-04,Acme opens\n", "column 'headline' is missing"),
        ("symbol,headline\nIBM,Acme opens\n", "column 'ts' is missing.*known names are: ts, published"),
        ("symbol,date,headline\nIBM,,Acme opens\n", "no row with a time or a date"),
        ("<html>\n", "no header of a table of news"),
        ("symbol,date,headline\n", "header and no rows"),
    ],
)
def test_a_file_that_leaves_open_what_it_means_is_refused_whole(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataContractError, match=message):
        read_text(tmp_path, content)


def test_moments_without_a_zone_are_read_in_the_one_given_and_times_the_clock_skipped_are_refused(
    tmp_path: Path,
) -> None:
    content = "symbol,ts,headline\nIBM,2015-03-04 07:48:00,Acme opens\nIBM,2015-03-08 02:30:00,Acme opens\n"
    stories, refused, _ = read_text(tmp_path, content, timezone="America/New_York")
    assert stories["published_at"].tolist() == [pd.Timestamp("2015-03-04 12:48", tz="UTC")]
    assert [(row.row, row.rule) for row in refused] == [(3, "date_is_readable")]


def test_a_zero_byte_is_refused_before_the_database_meets_it(tmp_path: Path) -> None:
    path = tmp_path / "zero.parquet"
    day = pa.array([pd.Timestamp("2015-03-04").date()] * 2, pa.date32())
    pq.write_table(pa.table({"symbol": ["IBM", "IBM"], "date": day, "headline": ["a\0b", "fine"]}), path)
    stories, refused, _ = read(path)
    assert (stories["headline"].tolist(), [row.rule for row in refused]) == (["fine"], ["headline_has_no_zero_byte"])


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("CATALYST_MARKET_DATA"), reason="CATALYST_MARKET_DATA is not set")
def test_the_known_dirt_of_real_news_is_found_as_its_readme_counts_it() -> None:
    folder = Path(os.environ["CATALYST_MARKET_DATA"])
    now = pd.Timestamp("2017-01-01", tz="UTC")
    file = open_news_file(folder / "news.parquet", now=now, calendar=TradingCalendar())
    batches = list(file.batches())
    stories = pd.concat([batch.stories for batch in batches], ignore_index=True)
    refused = [row for batch in batches for row in batch.refused]
    raw = pd.read_parquet(folder / "news.parquet")

    assert sum(batch.n_read for batch in batches) == 65_737
    assert [row.rule for row in refused] == ["headline_is_longer_than_one_character"] * 8
    assert int(raw.duplicated(["symbol", "date", "headline"]).sum()) == 7_180
    # The other 44 are Benzinga stories published again later that day: two publications.
    assert int(stories.duplicated(list(NEWS.key)).sum()) == 7_136
    is_reuters = stories["source"] == "reuters"
    assert stories.loc[is_reuters, "is_date_only"].all()
    assert not stories.loc[~is_reuters, "is_date_only"].any()
    said = stories.loc[is_reuters, "published_at"].dt.tz_convert("America/New_York").dt.date
    assert (said.to_numpy() == raw.drop(index=[row.row - 2 for row in refused])["date"][is_reuters.to_numpy()]).all()
    is_stocks = stories["headline"].str.startswith("US STOCKS-")
    assert is_stocks.sum() > 2_500
    assert set(stories.loc[is_stocks, "kind"]) == {"roundup"}
    is_update = stories["headline"].str.match(r"UPDATE \d-") & ~stories["headline"].str.contains(
        "STOCKS|WRAP|TABLE|MARK"
    )
    assert (stories.loc[is_update, "kind"] == "update").mean() > 0.98

from __future__ import annotations

import pandas as pd

from catalyst_ml.market.news_coverage import is_covered, news_coverage


def make_stories(*stories: tuple[str, str, str]) -> pd.DataFrame:
    source, symbol, published = zip(*stories, strict=True)
    return pd.DataFrame(
        {
            "source": pd.Series(source, dtype="str"),
            "symbol": pd.Series(symbol, dtype="str"),
            "published_at": pd.DatetimeIndex(pd.to_datetime(list(published), utc=True)).as_unit("us"),
        }
    )


STORIES = make_stories(
    ("a", "IBM", "2015-01-05 12:00"),
    ("a", "MMM", "2015-01-06 12:00"),
    ("a", "IBM", "2015-02-01 03:00"),  # still January in New York
    ("a", "IBM", "2015-04-01 12:00"),
    ("b", "KO", "2015-01-05 12:00"),
)


def covered(symbol: str, moment: str, stories: pd.DataFrame = STORIES) -> bool:
    asked = pd.Series(pd.to_datetime([moment], utc=True))
    return bool(is_covered(stories, pd.Series([symbol]), asked)[0])


def test_months_are_counted_by_the_date_in_new_york_and_silent_months_are_absent() -> None:
    months = news_coverage(STORIES)
    assert months["month"].dt.strftime("%Y-%m").tolist() == ["2015-01", "2015-04", "2015-01"]
    assert months["n_stories"].tolist() == [3, 1, 1]
    assert months["n_symbols"].tolist() == [2, 1, 1]


def test_a_source_that_told_of_another_company_this_week_covers_the_silent_one() -> None:
    assert covered("IBM", "2015-01-12 12:00")  # the newest story, of MMM, is six days old


def test_a_source_silent_for_more_than_a_week_covers_nobody() -> None:
    assert not covered("IBM", "2015-01-14 12:00")
    assert not covered("IBM", "2015-03-31 12:00")


def test_a_symbol_no_listening_source_has_told_of_is_not_covered() -> None:
    assert not covered("KO", "2015-04-02 12:00")  # source a is on but never told of KO, source b is off
    assert not covered("MMM", "2015-01-05 13:00")


def test_later_stories_change_nothing_before_them() -> None:
    moments = pd.Series(pd.date_range("2015-01-01", "2015-04-30", freq="6h", tz="UTC"))
    symbols = pd.Series(["IBM"] * len(moments))
    cut = pd.Timestamp("2015-03-01", tz="UTC")
    whole = is_covered(STORIES, symbols, moments)
    known = is_covered(STORIES[STORIES["published_at"] <= cut], symbols, moments)
    before = (moments <= cut).to_numpy()
    assert (whole[before] == known[before]).all()
    assert (whole[~before] != known[~before]).any()

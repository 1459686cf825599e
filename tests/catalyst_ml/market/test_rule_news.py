from __future__ import annotations

import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import NEWS
from catalyst_ml.market.rule_news import Catalysts, catalysts_of_events
from tests.catalyst_ml.market.bar_frames import CLOSES
from tests.catalyst_ml.market.rule_cases import make_events, make_news

TS = CLOSES[50]
HOUR, MOMENT = pd.Timedelta(hours=1), pd.Timedelta(microseconds=1)
EVENT = make_events(("AAA", TS))


def found(news: pd.DataFrame) -> tuple[float, int, int]:
    """Score, sentiment and number of stories of the event at ``TS``."""
    catalysts = catalysts_of_events(EVENT, news)
    return float(catalysts.score[0]), int(catalysts.sentiment[0]), int(catalysts.n_stories[0])


def test_the_window_opens_after_24_hours_ago_and_ends_with_the_close():
    ages = {24 * HOUR: 0, 24 * HOUR - MOMENT: 1, pd.Timedelta(0): 1, -MOMENT: 0}
    counted = {age: found(make_news((TS - age, 70.0, "positive", None)))[2] for age in ages}
    assert counted == ages


def test_the_best_scored_story_speaks_and_the_newest_among_equals():
    older, newer = (TS - 2 * HOUR, 70.0, "negative", None), (TS - HOUR, 70.0, "positive", None)
    weak = (TS, 40.0, "neutral", None)
    assert found(make_news(older, newer, weak)) == (70.0, 1, 3)


def test_round_ups_and_tweets_are_no_catalyst():
    news = make_news(
        (TS - HOUR, 90.0, "positive", None), (TS - HOUR, 80.0, "negative", None), (TS, 20.0, "neutral", None)
    )
    assert found(news.assign(kind=["roundup", "tweet", "story"])) == (20.0, 0, 1)
    assert found(news) == (90.0, 1, 3)


def test_news_of_another_symbol_or_without_any_story_leaves_the_event_without_a_catalyst():
    other = make_news((TS - HOUR, 90.0, "positive", None), symbol="ZZZ")
    for news in (other, NEWS.empty()):
        assert found(news) == (0.0, 0, 0)
        assert catalysts_of_events(EVENT, news).is_present.tolist() == [False]


def test_a_value_by_type_falls_back_for_other_types_and_for_no_story():
    events = make_events(("AAA", TS), ("BBB", TS), ("CCC", TS))
    news = pd.concat(
        [
            make_news((TS, 50.0, "neutral", "merger"), symbol="AAA"),
            make_news((TS, 50.0, "neutral", None), (TS - HOUR, 10.0, "neutral", "merger"), symbol="BBB"),
        ],
        ignore_index=True,
    )
    catalysts = catalysts_of_events(events, news)
    assert isinstance(catalysts, Catalysts)
    assert catalysts.by_type({"merger": 1.4}, otherwise=1.0).tolist() == [1.4, 1.0, 1.0]


@pytest.mark.parametrize(
    "broken", [{"sentiment": "bullish"}, {"score": 101.0}, {"score": -1.0}, {"score": float("nan")}]
)
def test_a_story_outside_the_contract_is_refused_by_name(broken):
    news = make_news((TS, 50.0, "neutral", None), (TS - HOUR, 50.0, "neutral", None))
    for column, value in broken.items():
        news.loc[1, column] = value
    with pytest.raises(DataContractError, match=r"1 of 2 stories .* AAA 'n0'"):
        catalysts_of_events(EVENT, news)


def test_unsorted_news_is_refused_instead_of_searched():
    news = make_news((TS - HOUR, 50.0, "neutral", None), (TS, 50.0, "neutral", None))
    with pytest.raises(DataContractError, match="not sorted"):
        catalysts_of_events(EVENT, news.iloc[::-1].reset_index(drop=True))

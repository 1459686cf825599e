"""The news behind a rule signal: what upstream's scanner would have called the symbol's catalyst at the bar's close.

Upstream hands each service one catalyst per symbol. Here it is the best-scored story published in the 24 hours up to
the close, the newest among equals; its type, sentiment and score are the catalyst's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.event_rows import microseconds

NEWS_WINDOW_US = 24 * 3_600 * 1_000_000
NO_CATALYSTS: tuple[str, ...] = ("roundup", "tweet")
"""Kinds of stories that are no news of the company; upstream's news service reads neither. ``kind`` may be absent."""
SENTIMENTS: Mapping[str, int] = {"positive": 1, "negative": -1, "neutral": 0}


class Catalysts(NamedTuple):
    """The catalyst of each event, (n_events,) each; without one: score 0, sentiment 0, no story, type code -1."""

    score: np.ndarray
    sentiment: np.ndarray
    n_stories: np.ndarray
    type_code: np.ndarray
    type_names: tuple[str, ...]

    @property
    def is_present(self) -> np.ndarray:
        return self.n_stories > 0

    def by_type(self, values: Mapping[str, float], *, otherwise: float) -> np.ndarray:
        """Return for each event the value of its catalyst's type.  # (n_events,)"""
        return np.array([*(values.get(name, otherwise) for name in self.type_names), otherwise])[self.type_code]


def catalysts_of_events(events: pd.DataFrame, news: pd.DataFrame) -> Catalysts:
    """Find the catalyst of each event's bar.

    Parameters
    ----------
    events : EVENTS
        Needs symbol and ts only.
    news : NEWS
        Sorted by symbol and time of publication; a column ``kind`` is heeded if there is one.

    Raises
    ------
    DataContractError
        If the news is not sorted, or a story has a sentiment or a score that is not in the contract.
    """
    stories = news[~news["kind"].isin(NO_CATALYSTS)] if "kind" in news.columns else news
    sentiment, score = _checked(stories)
    codes, type_names = pd.factorize(stories["catalyst_type"])  # a missing type is -1
    first, stop = _story_ranges(events, stories)
    n_stories = stop - first
    event = np.repeat(np.arange(len(events)), n_stories)
    row = np.arange(n_stories.sum()) - np.repeat(np.cumsum(n_stories) - n_stories, n_stories)
    row += np.repeat(first, n_stories)
    order = np.lexsort((row, score[row], event))  # last of an event: highest score, then newest
    is_last = np.diff(event[order], append=-1) != 0
    best, owner = row[order][is_last], event[order][is_last]
    found = Catalysts(
        score=np.zeros(len(events)),
        sentiment=np.zeros(len(events), dtype=np.int64),
        n_stories=n_stories,
        type_code=np.full(len(events), -1),
        type_names=tuple(str(name) for name in type_names),
    )
    found.score[owner], found.sentiment[owner], found.type_code[owner] = score[best], sentiment[best], codes[best]
    return found


def _checked(stories: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return sentiment as a number and score of each story; refuse what upstream cannot have sent."""
    sentiment = stories["sentiment"].map(SENTIMENTS)
    score = stories["score"].to_numpy(dtype=np.float64)
    is_bad = sentiment.isna().to_numpy() | ~((score >= 0.0) & (score <= 100.0))
    if is_bad.any():
        first = stories.iloc[int(is_bad.argmax())]
        raise DataContractError(
            f"rules: {int(is_bad.sum())} of {len(stories)} stories have a sentiment other than {list(SENTIMENTS)} or a "
            f"score outside 0 to 100, first {first['symbol']} {first['news_id']!r}: {first['sentiment']!r}, "
            f"{first['score']}. Mend or leave out these stories."
        )
    return sentiment.to_numpy(dtype=np.int64), score


def _story_ranges(events: pd.DataFrame, stories: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return first and end row, in ``stories``, of what each event may know: published in (close - 24 h, close]."""
    codes, names = pd.factorize(stories["symbol"])
    published, closes = microseconds(stories["published_at"]), microseconds(events["ts"])
    # Not numpy's unique: ten times slower on few values that repeat often.
    moments = np.sort(pd.unique(np.concatenate([published, closes, closes - NEWS_WINDOW_US])))
    symbol = pd.Index(names).get_indexer(pd.Index(events["symbol"])).astype(np.int64)
    # One number per symbol and moment, so that one binary search finds both.
    key = codes.astype(np.int64) * len(moments) + np.searchsorted(moments, published)
    if (np.diff(key) < 0).any():
        raise DataContractError(
            "rules: the news is not sorted by symbol and time of publication; a search in it would miss stories. "
            "Sort it by symbol, published_at and news_id first."
        )

    def rows_up_to(moment: np.ndarray) -> np.ndarray:
        return np.searchsorted(key, symbol * len(moments) + np.searchsorted(moments, moment), side="right")

    return rows_up_to(closes - NEWS_WINDOW_US), rows_up_to(closes)

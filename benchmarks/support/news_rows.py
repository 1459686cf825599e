"""Events, outcomes and the news behind them, without features or models: what the test of the catalyst effect needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from catalyst_ml.features.catalysts import NEWS_FLAG, add_catalysts
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import EVENT_KEY, NEWS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.labels import label_events
from catalyst_ml.market.news_coverage import is_covered
from catalyst_ml.market.news_files import open_news_file
from catalyst_ml.store.news import CATALYST_KINDS

RENAMED = {
    "PCLN": "BKNG",
    "UTX": "RTX",
    "HCN": "WELL",
    "BBT": "TFC",
    "SYMC": "NLOK",
    "DLPH": "APTV",
}
"""Tickers of the news files' time that the bars carry under a later name: a ``symbol_names`` table in short."""

TRADED_NOW = pd.Timestamp("2017-01-01", tz="UTC")
"""Later than every story of the files."""


def events_with_news(
    bars: pd.DataFrame, instruments: pd.DataFrame, news: pd.DataFrame, *, calendar: TradingCalendar
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the split-adjusted bars and, of every event, its key, session and the news known at its close."""
    adjusted = adjust_for_splits(bars, as_of=bars["ts"].max())
    events = detect_events(adjusted, instruments)
    panel = MarketPanel(bars=adjusted, instruments=instruments, news=news)
    moments = pd.DatetimeIndex(events["ts"].unique())
    sessions = pd.Series(calendar.session_of(moments), index=moments)
    rows = add_catalysts(panel, events.assign(session=events["ts"].map(sessions).astype("datetime64[us]")))
    return adjusted, rows.assign(**{NEWS_FLAG: rows["catalyst_stories"].notna().astype(np.float64)})


def with_outcomes(
    rows: pd.DataFrame, bars: pd.DataFrame, instruments: pd.DataFrame, spec: object, *, calendar: TradingCalendar
) -> pd.DataFrame:
    """Return the settled rows with ``y`` and ``net_return`` of the label ``spec``."""
    labelled = label_events(
        rows,
        bars,
        spec,
        calendar=calendar,
        as_of=bars["ts"].max(),
        instruments=instruments,  # type: ignore[arg-type]
    ).labels
    return rows.merge(labelled[[*EVENT_KEY, "y", "net_return"]], on=list(EVENT_KEY), validate="one_to_one")


def stories_of(path: Path, bars: pd.DataFrame, *, calendar: TradingCalendar, tweets: bool = False) -> pd.DataFrame:
    """Read a news file as the import does: publication settled, headlines judged, symbols under today's names."""
    file = open_news_file(path, now=TRADED_NOW, calendar=calendar)
    stories = pd.concat([batch.stories for batch in file.batches()], ignore_index=True)
    stories = stories[stories["kind"].isin(("tweet",) if tweets else CATALYST_KINDS)]
    stories = stories.assign(symbol=stories["symbol"].replace(RENAMED).astype("str"))
    stories = stories[stories["symbol"].isin(bars["symbol"])].drop_duplicates(list(NEWS.key))
    return stories.sort_values(list(NEWS.key), ignore_index=True)


def stories_since_last_close(rows: pd.DataFrame, stories: pd.DataFrame) -> np.ndarray:
    """Mask (n_rows,): a story in (close of the session before, close]; over a weekend that is three days."""
    closes = np.sort(rows["ts"].array.as_unit("us").asi8)
    closes = np.unique(closes)
    at = rows["ts"].array.as_unit("us").asi8
    place = np.searchsorted(closes, at)
    before = np.where(place > 0, closes[np.maximum(place - 1, 0)], at)
    return _any_between(rows["symbol"], before, at, stories)


def tweets_of_the_day(rows: pd.DataFrame, tweets: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks (n_rows,): a tweet in the 24 hours up to the close, and tweets of the symbol were collected."""
    at = rows["ts"].array.as_unit("us").asi8
    has_tweet = _any_between(rows["symbol"], at - 86_400_000_000, at, tweets)
    return has_tweet, is_covered(tweets, rows["symbol"], rows["ts"])


def _any_between(symbol: pd.Series, after: np.ndarray, upto: np.ndarray, stories: pd.DataFrame) -> np.ndarray:
    found = np.zeros(len(symbol), dtype=bool)
    own = {name: np.sort(part.array.as_unit("us").asi8) for name, part in stories.groupby("symbol")["published_at"]}
    for name, at in symbol.groupby(symbol.to_numpy(), sort=False).indices.items():
        published = own.get(str(name))
        if published is not None:
            last = np.searchsorted(published, upto[at], side="right")
            found[at] = last > np.searchsorted(published, after[at], side="right")
    return found

"""What the catalyst predictor sees beside the models' inputs: the news behind an event, as it was known at the close.

The catalyst is the rules' own (``market.rule_news``): the best-scored story published in the 24 hours up to the
close, the window of ``news_present``. Without such a story all values are missing; and that no story is there says
nothing where no source was listening, which ``news_covered`` tells.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices
from catalyst_ml.market import headlines, news_coverage, rule_news
from catalyst_ml.market.rule_news import catalysts_of_events

CODE_BEHIND = (rule_news, news_coverage, headlines)
"""Modules whose text is part of the version of these values."""

NEWS_FLAG = "news_present"
"""The feature of the catalogue that says whether there is news: 1 with a story in (ts - 24 h, ts]."""

FAMILIES: tuple[str, ...] = ("earnings", "guidance", "analyst", "merger", "fda", "lawsuit", "insider")
FAMILY_OF_TYPE: dict[str, str] = {pattern.catalyst_type: pattern.family for pattern in headlines.PATTERNS} | {
    "legal": "lawsuit"
}
"""Upstream's types by family; ``legal`` is the simulator's word. A type that is none of them sets no flag."""

COUNT_DAYS = 5
_DAY_US = 86_400 * 1_000_000
_HOUR_US = 3_600 * 1_000_000

CATALYST_FEATURES: dict[str, str] = {
    "catalyst_score": "0-100, of the best-scored story in (ts - 24 h, ts]",
    "catalyst_sentiment": "-1, 0 or 1, of that story: upstream's sentiment of its type",
    "catalyst_stories": "stories in (ts - 24 h, ts]",
    "catalyst_stories_5d": "stories in (ts - 5 days, ts]",
    "catalyst_age_hours": "hours since the newest story",
    **{f"catalyst_is_{family}": "1 if that story is of this family, else 0" for family in FAMILIES},
}
"""Name to unit. Missing without a story in (ts - 24 h, ts]."""

NEWS_COVERED = "news_covered"
"""1 if some source was listening for the symbol at ts, 0 if not; missing before the dataset's first story."""


def add_catalysts(panel: MarketPanel, features: pd.DataFrame) -> pd.DataFrame:
    """Return ``features`` with ``CATALYST_FEATURES`` and ``NEWS_COVERED`` of each bar.

    Parameters
    ----------
    panel
        Its news; a value at ``ts`` uses stories published at ``ts`` or before.
    features
        Columns ``symbol`` and ``ts``, in any order; repeats are allowed.

    Returns
    -------
    DataFrame
        The same rows in the same order, index 0..n-1; float64.
    """
    names = [*CATALYST_FEATURES, NEWS_COVERED]
    kept = features.drop(columns=names, errors="ignore").reset_index(drop=True)
    if panel.news.empty:
        return kept.assign(**dict.fromkeys(names, np.nan))
    catalysts = catalysts_of_events(kept, panel.news)
    n_stories_5d, age = _story_counts(panel.news, kept)
    columns = {
        "catalyst_score": catalysts.score,
        "catalyst_sentiment": catalysts.sentiment.astype(np.float64),
        "catalyst_stories": catalysts.n_stories.astype(np.float64),
        "catalyst_stories_5d": n_stories_5d,
        "catalyst_age_hours": age,
    }
    for family in FAMILIES:
        members = {name: 1.0 for name, of in FAMILY_OF_TYPE.items() if of == family}
        columns[f"catalyst_is_{family}"] = catalysts.by_type(members, otherwise=0.0)
    values = pd.DataFrame({name: np.where(catalysts.is_present, columns[name], np.nan) for name in CATALYST_FEATURES})
    stories = panel.news if "source" in panel.news.columns else panel.news.assign(source="")
    covered = news_coverage.is_covered(stories, kept["symbol"], kept["ts"]).astype(np.float64)
    is_later = (kept["ts"] >= panel.news["published_at"].min()).to_numpy()
    return pd.concat([kept, values.assign(**{NEWS_COVERED: np.where(is_later, covered, np.nan)})], axis=1)


def _story_counts(news: pd.DataFrame, rows: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Return the stories of the last days, and the hours since the newest one (infinite before the first)."""
    published = news["published_at"].array.asi8
    closes = rows["ts"].array.as_unit("us").asi8
    count, age = np.zeros(len(rows)), np.full(len(rows), np.inf)
    own = {symbol: np.sort(published[place]) for symbol, place in symbol_slices(news["symbol"])}
    for symbol, at in rows.groupby("symbol", sort=False).indices.items():
        stories = own.get(str(symbol))
        if stories is None:
            continue
        upto = np.searchsorted(stories, closes[at], side="right")
        count[at] = upto - np.searchsorted(stories, closes[at] - COUNT_DAYS * _DAY_US, side="right")
        newest = stories[np.maximum(upto - 1, 0)]
        age[at] = np.where(upto > 0, (closes[at] - newest) / _HOUR_US, np.inf)
    return count, age

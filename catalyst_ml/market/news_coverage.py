"""When a news source was listening: an absent headline is evidence of no news only where the source reported at all.

``news_coverage`` counts months, for people. ``is_covered`` answers for a moment with what was known by then, for
features: whether January is a month with news is not known on the second of January.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.frames import NEWS_COVERAGE
from catalyst_ml.market.publication import NEW_YORK

QUIET_DAYS = 7
"""A source silent about every company for longer than this is taken as off. In months that it covers, Reuters' archive
is never silent for more than 5 days (holidays); its holes last 8 days to 8 months."""


def news_coverage(stories: pd.DataFrame) -> pd.DataFrame:
    """Months in which each source has any story, by the date in New York.

    Parameters
    ----------
    stories : DataFrame
        Columns ``source``, ``symbol``, ``published_at`` (UTC).

    Returns
    -------
    DataFrame
        ``frames.NEWS_COVERAGE``: one row per source and month with stories; a month that is not there was not covered.
    """
    months = stories["published_at"].dt.tz_convert(NEW_YORK).dt.tz_localize(None).dt.to_period("M").dt.to_timestamp()
    keyed = pd.DataFrame(
        {"source": stories["source"], "month": months.astype("datetime64[us]"), "symbol": stories["symbol"]}
    )
    counted = keyed.groupby(["source", "month"], sort=True)["symbol"].agg(["size", "nunique"]).reset_index()
    counted = counted.rename(columns={"size": "n_stories", "nunique": "n_symbols"})
    counted["source"] = counted["source"].astype("str")
    return NEWS_COVERAGE.validate(counted.astype({"n_stories": "int64", "n_symbols": "int64"}))


def is_covered(
    stories: pd.DataFrame, symbols: pd.Series, moments: pd.Series, *, quiet_days: float = QUIET_DAYS
) -> np.ndarray:
    """Say for each symbol and moment whether a source was on that would have told of it; nothing later is used.

    Parameters
    ----------
    stories : DataFrame
        Columns ``source``, ``symbol``, ``published_at`` (UTC).
    symbols, moments : Series, shape (n_rows,)
        Symbol and aware moment of each row.
    quiet_days : float
        A source is on if it published anything, about anybody, in the ``quiet_days`` up to the moment.

    Returns
    -------
    ndarray of bool, shape (n_rows,)
        True where some source is on and has told of the symbol before the moment or at it.
    """
    asked = pd.DatetimeIndex(moments).as_unit("us").asi8
    names = symbols.to_numpy()
    window = int(quiet_days * 86_400_000_000)
    covered = np.zeros(len(asked), dtype=bool)
    for _, own in stories.groupby("source", sort=False):
        published = np.sort(pd.DatetimeIndex(own["published_at"]).as_unit("us").asi8)
        newest = np.searchsorted(published, asked, side="right") - 1
        is_on = (newest >= 0) & (asked - published[newest.clip(min=0)] <= window)
        debut = own.groupby("symbol")["published_at"].min().dt.as_unit("us").astype("int64")
        first = pd.Series(names).map(debut).to_numpy(dtype=np.float64, na_value=np.inf)
        covered |= is_on & (first <= asked)
    return covered

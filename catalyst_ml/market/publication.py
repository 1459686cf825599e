"""From when a dated thing counts as known; late rather than early, so that nothing is used before it was out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar

NEW_YORK = "America/New_York"
_LAST_DAY = pd.Timestamp("9998-12-31").as_unit("us")


def end_of_day(dates: pd.DatetimeIndex, zone: str = NEW_YORK) -> pd.DatetimeIndex:
    """Last microsecond of each date in a zone, as UTC; NaT stays NaT.

    For sources that name only the day: before the open and after the close cannot be told apart.

    Examples
    --------
    >>> end_of_day(pd.DatetimeIndex(["2015-03-04"])).strftime("%d %H:%M:%S").tolist()
    ['05 04:59:59']
    """
    days = pd.DatetimeIndex(dates).as_unit("us").normalize()
    days = pd.DatetimeIndex(days.where(~(days > _LAST_DAY), _LAST_DAY))  # there is no midnight after the year 9999
    following = days + pd.Timedelta(days=1)
    # Where the clock repeats or skips midnight the later moment is meant.
    placed = following.tz_localize(zone, ambiguous=np.zeros(len(following), dtype=bool), nonexistent="shift_forward")
    return (placed.tz_convert("UTC") - pd.Timedelta(microseconds=1)).as_unit("us")


def known_after_release(
    dates: pd.DatetimeIndex, release_time: np.ndarray, calendar: TradingCalendar
) -> pd.DatetimeIndex:
    """Moment from which a company's result counts as known, UTC.

    Parameters
    ----------
    dates : DatetimeIndex of naive midnights, shape (n_rows,)
        Day of the report at the exchange.
    release_time : ndarray of str or None, shape (n_rows,)
        ``pre`` (before the open), ``post`` (after the close), anything else is unknown.

    Returns
    -------
    DatetimeIndex
        ``pre``: the open of that session. Everything else, and days without a session: the end of the day in the
        exchange's zone. Not the close for ``post``: what is published minutes after the close would then be known
        at it, and with that to the bar stamped with it.
    """
    known = end_of_day(dates, calendar.zone)
    is_early = (np.asarray(release_time, dtype=object) == "pre") & calendar.is_session(dates)
    moments = known.asi8.copy()
    moments[is_early] = calendar.opens(dates[is_early]).asi8
    return pd.DatetimeIndex(moments.astype("datetime64[us]")).tz_localize("UTC")

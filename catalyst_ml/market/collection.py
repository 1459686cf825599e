"""When events are collected: after the last close, or at every close, week or month of a past range.

A back-fill looks at each close with what was known *then*, so that a late correction of a bar does not reach into
what is kept of an earlier day.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import pandas as pd

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market.calendar import TradingCalendar

Every = Literal["session", "week", "month"]
_PERIODS: dict[Every, str] = {"session": "D", "week": "W-SUN", "month": "M"}


def closes_to_collect(
    calendar: TradingCalendar,
    *,
    newest: pd.Timestamp,
    since: date | str | None,
    until: date | str | None,
    every: Every,
) -> list[pd.Timestamp]:
    """Return the closes to collect at, rising: of each period between the two days the last one.

    Parameters
    ----------
    calendar : TradingCalendar
    newest : Timestamp, UTC
        Nothing after it is known.
    since, until : date or ISO text, optional
        Days of the exchange, both included. Without ``since`` it is one close: the last up to ``until``, or to
        ``newest``.
    every : {"session", "week", "month"}

    Raises
    ------
    ConfigurationError
        If no session closed in the range, or ``until`` lies before ``since``.
    """
    last_known = calendar.last_close_at_or_before(newest)
    last_day = pd.Timestamp(until) if until else last_known.tz_convert(calendar.zone).tz_localize(None).normalize()
    first_day = pd.Timestamp(since) if since else last_day - pd.Timedelta(days=14)
    if first_day > last_day:
        raise ConfigurationError(
            f"collection from {first_day:%Y-%m-%d} until {last_day:%Y-%m-%d}: expected since before until, and not "
            f"after the newest close {last_known.isoformat()}. Correct the range."
        )
    sessions = calendar.sessions(first_day, last_day)
    closes = calendar.closes(sessions)
    known = closes <= last_known
    sessions, closes = sessions[known], closes[known]
    if not len(closes):
        raise ConfigurationError(
            f"collection from {first_day:%Y-%m-%d} until {last_day:%Y-%m-%d}: no session closed in it by "
            f"{last_known.isoformat()}. Choose a range with one, or import newer bars."
        )
    if since is None:
        return [closes[-1]]
    last_of_period = pd.Series(closes, index=sessions).groupby(sessions.to_period(_PERIODS[every])).last()
    return [pd.Timestamp(close) for close in last_of_period]


def on_bars(events: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """Return the events whose bar is among ``bars``; a bar that was withdrawn since has no features any more."""
    known = pd.MultiIndex.from_frame(bars[["symbol", "ts"]])
    return events[pd.MultiIndex.from_frame(events[["symbol", "ts"]]).isin(known)].reset_index(drop=True)

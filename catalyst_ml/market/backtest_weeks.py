"""Which weeks a back-test replays: the closes after which the weekly run would have stood there and decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pandas as pd

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.collection import closes_to_collect

LABEL_SESSIONS = 5
"""Sessions after a decision by which its outcome is surely known."""


@dataclass(frozen=True)
class BacktestWeeks:
    """Moments of a back-test, all UTC closes.

    ``weeks`` are the moments at which the weekly run decides, rising. What the last of them put in charge acts until
    ``end``; all outcomes are read as they are known at ``settled_at``. ``pending`` are those weeks after which events
    fall whose outcome is not surely known by then.
    """

    weeks: tuple[pd.Timestamp, ...]
    end: pd.Timestamp
    settled_at: pd.Timestamp
    pending: tuple[pd.Timestamp, ...]


def backtest_weeks(
    calendar: TradingCalendar,
    *,
    newest: pd.Timestamp,
    since: date | str,
    until: date | str | None = None,
    every: int = 1,
) -> BacktestWeeks:
    """Return the last close of every ``every``-th whole week between two days, and what follows the last one.

    Parameters
    ----------
    newest : Timestamp, UTC
        Close of the newest bar; nothing after it is known.
    since, until : date or ISO text
        Days of the exchange, both included; without ``until`` up to ``newest``. A week of which a session lies after
        ``until`` or ``newest`` is left out: the weekly run would not have started yet.
    every : int
        Weeks from one decision to the next, at least 1.

    Raises
    ------
    ConfigurationError
        If no whole week lies in the range, or ``every`` is below 1.
    """
    if every < 1:
        raise ConfigurationError(f"back-test: every={every} weeks; expected 1 or more.")
    closes = closes_to_collect(calendar, newest=newest, since=since, until=until, every="week")
    whole = [
        close for close in closes if _week_of(close, calendar) < _week_of(_close_after(close, 1, calendar), calendar)
    ]
    weeks = whole[::every]
    if not weeks:
        raise ConfigurationError(
            f"back-test from {since} until {until or f'{newest:%Y-%m-%d}'}: no whole week lies in it. Choose a longer "
            "range, or import newer bars."
        )
    following = closes_to_collect(calendar, newest=newest, since=_day_of(weeks[-1], calendar), until=None, every="week")
    end = following[min(every, len(following) - 1)]
    settled = [_close_after(following, LABEL_SESSIONS, calendar) for following in (*weeks[1:], end)]
    pending = tuple(week for week, known in zip(weeks, settled, strict=True) if known > newest)
    return BacktestWeeks(tuple(weeks), end, min(settled[-1], newest), pending)


def _close_after(close: pd.Timestamp, n_sessions: int, calendar: TradingCalendar) -> pd.Timestamp:
    """Close of the n-th session after the one that ends at ``close``."""
    later = calendar.shift(pd.DatetimeIndex([_day_of(close, calendar)]), n_sessions)
    return pd.Timestamp(calendar.closes(later)[0])


def _day_of(close: pd.Timestamp, calendar: TradingCalendar) -> pd.Timestamp:
    return close.tz_convert(calendar.zone).tz_localize(None).normalize()


def _week_of(close: pd.Timestamp, calendar: TradingCalendar) -> pd.Period:
    return _day_of(close, calendar).to_period("W-SUN")

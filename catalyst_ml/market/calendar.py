"""When the exchange trades: sessions, opens, closes and steps between them.

A *session* is an exchange trading day, written as a naive midnight date; moments are UTC. Nothing here
reads a clock: whoever needs later sessions than :data:`DEFAULT_END` passes ``end``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError

DEFAULT_START = date(1990, 1, 1)
DEFAULT_END = date(2035, 12, 31)
"""Holidays follow rules, so sessions far ahead are computable; unscheduled closings are known only afterwards."""

SESSION_DTYPE = "datetime64[us]"
_DAY_US = 86_400_000_000
_NOT_A_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class _Schedule:
    """Sorted arrays, one entry per session: date, open and close as int64 microseconds since the epoch."""

    sessions: np.ndarray  # (n_sessions,)
    opens: np.ndarray  # (n_sessions,)
    closes: np.ndarray  # (n_sessions,)
    zone: str
    by_day: np.ndarray  # (n_days,) position of the session on each day from the first session on, -1 if there is none


@functools.lru_cache(maxsize=8)
def _load_schedule(name: str, start: date, end: date) -> _Schedule:
    # Half a second for 45 years, so once per process; the import alone costs another 0.2 s.
    import exchange_calendars

    try:
        calendar = exchange_calendars.get_calendar(name, start=start.isoformat(), end=end.isoformat())
    except exchange_calendars.errors.InvalidCalendarName as error:
        known = ", ".join(sorted(exchange_calendars.get_calendar_names(include_aliases=False)))
        raise ConfigurationError(
            f"calendar {name!r} is not known; expected XNYS (New York), 24/7 (crypto) or one of: {known}."
        ) from error
    sessions = _as_int(pd.DatetimeIndex(calendar.schedule.index))
    days = (sessions - sessions[0]) // _DAY_US
    by_day = np.full(days[-1] + 1, -1, dtype=np.int64)
    by_day[days] = np.arange(len(sessions))
    return _Schedule(
        sessions=sessions,
        opens=_as_int(pd.DatetimeIndex(calendar.opens)),
        closes=_as_int(pd.DatetimeIndex(calendar.closes)),
        zone=str(calendar.tz),
        by_day=by_day,
    )


class TradingCalendar:
    """Sessions of one exchange between two dates, vectorised.

    Parameters
    ----------
    name : str
        Name in ``exchange_calendars``; ``XNYS`` is the New York Stock Exchange, ``24/7`` never closes: its sessions
        are UTC days, each closing at the midnight that ends it.
    start, end : datetime.date
        First and last date covered. Questions outside raise instead of guessing.

    Raises
    ------
    ConfigurationError
        If no calendar has this name.

    Examples
    --------
    >>> calendar = TradingCalendar()
    >>> calendar.closes(calendar.sessions(date(2015, 11, 25), date(2015, 11, 27))).strftime("%d %H:%M").tolist()
    ['25 21:00', '27 18:00']
    """

    def __init__(self, name: str = "XNYS", start: date = DEFAULT_START, end: date = DEFAULT_END) -> None:
        self.name = name
        self.start = start
        self.end = end
        self._schedule = _load_schedule(name, start, end)

    @property
    def zone(self) -> str:
        """Time zone of the exchange, an IANA name."""
        return self._schedule.zone

    def sessions(self, first: date | pd.Timestamp, last: date | pd.Timestamp) -> pd.DatetimeIndex:
        """Sessions from ``first`` to ``last``, both included: naive midnight dates, ascending."""
        low, high = _as_int(pd.DatetimeIndex([_naive_date(first), _naive_date(last)]))
        dates = self._schedule.sessions
        return _as_sessions(dates[(dates >= low) & (dates <= high)])

    def closes(self, sessions: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Closing moment of each session, UTC microseconds; early closes are respected.

        Raises
        ------
        DataContractError
            If a date is not a session of this calendar.
        """
        return _as_moments(self._schedule.closes[self._positions(sessions)])

    def opens(self, sessions: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Opening moment of each session, UTC microseconds. Raises like :meth:`closes`."""
        return _as_moments(self._schedule.opens[self._positions(sessions)])

    def is_session(self, dates: pd.DatetimeIndex) -> np.ndarray:
        """Boolean array: which of the naive midnight ``dates`` are sessions (NaT is not one)."""
        return self._find(pd.DatetimeIndex(dates)) >= 0

    def session_of(self, ts: pd.DatetimeIndex | pd.Series) -> pd.DatetimeIndex:
        """Session to which each moment belongs, by its date at the exchange.

        Parameters
        ----------
        ts : DatetimeIndex or Series
            Aware moments.

        Returns
        -------
        DatetimeIndex
            Naive midnight dates in the order given. A moment before the open belongs to that day's
            session, the close itself to the session it ends; NaT if the date is no session, or if its session
            had closed before the moment.
        """
        moments = pd.DatetimeIndex(ts)
        instants, closes = _as_int(moments), self._schedule.closes
        position = self._find(moments.tz_convert(self.zone).tz_localize(None).normalize().as_unit("us"))
        position = np.where((position >= 0) & (instants <= closes[position]), position, -1)
        ended = np.searchsorted(closes, instants).clip(max=len(closes) - 1)
        position = np.where(closes[ended] == instants, ended, position)
        return _as_sessions(np.where(position >= 0, self._schedule.sessions[position], _NOT_A_TIME))

    def shift(self, sessions: pd.DatetimeIndex, n: int) -> pd.DatetimeIndex:
        """The session ``n`` sessions later (earlier if negative) for each one.

        Raises
        ------
        DataContractError
            If a date is not a session, or if the step leaves the calendar.
        """
        position = self._positions(sessions) + n
        if len(position) and (position.min() < 0 or position.max() >= len(self._schedule.sessions)):
            raise DataContractError(
                f"calendar {self.name}: {n:+d} sessions leaves {self.start} .. {self.end}. "
                "Open the calendar with a wider range."
            )
        return _as_sessions(self._schedule.sessions[position])

    def last_close_at_or_before(self, moment: pd.Timestamp) -> pd.Timestamp:
        """Newest session close that is not after ``moment`` (aware), UTC.

        Raises
        ------
        DataContractError
            If no session of the calendar had closed by then, or ``moment`` lies beyond its end.
        """
        wanted = _as_int(pd.DatetimeIndex([moment]))[0]
        position = int(np.searchsorted(self._schedule.closes, wanted, side="right")) - 1
        if position < 0 or wanted > self._schedule.closes[-1]:
            raise DataContractError(
                f"calendar {self.name} covers {self.start} .. {self.end}, which does not hold {moment}. "
                "Open it with a wider range."
            )
        return _as_moments(self._schedule.closes[[position]])[0]

    def _positions(self, sessions: pd.DatetimeIndex) -> np.ndarray:
        dates = pd.DatetimeIndex(sessions)
        position = self._find(dates)
        known = position >= 0
        if not known.all():
            first = dates[int(np.argmin(known))]
            raise DataContractError(
                f"calendar {self.name} ({self.start} .. {self.end}): {int((~known).sum())} of {len(dates)} dates are "
                f"no sessions, first {first:%Y-%m-%d}; expected sessions. Drop holidays and weekends, or widen it."
            )
        return position

    def _find(self, dates: pd.DatetimeIndex) -> np.ndarray:
        """Position of each date among the sessions, -1 where it is none (or no midnight, or NaT)."""
        values = _as_int(dates)
        by_day = self._schedule.by_day
        day, rest = np.divmod(values - self._schedule.sessions[0], _DAY_US)
        inside = (rest == 0) & (day >= 0) & (day < len(by_day)) & (values != _NOT_A_TIME)
        return np.where(inside, by_day[np.where(inside, day, 0)], -1)


def _as_int(index: pd.DatetimeIndex) -> np.ndarray:
    """Microseconds since the epoch; NaT becomes the smallest int64, which is no session."""
    return index.as_unit("us").asi8


def _as_sessions(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype(SESSION_DTYPE))


def _as_moments(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype(SESSION_DTYPE)).tz_localize("UTC")


def _naive_date(value: date | pd.Timestamp) -> pd.Timestamp:
    stamp = pd.Timestamp(value)
    return (stamp.tz_localize(None) if stamp.tz is not None else stamp).normalize().as_unit("us")

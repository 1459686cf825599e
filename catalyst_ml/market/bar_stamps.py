"""What the dates and times of a bar file mean: format, order of day and month, zone, start or end of the bar.

A file is surveyed whole before its first row is believed: one row can prove that 03/04 is 3 April, and one
row can show that two zones are mixed. What stays ambiguous is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.market.bar_tables import encode_texts, time_text, typed_times
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import Timeframe

Stamp = Literal["start", "end"]
"""Whether a bar's time is its first or its last moment."""

NOT_A_TIME = np.iinfo(np.int64).min
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = r"(?:[T ]\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?"
_ISO = re.compile(rf"(?P<year>\d{{4}})([-/.]?)(?P<month>\d{{2}})\2(?P<day>\d{{2}}){_CLOCK}{_ZONE}")
_SLASHED = re.compile(rf"(?P<first>\d{{1,2}})([-/.])(?P<second_field>\d{{1,2}})\2(?P<year>\d{{4}}){_CLOCK}{_ZONE}")
_EPOCH_DIGITS = {10: 1_000_000, 13: 1_000, 16: 1}  # digits -> microseconds per unit: seconds, milli, micro
_EARLIEST, _LATEST = (
    (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) for year in (1900, 2200)
)  # beyond them a time stands for something else, as 9999-12-31 does for "unknown"
_MAX_CLOCK_TIMES_OF_DAILY_FILE = 8  # dates, or closes with two offsets and a few early closes


@dataclass(frozen=True)
class WrittenTime:
    """A time as the file wrote it: wall clock in microseconds, and its distance from UTC if it says one."""

    wall: int
    offset: int | None


@dataclass(frozen=True)
class _Slashed:
    """``03/04/2015``: two numbers whose order only the whole file, or the user, can tell."""

    first: int
    second: int
    year: int
    clock: int
    offset: int | None


@dataclass(frozen=True)
class WrittenTimes:
    """Times of some rows as the file wrote them: int64 microseconds, ``NOT_A_TIME`` where there is none.

    ``text`` gives the writing of one row, for messages.
    """

    wall: np.ndarray
    offset: np.ndarray
    text: Callable[[int], str]


@dataclass
class StampReader:
    """Reads one time column; holds what the survey of the file has shown so far.

    ``survey`` sees every row first, ``settle`` then refuses the file or fixes the order of day and month,
    ``read`` turns the column into times. Parsed texts are remembered: a daily file has few different ones.
    ``timeframe`` is that of the bars, or ``None`` for another column, which may hold dates or moments.
    """

    file: str
    timeframe: Timeframe | None
    date_format: str | None = None
    timezone: str | None = None
    day_first: bool | None = None
    _seen: dict[str, WrittenTime | _Slashed | None] = field(default_factory=dict, repr=False)
    _first: dict[str, tuple[int, str]] = field(default_factory=dict, repr=False)
    _offsets: dict[int, tuple[int, str]] = field(default_factory=dict, repr=False)
    _clocks: set[int] = field(default_factory=set, repr=False)

    @property
    def holds_dates(self) -> bool:
        """True if every time surveyed was a midnight as written."""
        return self._clocks <= {0}

    def survey(self, column: pa.ChunkedArray, rows: np.ndarray) -> None:
        """Note what each time (``rows``: its row in the file) says about the file's convention."""
        typed = typed_times(column)
        if typed is None:
            texts, codes = encode_texts(column)
            different, first = np.unique(codes, return_index=True)
            self._survey_texts([texts[code] for code in different], rows[first].tolist())
            return
        wall, offset = typed
        # One zone, one way of writing: only the clock times can differ from row to row.
        clocks = np.where(wall == NOT_A_TIME, NOT_A_TIME, wall % _DAY_US)
        for clock, i in zip(*_first_places(clocks, _MAX_CLOCK_TIMES_OF_DAILY_FILE + 2), strict=True):
            row, text = int(rows[i]), time_text(column, i)
            if clock == NOT_A_TIME:
                self._note("unreadable", row, text)
                continue
            self._note("plain", row, text)
            self._note("naive" if offset[i] == NOT_A_TIME else "aware", row, text)
            self._note_clock(clock, row, text)

    def _survey_texts(self, texts: list[str], rows: list[int]) -> None:
        for text, row in zip(texts, rows, strict=True):
            parsed = self._parse(text)
            if parsed is None:
                self._note("unreadable", row, text)
                continue
            if isinstance(parsed, _Slashed):
                self._note("slashed", row, text)
                if parsed.first > 12:
                    self._note("day first", row, text)
                if parsed.second > 12:
                    self._note("month first", row, text)
                self._note_clock(parsed.clock, row, text)
            else:
                self._note("plain", row, text)
                self._note_clock(parsed.wall % _DAY_US, row, text)
            if parsed.offset is None:
                self._note("naive", row, text)
            else:
                self._note("aware", row, text)
                self._offsets.setdefault(parsed.offset, (row, text))

    def settle(self) -> None:
        """Refuse the file if its times are ambiguous or mixed, else fix how they are read.

        Raises
        ------
        DataContractError
            Naming the file, the rows that contradict each other and the option that decides.
        """
        first = self._first
        if not {"plain", "slashed"} & set(first):
            example = self._example("unreadable") if "unreadable" in first else "no value at all"
            raise DataContractError(
                f"{self.file}: no date could be read, first {example}. "
                "Expected 2015-04-03, 03/04/2015 or a Unix time; give --date-format, e.g. '%d-%b-%Y'."
            )
        if {"plain", "slashed"} <= set(first):
            raise DataContractError(
                f"{self.file}: two date formats in one column, {self._example('plain')} and "
                f"{self._example('slashed')}; expected one. Write all dates as YYYY-MM-DD."
            )
        self._settle_zones()
        self._settle_day_order()
        if self._is_daily and len(self._clocks) > _MAX_CLOCK_TIMES_OF_DAILY_FILE:
            raise DataContractError(
                f"{self.file}: {len(self._clocks)} different times of day were found in bars declared as 1d; expected "
                "one bar per session. Give the real --timeframe, e.g. --timeframe 5m."
            )

    def read(self, column: pa.ChunkedArray) -> WrittenTimes:
        """Wall clock and UTC offset of every row; ``NOT_A_TIME`` where it is unreadable or names no zone."""
        typed = typed_times(column)
        if typed is not None:
            wall, offset = typed
            return WrittenTimes(_within_reach(wall), offset, text=lambda i: time_text(column, i))
        texts, codes = encode_texts(column)
        wall = np.full(len(texts), NOT_A_TIME, dtype=np.int64)
        offset = np.full(len(texts), NOT_A_TIME, dtype=np.int64)
        for i, text in enumerate(texts):
            parsed = self._parse(text)
            if isinstance(parsed, _Slashed):
                parsed = _resolve(parsed, day_first=bool(self.day_first))
            if parsed is not None:
                wall[i] = parsed.wall
                offset[i] = NOT_A_TIME if parsed.offset is None else parsed.offset
        return WrittenTimes(_within_reach(wall)[codes], offset[codes], text=lambda i: texts[codes[i]])

    @property
    def _is_daily(self) -> bool:
        return self.timeframe is not None and self.timeframe.minutes is None

    def _settle_zones(self) -> None:
        if {"naive", "aware"} <= set(self._first):
            raise DataContractError(
                f"{self.file}: times with and without a zone are mixed, {self._example('aware')} and "
                f"{self._example('naive')}; expected one convention. Give every row its UTC offset, or none."
            )
        if len(self._offsets) > 1 and not _is_one_zone(sorted(self._offsets)):
            places = [f"row {row} {text!r}" for row, text in list(self._offsets.values())[:3]]
            raise DataContractError(
                f"{self.file}: mixed time zones, {' and '.join(places)}; expected one zone (two offsets an hour apart "
                "at most, for daylight saving). Convert all times to UTC."
            )
        is_moment = self.timeframe is not None or "clock" in self._first
        if not self._is_daily and is_moment and "naive" in self._first and self.timezone is None:
            example = self._example("naive" if self.timeframe is not None else "clock")
            raise DataContractError(
                f"{self.file}: {'intraday ' if self.timeframe else ''}times without a zone, first {example}; expected "
                "an offset such as Z or -05:00. Say what they mean with --timezone, e.g. --timezone America/New_York."
            )

    def _settle_day_order(self) -> None:
        if "slashed" not in self._first:
            return
        if {"day first", "month first"} <= set(self._first):
            raise DataContractError(
                f"{self.file}: day and month change places, {self._example('day first')} and "
                f"{self._example('month first')}; expected one order. Write all dates as YYYY-MM-DD."
            )
        if not {"day first", "month first"} & set(self._first):
            raise DataContractError(
                f"{self.file}: ambiguous dates, first {self._example('slashed')}: no row proves whether the day or the "
                "month comes first. Give --date-format '%d/%m/%Y' or '%m/%d/%Y'."
            )
        self.day_first = "day first" in self._first

    def _parse(self, text: str) -> WrittenTime | _Slashed | None:
        if text not in self._seen:
            if len(self._seen) > 500_000:  # bounds the memory of a long intraday file
                self._seen.clear()
            self._seen[text] = _parse(text, self.date_format)
        return self._seen[text]

    def _note(self, what: str, row: int, text: str) -> None:
        self._first.setdefault(what, (row, text))

    def _note_clock(self, clock: int, row: int, text: str) -> None:
        if clock:
            self._note("clock", row, text)
        if len(self._clocks) <= _MAX_CLOCK_TIMES_OF_DAILY_FILE:
            self._clocks.add(clock)

    def _example(self, what: str) -> str:
        row, text = self._first[what]
        return f"row {row} {text!r}"


@dataclass(frozen=True)
class StampedBars:
    """Close of each bar, UTC (int64 microseconds, ``NOT_A_TIME`` if refused), and what is to say about its time.

    ``is_regular`` is false for bars outside the regular session; the other two are the rules of time that rows broke.
    """

    ts: np.ndarray
    is_regular: np.ndarray
    not_a_session: np.ndarray
    not_in_zone: np.ndarray


def bar_closes(
    wall: np.ndarray,
    offset: np.ndarray,
    *,
    timeframe: Timeframe,
    stamp: Stamp,
    timezone: str | None,
    calendar: TradingCalendar,
) -> StampedBars:
    """Turn written times into the close of each bar.

    Parameters
    ----------
    wall, offset : ndarray of int64, shape (n_rows,)
        As :meth:`StampReader.read` returns them; ``NOT_A_TIME`` marks missing ones.
    stamp : 'start' or 'end'
        What an intraday time means; daily bars are dated, so it does not matter there.
    timezone : str or None
        Zone of wall clocks without offset; needed for intraday bars only.

    Notes
    -----
    A daily time at midnight, in whatever zone it is written, is the date as written (vendors write
    ``2015-03-04T00:00:00Z`` for 4 March); any other aware time is dated at the exchange. An intraday
    bar is regular if it overlaps the session of the day it starts on, and then ends with it at the latest: the last
    hourly bar of vendors that count from 09:30 is half an hour long.
    """
    readable = wall != NOT_A_TIME
    aware = readable & (offset != NOT_A_TIME)
    if timeframe.minutes is None:
        dates = _exchange_dates(wall, offset, aware, calendar)
        is_session = calendar.is_session(dates)
        ts = np.full(len(wall), NOT_A_TIME, dtype=np.int64)
        ts[is_session] = calendar.closes(dates[is_session]).asi8
        nothing = np.zeros(len(wall), dtype=bool)
        return StampedBars(ts, ~nothing, readable & ~is_session, nothing)
    utc = _placed(wall, offset, timezone)
    known = utc != NOT_A_TIME
    length = timeframe.minutes * 60_000_000
    start = np.where(known, utc - (length if stamp == "end" else 0), NOT_A_TIME)
    end = np.where(known, start + length, NOT_A_TIME)
    dates = _moments(start).tz_convert(calendar.zone).tz_localize(None).normalize()
    is_session = calendar.is_session(dates)
    sessions = dates[is_session]
    opens, closes = calendar.opens(sessions).asi8, calendar.closes(sessions).asi8
    is_regular = np.zeros(len(wall), dtype=bool)
    is_regular[is_session] = (start[is_session] < closes) & (end[is_session] > opens)
    inside = is_regular[is_session]
    end[is_session] = np.where(inside, np.minimum(end[is_session], closes), end[is_session])
    end[~is_session] = NOT_A_TIME
    return StampedBars(end, is_regular, known & ~is_session, readable & ~known)


def known_moments(
    wall: np.ndarray, offset: np.ndarray, *, as_dates: bool, timezone: str | None, calendar: TradingCalendar
) -> np.ndarray:
    """Turn written times of publication into moments, int64 microseconds UTC, ``NOT_A_TIME`` where there is none.

    A moment is itself. A date (``as_dates``) is the close of its session; a date that is no session is the end of
    that day at the exchange.
    """
    if not as_dates:
        return _placed(wall, offset, timezone)
    dates = pd.DatetimeIndex(wall.astype("datetime64[us]"))
    following = (dates + pd.Timedelta(days=1)).tz_localize(calendar.zone, ambiguous="NaT", nonexistent="shift_forward")
    known = np.array(following.tz_convert("UTC").as_unit("us").asi8)
    is_session = calendar.is_session(dates)
    known[is_session] = calendar.closes(dates[is_session]).asi8
    return known


def as_microseconds(moment: pd.Timestamp) -> int:
    """An aware moment as int64 microseconds UTC, as all times here are counted."""
    return int(pd.DatetimeIndex([moment]).as_unit("us").asi8[0])


def _placed(wall: np.ndarray, offset: np.ndarray, timezone: str | None) -> np.ndarray:
    """Moments of written times; ``NOT_A_TIME`` also where the zone's clock skipped or doubled the time."""
    readable = wall != NOT_A_TIME
    aware = readable & (offset != NOT_A_TIME)
    utc = np.where(aware, wall - np.where(aware, offset, 0), NOT_A_TIME)
    naive = readable & ~aware
    if naive.any():
        if timezone is None:
            raise ConfigurationError("intraday times without a zone need --timezone, e.g. America/New_York.")
        local = pd.DatetimeIndex(np.where(naive, wall, NOT_A_TIME).astype("datetime64[us]"))
        placed = local.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC")
        utc = np.where(naive, placed.as_unit("us").asi8, utc)
    return utc


def _exchange_dates(
    wall: np.ndarray, offset: np.ndarray, aware: np.ndarray, calendar: TradingCalendar
) -> pd.DatetimeIndex:
    dates = pd.DatetimeIndex(np.where(wall == NOT_A_TIME, wall, wall - wall % _DAY_US).astype("datetime64[us]"))
    timed = aware & (wall % _DAY_US != 0)
    if not timed.any():
        return dates
    utc = np.where(timed, wall - np.where(timed, offset, 0), NOT_A_TIME)
    return pd.DatetimeIndex(dates.where(~timed, _moments(utc).tz_convert(calendar.zone).tz_localize(None).normalize()))


def _within_reach(wall: np.ndarray) -> np.ndarray:
    far = (wall < _EARLIEST) | (wall >= _LATEST)
    return np.where(far, NOT_A_TIME, wall) if far.any() else wall


def _first_places(values: np.ndarray, at_most: int) -> tuple[list[int], list[int]]:
    """Some different values and where each stands first, in order of appearance."""
    different, first = np.unique(values, return_index=True)
    order = np.argsort(first)[:at_most]
    return different[order].tolist(), first[order].tolist()


def _moments(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype("datetime64[us]")).tz_localize("UTC")


def _is_one_zone(offsets: list[int]) -> bool:
    return len(offsets) == 2 and offsets[1] - offsets[0] == 3_600_000_000


def _parse(text: str, date_format: str | None) -> WrittenTime | _Slashed | None:
    try:
        if date_format is not None:
            return _from_datetime(datetime.strptime(text, date_format))  # noqa: DTZ007 - zones are settled per file
        if text.isdigit() and len(text) in _EPOCH_DIGITS:
            return WrittenTime(int(text) * _EPOCH_DIGITS[len(text)], 0)
        if match := _ISO.fullmatch(text):
            day = datetime(int(match["year"]), int(match["month"]), int(match["day"]), tzinfo=UTC)
            return WrittenTime(_microseconds(day - _EPOCH) + _clock(match), _offset(match["zone"]))
        if match := _SLASHED.fullmatch(text):
            first, second = int(match["first"]), int(match["second_field"])
            return _Slashed(first, second, int(match["year"]), _clock(match), _offset(match["zone"]))
    except ValueError:  # month 13, hour 25, or a format that does not fit: the row is refused with its text
        return None
    return None


def _resolve(parsed: _Slashed, *, day_first: bool) -> WrittenTime | None:
    day, month = (parsed.first, parsed.second) if day_first else (parsed.second, parsed.first)
    try:
        moment = datetime(parsed.year, month, day, tzinfo=UTC)
    except ValueError:
        return None
    return WrittenTime(_microseconds(moment - _EPOCH) + parsed.clock, parsed.offset)


def _from_datetime(moment: datetime) -> WrittenTime:
    offset = moment.utcoffset()
    wall = _microseconds(moment.replace(tzinfo=UTC) - _EPOCH)
    return WrittenTime(wall, None if offset is None else _microseconds(offset))


def _clock(match: re.Match[str]) -> int:
    if match["hour"] is None:
        return 0
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(match[0])
    fraction = int((match["fraction"] or "0").ljust(6, "0")[:6])
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction


def _offset(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone in ("Z", "UTC", "GMT"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return (-minutes if zone[0] == "-" else minutes) * 60_000_000


def _microseconds(delta: timedelta) -> int:
    return delta // timedelta(microseconds=1)

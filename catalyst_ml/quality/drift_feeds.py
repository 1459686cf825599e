"""Has a feed stopped? The sessions since its last row, against the calendar and the feed's own gaps.

The calendar says which sessions there were; a session without a row is a gap. The chance of a gap as long as the
present one is read off the feed's history: how often gaps began, and how often they went on. A feed that is quiet
every third day does not alarm on its first quiet day, one that never was does on its second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError

MIN_SESSIONS = 60
"""Sessions of history below which nothing is said about a feed."""


GRACE_SESSIONS = 1
"""Silent sessions that never alarm: the newest one may simply not have been imported yet this evening."""


@dataclass(frozen=True)
class FeedState:
    """How long a feed has been silent. ``p`` is None if its history is too short to judge.

    ``bound`` is the number of silent sessions that would alarm; ``last`` the session of its newest row.
    """

    feed: str
    silent_sessions: int
    bound: int | None
    p: float | None
    last: date | None
    n_sessions: int
    usual: str


def feed_state(
    feed: str, row_sessions: pd.Series | pd.DatetimeIndex, calendar: pd.DatetimeIndex, alpha: float
) -> FeedState:
    """Judge one feed.

    Parameters
    ----------
    feed : str
        Name for people, e.g. ``bars``.
    row_sessions : Series or DatetimeIndex
        Session (naive midnight) of each row of the feed, any order; sessions outside ``calendar`` do not count.
    calendar : DatetimeIndex
        All sessions from the feed's start to now, ascending; the last one is the last that has closed.
    alpha : float
        Chance of a false alarm in one run.

    Returns
    -------
    FeedState
        The sessions before the feed's first row are not held against it.

    Notes
    -----
    With b beginnings of gaps after f filled sessions, and c of g gap sessions followed by another one, a new gap
    reaches length k today with probability (b + ½)/(f + 1) · ((c + ½)/(g + 1))^(k-1). The halves are Jeffreys' prior.
    The present gap is no part of its own history. One silent session is given to an import that is late.

    Raises
    ------
    DataContractError
        If the calendar is not ascending.
    """
    if not calendar.is_monotonic_increasing or calendar.has_duplicates:
        raise DataContractError(
            f"feed {feed!r}: the calendar's sessions are not ascending. Take them from one calendar."
        )
    has_rows = calendar.isin(pd.DatetimeIndex(row_sessions).unique())
    if not has_rows.any():
        return FeedState(feed, len(calendar), None, None, None, 0, "no row yet")
    first, last = int(np.argmax(has_rows)), len(has_rows) - 1 - int(np.argmax(has_rows[::-1]))
    silent = len(calendar) - 1 - last
    begins, goes_on = _gap_chances(has_rows[first : last + 1])
    usual = _usual(has_rows[first : last + 1])
    n_sessions = last + 1 - first
    if n_sessions < MIN_SESSIONS:
        return FeedState(feed, silent, None, None, calendar[last].date(), n_sessions, usual)
    p = 1.0 if silent <= GRACE_SESSIONS else float(begins * goes_on ** (silent - 1))
    bound = max(1 + int(np.ceil(np.log(alpha / begins) / np.log(goes_on) - 1e-9)), GRACE_SESSIONS + 1)
    return FeedState(feed, silent, bound, p, calendar[last].date(), n_sessions, usual)


def _gap_chances(filled: np.ndarray) -> tuple[float, float]:
    """Chance that a gap begins after a filled session, and that one goes on."""
    before, after = filled[:-1], filled[1:]
    begun, n_filled = int((before & ~after).sum()), int(before.sum())
    gone_on, n_empty = int((~before & ~after).sum()), int((~before).sum())
    return (begun + 0.5) / (n_filled + 1.0), (gone_on + 0.5) / (n_empty + 1.0)


def _usual(filled: np.ndarray) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate([[1], filled.astype(int), [1]])))
    gaps = edges[1::2] - edges[::2]
    if not len(gaps):
        return f"never silent in {len(filled)} sessions"
    return f"{len(gaps)} gaps in {len(filled)} sessions, the longest {int(gaps.max())}"

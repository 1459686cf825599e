"""The daily drift watch of one version: its features, its certainty, its settled outcomes and the feeds behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.calibration_drift import watch_calibration, watch_confidence
from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.quality.drift import watch_features
from catalyst_ml.quality.drift_alarms import DriftReport, budget, feed_report
from catalyst_ml.quality.drift_feeds import feed_state
from catalyst_ml.quality.drift_null import N_WINDOW


class Trained(NamedTuple):
    """What a version was trained on: decision times of the first and last row, when, and with which columns."""

    start: pd.Timestamp
    end: pd.Timestamp
    as_of: pd.Timestamp
    inputs: tuple[str, ...]


def watch_version(
    events: pd.DataFrame,
    trained: Trained,
    *,
    record: pd.DataFrame,
    labels: pd.DataFrame,
    p: np.ndarray,
    calendar: TradingCalendar,
) -> DriftReport:
    """Compare the newest month of events with those of the version's training window that came before it.

    A version trained last week has seen most of that month; it is then held against the rest of its window. Otherwise
    a version that is replaced every week would never be watched.

    Parameters
    ----------
    events : DataFrame
        Event key and the version's inputs, over the training window and everything known since.
    record : DataFrame
        The version's own out-of-sample record: ``session``, ``y``, ``p_challenger``.
    labels : DataFrame
        Settled outcomes: event key and ``y``.
    p : ndarray (n_events,)
        The version's probability of each event decided after its ``as_of``; NaN elsewhere.
    """
    dated = _dated(events.assign(p=p), calendar)
    report = _watch_inputs(dated, trained)
    fresh = dated[(dated["ts"] > trained.as_of) & dated["p"].notna()]
    settled = fresh.merge(labels[[*EVENT_KEY, "y"]], on=list(EVENT_KEY), how="inner", validate="one_to_one")
    own = record[["session", "y", P_CHALLENGER]].rename(columns={P_CHALLENGER: "p"}).dropna()
    return report.joined(watch_confidence(own, fresh)).joined(watch_calibration(settled))


def watch_inputs(events: pd.DataFrame, trained: Trained, *, calendar: TradingCalendar) -> DriftReport:
    """Compare the newest month's inputs with the training window before it: what is asked of a version not yet served.

    Parameters
    ----------
    events : DataFrame
        Event key and the version's inputs, over the training window and everything known since.
    """
    return _watch_inputs(_dated(events, calendar), trained)


def watch_feeds(feeds: Mapping[str, pd.Series], until: pd.Timestamp, calendar: TradingCalendar) -> DriftReport:
    """Judge how long each feed has been silent at ``until``.

    Parameters
    ----------
    feeds : mapping of str to Series
        By feed, the aware moments of its rows up to ``until``. A moment outside trading hours belongs to the next
        close.
    """
    alpha = budget("feed", max(len(feeds), 1))
    states = []
    for name, moments in feeds.items():
        known = pd.DatetimeIndex(moments.unique())
        known = known[known <= until]
        first = (known.min() if len(known) else until).tz_convert(calendar.zone).tz_localize(None)
        last = calendar.last_close_at_or_before(until)
        # A story of the evening after the last close belongs to a session still to come: ten days hold one.
        sessions = calendar.sessions(first, last.tz_localize(None) + pd.Timedelta(days=10))
        closes = calendar.closes(sessions)
        at = np.searchsorted(closes.asi8, known.as_unit("us").asi8)
        n_closed = int(np.searchsorted(closes.asi8, pd.DatetimeIndex([last]).as_unit("us").asi8[0], side="right"))
        filled = sessions[np.minimum(np.unique(at), max(n_closed - 1, 0))] if len(sessions) else sessions
        states.append(feed_state(name, filled, sessions[:n_closed], alpha))
    return feed_report(states)


def _dated(events: pd.DataFrame, calendar: TradingCalendar) -> pd.DataFrame:
    dated = events.assign(session=_sessions(events["ts"], calendar))
    return dated[dated["session"].notna()]


def _watch_inputs(dated: pd.DataFrame, trained: Trained) -> DriftReport:
    sessions = np.sort(dated["session"].unique())
    is_newest = dated["session"] >= sessions[-N_WINDOW:].min() if len(sessions) else dated["session"].notna()
    inside = (dated["ts"] >= trained.start) & (dated["ts"] <= trained.end) & ~is_newest
    since = is_newest | (dated["ts"] > trained.end)
    return watch_features(dated[inside], dated[since], trained.inputs)


def _sessions(ts: pd.Series, calendar: TradingCalendar) -> pd.Series:
    moments = pd.DatetimeIndex(ts.unique())
    return ts.map(pd.Series(calendar.session_of(moments), index=moments)).astype("datetime64[us]")

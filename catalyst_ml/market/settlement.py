"""From bars to remembered events: detect, store, label what is over, and say since when each was known.

The store is handed in; what it must do is the contract :class:`EventStore`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pandas as pd
from numba import njit

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.detector import MAX_STRETCH, VOLUME_WINDOW, detect_events
from catalyst_ml.market.event_rows import microseconds, rows_of_events
from catalyst_ml.market.labels import AnyLabelSpec, MarketNeutralSpec, label_events

DETECTION_BARS = MAX_STRETCH * VOLUME_WINDOW
LABEL_BARS = 500
"""Bars before an event that may have moved its ATR; older ones are forgotten to less than 1e-15."""
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


class SettleCounts(Protocol):
    """What settling did, in numbers."""

    @property
    def new(self) -> int: ...
    @property
    def corrected(self) -> int: ...
    @property
    def unchanged(self) -> int: ...


class EventStore(Protocol):
    """Keeper of the detections of one dataset, timeframe and detector version, and of their labels.

    Everything is idempotent: writing or settling the same again changes nothing, also when two do it at once. Nothing
    is updated or deleted.
    """

    def write(self, detections: pd.DataFrame) -> int:
        """Keep detections (EVENTS and ``known_at``); return how many were new."""
        ...

    def read(self, as_of: datetime) -> pd.DataFrame:
        """Return detections (EVENTS) known at ``as_of``."""
        ...

    def settle(self, labels: pd.DataFrame, *, label_version: str, as_of: datetime) -> SettleCounts:
        """Keep labels (LABELS and ``known_at``) that are new or differ from what was kept."""
        ...

    def late_bars(self, as_of: datetime) -> pd.DataFrame:
        """Return symbol, ts and ``known_at`` of bars whose values were known later than their close."""
        ...


@dataclass(frozen=True)
class Collected:
    """What one pass over the bars found.

    ``n_seen_before_only`` were stored once and are not seen on these bars. ``n_known_later`` are seen on them, but were
    stored by a pass at a later ``as_of`` that could vouch for them only from a correction on; not settled here.
    """

    n_events: int
    n_new: int
    n_seen_before_only: int
    n_known_later: int
    n_without_bar: int
    settled: SettleCounts
    n_pending: int
    unlabelled: dict[str, int]

    @property
    def n_known(self) -> int:
        """Events that were stored already."""
        return self.n_events - self.n_new


def collect_events(
    store: EventStore,
    bars: pd.DataFrame,
    instruments: pd.DataFrame,
    spec: AnyLabelSpec,
    *,
    timeframe: str,
    calendar: TradingCalendar,
    as_of: pd.Timestamp,
) -> Collected:
    """Detect events, store the new ones, and settle every stored one whose outcome was known at ``as_of``.

    Parameters
    ----------
    store : EventStore
    bars : BARS
        The whole history known at ``as_of``, split-adjusted. A shorter one would give the ATR, and with it a label,
        another value.
    instruments : INSTRUMENTS
    spec : LabelSpec or MarketNeutralSpec
    timeframe : str
    calendar : TradingCalendar
    as_of : Timestamp, UTC

    Raises
    ------
    DataContractError
        If an event cannot be read back: nothing that was not stored passes for stored.

    Notes
    -----
    A detection that a later correction of its bars makes unseen stays stored and is settled on: it was seen at its
    time. A label whose outcome is open again after a correction keeps its old row until it is settled anew.
    """
    events = detect_events(bars, instruments, timeframe=timeframe, calendar=calendar)
    late = store.late_bars(as_of)
    n_new = store.write(events.assign(known_at=detections_known_at(events, bars, late)))
    stored = store.read(as_of)
    has_bar = pd.MultiIndex.from_frame(stored[["symbol", "ts"]]).isin(pd.MultiIndex.from_frame(bars[["symbol", "ts"]]))
    kept = stored[has_bar].reset_index(drop=True)
    labelled = label_events(kept, bars, spec, calendar=calendar, as_of=as_of, instruments=instruments)
    is_market_wide = isinstance(spec, MarketNeutralSpec)
    known_at = labels_known_at(labelled.labels, bars, late, is_market_wide=is_market_wide)
    settled = store.settle(labelled.labels.assign(known_at=known_at), label_version=spec.version, as_of=as_of)
    n_both = _n_common(stored, events)
    n_known_later = len(events) - n_both
    if n_known_later and _n_common(store.read(_END_OF_TIME), events) != len(events):
        raise DataContractError(
            f"some of {len(events)} events cannot be read back after writing; expected all. Something else writes to "
            "this store; look at its table of detections."
        )
    return Collected(
        n_events=len(events),
        n_new=n_new,
        n_seen_before_only=len(stored) - n_both,
        n_known_later=n_known_later,
        n_without_bar=int((~has_bar).sum()),
        settled=settled,
        n_pending=labelled.n_pending,
        unlabelled=labelled.unlabelled_counts,
    )


def _n_common(stored: pd.DataFrame, events: pd.DataFrame) -> int:
    """Return how many events are among the stored ones."""
    return len(stored[list(EVENT_KEY)].merge(events[list(EVENT_KEY)], on=list(EVENT_KEY)))


def detections_known_at(events: pd.DataFrame, bars: pd.DataFrame, late: pd.DataFrame) -> pd.DatetimeIndex:
    """Return since when each detection follows from the bars: its close, or later if one of its bars was known late.

    Parameters
    ----------
    events : EVENTS
        Each has its bar in ``bars``.
    bars : BARS
    late : frame
        symbol, ts and known_at of bars whose values were known after their close.

    Notes
    -----
    A bar known late counts whether or not the detection hangs on what changed: rather too late than too early.
    """
    ts = microseconds(events["ts"])
    if late.empty or events.empty:
        return _moments(ts)
    first = _bars_before(events, bars, DETECTION_BARS)
    return _moments(np.maximum(ts, _newest_of_symbol(events["symbol"], first, ts, late)))


def labels_known_at(
    labels: pd.DataFrame, bars: pd.DataFrame, late: pd.DataFrame, *, is_market_wide: bool = False
) -> pd.DatetimeIndex:
    """Return since when each label follows from the bars: its end, or later if one of its bars was known late.

    ``is_market_wide``: the bars of all symbols from entry to end count too. Otherwise like
    :func:`detections_known_at`, from the bars that its ATR remembers to ``label_end``.
    """
    end = microseconds(labels["label_end"])
    if late.empty or labels.empty:
        return _moments(end)
    first = _bars_before(labels, bars, LABEL_BARS)
    known = np.maximum(end, _newest_of_symbol(labels["symbol"], first, end, late))
    if is_market_wide:
        one = pd.Series("", index=labels.index)
        known = np.maximum(known, _newest_of_symbol(one, microseconds(labels["entry_ts"]), end, late.assign(symbol="")))
    return _moments(known)


def _bars_before(rows: pd.DataFrame, bars: pd.DataFrame, n: int) -> np.ndarray:
    """Return the close of the symbol's bar ``n`` rows before each row's own, or of its first.  # (n_rows,) int64"""
    own = rows_of_events(rows, bars)
    position = bars.groupby("symbol", sort=False).cumcount().to_numpy()
    return microseconds(bars["ts"])[own - np.minimum(position[own], n)]


def _newest_of_symbol(symbol: pd.Series, first: np.ndarray, last: np.ndarray, late: pd.DataFrame) -> np.ndarray:
    """Return the newest ``known_at`` of the symbol's late bars from ``first`` to ``last``; 0 if there is none."""
    ordered = late.sort_values(["symbol", "ts"], ignore_index=True)
    codes, names = pd.factorize(ordered["symbol"])
    block = pd.Index(names).get_indexer(pd.Index(symbol))
    starts = np.searchsorted(codes, np.arange(len(names) + 1))
    return _newest_between(block, first, last, starts, microseconds(ordered["ts"]), microseconds(ordered["known_at"]))


@njit(cache=True, nogil=True)
def _newest_between(
    block: np.ndarray, first: np.ndarray, last: np.ndarray, starts: np.ndarray, ts: np.ndarray, known_at: np.ndarray
) -> np.ndarray:
    """Return max(known_at) over the rows of each one's block with first <= ts <= last; ``ts`` rises in a block."""
    out = np.zeros(block.size, dtype=np.int64)
    for i in range(block.size):
        if block[i] < 0:
            continue
        low, high = starts[block[i]], starts[block[i] + 1]
        j = low + np.searchsorted(ts[low:high], first[i])
        while j < high and ts[j] <= last[i]:
            out[i] = max(out[i], known_at[j])
            j += 1
    return out


def _moments(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype("datetime64[us]")).tz_localize("UTC")

"""Where events lie in a frame of bars, and times as plain integers for kernels and searches."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError


def microseconds(ts: pd.Series | pd.DatetimeIndex) -> np.ndarray:
    """Return moments as int64 microseconds since 1970 UTC (an aware column in numpy becomes objects)."""
    return pd.DatetimeIndex(ts).as_unit("us").asi8


def rows_of_events(events: pd.DataFrame, bars: pd.DataFrame) -> np.ndarray:
    """Return the row of each event's own bar in ``bars``.

    Parameters
    ----------
    events : EVENTS
        Needs symbol and ts only.
    bars : BARS
        Sorted by symbol and ts.

    Returns
    -------
    (n_events,) int64

    Raises
    ------
    DataContractError
        If an event has no bar.
    """
    codes, names = pd.factorize(bars["symbol"])
    moments, bar_moment = np.unique(microseconds(bars["ts"]), return_inverse=True)
    symbol = pd.Index(names).get_indexer(pd.Index(events["symbol"]))
    event_ts = microseconds(events["ts"])
    event_moment = np.searchsorted(moments, event_ts)
    # One number per symbol and moment rises with the rows, so that one binary search finds both.
    key = codes.astype(np.int64) * (len(moments) + 1) + bar_moment
    wanted = symbol.astype(np.int64) * (len(moments) + 1) + event_moment
    row = np.searchsorted(key, wanted)
    is_found = (symbol >= 0) & (row < len(bars))
    at = row[is_found]
    is_found[is_found] = (key[at] == wanted[is_found]) & (moments[bar_moment[at]] == event_ts[is_found])
    if not is_found.all():
        first = events.iloc[int(np.argmin(is_found))]
        raise DataContractError(
            f"{int((~is_found).sum())} of {len(events)} events have no bar, first {first['symbol']} at "
            f"{first['ts']}; expected the bars the events were detected on. Pass the same bars to both."
        )
    return row

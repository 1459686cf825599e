"""How events of the same pattern and direction have fared: settled outcomes only, as known at the event's close.

Not in the models' inputs. Belongs to events, not to bars: a bar may carry a bullish and a bearish event.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY, EVENTS, LABELS, PATTERNS, pattern_column

TRAILING_DAYS = 365
MIN_SETTLED = 20
"""Fewer settled outcomes say nothing: the rate's standard error is then above 0.11."""


def trailing_success(
    events: pd.DataFrame, labels: pd.DataFrame, *, days: int = TRAILING_DAYS, minimum: int = MIN_SETTLED
) -> pd.DataFrame:
    """Return the share of successes among earlier events of the same pattern and direction, over all symbols.

    Parameters
    ----------
    events : DataFrame
        Schema ``EVENTS``.
    labels : DataFrame
        Schema ``LABELS``. An outcome counts from its ``label_end`` on, and for ``days`` days.
    days, minimum : int
        Length of memory; settled outcomes needed for a rate.

    Returns
    -------
    DataFrame
        The event key, ``trailing_success`` (0-1, the mean over the event's patterns that have ``minimum`` settled
        outcomes; NaN if none has) and ``trailing_outcomes`` (settled outcomes of its most frequent pattern);
        one row per event in the order of ``events``, index 0..n-1.

    Raises
    ------
    DataContractError
        If a frame breaks its schema, or labels belong to no event.
    """
    EVENTS.validate(events)
    LABELS.validate(labels)
    patterns = [pattern_column(name) for name in PATTERNS]
    settled = labels[[*EVENT_KEY, "y", "label_end"]].merge(events[[*EVENT_KEY, *patterns]], on=list(EVENT_KEY))
    if len(settled) != len(labels):
        raise DataContractError(
            f"trailing success: {len(labels) - len(settled)} of {len(labels)} labels belong to no event. "
            "Hand in the events that were labelled."
        )
    settled = settled.sort_values("label_end", kind="stable")
    known_at = settled["label_end"].array.asi8
    moments = events["ts"].array.asi8
    oldest = moments - days * 86_400 * 1_000_000
    rates, n_rates = np.zeros(len(events)), np.zeros(len(events))
    most = np.zeros(len(events))
    for column in patterns:
        for direction in (1, -1):
            asks = np.flatnonzero(events[column].to_numpy() & (events["direction"].to_numpy() == direction))
            counts = settled[column].to_numpy() & (settled["direction"].to_numpy() == direction)
            ends = known_at[counts]
            successes = np.concatenate(([0], np.cumsum(settled["y"].to_numpy()[counts], dtype=np.int64)))
            last = np.searchsorted(ends, moments[asks], side="right")
            first = np.searchsorted(ends, oldest[asks], side="right")
            n = last - first
            is_enough = n >= minimum
            rates[asks] += np.where(is_enough, (successes[last] - successes[first]) / np.maximum(n, 1), 0.0)
            n_rates[asks] += is_enough
            most[asks] = np.maximum(most[asks], n)
    known = np.where(n_rates > 0, rates / np.maximum(n_rates, 1), np.nan)
    keys = events[list(EVENT_KEY)].reset_index(drop=True)
    return keys.assign(trailing_success=known, trailing_outcomes=most)

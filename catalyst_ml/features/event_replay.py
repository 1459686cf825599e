"""The weekly run's way from bars to the rows of training, as one function: what the leak check replays.

The tasks of the weekly run take the same steps one by one, to cache each. Should the two ways part, the replay finds
values that it cannot reproduce, and says so.
"""

from __future__ import annotations

import pandas as pd

from catalyst_ml.features.alterations import Sources
from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.line_inputs import line_catalogue, line_event_inputs
from catalyst_ml.features.universe import add_universe_means
from catalyst_ml.market import detector, rules


def event_rows(sources: Sources, *, arm: str = rules.DEFAULT_RULE_ARM, timeframe: str = "1d") -> pd.DataFrame:
    """Detect events, let the rules score them and compute their inputs, all from ``sources``.

    Bars of an intraday ``timeframe`` belong to the sessions of the panel's calendar.

    Returns
    -------
    DataFrame
        ``symbol``, ``ts``, ``direction`` and ``line_inputs.event_columns``; one row per event, sorted by the key.
    """
    panel = sources.panel
    calendar = panel.calendar
    events = detector.detect_events(panel.bars, panel.instruments, timeframe=timeframe, calendar=calendar)
    scores = rules.score_events(events, panel.bars, panel.news, arm=arm, timeframe=timeframe, calendar=calendar)
    at_bars = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    features = add_universe_means(panel, compute_features(panel, at_bars, catalogue=line_catalogue(timeframe)))
    return line_event_inputs(events, add_catalysts(panel, features), scores)

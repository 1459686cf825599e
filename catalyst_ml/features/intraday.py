"""What becomes of the declared features on intraday bars: those that tell of days are counted in sessions.

A feature keeps its name and its meaning; where daily bars let a bar stand for a session, an intraday form is declared
here and takes its place (``as_intraday``). What is measured in bars (RSI over 14 bars, a mean over 50) stays so.
"""

from __future__ import annotations

import numpy as np

from catalyst_ml.features import intraday_inputs, session_clock
from catalyst_ml.features.catalogue import UNUSUAL_VOLUME_RATIO, FeatureSpec
from catalyst_ml.indicators.kernels import FloatArray

CODE_BEHIND = (intraday_inputs, session_clock)
"""Modules whose text is part of the version of these features (``catalogue.feature_set_version``)."""


def as_computed(values: FloatArray) -> FloatArray:
    return values


def unusual_at_time(ratio: FloatArray) -> FloatArray:
    return np.where(np.isnan(ratio), np.nan, (ratio >= UNUSUAL_VOLUME_RATIO).astype(np.float64))


_PLAN = "plan, pattern_features"

INTRADAY: tuple[FeatureSpec, ...] = (
    FeatureSpec(
        "volume_surge",
        "price_action",
        ("volume_at_time",),
        1,
        "ratio to the mean at the same time of day in the 20 sessions before",
        _PLAN,
        1,
        as_computed,
    ),
    FeatureSpec(
        "unusual_volume",
        "catalyst",
        ("volume_at_time",),
        1,
        "1 if volume is at least twice its mean at that time of day, else 0",
        _PLAN,
        1,
        unusual_at_time,
    ),
    FeatureSpec(
        "premarket_gap",
        "catalyst",
        ("session_gap",),
        1,
        "percent of the prior session's close; of the last price before the open, else of the open",
        _PLAN,
        1,
        as_computed,
    ),
    FeatureSpec(
        "sector_momentum",
        "market",
        ("sector_return_sessions",),
        1,
        "fraction, signed; mean of the sector's other members since their close 5 sessions before",
        _PLAN,
        1,
        as_computed,
    ),
    FeatureSpec(
        "market_breadth",
        "market",
        ("breadth_of_session",),
        1,
        "-1..1, moves since the last session's close",
        _PLAN,
        1,
        as_computed,
    ),
    FeatureSpec(
        "vix_change_5",
        "market",
        ("volatility_change_sessions",),
        1,
        "fraction, signed; since the close 5 sessions before",
        "own definition",
        1,
        as_computed,
    ),
    FeatureSpec(
        "rank_volume_of_day",
        "market",
        ("rank_volume_at_time",),
        1,
        "0-1, place among the stocks of that moment",
        "own definition",
        1,
        as_computed,
    ),
)
"""In place of the declarations of the same name."""

TIME_OF_SESSION = FeatureSpec(
    "time_of_session",
    "market",
    ("time_of_session",),
    1,
    "0 at the open, 1 at the close; outside below and above",
    "Admati & Pfleiderer (1988), Review of Financial Studies 1",
    1,
    as_computed,
)
"""Of intraday bars only: a day's bar always ends at 1."""

_BY_NAME = {spec.name: spec for spec in INTRADAY}


def as_intraday(catalogue: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
    """Return the declarations for intraday bars: the same names in the same order, forms of days replaced."""
    return tuple(_BY_NAME.get(spec.name, spec) for spec in catalogue)

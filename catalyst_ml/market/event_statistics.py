"""How noisy labelled events are: base rate, spread from day to day, and what the rows of a day share.

One function measures real and simulated markets alike. It describes; tests and intervals live in ``evaluation``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError

MIN_EVENTS = 20
"""Days with fewer events say more about the binomial than about the market; they stay out of ``daily_sd``."""

EXCHANGE_ZONE = "America/New_York"


@dataclass(frozen=True)
class EventStatistics:
    """What labelled events look like; ``nan`` where there is too little to tell.

    Attributes
    ----------
    n_events, n_days
        Labelled events, and days (of the exchange) that have any.
    base_rate
        Share of successes over all events.
    daily_sd
        Standard deviation, over days of at least ``min_events``, of the day's success rate.
    events_per_day, events_per_stock_day
        Per day that has any; per stock and session of the universe, whether or not it had one.
    design_effect
        Variance of the base rate when days are drawn as a whole, over its variance if all events were independent.
    design_effect_one_side
        The same of bullish and bearish events apart, weighted by their number: a day that lifts all stocks makes
        one side win and the other lose, which cancels in ``design_effect``.
    timeout_share
        Share of events that touched no barrier; nan if the labels carry no outcome.
    """

    n_events: int
    n_days: int
    base_rate: float
    daily_sd: float
    events_per_day: float
    events_per_stock_day: float
    design_effect: float
    design_effect_one_side: float
    timeout_share: float


def event_statistics(labels: pd.DataFrame, *, n_stock_days: int, min_events: int = MIN_EVENTS) -> EventStatistics:
    """Measure labelled events.

    Parameters
    ----------
    labels : LABELS
        Needs ``y`` and ``ts``; ``direction`` and ``outcome`` if they are to count. Any order.
    n_stock_days : int
        Daily bars of stocks that the events were looked for in (for intraday bars: stocks times sessions).
    min_events : int
        Smallest day that counts in ``daily_sd``.

    Raises
    ------
    DataContractError
        If there are more days with events of one symbol than stock-days, which means another universe was counted.

    Notes
    -----
    The design effect is D/(D-1) * sum_d (sum_{i in d} (y_i - p))^2 / (n p (1 - p)) over D days: the linearised variance
    of a ratio with days as clusters, over the binomial's. Days of many events weigh more, as they do in every
    figure per event. Days count as independent: labels that reach over several sessions add some more, or less.

    References
    ----------
    Kish, L. (1965), Survey Sampling, ch. 6 (ratio means of unequal clusters) and 8 (effects of the design).
    """
    y = labels["y"].to_numpy().astype("float64")
    day = pd.DatetimeIndex(labels["ts"]).tz_convert(EXCHANGE_ZONE).tz_localize(None).normalize()
    _refuse_too_few_stock_days(labels, day, n_stock_days)
    codes, days = pd.factorize(day)
    size = np.bincount(codes, minlength=len(days)).astype("float64")  # (n_days,)
    rate = np.bincount(codes, weights=y, minlength=len(days)) / size
    busy = rate[size >= min_events]
    return EventStatistics(
        n_events=len(y),
        n_days=len(days),
        base_rate=float(y.mean()) if len(y) else np.nan,
        daily_sd=float(busy.std(ddof=1)) if len(busy) > 1 else np.nan,
        events_per_day=len(y) / len(days) if len(days) else np.nan,
        events_per_stock_day=len(y) / n_stock_days if n_stock_days else np.nan,
        design_effect=_design_effect(y, codes),
        design_effect_one_side=_one_side(y, codes, labels),
        timeout_share=float((labels["outcome"] == "timeout").mean()) if "outcome" in labels and len(y) else np.nan,
    )


def _design_effect(y: np.ndarray, codes: np.ndarray) -> float:
    """Return the variance of mean(y) with days as clusters over that of independent rows; nan if neither varies."""
    days = np.unique(codes)
    if len(days) < 2 or y.min() == y.max():
        return np.nan
    p = y.mean()
    surplus = np.bincount(codes, weights=y - p)
    return float(len(days) / (len(days) - 1) * (surplus @ surplus) / (len(y) * p * (1.0 - p)))


def _one_side(y: np.ndarray, codes: np.ndarray, labels: pd.DataFrame) -> float:
    """Return the design effect within a direction, weighted by events."""
    if "direction" not in labels or not len(y):
        return np.nan
    sides = labels["direction"].to_numpy()
    chosen = [sides == side for side in np.unique(sides)]
    effects = [_design_effect(y[own], codes[own]) for own in chosen]
    return float(np.average(effects, weights=[own.sum() for own in chosen]))


def _refuse_too_few_stock_days(labels: pd.DataFrame, day: pd.DatetimeIndex, n_stock_days: int) -> None:
    """Raise if events lie on more stock-days than there are."""
    names = labels["symbol"] if "symbol" in labels else pd.Series("", index=labels.index)
    n_used = len(pd.DataFrame({"symbol": names.to_numpy(), "day": day}).drop_duplicates())
    if n_used > n_stock_days:
        raise DataContractError(
            f"events lie on {n_used} stock-days, but n_stock_days is {n_stock_days}; expected all stock-days of the "
            "universe. Count the bars that the events were detected on."
        )

"""Price breaks: bars that open on another share scale than the bar before closed on, with no booked reason.

A missed split or spin-off and a crash both open far from the last close. They differ in what follows: after a
corporate action nothing has happened, so the stock trades *calmly* on its new scale, in its usual dollars;
after news it moves on and turns over many times its usual dollars. The criterion reads raw bars and their
split factors only. Hits and misses on real bars: ``docs/benchmarks/quality.md``.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar

MIN_GAP = 0.15
"""Smallest overnight move to judge, as a logarithm (-14 % or +16 %): below it spin-offs and earnings look alike."""

MAX_RANGE_TO_GAP = 0.30
"""A calm session: its whole range, log(high / low), is less than this part of the gap before it."""

MAX_TURNOVER_RATIO = 3.0
"""Usual dollars: at most this multiple of the median of the bars before. News turns over 5 to 60 times as much."""

MIN_GAP_TO_USUAL = 4.0
"""The gap in multiples of the symbol's usual gap; stocks that trade 20 shares a day jump by sixths every day."""

MIN_TURNOVER = 10_000.0
"""Dollars traded on the day: that a handful of trades lie close together is no sign of calm."""

CERTAIN_RISE = float(np.log(3.0))
"""A calm rise beyond a factor of three is a reverse split whatever the turnover, which then rises by itself."""

BOGUS_MAX_SHARE = 0.25
"""A factor is bogus if the price moved by less than this part of what the factor says (in logarithms)."""

BOGUS_MIN_FACTOR = 0.10
"""Smallest |log(factor)| that a price can contradict."""

MAX_DAYS_BETWEEN = 10
"""Calendar days between two bars; across a longer hole "overnight" means nothing."""

USUAL_GAP_BARS, TURNOVER_BARS, MIN_BARS_KNOWN = 60, 20, 5
PLAIN_RATIO_TOLERANCE = 0.03
_PLAIN_RATIOS = tuple(
    sorted({Fraction(a, b) for a in (*range(1, 11), 12, 15, 20, 25, 30, 40, 50, 100) for b in (1, 2, 3, 4, 5)} - {1})
)

MISSED_ACTION = "missed_action"
BOGUS_FACTOR = "bogus_factor"

BREAK_COLUMNS = (
    "symbol", "ts", "kind", "previous_close", "open", "split_factor", "gap", "range_to_gap", "turnover_ratio",
    "gap_to_usual", "suggested_factor",
)  # fmt: skip


def suspected_breaks(bars: pd.DataFrame) -> pd.DataFrame:
    """Name the bars that look like a corporate action which the split factors miss or invent.

    Parameters
    ----------
    bars : BARS
        Raw bars of one session each, or raw or adjusted ones with factor 1, sorted by symbol and ts. For intraday
        bars call it on ``sessions_of``.

    Returns
    -------
    frame
        ``BREAK_COLUMNS`` in the order of ``bars``. ``kind`` is ``missed_action`` or ``bogus_factor``; ``gap`` =
        log(open * split_factor / previous close); ``turnover_ratio`` and ``gap_to_usual`` are missing where fewer
        than five earlier bars are known, which then speaks neither way; ``suggested_factor`` is the plain
        ratio (2, 3/2, 1/10 ...) that fits the jump within 3 %, 1.0 for a bogus factor, missing if none fits.
    """
    jumps = measure_jumps(bars, min_gap=MIN_GAP)
    is_missed = _is_missed_action(jumps)
    is_bogus = _is_bogus(jumps)
    kind = np.where(is_bogus, BOGUS_FACTOR, MISSED_ACTION)
    named = jumps.assign(kind=pd.Series(kind, index=jumps.index, dtype="str"))[is_missed | is_bogus]
    suggested = [
        1.0 if row.kind == BOGUS_FACTOR else plain_ratio(row.previous_close / row.open) for row in named.itertuples()
    ]
    named = named.assign(suggested_factor=pd.Series(suggested, index=named.index, dtype="float64"))
    return named[list(BREAK_COLUMNS)].reset_index(drop=True)


def measure_jumps(bars: pd.DataFrame, *, min_gap: float) -> pd.DataFrame:
    """Measure every overnight move of at least ``min_gap`` (logarithm) that the split factors do not explain.

    Returns
    -------
    frame
        symbol, ts, previous_close, open, close, split_factor, gap, turnover (dollars of the day), range_to_gap
        (missing if the bar has no range), turnover_ratio, gap_to_usual, days (since the bar before); index =
        position in ``bars``.
    """
    symbol = pd.factorize(bars["symbol"])[0]
    opened, close, factor = (bars[name].to_numpy(dtype=np.float64) for name in ("open", "close", "split_factor"))
    is_first = np.append(True, symbol[1:] != symbol[:-1])[: len(bars)]
    previous = np.append(np.nan, close[:-1])[: len(bars)]
    previous[is_first] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.log(opened * factor / previous)
        span = np.log(bars["high"].to_numpy(dtype=np.float64) / bars["low"].to_numpy(dtype=np.float64))
        rows = np.flatnonzero(np.isfinite(gap) & (np.abs(gap) >= min_gap))
        turnover = close * bars["volume"].to_numpy(dtype=np.float64)
        usual_turnover = _median_before(turnover, symbol, rows, TURNOVER_BARS)
        usual_gap = 1.4826 * _median_before(np.abs(gap), symbol, rows, USUAL_GAP_BARS)
        range_to_gap = np.where(span[rows] > 0.0, span[rows] / np.abs(gap[rows]), np.nan)
        turnover_ratio = turnover[rows] / usual_turnover
        gap_to_usual = np.abs(gap[rows]) / usual_gap
    days = bars["ts"].diff().dt.total_seconds().to_numpy() / 86_400.0
    shown = bars.reset_index(drop=True).loc[rows, ["symbol", "ts", "open", "close", "split_factor"]]
    return shown.assign(
        previous_close=previous[rows],
        gap=gap[rows],
        turnover=turnover[rows],
        range_to_gap=range_to_gap,
        turnover_ratio=turnover_ratio,
        gap_to_usual=gap_to_usual,
        days=days[rows],
    )


def sessions_of(bars: pd.DataFrame, *, calendar: TradingCalendar) -> pd.DataFrame:
    """Roll intraday bars up to one bar per symbol and exchange date.

    Returns
    -------
    frame
        Columns of BARS, sorted by symbol and ts; ``ts`` is that of the date's *first* bar, which is the one a
        break belongs to. Split factors multiply, volumes add.
    """
    local = bars["ts"].dt.tz_convert(calendar.zone).dt.normalize()
    by_date = bars.groupby([bars["symbol"], local.rename("date")], sort=True)
    rolled = by_date.agg(
        ts=("ts", "first"),
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
        split_factor=("split_factor", "prod"),
    )
    return rolled.reset_index(level="symbol").reset_index(drop=True)


def plain_ratio(factor: float) -> float:
    """Return the plain split ratio within 3 % of ``factor``, NaN if there is none.

    >>> plain_ratio(133.00 / 66.80), plain_ratio(45.45 / 17.61)
    (2.0, nan)
    """
    if not np.isfinite(factor) or factor <= 0.0:
        return float("nan")
    # Ratios of small numbers first in mind, so the nearest one of those within reach.
    far = [(abs(np.log(factor / float(ratio))), float(ratio)) for ratio in _candidates()]
    distance, ratio = min(far)
    return ratio if distance <= PLAIN_RATIO_TOLERANCE else float("nan")


def _candidates() -> tuple[Fraction, ...]:
    return (*_PLAIN_RATIOS, *(1 / ratio for ratio in _PLAIN_RATIOS))


def _is_missed_action(jumps: pd.DataFrame) -> np.ndarray:
    gap, turnover = jumps["gap"].to_numpy(), jumps["turnover_ratio"].to_numpy()
    is_calm = jumps["range_to_gap"].to_numpy() <= MAX_RANGE_TO_GAP
    is_usual_turnover = ~(turnover > MAX_TURNOVER_RATIO) | (gap >= CERTAIN_RISE)
    is_unusual_gap = ~(jumps["gap_to_usual"].to_numpy() < MIN_GAP_TO_USUAL)
    is_judgeable = (jumps["turnover"].to_numpy() >= MIN_TURNOVER) & (jumps["days"].to_numpy() <= MAX_DAYS_BETWEEN)
    return np.asarray(is_calm & is_usual_turnover & is_unusual_gap & is_judgeable)


def _is_bogus(jumps: pd.DataFrame) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        said = np.log(jumps["split_factor"].to_numpy(dtype=np.float64))
        moved = np.log((jumps["open"] / jumps["previous_close"]).to_numpy(dtype=np.float64))
    return np.asarray((np.abs(said) >= BOGUS_MIN_FACTOR) & (np.abs(moved) < BOGUS_MAX_SHARE * np.abs(said)))


def _median_before(values: np.ndarray, symbol: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """Median of the ``n`` earlier values of each row's symbol; NaN where fewer than five are known.  # (n_rows,)"""
    if not len(rows):
        return np.empty(0)
    at = rows[:, None] - np.arange(1, n + 1)  # (n_rows, n)
    is_own = (at >= 0) & (symbol[at.clip(min=0)] == symbol[rows, None])
    earlier = np.where(is_own, values[at.clip(min=0)], np.nan)
    is_known = np.isfinite(earlier).sum(axis=1) >= MIN_BARS_KNOWN
    median = np.full(len(rows), np.nan)
    median[is_known] = np.nanmedian(earlier[is_known], axis=1)
    return median

"""Named candlestick patterns at the close of each bar, gathered into events.

The conditions are upstream's (pattern service v2.1.2), bar by bar, over a whole frame at once. Where its
description leaves a choice, the choice stands in a comment here. What happens after the close is no business
of this module.

Bars are counted in the exchange's time (``bar_grid``): "the previous bar" is the one of the previous session, or of
the minutes before. Where it is missing, the patterns that compare with it are not seen; upstream would compare with
whatever row comes before, be it months old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENTS, PATTERNS, pattern_column

if TYPE_CHECKING:
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar

BoolArray = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

DETECTOR_VERSION = "candles-2"
"""Raised by hand whenever other events are found on the same bars; a golden test fails if that is forgotten."""

DEFAULT_CALENDAR = "XNYS"

BULLISH, BEARISH = 1, -1
MIN_BARS = 20
"""Upstream analyses a symbol only with at least 20 bars, the newest one included."""
COOLDOWN_BARS = 3
"""Design section 3: the same pattern in the same direction is not seen again within 3 bars."""
MAX_STRETCH = 2
"""A window of n bars (volume mean, doji's move, history) may have holes, but reaches back 2 n bars' time at most."""
SHADOW_TO_BODY = 2.0
DOJI_BODY_TO_RANGE = 0.1
GAP_PERCENT = 1.0
VOLUME_SURGE_RATIO = 2.0
VOLUME_WINDOW = 20
"""Upstream takes the mean of "all earlier bars in the frame", whatever its length; 20 makes it one number."""
DOJI_LOOKBACK = 5
"""A lone doji announces a turn: its direction is against the move of the last five bars."""


class Candle(NamedTuple):
    """Open, high, low and close of many bars at once; all arrays of one shape, US dollars."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray


def detect_events(
    bars: pd.DataFrame,
    instruments: pd.DataFrame,
    *,
    cooldown_bars: int = COOLDOWN_BARS,
    timeframe: str = "1d",
    calendar: TradingCalendar | None = None,
) -> pd.DataFrame:
    """Return one event per symbol, bar and direction at which a named pattern is seen.

    Parameters
    ----------
    bars : BARS
        Split-adjusted, of regular sessions, sorted by symbol and ts.
    instruments : INSTRUMENTS
        Only symbols of kind ``stock`` carry events.
    cooldown_bars : int
        A pattern seen in one direction is not seen again in it within this many bars' time.
    timeframe : str
        Length of the bars, ``1d`` or ``5m`` and the like.
    calendar : TradingCalendar, optional
        Whose sessions the bars belong to; New York's by default.

    Returns
    -------
    EVENTS
        Patterns multi-hot. A doji rides along with the directions that other patterns give its bar; alone,
        it makes an event against the last five bars' move (``direction_inferred``), and none without a move.

    Raises
    ------
    DataContractError
        If a symbol of ``bars`` is missing in ``instruments``, a bar lies in no session of the
        calendar, or two bars of a symbol lie in one.

    Notes
    -----
    - Bar t uses bars up to t only. A symbol's first 19 bars carry no events, nor do the first 19 after a long hole.
    - The conditions on one bar (hammer, shooting star, doji) need no bar before; engulfing, gaps and the three
      soldiers or crows need the bars directly before.
    """
    # The signal server reads the conditions on candles here and is spared pandas and compiled code.
    from catalyst_ml.market.bar_grid import bar_slots
    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.cooldown import outside_cooldown

    stocks = _stock_bars(bars, instruments)
    if stocks.empty:
        return EVENTS.empty()
    grid = _grid(stocks, bar_slots(stocks["ts"], timeframe=timeframe, calendar=calendar or TradingCalendar()))
    seen = _directional_patterns_of_frame(stocks, grid)
    flags = {side: np.zeros((len(stocks), len(PATTERNS)), dtype=bool) for side in (BEARISH, BULLISH)}
    for (pattern, side), is_seen in seen.items():
        flags[side][:, PATTERNS.index(pattern)] = outside_cooldown(is_seen, grid.symbol, grid.slot, cooldown_bars)
    _add_doji(flags, stocks, grid, cooldown_bars)
    return _gather(stocks, flags)


def detector_version(calendar: TradingCalendar) -> str:
    """Return the name under which events found with this calendar are kept: other sessions, other events.

    Examples
    --------
    >>> detector_version(TradingCalendar())
    'candles-2'
    """
    return DETECTOR_VERSION if calendar.name == DEFAULT_CALENDAR else f"{DETECTOR_VERSION}@{calendar.name}"


def directional_patterns(
    bar: Candle, previous: Candle, before_previous: Candle, volume_ratio: np.ndarray
) -> dict[tuple[str, int], BoolArray]:
    """Return upstream's conditions on each bar, keyed by pattern name and direction.

    Comparisons with NaN are false: where an earlier bar or the volume ratio is unknown, the patterns that
    need it are not seen.

    Parameters
    ----------
    bar, previous, before_previous : Candle
        The bars judged and the two bars before each, all of one shape.
    volume_ratio : ndarray
        Volume over the mean volume of the 20 bars before.

    References
    ----------
    Catalyst Trading System, pattern_service.py 2.1.2.
    """
    o, c, o1, c1 = bar.open, bar.close, previous.open, previous.close
    body = np.abs(c - o)
    upper = bar.high - np.maximum(o, c)
    lower = np.minimum(o, c) - bar.low
    is_up, is_down, was_up, was_down = c > o, c < o, c1 > o1, c1 < o1
    three_up = is_up & was_up & (before_previous.close > before_previous.open)
    three_down = is_down & was_down & (before_previous.close < before_previous.open)
    is_surge = volume_ratio >= VOLUME_SURGE_RATIO
    return {
        ("hammer", BULLISH): (lower > SHADOW_TO_BODY * body) & (upper < body),
        ("shooting_star", BEARISH): (upper > SHADOW_TO_BODY * body) & (lower < body),
        ("engulfing", BULLISH): is_up & was_down & (o < c1) & (c > o1),
        ("engulfing", BEARISH): is_down & was_up & (o > c1) & (c < o1),
        ("three_white_soldiers", BULLISH): three_up & (before_previous.close < c1) & (c1 < c),
        ("three_black_crows", BEARISH): three_down & (before_previous.close > c1) & (c1 > c),
        ("gap_up", BULLISH): 100.0 * (o - c1) / c1 >= GAP_PERCENT,
        ("gap_down", BEARISH): 100.0 * (c1 - o) / c1 >= GAP_PERCENT,
        ("volume_surge", BULLISH): is_surge & is_up,
        ("volume_surge", BEARISH): is_surge & ~is_up,  # upstream: a flat bar counts as bearish
    }


def is_doji(bar: Candle) -> BoolArray:
    """Return whether each bar has a range and its body is less than a tenth of it."""
    span = bar.high - bar.low
    return (span > 0.0) & (np.abs(bar.close - bar.open) < DOJI_BODY_TO_RANGE * span)


def lagged(values: np.ndarray, n: int, position: np.ndarray) -> np.ndarray:
    """Return each row's value ``n`` bars earlier in its symbol, NaN before the symbol's first bar.

    Parameters
    ----------
    values : (n_rows,) float64
        One value per row of a frame sorted by symbol.
    position : (n_rows,) int
        Number of the bar within its symbol, from 0.
    """
    out = np.full(len(values), np.nan)
    out[n:] = values[: len(values) - n]
    out[position < n] = np.nan
    return out


def _stock_bars(bars: pd.DataFrame, instruments: pd.DataFrame) -> pd.DataFrame:
    """Return the bars of stocks; refuse symbols nobody described."""
    unknown = sorted(set(bars["symbol"].unique()) - set(instruments["symbol"]))
    if unknown:
        raise DataContractError(
            f"{len(unknown)} symbols have bars but no instrument row, e.g. {unknown[:5]}; expected each "
            "symbol's kind (stock, index, volatility). Import the instruments with the bars."
        )
    stocks = instruments.loc[instruments["kind"] == "stock", "symbol"]
    return bars[bars["symbol"].isin(stocks)].reset_index(drop=True)


class _Grid(NamedTuple):
    """Where each bar stands: code of its symbol, row within the symbol, place in the exchange's time. (n_bars,) each"""

    symbol: np.ndarray
    position: np.ndarray
    slot: np.ndarray

    def reaches(self, n: int, *, stretch: int = 1) -> BoolArray:
        """Return where the symbol's row ``n`` rows back exists and lies at most ``stretch * n`` bars' time back."""
        out = np.zeros(len(self.slot), dtype=bool)
        out[n:] = self.slot[n:] - self.slot[: len(self.slot) - n] <= stretch * n
        return out & (self.position >= n)


def _grid(bars: pd.DataFrame, slot: np.ndarray) -> _Grid:
    position = bars.groupby("symbol", sort=False).cumcount().to_numpy()
    is_doubled = (position[1:] > 0) & (np.diff(slot) <= 0)
    if is_doubled.any():
        first = bars.iloc[int(is_doubled.argmax()) + 1]
        raise DataContractError(
            f"{first['symbol']}: the bar of {first['ts']} lies in the same session or minutes as the bar before "
            f"({int(is_doubled.sum())} such bars); expected one bar at a time, in order. Choose one source, or sort."
        )
    import pandas as pd

    return _Grid(pd.factorize(bars["symbol"])[0], position, slot)


def _directional_patterns_of_frame(bars: pd.DataFrame, grid: _Grid) -> dict[tuple[str, int], BoolArray]:
    """Return the directional patterns of every bar, before any cooldown."""
    now = Candle(*(bars[column].to_numpy() for column in Candle._fields))
    one_back, two_back = (
        Candle(*(np.where(grid.reaches(n), lagged(values, n, grid.position), np.nan) for values in now)) for n in (1, 2)
    )
    seen = directional_patterns(now, one_back, two_back, _volume_ratio(bars, grid))
    has_history = grid.reaches(MIN_BARS - 1, stretch=MAX_STRETCH)
    return {key: is_seen & has_history for key, is_seen in seen.items()}


def _volume_ratio(bars: pd.DataFrame, grid: _Grid) -> np.ndarray:
    """Return volume over the mean of the 20 bars before; NaN without them or if none of them traded."""
    from catalyst_ml.indicators import kernels
    from catalyst_ml.indicators.segments import symbol_slices

    volume = np.array(bars["volume"], dtype=np.float64)
    mean = np.empty_like(volume)
    for _, rows in symbol_slices(bars["symbol"]):
        mean[rows] = kernels.sma(volume[rows], VOLUME_WINDOW)
    earlier = np.where(grid.reaches(VOLUME_WINDOW, stretch=MAX_STRETCH), lagged(mean, 1, grid.position), np.nan)
    return np.divide(volume, earlier, out=np.full_like(volume, np.nan), where=earlier > 0.0)


def _add_doji(flags: dict[int, np.ndarray], bars: pd.DataFrame, grid: _Grid, cooldown_bars: int) -> None:
    """Fill the doji column of ``flags``, whose other columns are complete."""
    from catalyst_ml.market.cooldown import outside_cooldown

    now = Candle(*(bars[column].to_numpy() for column in Candle._fields))
    seen = is_doji(now) & grid.reaches(MIN_BARS - 1, stretch=MAX_STRETCH)
    is_recent = grid.reaches(DOJI_LOOKBACK, stretch=MAX_STRETCH)
    move = np.where(is_recent, now.close - lagged(now.close, DOJI_LOOKBACK, grid.position), np.nan)
    has_direction = flags[BULLISH].any(axis=1) | flags[BEARISH].any(axis=1)
    for side in (BEARISH, BULLISH):
        rides_along = flags[side].any(axis=1)
        stands_alone = ~has_direction & (np.sign(move) == -side)
        candidates = seen & (rides_along | stands_alone)
        flags[side][:, PATTERNS.index("doji")] = outside_cooldown(candidates, grid.symbol, grid.slot, cooldown_bars)


def _gather(bars: pd.DataFrame, flags: dict[int, np.ndarray]) -> pd.DataFrame:
    """Return the EVENTS frame of the bars that carry a flag, sorted by its key."""
    both = np.stack([flags[BEARISH], flags[BULLISH]], axis=1)  # (n_bars, 2 directions, n_patterns)
    row, side = np.nonzero(both.any(axis=2))
    patterns = both[row, side]  # (n_events, n_patterns)
    only_doji = patterns[:, PATTERNS.index("doji")] & (patterns.sum(axis=1) == 1)
    keys = bars[["symbol", "ts"]].iloc[row].reset_index(drop=True)
    return keys.assign(
        direction=np.array([BEARISH, BULLISH], dtype=np.int8)[side],
        direction_inferred=only_doji,
        **{pattern_column(name): patterns[:, i] for i, name in enumerate(PATTERNS)},
    )

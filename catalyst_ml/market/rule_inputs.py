"""What every rule arm looks at: the candles, indicator readings and catalyst of each event's bar; and what it answers.

An arm judges the *bar*, not the event: it sees every pattern on it, of both sides, also those that the detector's
cooldown holds back. So the two events of one bar carry one signal, and the signal of a bar depends on no earlier
detection. Nothing here reads a bar after the event's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from catalyst_ml.errors import DataContractError
from catalyst_ml.market.detector import MAX_STRETCH, Candle

if TYPE_CHECKING:
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.rule_news import Catalysts


class RuleSignals(NamedTuple):
    """What an arm says of each event's bar, (n_events,) each.

    ``score`` is the arm's confidence, 0-100, NaN without enough history; ``action`` +1 BUY, -1 SELL, 0 HOLD.
    """

    score: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class SignalLevels:
    """How an arm would trade its signals, (n,) each; NaN and size 0 where it does not trade.

    Prices in US dollars. ``second_target`` is NaN for arms with one target. ``size`` is the share, 0 to 1, of the
    arm's full position.
    """

    entry: np.ndarray
    stop: np.ndarray
    target: np.ndarray
    second_target: np.ndarray
    size: np.ndarray


class Readings(NamedTuple):
    """Indicators at each event's bar, (n_events,) each; NaN before they are known.

    ``volume_ratio`` divides by the mean of the last 20 volumes, the bar's own among them, as upstream's technical
    services do; ``surge_20`` and ``surge_19`` by the mean of the 20 or 19 volumes *before* the bar, as its pattern
    services do. A mean of zero (nothing traded) leaves a ratio NaN.
    """

    rsi: np.ndarray
    macd: np.ndarray
    macd_signal: np.ndarray
    mean_10: np.ndarray
    mean_20: np.ndarray
    mean_30: np.ndarray
    mean_50: np.ndarray
    volume_ratio: np.ndarray
    surge_20: np.ndarray
    surge_19: np.ndarray


@dataclass(frozen=True)
class RuleInputs:
    """Evidence of each event's bar, one entry per event.

    As for the detector, the previous candle is that of the previous session (or of the minutes before); where it is
    missing, it is NaN, and no pattern that needs it is seen.
    """

    bar: Candle
    previous: Candle
    before_previous: Candle
    readings: Readings
    catalysts: Catalysts


def rule_inputs(
    events: pd.DataFrame,
    bars: pd.DataFrame,
    news: pd.DataFrame,
    *,
    timeframe: str = "1d",
    calendar: TradingCalendar | None = None,
) -> RuleInputs:
    """Gather what the arms judge, one entry per event in their order.

    Parameters
    ----------
    events : EVENTS
        Symbol and ts are read, nothing else.
    bars : BARS
        Split-adjusted, sorted by symbol and ts.
    news : NEWS
        May be empty.
    timeframe : str
        Length of the bars, ``1d`` or ``5m`` and the like.
    calendar : TradingCalendar, optional
        Whose sessions the bars belong to; New York's by default.

    Raises
    ------
    DataContractError
        If bars still carry split factors, an event has no bar or lies in no session, or the news breaks its contract.
    """
    # The signal server reads levels and names of the arms and is spared pandas and compiled code.
    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.event_rows import rows_of_events
    from catalyst_ml.market.rule_news import catalysts_of_events

    is_raw = bars["split_factor"] != 1.0
    if is_raw.any():
        raise DataContractError(
            f"rules: {int(is_raw.sum())} bars still carry a split factor; expected bars on one share scale. "
            "Call market.corporate_actions.adjust_for_splits first."
        )
    row = rows_of_events(events, bars)
    back = _Back(bars, row, timeframe, calendar or TradingCalendar())
    return RuleInputs(
        bar=back.candles(0),
        previous=back.candles(1),
        before_previous=back.candles(2),
        readings=_readings(bars, row, back),
        catalysts=catalysts_of_events(events, news),
    )


def strongest(confidence: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return column numbers and confidences of each row's ``n`` greatest, descending; ties keep the columns' order.

    Parameters
    ----------
    confidence : (n_rows, n_patterns)
        0 where a pattern is not seen.
    """
    top = np.argsort(-confidence, axis=1, kind="stable")[:, :n]
    return top, np.take_along_axis(confidence, top, axis=1)


class _Back:
    """Looks back from the events' bars, within their symbols and in the exchange's time (as the detector does)."""

    def __init__(self, bars: pd.DataFrame, row: np.ndarray, timeframe: str, calendar: TradingCalendar) -> None:
        from catalyst_ml.market.bar_grid import bar_slots

        self._bars, self._row = bars, row
        self._position = bars.groupby("symbol", sort=False).cumcount().to_numpy()[row]
        used = np.zeros(len(bars), dtype=bool)
        for n in (0, 1, 2, 19, 20):
            used[self._at(n)] = True
        self._slot = np.zeros(len(bars), dtype=np.int64)
        self._slot[used] = bar_slots(bars["ts"][used], timeframe=timeframe, calendar=calendar)

    def reaches(self, n: int, *, stretch: int = 1) -> np.ndarray:
        """Return where the row ``n`` rows back exists and lies at most ``stretch * n`` bars' time back."""
        gone = self._slot[self._row] - self._slot[self._at(n)]
        return (self._position >= n) & (gone <= stretch * n)

    def candles(self, n: int) -> Candle:
        """Return the candles ``n`` bars back."""
        there, at = self.reaches(n), self._at(n)
        return Candle(*(np.where(there, self._bars[name].to_numpy()[at], np.nan) for name in Candle._fields))

    def _at(self, n: int) -> np.ndarray:
        return np.where(self._position >= n, self._row - n, self._row)


def _readings(bars: pd.DataFrame, row: np.ndarray, back: _Back) -> Readings:
    """Compute the indicators over each symbol's bars and read them at the given rows."""
    from catalyst_ml.indicators import kernels
    from catalyst_ml.indicators.segments import symbol_slices

    close, volume = (np.array(bars[name], dtype=np.float64) for name in ("close", "volume"))
    table = np.full((len(Readings._fields), len(bars)), np.nan)
    for _, rows in symbol_slices(bars["symbol"]):
        own, traded = close[rows], volume[rows]
        line, signal, _ = kernels.macd(own, 12, 26, 9)
        values = Readings(
            rsi=kernels.rsi(own, 14),
            macd=line,
            macd_signal=signal,
            mean_10=kernels.sma(own, 10),
            mean_20=kernels.sma(own, 20),
            mean_30=kernels.sma(own, 30),
            mean_50=kernels.sma(own, 50),
            volume_ratio=_ratio(traded, kernels.sma(traded, 20)),
            surge_20=_ratio(traded, _one_earlier(kernels.sma(traded, 20))),
            surge_19=_ratio(traded, _one_earlier(kernels.sma(traded, 19))),
        )
        table[:, rows] = values
    at = Readings(*table[:, row])
    surges = {
        n: np.where(back.reaches(n, stretch=MAX_STRETCH), values, np.nan)
        for n, values in ((20, at.surge_20), (19, at.surge_19))
    }
    return at._replace(surge_20=surges[20], surge_19=surges[19])


def _one_earlier(values: np.ndarray) -> np.ndarray:
    return np.concatenate(([np.nan], values[:-1]))


def _ratio(volume: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.divide(volume, mean, out=np.full_like(volume, np.nan), where=mean > 0.0)

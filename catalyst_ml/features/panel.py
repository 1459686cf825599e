"""Everything features are computed from: the bars of all instruments, who they are, and the news."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import BARS, EARNINGS, INSTRUMENTS, NEWS
from catalyst_ml.market.calendar import TradingCalendar

STOCK_KIND = "stock"

SHORTEST_DAY_US = 12 * 3_600 * 1_000_000
"""Two closes of one day are never so far apart, two of neighbouring days never so near (an early close: 20 hours)."""


@dataclass(frozen=True)
class MarketPanel:
    """Bars adjusted for splits, instruments and news of one dataset, checked once when it is built.

    Parameters
    ----------
    bars : DataFrame
        Schema ``BARS``, adjusted for splits: ``split_factor`` is 1 everywhere. All bars of one session carry
        the same ``ts``, the session's close: breadth and sector means join on it.
    instruments : DataFrame
        Schema ``INSTRUMENTS``; knows every symbol of ``bars``. The sector map holds for all times, so a
        company that changed its sector carries the newer one back.
    news : DataFrame
        Schema ``NEWS``; may be empty, then features of news are missing.
    earnings : DataFrame, optional
        Schema ``EARNINGS``; without it features of earnings are missing.
    calendar : TradingCalendar, optional
        Of intraday bars: whose sessions they belong to. Without it bars are daily.

    Raises
    ------
    DataContractError
        If a frame breaks its schema, a bar belongs to no instrument, a price is not positive and finite, a
        bar's extremes contradict each other, prices are still raw, or there are several bars of a day and no
        calendar.
    """

    bars: pd.DataFrame
    instruments: pd.DataFrame
    news: pd.DataFrame
    earnings: pd.DataFrame | None = None
    calendar: TradingCalendar | None = None

    def __post_init__(self) -> None:
        BARS.validate(self.bars)
        INSTRUMENTS.validate(self.instruments)
        NEWS.validate(self.news)
        if self.earnings is not None:
            EARNINGS.validate(self.earnings)
        _require_known_symbols(self.bars, self.instruments)
        _require_split_adjusted(self.bars)
        _require_sound_prices(self.bars, self.stocks)
        if self.calendar is None:
            _require_daily(self.bars)

    def known_at(self, moment: pd.Timestamp) -> MarketPanel:
        """Return the panel as it stood at ``moment`` (aware): later bars, news and reports are cut off."""
        known = None if self.earnings is None else self.earnings[self.earnings["known_at"] <= moment]
        return MarketPanel(
            bars=self.bars[self.bars["ts"] <= moment],
            instruments=self.instruments,
            news=self.news[self.news["published_at"] <= moment],
            earnings=known,
            calendar=self.calendar,
        )

    @property
    def stocks(self) -> frozenset[str]:
        """Symbols that carry events; indices and volatility serve as context only."""
        return frozenset(self.instruments.loc[self.instruments["kind"] == STOCK_KIND, "symbol"])


def _require_known_symbols(bars: pd.DataFrame, instruments: pd.DataFrame) -> None:
    unknown = sorted(set(bars["symbol"].unique()) - set(instruments["symbol"]))
    if unknown:
        problem = f"market panel: {len(unknown)} symbols have bars but no instrument, first {unknown[:5]}"
        raise DataContractError(
            f"{problem}; expected one row of kind stock, index or volatility for each. "
            "Import their instruments, or leave their bars out."
        )


def _require_split_adjusted(bars: pd.DataFrame) -> None:
    raw = np.flatnonzero(bars["split_factor"].to_numpy() != 1.0)
    if len(raw):
        row = bars.iloc[int(raw[0])]
        problem = f"market panel: {len(raw)} bars carry a split_factor other than 1"
        raise DataContractError(
            f"{problem}, first {row['symbol']} at {row['ts']} ({row['split_factor']}); "
            "expected adjusted prices. Run market.corporate_actions.adjust_for_splits first."
        )


def _require_daily(bars: pd.DataFrame) -> None:
    """A bar of a day stands for a session; several of them need a calendar that says which session is whose."""
    ts, symbol = bars["ts"].array.asi8, bars["symbol"].array
    near = np.flatnonzero((np.diff(ts) < SHORTEST_DAY_US) & np.asarray(symbol[1:] == symbol[:-1]))
    if len(near):
        row = bars.iloc[int(near[0]) + 1]
        raise DataContractError(
            f"market panel: {len(near)} bars follow the one before within 12 hours, first {row['symbol']} at "
            f"{row['ts']}; expected daily bars where no calendar is given. Give the exchange's calendar with intraday "
            "bars: features of days are counted in its sessions."
        )


def _require_sound_prices(bars: pd.DataFrame, stocks: frozenset[str]) -> None:
    open_, high, low, close = (bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    is_sound = (np.minimum(low, close) > 0) & np.isfinite(high) & np.isfinite(close)
    # Adjusting for splits rounds each price on its own, hence the relative slack. Of indices only the close
    # is used, and published VIX bars do hold opens outside their range.
    is_inside = (np.minimum(open_, close) >= low * (1 - 1e-9)) & (np.maximum(open_, close) <= high * (1 + 1e-9))
    bad = np.flatnonzero(~is_sound | (~is_inside & bars["symbol"].isin(stocks).to_numpy()))
    if len(bad):
        row = bars.iloc[int(bad[0])]
        problem = f"market panel: {len(bad)} of {len(bars)} bars have a price that is not positive and finite"
        raise DataContractError(
            f"{problem}, or an open or close outside low..high, first {row['symbol']} at {row['ts']}. "
            "Quarantine such bars at import."
        )

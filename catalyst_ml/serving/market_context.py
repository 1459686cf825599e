"""What the bar table knows of a close beyond one symbol's bars: universe means, index, volatility, breadth, sectors.

Built once per close by the functions of training and then only read; so a request with the bars of a single symbol
gets the inputs that a training row of that close has.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import pandas as pd

from catalyst_ml.errors import CatalystError
from catalyst_ml.features.catalogue import CATALOGUE
from catalyst_ml.features.cross_section import NEWS_WINDOW_US
from catalyst_ml.features.engine import BAR_COLUMNS, compute_features, input_columns, needed_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.serving import WINDOW_BARS, window_of
from catalyst_ml.features.stock_days import STOCK_DAY_INPUTS, inputs_of_close, stock_day_version
from catalyst_ml.features.universe import MIN_UNIVERSE, RELATIVE_FEATURES, UNIVERSE_PREFIX, add_universe_means
from catalyst_ml.frames import NEWS
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices
from catalyst_ml.serving.companions import StockDay

log = logging.getLogger(__name__)

MARKET_INPUTS = ("market_close", "volatility_close", "breadth")
"""Inputs that are the same for every symbol at a moment."""

KEPT_CLOSES = 3
RETRY_AFTER_S = 30.0
NEWEST_KEPT_S = 15.0
READABLE_FOR = pd.Timedelta(days=7)
"""How far back from the newest close a context is read; each costs seconds."""
HISTORY = pd.Timedelta(days=800)
"""Calendar days read before a close: some 550 sessions, for 500 bars and the holidays of the longest lookback."""


@dataclass(frozen=True)
class MarketContext:
    """One close as the bar table has it; immutable, but for what is computed at its first use."""

    panel: MarketPanel
    close: pd.Timestamp
    means: dict[str, float]
    n_universe: int
    moments: np.ndarray
    market: dict[str, np.ndarray]
    sector_return: dict[str, tuple[np.ndarray, np.ndarray]]
    released: pd.DataFrame
    """``symbol`` and ``ts`` of bars that look like a price break and were called real by a person."""

    @cached_property
    def stock_day(self) -> StockDay:
        """All stocks of the close, for the companions; computed at the first use."""
        return stock_day_of(self.panel, self.close, source="the bar table", token=uuid.uuid4().hex)

    def means_at(self, ts: pd.Timestamp) -> dict[str, float]:
        """Universe means by feature; empty for another close."""
        return self.means if ts == self.close else {}

    def about(self, ts: pd.Timestamp) -> str:
        """Where the universe came from, for people."""
        if ts != self.close:
            return f"universe: the bar table's newest close is {self.close:%Y-%m-%d %H:%M} UTC"
        return f"universe: {self.n_universe} stocks of the bar table"

    def inputs_of(self, symbol: str, ts: pd.DatetimeIndex) -> dict[str, FloatArray]:
        """Inputs that join symbols, at the closes ``ts`` of a window; NaN where the table has no such moment."""
        closes = ts.as_unit("us").asi8
        given = {name: _at(self.moments, values, closes) for name, values in self.market.items()}
        if symbol in self.sector_return:
            given["sector_return"] = _at(*self.sector_return[symbol], closes)
        return given

    def news_with(self, sent: pd.DataFrame) -> pd.DataFrame:
        """The table's stories and those of a request (schema NEWS), each once."""
        if sent.empty:
            return self.panel.news
        both = pd.concat([self.panel.news[NEWS.column_names], sent], ignore_index=True)
        return both.drop_duplicates(list(NEWS.key)).sort_values(list(NEWS.key), ignore_index=True)

    def window(self, symbol: str) -> dict[str, FloatArray] | None:
        """The symbol's last bars up to the close, or None if the table has no bar of it at the close."""
        own = dict(symbol_slices(self.panel.bars["symbol"])).get(symbol)
        if own is None or self.panel.bars["ts"].iloc[own].iloc[-1] != self.close:
            return None
        return window_of(self.panel, symbol, self.close, n_bars=WINDOW_BARS)


def news_flags(news: pd.DataFrame, symbol: str, ts: pd.DatetimeIndex) -> dict[str, FloatArray]:
    """``has_news`` of a symbol at the closes of a window, as ``cross_section`` has it; empty without any news."""
    if news.empty:
        return {}
    stories = np.sort(news.loc[news["symbol"] == symbol, "published_at"].array.asi8)
    closes = ts.as_unit("us").asi8
    upto = np.searchsorted(stories, closes, side="right")
    before = np.searchsorted(stories, closes - NEWS_WINDOW_US, side="right")
    since = int(news["published_at"].array.asi8.min())
    return {"has_news": np.where(closes >= since, (upto > before).astype(np.float64), np.nan)}


def build_context(panel: MarketPanel, close: pd.Timestamp, released: pd.DataFrame | None = None) -> MarketContext:
    """Compute a close's context from a panel that ends there; ``released``: bars that a person called real."""
    known = panel.known_at(close)
    bars = known.bars
    at_close = bars[(bars["ts"] == close) & bars["symbol"].isin(known.stocks)][["symbol", "ts"]]
    features = add_universe_means(known, compute_features(known, at_close.reset_index(drop=True), n_threads=1))
    means = {}
    if len(features):
        first = features.iloc[0]
        means = {name: float(first[f"{UNIVERSE_PREFIX}{name}"]) for name in RELATIVE_FEATURES}
    columns = input_columns(known, needed_inputs(CATALOGUE) - set(BAR_COLUMNS))
    ts = bars["ts"].array.asi8
    moments, first_row = np.unique(ts, return_index=True)
    market = {name: column[first_row] for name in MARKET_INPUTS if (column := columns.get(name)) is not None}
    sector = columns.get("sector_return")
    by_symbol = (
        {symbol: (ts[rows], sector[rows]) for symbol, rows in symbol_slices(bars["symbol"])}
        if sector is not None
        else {}
    )
    real = bars.head(0)[["symbol", "ts"]] if released is None else released
    return MarketContext(known, close, means, len(at_close), moments, market, by_symbol, real)


def stock_day_of(panel: MarketPanel, close: pd.Timestamp, *, source: str, token: str = "") -> StockDay:
    """Compute the inputs of every stock of ``panel`` at ``close``; ``source`` names where they come from."""
    rows = inputs_of_close(panel, close, n_threads=1)
    told = ""
    if rows.empty:
        n = int(((panel.bars["ts"] == close) & panel.bars["symbol"].isin(panel.stocks)).sum())
        told = f"none of the {n} stocks of {source} has 500 bars up to this close"
        if n < MIN_UNIVERSE:
            told = f"{n} stocks of {source} at this close, {MIN_UNIVERSE} are needed"
    return StockDay(
        close=close.to_pydatetime(),
        symbols=tuple(map(str, rows["symbol"])),
        columns=STOCK_DAY_INPUTS,
        X=np.ascontiguousarray(rows[list(STOCK_DAY_INPUTS)].to_numpy(dtype=np.float32)),
        source=source,
        version=_stock_day_version(),
        absent=told,
        token=token,
    )


@lru_cache(maxsize=1)
def _stock_day_version() -> str:
    """The version hashes the source of many modules: 20 ms."""
    return stock_day_version()


class BarTable(Protocol):
    """Where contexts are read from. Raises ``SourceUnavailable`` while it does not answer."""

    def newest_close(self) -> pd.Timestamp:
        """Close of the newest bar; cheap."""
        ...

    def panel_at(self, close: pd.Timestamp) -> MarketPanel:
        """Everything known at a close, ``HISTORY`` back."""
        ...

    def released_bars(self) -> pd.DataFrame:
        """``symbol`` and ``ts`` of bars that look like a price break and were called real by a person."""
        ...


class ContextSource:
    """Reads contexts from the bar table and keeps the last few; a table that fails is asked again after a while.

    Only the newest closes are read: a caller that replays history sends the universe itself. ``of`` never raises for
    the table's sake: it returns None and ``problem`` says why.

    Parameters
    ----------
    patience_s : float, optional
        A table that takes longer is read on in the background, for the next who asks; this one gets None.
    """

    def __init__(
        self, table: BarTable | None, *, absent: str = "DATABASE_URL is not set", patience_s: float | None = None
    ) -> None:
        self._table = table
        self._patience_s = patience_s
        self._kept: OrderedDict[pd.Timestamp, MarketContext] = OrderedDict()
        self._lock = threading.Lock()
        self._newest: pd.Timestamp | None = None
        self._newest_until = self._not_before = 0.0
        self.problem: str | None = None if table is not None else absent

    def of(self, close: pd.Timestamp | None) -> MarketContext | None:
        """The context of ``close`` (None: the newest), or None; blocks while the table is read."""
        if self._table is None:
            return None
        if close is not None and (kept := self._kept.get(close)) is not None:
            return kept
        if self._patience_s is None:
            return self._asked(self._table, close)
        asked: Future[MarketContext | None] = Future()
        threading.Thread(target=_fulfil, args=(asked, self._asked, self._table, close), daemon=True).start()
        try:
            return asked.result(timeout=self._patience_s)
        except FutureTimeout:
            self.problem = f"the bar table is still being read after {self._patience_s:g} s; ask again"
            return None

    def _asked(self, table: BarTable, close: pd.Timestamp | None) -> MarketContext | None:
        """One asks at a time; the others find what it kept."""
        with self._lock:
            if time.monotonic() < self._not_before:
                return None
            try:
                newest = self._newest_close(table)
                wanted = newest if close is None else close
                if not newest - READABLE_FOR <= wanted <= newest:
                    return None
                context = self._kept.get(wanted) or self._read(table, wanted)
                self.problem = None
                return context
            except CatalystError as error:
                log.warning("the bar table gives no context: %s", error)
                self.problem, self._not_before = str(error), time.monotonic() + RETRY_AFTER_S
                return None

    def _newest_close(self, table: BarTable) -> pd.Timestamp:
        if self._newest is None or time.monotonic() > self._newest_until:
            self._newest, self._newest_until = table.newest_close(), time.monotonic() + NEWEST_KEPT_S
            self.problem = None
        return self._newest

    def _read(self, table: BarTable, close: pd.Timestamp) -> MarketContext | None:
        context = build_context(table.panel_at(close), close, table.released_bars())
        if not context.n_universe:  # a moment at which nothing closed
            return None
        self._kept[close] = context
        while len(self._kept) > KEPT_CLOSES:
            self._kept.popitem(last=False)
        return context


def _fulfil(asked: Future[Any], call: Callable[..., Any], *arguments: Any) -> None:
    try:
        asked.set_result(call(*arguments))
    except BaseException as error:  # whoever waits raises it
        asked.set_exception(error)


def _at(moments: np.ndarray, values: np.ndarray, closes: np.ndarray) -> np.ndarray:
    place = np.searchsorted(moments, closes)
    inside = np.minimum(place, max(len(moments) - 1, 0))
    found = (place < len(moments)) & (moments[inside] == closes)
    return np.where(found, values[inside], np.nan)

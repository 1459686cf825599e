"""Other futures for the leak check: what was known at a moment stays, what came later is cut off or made up anew.

Cutting the future off misses code that falls back to something harmless when data ends; a future that is there but is
another one does not. Both keep every price, story and fact that was known at the moment, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import EARNINGS

KNOWN_AT = "known_at"
PRICES = ("open", "high", "low", "close")
SPLIT_RATIO = 2.0
"""A power of two scales without rounding: whatever moves, moves because a price in dollars was used."""

_HOUR = pd.Timedelta(hours=1)


@dataclass(frozen=True)
class Sources:
    """Everything that rows are made from, each fact with the moment from which it was known.

    Parameters
    ----------
    panel : MarketPanel
        Bars are known at their close, news at its publication.
    tables : mapping of str to DataFrame
        Further facts by name (earnings, sector maps, settled outcomes); each has a column ``known_at``, UTC.

    Raises
    ------
    DataContractError
        If a table does not say since when its rows were known, or the moment is missing in a row.
    """

    panel: MarketPanel
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, table in self.tables.items():
            if KNOWN_AT not in table.columns or table[KNOWN_AT].isna().any():
                raise DataContractError(
                    f"leak check: table {name!r} does not say for every row since when it was known; expected a "
                    f"column {KNOWN_AT!r} without gaps, got {list(table.columns)}. Keep the moment of publication."
                )

    def known_at(self, moment: pd.Timestamp) -> Sources:
        """Return the sources as they stood at ``moment``; the order of rows is kept."""
        tables = {name: table[table[KNOWN_AT] <= moment].reset_index(drop=True) for name, table in self.tables.items()}
        return Sources(self.panel.known_at(moment), tables)

    def arrivals(self) -> pd.DataFrame:
        """Return ``symbol`` and ``known_at`` of every story and fact that tells of a symbol, sorted by time."""
        news = self.panel.news[["symbol", "published_at"]].rename(columns={"published_at": KNOWN_AT})
        tables = [*self.tables.values(), *([] if self.panel.earnings is None else [self.panel.earnings])]
        told = [table[["symbol", KNOWN_AT]] for table in tables if "symbol" in table.columns]
        return pd.concat([news, *told], ignore_index=True).sort_values(KNOWN_AT, ignore_index=True)


def another_future(sources: Sources, cut: pd.Timestamp, *, seed: int) -> Sources:
    """Return the sources with the same past and another future.

    Bars after ``cut`` are shuffled in time within their symbol, moved to another level and scaled bar by bar. Later
    stories tell of other symbols, and every stock gets one an hour after the cut. Later reports and rows of tables
    swap their values among each other, numbers with the other sign; the next one of each symbol becomes known an hour
    after the cut and bears its date.
    """
    rng = np.random.default_rng(seed)
    panel = replace(
        sources.panel,
        bars=_other_bars(sources.panel.bars, cut, rng),
        news=_other_news(sources.panel.news, sorted(sources.panel.stocks), cut, rng),
        earnings=None if sources.panel.earnings is None else _other_reports(sources.panel.earnings, cut, rng),
    )
    return Sources(panel, {name: _other_facts(table, cut, rng) for name, table in sources.tables.items()})


def later_splits(sources: Sources, symbols: Collection[str]) -> Sources:
    """Return the sources as they would look after a 2-for-1 split, later than all bars, of each of ``symbols``.

    Adjusting for it halves all earlier prices. A value that moves tells of a split before it happened: the level of
    an adjusted price does.
    """
    bars = sources.panel.bars
    concerned = bars["symbol"].isin(symbols).to_numpy()
    scale = np.where(concerned, SPLIT_RATIO, 1.0)
    changed = {name: bars[name].to_numpy() / scale for name in PRICES} | {"volume": bars["volume"].to_numpy() * scale}
    return replace(sources, panel=replace(sources.panel, bars=bars.assign(**changed)))


def splittable(panel: MarketPanel) -> frozenset[str]:
    """Symbols whose prices are per share: stocks, and every instrument that is no volatility index."""
    instruments = panel.instruments
    return frozenset(instruments.loc[instruments["kind"] != "volatility", "symbol"]) | panel.stocks


def another_session(sources: Sources, cut: pd.Timestamp, *, seed: int) -> Sources:
    """Return the sources with other bars at ``cut``: they open as they did, and go elsewhere afterwards.

    A value that is used at the open of its bar may not move.
    """
    rng = np.random.default_rng(seed)
    bars = sources.panel.bars
    at = np.flatnonzero((bars["ts"] == cut).to_numpy())
    open_ = bars["open"].to_numpy()[at]
    close = open_ * np.exp(rng.choice((-1.0, 1.0), len(at)) * rng.uniform(0.02, 0.05, len(at)))
    values = {
        "close": close,
        "high": np.maximum(open_, close) * 1.01,
        "low": np.minimum(open_, close) * 0.99,
        "volume": bars["volume"].to_numpy()[at] * rng.uniform(3.0, 6.0, len(at)) + 1.0,
    }
    changed = {name: _with(bars[name], at, new) for name, new in values.items()}
    return replace(sources, panel=replace(sources.panel, bars=bars.assign(**changed)))


def _other_bars(bars: pd.DataFrame, cut: pd.Timestamp, rng: np.random.Generator) -> pd.DataFrame:
    later = np.flatnonzero((bars["ts"] > cut).to_numpy())
    codes, names = pd.factorize(bars["symbol"].to_numpy()[later])
    # Rows of a symbol in random order, symbols in theirs: each later bar takes the place of another one.
    source = later[np.lexsort((rng.random(len(later)), codes))]
    level = np.exp(rng.choice((-1.0, 1.0), len(names)) * rng.uniform(0.4, 1.2, len(names)))
    factor = level[codes] * np.exp(rng.normal(0.0, 0.05, len(later)))
    changed = {name: _with(bars[name], later, bars[name].to_numpy()[source] * factor) for name in PRICES}
    surge = rng.lognormal(1.5, 1.0, len(later))
    changed["volume"] = _with(bars["volume"], later, bars["volume"].to_numpy()[source] * surge)
    return bars.assign(**changed)


def _with(column: pd.Series, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = column.to_numpy(copy=True)
    out[at] = values
    return out


def _other_news(news: pd.DataFrame, stocks: list[str], cut: pd.Timestamp, rng: np.random.Generator) -> pd.DataFrame:
    if news.empty:  # a source that never had a story stays absent
        return news
    past, later = news[news["published_at"] <= cut], news[news["published_at"] > cut]
    later = later.assign(symbol=pd.Series(rng.permutation(later["symbol"].to_numpy()), later.index, dtype="str"))
    made_up = pd.DataFrame({"symbol": pd.Series(stocks, dtype="str")}).assign(
        published_at=(cut + _HOUR), news_id="leak-check", catalyst_type="earnings", sentiment="positive", score=100.0
    )
    every = pd.concat([past, later, made_up[list(past.columns.intersection(made_up.columns))]], ignore_index=True)
    every = every.astype(news.dtypes.to_dict())
    return every.sort_values(["symbol", "published_at", "news_id"], ignore_index=True)


def _other_reports(earnings: pd.DataFrame, cut: pd.Timestamp, rng: np.random.Generator) -> pd.DataFrame:
    changed = _other_facts(earnings, cut, rng).sort_values([*EARNINGS.key, KNOWN_AT], kind="stable")
    # The day of the cut may hold a report that was known by then: that one stays.
    return changed.drop_duplicates(list(EARNINGS.key), ignore_index=True)


def _other_facts(table: pd.DataFrame, cut: pd.Timestamp, rng: np.random.Generator) -> pd.DataFrame:
    later = np.flatnonzero((table[KNOWN_AT] > cut).to_numpy())
    names = [name for name in table.columns if name not in ("symbol", KNOWN_AT)]
    changed = {name: table[name].copy() for name in (*names, KNOWN_AT)}
    for name in names:
        if not pd.api.types.is_datetime64_any_dtype(table[name].dtype):
            swapped = table[name].to_numpy()[rng.permutation(later)]
            # Numbers change sign too: swapping equal ones would change nothing.
            changed[name].iloc[later] = -swapped if pd.api.types.is_float_dtype(table[name].dtype) else swapped
    # The next fact of every symbol arrives an hour after the cut and bears its date: joins by day read it too early.
    of_symbol = table["symbol"] if "symbol" in table.columns else pd.Series("", index=table.index)
    order = later[np.argsort(table[KNOWN_AT].to_numpy()[later], kind="stable")]
    soonest = order[~of_symbol.iloc[order].duplicated().to_numpy()]
    for name in (*names, KNOWN_AT):
        if pd.api.types.is_datetime64_any_dtype(table[name].dtype):
            is_aware = isinstance(table[name].dtype, pd.DatetimeTZDtype)
            changed[name].iloc[soonest] = cut + _HOUR if is_aware else cut.tz_localize(None).normalize()
    return table.assign(**changed)

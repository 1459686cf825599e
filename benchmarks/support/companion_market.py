"""Stock-days of real or simulated daily bars, and what others would make of them: LightGBM as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.support.market_measures import real_market
from catalyst_ml.evaluation.splits import Fold, test_rows, train_rows
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.stock_days import StockDays, build_stock_days, target_column
from catalyst_ml.frames import EARNINGS, NEWS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.event_rows import microseconds
from catalyst_ml.market.price_breaks import suspected_breaks
from catalyst_ml.market.reference_files import read_earnings, read_members
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.models.companion_settings import CompanionSettings
from catalyst_ml.models.companions import companion_matrix
from catalyst_ml.models.day_rank import place_in_day
from catalyst_ml.quality.exposure import exposed_bars


@dataclass(frozen=True)
class Market:
    """Raw bars, what features are computed from, and which bars see a suspected price break."""

    name: str
    panel: MarketPanel
    held_out: pd.DataFrame

    def stock_days(self) -> StockDays:
        """Rows up to the last bar."""
        as_of = self.panel.bars["ts"].max()
        return build_stock_days(self.panel, calendar=TradingCalendar(), as_of=as_of, held_out=self.held_out)


def read_market(folder: Path, *, n_stocks: int) -> Market:
    """Read the first so many stocks of the real daily bars with SPY, VIX and earnings; no news."""
    calendar = TradingCalendar()
    bars, instruments = real_market(folder, calendar=calendar)
    stocks = instruments.loc[instruments["kind"] == "stock", "symbol"].head(n_stocks)
    own = bars[bars["symbol"].isin(stocks) | bars["symbol"].isin(["SPY", "VIX"])].reset_index(drop=True)
    reports = read_earnings(folder / "earnings.parquet", now=own["ts"].max(), calendar=calendar).rows
    earnings = reports.sort_values(list(EARNINGS.key), ignore_index=True)[EARNINGS.column_names]
    earnings = earnings.drop_duplicates(list(EARNINGS.key), ignore_index=True)
    return _market("real bars", own, instruments, NEWS.empty(), earnings)


def make_market(preset: str, *, seed: int, n_stocks: int, n_sessions: int = 1_250) -> Market:
    """Simulate a market with its news and earnings."""
    market = simulate_market(preset, seed=seed, n_symbols=n_stocks, n_sessions=n_sessions)
    return _market(f"simulated market, edge {preset!r}", market.bars, market.instruments, market.news, None)


def is_member(rows: pd.DataFrame, folder: Path) -> np.ndarray:
    """Mask (n_rows,): was the symbol in the S&P 500 on the day of ``ts``?"""
    spells = read_members(folder / "sp500_membership.parquet").rows
    days = pd.DatetimeIndex(rows["ts"]).tz_convert("America/New_York").tz_localize(None).normalize()
    inside = np.zeros(len(rows), dtype=bool)
    at = rows.groupby("symbol", sort=False).indices
    for spell in spells.itertuples():
        own = at.get(spell.symbol)
        if own is not None:
            end = pd.Timestamp.max if pd.isna(spell.end_date) else spell.end_date
            inside[own] |= np.asarray((days[own] >= spell.start_date) & (days[own] < end))
    return inside


def lightgbm_scores(
    stock_days: pd.DataFrame, folds: Sequence[Fold], settings: CompanionSettings, *, sessions: int, n_threads: int
) -> np.ndarray:
    """Score of LightGBM with its default parameters on the returns' places, same inputs, folds and purging.

    Returns
    -------
    (n_rows,) float64
        NaN before the first fold.
    """
    import lightgbm

    place = place_in_day(stock_days[target_column(sessions)].to_numpy(), microseconds(stock_days["ts"]))
    scores = np.full(len(stock_days), np.nan)
    for fold in folds:
        learns = train_rows(stock_days, fold) & np.isfinite(place)
        asks = test_rows(stock_days, fold)
        if asks.any():
            model = lightgbm.LGBMRegressor(n_jobs=n_threads, verbose=-1)
            model.fit(companion_matrix(stock_days.loc[learns], settings.inputs), place[learns])
            scores[asks] = model.booster_.predict(companion_matrix(stock_days.loc[asks], settings.inputs))
    return scores


def permute_targets(stock_days: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the rows with both returns exchanged among the stocks of each day: nothing is left to learn."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(stock_days)), microseconds(stock_days["ts"])))
    return stock_days.assign(**{target_column(h): stock_days[target_column(h)].to_numpy()[order] for h in (1, 5)})


def _market(
    name: str, raw: pd.DataFrame, instruments: pd.DataFrame, news: pd.DataFrame, earnings: pd.DataFrame | None
) -> Market:
    known = instruments[instruments["symbol"].isin(raw["symbol"].unique())].reset_index(drop=True)
    stocks = known.loc[known["kind"] == "stock", "symbol"]
    breaks = suspected_breaks(raw[raw["symbol"].isin(stocks)].reset_index(drop=True))
    bars = adjust_for_splits(raw, as_of=raw["ts"].max())
    held_out = exposed_bars(bars, stocks, breaks, calendar=TradingCalendar())
    return Market(name, MarketPanel(bars=bars, instruments=known, news=news, earnings=earnings), held_out)

"""What a market looks like in numbers: one measure for real and simulated bars, and what the oracle knows."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from catalyst_ml.frames import BARS, INSTRUMENTS, PATTERNS, pattern_column
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.event_statistics import event_statistics
from catalyst_ml.market.labels import LabelSpec, label_events
from catalyst_ml.market.market_moments import market_moments
from catalyst_ml.market.simulator import SimulatedMarket

LAST_DAY = date(2016, 5, 31)
N_BINS = 20


class Measured(NamedTuple):
    """Statistics by name, and the settled symmetric labels they were made of."""

    statistics: dict[str, float]
    labels: pd.DataFrame


def measure_market(bars: pd.DataFrame, instruments: pd.DataFrame, *, calendar: TradingCalendar) -> Measured:
    """Measure a market of raw daily bars (BARS, INSTRUMENTS): how prices move, what patterns and labels come of it."""
    as_of = bars["ts"].max()
    adjusted = adjust_for_splits(bars, as_of=as_of)
    events = detect_events(adjusted, instruments)
    labels = label_events(events, adjusted, LabelSpec(), calendar=calendar, as_of=as_of).labels
    stocks = instruments.loc[instruments["kind"] == "stock", "symbol"]
    n_stock_days = int(adjusted["symbol"].isin(stocks).sum())
    statistics = {name: float(v) for name, v in dataclasses.asdict(market_moments(adjusted, instruments)).items()}
    of_events = dataclasses.asdict(event_statistics(labels, n_stock_days=n_stock_days))
    statistics |= {name: float(value) for name, value in of_events.items()}
    for name, side in (("base_rate_long", 1), ("base_rate_short", -1)):
        statistics[name] = float(labels.loc[labels["direction"] == side, "y"].mean())
    statistics |= {f"{name}_rate": float(events[pattern_column(name)].sum()) / n_stock_days for name in PATTERNS}
    return Measured(statistics, labels)


def real_market(folder: Path, *, calendar: TradingCalendar) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the S&P 500 stocks, SPY and VIX of 2005 to 2016 as raw BARS and INSTRUMENTS, dirt included."""
    stocks = pd.read_parquet(folder / "bars_daily.parquet").rename(columns={"split_coefficient": "split_factor"})
    index = pd.read_parquet(folder / "index_daily.parquet")
    index = index[index["symbol"].isin(["SPY", "VIX"]) & (pd.to_datetime(index["date"]) <= pd.Timestamp(LAST_DAY))]
    index = index.assign(split_factor=1.0, volume=index["volume"].fillna(0.0))
    bars = pd.concat([stocks, index], ignore_index=True)
    days = calendar.sessions(date(2005, 1, 3), LAST_DAY)
    closes = pd.Series(calendar.closes(days), index=days)
    bars = bars.assign(ts=closes.reindex(pd.DatetimeIndex(pd.to_datetime(bars["date"]))).to_numpy())
    bars = bars.astype({column.name: column.dtype for column in BARS.columns})
    bars = BARS.validate(bars.sort_values(list(BARS.key), ignore_index=True)[BARS.column_names])
    symbols = pd.Series(bars["symbol"].unique())
    sectors = pd.read_parquet(folder / "sectors.parquet")
    sector = sectors[sectors["taxonomy"] == "GICS"].drop_duplicates("symbol").set_index("symbol")["sector"]
    kinds = symbols.map({"SPY": "index", "VIX": "volatility"}).fillna("stock")
    instruments = pd.DataFrame({"symbol": symbols, "kind": kinds, "sector": symbols.map(sector)})
    return bars, INSTRUMENTS.validate(instruments.astype({c.name: c.dtype for c in INSTRUMENTS.columns}))


def known_outcomes(market: SimulatedMarket, labels: pd.DataFrame) -> pd.DataFrame:
    """Return the labels with the truth of their bars, and ``p``: the probability that ``y`` is 1."""
    rows = labels.merge(market.truth, on=["symbol", "ts"], validate="many_to_one")
    is_long = (rows["direction"] > 0).to_numpy()
    return rows.assign(p=np.where(is_long, rows["p_long"], rows["p_short"]))


def oracle_statistics(rows: pd.DataFrame) -> dict[str, float]:
    """Measure the truth against the outcomes: ranking, log-loss, calibration, and what the change does to each.

    ``rows`` as :func:`known_outcomes` returns them. Calibration slope: of the outcomes on the log-odds of ``p``; 1 is
    right. Calibration error: mean distance of ``p`` and success rate in 20 bins of equal number.
    """
    y, p, after = rows["y"].to_numpy(), rows["p"].to_numpy(), rows["is_after_change"].to_numpy()
    sided, stale = (rows[name].to_numpy() * rows["direction"].to_numpy() for name in ("signal", "signal_before_change"))
    log_odds = np.log(p / (1.0 - p))[:, None]
    base, oracle = log_loss(y, np.full(len(y), y.mean())), log_loss(y, p)
    bins = pd.qcut(pd.Series(p).rank(method="first"), N_BINS, labels=False)
    gaps = rows.groupby(bins.to_numpy()).agg(y=("y", "mean"), p=("p", "mean"), n=("y", "size"))
    return {
        "oracle_auc": float(roc_auc_score(y, sided)),
        "auc_before_change": float(roc_auc_score(y[~after], sided[~after])),
        "auc_after_change": float(roc_auc_score(y[after], sided[after])),
        "stale_auc_after_change": float(roc_auc_score(y[after], stale[after])),
        "base_log_loss": float(base),
        "oracle_log_loss": float(oracle),
        "log_loss_gain": float(base - oracle),
        "calibration_slope": float(LogisticRegression(C=1e6).fit(log_odds, y).coef_[0, 0]),
        "calibration_error": float(((gaps["y"] - gaps["p"]).abs() * gaps["n"]).sum() / gaps["n"].sum()),
    }

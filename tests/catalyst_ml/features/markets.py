"""Small markets made by function, for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import (
    BARS,
    EVENT_KEY,
    EVENTS,
    LABELS,
    NEWS,
    PATTERNS,
    RULE_SCORES,
    TIME_DTYPE,
    pattern_column,
)


def make_bars(symbol: str, n_bars: int, *, seed: int, start: str = "2010-01-04", price: float = 50.0) -> pd.DataFrame:
    """Bars of one symbol on weekdays, closing at 21:00 UTC; a random walk with gaps and shadows."""
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.015, n_bars)))
    prior = np.concatenate(([price], close[:-1]))
    open_ = prior * np.exp(rng.normal(0, 0.005, n_bars))
    reach = np.abs(rng.normal(0, 0.006, (2, n_bars)))
    ts = pd.bdate_range(start, periods=n_bars, tz="UTC") + pd.Timedelta(hours=21)
    return pd.DataFrame(
        {
            "symbol": pd.Series([symbol] * n_bars, dtype="str"),
            "ts": ts.astype(TIME_DTYPE),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + reach[0]),
            "low": np.minimum(open_, close) * (1 - reach[1]),
            "close": close,
            "volume": rng.lognormal(12, 0.5, n_bars).round(),
            "split_factor": 1.0,
        }
    )


def make_instruments(stocks: dict[str, str | None]) -> pd.DataFrame:
    """Stocks with their sector, SPY and VIX."""
    rows = [(s, "stock", sector) for s, sector in stocks.items()]
    rows += [("SPY", "index", None), ("VIX", "volatility", None)]
    frame = pd.DataFrame(sorted(rows), columns=["symbol", "kind", "sector"])
    return frame.astype({"symbol": "str", "kind": "str", "sector": "str"})


def make_news(stories: list[tuple[str, str]]) -> pd.DataFrame:
    """One story per (symbol, moment of publication in UTC)."""
    if not stories:
        return NEWS.empty()
    symbols, moments = zip(*stories, strict=True)
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(symbols, dtype="str"),
            "published_at": pd.to_datetime(pd.Series(moments), utc=True, format="ISO8601").astype(TIME_DTYPE),
            "news_id": pd.Series([f"n{i}" for i in range(len(stories))], dtype="str"),
            "catalyst_type": pd.Series([None] * len(stories), dtype="str"),
            "sentiment": pd.Series(["neutral"] * len(stories), dtype="str"),
            "score": 50.0,
        }
    )
    return frame.sort_values(["symbol", "published_at", "news_id"], ignore_index=True)


def make_panel(
    *,
    n_stocks: int = 24,
    n_bars: int = 540,
    sectors: tuple[str | None, ...] = ("tech", "energy", None),
    news: list[tuple[str, str]] | None = None,
) -> MarketPanel:
    """A market of stocks S00, S01, ... whose sectors take turns, with SPY and VIX."""
    names = [f"S{i:02d}" for i in range(n_stocks)]
    frames = [make_bars(name, n_bars, seed=i) for i, name in enumerate(names)]
    frames += [
        make_bars("SPY", n_bars, seed=900, price=110.0),
        make_bars("VIX", n_bars, seed=901, price=18.0),
    ]
    instruments = make_instruments({name: sectors[i % len(sectors)] for i, name in enumerate(names)})
    bars = pd.concat(frames).sort_values(["symbol", "ts"], ignore_index=True)[BARS.column_names]
    return MarketPanel(bars, instruments, make_news(news or []))


def stock_rows(panel: MarketPanel) -> pd.DataFrame:
    """Key of every bar of every stock."""
    return panel.bars.loc[panel.bars["symbol"].isin(panel.stocks), ["symbol", "ts"]].reset_index(drop=True)


def make_events(seen: list[tuple[str, str, int, list[str]]], *, inferred: list[bool] | None = None) -> pd.DataFrame:
    """Events from (symbol, close of the bar, direction, patterns), sorted by their key."""
    symbols, moments, directions, patterns = zip(*seen, strict=True)
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(symbols, dtype="str"),
            "ts": pd.to_datetime(pd.Series(moments), utc=True, format="ISO8601").astype(TIME_DTYPE),
            "direction": pd.Series(directions, dtype="int8"),
            "direction_inferred": inferred or [False] * len(seen),
        }
        | {pattern_column(name): [name in own for own in patterns] for name in PATTERNS}
    )
    return EVENTS.validate(frame.sort_values(list(EVENT_KEY), ignore_index=True))


def make_rule_scores(events: pd.DataFrame, *, action: int = 1, score: float = 55.0) -> pd.DataFrame:
    """The same score and action for every event."""
    scores = events[list(EVENT_KEY)].assign(rule_score=score, rule_action=np.int8(action))
    return RULE_SCORES.validate(scores)


def make_labels(events: pd.DataFrame, *, y: int = 1) -> pd.DataFrame:
    """Every event entered the next day and settled two days after it."""
    day = pd.Timedelta(days=1)
    gross = 0.021 if y else -0.019
    return LABELS.validate(
        events[list(EVENT_KEY)].assign(
            y=np.int8(y),
            net_return=gross - 0.001,
            gross_return=gross,
            outcome=pd.Series(["target" if y else "stop"] * len(events), dtype="str"),
            entry_ts=events["ts"] + day,
            label_end=events["ts"] + 2 * day,
        )
    )


def real_panel(folder: Path) -> MarketPanel:
    """25 real stocks with SPY and VIX; prices taken as they are, splits do not matter for ranges."""
    stocks = pd.read_parquet(folder / "bars_daily.parquet")
    names = sorted(stocks["symbol"].unique())[:25]
    index = pd.read_parquet(folder / "index_daily.parquet")
    bars = pd.concat([stocks[stocks["symbol"].isin(names)], index[index["symbol"].isin(["SPY", "VIX"])]])
    ts = (pd.to_datetime(bars["date"]) + pd.Timedelta(hours=21)).dt.tz_localize("UTC").astype(TIME_DTYPE)
    bars = bars.assign(ts=ts, split_factor=1.0, volume=bars["volume"].fillna(0).astype("float64"))
    bars = bars.astype({"symbol": "str"}).sort_values(["symbol", "ts"], ignore_index=True)
    return MarketPanel(bars[BARS.column_names], make_instruments(dict.fromkeys(names, "one")), NEWS.empty())

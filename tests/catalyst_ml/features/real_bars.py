"""Real bars, sectors and news as a panel; only for tests that carry the marker ``real_data``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import BARS, NEWS, TIME_DTYPE
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from tests.catalyst_ml.features.markets import make_instruments


def read_real_panel(folder: Path, *, n_stocks: int, first: str = "2009-01-01") -> MarketPanel:
    """The first stocks in alphabetical order with SPY and VIX, stamped at the session's close, adjusted for splits."""
    stocks = pd.read_parquet(folder / "bars_daily.parquet").rename(columns={"split_coefficient": "split_factor"})
    names = sorted(stocks["symbol"].unique())[:n_stocks]
    index = pd.read_parquet(folder / "index_daily.parquet").assign(split_factor=1.0)
    bars = pd.concat([stocks[stocks["symbol"].isin(names)], index[index["symbol"].isin(["SPY", "VIX"])]])
    day = pd.to_datetime(bars["date"])
    bars = bars[(day >= first) & (day <= "2016-05-31")]
    sessions = TradingCalendar().sessions(pd.Timestamp(first), pd.Timestamp("2016-05-31"))
    close_of = pd.Series(TradingCalendar().closes(sessions), index=sessions)
    bars = bars.assign(ts=pd.to_datetime(bars["date"]).map(close_of), volume=bars["volume"].fillna(0).astype("float64"))
    bars = bars.dropna(subset=["ts"]).astype({"symbol": "str", "ts": TIME_DTYPE})
    bars = bars.sort_values(["symbol", "ts"], ignore_index=True)[BARS.column_names]
    sectors = pd.read_parquet(folder / "sectors.parquet").drop_duplicates("symbol").set_index("symbol")["sector"]
    instruments = make_instruments({name: sectors.get(name) for name in names})
    return MarketPanel(adjust_for_splits(bars, as_of=bars["ts"].max()), instruments, _read_news(folder, names))


def _read_news(folder: Path, names: list[str]) -> pd.DataFrame:
    stories = pd.read_parquet(folder / "news.parquet").dropna(subset=["ts"])
    stories = stories[stories["symbol"].isin(names)].sort_values(["symbol", "ts"], ignore_index=True)
    return NEWS.validate(
        pd.DataFrame(
            {
                "symbol": stories["symbol"].astype("str"),
                "published_at": pd.to_datetime(stories["ts"], utc=True).astype(TIME_DTYPE),
                "news_id": pd.Series([f"n{i:06d}" for i in range(len(stories))], dtype="str"),
                "catalyst_type": pd.Series([None] * len(stories), dtype="str"),
                "sentiment": pd.Series(["neutral"] * len(stories), dtype="str"),
                "score": 50.0,
            }
        )
    )

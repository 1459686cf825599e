"""Small intraday markets made by function: real sessions, holidays and early closes, holes, bars before the open."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import BARS, NEWS, TIME_DTYPE
from catalyst_ml.market.calendar import TradingCalendar
from tests.catalyst_ml.features.markets import make_instruments, make_news


def bars_of_sessions(
    symbol: str,
    calendar: TradingCalendar,
    first: str,
    last: str,
    *,
    seed: int,
    minutes: int = 30,
    before_open: int = 0,
    missing: float = 0.03,
) -> pd.DataFrame:
    """Bars that end every ``minutes`` of each session, ``before_open`` of them before it; some never traded."""
    rng = np.random.default_rng(seed)
    sessions = calendar.sessions(pd.Timestamp(first), pd.Timestamp(last))
    step = pd.Timedelta(minutes=minutes)
    ends = [
        pd.date_range(open_ + step * (1 - before_open), close, freq=step)
        for open_, close in zip(calendar.opens(sessions), calendar.closes(sessions), strict=True)
    ]
    ts = ends[0].append(ends[1:])
    ts = ts[rng.random(len(ts)) >= missing]
    n = len(ts)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.004, n)))
    open_ = np.concatenate(([50.0], close[:-1])) * np.exp(rng.normal(0, 0.002, n))
    reach = np.abs(rng.normal(0, 0.002, (2, n)))
    return pd.DataFrame(
        {
            "symbol": pd.Series([symbol] * n, dtype="str"),
            "ts": pd.DatetimeIndex(ts).astype(TIME_DTYPE),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + reach[0]),
            "low": np.minimum(open_, close) * (1 - reach[1]),
            "close": close,
            "volume": rng.lognormal(9, 0.8, n).round(),
            "split_factor": 1.0,
        }
    )


def make_intraday_panel(
    *,
    n_stocks: int = 22,
    first: str = "2012-09-24",
    last: str = "2012-12-31",
    minutes: int = 30,
    calendar_name: str = "XNYS",
    before_open: int = 2,
) -> MarketPanel:
    """Stocks with SPY and VIX; every third one has bars before the open. The dates hold a two-day closing without
    notice, Thanksgiving, two early closes and a change of the clocks."""
    calendar = TradingCalendar(calendar_name)
    names = [f"S{i:02d}" for i in range(n_stocks)]
    given = {"minutes": minutes, "first": first, "last": last}
    frames = [
        bars_of_sessions(name, calendar, seed=i, before_open=before_open if i % 3 == 0 else 0, **given)
        for i, name in enumerate(names)
    ]
    # One that paused for two weeks, one that was listed late.
    frames[1] = frames[1][(frames[1]["ts"] < "2012-11-05") | (frames[1]["ts"] > "2012-11-19")]
    frames[-1] = frames[-1][frames[-1]["ts"] > pd.Timestamp(first, tz="UTC") + pd.Timedelta(days=16, hours=15)]
    frames += [bars_of_sessions(name, calendar, seed=900 + i, **given) for i, name in enumerate(("SPY", "VIX"))]
    bars = pd.concat(frames).sort_values(["symbol", "ts"], ignore_index=True)[BARS.column_names]
    instruments = make_instruments({name: ("tech", "energy", None)[i % 3] for i, name in enumerate(names)})
    news = make_news([("S01", "2012-11-28 15:00"), ("S05", "2012-10-03 12:00")])
    return MarketPanel(bars, instruments, NEWS.validate(news), calendar=calendar)

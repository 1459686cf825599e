"""The simulated market as tables: what an import would bring, faults included, and the truth that no import knows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS, TIME_DTYPE
from catalyst_ml.market import simulated_faults as kinds
from catalyst_ml.market.detector import Candle
from catalyst_ml.market.simulated_noise import MarketNoise
from catalyst_ml.market.simulated_probability import win_probabilities
from catalyst_ml.market.simulated_regimes import VOLATILITY_REGIMES
from catalyst_ml.market.simulated_walk import Paths

INDEX_SYMBOL, VOLATILITY_SYMBOL = "SPY", "VIX"
NEW_YORK = "America/New_York"
BEFORE_OPEN = pd.Timedelta(hours=8)
"""Before the close of any session, early ones too, this is before its open."""


def stock_bars(noise: MarketNoise, paths: Paths, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return raw bars of the stocks as they really were: prices in cents, corporate actions in, missing bars out."""
    faults = noise.faults
    to_raw = _product_after(faults.price_factor)
    candle = _without_empty_bars(paths, faults.is_empty)
    columns = {name: np.maximum(np.round(getattr(candle, name) * to_raw, 2), 0.01) for name in Candle._fields}
    columns["volume"] = np.where(faults.is_empty, 0.0, np.round(noise.volume / _product_after(faults.share_factor)))
    columns["split_factor"] = faults.split_factor
    stocks = _long_frame(symbols, closes, columns)
    return stocks[faults.is_traded.T.ravel()].reset_index(drop=True)[BARS.column_names]


def _product_after(factor: np.ndarray) -> np.ndarray:
    """Return the product of the factors of later sessions.  # (n_sessions, n_symbols)"""
    return np.cumprod(factor[::-1], axis=0)[::-1] / factor


def _without_empty_bars(paths: Paths, is_empty: np.ndarray) -> Candle:
    """Return the candles; without a trade the last price stands."""
    candle = Candle(paths.open.copy(), paths.high.copy(), paths.low.copy(), paths.close.copy())
    for session, symbol in zip(*np.nonzero(is_empty), strict=True):  # in time order: a second one repeats the first
        for values in candle:
            values[session, symbol] = candle.close[session - 1, symbol]
    return candle


def restate(
    stocks: pd.DataFrame, noise: MarketNoise, symbols: list[str], closes: pd.DatetimeIndex
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the bars as first published, and the mended ones with the moment they became known."""
    wrong = noise.faults.planted
    wrong = wrong[wrong["kind"] == kinds.RESTATED]
    moments = pd.DataFrame(
        {
            "symbol": pd.Series([symbols[i] for i in wrong["symbol"]], dtype="str"),
            "ts": closes[wrong["session"]],
            "known_at": closes[wrong["session"] + 1],
            "error": wrong["value"].to_numpy(),
        }
    )
    at = stocks.reset_index().merge(moments, on=["symbol", "ts"]).sort_values("index")
    row, error = at["index"].to_numpy(), at["error"].to_numpy()
    first = stocks.copy()
    close = np.maximum(np.round(at["close"].to_numpy() * (1.0 + error), 2), 0.01)
    first.loc[row, "close"] = close
    first.loc[row, "high"] = np.maximum(at["high"].to_numpy(), close)
    first.loc[row, "low"] = np.minimum(at["low"].to_numpy(), close)
    late = kinds.RESTATED_VOLUME * np.abs(error) / kinds.RESTATED_CLOSE
    first.loc[row, "volume"] = np.round(at["volume"].to_numpy() * (1.0 - late))
    mended = at[[*BARS.column_names, "known_at"]].reset_index(drop=True)
    return first, mended.astype({"known_at": TIME_DTYPE})


def bars_frame(noise: MarketNoise, stocks: pd.DataFrame, closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return raw bars of all instruments."""
    index = _long_frame([INDEX_SYMBOL], closes, noise.index_bars)
    volatility = _long_frame([VOLATILITY_SYMBOL], closes, noise.vix_bars)
    return pd.concat([stocks, index, volatility], ignore_index=True)[BARS.column_names]


def _long_frame(symbols: list[str], closes: pd.DatetimeIndex, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Stack (n_sessions, n_symbols) arrays into one frame sorted by symbol and ts."""
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(np.repeat(np.array(symbols, dtype=object), len(closes)), dtype="str"),
            "ts": closes[np.tile(np.arange(len(closes)), len(symbols))],
        }
    )
    return frame.assign(**{name: values.T.ravel() for name, values in columns.items()})


def instruments_frame(noise: MarketNoise, symbols: list[str]) -> pd.DataFrame:
    """Return INSTRUMENTS of the stocks, the index and the volatility index."""
    kinds = ["stock"] * len(symbols) + ["index", "volatility"]
    sectors = [*(noise.sector_names[i] for i in noise.sector), None, None]
    frame = pd.DataFrame({"symbol": [*symbols, INDEX_SYMBOL, VOLATILITY_SYMBOL], "kind": kinds, "sector": sectors})
    return frame.astype({column.name: column.dtype for column in INSTRUMENTS.columns})


def news_frame(noise: MarketNoise, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return NEWS, each story published within the 24 hours up to its session's close."""
    stories = _of_listed(noise.news.stories, noise)
    frame = pd.DataFrame(
        {
            "symbol": np.array(symbols, dtype=object)[stories["symbol"]],
            "published_at": _published_at(stories, closes),
            "catalyst_type": stories["catalyst_type"].to_numpy(),
            "sentiment": stories["sentiment"].to_numpy(),
            "score": stories["score"].to_numpy(),
        }
    )
    frame = frame.assign(news_id=[f"sim-{i:06d}" for i in range(len(frame))])
    frame = frame.astype({column.name: column.dtype for column in NEWS.columns})
    return frame[NEWS.column_names].sort_values(list(NEWS.key), ignore_index=True)


def _of_listed(rows: pd.DataFrame, noise: MarketNoise) -> pd.DataFrame:
    """Return the rows (session and symbol as positions) of companies that were on the exchange then."""
    is_traded = noise.faults.is_traded
    since = np.logical_or.accumulate(is_traded, axis=0)
    still = np.logical_or.accumulate(is_traded[::-1], axis=0)[::-1]
    return rows[(since & still)[rows["session"], rows["symbol"]]].reset_index(drop=True)


def _published_at(stories: pd.DataFrame, closes: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return the moment of each story; none falls before the previous close, where it would foretell a jump."""
    session = stories["session"].to_numpy()
    published = closes[session] - pd.to_timedelta(stories["seconds_before_close"].to_numpy(), unit="s")
    previous = closes[np.maximum(session - 1, 0)]
    is_early = (session > 0) & (published <= previous)
    return published.where(~is_early, closes[session] - BEFORE_OPEN)


def earnings_frame(noise: MarketNoise, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the results; what came out the evening before a session is dated on that evening."""
    reports = _of_listed(noise.news.earnings, noise)
    known_at = _published_at(reports, closes)
    day = known_at.tz_convert(NEW_YORK).tz_localize(None).normalize()
    close_day = closes[reports["session"].to_numpy()].tz_convert(NEW_YORK).tz_localize(None).normalize()
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(np.array(symbols, dtype=object)[reports["symbol"]], dtype="str"),
            "report_date": day,
            "release_time": pd.Series(np.where(day < close_day, "post", "pre"), dtype="str"),
            "known_at": known_at,
            "eps": reports["eps"].to_numpy(),
            "eps_estimate": reports["eps_estimate"].to_numpy(),
        }
    )
    return frame.sort_values(["symbol", "report_date"], ignore_index=True)


def sessions_frame(noise: MarketNoise, closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the regimes of each session."""
    return pd.DataFrame(
        {
            "ts": closes,
            "volatility_regime": pd.Series(np.array(VOLATILITY_REGIMES)[noise.volatility_regime], dtype="str"),
            "is_after_change": np.arange(len(closes)) >= noise.change_session,
        }
    )


def truth_frame(
    noise: MarketNoise, paths: Paths, symbols: list[str], sessions: pd.DataFrame, strength: float
) -> pd.DataFrame:
    """Return signal, drift and probabilities in force at each stock's close, with the session's regimes."""
    columns = {
        "signal": paths.signal,
        "signal_before_change": paths.signal_before_change,
        "score": strength * paths.signal,
        "sessions_left": paths.sessions_left,
    }
    frame = _long_frame(symbols, pd.DatetimeIndex(sessions["ts"]), columns)
    n_symbols = len(symbols)
    frame = frame.assign(
        sessions_left=frame["sessions_left"].astype("int8"),
        volatility_regime=np.tile(sessions["volatility_regime"], n_symbols),
        is_after_change=np.tile(sessions["is_after_change"], n_symbols),
    ).astype({"volatility_regime": "str"})
    vix = np.tile(noise.vix_close, n_symbols)
    probabilities = win_probabilities(frame["score"].to_numpy(), frame["sessions_left"].to_numpy(), vix)
    frame = frame.assign(**probabilities._asdict())
    return frame[noise.faults.is_traded.T.ravel()].reset_index(drop=True)


def planted_frame(
    noise: MarketNoise, paths: Paths, restatements: pd.DataFrame, symbols: list[str], closes: pd.DatetimeIndex
) -> pd.DataFrame:
    """List every fault and corporate action, with the stories that came late and the dividends paid."""
    faults = noise.faults
    stories = _of_listed(noise.news.stories, noise)
    late = stories[stories["is_late"]]
    session, symbol = np.nonzero((noise.dividend > 0.0) & faults.is_traded)
    is_paid = session > 0
    session, symbol = session[is_paid], symbol[is_paid]
    close = (paths.close * _product_after(faults.price_factor) * faults.price_factor)[session - 1, symbol]
    rows = pd.concat(
        [
            faults.planted,
            pd.DataFrame({"kind": kinds.LATE_NEWS, "session": late["session"] - 1, "symbol": late["symbol"]}),
            pd.DataFrame(
                {
                    "kind": kinds.DIVIDEND,
                    "session": session,
                    "symbol": symbol,
                    "value": np.round(-np.expm1(-noise.dividend[session, symbol]) * close, 4),
                }
            ),
        ],
        ignore_index=True,
    )
    n_sessions = rows["n_sessions"].fillna(1.0).to_numpy(dtype=np.int64)
    frame = pd.DataFrame(
        {
            "kind": rows["kind"].astype("str"),
            "symbol": pd.Series(np.array(symbols, dtype=object)[rows["symbol"]], dtype="str"),
            "ts": closes[rows["session"]],
            "until": closes[np.minimum(rows["session"] + n_sessions - 1, len(closes) - 1)],
            "value": rows["value"].to_numpy(dtype=np.float64),
        }
    )
    return frame.sort_values(["kind", "symbol", "ts"], ignore_index=True)

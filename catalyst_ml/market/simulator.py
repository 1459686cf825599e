"""A simulated stock market with known truth: real noise, and an edge of chosen size that a model can find.

Market, sector and own moves with volatility regimes and fat tails, volume surges, earnings and other news (some of it
matters), corporate actions, faulty data, on real exchange sessions. The noise depends on the seed alone,
not on the preset: presets differ by the drift that follows a pattern, and by nothing else.

The edge. At a close that shows a pattern, the drift of the next five sessions takes the pattern's direction,
times a judgement of it from what is on the screen at that close: a full body (the more so with news), high
volume, a stretched RSI against the move (much more so when the VIX is high, the reverse when it is low) and
the sector's momentum. A newer pattern replaces the drift of an older one. From one session on, a third into the
history, the judgement changes (:data:`RELATIONS`): sectors turn back instead of going on, a stretched RSI goes on
instead of turning back, news says less, and a model of the old relation loses part of its worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS, TIME_DTYPE
from catalyst_ml.market import simulated_faults as kinds
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.detector import (
    BULLISH,
    DOJI_LOOKBACK,
    MIN_BARS,
    Candle,
    directional_patterns,
    is_doji,
)
from catalyst_ml.market.simulated_faults import RESTATED_VOLUME
from catalyst_ml.market.simulated_noise import MarketNoise, draw_noise
from catalyst_ml.market.simulated_probability import HOLDING_SESSIONS, win_probabilities
from catalyst_ml.market.simulated_regimes import VOLATILITY_REGIMES

SECTOR_MOMENTUM_SESSIONS = 5
ATR_PERIOD = RSI_PERIOD = 14
LARGEST_RANGE = 0.12
"""The drift counts no ATR above this share of the price: after a crash it would feed on itself."""
INDEX_SYMBOL, VOLATILITY_SYMBOL = "SPY", "VIX"
NEW_YORK = "America/New_York"
BEFORE_OPEN = pd.Timedelta(hours=8)
"""Before the close of any session, early ones too, this is before its open."""


class Relation(NamedTuple):
    """Weights of the judgement of a pattern."""

    constant: float
    volume: float
    body: float
    body_with_news: float
    stretch: float
    stretch_in_fear: float
    sector: float


RELATIONS = (
    Relation(0.2, volume=0.6, body=0.5, body_with_news=0.8, stretch=0.2, stretch_in_fear=0.35, sector=0.25),
    Relation(0.2, volume=0.6, body=0.5, body_with_news=0.3, stretch=-0.1, stretch_in_fear=0.35, sector=-0.25),
)
"""Before and after the change."""


@dataclass(frozen=True)
class SimulatorPreset:
    """Size of the planted edge: drift per session in ATR per unit of signal, and the AUC it gives the oracle.

    ``oracle_auc`` is that of ranking the symmetric labels of detected events by the true drift.
    """

    name: str
    strength: float
    oracle_auc: float


PRESETS: dict[str, SimulatorPreset] = {
    preset.name: preset
    for preset in (
        SimulatorPreset("none", 0.0, 0.50),
        SimulatorPreset("weak", 0.079, 0.56),
        SimulatorPreset("middle", 0.133, 0.60),
        SimulatorPreset("strong", 0.192, 0.65),
    )
}


@dataclass(frozen=True)
class SimulatedMarket:
    """What an import would bring, faults included, and the truth that no import knows.

    Parameters
    ----------
    bars : BARS
        Raw, with the split factors on record, as first published.
    instruments : INSTRUMENTS
    news : NEWS
    truth : frame
        One row per stock bar, sorted by symbol and ts. ``signal``: what the screen says about the next sessions,
        signed as a return; ``signal_before_change``: what the relation before the change says, all the time.
        ``score`` = strength * signal: the drift per session in ATR, for ``sessions_left`` sessions more (5 at a
        pattern's close). ``p_long``, ``p_short``: probability that the symmetric label of a bullish or
        bearish event at this close is 1. ``is_after_change``, ``volatility_regime``: the regimes of the session.
    earnings : frame
        Quarterly results: symbol, ``report_date`` (naive day in New York), ``release_time`` (pre | post),
        ``known_at``, ``eps``, ``eps_estimate``; sorted by symbol and report date.
    restatements : frame
        BARS and ``known_at``: bars as mended a session after ``bars`` first had them.
    planted : frame
        Every fault and corporate action, sorted by kind, symbol and ts: ``kind`` (names in ``simulated_faults``),
        symbol, ``ts`` and ``until`` (closes of the first and last session concerned), ``value`` (split ratio, factor of
        a spin-off, jump, dividend in dollars, error of a restated close; NaN without one).
    sessions : frame
        ``ts``, ``volatility_regime``, ``is_after_change``, sorted by ts.
    """

    bars: pd.DataFrame
    instruments: pd.DataFrame
    news: pd.DataFrame
    truth: pd.DataFrame
    earnings: pd.DataFrame
    restatements: pd.DataFrame
    planted: pd.DataFrame
    sessions: pd.DataFrame


def simulate_market(
    preset: str,
    *,
    seed: int,
    n_symbols: int = 120,
    n_sessions: int = 1_250,
    end: date = date(2025, 12, 5),
    calendar: TradingCalendar | None = None,
) -> SimulatedMarket:
    """Simulate daily bars of ``n_symbols`` stocks, one index and its volatility index.

    Parameters
    ----------
    preset : str
        Name in :data:`PRESETS`.
    seed : int
        The same seed gives the same bits; presets share the noise of a seed.
    n_symbols, n_sessions : int
        Stocks (at least 8, one per sector) and exchange sessions up to ``end`` (at least 60).
    end : date
        Last day of the history.
    calendar : TradingCalendar, optional
        New York by default.

    Returns
    -------
    SimulatedMarket

    Raises
    ------
    ConfigurationError
        If the preset is unknown or the market is too small.
    """
    if preset not in PRESETS:
        raise ConfigurationError(f"simulator preset {preset!r}: expected one of {list(PRESETS)}. Choose one.")
    exchange = calendar or TradingCalendar()
    closes = exchange.closes(exchange.sessions(exchange.start, end)[-n_sessions:])
    if n_symbols < 8 or n_sessions < 60 or len(closes) < n_sessions:
        raise ConfigurationError(
            f"simulator: {n_symbols} symbols over {n_sessions} sessions, {len(closes)} of them in the calendar "
            f"from {exchange.start} to {end}; expected at least 8 symbols and 60 sessions, all of them there."
        )
    noise = draw_noise(np.random.default_rng(seed), n_sessions=len(closes), n_symbols=n_symbols)
    paths = walk_prices(noise, PRESETS[preset].strength)
    symbols = [f"S{i:03d}" for i in range(n_symbols)]
    stocks = _stock_bars(noise, paths, symbols, closes)
    first_published, restatements = _restate(stocks, noise, symbols, closes)
    sessions = _sessions_frame(noise, closes)
    return SimulatedMarket(
        bars=_bars_frame(noise, first_published, closes),
        instruments=_instruments_frame(noise, symbols),
        news=_news_frame(noise, symbols, closes),
        truth=_truth_frame(noise, paths, symbols, sessions, PRESETS[preset].strength),
        earnings=_earnings_frame(noise, symbols, closes),
        restatements=restatements,
        planted=_planted_frame(noise, paths, restatements, symbols, closes),
        sessions=sessions,
    )


class Paths(NamedTuple):
    """Split-adjusted stock prices and the signal in force after each close, (n_sessions, n_symbols) each."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    signal: np.ndarray
    signal_before_change: np.ndarray
    sessions_left: np.ndarray


def walk_prices(noise: MarketNoise, strength: float) -> Paths:
    """Walk all stocks through the sessions; each close decides the drift of the sessions after it.

    Prices and signal of session t depend on the noise up to session t only.
    """
    n_sessions, n_symbols = noise.overnight.shape
    paths = Paths(*(np.zeros((n_sessions, n_symbols)) for _ in Paths._fields))
    screen = _Screen(noise, paths)
    last_close = noise.first_price
    signals, sessions_left = np.zeros((len(RELATIONS), n_symbols)), np.zeros(n_symbols, dtype=np.int64)
    relation = 0
    for t in range(n_sessions):
        range_share = np.minimum(screen.atr / last_close, LARGEST_RANGE)
        drift = strength * np.where(sessions_left > 0, signals[relation], 0.0) * range_share
        opened = last_close * np.exp(noise.overnight[t])
        last_close = opened * np.exp(noise.intraday[t] + drift)
        paths.open[t], paths.close[t] = opened, last_close
        paths.high[t] = _extreme(opened, last_close, noise.path_vol[t], noise.high_draw[t], 1.0)
        paths.low[t] = _extreme(opened, last_close, noise.path_vol[t], noise.low_draw[t], -1.0)
        screen.update(t)
        fresh = screen.signals(t) if t >= 2 * MIN_BARS else np.zeros_like(signals)
        is_fresh = (fresh != 0.0).any(axis=0)
        sessions_left = np.where(is_fresh, HOLDING_SESSIONS, np.maximum(sessions_left - 1, 0))
        signals = np.where(is_fresh, fresh, np.where(sessions_left > 0, signals, 0.0))
        relation = int(t >= noise.change_session)
        paths.signal[t], paths.signal_before_change[t] = signals[relation], signals[0]
        paths.sessions_left[t] = sessions_left
    return paths


def _extreme(opened: np.ndarray, closed: np.ndarray, vol: np.ndarray, draw: np.ndarray, side: float) -> np.ndarray:
    """Draw the high (side +1) or low (-1) of a log-Brownian path with known ends.

    References
    ----------
    Maximum of a Brownian bridge: P(max > m) = exp(-2 (m - a)(m - b) / vol^2), inverted at a uniform draw.
    """
    move = np.log(closed / opened)
    reach = 0.5 * (side * move + np.sqrt(move**2 - 2.0 * vol**2 * np.log(draw)))
    return opened * np.exp(side * reach)


class _Screen:
    """What a trader sees at a close: indicators carried along the walk, from the bars so far only."""

    def __init__(self, noise: MarketNoise, paths: Paths) -> None:
        self._noise, self._paths = noise, paths
        n_symbols = noise.overnight.shape[1]
        self.atr = noise.first_price * noise.typical_vol
        self._gain = np.full(n_symbols, 0.5) * self.atr
        self._loss = self._gain.copy()
        self._last_close = noise.first_price
        self._in_sector = np.eye(noise.n_sectors)[noise.sector]  # (n_symbols, n_sectors)

    def update(self, t: int) -> None:
        """Take in the bar of session ``t``."""
        high, low, close = self._paths.high[t], self._paths.low[t], self._paths.close[t]
        span = np.maximum(high, self._last_close) - np.minimum(low, self._last_close)
        move = close - self._last_close
        self.atr = self.atr + (span - self.atr) / ATR_PERIOD
        self._gain = self._gain + (np.maximum(move, 0.0) - self._gain) / RSI_PERIOD
        self._loss = self._loss + (np.maximum(-move, 0.0) - self._loss) / RSI_PERIOD
        self._last_close = close

    def signals(self, t: int) -> np.ndarray:
        """Return each relation's signal at close ``t``; 0 without a pattern or with as many of each side."""
        direction = self._pattern_direction(t)
        bar = self._candle(t)
        body = (np.abs(bar.close - bar.open) / np.maximum(bar.high - bar.low, 1e-12) - 0.5) / 0.28
        volume = np.log(np.clip(self._noise.volume_ratio[t], 0.25, 4.0)) / 0.4
        rsi = 100.0 * self._gain / (self._gain + self._loss)
        stretch = -direction * (rsi - 50.0) / 11.0
        fear = np.tanh((self._noise.vix_close[t] - 18.0) / 6.0)
        sector = direction * self._sector_momentum(t) / 0.022
        news = self._noise.news.has_news[t]
        merits = [
            weight.constant
            + weight.volume * volume
            + body * (weight.body + weight.body_with_news * news)
            + stretch * (weight.stretch + weight.stretch_in_fear * fear)
            + weight.sector * sector
            for weight in RELATIONS
        ]
        return direction * 2.0 * np.tanh(0.5 * np.array(merits))  # (n_relations, n_symbols)

    def _sector_momentum(self, t: int) -> np.ndarray:
        """Return the mean return of each stock's sector over the last sessions, of the stocks that trade."""
        earlier = t - SECTOR_MOMENTUM_SESSIONS
        is_traded = self._noise.faults.is_traded[t] & self._noise.faults.is_traded[earlier]
        momentum = np.log(self._paths.close[t] / self._paths.close[earlier])
        total, n = (np.where(is_traded, values, 0.0) @ self._in_sector for values in (momentum, np.ones_like(momentum)))
        return (total / np.maximum(n, 1.0))[self._noise.sector]

    def _candle(self, t: int) -> Candle:
        return Candle(self._paths.open[t], self._paths.high[t], self._paths.low[t], self._paths.close[t])

    def _pattern_direction(self, t: int) -> np.ndarray:
        """Return the side with more patterns at close ``t``; a lone doji turns against the last five bars."""
        bar = self._candle(t)
        seen = directional_patterns(bar, self._candle(t - 1), self._candle(t - 2), self._noise.volume_ratio[t])
        n_bull = np.sum([hit for (_, side), hit in seen.items() if side == BULLISH], axis=0)
        n_bear = np.sum([hit for (_, side), hit in seen.items() if side != BULLISH], axis=0)
        turn = -np.sign(bar.close - self._paths.close[t - DOJI_LOOKBACK])
        alone = is_doji(bar) & (n_bull + n_bear == 0)
        return np.where(alone, turn, np.sign(n_bull - n_bear))


def _stock_bars(noise: MarketNoise, paths: Paths, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
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


def _restate(
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
    late = RESTATED_VOLUME * np.abs(error) / kinds.RESTATED_CLOSE
    first.loc[row, "volume"] = np.round(at["volume"].to_numpy() * (1.0 - late))
    mended = at[[*BARS.column_names, "known_at"]].reset_index(drop=True)
    return first, mended.astype({"known_at": TIME_DTYPE})


def _bars_frame(noise: MarketNoise, stocks: pd.DataFrame, closes: pd.DatetimeIndex) -> pd.DataFrame:
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


def _instruments_frame(noise: MarketNoise, symbols: list[str]) -> pd.DataFrame:
    """Return INSTRUMENTS of the stocks, the index and the volatility index."""
    kinds = ["stock"] * len(symbols) + ["index", "volatility"]
    sectors = [*(noise.sector_names[i] for i in noise.sector), None, None]
    frame = pd.DataFrame({"symbol": [*symbols, INDEX_SYMBOL, VOLATILITY_SYMBOL], "kind": kinds, "sector": sectors})
    return frame.astype({column.name: column.dtype for column in INSTRUMENTS.columns})


def _news_frame(noise: MarketNoise, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
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


def _earnings_frame(noise: MarketNoise, symbols: list[str], closes: pd.DatetimeIndex) -> pd.DataFrame:
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


def _sessions_frame(noise: MarketNoise, closes: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the regimes of each session."""
    return pd.DataFrame(
        {
            "ts": closes,
            "volatility_regime": pd.Series(np.array(VOLATILITY_REGIMES)[noise.volatility_regime], dtype="str"),
            "is_after_change": np.arange(len(closes)) >= noise.change_session,
        }
    )


def _truth_frame(
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


def _planted_frame(
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

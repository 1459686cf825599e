"""Everything random of the simulated market: drawn at once from one seed, before any price is known.

Nothing here depends on prices or on a preset, so two markets of one seed differ by their planted edge alone.
Sizes were set against the S&P 500 stocks of 2005 to 2016: rate of each candlestick pattern, events per
stock-day, spread of the daily success rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter

SECTORS = (
    "Consumer",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Materials",
    "Technology",
    "Utilities",
)

MARKET_VOL = 0.0112
"""Median standard deviation of the market's daily return; VIX 19 at the premium below."""
VIX_PREMIUM = 1.05
OVERNIGHT_SHARE = 0.19
"""Share of a day's variance between close and open."""
SECTOR_VOL = 0.006
OWN_VOL = 0.0105
NEWS_THAT_MATTERS, NEWS_THAT_DOES_NOT = 0.012, 0.04
"""Stories per stock and session."""
NEWS_JUMP = 1.8
"""Standard deviation of the overnight jump on news that matters, in daily own volatilities."""
MISSING_BARS = 0.0004
DAY_S = 86_400


@dataclass(frozen=True)
class MarketNoise:
    """Draws of one market. Arrays are (n_sessions, n_symbols) unless said; returns are logarithmic."""

    overnight: np.ndarray
    intraday: np.ndarray
    path_vol: np.ndarray
    high_draw: np.ndarray
    low_draw: np.ndarray
    volume: np.ndarray
    volume_ratio: np.ndarray
    has_news: np.ndarray
    split_factor: np.ndarray
    is_traded: np.ndarray
    first_price: np.ndarray  # (n_symbols,)
    typical_vol: np.ndarray  # (n_symbols,)
    sector: np.ndarray  # (n_symbols,)
    vix_close: np.ndarray  # (n_sessions,)
    index_bars: dict[str, np.ndarray]  # (n_sessions,) each
    vix_bars: dict[str, np.ndarray]  # (n_sessions,) each
    stories: pd.DataFrame
    sector_names: tuple[str, ...] = SECTORS

    @property
    def n_sectors(self) -> int:
        return len(self.sector_names)


def draw_noise(rng: np.random.Generator, *, n_sessions: int, n_symbols: int) -> MarketNoise:
    """Draw the noise of a market; equal generators give equal bits."""
    shape = (n_sessions, n_symbols)
    market_vol, market_day, market_night = _market_moves(rng, n_sessions)
    own_typical = OWN_VOL * np.exp(0.3 * rng.standard_normal(n_symbols))
    own_vol = own_typical * np.exp(_persistent(rng, shape, phi=0.95, sd=0.3))
    sector = np.arange(n_symbols) % len(SECTORS)
    beta = np.clip(1.0 + 0.25 * rng.standard_normal(n_symbols), 0.3, 1.8)
    jumps, matters, other = _news_moves(rng, own_vol)
    fear = (market_vol / MARKET_VOL) ** 0.5
    sector_vol = SECTOR_VOL * fear[:, None]
    day, night = np.sqrt(1.0 - OVERNIGHT_SHARE), np.sqrt(OVERNIGHT_SHARE)
    sector_day, sector_night = (
        (scale * sector_vol * _fat_tails(rng, (n_sessions, len(SECTORS)), 6))[:, sector] for scale in (day, night)
    )
    own_day = day * own_vol * _fat_tails(rng, shape, 6)
    own_night = night * own_vol * _fat_tails(rng, shape, 4)
    intraday = market_day[:, None] * beta + sector_day + own_day
    overnight = market_night[:, None] * beta + sector_night + own_night + jumps
    day_vol = np.sqrt((beta * market_vol[:, None]) ** 2 + sector_vol**2 + own_vol**2)
    volume = _volumes(rng, np.abs(intraday + overnight) / day_vol, matters, other)
    vix_bars = _volatility_index(rng, market_vol)
    return MarketNoise(
        overnight=overnight,
        intraday=intraday,
        path_vol=day * day_vol,
        high_draw=_open_uniform(rng, shape),
        low_draw=_open_uniform(rng, shape),
        volume=volume,
        volume_ratio=_ratio_to_earlier(volume),
        has_news=matters | other,
        split_factor=_splits(rng, shape),
        is_traded=_traded(rng, shape),
        first_price=np.clip(60.0 * np.exp(0.6 * rng.standard_normal(n_symbols)), 12.0, 300.0),
        typical_vol=1.3 * np.sqrt(own_typical**2 + SECTOR_VOL**2 + (beta * MARKET_VOL) ** 2),
        sector=sector,
        vix_close=vix_bars["close"],
        index_bars=_index(rng, market_vol, market_day, market_night),
        vix_bars=vix_bars,
        stories=_stories(rng, matters, other, jumps),
    )


def _market_moves(rng: np.random.Generator, n_sessions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the market's volatility, intraday and overnight returns; falls raise the next volatility."""
    shock = _fat_tails(rng, (n_sessions,), 6)
    push = 0.055 * rng.standard_normal(n_sessions)
    push[1:] -= 0.06 * shock[:-1]
    vol = MARKET_VOL * np.exp(lfilter([1.0], [1.0, -0.975], push))
    intraday = np.sqrt(1.0 - OVERNIGHT_SHARE) * vol * shock + 0.0002
    overnight = np.sqrt(OVERNIGHT_SHARE) * vol * _fat_tails(rng, (n_sessions,), 5)
    return vol, intraday, overnight


def _persistent(rng: np.random.Generator, shape: tuple[int, ...], *, phi: float, sd: float) -> np.ndarray:
    """Return an AR(1) along the sessions, stationary from the first, of standard deviation ``sd``."""
    steps = sd * np.sqrt(1.0 - phi**2) * rng.standard_normal(shape)
    steps[0] /= np.sqrt(1.0 - phi**2)
    return lfilter([1.0], [1.0, -phi], steps, axis=0)


def _fat_tails(rng: np.random.Generator, shape: tuple[int, ...], freedom: int) -> np.ndarray:
    """Return Student draws of unit variance, cut at 8 so that no single draw makes a legend."""
    return np.clip(rng.standard_t(freedom, shape) * np.sqrt((freedom - 2.0) / freedom), -8.0, 8.0)


def _open_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return uniform draws from (0, 1], whose logarithm exists."""
    return 1.0 - rng.random(shape)


def _news_moves(rng: np.random.Generator, own_vol: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return overnight jumps, where news that matters came, and where other news came."""
    matters = rng.random(own_vol.shape) < NEWS_THAT_MATTERS
    other = rng.random(own_vol.shape) < NEWS_THAT_DOES_NOT
    jumps = np.where(matters, NEWS_JUMP * own_vol * rng.standard_normal(own_vol.shape), 0.0)
    return jumps, matters, other


def _volumes(rng: np.random.Generator, size_of_move: np.ndarray, matters: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return share volumes that swell with the day's move and with news."""
    n_symbols = size_of_move.shape[1]
    level = np.log(2e6) + 0.8 * rng.standard_normal(n_symbols)
    slow = _persistent(rng, size_of_move.shape, phi=0.9, sd=0.3)
    surge = 0.25 * np.minimum(size_of_move, 5.0) + 0.35 * matters + 0.05 * other
    return np.round(np.exp(level + slow + surge + 0.25 * rng.standard_normal(size_of_move.shape)))


def _ratio_to_earlier(volume: np.ndarray, window: int = 20) -> np.ndarray:
    """Return volume over the mean of the ``window`` sessions before; NaN before they exist."""
    ratio = np.full(volume.shape, np.nan)
    means = np.lib.stride_tricks.sliding_window_view(volume, window, axis=0).mean(axis=-1)
    ratio[window:] = volume[window:] / means[:-1]
    return ratio


def _splits(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return split factors: one stock in twenty splits once, at least two do, the last of them in reverse."""
    n_sessions, n_symbols = shape
    factor = np.ones(shape)
    n_splits = max(2, n_symbols // 20)
    who = rng.choice(n_symbols, n_splits, replace=False)
    when = rng.integers(n_sessions // 10, n_sessions - 5, n_splits)
    factor[when, who] = np.append(rng.choice([2.0, 3.0, 1.5], n_splits - 1), 0.25)
    return factor


def _traded(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return which bars exist: a few are missing, and the last stock is new."""
    n_sessions, _ = shape
    is_traded = rng.random(shape) >= MISSING_BARS
    is_traded[: n_sessions - min(90, n_sessions // 2), -1] = False
    return is_traded


def _index(
    rng: np.random.Generator, vol: np.ndarray, intraday: np.ndarray, overnight: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the bars of the index fund: the market factor itself."""
    close = 400.0 * np.exp(np.cumsum(intraday + overnight))
    opened = close * np.exp(-intraday)
    up, down = (0.5 * vol * np.abs(rng.standard_normal(len(vol))) for _ in range(2))
    moved = np.abs(intraday + overnight) / vol
    volume = 6e7 * np.exp(0.25 * moved + 0.2 * rng.standard_normal(len(vol)))
    return {
        "open": np.round(opened, 2),
        "high": np.round(np.maximum(opened, close) * np.exp(up), 2),
        "low": np.round(np.minimum(opened, close) * np.exp(-down), 2),
        "close": np.round(close, 2),
        "volume": np.round(volume),
        "split_factor": np.ones(len(vol)),
    }


def _volatility_index(rng: np.random.Generator, market_vol: np.ndarray) -> dict[str, np.ndarray]:
    """Return bars of an index of expected volatility, in percent a year, from each close's volatility."""
    n = len(market_vol)
    close = 100.0 * np.sqrt(252.0) * VIX_PREMIUM * market_vol * np.exp(0.02 * rng.standard_normal(n))
    opened = np.append(close[0], close[:-1]) * np.exp(0.02 * rng.standard_normal(n))
    up, down = (0.03 * np.abs(rng.standard_normal(n)) for _ in range(2))
    return {
        "open": np.round(opened, 2),
        "high": np.round(np.maximum(opened, close) * np.exp(up), 2),
        "low": np.round(np.minimum(opened, close) * np.exp(-down), 2),
        "close": np.round(close, 2),
        "volume": np.zeros(n),
        "split_factor": np.ones(n),
    }


def _stories(rng: np.random.Generator, matters: np.ndarray, other: np.ndarray, jumps: np.ndarray) -> pd.DataFrame:
    """Return the stories behind the news: session and symbol as positions, type, sentiment, score, time."""
    return pd.concat([_weighty_stories(rng, matters, jumps), _idle_stories(rng, other)], ignore_index=True)


def _weighty_stories(rng: np.random.Generator, matters: np.ndarray, jumps: np.ndarray) -> pd.DataFrame:
    session, symbol = np.nonzero(matters)
    n = len(session)
    is_read_right = rng.random(n) < 0.8
    is_positive = (jumps[session, symbol] > 0.0) == is_read_right
    kinds = rng.choice(["earnings", "guidance", "merger", "fda_approval", "analyst"], n, p=[0.5, 0.2, 0.1, 0.05, 0.15])
    return pd.DataFrame(
        {
            "session": session,
            "symbol": symbol,
            "catalyst_type": kinds.astype(object),
            "sentiment": np.where(is_positive, "positive", "negative").astype(object),
            "score": np.round(rng.uniform(55.0, 95.0, n), 1),
            # Before that session's open, 6.5 hours ahead of a full day's close.
            "seconds_before_close": rng.integers(7 * 3_600, DAY_S - 3_600, n),
        }
    )


def _idle_stories(rng: np.random.Generator, other: np.ndarray) -> pd.DataFrame:
    session, symbol = np.nonzero(other)
    n = len(session)
    kinds = rng.choice(np.array(["analyst", "product", "legal", None], dtype=object), n)
    return pd.DataFrame(
        {
            "session": session,
            "symbol": symbol,
            "catalyst_type": kinds,
            "sentiment": rng.choice(["neutral", "positive", "negative"], n, p=[0.6, 0.2, 0.2]).astype(object),
            "score": np.round(rng.uniform(10.0, 60.0, n), 1),
            "seconds_before_close": rng.integers(600, DAY_S - 3_600, n),
        }
    )

"""Everything random of the simulated market: drawn at once from one seed, before any price is known.

Nothing here depends on prices or on a preset, so two markets of one seed differ by their planted edge alone.
Sizes were set against the S&P 500 stocks of 2005 to 2016: docs/benchmarks/simulator.md shows both side by side.
Each subject draws from a stream of its own, so that a draw more in one moves nothing in the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtr

from catalyst_ml.market.simulated_faults import Faults, draw_faults
from catalyst_ml.market.simulated_news import NewsDraws, draw_news
from catalyst_ml.market.simulated_regimes import (
    MARKET_VOL,
    VIX_PREMIUM,
    MarketMoves,
    fat_tails,
    market_moves,
    persistent,
    sector_turmoil,
)

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

SUBJECTS = ("market", "own", "sector", "news", "volume", "path", "index", "rest", "faults")
"""What has a random stream of its own."""
OVERNIGHT_SHARE, MARKET_OVERNIGHT_SHARE = 0.18, 0.26
"""Share of a day's variance between close and open, without news: of sectors and stocks, of the market."""
SECTOR_VOL = 0.0042
OWN_VOL = 0.0096
SECTOR_FEAR, OWN_FEAR = 0.5, 0.35
"""Powers of the market's volatility with which the other two rise: less than it, so stress raises correlations."""
WICKS, WICK_SPREAD = 1.08, 0.25
"""Volatility of the path within a day over that of its ends, and how its logarithm varies: days swing more than they
end up, and unevenly, or there would be too few hammers."""
COMMON_WICKS = 0.6
"""Share of a wick's draw that all stocks of a day have in common."""
NEWS_UNREST, NEWS_MEMORY = 0.35, 0.85
"""Rise of the log volatility after news that matters, and how much of it is left a session later."""
FALL_UNREST, FALL_MEMORY = 0.035, 0.95
"""The same after a fall of one standard deviation."""
MOST_UNREST = 1.2
"""No stock is ever wilder than this, in log volatilities: unbounded ones go to zero and beyond the cent."""
OUTSIZE_GAP, GAP_UNREST, MOST_GAP_UNREST = 3.0, 0.8, 0.12
"""A gap beyond this many daily volatilities leaves an unsettled day: volatility of its path per unit of the gap's
excess, and the most of it. Real gaps beyond 14 % range over 58 % of the gap afterwards (docs/benchmarks/quality.md)."""
MOVE_VOLUME, OUTSIZE_VOLUME, OUTSIZE_MOVE, LARGEST_MOVE = 0.23, 0.2, 5.0, 14.0
"""Rise of the log volume per daily volatility of the session's move: up to an outsize one, and from there to the
largest that counts. Real gaps beyond 14 % turn over 6 times the usual dollars."""
DIVIDEND_PAYERS, DIVIDEND_SESSIONS = 0.5, 63
CHANGE_FROM, CHANGE_TO = 0.33, 0.36
"""Where in the history the planted relation changes: drawn between these shares of the sessions. In a default market
(1,250 sessions, 730 days of training before the burn-in of the record) every fit of the record begins after it, so that
the gate's power is that of the planted edge; an earlier ``as_of`` has the change inside its windows."""


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
    dividend: np.ndarray  # fall on the ex-date, logarithmic; already in ``overnight``
    first_price: np.ndarray  # (n_symbols,)
    typical_vol: np.ndarray  # (n_symbols,)
    sector: np.ndarray  # (n_symbols,)
    volatility_regime: np.ndarray  # (n_sessions,), positions in VOLATILITY_REGIMES
    change_session: int  # first session whose signal follows the second relation
    vix_close: np.ndarray  # (n_sessions,)
    index_bars: dict[str, np.ndarray]  # (n_sessions,) each
    vix_bars: dict[str, np.ndarray]  # (n_sessions,) each
    news: NewsDraws
    faults: Faults
    sector_names: tuple[str, ...] = SECTORS

    @property
    def n_sectors(self) -> int:
        return len(self.sector_names)


def draw_noise(rng: np.random.Generator, *, n_sessions: int, n_symbols: int) -> MarketNoise:
    """Draw the noise of a market; equal generators give equal bits."""
    shape = (n_sessions, n_symbols)
    streams = dict(zip(SUBJECTS, rng.spawn(len(SUBJECTS)), strict=True))
    market = market_moves(streams["market"], n_sessions, overnight_share=MARKET_OVERNIGHT_SHARE)
    news = draw_news(streams["news"], n_sessions=n_sessions, n_symbols=n_symbols)
    faults = draw_faults(streams["faults"], n_sessions=n_sessions, n_symbols=n_symbols)
    rest = streams["rest"]
    sector = np.arange(n_symbols) % len(SECTORS)
    beta = np.clip(1.0 + 0.3 * rest.standard_normal(n_symbols), 0.3, 1.9)
    own_shock = fat_tails(streams["own"], shape, 4)
    own_typical, own_vol = _own_volatility(streams["own"], market, own_shock, news)
    sector_vol = _sector_volatility(streams["sector"], market)
    dividend, carry = _dividends(rest, shape)
    moves = _moves(streams, market, beta, own_vol * own_shock, own_vol, sector_vol, sector)
    overnight = moves[1] + news.jump * own_vol + faults.final_jump + carry - dividend
    intraday = moves[0]
    own_sector_vol = sector_vol[:, sector]
    total_vol = np.sqrt((beta * market.vol[:, None]) ** 2 + own_sector_vol**2 + own_vol**2)
    volume = _volumes(streams["volume"], np.abs(intraday + overnight) / total_vol, news)
    vix_bars = _volatility_index(streams["index"], market.vol)
    return MarketNoise(
        overnight=overnight,
        intraday=intraday,
        path_vol=_path_volatility(overnight, total_vol),
        high_draw=_wick_draws(streams["path"], shape),
        low_draw=_wick_draws(streams["path"], shape),
        volume=volume,
        volume_ratio=_ratio_to_earlier(volume),
        dividend=dividend,
        first_price=np.clip(60.0 * np.exp(0.6 * rest.standard_normal(n_symbols)), 12.0, 300.0),
        typical_vol=1.3 * np.sqrt(own_typical**2 + SECTOR_VOL**2 + (beta * MARKET_VOL) ** 2),
        sector=sector,
        volatility_regime=market.regime,
        change_session=int(rest.integers(round(CHANGE_FROM * n_sessions), round(CHANGE_TO * n_sessions) + 1)),
        vix_close=vix_bars["close"],
        index_bars=_index(streams["index"], market),
        vix_bars=vix_bars,
        news=news,
        faults=faults,
    )


def _own_volatility(
    rng: np.random.Generator, market: MarketMoves, shock: np.ndarray, news: NewsDraws
) -> tuple[np.ndarray, np.ndarray]:
    """Return each stock's typical own volatility and that of each session: slow, quick, stirred by news and falls."""
    shape = shock.shape
    typical = OWN_VOL * np.exp(0.3 * rng.standard_normal(shape[1]))
    unrest = np.zeros(shape)
    unrest[1:] = lfilter([NEWS_UNREST], [1.0, -NEWS_MEMORY], news.is_weighty[:-1].astype(np.float64), axis=0)
    unrest[1:] -= lfilter([FALL_UNREST], [1.0, -FALL_MEMORY], shock[:-1], axis=0)
    log_vol = persistent(rng, shape, phi=0.985, sd=0.35) + persistent(rng, shape, phi=0.7, sd=0.22) + unrest
    fear = (market.vol / MARKET_VOL) ** OWN_FEAR
    return typical, typical * fear[:, None] * np.exp(np.minimum(log_vol, MOST_UNREST))


def _sector_volatility(rng: np.random.Generator, market: MarketMoves) -> np.ndarray:
    """Return the volatility of each sector's factor.  # (n_sessions, n_sectors)"""
    fear = (market.vol / MARKET_VOL) ** SECTOR_FEAR
    return SECTOR_VOL * fear[:, None] * sector_turmoil(rng, len(fear), len(SECTORS))


def _moves(
    streams: dict[str, np.random.Generator],
    market: MarketMoves,
    beta: np.ndarray,
    own_move: np.ndarray,
    own_vol: np.ndarray,
    sector_vol: np.ndarray,
    sector: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stocks' returns by day and by night, without news and corporate actions."""
    day, night = np.sqrt(1.0 - OVERNIGHT_SHARE), np.sqrt(OVERNIGHT_SHARE)
    sector_day, sector_night = (
        (scale * sector_vol * fat_tails(streams["sector"], sector_vol.shape, 6))[:, sector] for scale in (day, night)
    )
    own_day = day * own_move
    own_night = night * own_vol * fat_tails(streams["own"], own_vol.shape, 4)
    intraday = market.intraday[:, None] * beta + sector_day + own_day
    return intraday, market.overnight[:, None] * beta + sector_night + own_night


def _path_volatility(overnight: np.ndarray, total_vol: np.ndarray) -> np.ndarray:
    """Return the volatility of the path between open and close; a gap far out of the usual leaves the day unsettled."""
    excess = np.maximum(np.abs(overnight) - OUTSIZE_GAP * total_vol, 0.0)
    unrest = np.minimum(GAP_UNREST * excess, MOST_GAP_UNREST)
    return np.hypot(WICKS * np.sqrt(1.0 - OVERNIGHT_SHARE) * total_vol, unrest)


def _dividends(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the fall on each ex-date, and the carry of a session that makes up for it over a quarter."""
    n_sessions, n_symbols = shape
    is_payer = rng.random(n_symbols) < DIVIDEND_PAYERS
    rate = np.where(is_payer, rng.uniform(0.003, 0.009, n_symbols), 0.0)
    first = rng.integers(0, DIVIDEND_SESSIONS, n_symbols)
    is_ex_date = (np.arange(n_sessions)[:, None] - first) % DIVIDEND_SESSIONS == 0
    return np.where(is_ex_date, rate, 0.0), np.broadcast_to(rate / DIVIDEND_SESSIONS, shape)


def _wick_draws(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return draws from (0, 1], the small ones for long wicks: a market that dips within the day dips for all."""
    common = np.sqrt(COMMON_WICKS) * rng.standard_normal((shape[0], 1))
    uniform = ndtr(common + np.sqrt(1.0 - COMMON_WICKS) * rng.standard_normal(shape))
    return np.maximum(uniform ** np.exp(2.0 * WICK_SPREAD * rng.standard_normal(shape)), np.finfo(np.float64).tiny)


def _volumes(rng: np.random.Generator, size_of_move: np.ndarray, news: NewsDraws) -> np.ndarray:
    """Return share volumes that swell with the day's move and with news."""
    n_symbols = size_of_move.shape[1]
    level = np.log(2e6) + 0.8 * rng.standard_normal(n_symbols)
    slow = persistent(rng, size_of_move.shape, phi=0.9, sd=0.3)
    outsize = np.clip(size_of_move, OUTSIZE_MOVE, LARGEST_MOVE) - OUTSIZE_MOVE
    by_move = MOVE_VOLUME * np.minimum(size_of_move, OUTSIZE_MOVE) + OUTSIZE_VOLUME * outsize
    surge = by_move + 0.35 * news.is_weighty + 0.05 * news.is_idle
    return np.round(np.exp(level + slow + surge + 0.25 * rng.standard_normal(size_of_move.shape)))


def _ratio_to_earlier(volume: np.ndarray, window: int = 20) -> np.ndarray:
    """Return volume over the mean of the ``window`` sessions before; NaN before they exist."""
    ratio = np.full(volume.shape, np.nan)
    means = np.lib.stride_tricks.sliding_window_view(volume, window, axis=0).mean(axis=-1)
    ratio[window:] = volume[window:] / means[:-1]
    return ratio


def _index(rng: np.random.Generator, market: MarketMoves) -> dict[str, np.ndarray]:
    """Return the bars of the index fund: the market factor itself."""
    vol, intraday, overnight, _ = market
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

"""A simulated stock market with known truth: real noise, and an edge of chosen size that a model can find.

Market, sector and own moves with volatility regimes and fat tails, volume surges, earnings and other news (some of it
matters), corporate actions, faulty data, on real exchange sessions. The noise depends on the seed alone,
not on the preset: presets differ by the drift that follows a pattern, and by nothing else.

The walk of the prices and the planted edge are in ``simulated_walk``, the noise in ``simulated_noise``, what goes
wrong in ``simulated_faults``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market import simulated_tables as tables
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulated_noise import draw_noise
from catalyst_ml.market.simulated_walk import RELATIONS, Relation, walk_prices


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
        SimulatorPreset("middle", 0.136, 0.60),
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
    relations: tuple[Relation, Relation] = RELATIONS,
    turns_at: date | None = None,
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
    relations : pair of Relation
        How a pattern is judged before and after the change; the presets' by default. Others make markets with another
        edge, of which ``oracle_auc`` does not speak.
    turns_at : date, optional
        From the first session on or after this day the planted edge turns round: what spoke for a move speaks against
        it, and a model of the time before loses. At least half of the history must lie before it.

    Returns
    -------
    SimulatedMarket

    Raises
    ------
    ConfigurationError
        If the preset is unknown, the market is too small, or the edge would turn outside its second half.
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
    turn = None if turns_at is None else int(np.searchsorted(closes.tz_localize(None), np.datetime64(turns_at)))
    if turn is not None and not len(closes) // 2 <= turn < len(closes):
        raise ConfigurationError(
            f"simulator: the edge turns at {turns_at}, expected a day of the second half of the history, from "
            f"{closes[len(closes) // 2]:%Y-%m-%d} to {closes[-1]:%Y-%m-%d}. Choose a later day, or more sessions."
        )
    paths = walk_prices(noise, PRESETS[preset].strength, relations, turn_session=turn)
    symbols = [f"S{i:03d}" for i in range(n_symbols)]
    stocks = tables.stock_bars(noise, paths, symbols, closes)
    first_published, restatements = tables.restate(stocks, noise, symbols, closes)
    sessions = tables.sessions_frame(noise, closes)
    return SimulatedMarket(
        bars=tables.bars_frame(noise, first_published, closes),
        instruments=tables.instruments_frame(noise, symbols),
        news=tables.news_frame(noise, symbols, closes),
        truth=tables.truth_frame(noise, paths, symbols, sessions, PRESETS[preset].strength),
        earnings=tables.earnings_frame(noise, symbols, closes),
        restatements=restatements,
        planted=tables.planted_frame(noise, paths, restatements, symbols, closes),
        sessions=sessions,
    )

"""Stories of the simulated market: earnings on a schedule, surprises, and the many that move nothing.

A story that matters comes with an overnight jump; whether its sentiment tells the jump's side right is a matter of
luck. Nothing in a story foretells a later return.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

QUARTER_SESSIONS = 63
SEASON_SESSIONS = 30
"""Reports of a quarter come within this many sessions, each company at its own place in them."""
SURPRISE_NEWS, IDLE_NEWS = 0.006, 0.035
"""Stories per stock and session: unscheduled ones that matter, and those that do not."""
EARNINGS_JUMP, SURPRISE_JUMP = 3.0, 2.5
"""Standard deviation of the overnight jump, in daily own volatilities."""
LATE_SHARE = 0.05
"""Share of the unscheduled stories that matter and are published only after the jump."""
READ_RIGHT = 0.8
"""How often a story's sentiment has the side of its jump."""
DAY_S = 86_400
PRE_OPEN_S = (7 * 3_600 + 1_800, 9 * 3_600)
"""Seconds before a full day's close: 7:00 to 8:30 in New York."""
AFTER_CLOSE_S = (DAY_S - 3_600, DAY_S - 300)
"""Seconds before the *next* day's close: 16:05 to 17:00 in New York."""


@dataclass(frozen=True)
class NewsDraws:
    """News of a market. Arrays are (n_sessions, n_symbols).

    ``jump`` is the overnight return into a session, in daily own volatilities. ``has_news`` says whether a story
    was published in the 24 hours up to a session's close, ``is_weighty`` whether one that moved the price was due.
    ``stories`` and ``earnings`` hold session and symbol as positions.
    """

    jump: np.ndarray
    has_news: np.ndarray
    is_weighty: np.ndarray
    is_idle: np.ndarray
    stories: pd.DataFrame
    earnings: pd.DataFrame


def draw_news(rng: np.random.Generator, *, n_sessions: int, n_symbols: int) -> NewsDraws:
    """Draw the news of a market; it depends on nothing else in it."""
    shape = (n_sessions, n_symbols)
    is_report = _report_days(rng, shape)
    is_surprise = (rng.random(shape) < SURPRISE_NEWS) & ~is_report
    is_idle = rng.random(shape) < IDLE_NEWS
    size = np.where(is_report, EARNINGS_JUMP, np.where(is_surprise, SURPRISE_JUMP, 0.0))
    jump = size * np.clip(rng.standard_normal(shape), -3.0, 3.0)
    is_late = is_surprise & (rng.random(shape) < LATE_SHARE)
    is_late[-1] = False
    earnings, reports = _earnings(rng, is_report, jump)
    stories = pd.concat([reports, _surprises(rng, is_surprise, is_late, jump), _idle(rng, is_idle)], ignore_index=True)
    has_news = np.zeros(shape, dtype=bool)
    has_news[stories["session"], stories["symbol"]] = True
    return NewsDraws(jump, has_news, is_report | is_surprise, is_idle, stories, earnings)


def _report_days(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return where quarterly results came: a season each quarter, a company's place in it nearly the same."""
    n_sessions, n_symbols = shape
    place = int(rng.integers(QUARTER_SESSIONS)) + rng.integers(0, SEASON_SESSIONS, n_symbols)
    n_quarters = n_sessions // QUARTER_SESSIONS + 2
    days = (
        place + QUARTER_SESSIONS * np.arange(-1, n_quarters - 1)[:, None] + rng.integers(-2, 3, (n_quarters, n_symbols))
    )
    is_report = np.zeros(shape, dtype=bool)
    quarter, symbol = np.nonzero((days >= 0) & (days < n_sessions))
    is_report[days[quarter, symbol], symbol] = True
    return is_report


def _earnings(rng: np.random.Generator, is_report: np.ndarray, jump: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the results in figures, and the stories about them."""
    session, symbol = np.nonzero(is_report)
    n = len(session)
    moved = jump[session, symbol]
    is_post = rng.random(n) < 0.5
    ahead = np.where(is_post, rng.integers(*AFTER_CLOSE_S, n), rng.integers(*PRE_OPEN_S, n))
    size = np.exp(0.5 * rng.standard_normal(is_report.shape[1]))[symbol]
    estimate = np.round(size, 2)
    surprise = 0.08 * (0.6 * moved / EARNINGS_JUMP + 0.8 * rng.standard_normal(n))
    is_positive = (moved > 0.0) == (rng.random(n) < READ_RIGHT)
    where = {"session": session, "symbol": symbol}
    earnings = pd.DataFrame(
        where | {"seconds_before_close": ahead, "eps": np.round(size * (1.0 + surprise), 2), "eps_estimate": estimate}
    )
    stories = pd.DataFrame(
        where
        | {
            "catalyst_type": np.full(n, "earnings", dtype=object),
            "sentiment": np.where(is_positive, "positive", "negative").astype(object),
            "score": np.round(rng.uniform(60.0, 95.0, n), 1),
            "seconds_before_close": ahead,
            "is_late": np.zeros(n, dtype=bool),
        }
    )
    return earnings, stories


def _surprises(
    rng: np.random.Generator, is_surprise: np.ndarray, is_late: np.ndarray, jump: np.ndarray
) -> pd.DataFrame:
    session, symbol = np.nonzero(is_surprise)
    n = len(session)
    late = is_late[session, symbol]
    is_positive = (jump[session, symbol] > 0.0) == (rng.random(n) < READ_RIGHT)
    kinds = rng.choice(["guidance", "merger", "fda_approval", "analyst"], n, p=[0.4, 0.2, 0.1, 0.3])
    # On time: before that session's open. Late: in the 24 hours up to the next session's close.
    ahead = np.where(late, rng.integers(600, DAY_S - 3_600, n), rng.integers(7 * 3_600, DAY_S - 3_600, n))
    return pd.DataFrame(
        {
            "session": session + late,
            "symbol": symbol,
            "catalyst_type": kinds.astype(object),
            "sentiment": np.where(is_positive, "positive", "negative").astype(object),
            "score": np.round(rng.uniform(55.0, 95.0, n), 1),
            "seconds_before_close": ahead,
            "is_late": late,
        }
    )


def _idle(rng: np.random.Generator, is_idle: np.ndarray) -> pd.DataFrame:
    session, symbol = np.nonzero(is_idle)
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
            "is_late": np.zeros(n, dtype=bool),
        }
    )

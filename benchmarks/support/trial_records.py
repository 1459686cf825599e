"""Simulated years of a trial: signals of both arms, and what their trades earned session by session.

The noise has the size and the dependence of the simulated market (which has those of real bars): common moves that make
the share of successes of a day vary by 0.12 to 0.15, moving volatility, fat tails, trades of up to five sessions whose
outcomes overlap, arms whose scores share a part and lean to one side on some days, a level of the model's scores that
shifts with every weekly fit. Prices are martingales but for the planted edge: without one, no choice of trades earns
anything on average. Trades end at the first close beyond one ATR, at that close.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record import SESSION_DTYPE
from catalyst_ml.frames import TIME_DTYPE

HORIZON = 5
EVENTS_A_DAY, BUSY_DAYS = 60.0, 0.4
COMMON_SHARE, DAILY_MOVE_ATR = 0.30, 0.62
SHARED_SCORE = 0.35
LASTING_LEAN, LEAN_MEMORY = 0.45, 0.85
"""Share of an arm's leaning to one side that lasts, and how much of that is left a session later."""
COST = 10e-4
BURN_IN_SESSIONS = 5
"""Sessions before the trial proper that lend the first week its thresholds."""
_SYMBOLS = np.array([f"S{i:04d}" for i in range(1_000)], dtype=object)


@dataclass(frozen=True)
class TrialRecord:
    """What ``run_trial`` takes, and the settled table that other tests would use.

    ``events``: signals with ``net_return``; ``sessions``: all sessions, the first of them `BURN_IN_SESSIONS`.
    """

    events: pd.DataFrame
    marks: pd.DataFrame
    health: pd.DataFrame
    sessions: pd.DatetimeIndex

    @property
    def as_of(self) -> pd.Timestamp:
        """Close of the last session."""
        return closes(self.sessions[-1:])[0]


def closes(sessions: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Closes in UTC; simulated sessions all end at 21:00."""
    return (sessions + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("us")


def simulate_record(
    rng: np.random.Generator, *, n_sessions: int, edge: np.ndarray | float = 0.0, follow: float = 0.0
) -> TrialRecord:
    """Simulate ``n_sessions`` after the burn-in.

    Parameters
    ----------
    edge : float or array (n_sessions,)
        Drift per session, in ATR, of an event whose score the model puts one sd above its mean, in the direction of the
        event; negative for a model that prefers the worse ones. By session of the decision.
    follow : float
        Share of what an open trade has earned so far that it earns again in the next session. In simulated markets it
        is 0.03 to 0.05, because wicks touch barriers: near its target a trade is sold above the close on average. On
        real daily bars it is nothing (docs/benchmarks/trial-validity.md).
    """
    n_all = n_sessions + BURN_IN_SESSIONS
    sessions = pd.bdate_range("2021-01-04", periods=n_all).as_unit("us")
    edge = np.concatenate([np.zeros(BURN_IN_SESSIONS), np.broadcast_to(np.asarray(edge, dtype="float64"), n_sessions)])
    busy = np.exp(BUSY_DAYS * rng.standard_normal(n_all) - BUSY_DAYS**2 / 2)
    n_events = np.clip(rng.poisson(EVENTS_A_DAY * busy), 5, 400)
    day = np.repeat(np.arange(n_all), n_events)
    n = len(day)
    number = np.arange(n) - np.repeat(np.cumsum(n_events) - n_events, n_events)
    bullish = 1.0 / (1.0 + np.exp(-1.2 * rng.standard_normal(n_all)))
    direction = np.where(rng.random(n) < bullish[day], 1, -1)
    shared = np.sqrt(SHARED_SCORE) * rng.standard_normal(n)
    own = np.sqrt(1.0 - SHARED_SCORE)
    lean = 0.5 * (
        np.sqrt(LASTING_LEAN) * _persistent(rng, (2, n_all))
        + np.sqrt(1 - LASTING_LEAN) * rng.standard_normal((2, n_all))
    )
    z_ml = shared + own * rng.standard_normal(n)
    z_rules = shared + own * rng.standard_normal(n)
    week = day // 5
    level = 0.15 * rng.standard_normal(week[-1] + 1)
    p_ml = 1.0 / (1.0 + np.exp(-(0.25 * (z_ml + lean[0][day] * direction) + level[week])))
    p_rules = 1.0 / (1.0 + np.exp(-0.15 * (z_rules + lean[1][day] * direction)))
    atr = 0.02 * np.exp(0.3 * rng.standard_normal(n))
    gross, held = _walk(rng, day, n_all, edge[day] * z_ml, direction, follow)
    gross = gross * atr[:, None]
    total = gross.sum(axis=1)
    net_return = total - COST
    over = day + np.where(held < HORIZON, held, HORIZON)
    ts, close = (
        closes(sessions),
        closes(sessions.union(pd.bdate_range(sessions[-1], periods=HORIZON + 1)).as_unit("us")),
    )
    is_over = over < n_all
    events = pd.DataFrame(
        {
            "symbol": pd.Series(_SYMBOLS[number], dtype="str"),
            "ts": ts[day],
            "direction": direction.astype("int8"),
            "session": sessions[day],
            "fold": _named("W", week),
            "version_id": _named("v", week // 4),
            "p_ml": p_ml,
            "p_rules": p_rules,
            "y": np.where(is_over, net_return > 0.0, np.nan),
            "net_return": np.where(is_over, net_return, np.nan),
            "label_end": close[over].where(is_over),
        }
    ).astype({"session": SESSION_DTYPE})  # fmt: skip
    return TrialRecord(events, _marks(events, day, gross, held, sessions), _health(rng, n_events, sessions), sessions)


def _persistent(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Standard normal rows that remember."""
    fresh = rng.standard_normal(shape)
    values = fresh.copy()
    for t in range(1, shape[1]):
        values[:, t] = LEAN_MEMORY * values[:, t - 1] + np.sqrt(1 - LEAN_MEMORY**2) * fresh[:, t]
    return values


def _named(letter: str, number: np.ndarray) -> pd.Series:
    names = np.array([f"{letter}{k:04d}" for k in range(number[-1] + 1)], dtype=object)
    return pd.Series(names[number], dtype="str")


def _walk(
    rng: np.random.Generator, day: np.ndarray, n_all: int, drift: np.ndarray, direction: np.ndarray, follow: float
) -> tuple[np.ndarray, np.ndarray]:
    """Earnings of each event's trade in each of its sessions, in ATR (n_events, HORIZON), and how many it was held."""
    length = n_all + HORIZON
    log_vol = np.empty(length)
    log_vol[0] = 0.3 * rng.standard_normal()
    for t in range(1, length):
        log_vol[t] = 0.95 * log_vol[t - 1] + 0.3 * np.sqrt(1 - 0.95**2) * rng.standard_normal()
    vol = DAILY_MOVE_ATR * np.exp(log_vol)
    market = vol * np.sqrt(COMMON_SHARE) * rng.standard_t(5, length) / np.sqrt(5 / 3)
    when = day[:, None] + 1 + np.arange(HORIZON)
    own = rng.standard_t(4, when.shape) / np.sqrt(2.0) * np.sqrt(1.0 - COMMON_SHARE)
    moves = direction[:, None] * market[when] + vol[when] * own + drift[:, None]
    path = np.cumsum(moves, axis=1)
    for step in range(1, HORIZON):
        moves[:, step] += follow * path[:, step - 1]
        path[:, step] = path[:, step - 1] + moves[:, step]
    touched = np.abs(path) >= 1.0
    held = np.where(touched.any(axis=1), touched.argmax(axis=1) + 1, HORIZON)
    return np.where(np.arange(HORIZON) < held[:, None], moves, 0.0), held


def _marks(
    events: pd.DataFrame, day: np.ndarray, gross: np.ndarray, held: np.ndarray, sessions: pd.DatetimeIndex
) -> pd.DataFrame:
    of_event = np.repeat(np.arange(len(day)), held)
    step = np.arange(len(of_event)) - np.repeat(np.cumsum(held) - held, held)
    when = day[of_event] + 1 + step
    inside = when < len(sessions)
    of_event, step, when = of_event[inside], step[inside], when[inside]
    earned, cost = gross[of_event, step], np.where(step == 0, COST, 0.0)
    return (
        events[["symbol", "ts", "direction"]]
        .take(of_event)
        .reset_index(drop=True)
        .assign(session=sessions[when], mark_ts=closes(sessions)[when], gross=earned, cost=cost, net=earned - cost)
        .astype({"session": SESSION_DTYPE, "mark_ts": TIME_DTYPE})
    )


def _health(rng: np.random.Generator, n_events: np.ndarray, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Novel events: one in a hundred on average, in flocks; a model fitted every week."""
    rate = np.minimum(0.01 * np.exp(1.2 * rng.standard_normal(len(sessions)) - 0.72), 1.0)
    return pd.DataFrame(
        {
            "session": sessions,
            "n_novel": rng.binomial(n_events, rate).astype("float64"),
            "n_novel_of": n_events.astype("float64"),
            "model_age_days": 2.0 + np.arange(len(sessions)) % 5,
        }
    ).astype({"session": SESSION_DTYPE})

"""Shadow records with known truth: days that move together, labels that overlap, arms of chosen skill."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record import SESSION_DTYPE
from catalyst_ml.frames import TIME_DTYPE

LABEL_SESSIONS = 5
DAILY_LOGIT_SD = 0.55
"""Makes the daily success rate vary with a standard deviation of about 0.13 around one half."""


def make_record(
    *,
    sessions: int = 65,
    events_a_day: int = 100,
    seed: int = 0,
    champion_skill: float = 0.0,
    challenger_skill: float = 0.0,
    guess: float = 0.0,
    champion_guess: float = 0.0,
) -> pd.DataFrame:
    """Build a record whose true log-odds are a day shock plus what each arm knows.

    ``champion_skill`` and ``challenger_skill`` are the standard deviations (log-odds) of two independent
    parts of the truth, one known to each arm. ``guess`` and ``champion_guess`` are the standard deviations
    of noise the arms believe in, half of it shared by a week, as the level of a weekly refit is. The day
    shock is a moving sum over the sessions a label lasts.
    """
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal(sessions + LABEL_SESSIONS - 1)
    day_shock = np.convolve(shocks, np.ones(LABEL_SESSIONS), "valid") * DAILY_LOGIT_SD / np.sqrt(LABEL_SESSIONS)
    n = sessions * events_a_day
    day = np.repeat(np.arange(sessions), events_a_day)
    known_to_champion = champion_skill * rng.standard_normal(n)
    known_to_challenger = challenger_skill * rng.standard_normal(n)
    belief, champion_belief = (_noise(rng, day, sd) for sd in (guess, champion_guess))
    chance = _logistic(day_shock[day] + known_to_champion + known_to_challenger)
    y = (rng.random(n) < chance).astype("int8")
    size = 0.02 * np.abs(rng.standard_normal(n)) + 0.002
    days = pd.bdate_range("2024-01-01", periods=sessions).astype(SESSION_DTYPE)
    session = pd.Series(days).iloc[day].reset_index(drop=True)
    ts = (session + pd.Timedelta(hours=21)).dt.tz_localize("UTC").astype(TIME_DTYPE)
    week = (day // 5).astype(str)
    return pd.DataFrame(
        {
            "symbol": pd.Series([f"S{i:03d}" for i in range(events_a_day)] * sessions, dtype="str"),
            "ts": ts,
            "direction": np.where(rng.random(n) < 0.5, 1, -1).astype("int8"),
            "session": session,
            "fold": pd.Series(np.char.add("record-", week), dtype="str"),
            "y": y,
            "net_return": np.where(y == 1, size, -size),
            "label_end": (ts + pd.Timedelta(days=7)).astype(TIME_DTYPE),
            "p_challenger": _logistic(known_to_challenger + belief),
            "p_champion": _logistic(known_to_champion + champion_belief),
            "p_rules": _logistic(known_to_champion + champion_belief),
            "p_base_rate": np.full(n, 0.5),
            "p_pattern_base_rate": np.full(n, 0.5),
            "rule_score": np.full(n, 50.0),
            "rule_action": np.zeros(n, dtype="int8"),
        }
    )


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _noise(rng: np.random.Generator, day: np.ndarray, sd: float) -> np.ndarray:
    return sd * np.sqrt(0.5) * (rng.standard_normal(len(day)) + rng.standard_normal(day[-1] // 5 + 1)[day // 5])

"""Shadow records with known truth: days that move together, labels that overlap, arms of chosen skill.

For tests and for ``benchmarks/gate_calibration.py``. What an arm knows and what it merely believes is chosen, so the
truth about "no better" and "better by so many points" is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record import SESSION_DTYPE
from catalyst_ml.frames import TIME_DTYPE

LABEL_SESSIONS = 5
DAILY_LOGIT_SD = 0.55
"""Makes the daily success rate vary with a standard deviation of about 0.13 around one half."""


@dataclass(frozen=True)
class Arms:
    """What champion and challenger know and believe; standard deviations of log-odds.

    ``champion_skill`` and ``challenger_skill`` are two independent parts of the truth, one known to each arm; with
    ``knows_champion`` the challenger knows the champion's part too. ``guess`` and ``champion_guess`` are noise that
    the arms believe in, half of it shared by a week, as the level of a weekly refit is. ``tilt`` is noise that both
    arms believe in for a whole day and direction, each its own: a bet on where the market goes, which moves a day's
    rows together.
    """

    champion_skill: float = 0.0
    challenger_skill: float = 0.0
    guess: float = 0.0
    champion_guess: float = 0.0
    knows_champion: bool = False
    tilt: float = 0.0


@dataclass(frozen=True)
class Events:
    """Events day after day, (n,) each: position of the session, outcome, and what each arm said."""

    day: np.ndarray
    y: np.ndarray
    p_challenger: np.ndarray
    p_champion: np.ndarray
    direction: np.ndarray | None


def draw_events(rng: np.random.Generator, arms: Arms, *, sessions: int, events_a_day: int = 100) -> Events:
    """Draw outcomes whose true log-odds are a day shock plus what each arm knows.

    The day shock is a moving sum over the sessions that a label lasts. With a ``tilt`` the truth has a second such
    shock, times the event's direction: a market that helps one side and hurts the other.
    """
    n = sessions * events_a_day
    day = np.repeat(np.arange(sessions), events_a_day)
    shock = _overlapping(rng, sessions)
    known_to_champion = arms.champion_skill * rng.standard_normal(n)
    known_to_challenger = arms.challenger_skill * rng.standard_normal(n)
    belief, champion_belief = (_noise(rng, day, sd) for sd in (arms.guess, arms.champion_guess))
    truth = shock[day] + known_to_champion + known_to_challenger
    direction = None
    if arms.tilt:
        direction = np.where(rng.random(n) < 0.5, 1, -1)
        truth = truth + _overlapping(rng, sessions)[day] * direction
        bets = arms.tilt * rng.standard_normal((2, sessions))
        belief, champion_belief = belief + bets[0][day] * direction, champion_belief + bets[1][day] * direction
    y = (rng.random(n) < logistic(truth)).astype("int8")
    stated = known_to_challenger + (known_to_champion if arms.knows_champion else 0.0) + belief
    return Events(day, y, logistic(stated), logistic(known_to_champion + champion_belief), direction)


def make_record(
    *,
    sessions: int = 65,
    events_a_day: int = 100,
    seed: int = 0,
    champion_skill: float = 0.0,
    challenger_skill: float = 0.0,
    guess: float = 0.0,
    champion_guess: float = 0.0,
    knows_champion: bool = False,
    tilt: float = 0.0,
) -> pd.DataFrame:
    """Build a record (schema ``RECORD``) from `draw_events`; its arguments are those of `Arms`.

    Champion and rules are the same arm, and both base rates say one half.
    """
    arms = Arms(champion_skill, challenger_skill, guess, champion_guess, knows_champion, tilt)
    rng = np.random.default_rng(seed)
    return as_record(draw_events(rng, arms, sessions=sessions, events_a_day=events_a_day), rng)


def as_record(events: Events, rng: np.random.Generator) -> pd.DataFrame:
    """Dress events up as a record; the size of moves is drawn after them."""
    n, sessions = len(events.day), int(events.day[-1]) + 1
    events_a_day = n // sessions
    size = 0.02 * np.abs(rng.standard_normal(n)) + 0.002
    direction = np.where(rng.random(n) < 0.5, 1, -1) if events.direction is None else events.direction
    days = pd.bdate_range("2024-01-01", periods=sessions).astype(SESSION_DTYPE)
    session = pd.Series(days).iloc[events.day].reset_index(drop=True)
    ts = (session + pd.Timedelta(hours=21)).dt.tz_localize("UTC").astype(TIME_DTYPE)
    week = (events.day // 5).astype(str)
    return pd.DataFrame(
        {
            "symbol": pd.Series([f"S{i:03d}" for i in range(events_a_day)] * sessions, dtype="str"),
            "ts": ts,
            "direction": direction.astype("int8"),
            "session": session,
            "fold": pd.Series(np.char.add("record-", week), dtype="str"),
            "y": events.y,
            "net_return": np.where(events.y == 1, size, -size),
            "label_end": (ts + pd.Timedelta(days=7)).astype(TIME_DTYPE),
            "p_challenger": events.p_challenger,
            "p_champion": events.p_champion,
            "p_rules": events.p_champion,
            "p_base_rate": np.full(n, 0.5),
            "p_pattern_base_rate": np.full(n, 0.5),
            "rule_score": np.full(n, 50.0),
            "rule_action": np.zeros(n, dtype="int8"),
        }
    )


def many_challengers(
    *,
    seed: int,
    sessions: int,
    skills: tuple[float, ...],
    champion_skill: float,
    shared: bool,
    noise: float = 0.1,
    events_a_day: int = 100,
) -> tuple[pd.DataFrame, list[str]]:
    """A record and further challengers on its rows, columns ``p_0``, ``p_1``, ...

    ``shared``: all challengers know the same part of the truth, as variants of one idea do (``skills`` are then how
    much of it each knows); else each knows a part of its own, as the champion does.
    """
    rng = np.random.default_rng([seed, 77])
    n = sessions * events_a_day
    day = np.repeat(np.arange(sessions), events_a_day)
    parts = rng.standard_normal((1 if shared else len(skills), n))
    known = [skill * parts[0 if shared else k] for k, skill in enumerate(skills)]
    champion = champion_skill * rng.standard_normal(n)
    truth = _overlapping(rng, sessions)[day] + champion + (max(skills) * parts[0] if shared else np.sum(known, axis=0))
    y = (rng.random(n) < logistic(truth)).astype("int8")
    said = [logistic(part + _noise(rng, day, noise)) for part in known]
    record = as_record(Events(day, y, said[0], logistic(champion + _noise(rng, day, noise)), None), rng)
    names = [f"p_{k}" for k in range(len(skills))]
    return record.assign(**dict(zip(names, said, strict=True))), names


def accuracy_of(skill: float, other_sd: float) -> float:
    """True accuracy at one half of an arm that knows ``skill`` of the log-odds, the rest having sd ``other_sd``."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    chance = logistic(skill * np.abs(nodes)[:, None] + other_sd * nodes[None, :])
    return float(weights @ chance @ weights)


def skill_for(accuracy: float, other_sd: float) -> float:
    """Skill at which `accuracy_of` is ``accuracy``, by bisection."""
    low, high = 0.0, 3.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if accuracy_of(middle, other_sd) < accuracy else (low, middle)
    return 0.5 * (low + high)


def logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _overlapping(rng: np.random.Generator, sessions: int) -> np.ndarray:
    shocks = rng.standard_normal(sessions + LABEL_SESSIONS - 1)
    return np.convolve(shocks, np.ones(LABEL_SESSIONS), "valid") * DAILY_LOGIT_SD / np.sqrt(LABEL_SESSIONS)


def _noise(rng: np.random.Generator, day: np.ndarray, sd: float) -> np.ndarray:
    return sd * np.sqrt(0.5) * (rng.standard_normal(len(day)) + rng.standard_normal(day[-1] // 5 + 1)[day // 5])

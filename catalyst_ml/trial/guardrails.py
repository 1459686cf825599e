"""What takes the model off at once, whatever the evidence says: named checks with value, bound, verdict and reason.

Each is measured at the close of every session from what was known then. Bounds are set so wide that all of them
together hardly ever fire by chance (benchmarks/trial_validity.py measures how often); small losses are the sequential
test's business. Outcomes enter once every trade of their day is over: of a young day only the fast barrier touches are
known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from catalyst_ml.evaluation.gate_checks import GateCheck

WINDOW_SESSIONS = 65
"""A quarter: what the drawdown, calibration and accuracy checks look back on."""


class GuardPolicy(BaseModel):
    """Bounds of the guardrails."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_drawdown_sds: float = Field(default=3.0, gt=0, description="Fall of ML minus rules, in its own quarterly sd.")
    max_calibration_gap: float = Field(default=0.10, gt=0, lt=1, description="Stated against realised success.")
    max_accuracy_loss: float = Field(default=0.05, gt=0, lt=1, description="Hits of the trades taken against the day.")
    alpha: float = Field(default=0.001, gt=0, le=0.05, description="Level at which a gap or a loss must be certain.")
    max_novel_share: float = Field(default=0.20, gt=0, le=1, description="Events unlike any before, in five sessions.")
    novel_sessions: int = Field(default=5, ge=1, le=65, description="Sessions pooled for the share of novel events.")
    max_model_age_days: int = Field(default=21, ge=7, description="Two weekly trainings missed.")
    min_predicted_share: float = Field(default=0.5, gt=0, le=1, description="Events that the model must have scored.")
    predicted_sessions: int = Field(default=2, ge=1, le=65, description="Sessions pooled for it.")
    min_events: int = Field(default=10, ge=1, description="Fewer events in those sessions are too few to judge by.")


@dataclass(frozen=True)
class Guardrail:
    """One guardrail over all sessions: arrays (n_sessions,).

    ``fired`` is False where nothing was measured; ``value`` is NaN there. `check_at` fills ``words`` with the numbers.
    """

    name: str
    title: str
    value: np.ndarray
    bound: float
    fired: np.ndarray
    words: str
    not_measured: str

    def check_at(self, session: int) -> GateCheck:
        """Verdict after one session (position), as the gate words its own."""
        value = float(self.value[session])
        if np.isnan(value):
            return GateCheck(self.name, self.title, None, self.bound, None, True, self.not_measured)
        fired = bool(self.fired[session])
        numbers = {"value": value, "bound": self.bound, "percent": 100 * value, "bound_percent": 100 * self.bound}
        reason = f"{self.words.format(**numbers)}: {'back to the rules' if fired else 'fine'}"
        return GateCheck(self.name, self.title, value, self.bound, not fired, True, reason)


@dataclass(frozen=True)
class DailyHealth:
    """What the guardrails look at, per session (n_sessions,); NaN where it is not known.

    ``difference``: ML minus rules. Of the events decided in the session: ``n_events``, ``n_predicted``; of those with
    a known outcome ``n_settled``, ``gap`` (sum of y - p_ml), ``hits`` (sum of size * (y - the day's mean y)) and
    ``taken`` (sum of size, what ML wanted to trade). ``n_novel`` of ``n_novel_of`` events asked were novel.
    """

    difference: np.ndarray
    n_events: np.ndarray
    n_predicted: np.ndarray
    n_settled: np.ndarray
    gap: np.ndarray
    hits: np.ndarray
    taken: np.ndarray
    n_novel: np.ndarray
    n_novel_of: np.ndarray
    model_age_days: np.ndarray


def watch(health: DailyHealth, policy: GuardPolicy, *, label_sessions: int) -> tuple[Guardrail, ...]:
    """Measure every guardrail after each session.

    Parameters
    ----------
    label_sessions : int
        Sessions after which every outcome of a day is known; the checks on outcomes look back from there.
    """
    return (
        _drawdown(health, policy),
        _calibration(health, policy, label_sessions),
        _accuracy(health, policy, label_sessions),
        _novelty(health, policy),
        _staleness(health, policy),
        _predictions(health, policy),
    )


def _drawdown(health: DailyHealth, policy: GuardPolicy) -> Guardrail:
    equity = np.cumsum(health.difference)
    n = len(equity)
    # Before the first session the account stands at zero, which may be the peak.
    padded = np.concatenate([np.full(WINDOW_SESSIONS, 0.0), equity])
    peak = sliding_window_view(padded, WINDOW_SESSIONS + 1).max(axis=1)[:n] if n else equity
    usual = _spread_before(health.difference) * np.sqrt(WINDOW_SESSIONS)
    value = np.divide(peak - equity, usual, out=np.full(n, np.nan), where=usual > 0.0)
    return Guardrail(
        "drawdown",
        "Fall of ML against the rules (quarterly sd)",
        value,
        policy.max_drawdown_sds,
        _above(value, policy.max_drawdown_sds),
        "following the model instead of the rules has lost {value:.1f} usual quarterly swings since its best day of "
        "the quarter ({bound:.1f} are allowed)",
        f"fewer than {WINDOW_SESSIONS} sessions: how much it usually swings is not known",
    )


def _spread_before(difference: np.ndarray) -> np.ndarray:
    """Root mean square of the active sessions before each, over up to four quarters; NaN before the first is full."""
    active = difference != 0.0
    squares = np.concatenate([[0.0], np.cumsum(difference**2)])
    counts = np.concatenate([[0], np.cumsum(active)])
    end = np.arange(len(difference))
    start = np.maximum(end - 4 * WINDOW_SESSIONS, 0)
    n = counts[end] - counts[start]
    known = n >= WINDOW_SESSIONS
    return np.where(known, np.sqrt(np.maximum(squares[end] - squares[start], 0.0) / np.where(known, n, 1)), np.nan)


def _calibration(health: DailyHealth, policy: GuardPolicy, label_sessions: int) -> Guardrail:
    gap, t = _settled_mean(health.gap, health.n_settled, label_sessions)
    value = np.abs(gap)
    return Guardrail(
        "calibration",
        "Stated against realised success",
        value,
        policy.max_calibration_gap,
        _above(value, policy.max_calibration_gap) & _above(np.abs(t), _critical_t(policy.alpha / 2.0)),
        "over the quarter the chances stated are off by {percent:.1f} points on average (more than "
        "{bound_percent:.0f}, and certainly so, are too many)",
        f"fewer than {WINDOW_SESSIONS} settled sessions",
    )


def _accuracy(health: DailyHealth, policy: GuardPolicy, label_sessions: int) -> Guardrail:
    lift, t = _settled_mean(health.hits, health.taken, label_sessions)
    return Guardrail(
        "accuracy",
        "Success of the trades taken against all of their day",
        lift,
        -policy.max_accuracy_loss,
        _above(-lift, policy.max_accuracy_loss) & _above(-t, _critical_t(policy.alpha)),
        "over the quarter the trades the model took succeeded {percent:+.1f} points against all events of their days "
        "(below {bound_percent:+.0f}, and certainly so, is too few)",
        f"fewer than {WINDOW_SESSIONS} settled sessions, or no trade",
    )


def _novelty(health: DailyHealth, policy: GuardPolicy) -> Guardrail:
    novel, asked = _rolling(health.n_novel, policy.novel_sessions), _rolling(health.n_novel_of, policy.novel_sessions)
    share = np.where(asked >= policy.min_events, novel / np.maximum(asked, 1.0), np.nan)
    return Guardrail(
        "novelty",
        f"Novel events in {policy.novel_sessions} sessions",
        share,
        policy.max_novel_share,
        _above(share, policy.max_novel_share),
        "{percent:.0f} % of the newest events are unlike those the model learned from "
        "({bound_percent:.0f} % are allowed)",
        "novelty was not measured, or on too few events",
    )


def _staleness(health: DailyHealth, policy: GuardPolicy) -> Guardrail:
    return Guardrail(
        "stale_model",
        "Age of the model (days)",
        health.model_age_days,
        policy.max_model_age_days,
        _above(health.model_age_days, policy.max_model_age_days),
        "the model was trained {value:.0f} days ago ({bound:.0f} are allowed)",
        "the model's age is not known",
    )


def _predictions(health: DailyHealth, policy: GuardPolicy) -> Guardrail:
    events = _rolling(health.n_events, policy.predicted_sessions)
    predicted = _rolling(health.n_predicted, policy.predicted_sessions)
    share = np.where(events >= policy.min_events, predicted / np.maximum(events, 1.0), np.nan)
    return Guardrail(
        "predictions",
        f"Events scored in {policy.predicted_sessions} sessions",
        share,
        policy.min_predicted_share,
        _above(-share, -policy.min_predicted_share),
        "the model answered {percent:.0f} % of the newest events (at least {bound_percent:.0f} % are expected)",
        "too few events to judge by",
    )


def _settled_mean(total: np.ndarray, weight: np.ndarray, label_sessions: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the window of days that are over, and its HAR t; NaN where there is no full window.

    The mean is a ratio of sums; the t is that of its linearisation per session, as in ``evaluation.comparison``.
    """
    n = len(total)
    mean, t = np.full(n, np.nan), np.full(n, np.nan)
    first = WINDOW_SESSIONS - 1 + label_sessions
    if n <= first:
        return mean, t
    settled = n - label_sessions
    sums = sliding_window_view(total[:settled], WINDOW_SESSIONS)  # (n_windows, window)
    weights = sliding_window_view(weight[:settled], WINDOW_SESSIONS)
    all_weight = weights.sum(axis=1)
    there = all_weight > 0.0
    ratio = np.divide(sums.sum(axis=1), all_weight, out=np.full(len(sums), np.nan), where=there)
    spread = _har_spread(sums - np.where(there, ratio, 0.0)[:, None] * weights)
    error = np.divide(spread * np.sqrt(WINDOW_SESSIONS), all_weight, out=np.full(len(sums), np.nan), where=there)
    mean[first:] = ratio
    t[first:] = np.divide(ratio, error, out=np.zeros(len(sums)), where=error > 0.0)
    return mean, t


def _har_spread(influence: np.ndarray) -> np.ndarray:
    """Square root of the long-run variance of each row (n_windows, window), as ``significance.long_run_variance``."""
    n = influence.shape[1]
    j = np.arange(1, _degrees() + 1)[:, None]
    waves = np.sqrt(2.0 / n) * np.cos(np.pi * j * (np.arange(1, n + 1) - 0.5) / n)
    return np.sqrt(np.mean((influence @ waves.T) ** 2, axis=1))


def _degrees() -> int:
    return max(int(0.41 * WINDOW_SESSIONS ** (2.0 / 3.0)), 1)


def _critical_t(alpha: float) -> float:
    return float(special.stdtrit(_degrees(), 1.0 - alpha))


def _rolling(values: np.ndarray, width: int) -> np.ndarray:
    """Sum of each session and the ``width - 1`` before it; NaN counts as nothing known, 0."""
    total = np.concatenate([np.zeros(width), np.cumsum(np.nan_to_num(values, nan=0.0))])
    return total[width:] - total[:-width]


def _above(value: np.ndarray, bound: float) -> np.ndarray:
    """Where a value is known and beyond its bound."""
    return np.nan_to_num(value, nan=-np.inf) > bound

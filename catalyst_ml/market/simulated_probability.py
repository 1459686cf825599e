"""Probability that a simulated event's label is 1, given what is on the screen at its close.

The drift is known; what it makes of a race to +1 or -1 ATR within five sessions also depends on newer patterns
that may replace it, on gaps, and on volatility that turns. All that is in a logistic map of drift, sessions left and
VIX, fitted once on simulated markets and the same for all presets. How well it fits fresh seeds:
docs/benchmarks/simulator.md. Fitted again by ``python benchmarks/simulator.py --fit`` whenever the noise changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

HOLDING_SESSIONS = 5
VIX_CENTRE, VIX_SPREAD = 18.0, 10.0


class ProbabilityMap(NamedTuple):
    """Weights of log-odds. ``drift``: per ATR a session, with five sessions left and a VIX of 18."""

    constant: float
    long_side: float
    drift: float
    drift_by_sessions_left: float
    drift_by_vix: float


FITTED = ProbabilityMap(-0.0182, 0.0679, 3.1298, 0.5574, -0.4416)


class WinProbabilities(NamedTuple):
    """Probability of label 1 for a bullish and for a bearish event, arrays of one shape.

    They do not add up to 1: costs and bars that touch both barriers lose on either side.
    """

    p_long: np.ndarray
    p_short: np.ndarray


def win_probabilities(
    score: np.ndarray, sessions_left: np.ndarray, vix: np.ndarray, *, weights: ProbabilityMap = FITTED
) -> WinProbabilities:
    """Return the probabilities of the symmetric label (1 ATR, 5 sessions, 5 bp a side).

    Parameters
    ----------
    score : ndarray
        Drift per session in ATR, signed as a return.
    sessions_left : ndarray
        Sessions the drift still lasts, 0 to 5.
    vix : ndarray
        Close of the volatility index, percent a year.
    """
    terms = screen_terms(score, sessions_left, vix)
    slope = np.array(weights[2:])
    return WinProbabilities(
        expit(weights.constant + weights.long_side + terms @ slope),
        expit(weights.constant - weights.long_side - terms @ slope),
    )


def screen_terms(score: np.ndarray, sessions_left: np.ndarray, vix: np.ndarray) -> np.ndarray:
    """Return the terms that ``drift``, ``drift_by_sessions_left`` and ``drift_by_vix`` weigh.  # (..., 3)"""
    duration = (np.asarray(sessions_left, dtype=np.float64) - HOLDING_SESSIONS) / (HOLDING_SESSIONS - 1)
    fear = np.tanh((np.asarray(vix, dtype=np.float64) - VIX_CENTRE) / VIX_SPREAD)
    return np.stack([score, score * duration, score * fear], axis=-1)

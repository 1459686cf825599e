"""A generated training set of any size whose best possible forecast is known, laid out as the weekly run reads it.

Success depends on a few of many correlated, partly heavy-tailed, partly missing inputs: half by straight lines, half by
interactions (gates, products, an exclusive or). All rows of a session and direction share a draw of luck as wide as on
real bars, which nobody can forecast; so the truth to be judged against is the probability with that luck averaged out.
Needs numpy and pandas only, so that a bare GPU machine can run it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.frames import PATTERNS, pattern_column

TRAINING_DAYS = 730
TRAINING_SESSIONS = 521
"""Weekdays in ``TRAINING_DAYS``."""
OOF_SESSIONS, JUDGED_SESSIONS = 80, 60
LABEL_SESSIONS = 5
LUCK = 0.75
"""Standard deviation, in log-odds, of what the rows of one session and direction share: daily success rates of real
bars have one of 0.12 to 0.15."""
STRENGTH = 0.45
"""Standard deviation of the predictable log-odds; the truth's AUC is 0.60 to 0.61."""
FIRST_SESSION = "2020-01-06"
N_FACTORS = 6


@dataclass(frozen=True)
class GeneratedRows:
    """``rows`` (sorted by time) as a training set; ``p_true`` (n_rows,) is what a perfect forecaster would say.

    ``fold`` trains on the first ``TRAINING_DAYS`` and predicts ``OOF_SESSIONS``; the weekly fit happens at ``as_of``,
    after them; ``judged`` (n_rows,) marks the ``JUDGED_SESSIONS`` decided later, which no fit has seen.
    """

    rows: pd.DataFrame
    inputs: tuple[str, ...]
    p_true: np.ndarray
    fold: Fold
    as_of: pd.Timestamp
    judged: np.ndarray


def generate_rows(n_training_rows: int, n_inputs: int, *, seed: int) -> GeneratedRows:
    """Draw a history in which one weekly fit trains on about ``n_training_rows`` rows; at least 12 inputs."""
    rng = np.random.default_rng(seed)
    n_sessions = TRAINING_SESSIONS + OOF_SESSIONS + JUDGED_SESSIONS
    per_session = max(n_training_rows // TRAINING_SESSIONS, 1)
    day = np.repeat(np.arange(n_sessions), per_session)
    n = len(day)
    X = _inputs(rng, n, n_inputs)
    score = STRENGTH * _predictable(X)
    direction = rng.choice(np.array([-1, 1], dtype="int8"), size=n)
    luck = rng.normal(0.0, LUCK, size=(n_sessions, 2))[day, (direction + 1) // 2]
    y = (rng.random(n) < _sigmoid(score + luck)).astype("int8")
    sessions = pd.bdate_range(FIRST_SESSION, periods=n_sessions + LABEL_SESSIONS)
    closes = (sessions + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("us")
    held = rng.integers(1, LABEL_SESSIONS + 1, size=n)
    inputs = tuple(f"x{k:02d}" for k in range(n_inputs))
    frame = pd.DataFrame(
        {
            "symbol": pd.Categorical.from_codes(
                np.tile(np.arange(per_session), n_sessions), [f"S{k:05d}" for k in range(per_session)]
            ).astype("str"),
            "ts": closes[day],
            "direction": direction,
            "session": sessions.as_unit("us")[day],
            "y": y,
            "net_return": np.where(y == 1, 0.01, -0.01),
            "label_end": closes[day + held],
            "rule_score": rng.uniform(0, 100, size=n),
            "rule_action": rng.choice(np.array([-1, 0, 1], dtype="int8"), size=n),
        }
    )
    patterns = {pattern_column(p): rng.random(n) < 0.1 for p in PATTERNS}
    rows = pd.concat([frame, pd.DataFrame(X, columns=list(inputs), copy=False), pd.DataFrame(patterns)], axis=1)
    test_start = sessions[TRAINING_SESSIONS].tz_localize("UTC")
    known_before = test_start - pd.Timedelta(days=1)
    judged_from = TRAINING_SESSIONS + OOF_SESSIONS
    fold = Fold(
        name="burn_in-generated",
        kind="burn_in",
        train_start=test_start - pd.Timedelta(days=TRAINING_DAYS),
        known_before=known_before,
        test_start=test_start,
        test_end=sessions[judged_from].tz_localize("UTC"),
    )
    return GeneratedRows(rows, inputs, _without_luck(score), fold, closes[judged_from - 1], day >= judged_from)


def expected_log_loss(p_true: np.ndarray, p: np.ndarray) -> float:
    """Mean log-loss of the forecasts ``p`` (n,) over all outcomes the truth allows: no luck of the labels is in it."""
    return float(-(p_true * np.log(p) + (1.0 - p_true) * np.log1p(-p)).mean())


def _inputs(rng: np.random.Generator, n: int, n_inputs: int) -> np.ndarray:
    """Inputs (n, n_inputs) float64: correlated through common factors, one in five heavy-tailed or with gaps."""
    factors = rng.normal(size=(n, N_FACTORS))
    X = rng.normal(size=(n, n_inputs))
    X *= np.sqrt(0.75)
    X += 0.5 * factors[:, np.arange(n_inputs) % N_FACTORS]
    for column in range(4, n_inputs, 5):
        X[:, column] = np.sinh(1.5 * X[:, column])
    for column in range(2, n_inputs, 5):
        X[rng.random(n) < 0.05, column] = np.nan
    return X


def _predictable(X: np.ndarray) -> np.ndarray:
    """The predictable part (n,) of the log-odds, about standard: half straight lines, half interactions."""
    x = np.nan_to_num(X[:, :12])
    lines = (x[:, 0] - 0.8 * x[:, 1] + 0.6 * x[:, 2] - 0.5 * x[:, 5] + 0.4 * x[:, 6]) / 1.5
    gate = np.where(x[:, 7] > 0.3, x[:, 8], -0.3 * x[:, 8])
    either = np.sign(x[:, 10]) * np.sign(x[:, 11])
    product = x[:, 0] * x[:, 3]
    together = (x[:, 1] > 0) & (x[:, 8] > 0) & (x[:, 11] > 0)
    interactions = (gate + 0.6 * either + 0.6 * product + 1.2 * (together - 0.15)) / 1.35
    return (lines + interactions) / np.sqrt(2.0)


def _without_luck(score: np.ndarray) -> np.ndarray:
    """Probability of success (n,) averaged over the luck, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    total = np.zeros(len(score))
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        total += weight * _sigmoid(score + LUCK * node)
    return total


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-z))

"""What all rows of a session and direction had in common, taken out before a member learns.

Rows of one day move together: a bad market day makes all long events fail, whatever their features. Without
this step a model spends its capacity on which of some 500 days were good, which hardly repeats, and that guess
then swings the log-loss of whole days. The shared part enters training as an offset and is not predicted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.models.member import logit, smoothed_rate


def session_groups(rows: pd.DataFrame) -> np.ndarray:
    """Code (n_rows,) of each row's session and direction."""
    return rows.groupby(["session", "direction"], sort=False).ngroup().to_numpy()


def shared_log_odds(
    y: np.ndarray, sample_weight: np.ndarray, groups: np.ndarray | None, *, expected: np.ndarray | None = None
) -> np.ndarray:
    """Log-odds (n_rows,) of each row's group: its expected rate, moved towards the group's own share of successes.

    Parameters
    ----------
    expected
        Rate (n_rows,) that is expected of each row's group before it is seen, the same for all its rows; None for the
        base rate.

    Notes
    -----
    Empirical Bayes: with expected rate p and n_g rows in a group, its share is shrunk by τ²/(τ² + p(1−p)/n_g), where
    τ² is the variance of the groups' true shares around what was expected by the method of moments. A group of few rows
    hardly moves; where groups differ by chance only, τ² = 0 and the expected rate is all.

    References
    ----------
    Efron & Morris (1975), Data analysis using Stein's estimator and its generalizations, JASA 70(350).
    """
    rates = np.full(len(y), smoothed_rate(y, sample_weight)) if expected is None else expected
    if groups is None:
        return logit(rates)
    n_rows = np.bincount(groups).astype("float64")
    share = np.bincount(groups, weights=y) / n_rows
    rate = np.bincount(groups, weights=rates) / n_rows
    chance = rate * (1.0 - rate) / n_rows
    spread = (share - rate) ** 2 - chance
    true_variance = max(float(np.average(spread, weights=n_rows)), 0.0)
    shrunk = rate + (share - rate) * true_variance / (true_variance + chance)
    return logit(np.clip(shrunk, 0.02, 0.98))[groups]

"""The rule arm as a forecaster: its 0-100 score turned into a probability of success.

A raw score/100 loses against a constant 1/2 in log-loss on most weeks; comparing models with it would be a
gift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from catalyst_ml.models.logit_regression import fit_logit
from catalyst_ml.models.member import logit, sigmoid

if TYPE_CHECKING:
    import pandas as pd  # the signal server calibrates arrays and holds no frames

PRIOR_PRECISION = 50.0
"""Pull of each coefficient to zero: a coefficient of 0.3 needs a few thousand rows to be believed."""


@dataclass(frozen=True)
class RuleCalibration:
    """Logistic regression on score/100, agreement, opposition and their product with the score.

    One for all rule arms: they differ in scores and actions, not in what these mean. Whoever fits it hands in settled
    outcomes only (``evaluation.splits.train_rows``); nothing here knows the time.

    Agreement: the rules' action is the event's direction; opposition: the other side; HOLD is neither. Rows
    without a score get the base rate. For each of the three the probability is monotone in the score, rising or falling
    as the outcomes say. ``coefficients``: score, agree, oppose, score·(agree − oppose),
    intercept.

    ``long`` and ``short`` move the log-odds of either direction, as they move those of every member
    (``direction_level``): in a rising market long events succeed more often whatever anybody knows, and a model that
    says so must not pass for better than rules that were not asked.
    """

    coefficients: tuple[float, ...]
    base_rate: float
    long: float = 0.0
    short: float = 0.0

    @classmethod
    def fit(cls, rows: pd.DataFrame, sample_weight: np.ndarray, *, base_rate: float) -> RuleCalibration:
        """Fit on settled rows with y, direction, session, rule_score (NaN allowed) and rule_action."""
        from catalyst_ml.evaluation.base_rates import direction_rates  # needs frames, which a server does without

        y, direction = rows["y"].to_numpy(dtype="float64"), rows["direction"].to_numpy()
        rates = direction_rates(y, sample_weight, rows["session"].to_numpy(), direction, base_rate)
        long, short = (float(logit(np.array(rates[side])) - logit(np.array(base_rate))) for side in ("+1", "-1"))
        has_score = rows["rule_score"].notna().to_numpy()
        design = _design(rows)[has_score]
        k = design.shape[1]
        beta = fit_logit(
            design,
            rows["y"].to_numpy(dtype="float64")[has_score],
            sample_weight[has_score],
            prior_mean=np.r_[np.zeros(k - 1), float(logit(np.array(base_rate)))],
            prior_precision=np.r_[np.full(k - 1, PRIOR_PRECISION), 1.0],
            offset=np.where(direction > 0, long, short)[has_score],
        )
        return cls(tuple(beta.tolist()), base_rate, long, short)

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Probability of success (n_rows,) of the event's trade."""
        score = rows["rule_score"].to_numpy(dtype="float64", na_value=np.nan)
        z = np.where(
            np.isnan(score),
            logit(np.array(self.base_rate)),
            _columns(score, _stance(rows)) @ np.array(self.coefficients),
        )
        return sigmoid(z + np.where(rows["direction"].to_numpy() > 0, self.long, self.short))

    def predict_one(self, score: float, stance: float, direction: int) -> float:
        """Probability of one event: score (NaN: none), stance +1 agree, -1 oppose, 0 hold, direction +1 or -1.

        `predict` in plain floats, a tenth of its time.
        """
        if math.isnan(score):
            z = float(logit(np.array(self.base_rate)))
        else:
            by_score, by_agreeing, by_opposing, by_product, level = self.coefficients
            share, side = score / 100.0, (stance > 0.0) - (stance < 0.0)
            z = by_score * share + by_product * side * share + level
            z += by_agreeing if side > 0 else by_opposing if side < 0 else 0.0
        return 0.5 * (1.0 + math.tanh(0.5 * (z + (self.long if direction > 0 else self.short))))

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON."""
        named = {"coefficients": list(self.coefficients), "base_rate": self.base_rate}
        return named | {"long": self.long, "short": self.short}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RuleCalibration:
        """Inverse of `to_dict`; calibrations kept from before know no directions."""
        levels = (float(stored.get(side, 0.0)) for side in ("long", "short"))
        return cls(tuple(float(c) for c in stored["coefficients"]), float(stored["base_rate"]), *levels)


def _design(rows: pd.DataFrame) -> np.ndarray:
    """(n_rows, 5), with the scores of rows without one set to zero; they are masked by the callers."""
    return _columns(rows["rule_score"].to_numpy(dtype="float64", na_value=np.nan), _stance(rows))


def _stance(rows: pd.DataFrame) -> np.ndarray:
    return rows["rule_action"].to_numpy(dtype="float64") * rows["direction"].to_numpy(dtype="float64")


def _columns(score: np.ndarray, stance: np.ndarray) -> np.ndarray:
    share = np.where(np.isnan(score), 0.0, score) / 100.0
    agrees, opposes = (stance > 0).astype("float64"), (stance < 0).astype("float64")
    return np.column_stack([share, agrees, opposes, share * (agrees - opposes), np.ones(len(share))])

"""The arms that need no model, fitted together: base rate, pattern base rate, calibrated rules.

They are what stays in charge when no model is, so a back-test keeps their fit of each week beside the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.base_rates import BaseRate, PatternBaseRate
from catalyst_ml.evaluation.record import P_BASE_RATE, P_PATTERN_BASE_RATE, P_RULES
from catalyst_ml.models.rule_arm import RuleCalibration


@dataclass(frozen=True)
class FloorArms:
    """The three floors as fitted on the same settled rows."""

    base_rate: BaseRate
    pattern_base_rate: PatternBaseRate
    rules: RuleCalibration

    @classmethod
    def fit(cls, known: pd.DataFrame, sample_weight: np.ndarray) -> FloorArms:
        """Fit on rows of the training set whose outcome is known; ``sample_weight`` (n_rows,) of mean 1."""
        base = BaseRate.fit(known, sample_weight)
        rules = RuleCalibration.fit(known, sample_weight, base_rate=base.rate)
        return cls(base, PatternBaseRate.fit(known, sample_weight), rules)

    def predict(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Probability of success (n_rows,) of each floor, by its column in the record."""
        return {
            P_RULES: self.rules.predict(rows),
            P_BASE_RATE: self.base_rate.predict(rows),
            P_PATTERN_BASE_RATE: self.pattern_base_rate.predict(rows),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the fits as JSON."""
        return {
            "base_rate": self.base_rate.to_dict(),
            "pattern_base_rate": self.pattern_base_rate.to_dict(),
            "rules": self.rules.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FloorArms:
        """Inverse of `to_dict`."""
        return cls(
            BaseRate.from_dict(stored["base_rate"]),
            PatternBaseRate.from_dict(stored["pattern_base_rate"]),
            RuleCalibration.from_dict(stored["rules"]),
        )

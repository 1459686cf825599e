"""The standing settings of the companion models: everything that changes their predictions, under one id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.models.identity import as_json, short_id

REVISION = 1
"""Raised by hand when code changes the predictions of unchanged settings."""


@dataclass(frozen=True)
class DayTreeSettings:
    """Shallow, strongly regularised XGBoost trees on stock-days.

    ``min_leaf_share``: rows of a leaf over rows of training, at least. ``every_nth_session``: sessions trained on, the
    newest known one among them; outcomes over five sessions overlap, so neighbouring days tell the same again.
    """

    n_trees: int = 75
    max_depth: int = 4
    learning_rate: float = 0.1
    min_leaf_share: float = 0.001
    subsample: float = 0.5
    colsample_bytree: float = 0.5
    reg_lambda: float = 100.0
    every_nth_session: int = 1


@dataclass(frozen=True)
class CompanionSettings:
    """Inputs, windows and budgets of both companions.

    ``inputs`` are columns of the stock-days in the order of the served graph. Refitted every ``refit_weeks`` on all
    that is known, from ``min_training_days`` of stock-days on; ``embargo_days`` lie between the last known outcome and
    the first prediction. ``move`` is the budget of the size of move, ``rank`` and ``rank_5`` of the order of the day by
    the return to the next and to the fifth session's close.
    """

    inputs: tuple[str, ...]
    stock_day_version: str
    refit_weeks: int = 13
    min_training_days: int = 365
    embargo_days: int = 1
    max_bin: int = 64
    seed: int = 20_261_127
    move: DayTreeSettings = field(default_factory=lambda: DayTreeSettings(every_nth_session=3))
    rank: DayTreeSettings = field(default_factory=DayTreeSettings)
    rank_5: DayTreeSettings = field(
        default_factory=lambda: DayTreeSettings(n_trees=50, max_depth=6, colsample_bytree=0.3, every_nth_session=3)
    )

    def __post_init__(self) -> None:
        if not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise ConfigurationError(
                f"companions need at least one input, each named once; got {len(self.inputs)}. Take STOCK_DAY_INPUTS."
            )
        if self.refit_weeks < 1 or self.min_training_days < 1 or self.embargo_days < 0 or self.max_bin < 2:
            raise ConfigurationError(
                f"companions: refit_weeks={self.refit_weeks}, min_training_days={self.min_training_days} must be at "
                f"least 1, embargo_days={self.embargo_days} not negative, max_bin={self.max_bin} at least 2."
            )

    @property
    def settings_id(self) -> str:
        """Twelve hexadecimal digits that change with anything that changes predictions."""
        return short_id(self.to_dict(), revision=REVISION)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON; tuples become lists."""
        return as_json(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> CompanionSettings:
        """Inverse of `to_dict`."""
        parts = dict(stored)
        parts["inputs"] = tuple(stored["inputs"])
        parts |= {name: DayTreeSettings(**stored[name]) for name in ("move", "rank", "rank_5")}
        return cls(**parts)

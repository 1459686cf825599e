"""What every part of the report is made of: figures that may be missing, and figures with their interval."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _nan_is_missing(value: Any) -> Any:
    return None if isinstance(value, float | np.floating) and np.isnan(value) else value


USUAL_LEVEL = 0.90
"""Level of intervals unless an estimate says otherwise; others are marked where they are printed."""

Measured = Annotated[float | None, BeforeValidator(_nan_is_missing)]
"""A number that may be missing; NaN (and numpy's) becomes ``None``."""


class Part(BaseModel):
    """A part of the report: unknown fields and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(Part):
    """A measured number with its interval; without ``low`` and ``high`` it is printed with "no interval"."""

    value: Measured = None
    low: Measured = None
    high: Measured = None
    level: float = Field(default=USUAL_LEVEL, gt=0, lt=1)

    @property
    def has_interval(self) -> bool:
        return self.value is not None and self.low is not None and self.high is not None

"""Parts of the report about what evidence is worth: everything that was tried, and abstaining."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from catalyst_ml.report.content_base import Estimate, Measured, Part

Reach = Literal["yes", "no", "undecided"]


class Trials(Part):
    """What was tried on this line and what that leaves of the challenger's Sharpe ratio.

    ``best_of_noise`` (annual) is what the best of ``effective`` trials would show without skill; ``probability`` the
    chance of a true Sharpe ratio above zero, ``deflated`` above ``best_of_noise``. ``overfitting`` is the probability
    of back-test overfitting over ``overfitting_trials`` trials on the same sessions.
    """

    trials: int = Field(ge=1)
    effective: int = Field(ge=1)
    searched: int = Field(default=0, ge=0)
    best_of_noise: Measured = None
    probability: Measured = None
    deflated: Measured = None
    overfitting: Measured = None
    overfitting_trials: int = 1
    words: str = ""


class ThresholdInForce(Part):
    """The threshold for the weeks to come; ``tau`` None means that the model abstains."""

    tau: Measured = None
    coverage: Measured = None
    accuracy: Measured = None
    promised: Measured = None
    n: int = 0
    n_eff: Measured = None
    words: str = ""


class FollowedWeek(Part):
    """One week under the threshold frozen before it."""

    week: str
    tau: Measured = None
    events: int
    calls: int
    accuracy: Estimate = Estimate()
    base_rate: Measured = None


class CoverageAccuracy(Part):
    """Accuracy of the surest calls; ``base_rate`` is that of the better constant call on the same rows."""

    coverage: float
    n: int
    accuracy: Estimate
    base_rate: Measured = None
    reaches_target: Reach = "undecided"


class FalsePositives(Part):
    """Losing trades of the challenger against the rules at equal coverage; the plan hopes for a ratio of 0.5."""

    rate: float
    rules_rate: float
    base_rate: float
    coverage: float
    rules_coverage: float
    ratio: Estimate
    sessions: int


class Selective(Part):
    """Abstaining: is there a threshold that keeps the target accuracy, and did the earlier ones keep it?"""

    target: float
    base_rate: float
    now: ThresholdInForce
    weeks: list[FollowedWeek] = Field(default_factory=list)
    too_early: int = 0
    abstained: int = 0
    calls: int = 0
    coverage: Measured = None
    accuracy: Estimate = Estimate()
    followed_base_rate: Measured = None
    outcome: Literal["kept", "broken", "undecided", "abstained"] = "abstained"
    at_coverage: list[CoverageAccuracy] = Field(default_factory=list)
    area: Estimate = Estimate()
    error_of_all: Measured = None
    false_positives: FalsePositives | None = None

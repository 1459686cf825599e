"""What the report says of the models themselves: who brings what, what drives them, where they fail.

Plain data, like ``content``; made by ``explained_parts``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from catalyst_ml.report.content_base import Estimate, Measured, Part


class SliceTest(Part):
    """How many slices were tested together, and the chance of calling any of them better or worse by luck."""

    n_tested: int
    alpha: float


class LeaderboardRow(Part):
    """One member, or the ensemble itself (``weight`` None); ``dropped`` says why it is not deployed."""

    title: str
    log_loss: Estimate = Estimate()
    log_loss_vs_base: Estimate = Estimate()
    auc: Estimate = Estimate()
    auc_within: Estimate = Estimate()
    weight: Measured = None
    dropped: str = ""
    fit_seconds: Measured = None
    predict_ms: Measured = None
    tree_nodes: int | None = None
    onnx_bytes: int | None = None


class Leaderboard(Part):
    """Members by log-loss below the ensemble; ``correlation`` of log-odds between the ``correlated`` members."""

    rows: list[LeaderboardRow]
    correlated: list[str] = Field(default_factory=list)
    correlation: list[list[float]] = Field(default_factory=list)
    rows_judged: int
    sessions: int


class Driver(Part):
    """Mean absolute contribution of a group of inputs, log-odds, and its mean where the lead input is low or high."""

    words: str
    size: Estimate
    when_low: Measured = None
    when_high: Measured = None
    by_member: dict[str, float] = Field(default_factory=dict)


class EventDriver(Part):
    words: str
    contribution: float
    error: float


class ExplainedEvent(Part):
    """One new event: its probability, the mean of its day's events, and what sets it apart, in log-odds."""

    title: str
    p: float
    day: float
    drivers: list[EventDriver]
    rest: float = 0.0


class PriceBar(Part):
    ts: datetime
    open: float
    high: float
    low: float
    close: float


class Mistake(Part):
    """One of the worst mistakes and its trade; ``decided``, ``entered`` and ``left`` are numbers of ``bars``."""

    symbol: str
    ts: datetime
    direction: Literal["long", "short"]
    p: float
    base_rate: float
    won: bool
    net_return: float
    outcome: str
    patterns: list[str] = Field(default_factory=list)
    headlines: list[str] = Field(default_factory=list)
    entry: float
    exit: float
    stop: float | None = None
    target: float | None = None
    bars: list[PriceBar]
    decided: int
    entered: int
    left: int

    @model_validator(mode="after")
    def _trade_is_drawn(self) -> Mistake:
        if not 0 <= self.decided < self.entered <= self.left < len(self.bars):
            raise ValueError(
                f"Mistake {self.symbol}: decided, entered, left = {self.decided}, {self.entered}, {self.left} "
                f"of {len(self.bars)} bars; expected them in this order among the bars."
            )
        return self

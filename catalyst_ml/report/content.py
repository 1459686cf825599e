"""What the report says: the contract between a run and its letter to the trader.

Plain values only, so that it is stored with the run as JSON and rendered again later. A missing number is
``None``, never 0 or NaN; a number without an interval is printed with the words "no interval".
Differences of log-loss are always *arm minus reference*: negative is better.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from catalyst_ml.report.content_base import Estimate, Measured, Part
from catalyst_ml.report.evidence_content import Selective, Trials
from catalyst_ml.report.explained_content import (
    Driver,
    ExplainedEvent,
    Leaderboard,
    Mistake,
    SliceTest,
)

VerdictName = Literal["promote", "stay", "not_enough_evidence", "failed"]
SliceGroup = Literal["pattern", "direction", "catalyst", "month", "regime", "volatility", "trend", "sector", "novelty"]
Severity = Literal["critical", "quarantine", "warning", "info"]

CHALLENGER, CHAMPION, RULES = "challenger", "champion", "rules"
BASE_RATE, PATTERN_BASE_RATE = "base_rate", "pattern_base_rate"
"""Arms that the report knows by name; the record calls their columns ``p_<name>``."""


class RunInfo(Part):
    """Which run this is. ``champion`` served before it, ``challenger`` was fitted by it."""

    run_id: str
    dataset: str
    timeframe: str
    as_of: datetime
    started: datetime
    duration_s: Measured = None
    device: str = "CPU"
    code_commit: str = ""
    label_version: str = ""
    rule_arm: str = ""
    champion: str = "rules"
    challenger: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class Verdict(Part):
    """The decision in plain words; ``tomorrow`` says what it means for the next session."""

    verdict: VerdictName
    headline: str
    tomorrow: str


class GateCheck(Part):
    """One check of the gate; ``passed`` is ``None`` if it could not be judged."""

    name: str
    title: str
    value: Measured | str = None
    bound: Measured | str = None
    passed: bool | None = None
    decisive: bool = True
    reason: str = ""


class Record(Part):
    """The rows every arm is judged on, and the share of them that earned money."""

    rows: int = Field(ge=0)
    n_eff: Measured = None
    sessions: int = Field(ge=0)
    first_session: date | None = None
    last_session: date | None = None
    base_rate: Estimate = Estimate()
    pattern_base_rate_low: Measured = None
    pattern_base_rate_high: Measured = None
    detectable_difference: Measured = None


class Arm(Part):
    """One forecaster on the record's rows; ``log_loss_vs_base`` is its log-loss minus the base rate's."""

    name: str
    title: str
    kind: Literal["arm", "member", "reference"] = "arm"
    log_loss: Estimate = Estimate()
    log_loss_vs_base: Estimate = Estimate()
    auc: Estimate = Estimate()
    auc_within: Estimate = Estimate()
    accuracy: Estimate = Estimate()
    base_rate: Measured = None
    ece: Estimate = Estimate()
    brier: Estimate = Estimate()
    n: int | None = None
    n_eff: Measured = None
    sessions: int | None = None


class CalibrationPoint(Part):
    """Mean forecast and observed share of one group of rows."""

    predicted: float
    observed: float
    low: Measured = None
    high: Measured = None
    count: int


class CalibrationCurve(Part):
    arm: str
    points: list[CalibrationPoint]


class RiskCoveragePoint(Part):
    """Error among the ``coverage`` most confident rows."""

    coverage: float
    error: float
    low: Measured = None
    high: Measured = None
    count: int


class RiskCoverageCurve(Part):
    arm: str
    points: list[RiskCoveragePoint]


class Importance(Part):
    feature: str
    group: str = ""
    importance: Estimate


class EquityCurve(Part):
    """Cumulative net return of one arm (fraction), one value per session.

    ``sharpe`` is annual; ``probability`` the chance that it is truly above zero, ``deflated`` that it is above the best
    of everything tried, where the arm is one of the tried.
    """

    arm: str
    sessions: list[date]
    cumulative: list[float]
    sharpe: Estimate = Estimate()
    probability: Measured = None
    deflated: Measured = None
    trades: int | None = None
    mean_net_bps: Estimate = Estimate()

    @model_validator(mode="after")
    def _same_length(self) -> EquityCurve:
        return _refuse_unequal(self, len(self.sessions), len(self.cumulative))


class Equity(Part):
    """Arms trading the same number of signals: their ``coverage`` most confident ones."""

    coverage: float
    cost_bps_per_side: float
    curves: list[EquityCurve]
    note: str = ""
    trials: Trials | None = None


class EvidenceCurve(Part):
    """Running sum over sessions of (reference's log-loss minus the challenger's): rising is better."""

    against: str
    sessions: list[date]
    cumulative: list[float]

    @model_validator(mode="after")
    def _same_length(self) -> EvidenceCurve:
        return _refuse_unequal(self, len(self.sessions), len(self.cumulative))


class MonthRate(Part):
    month: str
    rate: Estimate
    n: int


class LeakRow(Part):
    """The same rows scored under one way of splitting; only the honest one is believed."""

    name: str
    title: str
    honest: bool = False
    accuracy: Estimate = Estimate()
    auc: Estimate = Estimate()
    log_loss: Estimate = Estimate()
    n: int | None = None
    note: str = ""


class Slice(Part):
    """The challenger on a part of the record."""

    group: SliceGroup
    value: str
    n: int
    n_eff: Measured = None
    base_rate: Estimate = Estimate()
    log_loss_vs_base: Estimate = Estimate()
    accuracy: Estimate = Estimate()
    auc_within: Estimate = Estimate()
    p_adjusted: Measured = None
    stands_out: Literal["", "better", "worse"] = ""


class Catalysts(Part):
    """Success with news against success without, same session and side; and the catalyst predictor where it spoke.

    ``predictor_rows`` is None if the procedure has no catalyst predictor; ``vs_base`` and ``vs_pattern`` are its
    log-loss minus that of the base rates on those rows.
    """

    with_news: int
    n_eff: float
    sessions: int
    uncovered: int
    rate_with: Measured
    rate_without: Measured
    difference: Estimate
    ratio: Estimate
    words: str
    predictor_rows: int | None = None
    vs_base: Estimate = Estimate()
    vs_pattern: Estimate = Estimate()
    predictor_note: str = ""


class MemberWeight(Part):
    member: str
    weight: Estimate


class DroppedMember(Part):
    member: str
    reason: str


class Ensemble(Part):
    weights: list[MemberWeight] = Field(default_factory=list)
    dropped: list[DroppedMember] = Field(default_factory=list)
    calibration: str = ""


class QualityRule(Part):
    name: str
    severity: Severity
    passed: bool
    observed: str = ""
    expected: str = ""
    examples: list[str] = Field(default_factory=list)


class SkippedSymbol(Part):
    symbol: str
    reason: str


class RefusedRows(Part):
    rule: str
    count: int
    reason: str = ""
    examples: list[str] = Field(default_factory=list)


class RowCount(Part):
    """Rows after one step of the pipeline (a filter or a join)."""

    step: str
    rows: int
    note: str = ""


class QualitySuite(Part):
    """All rules of one border: bars, events, training set."""

    name: str
    rules: list[QualityRule]


class NovelEvent(Part):
    """One of the newest events that is unlike the training events, and the column that makes it so."""

    event: str
    novelty_p: float
    column: str
    value: float | None = None
    usual: str = ""


class Novelty(Part):
    """The newest week's events against the training events; ``expected`` share is novel by chance."""

    n: int
    n_novel: int
    expected: float
    examples: list[NovelEvent] = Field(default_factory=list)


class Quality(Part):
    """``rules`` are those of the training set; ``suites`` the rules of the borders before it."""

    rules: list[QualityRule] = Field(default_factory=list)
    suites: list[QualitySuite] = Field(default_factory=list)
    novelty: Novelty | None = None
    skipped_symbols: list[SkippedSymbol] = Field(default_factory=list)
    refused_rows: list[RefusedRows] = Field(default_factory=list)
    row_counts: list[RowCount] = Field(default_factory=list)

    @property
    def all_suites(self) -> list[QualitySuite]:
        """Every suite in the order of the pipeline; a suite without rules is left out."""
        own = [QualitySuite(name="training set", rules=self.rules)] if self.rules else []
        return [*(suite for suite in self.suites if suite.rules), *own]


class CompanionScore(Part):
    """One order of the day's stocks, ours or a baseline: by the size of the move, or by the return that follows.

    ``ic``: mean rank correlation per day with its t; ``spread_bps``: best minus worst tenth of the day's stocks,
    before costs; ``break_even_bps``: cost per side that eats it. ``ratio``: realised over expected moves.
    """

    title: str
    is_baseline: bool = False
    auc_within: Estimate = Estimate()
    ic: Estimate = Estimate()
    t: Measured = None
    spread_bps: Estimate = Estimate()
    break_even_bps: Measured = None
    ratio: Estimate = Estimate()


class StockForecast(Part):
    """What the companions say of one stock at the newest close; ranks are 0 (worst) to 1 (best) of that close."""

    symbol: str
    expected_move: float
    rank: Measured = None
    rank_5: Measured = None


class Companions(Part):
    """Size of move and order of the day, judged out-of-fold on all stock-days; ``reason`` says why there are none."""

    reason: str = ""
    rows: int = 0
    sessions: int = 0
    first_session: date | None = None
    last_session: date | None = None
    scores: list[CompanionScore] = Field(default_factory=list)
    gain_over_atr: Estimate = Estimate()
    newest: datetime | None = None
    stocks: list[StockForecast] = Field(default_factory=list)


class StepTiming(Part):
    step: str
    seconds: float
    cached: bool = False
    note: str = ""


class Analysis(Part):
    """Claude's section: plain-text paragraphs, numbers already filled in by us."""

    status: Literal["written", "skipped", "refused", "failed"] = "skipped"
    reason: str = ""
    model: str = ""
    paragraphs: list[str] = Field(default_factory=list)


class ReportContent(Part):
    """Everything the report prints. Empty lists drop their section with one line saying why."""

    run: RunInfo
    verdict: Verdict
    record: Record
    gate: list[GateCheck] = Field(default_factory=list)
    arms: list[Arm] = Field(default_factory=list)
    calibration: list[CalibrationCurve] = Field(default_factory=list)
    risk_coverage: list[RiskCoverageCurve] = Field(default_factory=list)
    importances: list[Importance] = Field(default_factory=list)
    importance_method: str = ""
    drivers: list[Driver] = Field(default_factory=list)
    drivers_method: str = ""
    newest_events: list[ExplainedEvent] = Field(default_factory=list)
    leaderboard: Leaderboard | None = None
    equity: Equity | None = None
    selective: Selective | None = None
    evidence: list[EvidenceCurve] = Field(default_factory=list)
    base_rate_by_month: list[MonthRate] = Field(default_factory=list)
    leak_contrast: list[LeakRow] = Field(default_factory=list)
    slices: list[Slice] = Field(default_factory=list)
    catalysts: Catalysts | None = None
    slice_test: SliceTest | None = None
    mistakes: list[Mistake] = Field(default_factory=list)
    ensemble: Ensemble = Ensemble()
    companions: Companions = Companions(reason="not asked for in this run")
    quality: Quality = Quality()
    timings: list[StepTiming] = Field(default_factory=list)
    analysis: Analysis = Analysis(reason="no analysis was asked for")
    settings: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    def arm(self, name: str) -> Arm | None:
        """The arm called ``name``, or ``None``."""
        return next((arm for arm in self.arms if arm.name == name), None)


def _refuse_unequal(curve: Any, n_sessions: int, n_values: int) -> Any:
    if n_sessions != n_values:
        raise ValueError(f"{type(curve).__name__}: {n_sessions} sessions but {n_values} values; expected one each.")
    return curve

"""What a person may set for a run: one model per flow, drawn as a form by the Prefect UI."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from catalyst_ml.evaluation.splits import (
    BURN_IN_SESSIONS,
    INTRADAY_BURN_IN_SESSIONS,
    INTRADAY_RECORD_SESSIONS,
    INTRADAY_TRAINING_DAYS,
    RECORD_SESSIONS,
)
from catalyst_ml.store.file_imports import DATASET_NAME

Step = Literal["extract", "quality", "events", "features", "validate", "train", "judge", "explain", "analyse", "report"]
"""Steps a run can be repeated from, in order."""

RuleArmName = Literal["rules_intended_v213", "rules_shipped_v213", "rules_v200"]
"""Names in ``catalyst_ml.market.rules.RULE_ARMS``, spelled out for the form."""


MIN_DAILY_TRAINING_DAYS = 180
_INTRADAY = {
    "training_days": INTRADAY_TRAINING_DAYS,
    "record_sessions": INTRADAY_RECORD_SESSIONS,
    "burn_in_sessions": INTRADAY_BURN_IN_SESSIONS,
    "promote": False,
}

CostBps = Annotated[float, Field(ge=0, le=100, title="Costs (bp a side)")]


class LineParameters(BaseModel):
    """What every flow is about: one line of data."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(
        default="catalyst",
        title="Dataset",
        description="Name under which the bars were imported, e.g. catalyst, demo, real-daily.",
        pattern=f"^{DATASET_NAME}$",
    )
    timeframe: Literal["1d"] = Field(
        default="1d", title="Timeframe", description="Bar length. Daily bars for now; intraday is its own line later."
    )


class ProcedureParameters(LineParameters):
    """What is re-fitted every week and how it is judged; the defaults are the documented procedure."""

    training_days: int = Field(
        default=730,
        ge=60,
        le=3650,
        title="Training window (days)",
        description=(
            f"Calendar days of labelled events each fit may use; daily bars: at least {MIN_DAILY_TRAINING_DAYS}. "
            f"Intraday, where nothing is given, {INTRADAY_TRAINING_DAYS}."
        ),
    )
    record_sessions: int = Field(
        default=RECORD_SESSIONS,
        ge=65,
        le=780,
        title="Shadow record (sessions)",
        description=(
            "Sessions of out-of-sample predictions the gate judges. Fewer than 65 settled ones: no verdict. Intraday, "
            f"where nothing is given, {INTRADAY_RECORD_SESSIONS}."
        ),
    )
    burn_in_sessions: int = Field(
        default=BURN_IN_SESSIONS,
        ge=40,
        le=520,
        title="Burn-in (sessions)",
        description=(
            "Sessions before the record whose out-of-fold predictions fit the first ensemble weights. Intraday, where "
            f"nothing is given, {INTRADAY_BURN_IN_SESSIONS}."
        ),
    )
    rule_arm: RuleArmName = Field(
        default="rules_intended_v213",
        title="Rule arm",
        description=(
            "The rules that the models hear and that every version is compared with: upstream's v2.1.3 as intended, "
            "v2.1.3 as it shipped, or v2.0.0. Another arm is another procedure with a record of its own."
        ),
    )
    rows: Literal["all", "rule_fired"] = Field(
        default="all",
        title="Events",
        description=(
            "Which events are trained on and judged: all, or only those on which the rules fired in the event's "
            "direction (meta-labelling: is the rules' trade worth taking?). The latter has champions of its own."
        ),
    )
    catalyst_predictor: bool = Field(
        default=False,
        title="Catalyst predictor",
        description=(
            "A further member of the ensemble, trained on events with news, with a say on those alone once it is "
            "clearly better there. Off by default: on simulated markets it does not add to the other members."
        ),
    )
    label: Literal["symmetric", "two_to_one", "market_neutral"] = Field(
        default="symmetric",
        title="Label",
        description=(
            "What counts as success: target and stop at equal distance, the target twice as far as the stop, or the "
            "return beyond that of all stocks. Each has champions and a record of its own."
        ),
    )
    cost_bps_per_side: CostBps = Field(
        default=5.0,
        description="Spread, fees and slippage of one side of a trade, in basis points of the price.",
    )
    seed: int = Field(default=42, ge=0, title="Seed", description="One seed for every random choice of the run.")
    threads: int | None = Field(
        default=None, ge=1, le=256, title="Threads", description="CPU threads for training. Empty: all cores."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorter_for_intraday_bars(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("timeframe", "1d") != "1d":
            return {name: value for name, value in _INTRADAY.items() if name in cls.model_fields} | given
        return given

    @model_validator(mode="after")
    def _long_enough_for_daily_bars(self) -> Self:
        if self.timeframe == "1d" and self.training_days < MIN_DAILY_TRAINING_DAYS:
            raise ValueError(
                f"training_days: expected {MIN_DAILY_TRAINING_DAYS} or more for daily bars, got {self.training_days}"
            )
        return self

    def walk_forward(self) -> dict[str, Any]:
        """Return what decides the folds and the procedure; nothing else may move them out of the cache."""
        named = {"record_sessions", "burn_in_sessions", "training_days", "seed", "rule_arm", "catalyst_predictor"}
        return self.model_dump(include=named) | {"row_choice": self.rows}


class MomentParameters(LineParameters):
    """At which moment a weekly run stands."""

    as_of: AwareDatetime | None = Field(
        default=None,
        title="As of",
        description=(
            "The moment whose knowledge may be used, with time zone. Empty: the last session close before the "
            "scheduled start, or the newest bar if the data ends earlier."
        ),
    )


class WeeklyTrainingParameters(ProcedureParameters, MomentParameters):
    """Parameters of ``weekly-training``. The defaults are the documented procedure."""

    timeframe: Literal["1d", "1h", "30m", "15m", "5m"] = Field(  # type: ignore[assignment]  # wider than the trial's
        default="1d",
        title="Timeframe",
        description=(
            "Bar length; each is a line of its own. Intraday versions are trained, judged and served as daily ones "
            "are, but the daily trial does not know them yet: they stay in the shadow."
        ),
    )
    search: int = Field(
        default=0,
        ge=0,
        le=200,
        title="Search (configurations)",
        description=(
            "Configurations of each member to try on events that were over before the record; what is clearly better "
            "is adopted. Searched once a quarter, every attempt is kept. 0: the standing settings."
        ),
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        title="Device",
        description=(
            "Where members are trained. auto: on a GPU from 200,000 rows on; cuda: on it at any size. Without one, or "
            "where it fails, the CPU goes on and the report says so. Both agree in their metrics, not in bits."
        ),
    )
    promote: bool = Field(
        default=True,
        title="Promote when the gate says so",
        description="Off: the verdict is written down but production stays as it is. Must be off for intraday bars.",
    )
    analyse: bool = Field(
        default=True,
        title="Ask Claude for an analysis",
        description="Needs ANTHROPIC_API_KEY; skipped visibly without.",
    )
    refresh_from: Step | None = Field(
        default=None,
        title="Run again from",
        description="Ignore cached results of this step and of all steps after it.",
    )

    @model_validator(mode="after")
    def _no_promotion_without_a_trial(self) -> Self:
        if self.timeframe != "1d" and self.promote:
            raise ValueError(
                f"promote: expected false for bars of {self.timeframe}, got true: the daily trial does not know them, "
                "so no evidence could give a version a say. Leave it out, or switch it off."
            )
        return self


class RangeParameters(LineParameters):
    """Which weeks of the past are replayed."""

    since: date = Field(
        title="Since",
        description="First day of the range, e.g. 2014-06-02. About six years of bars must lie before it.",
    )
    until: date | None = Field(
        default=None,
        title="Until",
        description="Last day on which the weekly run still decides. Empty: the newest bar.",
    )
    every: int = Field(
        default=1,
        ge=1,
        le=52,
        title="Every (weeks)",
        description="Weeks from one decision to the next. 1 replays every week; 4 takes a quarter of the time.",
    )


class BacktestRangeParameters(RangeParameters):
    """Which weeks a back-test replays, and what it adds at the end of them."""

    cpcv: bool = Field(
        default=False,
        title="Spread over histories (CPCV)",
        description=(
            "Also cut history in 15 ways and print how far the scores move: combinatorial purged cross-validation "
            "with small budgets, a minute or two more."
        ),
    )


class BacktestParameters(ProcedureParameters, BacktestRangeParameters):
    """Parameters of ``backtest``: the weekly procedure, replayed over a past range."""


class TrialSimulationParameters(ProcedureParameters, RangeParameters):
    """Parameters of ``trial-simulation``: the weekly procedure and the daily trial, replayed over a past range."""

    label: Literal["symmetric", "two_to_one"] = Field(
        default="symmetric",
        title="Label",
        description=(
            "What counts as success: target and stop at equal distance, or the target twice as far as the stop. "
            "Market-neutral outcomes have no daily marks, so no trial is told of them."
        ),
    )


class PerformanceReportParameters(LineParameters):
    """Parameters of ``performance-report``."""

    as_of: AwareDatetime | None = Field(
        default=None,
        title="As of",
        description="The moment whose knowledge may be used, with time zone. Empty: the last session close.",
    )
    label: Literal["symmetric", "two_to_one", "market_neutral"] = Field(
        default="symmetric", title="Label", description="Which trial to report on; each label has its own."
    )
    cost_bps_per_side: CostBps = Field(
        default=5.0,
        description="As in the training; the costs are part of the label.",
    )
    rows: Literal["all", "rule_fired"] = Field(
        default="all",
        title="Events",
        description="As in the training of the line: all, or those the rules would trade.",
    )


class DriftWatchParameters(LineParameters):
    """Parameters of ``drift-watch``. What is judged, and how strictly, is no parameter: the budget is one for all."""

    as_of: AwareDatetime | None = Field(
        default=None,
        title="As of",
        description=(
            "The moment whose knowledge may be used, with time zone. Empty: the last session close before the "
            "scheduled start; a feed that does not reach it alarms."
        ),
    )
    label: Literal["symmetric", "two_to_one", "market_neutral"] = Field(
        default="symmetric",
        title="Label",
        description="Which champion to watch; each label has its own.",
    )
    cost_bps_per_side: CostBps = Field(
        default=5.0,
        description="As in the training of that champion; they are part of its label.",
    )


class CollectPatternsParameters(LineParameters):
    """Parameters of ``collect-patterns``: the last close by default, a range of past closes as a back-fill."""

    pull: bool = Field(
        default=False,
        title="Pull first",
        description=(
            "Bring in what is new in the trading system's database before, as `catalyst-ml source pull` does. Needs "
            "SOURCE_DATABASE_URL; skipped visibly without."
        ),
    )
    since: date | None = Field(
        default=None,
        title="Since",
        description="First day of a back-fill, e.g. 2024-01-02. Empty: one close, the last up to 'until'.",
    )
    until: date | None = Field(
        default=None, title="Until", description="Last day to collect. Empty: the newest close there are bars for."
    )
    every: Literal["session", "week", "month"] = Field(
        default="month",
        title="Every",
        description=(
            "How often a back-fill looks, each time with what was known then. A close takes some seconds, "
            "so a year takes a minute by month and a quarter of an hour by session."
        ),
    )
    label: Literal["symmetric", "two_to_one", "market_neutral"] = Field(
        default="symmetric", title="Label", description="What counts as success; each label is settled on its own."
    )
    cost_bps_per_side: CostBps = Field(
        default=5.0,
        description="Spread, fees and slippage of one side of a trade, in basis points of the price.",
    )


class ParallelEvaluationParameters(LineParameters):
    """Parameters of ``parallel-evaluation``: since the ledger's last session by default, or a range of past closes."""

    since: date | None = Field(
        default=None,
        title="Since",
        description=("First day to evaluate, e.g. 2026-01-02. Empty: the ledger's last session, or the last close."),
    )
    until: date | None = Field(
        default=None, title="Until", description="Last day to evaluate. Empty: the newest close there are bars for."
    )
    max_days: int = Field(
        default=30,
        ge=1,
        le=366,
        title="At most (days back)",
        description="How far a run without 'since' catches up. What lies further back is named and left out.",
    )
    label: Literal["symmetric", "two_to_one", "market_neutral"] = Field(
        default="symmetric", title="Label", description="What counts as success; each label has a ledger of its own."
    )
    cost_bps_per_side: CostBps = Field(
        default=5.0,
        description="As in the training of the line; they are part of its label.",
    )
    rows: Literal["all", "rule_fired"] = Field(
        default="all",
        title="Events",
        description="As in the training of the line: all, or those the rules would trade.",
    )
    rule_arm: RuleArmName = Field(
        default="rules_intended_v213",
        title="Rule arm",
        description="The rules to compare with. Another arm begins a new trial, which may spend less error.",
    )
    replay: bool = Field(
        default=False,
        title="Replay",
        description=(
            "For simulated and past data only: a version counts from its own as_of on, not from the moment it entered "
            "its channel. A line is kept live or replayed, never both; a replay proves nothing about the future."
        ),
    )


class RollbackParameters(LineParameters):
    """Parameters of ``rollback``."""

    to: str | None = Field(
        default=None,
        title="Back to",
        description=(
            "Empty: one step back. rules: no model serves. Or the id of a version that was in production before. "
            "A second rollback goes further back, never forward."
        ),
        max_length=120,
    )
    label_version: str | None = Field(
        default=None,
        title="Label version",
        description="Which champion, if this dataset has several, e.g. atr1-h5-c5-v1. Empty: the only one.",
        max_length=80,
    )
    reason: str = Field(
        title="Reason",
        description="Why, in words. Kept in the history and shown by servers.",
        min_length=3,
        max_length=500,
    )


class RebuildParameters(BaseModel):
    """Parameters of ``rebuild``: everything else was recorded with the version."""

    model_config = ConfigDict(extra="forbid")

    version_id: str = Field(
        title="Version",
        description="Id of the version to train again, as listed by catalyst-ml models list.",
        max_length=120,
    )

"""The plan's key figures, each with its target, its context and its trend.

A target that is met by a number whose interval still holds the other side is "not shown", never "met".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.evaluation.significance import wilson_interval
from catalyst_ml.trial.energy import monthly_saving
from catalyst_ml.trial.performance import ArmPerformance

ACCURACY_TARGET, ACCURACY_BASELINE = 0.70, 0.55
LOSING_SHARE_TARGET = -0.50
WEEKLY_SECONDS_TARGET = 300.0
TREND_WEEKS = 13

State = Literal["met", "not shown", "missed", "unknown"]
Unit = Literal["share", "change", "seconds", "dollars", "bps"]


@dataclass(frozen=True)
class Kpi:
    """One key figure. ``trend`` holds its value in the last weeks or runs, oldest first, None where unknown.

    ``share`` is in [0, 1], ``change`` relative (−0.5 is half), ``dollars`` per month, ``bps`` basis points per trade.
    """

    name: str
    title: str
    unit: Unit
    target: str
    value: float | None
    low: float | None
    high: float | None
    state: State
    context: str
    trend: tuple[float | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingRun:
    """A weekly run that was started: when, whether it ended by itself, seconds, and kWh where they are known."""

    started_at: pd.Timestamp
    is_finished: bool
    seconds: float | None
    kwh: float | None
    energy_note: str = ""


def accuracy_kpi(ml: ArmPerformance, weeks: pd.DataFrame) -> Kpi:
    """Accuracy of the trades taken, beside the base rate and that of all calls; target 70 %."""
    taken = ml.taken_accuracy
    where = f"of the surest {100 * (ml.coverage or 0.0):.0f} % of {ml.n:,} signals" if ml.coverage else "no trade taken"
    context = (
        f"{where}; all calls {100 * (ml.accuracy.value or 0.0):.1f} %; base rate {100 * ml.base_rate:.1f} %: taking "
        "every signal is right that often"
    )
    won = 1.0 - weeks["ml_lost"] / weeks["ml_trades"].where(weeks["ml_trades"] > 0)
    return _kpi(
        "accuracy",
        "Model accuracy",
        "share",
        f"{100 * ACCURACY_TARGET:.0f} % (from {100 * ACCURACY_BASELINE:.0f} %)",
        taken,
        is_met=_above(taken, ACCURACY_TARGET),
        context=context,
        trend=won,
    )


def losing_share_kpi(change: ScoreInterval, ml: ArmPerformance, rules: ArmPerformance, weeks: pd.DataFrame) -> Kpi:
    """Share of losing trades against the rules' at equal coverage; target −50 %."""
    context = "an arm took no trade"
    if ml.losing_share.value is not None and rules.losing_share.value is not None:
        context = (
            f"ML loses {100 * ml.losing_share.value:.1f} % of its trades, the rules "
            f"{100 * rules.losing_share.value:.1f} %, both taking the same share of events"
        )
    shares = {arm: weeks[f"{arm}_lost"] / weeks[f"{arm}_trades"].where(weeks[f"{arm}_trades"] > 0) for arm in _ARMS}
    trend = shares["ml"] / shares["rules"].where(shares["rules"] > 0) - 1.0
    return _kpi(
        "losing_share",
        "Losing trades against the rules",
        "change",
        f"−{-100 * LOSING_SHARE_TARGET:.0f} %",
        change,
        is_met=_below(change, LOSING_SHARE_TARGET),
        context=context,
        trend=trend,
    )


def profit_kpi(difference: ScoreInterval, ml: ArmPerformance, rules: ArmPerformance, weeks: pd.DataFrame) -> Kpi:
    """Net profit per trade of ML minus the rules'; target: more than the rules."""
    context = "an arm took no trade"
    if ml.net_bps.value is not None and rules.net_bps.value is not None:
        context = f"ML {ml.net_bps.value:+.1f} bp a trade after costs, the rules {rules.net_bps.value:+.1f} bp"
    means = {arm: weeks[f"{arm}_profit"] / weeks[f"{arm}_trades"].where(weeks[f"{arm}_trades"] > 0) for arm in _ARMS}
    return _kpi(
        "profit_per_trade",
        "Profit per trade, ML minus rules",
        "bps",
        "above the rules'",
        difference,
        is_met=_above(difference, 0.0),
        context=context,
        trend=1e4 * (means["ml"] - means["rules"]),
    )


def training_time_kpi(runs: Sequence[TrainingRun]) -> Kpi:
    """Seconds of the newest finished weekly run; target: under five minutes."""
    seconds = [run.seconds for run in runs if run.is_finished and run.seconds is not None]
    value = seconds[-1] if seconds else None
    state: State = "unknown" if value is None else "met" if value < WEEKLY_SECONDS_TARGET else "missed"
    return Kpi(
        name="training_time",
        title="Weekly run",
        unit="seconds",
        target=f"under {WEEKLY_SECONDS_TARGET / 60:.0f} min",
        value=value,
        low=None,
        high=None,
        state=state,
        context=f"newest of {len(seconds)} finished runs; a run from the cache takes seconds"
        if seconds
        else "no run yet",
        trend=tuple(seconds[-TREND_WEEKS:]),
    )


def deployment_kpi(runs: Sequence[TrainingRun]) -> Kpi:
    """Share of the last weekly runs that ended by themselves, with a version or a reason; target: all."""
    recent = list(runs[-TREND_WEEKS:])
    finished = sum(run.is_finished for run in recent)
    band = wilson_interval(finished, len(recent), level=0.90)
    return Kpi(
        name="deployment",
        title="Runs that ended by themselves",
        unit="share",
        target="100 %",
        value=finished / len(recent) if recent else None,
        low=band.low if recent else None,
        high=band.high if recent else None,
        state="unknown" if not recent else "met" if finished == len(recent) else "missed",
        context=f"{finished} of the last {len(recent)} weekly runs published a version and said why it moved or stayed",
        trend=tuple(float(run.is_finished) for run in recent),
    )


def cost_kpi(runs: Sequence[TrainingRun], *, tariff_per_kwh: float, cloud_per_month: float) -> Kpi:
    """Dollars a month saved against a rented card, electricity of the measured runs paid; target: all of it."""
    known = [run for run in runs if run.kwh is not None][-TREND_WEEKS:]
    a_month = 52.0 / 12.0
    priced = {"runs_per_month": a_month, "tariff_per_kwh": tariff_per_kwh, "cloud_per_month": cloud_per_month}
    saved = [monthly_saving(float(run.kwh or 0.0), **priced) for run in known]
    context = "no run has measured its electricity yet"
    if known:
        context = (
            f"{a_month * float(known[-1].kwh or 0.0):.3f} kWh a month at {tariff_per_kwh:g} $ against "
            f"{cloud_per_month:g} $ of a rented card; {known[-1].energy_note}"
        )
    return Kpi(
        name="cost_saved",
        title="Cost saved",
        unit="dollars",
        target=f"{cloud_per_month:g} $ a month",
        value=saved[-1] if saved else None,
        low=None,
        high=None,
        state="unknown" if not saved else "met" if saved[-1] >= 0.95 * cloud_per_month else "missed",
        context=context,
        trend=tuple(saved),
    )


_ARMS = ("ml", "rules")


def _kpi(
    name: str, title: str, unit: Unit, target: str, score: ScoreInterval, *, is_met: bool | None, context: str,
    trend: pd.Series,
) -> Kpi:  # fmt: skip
    reaches = score.value is not None and is_met is None
    state: State = "unknown" if score.value is None else "met" if is_met else "not shown" if reaches else "missed"
    values = trend.to_numpy(dtype="float64")[-TREND_WEEKS:]
    return Kpi(
        name=name,
        title=title,
        unit=unit,
        target=target,
        value=score.value,
        low=score.low,
        high=score.high,
        state=state,
        context=context,
        trend=tuple(None if np.isnan(value) else float(value) for value in values),
    )


def _above(score: ScoreInterval, target: float) -> bool | None:
    """True if the whole interval lies above, False if the whole of it lies below, None if it holds the target."""
    if score.low is None or score.high is None:
        return None
    return True if score.low > target else False if score.high < target else None


def _below(score: ScoreInterval, target: float) -> bool | None:
    above = _above(score, target)
    return None if above is None else not above

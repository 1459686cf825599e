"""The gate's checks, one function each: measured value, bound, verdict, reason in a trader's words.

``gate`` puts them together; what each bound rests on is in docs/decisions/0006-promotion-gate.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from catalyst_ml.evaluation.comparison import (
    MIN_TEST_SESSIONS,
    Comparison,
    compare_false_positive_rate,
    compare_log_loss,
    compare_profit,
)
from catalyst_ml.evaluation.deflation import Deflation
from catalyst_ml.evaluation.metrics import Scores, score_predictions
from catalyst_ml.evaluation.record import P_CHALLENGER, log_losses
from catalyst_ml.evaluation.splits import SESSIONS_PER_WEEK
from catalyst_ml.evaluation.trading import trades_at_coverage


class GatePolicy(BaseModel):
    """Bounds of the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.05, gt=0, le=0.2, description="Level of every log-loss test.")
    not_worse_alpha: float = Field(
        default=0.05, gt=0, le=0.5, description="Level at which money counts as worse; 0.5 asks for the point estimate."
    )
    min_sessions: int = Field(default=65, ge=20, le=1_000, description="Settled sessions before anything is decided.")
    coverage: float = Field(default=0.2, gt=0, le=1, description="Share of events traded in the money checks.")
    max_ece: float = Field(default=0.10, gt=0, le=0.5, description="Calibration error beyond sampling noise.")
    max_auc: float = Field(default=0.75, gt=0.5, le=1, description="Above this AUC, look for a leak.")
    max_latency_ms: float = Field(default=5.0, gt=0, description="Slowest 1 % of single predictions, milliseconds.")
    max_parity: float = Field(default=1e-4, gt=0, description="Served file against trainer, largest difference.")
    min_deflated_sharpe: float = Field(
        default=0.5, ge=0, lt=1, description="Chance of a Sharpe above the best of what was tried, if more was tried."
    )
    leak_alpha: float = Field(
        default=0.01, gt=0, le=0.2, description="Level at which a record that beats its own live forecasts is a leak."
    )
    non_inferiority_margin: float = Field(
        default=0.01,
        ge=0,
        description="Log-loss by which a refit may trail last week's fit (7 points of error in p).",
    )


@dataclass(frozen=True)
class ChampionInfo:
    """What is in production: the rules, or a model version and the procedure that made it.

    ``forced`` says, if it came in without the gate's consent, when, by whom and with which reason.
    """

    kind: Literal["rules", "model"]
    version_id: str | None = None
    procedure_id: str | None = None
    forced: str | None = None

    @property
    def name(self) -> str:
        """As a trader says it."""
        return "the rules" if self.kind == "rules" else str(self.version_id)


@dataclass(frozen=True)
class DriftEvidence:
    """Drift of the newest weeks' inputs against the training window: how many questions were asked, which alarmed.

    ``unjudged`` says in words what could not be asked, and why.
    """

    questions: int
    alarms: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateEvidence:
    """Measurements beside the record; None means not measured, and what was not measured is not passed.

    ``newest_block``: settled rows with y, p_refit (this week's fit) and p_deployed (last week's fit);
    needed only when the champion came from the same procedure. The refit has seen these rows, so the
    comparison catches a broken fit and proves no skill.

    ``live_shadow``: settled rows of the record that the procedure also forecast live, before their outcome: session,
    y, p_record, p_live. The one exception to the rule above: None says that nothing was forecast live yet.
    """

    parity_max_abs_diff: float | None = None
    latency_p99_ms: float | None = None
    validation_passed: bool | None = None
    drift: DriftEvidence | None = None
    deflation: Deflation | None = None
    newest_block: pd.DataFrame | None = None
    live_shadow: pd.DataFrame | None = None


@dataclass(frozen=True)
class GateCheck:
    """One named check. ``passed`` is None if it could not be measured; decisive checks move the verdict."""

    name: str
    title: str
    value: float | None
    bound: float | None
    passed: bool | None
    decisive: bool
    reason: str


def sessions_check(sessions: int, policy: GatePolicy) -> GateCheck:
    missing = policy.min_sessions - sessions
    if missing > 0:
        weeks = -(-missing // SESSIONS_PER_WEEK)
        reason = (
            f"{sessions} settled sessions of {policy.min_sessions}: {missing} more are needed "
            f"(about {weeks} {'week' if weeks == 1 else 'weeks'})"
        )
    else:
        reason = f"{sessions} settled sessions, at least {policy.min_sessions} are needed: enough"
    return GateCheck(
        "sessions",
        "Settled sessions in the record",
        sessions,
        policy.min_sessions,
        missing <= 0,
        True,
        reason,
    )


def validity_check(evidence: GateEvidence) -> GateCheck:
    passed = evidence.validation_passed
    words = {
        None: "the training data was not validated",
        True: "the training data passed every critical expectation",
        False: "the training data failed validation: mend the data before believing any number",
    }
    return GateCheck("data_validity", "Training data is valid", None, None, passed, True, words[passed])


def score_checks(record: pd.DataFrame, policy: GatePolicy) -> tuple[GateCheck, GateCheck]:
    scores = score_predictions(record["y"], record[P_CHALLENGER], record["session"], record["direction"])
    return _leak_check(scores, policy), _calibration_check(scores, policy)


def _leak_check(scores: Scores, policy: GatePolicy) -> GateCheck:
    title = "No sign of a leak (AUC)"
    known = [value for value in (scores.auc, scores.auc_within_day_and_direction) if value is not None]
    if not known:
        reason = "all outcomes are alike, so the AUC is not defined and a leak cannot be excluded"
        return GateCheck("leak_alarm", title, None, policy.max_auc, None, True, reason)
    highest = max(known)
    if highest > policy.max_auc:
        reason = f"AUC {highest:.2f} is too good to be true (alarm above {policy.max_auc:.2f}): look for a leak"
    else:
        reason = f"AUC {highest:.2f} is in the believable range (alarm above {policy.max_auc:.2f})"
    return GateCheck("leak_alarm", title, highest, policy.max_auc, highest <= policy.max_auc, True, reason)


def _calibration_check(scores: Scores, policy: GatePolicy) -> GateCheck:
    excess = max(scores.ece - scores.ece_noise, 0.0)
    passed = excess <= policy.max_ece
    reason = (
        f"stated chances are off by {100 * scores.ece:.1f} points on average, "
        f"{100 * scores.ece_noise:.1f} of them noise; {100 * policy.max_ece:.0f} beyond noise are allowed: "
        f"{'calibrated' if passed else 'not calibrated'}"
    )
    return GateCheck("calibration", "Calibration error beyond noise", excess, policy.max_ece, passed, True, reason)


def log_loss_check(comparison: Comparison, opponent: str, policy: GatePolicy, *, tried: int = 1) -> GateCheck:
    """``tried``: how many procedures were judged on this record; each gets its part of the level (Bonferroni)."""
    needed = comparison.critical_value(policy.alpha / tried)
    passed = comparison.t > needed
    verdict = "better" if passed else ("not clearly better" if comparison.gain > 0 else "not better")
    shared = f" because {tried} procedures were tried on this record" if tried > 1 else ""
    reason = (
        f"log-loss per event {abs(comparison.gain):.4f} {'lower' if comparison.gain > 0 else 'higher'} "
        f"than {opponent} (t = {comparison.t:.2f}, needs {needed:.2f}{shared}): {verdict}"
    )
    name = f"log_loss_vs_{comparison.opponent.removeprefix('p_')}"
    return GateCheck(name, f"Log-loss against {opponent} (t)", comparison.t, needed, passed, True, reason)


def money_checks(
    record: pd.DataFrame, rival: str, rival_name: str, policy: GatePolicy, burn_in: pd.DataFrame | None
) -> tuple[list[GateCheck], list[Comparison]]:
    ours = trades_at_coverage(record, P_CHALLENGER, coverage=policy.coverage, burn_in=burn_in)
    theirs = trades_at_coverage(record, rival, coverage=policy.coverage, burn_in=burn_in)
    profit = compare_profit(ours, theirs)
    false_positives = compare_false_positive_rate(ours, theirs)
    at = f"at {100 * policy.coverage:.0f} % coverage"
    lost_title = f"Losing trades {at} against {rival_name}"
    checks = [
        _not_worse_check("profit", f"Profit {at} against {rival_name}", profit, rival_name, policy),
        _idle_arm_check(lost_title, rival_name, ours.rows["size"].sum() == 0.0)
        if profit is not None and false_positives is None
        else _not_worse_check("false_positives", lost_title, false_positives, rival_name, policy),
    ]
    return checks, [comparison for comparison in (profit, false_positives) if comparison is not None]


def _idle_arm_check(title: str, rival_name: str, is_challenger_idle: bool) -> GateCheck:
    """A share of no trades is not defined; then only the profit check speaks about money."""
    who = "the challenger" if is_challenger_idle else rival_name
    reason = f"{who} took no trade at its frozen thresholds: no losing trades to compare"
    return GateCheck("false_positives", title, None, None, None, False, reason)


def _not_worse_check(
    name: str, title: str, comparison: Comparison | None, rival_name: str, policy: GatePolicy
) -> GateCheck:
    """Fail only if the challenger is *significantly* worse: see the decision record for why."""
    if comparison is None:
        reason = f"{title}: too few sessions with a threshold frozen before them"
        return GateCheck(name, title, None, None, None, True, reason)
    needed = -comparison.critical_value(policy.not_worse_alpha)
    passed = comparison.t >= needed
    if name == "profit":
        measured = f"profit per session {1e4 * comparison.gain:+.0f} bp of one stake against {rival_name}"
    else:
        measured = f"share of losing trades {-100 * comparison.gain:+.1f} points against {rival_name}"
    verdict = "not worse" if passed else "clearly worse"
    reason = f"{measured} (t = {comparison.t:.2f}, fails below {needed:.2f}): {verdict}"
    return GateCheck(name, title, comparison.t, needed, passed, True, reason)


def accuracy_check(record: pd.DataFrame, rival: str, rival_name: str) -> GateCheck:
    y = record["y"].to_numpy() == 1
    right = {column: ((record[column] >= 0.5).to_numpy() == y).mean() for column in (P_CHALLENGER, rival)}
    gain = 100.0 * float(right[P_CHALLENGER] - right[rival])
    reason = (
        f"accuracy {gain:+.1f} points against {rival_name} (the plan hoped for +1.0); "
        "information only: noise alone reaches it in about four weeks of ten"
    )
    return GateCheck("accuracy_gain", f"Accuracy against {rival_name} (points)", gain, 1.0, gain > 1.0, False, reason)


def drift_check(drift: DriftEvidence | None, *, is_refit: bool) -> GateCheck:
    """Newcomers wait while the inputs of the newest month are unlike those they were trained on.

    A refit of what is in production does not: it reads the same inputs as the version it replaces, and knows the newest
    weeks, which that one does not.
    """
    title = "Newest inputs are like those trained on (alarms)"
    if drift is None:
        return GateCheck("drift", title, None, 0.0, None, not is_refit, "drift of the newest inputs was not looked for")
    if not drift.questions:
        # A young line has no year to compare with; the length of the record is the sessions check's business.
        reason = f"drift cannot be judged yet: {'; '.join(drift.unjudged) or 'nothing was asked'}"
        return GateCheck("drift", title, None, 0.0, None, False, reason)
    n = len(drift.alarms)
    if n:
        more = f" and {n - 2} more" if n > 2 else ""
        tail = "train on and watch it" if is_refit else "find out why before a newcomer takes over"
        reason = f"{n} of {drift.questions} drift questions alarm: {'; '.join(drift.alarms[:2])}{more}: {tail}"
    else:
        reason = f"none of {drift.questions} drift questions alarms (by chance one weekly decision in 200 would)"
    return GateCheck("drift", title, float(n), 0.0, n == 0, not is_refit, reason)


def deflation_check(deflation: Deflation | None, policy: GatePolicy, *, is_refit: bool) -> GateCheck:
    """Refuse a newcomer whose money is no better than the best of everything tried would show without skill.

    A refit of what is in production is not held up by what else was tried since.
    """
    title, bound = "Sharpe deflated for everything tried (chance)", policy.min_deflated_sharpe
    if deflation is None:
        reason = "the ledger of attempts was not read, so nobody knows how much was tried"
        return GateCheck("deflated_sharpe", title, None, bound, None, not is_refit, reason)
    value = deflation.deflated
    if value is None:
        return GateCheck("deflated_sharpe", title, None, bound, None, False, deflation.words)
    is_decisive = deflation.n_effective > 1 and not is_refit
    return GateCheck("deflated_sharpe", title, value, bound, value >= bound, is_decisive, deflation.words)


def agreement_check(live: pd.DataFrame | None, policy: GatePolicy) -> GateCheck:
    """A record that forecasts the same events better than the procedure did live has seen something it could not."""
    name, title = "live_agreement", "Record is no better than its own live forecasts (t)"
    if live is None or live["session"].nunique() < MIN_TEST_SESSIONS:
        n = 0 if live is None else int(live["session"].nunique())
        reason = f"{n} settled sessions were forecast live, {MIN_TEST_SESSIONS} are needed to compare"
        return GateCheck(name, title, None, None, None, False, reason)
    comparison = compare_log_loss(live, "p_record", "p_live")
    needed = comparison.critical_value(policy.leak_alpha)
    passed = comparison.t <= needed
    apart = float(np.mean(np.abs(live["p_record"] - live["p_live"])))
    reason = (
        f"on {len(live)} events forecast live the record's log-loss is {abs(comparison.gain):.4f} "
        f"{'lower' if comparison.gain > 0 else 'higher or equal'} (mean difference in p {apart:.3f}): "
        f"{'no sign of a leak' if passed else 'too good to be true, look for a leak'}"
    )
    return GateCheck(name, title, comparison.t, needed, passed, True, reason)


def forced_champion_check(champion: ChampionInfo) -> GateCheck:
    """Shown only: what is in production came there against or without the gate."""
    reason = f"{champion.name} is in production by force, without the gate's consent: {champion.forced}"
    return GateCheck("champion_forced", "The champion passed a gate", None, None, False, False, reason)


def non_inferiority_check(block: pd.DataFrame | None, champion: ChampionInfo, policy: GatePolicy) -> GateCheck:
    title, margin = f"Refit not worse than {champion.name}", policy.non_inferiority_margin
    if block is None or block.empty:
        reason = f"the refit was not compared with {champion.name} on the newest block"
        return GateCheck("refit_non_inferiority", title, None, margin, None, True, reason)
    y = block["y"].to_numpy()
    excess = float(np.mean(log_losses(y, block["p_refit"]) - log_losses(y, block["p_deployed"])))
    passed = excess <= margin
    reason = (
        f"log-loss per event of the refit {excess:+.4f} against {champion.name} on {len(block)} newest "
        f"events (allowed {margin:+.4f}): {'not worse' if passed else 'worse, the refit looks broken'}"
    )
    return GateCheck("refit_non_inferiority", title, excess, margin, passed, True, reason)


def parity_check(evidence: GateEvidence, policy: GatePolicy) -> GateCheck:
    return _at_most(
        "parity",
        "Served file agrees with the trainer",
        evidence.parity_max_abs_diff,
        policy.max_parity,
        "largest difference between served file and trainer",
        "{:.1e}",
    )


def latency_check(evidence: GateEvidence, policy: GatePolicy) -> GateCheck:
    return _at_most(
        "latency",
        "Latency of one prediction (p99, ms)",
        evidence.latency_p99_ms,
        policy.max_latency_ms,
        "99 of 100 predictions answer within",
        "{:.2f} ms",
    )


def _at_most(name: str, title: str, value: float | None, bound: float, what: str, style: str) -> GateCheck:
    if value is None:
        return GateCheck(name, title, None, bound, None, True, f"{title}: not measured")
    passed = bool(value <= bound)  # a NaN is not passed
    allowed = f"allowed {style.format(bound)}"
    reason = f"{what} {style.format(value)} ({allowed}): {'fine' if passed else 'refused'}"
    return GateCheck(name, title, value, bound, passed, True, reason)

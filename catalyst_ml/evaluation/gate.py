"""The promotion gate: better than what is in production, or it stays out.

The gate judges a *procedure* by its shadow record. A refused promotion is a result with reasons, not an
error. Why each check decides as it does, with simulations: docs/decisions/0006-promotion-gate.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.comparison import Comparison, compare_log_loss
from catalyst_ml.evaluation.gate_checks import (
    ChampionInfo,
    DriftEvidence,
    GateCheck,
    GateEvidence,
    GatePolicy,
    accuracy_check,
    agreement_check,
    deflation_check,
    drift_check,
    forced_champion_check,
    latency_check,
    log_loss_check,
    money_checks,
    non_inferiority_check,
    parity_check,
    score_checks,
    sessions_check,
    validity_check,
)
from catalyst_ml.evaluation.record import (
    P_BASE_RATE,
    P_CHALLENGER,
    P_CHAMPION,
    P_PATTERN_BASE_RATE,
    P_RULES,
    validate_record,
)

__all__ = [
    "ChampionInfo",
    "DriftEvidence",
    "GateCheck",
    "GateDecision",
    "GateEvidence",
    "GatePolicy",
    "Verdict",
    "decide",
]

Verdict = Literal["promote", "stay", "not_enough_evidence"]


@dataclass(frozen=True)
class GateDecision:
    """Verdict of the gate with everything it rests on."""

    verdict: Verdict
    headline: str
    summary: str
    checks: tuple[GateCheck, ...]
    comparisons: tuple[Comparison, ...]
    sessions: int
    events: int

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON; what is infinite or not a number becomes None."""
        checks = [asdict(check) for check in self.checks]
        for check in checks:
            check |= {k: _finite(check[k]) for k in ("value", "bound")}
        return {
            "verdict": self.verdict,
            "headline": self.headline,
            "summary": self.summary,
            "sessions": self.sessions,
            "events": self.events,
            "checks": checks,
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
        }


def decide(
    record: pd.DataFrame,
    *,
    policy: GatePolicy,
    champion: ChampionInfo,
    challenger_procedure_id: str,
    evidence: GateEvidence,
    burn_in: pd.DataFrame | None = None,
) -> GateDecision:
    """Decide whether the challenger goes to production.

    Parameters
    ----------
    record
        The shadow record (`record.RECORD`), settled rows only.
    champion
        If it is a model of the challenger's own procedure, the procedure's record is tested against the
        rules and both base rates, and this week's refit against last week's fit on the newest block.
    burn_in
        Earlier rows of the same columns; they lend the first folds their trading thresholds.

    Returns
    -------
    GateDecision
        "promote" only if every decisive check passed; "not_enough_evidence" if nothing speaks against the
        challenger but the record is too short; else "stay".

    Raises
    ------
    DataContractError
        If the record breaks its contract.

    Notes
    -----
    All log-loss tests must pass together (an intersection-union test), so each may use the full level
    (Berger 1982). The level is divided among the procedures tried on the same record: any of them may be promoted.
    """
    validate_record(record)
    sessions = int(record["session"].nunique())
    is_long_enough = sessions >= policy.min_sessions
    is_refit = champion.kind == "model" and champion.procedure_id == challenger_procedure_id
    # A refit was chosen long ago: what else was tried since is no further chance for it.
    tried = 1 if is_refit or evidence.deflation is None else evidence.deflation.n_same_record
    checks = [
        validity_check(evidence),
        sessions_check(sessions, policy),
        *(score_checks(record, policy) if len(record) else ()),
    ]
    comparisons: list[Comparison] = []
    if is_long_enough:
        rival, rival_name = (P_RULES, "the rules") if is_refit else (P_CHAMPION, champion.name)
        opponents = {
            rival: rival_name,
            P_BASE_RATE: "the base rate",
            P_PATTERN_BASE_RATE: "the pattern base rate",
        }
        for column, name in opponents.items():
            comparison = compare_log_loss(record, P_CHALLENGER, column)
            comparisons.append(comparison)
            checks.append(log_loss_check(comparison, name, policy, tried=tried))
        money, compared = money_checks(record, rival, rival_name, policy, burn_in)
        checks += money
        comparisons += compared
        checks.append(accuracy_check(record, rival, rival_name))
    checks += [
        deflation_check(evidence.deflation, policy, is_refit=is_refit),
        drift_check(evidence.drift, is_refit=is_refit),
        agreement_check(evidence.live_shadow, policy),
    ]
    if is_refit:
        checks.append(non_inferiority_check(evidence.newest_block, champion, policy))
    checks += [parity_check(evidence, policy), latency_check(evidence, policy)]
    if champion.forced:
        checks.append(forced_champion_check(champion))
    verdict = _verdict(checks, is_long_enough)
    headline, summary = _in_words(verdict, checks, champion, is_refit)
    return GateDecision(verdict, headline, summary, tuple(checks), tuple(comparisons), sessions, len(record))


def _verdict(checks: Iterable[GateCheck], is_long_enough: bool) -> Verdict:
    decisive = [check for check in checks if check.decisive]
    if any(check.passed is False and check.name != "sessions" for check in decisive):
        return "stay"
    if not is_long_enough:
        return "not_enough_evidence"
    return "promote" if all(check.passed for check in decisive) else "stay"


def _in_words(verdict: Verdict, checks: list[GateCheck], champion: ChampionInfo, is_refit: bool) -> tuple[str, str]:
    stay = "Stay on rules" if champion.kind == "rules" else f"Stay on {champion.version_id}"
    if verdict == "promote":
        what = "this week's fit" if is_refit else "the challenger"
        return f"Promote {what} over {champion.name}", "Every decisive check passed."
    against = [check.reason for check in checks if check.decisive and not check.passed]
    if verdict == "not_enough_evidence":
        reason = next(check.reason for check in checks if check.name == "sessions")
        return f"Not enough evidence yet: {stay[0].lower()}{stay[1:]}", _sentence([reason])
    return stay, _sentence(against)


def _sentence(reasons: list[str]) -> str:
    text = "; ".join(reasons)
    return f"{text[:1].upper()}{text[1:]}."


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None

"""How large a position to suggest: upstream's rule, its caps, and less where the two arms disagree.

Upstream stakes 2 % of the account times min(2 * confidence, 1), at most 20 % of the account in a position (10 % before
the market opens) and five positions at a time. It asks for "conservative sizing" where the arms disagree and leaves
open what that is; here it is the distance between the two probabilities, and whether they stand on different sides of
one half.

A suggestion, never an order. No pandas: the server imports this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

BASE_SHARE = 0.02
MAX_SHARE, MAX_SHARE_PRE_MARKET = 0.20, 0.10
MAX_POSITIONS = 5
"""Upstream's rules (upstream sizing of the trading service): shares of the account, open positions at a time."""

HALVE_FROM = 0.10
"""Distance between the arms' probabilities from which the stake is halved."""
HALVE_OPPOSED_FROM, ABSTAIN_FROM = 0.05, 0.15
"""The same, and the distance from which there is no stake, if they stand on different sides of one half. Both arms are
near one half most of the time, so standing on different sides alone says little: 16 to 45 of 100 events in simulated
markets."""
SLACK = 1e-9
"""0.6 - 0.5 is a little less than 0.1 in floating point."""

Verdict = Literal["full", "halved", "abstain"]


@dataclass(frozen=True)
class Disagreement:
    """How far the arms are apart: ``gap`` = |p_ml - p_rules|, None if one of them has no answer."""

    gap: float | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class SizeSuggestion:
    """``share`` of the account to stake, 0 for none; ``cap`` is the most that the rules allow for one position."""

    share: float
    cap: float
    verdict: Verdict
    reason: str


def base_shares(confidence: np.ndarray | float) -> np.ndarray:
    """Upstream's share of the account at each confidence in [0, 1]; 0 where it is NaN."""
    confidence = np.asarray(confidence, dtype="float64")
    return BASE_SHARE * np.minimum(np.where(confidence > 0.0, 2.0 * confidence, 0.0), 1.0)


def disagreement_factors(p_ml: np.ndarray | float, p_rules: np.ndarray | float) -> np.ndarray:
    """Share of the stake that is left at each pair: 1, one half or 0; 1 where an arm has no answer (NaN)."""
    p_ml, p_rules = np.asarray(p_ml, dtype="float64"), np.asarray(p_rules, dtype="float64")
    gap = np.abs(p_ml - p_rules)
    opposed = (p_ml - 0.5) * (p_rules - 0.5) < 0.0
    apart = gap >= np.where(opposed, HALVE_OPPOSED_FROM, HALVE_FROM) - SLACK
    far = opposed & (gap >= ABSTAIN_FROM - SLACK)
    return np.where(far, 0.0, np.where(apart, 0.5, 1.0))


def disagreement(p_ml: float | None, p_rules: float | None) -> Disagreement:
    """Compare the arms' probabilities of one event, in words."""
    if p_ml is None or p_rules is None or math.isnan(p_ml) or math.isnan(p_rules):
        return Disagreement(None, "full", "only one arm has an answer: nothing to disagree with")
    # `disagreement_factors` in plain floats: a server answers one event at a time. A test holds the two together.
    gap, opposed = abs(p_ml - p_rules), (p_ml - 0.5) * (p_rules - 0.5) < 0.0
    apart = gap >= (HALVE_OPPOSED_FROM if opposed else HALVE_FROM) - SLACK
    factor = 0.0 if opposed and gap >= ABSTAIN_FROM - SLACK else 0.5 if apart else 1.0
    said = f"model {p_ml:.2f}, rules {p_rules:.2f}"
    if factor == 0.0:
        return Disagreement(gap, "abstain", f"{said}: {gap:.2f} apart on different sides of one half, so no trade")
    if factor == 0.5:
        sides = " on different sides of one half" if opposed else ""
        return Disagreement(gap, "halved", f"{said}: {gap:.2f} apart{sides}, so half the stake")
    return Disagreement(gap, "full", f"{said}: they agree")


def suggest_size(
    confidence: float | None,
    *,
    p_ml: float | None = None,
    p_rules: float | None = None,
    open_positions: int = 0,
    is_pre_market: bool = False,
) -> SizeSuggestion:
    """Suggest the share of the account to stake on one signal.

    Parameters
    ----------
    confidence
        Probability of success behind the signal, usually the blend's; None for no signal.
    p_ml, p_rules
        What each arm said, for the rule on disagreement.

    Examples
    --------
    >>> suggest_size(0.64, p_ml=0.68, p_rules=0.55).share
    0.01
    >>> suggest_size(0.64, p_ml=0.68, p_rules=0.62, open_positions=5).reason
    '5 positions are open, and 5 are the most'
    """
    cap = MAX_SHARE_PRE_MARKET if is_pre_market else MAX_SHARE
    if confidence is None or math.isnan(confidence):
        return SizeSuggestion(0.0, cap, "abstain", "no confidence, no trade")
    if not 0.0 <= confidence <= 1.0:
        raise ValueError(f"sizing: confidence {confidence!r}; expected a probability in [0, 1] (divide scores by 100).")
    if open_positions < 0:
        raise ValueError(f"sizing: {open_positions} open positions; expected 0 or more.")
    if open_positions >= MAX_POSITIONS:
        full = f"{open_positions} positions are open, and {MAX_POSITIONS} are the most"
        return SizeSuggestion(0.0, cap, "abstain", full)
    between = disagreement(p_ml, p_rules)
    factor = {"full": 1.0, "halved": 0.5, "abstain": 0.0}[between.verdict]
    wanted = BASE_SHARE * min(2.0 * confidence, 1.0)
    share = min(wanted, cap) * factor
    reason = f"{100 * wanted:.1f} % of the account at confidence {confidence:.2f}; {between.reason}"
    return SizeSuggestion(share, cap, between.verdict, reason)

"""The rule arms: upstream's signal rules as control arms, one interface for all, each under a name and a version.

An arm gives every event a 0-100 score and an action. The score is not a probability; ``models.rule_arm`` calibrates
it on settled outcomes. Which rules an arm follows, and where ours had to choose: ``rules_v213``, ``rules_v200`` and,
for the trader, ``docs/rules.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import EVENT_KEY, RULE_SCORES
from catalyst_ml.market import rules_v200, rules_v213
from catalyst_ml.market.rule_inputs import RuleInputs, RuleSignals, SignalLevels, rule_inputs

if TYPE_CHECKING:
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar

Levels = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], SignalLevels]
"""From action, price, ATR, score and catalyst score, (n,) each."""


@dataclass(frozen=True)
class RuleArm:
    """One set of rules.

    ``revision`` is raised by hand whenever our reading of the rules changes a score or an action; a test on fixed bars
    notices a change without it. ``trade_score`` is the least score at which the rules' own trader acts.
    """

    name: str
    revision: int
    summary: str
    trade_score: float
    signals: Callable[[RuleInputs], RuleSignals]
    levels: Levels

    @property
    def version(self) -> str:
        """What is written wherever a score of the arm is kept, e.g. ``rules_intended_v213.2``."""
        return f"{self.name}.{self.revision}"

    def score_events(
        self,
        events: pd.DataFrame,
        bars: pd.DataFrame,
        news: pd.DataFrame,
        *,
        timeframe: str = "1d",
        calendar: TradingCalendar | None = None,
    ) -> pd.DataFrame:
        """Return the arm's confidence and action for each event.

        Parameters
        ----------
        events : EVENTS
        bars : BARS
            Split-adjusted, sorted by symbol and ts; must hold the bars of all events.
        news : NEWS
            Stories published in (ts - 24 h, ts] count, by time of publication; may be empty.
        timeframe : str
            Length of the bars, ``1d`` or ``5m`` and the like.
        calendar : TradingCalendar, optional
            Whose sessions the bars belong to; New York's by default.

        Returns
        -------
        RULE_SCORES
            One row per event, order kept. ``rule_score`` is NaN, with action HOLD, only where the indicators lack
            history (34 bars, 50 for v2.0.0). ``rule_action`` is the direction alone: whether the rules' own trader
            acts also depends on ``trade_score``.

        Raises
        ------
        DataContractError
            If an event has no bar or lies in no session, the bars are not split-adjusted, or the news breaks its
            contract.
        """
        if events.empty:
            return RULE_SCORES.empty()
        score, action = self.signals(rule_inputs(events, bars, news, timeframe=timeframe, calendar=calendar))
        keys = events[list(EVENT_KEY)].reset_index(drop=True)
        return keys.assign(rule_score=score, rule_action=action.astype(np.int8))


RULE_ARMS: Mapping[str, RuleArm] = {
    arm.name: arm
    for arm in (
        RuleArm(
            name="rules_intended_v213",
            revision=2,
            summary="v2.1.3 as it was meant: news reaches the patterns, patterns vote, HOLD is no trade",
            trade_score=rules_v213.TRADE_SCORE,
            signals=rules_v213.intended_signals,
            levels=rules_v213.atr_levels,
        ),
        RuleArm(
            name="rules_shipped_v213",
            revision=1,
            summary="v2.1.3 as it ran: flat pattern strength, no pattern votes, HOLD is a sale",
            trade_score=rules_v213.TRADE_SCORE,
            signals=rules_v213.shipped_signals,
            levels=rules_v213.atr_levels,
        ),
        RuleArm(
            name="rules_v200",
            revision=1,
            summary="v2.0.0: catalyst, best pattern, indicators and volume; the patterns' majority decides",
            trade_score=rules_v200.HOLD_BELOW,
            signals=rules_v200.signals,
            levels=rules_v200.percent_levels,
        ),
    )
}
DEFAULT_RULE_ARM = "rules_intended_v213"


def rule_arm(name: str = DEFAULT_RULE_ARM) -> RuleArm:
    """Return the arm of this name.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if name not in RULE_ARMS:
        raise ConfigurationError(f"rule arm {name!r} is unknown; expected one of {list(RULE_ARMS)}. Choose one.")
    return RULE_ARMS[name]


def score_events(
    events: pd.DataFrame,
    bars: pd.DataFrame,
    news: pd.DataFrame,
    *,
    arm: str = DEFAULT_RULE_ARM,
    timeframe: str = "1d",
    calendar: TradingCalendar | None = None,
) -> pd.DataFrame:
    """Return RULE_SCORES of the named arm; see :meth:`RuleArm.score_events`."""
    return rule_arm(arm).score_events(events, bars, news, timeframe=timeframe, calendar=calendar)


def signal_levels(
    arm: RuleArm,
    action: np.ndarray,
    price: np.ndarray,
    atr: np.ndarray,
    score: np.ndarray,
    *,
    catalyst_score: np.ndarray | float = 0.0,
) -> SignalLevels:
    """Return entry, stop, targets and size of the arm's signals.

    Parameters
    ----------
    action : (n,) int
        +1, -1 or 0, as in RULE_SCORES.
    price : (n,) float
        US dollars, the price at which the rules would ask for an entry.
    atr : (n,) float
        Average true range, 14 bars; NaN if unknown.
    score : (n,) float
        The arm's score; NaN means no trade.
    catalyst_score : (n,) float
        Raw score of the catalyst, 0 without one; only ``rules_v200`` asks for it.

    Raises
    ------
    DataContractError
        If an action is none of the three, a price is not above zero, or an ATR or catalyst score is negative.
    """
    sides = np.asarray(action)
    known = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (sides, price, atr, score, catalyst_score))
    )
    sides, prices, ranges, scores, catalysts = known
    is_bad = ~np.isin(sides, (-1, 0, 1)) | ~(prices > 0.0) | (ranges < 0.0) | ~(catalysts >= 0.0)
    if is_bad.any():
        i = int(is_bad.argmax())
        raise DataContractError(
            f"signal levels: {int(is_bad.sum())} of {len(sides)} signals are unusable, first action {sides[i]:g}, "
            f"price {prices[i]:g}, ATR {ranges[i]:g}, catalyst {catalysts[i]:g}; expected action "
            "-1, 0 or 1, a price above zero, ATR and catalyst score not below zero. Mend the signal."
        )
    return arm.levels(sides, prices, ranges, scores, catalysts)

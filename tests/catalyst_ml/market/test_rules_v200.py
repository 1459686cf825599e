"""Hand-computed cases: confidence = 0.35 catalyst + 0.35 pattern + 0.20 indicators + 0.10 volume."""

from __future__ import annotations

import numpy as np
import pytest

from catalyst_ml.market.rules_v200 import pattern_confidences, signals
from tests.catalyst_ml.market.rule_cases import DOWN, UP, make_inputs

HAMMER = (DOWN, UP, (100.6, 100.75, 99.8, 100.7))
DOJI_HAMMER = (DOWN, UP, (100.6, 100.64, 99.8, 100.65))
STAR = (DOWN, UP, (100.7, 101.5, 100.55, 100.6))
GAP_UP = (DOWN, UP, (102.6, 103.3, 102.5, 103.1))  # opens 2.09 % above 100.5
SMALL_GAP = (DOWN, UP, (101.6, 102.3, 101.5, 102.1))  # 1.09 %: a gap to the later rules only
EXACT_GAP = (UP, DOWN, (102.0, 102.7, 101.9, 102.5))
TOUCHING = (UP, DOWN, (100.0, 100.7, 99.7, 100.5))  # the previous body exactly covered
LEVEL_SOLDIERS = ((99.9, 100.7, 99.8, 100.5), UP, (100.1, 100.7, 99.9, 100.5))  # three up, closes not rising
CROWD = (
    UP,
    (100.1, 100.6, 99.4, 100.0),
    (97.9, 105.0, 97.8, 100.2),
)  # bull engulfing, gap_down, star; surge comes on top
UPGRADE = (60.0, "positive", "upgrade")
BAD = (30.0, "negative", None)

# Indicators by default 50 + 15 (MACD) + 15 + 10 (close above its means) = 90, volume 50: 18 + 5 = 23.
# Each case: evidence, catalyst, pattern, indicators, volume, action.
CASES = {
    "nothing: held for want of confidence": ({}, 0, 0, 90, 50, 0),
    "hammer": ({"candles": HAMMER}, 0, 65, 90, 50, 1),
    "a pattern of the later rules only": ({"candles": SMALL_GAP, "volume_ratio": 2.0}, 0, 0, 90, 90, 0),
    "gap": ({"candles": GAP_UP}, 0, 70, 90, 50, 1),
    "a gap of exactly 2 %": ({"candles": EXACT_GAP}, 0, 70, 90, 50, 1),
    "engulfing may touch": ({"candles": TOUCHING}, 0, 70, 90, 50, 1),
    "soldiers need no rising closes": ({"candles": LEVEL_SOLDIERS}, 0, 75, 90, 50, 1),
    # gap_up 70 and surge 65 agree: 70 * 1.1
    "agreement": ({"candles": GAP_UP, "surge": 2.0, "volume_ratio": 1.9}, 0, 77, 90, 70, 1),
    "a doji agrees with nobody": ({"candles": DOJI_HAMMER}, 0, 65, 90, 50, 1),
    # bull engulfing 70, gap_down 70, star 65 decide 1 : 2; the bullish surge of 65 is the fourth
    "only three patterns have a say": ({"candles": CROWD, "surge": 2.0}, 0, 70, 90, 50, -1),
    # 60 * 1.2 = 72; hammer 65 * 1.5 = 97.5
    "upgrade": ({"candles": HAMMER, "story": UPGRADE}, 72, 97.5, 90, 50, 1),
    "many stories": ({"candles": HAMMER, "story": UPGRADE, "n_stories": 4}, 79.2, 97.5, 90, 50, 1),
    "three are not many": ({"candles": HAMMER, "story": UPGRADE, "n_stories": 3}, 72, 97.5, 90, 50, 1),
    # 90 * 1.5 capped; the hammer is not lifted by neutral news
    "catalyst capped": ({"candles": HAMMER, "story": (90.0, "neutral", "fda_approval")}, 100, 65, 90, 50, 1),
    # hammer 65 * 0.7: a BUY against bad news
    "bad news vetoes a buy": ({"candles": HAMMER, "story": (50.0, "negative", "lawsuit")}, 55, 45.5, 90, 50, 0),
    "good news vetoes a sale": ({"candles": STAR, "story": UPGRADE}, 72, 45.5, 90, 50, 0),
    # 50 + 20 + 15 + 25, capped at 100; no pattern, so the extreme decides
    "oversold without patterns": ({"rsi": 29.0, "story": (50.0, "neutral", None)}, 50, 0, 100, 50, 1),
    "oversold does not turn a sale round": ({"candles": STAR, "rsi": 29.0}, 0, 65, 100, 50, -1),
    # 50 - 20 + 15 + 25
    "overbought without patterns": ({"rsi": 71.0, "story": (50.0, "neutral", None)}, 50, 0, 70, 50, -1),
    "overbought does not turn a buy round": ({"candles": HAMMER, "rsi": 71.0}, 0, 65, 70, 50, 1),
    # 50 - 20 - 15 - 25, floored at 0
    "all bearish": (
        {"candles": STAR, "rsi": 71.0, "macd": 0.0, "order": -1.0, "volume_ratio": 0.9, "story": BAD},
        30, 97.5, 0, 30, -1,
    ),
    "nothing traded before": ({"candles": HAMMER, "volume_ratio": np.nan}, 0, 65, 90, 50, 1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_score_and_action_by_hand(case):
    evidence, catalyst, pattern, indicators, volume, expected = CASES[case]

    score, action = signals(make_inputs(**evidence))

    assert score[0] == pytest.approx(0.35 * catalyst + 0.35 * pattern + 0.20 * indicators + 0.10 * volume)
    assert action.tolist() == [expected]


def test_confidences_of_momentum_patterns_rise_with_any_catalyst():
    assert pattern_confidences(0, has_catalyst=False).tolist() == [65, 65, 70, 70, 60, 75, 75, 70, 70, 65, 65]
    quiet, good = (pattern_confidences(value, has_catalyst=True) for value in (0, 1))
    assert quiet == pytest.approx([65, 65, 70, 70, 60, 75, 75, 84, 84, 78, 78])
    # 65*1.5, 65*0.7, 70*1.5 cap, 70*0.6, 60*1.2, 75*1.6 cap, 75*0.5, 70*1.7*1.2 cap, 70*0.4*1.2, 65*1.4*1.2 cap
    assert good == pytest.approx([97.5, 45.5, 100, 42, 72, 100, 37.5, 100, 33.6, 100, 100])


def test_no_score_and_no_action_before_fifty_bars():
    inputs = make_inputs(candles=HAMMER, order=np.nan)
    score, action = signals(inputs)
    assert np.isnan(score).tolist() == [True]
    assert action.tolist() == [0]

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.models.rule_arm import RuleCalibration


def make_rules(n: int = 20_000, seed: int = 1) -> pd.DataFrame:
    """Trades that the rules agree with succeed more often, the more so the higher the score."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0, 100, size=n)
    direction = rng.choice(np.array([-1, 1], dtype="int8"), size=n)
    action = rng.choice(np.array([-1, 0, 1], dtype="int8"), size=n)
    stance = direction * action
    y = (rng.random(n) < 0.5 + 0.2 * stance * score / 100).astype("int8")
    return pd.DataFrame({"rule_score": score, "direction": direction, "rule_action": action, "y": y})


def test_probabilities_follow_agreement_opposition_and_score() -> None:
    rows = make_rules()
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.5)
    asked = pd.DataFrame(
        {
            "rule_score": [90.0, 90.0, 90.0, 10.0, 90.0],
            "direction": np.array([1, 1, 1, 1, -1], dtype="int8"),
            "rule_action": np.array([1, -1, 0, 1, -1], dtype="int8"),
        }
    )
    expected = [0.68, 0.32, 0.5, 0.52, 0.68]
    np.testing.assert_allclose(fitted.predict(asked), expected, atol=0.025)


def test_rows_without_a_score_get_the_base_rate() -> None:
    rows = make_rules(n=500)
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.47)
    asked = rows.head(3).assign(rule_score=np.nan)
    np.testing.assert_array_equal(fitted.predict(asked), [0.47, 0.47, 0.47])


def test_rules_that_never_scored_say_the_base_rate() -> None:
    rows = make_rules(n=50).assign(rule_score=np.nan)
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.47)
    np.testing.assert_array_equal(fitted.predict(rows), np.full(50, 0.47))


def test_the_calibration_survives_json() -> None:
    rows = make_rules(n=500)
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.5)
    assert RuleCalibration.from_dict(fitted.to_dict()) == fitted

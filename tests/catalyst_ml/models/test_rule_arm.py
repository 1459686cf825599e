from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.evaluation.record import P_RULES
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.models.walk_forward import fit_fold


def make_rules(n: int = 20_000, seed: int = 1) -> pd.DataFrame:
    """Trades that the rules agree with succeed more often, the more so the higher the score."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0, 100, size=n)
    direction = rng.choice(np.array([-1, 1], dtype="int8"), size=n)
    action = rng.choice(np.array([-1, 0, 1], dtype="int8"), size=n)
    stance = direction * action
    y = (rng.random(n) < 0.5 + 0.2 * stance * score / 100).astype("int8")
    session = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n) * 700 // n, unit="D")
    return pd.DataFrame(
        {"rule_score": score, "direction": direction, "rule_action": action, "y": y, "session": session}
    )


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
    level = replace(fitted, long=0.0, short=0.0)
    np.testing.assert_allclose(level.predict(asked), [0.47, 0.47, 0.47], rtol=0, atol=1e-15)


def test_one_event_gets_the_probability_that_many_get() -> None:
    rng = np.random.default_rng(3)
    fitted = RuleCalibration(tuple(rng.normal(size=5).tolist()), 0.47, long=0.2, short=-0.1)
    n = 303
    asked = pd.DataFrame(
        {
            "rule_score": np.r_[rng.uniform(0.0, 100.0, n - 3), np.nan, 0.0, 100.0],
            "rule_action": rng.choice(np.array([-1, 0, 1], dtype="int8"), size=n),
            "direction": rng.choice(np.array([-1, 1], dtype="int8"), size=n),
        }
    )
    alone = [
        fitted.predict_one(score, float(action * side), side) for score, action, side in asked.itertuples(index=False)
    ]
    np.testing.assert_allclose(alone, fitted.predict(asked), rtol=0, atol=1e-14)


def test_in_a_rising_market_the_rules_know_that_long_events_succeed_more_often() -> None:
    rows = make_rules(n=40_000, seed=7)
    lift = 0.10 * rows["direction"]
    rows["y"] = (np.random.default_rng(8).random(len(rows)) < 0.5 + lift).astype("int8")
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.5)
    p = pd.Series(fitted.predict(rows)).groupby(rows["direction"].to_numpy()).mean()
    # A prior holds it back: two years of a rising market are no law.
    assert 0.51 < p[1] < 0.60
    assert 0.40 < p[-1] < 0.49
    assert fitted.long > 0.0 > fitted.short
    # Nobody hears of it twice: what the rules' agreement adds is not the direction again.
    agrees = rows["rule_action"] == rows["direction"]
    by_stance = pd.Series(fitted.predict(rows)).groupby([rows["direction"].to_numpy(), agrees.to_numpy()]).mean()
    assert by_stance[1, True] == pytest.approx(by_stance[1, False], abs=0.02)


def test_a_calibration_kept_from_before_knows_no_directions() -> None:
    old = RuleCalibration.from_dict({"coefficients": [0.1, 0.2, 0.3, 0.4, 0.5], "base_rate": 0.5})
    assert (old.long, old.short) == (0.0, 0.0)
    assert old.predict_one(50.0, 1.0, 1) == old.predict_one(50.0, 1.0, -1)


def test_rules_that_never_scored_say_the_base_rate() -> None:
    rows = make_rules(n=50).assign(rule_score=np.nan)
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.47)
    np.testing.assert_allclose(fitted.predict(rows), np.full(50, 0.47), rtol=0, atol=0.01)


def test_the_calibration_survives_json() -> None:
    rows = make_rules(n=500)
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.5)
    assert RuleCalibration.from_dict(fitted.to_dict()) == fitted


def log_loss(y: pd.Series, p: np.ndarray) -> float:
    return float(-np.mean(np.where(y == 1, np.log(p), np.log(1.0 - p))))


def test_a_useless_score_says_the_base_rate() -> None:
    rng = np.random.default_rng(30)  # not the stream that drew the scores
    rows = make_rules(n=40_000, seed=3)
    rows["y"] = (rng.random(len(rows)) < 0.47).astype("int8")
    past, future = rows.head(20_000), rows.tail(20_000)
    p = RuleCalibration.fit(past, np.ones(len(past)), base_rate=0.47).predict(future)
    # Five coefficients from 20,000 rows: the expected loss of pure noise is 5 / (2 * 20,000).
    assert np.abs(p - 0.47).max() < 0.03
    assert log_loss(future["y"], p) - log_loss(future["y"], np.full(len(future), 0.47)) < 0.0005


def test_an_informative_score_beats_the_base_rate_and_its_own_hundredth_out_of_time() -> None:
    rows = make_rules(n=6_000, seed=4)
    past, future = rows.head(3_000), rows.tail(3_000)
    p = RuleCalibration.fit(past, np.ones(len(past)), base_rate=0.5).predict(future)
    # The truth is 0.5 + 0.2 * stance * score / 100: knowing it saves 2 * (2/3) * 0.2² / 3 nats over 1/2.
    saved = np.log(2.0) - log_loss(future["y"], p)
    assert 0.6 * 0.0178 < saved < 1.4 * 0.0178
    assert log_loss(future["y"], future["rule_score"].clip(1, 99).to_numpy() / 100.0) > np.log(2.0)


def test_probabilities_are_monotone_in_the_score_whatever_the_rules_say() -> None:
    rows = make_rules(n=5_000, seed=5)
    fitted = RuleCalibration.fit(rows, np.ones(len(rows)), base_rate=0.5)
    score = np.linspace(0.0, 100.0, 101)
    slopes = {}
    for action in (1, 0, -1):
        asked = pd.DataFrame({"rule_score": score, "direction": 1, "rule_action": action})
        steps = np.diff(fitted.predict(asked))
        assert (steps > 0).all() or (steps < 0).all()
        slopes[action] = steps.sum()
    assert slopes[1] > 0.1
    assert slopes[-1] < -0.1


def test_in_a_fold_the_rules_move_with_settled_outcomes_and_with_no_other(
    make_training_set: Callable[..., pd.DataFrame], make_fold: Callable[..., Fold], procedure: Procedure
) -> None:
    rows = make_training_set(n_sessions=80)
    fold = make_fold(rows, 60, 79)
    cheap = replace(procedure, members=("base_rate",))
    is_settled = (rows["label_end"] < fold.known_before).to_numpy()

    def rules(flipped: np.ndarray) -> np.ndarray:
        altered = rows.assign(y=np.where(flipped, 1 - rows["y"], rows["y"]).astype("int8"))
        return fit_fold(altered, fold, cheap, n_threads=1).rows[P_RULES].to_numpy()

    before = rules(np.zeros(len(rows), dtype=bool))
    np.testing.assert_array_equal(rules(~is_settled), before)
    last_settled = np.flatnonzero(is_settled & rows["rule_score"].notna().to_numpy())[-1]
    assert (rules(np.arange(len(rows)) == last_settled) != before).any()

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.calibration_drift import (
    MAX_SETTLED_SESSIONS,
    expected_accuracy,
    watch_calibration,
    watch_confidence,
)


def outcomes(seed: int, n_sessions: int, *, off_by: float = 0.0, width: float = 0.1) -> pd.DataFrame:
    """``session``, ``y``, ``p``: true probabilities plus ``off_by``, and days that stray by 0.1 together."""
    rng = np.random.default_rng(seed)
    sessions = pd.bdate_range("2024-01-01", periods=n_sessions)
    p = np.clip(0.5 + width * rng.standard_normal((n_sessions, 30)), 0.05, 0.95)
    y = rng.random(p.shape) < np.clip(p + 0.1 * rng.standard_normal((n_sessions, 1)), 0, 1)
    p = np.clip(p + off_by, 0.0, 1.0)
    return pd.DataFrame({"session": np.repeat(sessions, 30), "y": y.ravel() * 1, "p": p.ravel()})


def test_probabilities_that_hold_do_not_alarm_and_those_that_are_15_points_off_do() -> None:
    right = [watch_calibration(outcomes(seed, 150)).findings[0] for seed in range(10)]
    wrong = [watch_calibration(outcomes(seed, 150, off_by=0.15)).findings[0] for seed in range(10)]

    assert not any(finding.alarms for finding in right)
    assert all(finding.alarms for finding in wrong)
    assert np.mean([finding.value for finding in wrong]) == pytest.approx(0.15, abs=0.02)
    assert all(finding.value > finding.bound for finding in wrong)


def test_few_settled_sessions_are_not_judged_and_only_the_newest_year_counts() -> None:
    few = watch_calibration(outcomes(0, 59))
    old = outcomes(0, 252, off_by=0.3).assign(session=lambda f: f["session"] - pd.DateOffset(years=3))
    both = watch_calibration(pd.concat([old, outcomes(1, MAX_SETTLED_SESSIONS)]))

    assert (few.findings, few.facts) == ((), {})
    assert "59 sessions with outcomes, 60 are needed" in few.unjudged[0]
    assert both.facts["settled_sessions"] == MAX_SETTLED_SESSIONS
    assert not both.findings[0].alarms
    assert watch_calibration(outcomes(0, 1)[:0]).unjudged


def test_a_model_that_grows_unsure_promises_less_and_alarms() -> None:
    record = outcomes(0, 200, width=0.2)
    later = {"session": lambda f: f["session"] + pd.DateOffset(years=2)}
    same, unsure = outcomes(1, 20, width=0.2).assign(**later), outcomes(1, 20, width=0.01).assign(**later)

    (before,), (after,) = (watch_confidence(record, recent).findings for recent in (same, unsure))

    assert not before.alarms
    assert after.alarms
    assert "promise an accuracy of 50.7%" in after.meaning


def test_expected_accuracy_is_the_realised_one_when_probabilities_hold() -> None:
    record, fresh = outcomes(2, 400, width=0.25), outcomes(3, 400, width=0.25)
    expected = expected_accuracy(record, fresh["p"].to_numpy())
    realised = float(np.mean((fresh["p"] >= 0.5) == (fresh["y"] == 1)))

    assert expected.average_confidence == pytest.approx(realised, abs=0.015)
    assert expected.atc == pytest.approx(realised, abs=0.02)


def test_a_short_record_or_a_young_version_is_not_judged() -> None:
    record, recent = outcomes(0, 200), outcomes(1, 20)

    young = recent[recent["session"] > recent["session"].min()]

    for short in (watch_confidence(outcomes(0, 119), recent), watch_confidence(record, young)):
        assert short.findings == ()
        assert "not enough to judge" in short.unjudged[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 1.2}, "not probabilities"),
        ({"p": np.nan}, "not probabilities"),
        ({"y": 0.5}, "not outcomes 0 or 1"),
        ({"y": np.nan}, "not outcomes 0 or 1"),
    ],
)
def test_what_is_no_probability_or_outcome_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(DataContractError, match=message):
        watch_calibration(outcomes(0, 80).assign(**change))
    with pytest.raises(DataContractError, match="columns \\['y'\\] are missing"):
        watch_calibration(outcomes(0, 80).drop(columns="y"))

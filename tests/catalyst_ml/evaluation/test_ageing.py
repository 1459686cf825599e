"""Older fits against the freshest, on the same rows and days."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.ageing import AGES_WEEKS, ageing_curve, read_curve
from catalyst_ml.evaluation.intervals import mean_interval
from catalyst_ml.evaluation.record import log_losses


def make_live(
    *, sessions: int = 200, events_a_day: int = 30, seed: int = 0, error_per_week: float = 0.0, ages=AGES_WEEKS
) -> pd.DataFrame:
    """Rows whose truth moves away from a fit: each week of age adds to the error of its log-odds."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(sessions), events_a_day)
    n = len(day)
    truth = 0.4 * rng.standard_normal(n)
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-truth))).astype("int8")
    days = pd.bdate_range("2020-01-01", periods=sessions)
    frame = {"session": days[day], "direction": rng.choice([-1, 1], size=n), "y": y}
    for age in ages:
        error = error_per_week * age * rng.standard_normal(n) + 0.02 * rng.standard_normal(n)
        frame[f"p_age_{age}"] = 1.0 / (1.0 + np.exp(-(truth + error)))
    return pd.DataFrame(frame)


def without_first(rows: pd.DataFrame, sessions: int, *, age: int) -> pd.DataFrame:
    """A fit of that age is missing on the first sessions, as at the beginning of a back-test."""
    days = np.sort(rows["session"].unique())[:sessions]
    column = f"p_age_{age}"
    return rows.assign(**{column: rows[column].mask(rows["session"].isin(days))})


def test_where_truth_moves_away_older_fits_are_worse_and_the_curve_says_from_when():
    points = ageing_curve(make_live(error_per_week=0.15))

    excess = [point.excess.value for point in points[1:]]
    assert excess == sorted(excess)
    assert [point.age_weeks for point in points] == list(AGES_WEEKS)
    assert points[-1].is_worse
    assert points[-1].excess.low > 0
    assert "clearly worse: refit at least that often" in read_curve(points)


def test_where_nothing_changes_age_costs_nothing_and_the_curve_does_not_claim_more():
    worse = [
        point.is_worse
        for seed in range(12)
        for point in ageing_curve(make_live(seed=seed, sessions=120, ages=(0, 1, 8)))
    ]

    # 24 tests at 5 %: 5 or more happen once in 160 times.
    assert sum(worse) <= 4
    assert "not proven to be needed" in read_curve(ageing_curve(make_live(seed=1)))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), sessions=st.integers(30, 90))
def test_all_ages_are_compared_on_the_same_rows(seed, sessions):
    rows = without_first(make_live(seed=seed, sessions=sessions, events_a_day=5), sessions // 3, age=8)
    ages = (0, 1, 8)

    points = ageing_curve(rows, ages)

    same = rows.dropna(subset=["p_age_8"])
    kept = [point.age_weeks for point in points]
    if kept == list(ages):
        assert {point.n for point in points} == {len(same)}
        losses = {age: log_losses(same["y"], same[f"p_age_{age}"]) for age in ages}
        assert points[2].excess == mean_interval(losses[8] - losses[0], same["session"])
        assert points[2].excess.value == pytest.approx(points[2].log_loss - points[0].log_loss)
    else:
        assert kept == [0, 1]
        assert sessions - sessions // 3 < max(20, sessions / 2)


def test_an_age_of_which_there_is_too_little_does_not_take_the_rows_from_the_others():
    rows = without_first(without_first(make_live(), 60, age=4), 120, age=13)

    points = ageing_curve(rows)

    assert [point.age_weeks for point in points] == [0, 1, 2, 4, 8]
    assert {point.sessions for point in points} == {140}


def test_the_freshest_has_nothing_to_be_compared_with():
    (fresh,) = ageing_curve(make_live(ages=(0,)))

    assert (fresh.excess, fresh.t, fresh.p_value, fresh.is_worse) == (None, None, None, False)
    assert "no older fit" in read_curve([fresh])


def test_two_equal_fits_differ_by_nothing_and_survive_json():
    rows = make_live(ages=(0,))
    point = ageing_curve(rows.assign(p_age_1=rows["p_age_0"]))[1]

    assert json.loads(json.dumps(point.to_dict(), allow_nan=False))["t"] == 0.0
    assert (point.excess.value, point.t, point.p_value) == (0.0, 0.0, 0.5)


def test_too_few_sessions_and_a_missing_freshest_fit_are_refused():
    with pytest.raises(InsufficientHistory, match="19 sessions"):
        ageing_curve(make_live(sessions=19))
    with pytest.raises(DataContractError, match="p_age_0"):
        ageing_curve(make_live().drop(columns="p_age_0"))

"""What a back-test lived through: settled weeks, arms, stays in charge."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation import live_record
from catalyst_ml.evaluation.intervals import mean_interval
from catalyst_ml.evaluation.live_record import LIVE_ARMS, P_PRODUCTION, P_SHADOW
from catalyst_ml.evaluation.record import P_BASE_RATE, P_PATTERN_BASE_RATE, P_RULES, log_losses

SESSIONS = 60
PROMOTED, REPLACED = 5, 9
"""In charge: the rules for five weeks, then one fit for four, then another."""


def make_rows(*, skill: float = 0.5) -> pd.DataFrame:
    """Settled live rows of twelve weeks: the fit of the week knows a part of the truth, the floors do not."""
    rows = make_record(sessions=SESSIONS, events_a_day=40, seed=4, challenger_skill=skill)
    week = (rows["session"].rank(method="dense").astype(int) - 1) // 5
    holder = np.select([week < PROMOTED, week < REPLACED], ["rules", "fit of A"], "fit of B")
    return rows.assign(
        fold=("2024-" + week.astype(str).str.zfill(2)).astype("str"),
        production=pd.Series(holder, index=rows.index).astype("str"),
        gross_return=rows["net_return"] + 0.001,
        **{
            P_SHADOW: rows["p_challenger"],
            P_PRODUCTION: rows["p_challenger"].where(week >= PROMOTED, rows[P_RULES]),
        },
    )


def make_labels(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[["symbol", "ts", "direction", *live_record.OUTCOMES]]


def make_live(rows: pd.DataFrame) -> list[pd.DataFrame]:
    forecast = rows[["symbol", "ts", "direction", "session", "fold", "production", *LIVE_ARMS]]
    return [week.reset_index(drop=True) for _, week in forecast.groupby("fold")]


def test_forecasts_meet_their_outcomes_and_what_has_none_is_counted() -> None:
    rows = make_rows()
    labels = make_labels(rows).sample(frac=1.0, random_state=1)
    lost = rows.index[[3, 700, 1_500]]

    found = live_record.settle(make_live(rows), labels.drop(index=lost))

    assert found.n_without_outcome == 3
    expected = rows.drop(index=lost).sort_values(["ts", "symbol", "direction"], ignore_index=True)
    pd.testing.assert_frame_equal(found.rows[list(expected.columns.intersection(found.rows.columns))],
                                  expected[list(expected.columns.intersection(found.rows.columns))])  # fmt: skip


def test_a_week_that_is_not_over_is_left_out_whole() -> None:
    rows = make_rows()
    fast_only = make_labels(rows[~((rows["fold"] == "2024-11") & (rows["y"] == 0))])

    found = live_record.settle(make_live(rows), fast_only, pending=["2024-11"])

    assert "2024-11" not in set(found.rows["fold"])
    assert (found.n_without_outcome, found.pending) == (0, ("2024-11",))
    assert live_record.settle(make_live(rows), fast_only).n_without_outcome > 0


def test_without_any_outcome_it_says_so() -> None:
    rows = make_rows()
    with pytest.raises(InsufficientHistory, match="none of 0 events in settled weeks"):
        live_record.settle(make_live(rows), make_labels(rows), pending=sorted(set(rows["fold"])))


def test_arms_are_scored_against_base_rate_and_rules_on_the_same_rows() -> None:
    rows = make_rows()
    y = rows["y"]

    fit, rules = live_record.arm_figures(rows, P_SHADOW), live_record.arm_figures(rows, P_RULES)

    excess = log_losses(y, rows[P_SHADOW]) - log_losses(y, rows[P_BASE_RATE])
    assert fit.loss_vs_base == mean_interval(excess, rows["session"])
    assert fit.loss_vs_base.high < 0.0 < rules.log_loss.value
    assert fit.auc_within.low > 0.55
    assert (rules.loss_vs_rules.value, rules.loss_vs_rules.low) == (0.0, 0.0)
    # The first week has no earlier one to freeze a threshold on.
    assert fit.trades == pytest.approx(0.2 * len(rows) * 11 / 12, rel=0.15)
    assert json.dumps(fit.to_dict(), allow_nan=False)


def test_the_figures_of_the_weeks_add_up_to_those_of_all() -> None:
    rows = make_rows()

    weeks = live_record.weekly_figures(rows)

    assert [week["fold"] for week in weeks] == sorted(set(rows["fold"]))
    assert sum(week["n"] for week in weeks) == len(rows)
    for column in LIVE_ARMS:
        name = column.removeprefix("p_")
        total = sum(week["n"] * week["arms"][name]["log_loss"] for week in weeks) / len(rows)
        assert total == pytest.approx(live_record.arm_figures(rows, column).log_loss.value)
    assert weeks[0]["arms"]["age_0"]["net_bps"] is None
    assert [week["production"] for week in weeks][PROMOTED - 1 : PROMOTED + 1] == ["rules", "fit of A"]


def test_a_missing_forecast_leaves_its_week_unscored_and_the_others_as_they_are() -> None:
    rows = make_rows()
    holed = rows.assign(**{P_SHADOW: rows[P_SHADOW].mask(rows["fold"] == "2024-03")})

    week = {row["fold"]: row for row in live_record.weekly_figures(holed)}["2024-03"]

    assert week["arms"]["age_0"] == {"log_loss": None, "auc_within": None, "net_bps": None}
    assert week["arms"]["rules"]["log_loss"] is not None
    assert live_record.arm_figures(holed, P_SHADOW).n == len(rows) - week["n"]


def test_each_stay_in_charge_is_judged_on_its_own_weeks() -> None:
    rows = make_rows()

    stays = live_record.tenures(rows)

    assert [(stay.holder, stay.since, stay.n_weeks) for stay in stays] == [
        ("rules", "2024-00", PROMOTED),
        ("fit of A", "2024-05", REPLACED - PROMOTED),
        ("fit of B", "2024-09", 12 - REPLACED),
    ]
    assert stays[0].loss_vs_rules.value == 0.0
    assert stays[1].loss_vs_rules.high < 0.0
    # Three weeks are fifteen sessions: too short for an interval.
    assert (stays[2].loss_vs_base.low, stays[2].sessions) == (None, 15)


def test_the_running_gain_ends_at_the_sum_over_all_rows() -> None:
    rows = make_rows()

    curves = {curve["against"]: curve for curve in live_record.running_gain(rows)}

    for column in (P_RULES, P_BASE_RATE, P_PATTERN_BASE_RATE):
        curve = curves[column.removeprefix("p_")]
        total = (log_losses(rows["y"], rows[column]) - log_losses(rows["y"], rows[P_SHADOW])).sum()
        assert curve["cumulative"][-1] == pytest.approx(total)
        assert len(curve["sessions"]) == SESSIONS

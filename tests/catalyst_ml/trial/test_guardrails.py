import numpy as np
import pandas as pd
import pytest

from catalyst_ml.evaluation.significance import har_t_test
from catalyst_ml.trial.guardrails import WINDOW_SESSIONS, DailyHealth, GuardPolicy, watch

N = 300
RNG = np.random.default_rng(7)
NOISE = RNG.standard_normal(N)
SUCCESS = 0.5 + 0.14 * RNG.standard_normal((2, N))


def healthy(**changed):
    """Three hundred sessions in which nothing is wrong."""
    n = np.full(N, 60.0)
    sound = {
        "difference": 0.1 * NOISE,
        "n_events": n,
        "n_predicted": n,
        "n_settled": n,
        "gap": 60.0 * (SUCCESS[0] - 0.5),
        "hits": 12.0 * 0.7 * (SUCCESS[1] - 0.5),
        "taken": np.full(N, 12.0),
        "n_novel": np.full(N, 1.0),
        "n_novel_of": n,
        "model_age_days": np.arange(N) % 7.0,
    }
    return DailyHealth(**(sound | changed))


def fired(name, health, policy=None):
    found = {g.name: g for g in watch(health, policy or GuardPolicy(), label_sessions=5)}
    return found[name]


def test_on_sound_sessions_no_guardrail_fires():
    for guard in watch(healthy(), GuardPolicy(), label_sessions=5):
        assert not guard.fired.any(), guard.name
        check = guard.check_at(N - 1)
        assert check.passed is True
        assert check.reason.endswith("fine")


def test_a_fall_of_three_quarterly_swings_ends_the_stage():
    fall = 0.1 * NOISE - np.where(np.arange(N) >= 200, 0.1, 0.0)

    guard = fired("drawdown", healthy(difference=fall))

    assert guard.fired.any()
    assert guard.fired.argmax() > 205
    at = int(guard.fired.argmax())
    equity = np.cumsum(fall)
    peak = equity[at - WINDOW_SESSIONS : at + 1].max()
    usual = np.sqrt(np.mean(fall[:at] ** 2)) * np.sqrt(WINDOW_SESSIONS)
    assert guard.value[at] == pytest.approx((peak - equity[at]) / usual)
    assert "3.0 are allowed): back to the rules" in guard.check_at(at).reason


def test_drawdown_needs_a_quarter_to_know_what_is_usual():
    guard = fired("drawdown", healthy(difference=np.where(np.arange(N) < 60, -1.0, 0.1 * NOISE)))

    assert np.isnan(guard.value[:WINDOW_SESSIONS]).all()
    assert guard.check_at(10).passed is None


def test_chances_that_are_far_off_for_a_quarter_end_the_stage():
    off = 60.0 * (SUCCESS[0] - 0.5 - np.where(np.arange(N) >= 150, 0.25, 0.0))

    guard = fired("calibration", healthy(gap=off))

    assert guard.fired.argmax() > 160
    assert guard.fired[-1]
    assert guard.value[-1] == pytest.approx(abs(off[-70:-5].sum()) / (65 * 60))


def test_a_gap_that_is_large_but_uncertain_does_not():
    wild = np.where(np.arange(N) % 40 < 20, 0.5, -0.7)

    assert not fired("calibration", healthy(gap=60.0 * wild)).fired.any()


def test_trades_that_succeed_less_than_their_day_end_the_stage():
    worse = 12.0 * (0.3 * (SUCCESS[1] - 0.5) - np.where(np.arange(N) >= 150, 0.12, 0.0))

    guard = fired("accuracy", healthy(hits=worse))

    assert guard.fired.argmax() > 160
    assert guard.value[-1] == pytest.approx(worse[-70:-5].sum() / (65 * 12.0))
    assert not fired("accuracy", healthy(hits=-worse)).fired.any()


def test_the_certainty_asked_for_is_the_gates_har_t():
    gap = 60.0 * (SUCCESS[0] - 0.5 - 0.05)
    t = har_t_test(gap[-70:-5], min_sessions=20)
    two_sided = 2.0 * min(t.p_value, 1.0 - t.p_value)

    for alpha, is_certain in ((1.01 * two_sided, True), (0.99 * two_sided, False)):
        policy = GuardPolicy(max_calibration_gap=0.01, alpha=alpha)
        assert fired("calibration", healthy(gap=gap), policy).fired[-1] == is_certain


def test_young_days_do_not_count():
    spoilt = np.where(np.arange(N) >= N - 5, -60.0, 60.0 * (SUCCESS[0] - 0.5))

    sound, altered = fired("calibration", healthy()), fired("calibration", healthy(gap=spoilt))

    np.testing.assert_array_equal(sound.value, altered.value)


def test_where_every_trade_is_over_by_the_close_the_day_itself_counts():
    gap = 60.0 * (SUCCESS[0] - 0.5)

    guard = next(g for g in watch(healthy(gap=gap), GuardPolicy(), label_sessions=0) if g.name == "calibration")

    assert guard.value[-1] == pytest.approx(abs(gap[-65:].sum()) / (65 * 60))
    assert np.isnan(guard.value[:64]).all()


def test_a_flood_of_novel_events_ends_the_stage_and_one_odd_day_does_not():
    odd = np.full(N, 1.0)
    odd[100] = 50.0
    flood = np.full(N, 1.0)
    flood[100:105] = 18.0

    assert not fired("novelty", healthy(n_novel=odd)).fired.any()
    guard = fired("novelty", healthy(n_novel=flood))
    # 1 of 60 is usual; three days of 18 make 56 of 300, four make 73.
    assert np.flatnonzero(guard.fired).tolist() == [103, 104, 105]
    assert "24 % of the newest" in guard.check_at(103).reason


def test_novelty_that_was_not_measured_is_said_and_does_not_fire():
    guard = fired("novelty", healthy(n_novel=np.full(N, np.nan), n_novel_of=np.full(N, np.nan)))

    assert not guard.fired.any()
    assert guard.check_at(5).passed is None
    assert guard.check_at(5).value is None


def test_a_model_of_more_than_three_weeks_ends_the_stage():
    guard = fired("stale_model", healthy(model_age_days=np.arange(N, dtype=float)))

    assert np.flatnonzero(guard.fired)[0] == 22
    assert guard.check_at(22).reason == "the model was trained 22 days ago (21 are allowed): back to the rules"


def test_a_model_that_stops_answering_ends_the_stage_at_once():
    silent = np.full(N, 60.0)
    silent[50:] = 0.0

    guard = fired("predictions", healthy(n_predicted=silent))

    assert np.flatnonzero(guard.fired)[0] == 51
    quiet_market = fired("predictions", healthy(n_predicted=silent, n_events=np.full(N, 2.0)))
    assert not quiet_market.fired.any()


def test_a_quiet_start_of_a_trial_measures_nothing_it_cannot():
    short = DailyHealth(**{k: v[:3] for k, v in vars(healthy()).items()})
    names = {g.name: g.check_at(2).passed for g in watch(short, GuardPolicy(), label_sessions=5)}

    assert names == {
        "drawdown": None, "calibration": None, "accuracy": None,
        "novelty": True, "stale_model": True, "predictions": True,
    }  # fmt: skip
    assert pd.isna(watch(short, GuardPolicy(), label_sessions=5)[0].value).all()

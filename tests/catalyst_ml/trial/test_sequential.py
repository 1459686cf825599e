import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catalyst_ml.trial.sequential import (
    BETS,
    GAIN_CAP,
    HALF_LIFE_SESSIONS,
    LOSS_CAP,
    SCALE_SDS,
    WARM_UP_SESSIONS,
    bet_on,
    detect_change,
    mean_bounds,
    predictable_scale,
    spent_alpha,
)

DIFFERENCES = arrays(
    "float64", st.integers(1, 90), elements=st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda d: round(d, 6))
)


def noise(n=250, mean=0.0, seed=0, runs=None):
    rng = np.random.default_rng(seed)
    return mean + rng.standard_t(5, n if runs is None else (runs, n)) / np.sqrt(5 / 3)


def wealth_by_loop(d):
    """One run in plain Python, in money and not in logarithms."""
    keep = 0.5 ** (1.0 / HALF_LIFE_SESSIONS)
    past, wealth, bets_made = [], [1.0] * len(BETS), []
    for value in d:
        before = [x for x in past if x != 0.0]
        if len(before) < WARM_UP_SESSIONS:
            bets_made.append(0.0)
        else:
            weights = [keep ** (len(before) - 1 - i) for i in range(len(before))]
            mean_square = sum(w * x * x for w, x in zip(weights, before, strict=True)) / sum(weights)
            x = min(max(value / (SCALE_SDS * mean_square**0.5), -LOSS_CAP), GAIN_CAP)
            bets_made.append(sum(b * w for b, w in zip(BETS, wealth, strict=True)) / sum(wealth))
            wealth = [w * (1.0 + b * x) for b, w in zip(BETS, wealth, strict=True)]
        past.append(value)
    return sum(wealth) / len(BETS), bets_made


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.3])
def test_the_e_value_is_the_wealth_of_a_bettor_told_in_plain_python(mean):
    d = noise(90, mean)
    d[[3, 40, 41, 60]] = 0.0

    evidence = bet_on(d)

    wealth, bets_made = wealth_by_loop(d)
    assert np.exp(evidence.log_e[-1]) == pytest.approx(wealth, rel=1e-10)
    np.testing.assert_allclose(evidence.bet, bets_made, rtol=1e-10)


@given(DIFFERENCES, st.integers(0, 89), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_bet_scale_and_evidence_know_only_the_past(d, cut, seed):
    cut = min(cut, len(d) - 1)
    altered = d.copy()
    altered[cut:] = np.random.default_rng(seed).normal(0, 1e6, len(d) - cut)

    before, after = bet_on(d), bet_on(altered)

    np.testing.assert_array_equal(before.bet[: cut + 1], after.bet[: cut + 1])
    np.testing.assert_array_equal(before.scale[: cut + 1], after.scale[: cut + 1])
    np.testing.assert_array_equal(before.log_e[:cut], after.log_e[:cut])
    np.testing.assert_array_equal(detect_change(d)[:cut], detect_change(altered)[:cut])


@given(DIFFERENCES, st.integers(-20, 20))
@settings(max_examples=60, deadline=None)
def test_the_unit_of_money_changes_nothing(d, power):
    np.testing.assert_allclose(bet_on(d).log_e, bet_on(d * 2.0**power).log_e, atol=1e-9)


@given(DIFFERENCES)
@settings(max_examples=60, deadline=None)
def test_one_session_never_multiplies_the_wealth_beyond_the_caps(d):
    growth = np.diff(bet_on(d).log_e, prepend=0.0)

    assert growth.max() <= np.log1p(max(BETS) * GAIN_CAP) + 1e-12
    assert growth.min() >= np.log1p(-max(BETS) * LOSS_CAP) - 1e-12


def test_no_difference_is_no_evidence():
    zeros = np.zeros(300)

    for d in (zeros, np.concatenate([noise(100), zeros])):
        evidence = bet_on(d)
        assert (evidence.log_e[-200:] == evidence.log_e[-201]).all()
    assert (bet_on(zeros).log_e == 0.0).all()
    low, high = mean_bounds(zeros)
    assert (low == -np.inf).all()
    assert (high == np.inf).all()


def test_decades_of_the_same_luck_neither_overflow_nor_vanish():
    d = np.tile([1.0, 0.9, 1.1], 2_000)

    up, down = bet_on(d), bet_on(-d)

    assert np.isfinite(up.log_e).all()
    assert up.log_e[-1] > 750
    assert np.isfinite(down.log_e).all()
    assert down.log_e[-1] < -400
    # The detector forgets: a turn is seen although six thousand good sessions stand against it.
    turned = detect_change(np.concatenate([-d, d[:60]]))
    assert turned[len(d) - 1] < 0.1
    assert turned[-1] > np.log(20)


def test_many_runs_at_once_equal_each_alone():
    d = noise(120, seed=4, runs=7)

    together = bet_on(d)

    for run in range(7):
        alone = bet_on(d[run])
        np.testing.assert_allclose(together.log_e[run], alone.log_e, rtol=0, atol=1e-12)
        np.testing.assert_allclose(together.bet[run], alone.bet, rtol=0, atol=1e-12)
        np.testing.assert_allclose(detect_change(d)[run], detect_change(d[run]), rtol=0, atol=1e-12)


def test_the_interval_excludes_zero_exactly_when_the_evidence_is_twenty():
    for seed, mean in ((1, 0.25), (2, 0.0), (3, -0.25)):
        d = noise(200, 1.6 * mean, seed)
        low, high = mean_bounds(d)

        assert ((low > 0.0) == (bet_on(d).log_e >= np.log(20.0))).all()
        assert ((high < 0.0) == (bet_on(-d).log_e >= np.log(20.0))).all()
        assert (low[np.isfinite(low)] < high[np.isfinite(low)]).all()


def test_a_bound_is_a_mean_that_the_bets_have_just_refuted():
    d = noise(200, 0.1)
    scale = predictable_scale(d)
    low, high = mean_bounds(d, scale)

    for mean, sign in ((low[-1], 1.0), (high[-1], -1.0)):
        e = np.exp(bet_on(sign * (d - mean), scale).log_e[-1])
        assert e == pytest.approx(20.0, rel=1e-4)


def test_the_interval_of_a_prefix_is_the_prefix_of_the_interval():
    d = noise(150, 0.1)

    whole, part = mean_bounds(d), mean_bounds(d[:100])

    np.testing.assert_array_equal(whole[0][:100], part[0])
    np.testing.assert_array_equal(whole[1][:100], part[1])


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, shape: rng.standard_normal(shape),
        lambda rng, shape: rng.standard_t(3, shape),
        # Many small gains and rare losses, within the caps; and the other way round.
        lambda rng, shape: np.where(rng.random(shape) < 0.9, 1.0, -9.0) / 3.0,
        lambda rng, shape: np.where(rng.random(shape) < 0.9, -1.0, 9.0) / 3.0,
        # Volatility that moves by itself and with the sign of what came before.
        lambda rng, shape: rng.standard_normal(shape) * np.exp(0.05 * np.cumsum(rng.standard_normal(shape), axis=1)),
    ],
)
def test_martingale_differences_of_many_kinds_hardly_ever_reach_twenty(draw):
    d = draw(np.random.default_rng(12), (2_000, 250))

    share = (bet_on(d).log_e.max(axis=1) >= np.log(20.0)).mean()

    # 5 % is the promise; three standard errors of 2,000 runs are 1.5 points.
    assert share <= 0.05 + 0.015


def test_a_real_difference_is_found():
    d = noise(504, 2.5 / np.sqrt(252), seed=5, runs=400)

    assert 0.55 < (bet_on(d).log_e.max(axis=1) >= np.log(20.0)).mean() < 0.95
    assert (bet_on(-d).log_e.max(axis=1) >= np.log(20.0)).mean() == 0.0


def test_the_levels_of_all_processes_together_are_five_percent():
    assert sum(spent_alpha(k) for k in range(1, 100_000)) == pytest.approx(0.05, abs=1e-6)
    assert spent_alpha(1) == pytest.approx(0.0304, abs=1e-4)
    with pytest.raises(ValueError, match="process 0"):
        spent_alpha(0)


def test_a_difference_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="1 of 3 differences are not finite"):
        bet_on(np.array([0.1, np.nan, 0.2]))

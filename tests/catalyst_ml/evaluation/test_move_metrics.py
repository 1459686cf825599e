"""Sizes of moves: order within the day and level, on forecasts whose truth is known."""

import numpy as np
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.move_metrics import calibration_of_moves, compare_moves, score_moves


def make_moves(n_days=120, n_stocks=25, *, seed=1):
    """True scales per row, moves drawn with that mean, sessions; the scale differs by day and by stock."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(n_days), n_stocks)
    scale = np.exp(rng.normal(0, 0.4, n_days * n_stocks) + np.repeat(rng.normal(0, 0.3, n_days), n_stocks)) * 0.02
    return scale, scale * rng.exponential(size=len(scale)), session


def test_the_true_scale_has_ratios_of_one_in_all_and_in_every_tenth():
    scale, moves, session = make_moves(n_days=1_000)
    scores = score_moves(scale, moves, session)

    assert scores.ratio.low < 1.0 < scores.ratio.high
    np.testing.assert_allclose(scores.tenths, 1.0, atol=0.08)
    assert scores.auc.low > 0.55


def test_a_forecast_twice_too_large_shows_in_the_ratio_and_not_in_the_order():
    scale, moves, session = make_moves()
    right, wrong = score_moves(scale, moves, session), score_moves(2.0 * scale, moves, session)

    assert wrong.ratio.value == pytest.approx(right.ratio.value / 2.0)
    assert wrong.auc == right.auc


def test_a_forecast_without_stocks_shows_as_tenths_that_are_off():
    scale, moves, session = make_moves(n_days=1_000)
    wild = scale**2 / 0.02  # exaggerates what sets rows apart
    tenths = score_moves(wild * moves.sum() / wild.sum(), moves, session).tenths
    assert tenths[0] > 1.3
    assert tenths[-1] < 0.8


def test_bins_hold_equal_numbers_and_the_means_of_their_rows():
    table = calibration_of_moves(np.arange(1.0, 21.0), np.full(20, 3.0), n_bins=4)
    assert table["n"].tolist() == [5, 5, 5, 5]
    assert table["expected"].tolist() == [3.0, 8.0, 13.0, 18.0]
    assert table["ratio"].tolist() == [1.0, 3.0 / 8.0, 3.0 / 13.0, 3.0 / 18.0]


def test_the_better_of_two_forecasts_wins_the_paired_comparison():
    scale, moves, session = make_moves(n_days=300)
    noisy = scale * np.exp(np.random.default_rng(7).normal(0, 1, len(scale)))
    assert compare_moves(scale, noisy, moves, session).low > 0.0
    assert compare_moves(noisy, scale, moves, session).high < 0.0


def test_rows_without_a_move_or_forecast_are_left_aside_and_negative_moves_refused():
    scale, moves, session = make_moves()
    gaps = moves.copy()
    gaps[::3] = np.nan
    assert score_moves(scale, gaps, session).rows == int(np.isfinite(gaps).sum())
    with pytest.raises(DataContractError, match="absolute returns"):
        score_moves(scale, -moves, session)

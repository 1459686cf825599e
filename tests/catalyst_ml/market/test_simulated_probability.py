import numpy as np
import pytest

from catalyst_ml.market.simulated_probability import win_probabilities


def _p(score: float, sessions_left: int = 5, vix: float = 18.0) -> tuple[float, float]:
    p = win_probabilities(np.array([score]), np.array([sessions_left]), np.array([vix]))
    return float(p.p_long[0]), float(p.p_short[0])


def test_without_a_drift_neither_side_depends_on_how_long_it_lasts_or_on_fear():
    assert _p(0.0, 5, 18.0) == _p(0.0, 0, 60.0)
    assert sum(_p(0.0)) < 1.0


def test_a_drift_helps_one_side_as_much_as_it_hurts_the_other():
    calm, pushed = _p(0.0), _p(0.2)
    log_odds = [np.log(p / (1.0 - p)) for p in (*calm, *pushed)]

    assert log_odds[2] - log_odds[0] == pytest.approx(log_odds[1] - log_odds[3])
    assert pushed[0] > calm[0] + 0.1


def test_a_drift_about_to_end_or_in_wild_times_is_worth_less():
    assert _p(0.2, 1)[0] < _p(0.2, 5)[0]
    assert _p(0.2, 5, 40.0)[0] < _p(0.2, 5, 12.0)[0]

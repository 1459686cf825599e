from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.models.calibration import MIN_SLOPE, Calibrator, choose_calibrator, fit_calibrator
from catalyst_ml.models.procedure import CalibrationSettings

SETTINGS = CalibrationSettings()


def overconfident_scores(n: int = 20_000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose log-odds are twice the true ones."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0.0, 0.8, size=n)
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-z))).astype("int8")
    return 1.0 / (1.0 + np.exp(-2.0 * z)), y


def test_temperature_finds_the_factor_of_overconfidence() -> None:
    score, y = overconfident_scores()
    fitted = fit_calibrator("temperature", score, y, np.ones(len(y)), prior_rows=1.0)
    assert fitted.a == pytest.approx(0.5, abs=0.03)
    assert (fitted.b, fitted.c) == (fitted.a, 0.0)


def test_beta_agrees_with_a_general_optimiser() -> None:
    score, y = overconfident_scores(n=3_000)
    precision = 0.25 * 10.0

    def loss(theta: np.ndarray) -> float:
        z = theta[0] * np.log(score) - theta[1] * np.log(1.0 - score) + theta[2]
        prior = 0.5 * precision * ((theta[0] - 1.0) ** 2 + (theta[1] - 1.0) ** 2 + theta[2] ** 2)
        return float(np.sum(np.logaddexp(0.0, z) - y * z) + prior)

    expected = minimize(loss, np.array([1.0, 1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-6}).x
    fitted = fit_calibrator("beta", score, y, np.ones(len(y)), prior_rows=10.0)
    np.testing.assert_allclose([fitted.a, fitted.b, fitted.c], expected, atol=1e-3)


def test_a_score_that_points_the_wrong_way_is_flattened_not_reversed() -> None:
    score, y = overconfident_scores(n=5_000)
    for kind in ("temperature", "beta"):
        fitted = fit_calibrator(kind, 1.0 - score, y, np.ones(len(y)), prior_rows=1.0)
        assert min(fitted.a, fitted.b) == pytest.approx(MIN_SLOPE, abs=1e-6)
        assert np.all(np.diff(fitted.predict(np.linspace(0.1, 0.9, 9))) > 0.0)


def test_the_later_block_chooses_a_calibrator_when_scores_are_overconfident() -> None:
    score, y = overconfident_scores()
    session = np.repeat(np.arange(200), 100)
    chosen = choose_calibrator(score, y, np.ones(len(y)), session, SETTINGS)
    assert chosen.kind in ("temperature", "beta")
    assert "identity" in chosen.reason


def test_raw_is_kept_when_what_the_earlier_block_taught_does_not_hold_later() -> None:
    score, y = overconfident_scores()
    session = np.repeat(np.arange(200), 100)
    later = session >= 120
    rng = np.random.default_rng(3)
    y = np.where(later, rng.random(len(y)) < score, y).astype("int8")  # later the score is perfectly calibrated
    assert choose_calibrator(score, y, np.ones(len(y)), session, SETTINGS).kind == "identity"


def test_too_few_sessions_keep_the_raw_probability() -> None:
    score, y = overconfident_scores(n=590)
    chosen = choose_calibrator(score, y, np.ones(len(y)), np.repeat(np.arange(59), 10), SETTINGS)
    assert chosen.kind == "identity"
    assert "59 known sessions, 60 needed" in chosen.reason


def test_calibrators_survive_json_and_unknown_kinds_are_refused() -> None:
    calibrator = Calibrator("beta", 0.5, 0.6, 0.1, "why")
    assert Calibrator.from_dict(calibrator.to_dict()) == calibrator
    with pytest.raises(ConfigurationError, match="'isotonic' is unknown"):
        fit_calibrator("isotonic", np.array([0.5]), np.array([1]), np.ones(1), prior_rows=1.0)

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from catalyst_ml.models.ensemble import EnsembleWeights, choose_weights, convex_weights
from catalyst_ml.models.procedure import EnsembleSettings

SETTINGS = EnsembleSettings()
NAMES = ("base_rate", "good", "noisy")


def make_oof(
    *, n_sessions: int = 150, per_session: int = 40, strength: float = 0.8, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Member probabilities (base rate, the truth, pure noise), outcomes and sessions."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(n_sessions), per_session)
    z = strength * rng.normal(size=len(session))
    truth = 1.0 / (1.0 + np.exp(-z))
    y = (rng.random(len(z)) < truth).astype("int8")
    noisy = 1.0 / (1.0 + np.exp(-0.8 * rng.normal(size=len(z))))
    return np.column_stack([np.full(len(z), 0.5), truth, noisy]), y, session


def test_weights_agree_with_a_general_constrained_optimiser() -> None:
    p, y, _ = make_oof(n_sessions=50, strength=0.3)
    row_weight = np.random.default_rng(2).uniform(0.5, 1.5, size=len(y))
    q = np.where(y[:, None] == 1, p, 1.0 - p)

    def loss(w: np.ndarray) -> float:
        return float(-(row_weight @ np.log(q @ w)) + 5.0 * np.sum(w * np.log(3.0 * w)))

    expected = minimize(
        loss,
        np.full(3, 1 / 3),
        bounds=[(1e-9, 1.0)] * 3,
        constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1.0}],
        options={"ftol": 1e-12},
    ).x
    np.testing.assert_allclose(convex_weights(p, y, row_weight, kl_rows=5.0), expected, atol=2e-4)


def test_without_shrinkage_the_weights_are_the_fixed_point_of_the_em_update() -> None:
    p, y, _ = make_oof(n_sessions=40, strength=0.3)
    p[:, 2] = 0.7 * p[:, 1] + 0.3 * p[:, 2]  # keep the optimum inside the simplex
    q = np.where(y[:, None] == 1, p, 1.0 - p)
    w = np.full(3, 1 / 3)
    for _ in range(4_000):
        w = (w * q / (q @ w)[:, None]).mean(axis=0)
    np.testing.assert_allclose(convex_weights(p, y, np.ones(len(y)), kl_rows=1e-6), w, atol=0.02)


def test_a_strong_pull_gives_equal_weights() -> None:
    p, y, _ = make_oof()
    np.testing.assert_allclose(convex_weights(p, y, np.ones(len(y)), kl_rows=1e9), 1 / 3, atol=1e-5)


def test_a_clearly_better_member_gets_the_weight_and_idle_ones_are_dropped() -> None:
    p, y, session = make_oof(n_sessions=400, per_session=5, strength=1.5)
    chosen = choose_weights(p, NAMES, y, session, SETTINGS)
    assert chosen.reason.startswith("learned")
    assert chosen.weights["good"] > 0.9
    assert chosen.dropped["noisy"].startswith("idle")
    assert "base_rate" in chosen.weights
    assert sum(chosen.weights.values()) == pytest.approx(1.0)


def test_members_without_skill_keep_equal_weights() -> None:
    p, y, session = make_oof(strength=0.0)
    p[:, 1] = np.random.default_rng(8).uniform(0.45, 0.55, size=len(y))
    p[:, 2] = np.random.default_rng(9).uniform(0.45, 0.55, size=len(y))
    chosen = choose_weights(p, NAMES, y, session, SETTINGS)
    assert chosen.reason.startswith("equal")
    np.testing.assert_allclose(list(chosen.weights.values()), 1 / 3)


def test_few_sessions_give_equal_weights_with_the_reason() -> None:
    p, y, session = make_oof(n_sessions=59)
    chosen = choose_weights(p, NAMES, y, session, SETTINGS)
    assert chosen.weights == dict.fromkeys(NAMES, 1 / 3)
    assert "59 known sessions, 60 needed" in chosen.reason


def test_no_rows_at_all_give_equal_weights() -> None:
    chosen = choose_weights(np.empty((0, 3)), NAMES, np.empty(0), np.empty(0), SETTINGS)
    assert chosen.weights == dict.fromkeys(NAMES, 1 / 3)


def test_of_two_twins_the_worse_is_dropped() -> None:
    p, y, session = make_oof()
    p[:, 2] = np.clip(p[:, 1] * 1.02, 0.0, 0.999)
    chosen = choose_weights(p, NAMES, y, session, SETTINGS)
    assert list(chosen.dropped) == ["noisy"]
    assert "with good" in chosen.dropped["noisy"]


def test_weights_survive_json_and_combine_by_name() -> None:
    weights = EnsembleWeights({"a": 0.25, "c": 0.75}, {"b": "idle"}, "why")
    assert EnsembleWeights.from_dict(weights.to_dict()) == weights
    np.testing.assert_allclose(weights.combine(np.array([[0.4, 0.9, 0.8]]), ("a", "b", "c")), [0.7])

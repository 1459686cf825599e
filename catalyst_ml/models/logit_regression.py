"""Small weighted logistic regressions with a prior: the engine of calibrators and the rule arm."""

from __future__ import annotations

import numpy as np

from catalyst_ml.models.member import sigmoid

MAX_STEPS = 50


def fit_logit(
    design: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    *,
    prior_mean: np.ndarray,
    prior_precision: np.ndarray,
    offset: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return β (k,) that maximises the weighted log-likelihood of σ(offset + design·β) under a normal prior.

    Parameters
    ----------
    design
        (n, k), a column of ones for an intercept.
    prior_mean, prior_precision
        (k,) each; a positive precision makes the answer unique and finite even for separable or empty data.

    Notes
    -----
    The objective is strictly concave; Newton steps are halved until it rises. Two dozen steps at
    most in practice.
    """
    beta = prior_mean.astype("float64").copy()
    objective = _objective(beta, design, y, weight, prior_mean, prior_precision, offset)
    for _ in range(MAX_STEPS):
        p = sigmoid(design @ beta + offset)
        gradient = design.T @ (weight * (y - p)) - prior_precision * (beta - prior_mean)
        hessian = (design * (weight * p * (1.0 - p))[:, None]).T @ design + np.diag(prior_precision)
        step = np.linalg.solve(hessian, gradient)
        if float(gradient @ step) < 1e-10:
            break
        size = 1.0
        while size > 1e-8:
            candidate = beta + size * step
            reached = _objective(candidate, design, y, weight, prior_mean, prior_precision, offset)
            if reached >= objective:
                beta, objective = candidate, reached
                break
            size /= 2.0
        else:
            break
    return beta


def _objective(
    beta: np.ndarray,
    design: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    prior_mean: np.ndarray,
    prior_precision: np.ndarray,
    offset: np.ndarray | float,
) -> float:
    z = design @ beta + offset
    likelihood = float(weight @ (y * z - np.logaddexp(0.0, z)))
    return likelihood - 0.5 * float(prior_precision @ (beta - prior_mean) ** 2)

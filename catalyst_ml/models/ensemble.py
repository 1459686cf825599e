"""Convex weights of the members, learned from out-of-fold rows only, and equal unless clearly better.

The base rate is a member and is never dropped: its weight is the shrinkage of all the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from catalyst_ml.evaluation.record import P_FLOOR, log_losses
from catalyst_ml.evaluation.significance import har_t_test
from catalyst_ml.models.member import logit
from catalyst_ml.models.procedure import CATALYST, EnsembleSettings

BASE_RATE = "base_rate"
MAX_STEPS = 100
WEIGHT_FLOOR = 1e-6


@dataclass(frozen=True)
class EnsembleWeights:
    """Weight of each kept member (sums to 1), why others were dropped, and why these weights.

    ``with_news`` are the weights, of all kept members and the catalyst predictor, on the rows where that one speaks;
    empty if it has no say. Everywhere else ``weights`` hold.
    """

    weights: dict[str, float]
    dropped: dict[str, str]
    reason: str
    with_news: dict[str, float] = field(default_factory=dict)

    @property
    def members(self) -> tuple[str, ...]:
        """Every member with a say, the catalyst predictor last."""
        return tuple(dict.fromkeys((*self.weights, *self.with_news)))

    def without_news(self, reason: str) -> EnsembleWeights:
        """Return the weights with the catalyst predictor left out, and why."""
        return replace(self, with_news={}, dropped={**self.dropped, CATALYST: reason})

    def combine(self, p_members: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Weighted mean (n_rows,) of probabilities (n_rows, n_members); ``names`` are their columns.

        Only the catalyst predictor may be missing (NaN): there it does not count.
        """
        speaking = [name != CATALYST for name in names]
        p = p_members[:, speaking] @ np.array([self.weights.get(name, 0.0) for name in names if name != CATALYST])
        if not self.with_news:
            return p
        # The product over all columns is NaN exactly where the catalyst predictor abstains.
        with_news = p_members @ np.array([self.with_news.get(name, 0.0) for name in names])
        return np.where(np.isnan(with_news), p, with_news)

    def to_dict(self) -> dict[str, Any]:
        """Return the weights as JSON."""
        return {
            "weights": dict(self.weights),
            "dropped": dict(self.dropped),
            "reason": self.reason,
            "with_news": dict(self.with_news),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> EnsembleWeights:
        """Inverse of `to_dict`; versions from before the catalyst predictor have no ``with_news``."""
        weights, with_news = (
            {name: float(w) for name, w in stored.get(part, {}).items()} for part in ("weights", "with_news")
        )
        return cls(weights, dict(stored["dropped"]), stored["reason"], with_news)


def effective_row_weights(session: np.ndarray, settings: EnsembleSettings) -> np.ndarray:
    """What each row is worth in independent rows (n,): rows of one session share their information."""
    if len(session) == 0:
        return np.empty(0)
    rows_per_session = len(session) / len(np.unique(session))
    return np.full(len(session), min(1.0, settings.effective_rows_per_session / rows_per_session))


def choose_weights(
    p_members: np.ndarray,
    names: Sequence[str],
    y: np.ndarray,
    session: np.ndarray,
    settings: EnsembleSettings,
) -> EnsembleWeights:
    """Learn weights from known OOF rows; keep equal ones unless the learned are clearly better later.

    Parameters
    ----------
    p_members
        OOF probabilities (n_rows, n_members), columns ``names``; every outcome known.
    y, session
        Outcomes 0/1 and sessions (n_rows,), rows in any order.

    Returns
    -------
    EnsembleWeights
        With fewer than ``min_sessions`` sessions: equal weights, nothing dropped. Otherwise weights are
        fitted on the earlier sessions and tested on the later ones against equal weights (daily log-loss
        differences, one-sided HAR t-test at ``alpha``); if they win they are fitted again on all rows, and
        idle members are dropped.
    """
    sessions = np.unique(session)
    if len(sessions) < settings.min_sessions:
        return _equal(names, {}, f"equal: {len(sessions)} known sessions, {settings.min_sessions} needed")
    dropped = _redundant(p_members, names, y, settings.max_correlation)
    kept = [name for name in names if name not in dropped]
    q = p_members[:, [list(names).index(name) for name in kept]]
    is_later = session >= sessions[int(len(sessions) * (1.0 - settings.later_share))]
    row_weight = effective_row_weights(session, settings)
    early = convex_weights(q[~is_later], y[~is_later], row_weight[~is_later], kl_rows=settings.kl_rows)
    p_value = _later_p_value(q[is_later], early, y[is_later], session[is_later])
    if p_value >= settings.alpha:
        return _equal(
            kept, dropped, f"equal: learned weights not clearly better on the later block (p = {p_value:.2f})"
        )
    learned = convex_weights(q, y, row_weight, kl_rows=settings.kl_rows, start=early)
    idle = {
        name: f"idle: weight {w:.3f}"
        for name, w in zip(kept, learned, strict=True)
        if w < settings.idle_share and name != BASE_RATE
    }
    used = np.array([name not in idle for name in kept])
    final = convex_weights(q[:, used], y, row_weight, kl_rows=settings.kl_rows) if idle else learned
    names_used = [name for name in kept if name not in idle]
    return EnsembleWeights(
        dict(zip(names_used, final.tolist(), strict=True)),
        {**dropped, **idle},
        f"learned: better than equal weights on the later block (p = {p_value:.3f})",
    )


def convex_weights(
    p_members: np.ndarray,
    y: np.ndarray,
    row_weight: np.ndarray,
    *,
    kl_rows: float,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Minimise −Σ ω_i ln Σ_m w_m q_im + κ·KL(w ‖ uniform) over the simplex.

    Parameters
    ----------
    p_members
        (n_rows, n_members); q_im is the probability member m gave to the outcome of row i.
    kl_rows
        κ > 0, in the unit of ``row_weight``; makes the optimum unique and interior.
    start
        Weights to begin with (n_members,), positive; equal ones by default.

    Notes
    -----
    The EM update w_m ← Σ ω_i w_m q_im / Σ_k w_k q_ik climbs the same hill, but members that agree
    to a few per cent need thousands of its steps; damped Newton on the simplex needs about ten.
    """
    p = np.clip(p_members, P_FLOOR, 1.0 - P_FLOOR)
    q = np.where(np.asarray(y)[:, None] == 1, p, 1.0 - p)  # (n_rows, n_members)
    m = q.shape[1]
    w = np.full(m, 1.0 / m) if start is None else np.maximum(start, 1e-3) / np.maximum(start, 1e-3).sum()
    value = _objective(w, q, row_weight, kl_rows)
    for _ in range(MAX_STEPS):
        # A weight on its way to nothing would hold back the whole step, so below the floor it rests.
        free = w > WEIGHT_FLOOR
        ratio = q[:, free] / (q @ w)[:, None]
        gradient = -(row_weight @ ratio) + kl_rows * (np.log(w[free] * m) + 1.0)
        hessian = (ratio * row_weight[:, None]).T @ ratio + np.diag(kl_rows / w[free])
        step = np.zeros(m)
        step[free] = _step_in_simplex(gradient, hessian)
        decrease = -float(gradient @ step[free])
        if decrease < 1e-9:
            break
        shrinking = step < 0
        size = min(1.0, 0.95 * float(np.min(w[shrinking] / -step[shrinking])))
        while size > 1e-10:
            reached = _objective(w + size * step, q, row_weight, kl_rows)
            if reached <= value - 1e-4 * size * decrease:
                break
            size /= 2.0
        else:
            break
        w, value = w + size * step, reached
    return w / w.sum()


def _objective(w: np.ndarray, q: np.ndarray, row_weight: np.ndarray, kl_rows: float) -> float:
    return float(-(row_weight @ np.log(q @ w)) + kl_rows * (w @ np.log(w * len(w))))


def _step_in_simplex(gradient: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Newton step whose components sum to zero."""
    along_gradient = np.linalg.solve(hessian, gradient)
    along_ones = np.linalg.solve(hessian, np.ones(len(gradient)))
    return -along_gradient + along_ones * (along_gradient.sum() / along_ones.sum())


def _later_p_value(q: np.ndarray, learned: np.ndarray, y: np.ndarray, session: np.ndarray) -> float:
    gain = log_losses(y, q.mean(axis=1)) - log_losses(y, q @ learned)
    _, day = np.unique(session, return_inverse=True)
    return har_t_test(np.bincount(day, weights=gain)).p_value


def _redundant(p_members: np.ndarray, names: Sequence[str], y: np.ndarray, max_correlation: float) -> dict[str, str]:
    """Of two members whose OOF log-odds correlate above the bound, drop the one with the larger log-loss."""
    losses = {name: float(log_losses(y, p_members[:, k]).mean()) for k, name in enumerate(names)}
    scores = {name: logit(p_members[:, k]) for k, name in enumerate(names)}
    varying = [name for name in names if name != BASE_RATE and np.ptp(scores[name]) > 0.0]
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for name in sorted(varying, key=lambda candidate: losses[candidate]):
        for better in kept:
            correlation = float(np.corrcoef(scores[name], scores[better])[0, 1])
            if correlation > max_correlation:
                dropped[name] = f"correlation {correlation:.3f} with {better}"
                break
        else:
            kept.append(name)
    return dropped


def _equal(names: Sequence[str], dropped: dict[str, str], reason: str) -> EnsembleWeights:
    return EnsembleWeights(dict.fromkeys(names, 1.0 / len(names)), dropped, reason)

"""Calibrators of the ensemble's probability, and the choice between them on a later block.

All are straight lines in (ln s, ln(1-s), 1), so one class holds identity, temperature and beta calibration. A
wrong one does more harm than none: the raw probability stays unless a later block is predicted better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.logit_regression import fit_logit
from catalyst_ml.models.member import sigmoid
from catalyst_ml.models.procedure import CalibrationSettings

SCORE_FLOOR = 1e-6
MIN_SLOPE = 0.05
"""Calibration may flatten, never reverse and never tie: ties destroy the ranking that coverage needs."""


@dataclass(frozen=True)
class Calibrator:
    """logit p = a·ln s − b·ln(1−s) + c with a, b > 0.

    Identity: a = b = 1, c = 0; temperature: a = b = 1/T, c = 0.

    ``reason`` says why this kind was chosen.

    References
    ----------
    Kull, Silva Filho & Flach (2017), Beta calibration, AISTATS; Guo et al. (2017) on temperature.
    """

    kind: str
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0
    reason: str = ""

    def predict(self, score: np.ndarray) -> np.ndarray:
        """Calibrated probability (n,), rising in ``score``."""
        if self.kind == "identity":
            return np.asarray(score, dtype="float64")
        s = np.clip(np.asarray(score, dtype="float64"), SCORE_FLOOR, 1.0 - SCORE_FLOOR)
        return sigmoid(self.a * np.log(s) - self.b * np.log1p(-s) + self.c)

    def add_to_graph(self, graph: GraphBuilder, score: str) -> str:
        """Add the same arithmetic as nodes; return the calibrated tensor, of the shape of ``score``."""
        if self.kind == "identity":
            return graph.node("Identity", [score])
        low, high, one = np.float32(SCORE_FLOOR), np.float32(1.0 - SCORE_FLOOR), np.float32(1.0)
        s = graph.node("Clip", [score, graph.constant(low), graph.constant(high)])
        success = graph.node("Mul", [graph.node("Log", [s]), graph.constant(np.float32(self.a))])
        log_failure = graph.node("Log", [graph.node("Sub", [graph.constant(one), s])])
        failure = graph.node("Mul", [log_failure, graph.constant(np.float32(self.b))])
        shifted = graph.node("Add", [graph.node("Sub", [success, failure]), graph.constant(np.float32(self.c))])
        return graph.node("Sigmoid", [shifted])

    def to_dict(self) -> dict[str, Any]:
        """Return the calibrator as JSON."""
        return {"kind": self.kind, "a": self.a, "b": self.b, "c": self.c, "reason": self.reason}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibrator:
        """Inverse of `to_dict`."""
        return cls(stored["kind"], float(stored["a"]), float(stored["b"]), float(stored["c"]), stored["reason"])


IDENTITY = Calibrator("identity")


def fit_calibrator(kind: str, score: np.ndarray, y: np.ndarray, weight: np.ndarray, *, prior_rows: float) -> Calibrator:
    """Fit one kind on OOF scores (n,), outcomes (n,) and weights (n,) in effective rows.

    ``prior_rows`` effective rows at p = 1/2 pull towards the identity.

    Raises
    ------
    ConfigurationError
        If the kind is unknown.
    """
    s = np.clip(np.asarray(score, dtype="float64"), SCORE_FLOOR, 1.0 - SCORE_FLOOR)
    log_success, log_failure = np.log(s), np.log1p(-s)
    precision = 0.25 * prior_rows
    if kind == "identity":
        return IDENTITY
    if kind == "temperature":
        slope = _slopes((log_success - log_failure)[:, None], y, weight, 1, precision)[0]
        return Calibrator("temperature", a=float(slope), b=float(slope))
    if kind == "beta":
        design = np.column_stack([log_success, -log_failure, np.ones(len(s))])
        a, b, c = _slopes(design, y, weight, 2, precision)
        return Calibrator("beta", a=float(a), b=float(b), c=float(c))
    raise ConfigurationError(f"calibrator {kind!r} is unknown; expected identity, temperature or beta.")


def choose_calibrator(
    score: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    session: np.ndarray,
    settings: CalibrationSettings,
) -> Calibrator:
    """Fit each candidate on the earlier sessions, keep the best on the later ones, refit it on all.

    Parameters
    ----------
    score, y, weight, session
        OOF rows (n,) with known outcomes; ``weight`` in effective rows; ``session`` sortable.

    Returns
    -------
    Calibrator
        The identity if there are fewer than ``min_sessions`` sessions or no candidate has a smaller log-loss.
    """
    sessions = np.unique(session)
    if len(sessions) < settings.min_sessions:
        return Calibrator("identity", reason=f"{len(sessions)} known sessions, {settings.min_sessions} needed")
    is_later = session >= sessions[int(len(sessions) * (1.0 - settings.later_share))]
    losses = {"identity": _later_loss(IDENTITY, score, y, weight, is_later)}
    for kind in settings.candidates:
        early = fit_calibrator(kind, score[~is_later], y[~is_later], weight[~is_later], prior_rows=settings.prior_rows)
        losses[kind] = _later_loss(early, score, y, weight, is_later)
    best = min(losses, key=lambda kind: losses[kind])
    told = ", ".join(f"{kind} {loss:.5f}" for kind, loss in losses.items())
    chosen = fit_calibrator(best, score, y, weight, prior_rows=settings.prior_rows)
    return Calibrator(chosen.kind, chosen.a, chosen.b, chosen.c, reason=f"log-loss on the later block: {told}")


def _slopes(design: np.ndarray, y: np.ndarray, weight: np.ndarray, n_slopes: int, precision: float) -> np.ndarray:
    """Fit; slopes below `MIN_SLOPE` are set to it and the rest fitted again (Kull, section 4)."""
    mean = np.r_[np.ones(n_slopes), np.zeros(design.shape[1] - n_slopes)]
    beta = _fit_free(design, y, weight, mean, precision, np.ones(len(mean), dtype=bool))
    is_low = np.r_[beta[:n_slopes] < MIN_SLOPE, np.zeros(len(mean) - n_slopes, dtype=bool)]
    if is_low.any():
        mean = np.where(is_low, MIN_SLOPE, mean)
        beta = np.where(is_low, mean, _fit_free(design, y, weight, mean, precision, ~is_low))
        beta[:n_slopes] = np.maximum(beta[:n_slopes], MIN_SLOPE)
    return beta


def _fit_free(
    design: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    precision: float,
    is_free: np.ndarray,
) -> np.ndarray:
    # A fixed slope is a prior too strong to move: one code path, no offsets.
    strength = np.where(is_free, precision, 1e12)
    return fit_logit(design, y, weight, prior_mean=mean, prior_precision=strength)


def _later_loss(
    calibrator: Calibrator, score: np.ndarray, y: np.ndarray, weight: np.ndarray, is_later: np.ndarray
) -> float:
    losses = log_losses(y[is_later], calibrator.predict(score[is_later]))
    return float(np.average(losses, weights=weight[is_later]))

"""Parity certificate: the served file and the trainer agree, on these rows, this closely."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.features.catalysts import NEWS_FLAG
from catalyst_ml.models.catalyst import has_news
from catalyst_ml.models.final_fit import FittedEnsemble
from catalyst_ml.models.graph_names import INPUT, OUTPUT_P, OUTPUT_P_MEMBERS, OUTPUT_P_RAW
from catalyst_ml.models.graph_names import single_thread_session as single_thread_session
from catalyst_ml.models.preprocessing import as_model_matrix

if TYPE_CHECKING:
    import onnxruntime

MAX_DIFFERENCE = 1e-4
DECISION_BAND = 1e-5
"""Rows closer to a threshold than this may fall either way; they are counted (design, promise 3)."""
N_LATENCY_CALLS = 300
N_LATENCY_ROUNDS = 5
N_TURNED_ROWS = 2_000


@dataclass(frozen=True)
class ParityCertificate:
    """Largest absolute differences per output, decisions that differ, and one-row latency on one thread.

    ``decision_flips`` counts rows outside the band whose decision differs at any threshold; ``within_band``
    rows closer than 1e-5 to a threshold. ``passed``: all differences below 1e-4, no flips, nothing outside
    [0, 1]. ``n_rows_with_news``: rows on which the catalyst predictor has a say, among ``n_rows``; 0 if it has none.
    """

    max_abs_diff_p: float
    max_abs_diff_p_raw: float
    max_abs_diff_p_members: float
    n_rows: int
    thresholds: tuple[float, ...]
    decision_flips: int
    within_band: int
    passed: bool
    latency_p50_ms: float
    latency_p99_ms: float
    n_bytes: int
    n_rows_with_news: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON."""
        return {**asdict(self), "thresholds": list(self.thresholds)}


def certify(
    fitted: FittedEnsemble, onnx_bytes: bytes, X: np.ndarray, *, thresholds: Sequence[float] = (0.5,)
) -> ParityCertificate:
    """Compare the graph with the trainer on raw features (n_rows, n_inputs), NaN and infinities welcome.

    If the catalyst predictor has a say, up to `N_TURNED_ROWS` rows are compared a second time with their news flag
    turned, so that both branches of the graph are covered whatever the rows hold.

    Raises
    ------
    InsufficientHistory
        If there are no rows: a certificate over nothing would certify nothing.
    """
    if len(X) == 0:
        raise InsufficientHistory("parity: no rows to compare. Hand in rows of the newest sessions.")
    X = _with_both_branches(fitted, as_model_matrix(X))
    session = single_thread_session(onnx_bytes)
    p, p_raw, p_members = session.run([OUTPUT_P, OUTPUT_P_RAW, OUTPUT_P_MEMBERS], {INPUT: X})
    expected = fitted.predict(X)
    differences = [
        _largest_difference(a, b)
        for a, b in ((p, expected.p), (p_raw, expected.p_raw), (p_members, expected.p_members))
    ]
    near = np.zeros(len(X), dtype=bool)
    flipped = np.zeros(len(X), dtype=bool)
    for threshold in thresholds:
        close = np.abs(expected.p - threshold) < DECISION_BAND
        near |= close
        flipped |= ~close & ((p >= threshold) != (expected.p >= threshold))
    p50, p99 = _latency_ms(session, X)
    is_probability = bool(np.all((p >= 0.0) & (p <= 1.0)))
    return ParityCertificate(
        max_abs_diff_p=differences[0],
        max_abs_diff_p_raw=differences[1],
        max_abs_diff_p_members=differences[2],
        n_rows=len(X),
        thresholds=tuple(float(t) for t in thresholds),
        decision_flips=int(flipped.sum()),
        within_band=int(near.sum()),
        passed=max(differences) <= MAX_DIFFERENCE and not flipped.any() and is_probability,
        latency_p50_ms=p50,
        latency_p99_ms=p99,
        n_bytes=len(onnx_bytes),
        n_rows_with_news=int(has_news(X, fitted.procedure.inputs).sum()) if fitted.weights.with_news else 0,
    )


def _largest_difference(served: np.ndarray, trained: np.ndarray) -> float:
    """Largest absolute difference; a NaN on one side counts as infinite, on both sides as agreement: abstaining."""
    difference = np.abs(served.astype("float64") - trained)
    difference[np.isnan(served) & np.isnan(trained)] = 0.0
    return float(np.where(np.isnan(difference), np.inf, difference).max())


def _with_both_branches(fitted: FittedEnsemble, X: np.ndarray) -> np.ndarray:
    if not fitted.weights.with_news:
        return X
    turned = X[-N_TURNED_ROWS:].copy()
    flag = fitted.procedure.inputs.index(NEWS_FLAG)
    turned[:, flag] = np.where(has_news(turned, fitted.procedure.inputs), np.float32(0.0), np.float32(1.0))
    return np.concatenate([X, turned])


def _latency_ms(session: onnxruntime.InferenceSession, X: np.ndarray) -> tuple[float, float]:
    """Median and 99th percentile of one-row calls in the calmest of a few rounds, after ten calls to warm up.

    A busy neighbour is not the model: beside two other trainers a graph of 0.2 ms once took 8 ms.
    """
    rounds = []
    for _ in range(N_LATENCY_ROUNDS):
        taken = []
        for call in range(N_LATENCY_CALLS + 10):
            row = X[call % len(X)][None, :]
            started = time.perf_counter()
            session.run([OUTPUT_P], {INPUT: row})
            taken.append(time.perf_counter() - started)
        p50, p99 = np.quantile(taken[10:], [0.5, 0.99]) * 1_000.0
        rounds.append((float(p99), float(p50)))
    p99, p50 = min(rounds)
    return p50, p99

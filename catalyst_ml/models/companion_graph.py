"""Both companions as one ONNX graph, so that a version can carry them, and the proof that graph and trainer agree.

The graph says what one row can say: the expected move and the two scores. A rank is a place among the scores of one
close, and is made by whoever holds all rows of the close (``companion_serving``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.models.companion_serving import OUTPUTS
from catalyst_ml.models.companions import FittedCompanions
from catalyst_ml.models.day_rank import DayRankModel
from catalyst_ml.models.graph_builder import GraphBuilder, GraphOutput
from catalyst_ml.models.move_size import MoveSizeModel
from catalyst_ml.models.onnx_graph import INPUT
from catalyst_ml.models.parity import MAX_DIFFERENCE, single_thread_session


@dataclass(frozen=True)
class CompanionParity:
    """Largest absolute differences between graph and trainer by output. ``passed``: all below 1e-4, none missing."""

    max_abs_diff: dict[str, float]
    n_rows: int
    n_bytes: int
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON."""
        return asdict(self)


def export_companions(fitted: FittedCompanions, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise fitted companions.

    Parameters
    ----------
    metadata
        Further entries of ``metadata_props``; they may not replace ours.

    Returns
    -------
    bytes
        A model with input ``features`` float32 (n, n_inputs) in the order of ``settings.inputs``, NaN for missing;
        outputs ``expected_move``, ``rank_score`` and ``rank_score_5``, (n,) each. The same fit gives the same bytes.
    """
    graph = GraphBuilder()
    columns = [model.add_to_graph(graph, INPUT) for model in _models(fitted)]
    last_axis = graph.constant(np.array([1], dtype=np.int64))
    for name, column in zip(OUTPUTS, columns, strict=True):
        graph.name_output(graph.node("Squeeze", [column, last_axis]), name)
    return graph.build(
        input_name=INPUT,
        n_inputs=len(fitted.settings.inputs),
        outputs=[GraphOutput(name) for name in OUTPUTS],
        metadata={
            **(metadata or {}),
            "inputs": json.dumps(list(fitted.settings.inputs)),
            "settings": json.dumps(fitted.settings.to_dict()),
            "settings_id": fitted.settings.settings_id,
            "last_known": fitted.last_known.isoformat(),
        },
    )


def certify_companions(fitted: FittedCompanions, onnx_bytes: bytes, X: np.ndarray) -> CompanionParity:
    """Compare the graph with the trainer on stock-days ``X`` (n_rows, n_inputs) float32, NaN welcome.

    Raises
    ------
    InsufficientHistory
        If there are no rows: a certificate over nothing would certify nothing.
    """
    if len(X) == 0:
        raise InsufficientHistory("parity of the companions: no rows to compare. Hand in rows of the newest closes.")
    served = single_thread_session(onnx_bytes).run(list(OUTPUTS), {INPUT: X})
    trained = [model.predict(X) for model in _models(fitted)]
    differences = {
        name: float(np.where(np.isnan(d := np.abs(a.astype("float64") - b)), np.inf, d).max())
        for name, a, b in zip(OUTPUTS, served, trained, strict=True)
    }
    return CompanionParity(differences, len(X), len(onnx_bytes), max(differences.values()) <= MAX_DIFFERENCE)


def _models(fitted: FittedCompanions) -> tuple[MoveSizeModel | DayRankModel, ...]:
    """Return the models in the order of `OUTPUTS`."""
    return fitted.move, fitted.rank, fitted.rank_5

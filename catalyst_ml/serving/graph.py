"""A verified version made ready to answer: the ONNX session, what its metadata says, its rule arm and its novelty.

Immutable once built. Nothing here knows where the bytes came from; that they are whole and signed was checked before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.models.graph_names import INPUT, OUTPUT_P, OUTPUT_P_MEMBERS, single_thread_session
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.quality.novelty import GRAPH_ENTRY, NoveltyModel, NoveltyScorer
from catalyst_ml.trial.blending import spread_of_members

GRAPH_FILE = "model.onnx"
_REQUIRED = ("inputs", "members", "rules", "base_rate", "feature_set_version", "label_version", "procedure_id")

_LARGEST = float(np.finfo(np.float32).max)


class Score(NamedTuple):
    """What a version says of one row; ``p`` is NaN where the graph gave no probability.

    ``spread`` is the standard deviation of the members that spoke; ``novelty_p`` is NaN without a novelty model.
    """

    p: float
    spread: float
    novelty_p: float


class ServedGraph:
    """One version in memory.

    Parameters
    ----------
    onnx_bytes : bytes
        Of ``models.onnx_graph.export``.

    Raises
    ------
    ArtifactRefused
        If the graph cannot be opened, lacks what a server must know, or answers the first rows with something that is
        no probability.
    """

    def __init__(self, onnx_bytes: bytes) -> None:
        try:
            self._session = single_thread_session(onnx_bytes)
            metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime raises classes of its own for each kind of broken file
            raise ArtifactRefused(f"{GRAPH_FILE}: onnxruntime cannot open it: {_first_line(error)}") from error
        absent = [name for name in _REQUIRED if name not in metadata]
        if absent:
            raise ArtifactRefused(f"{GRAPH_FILE}: its metadata lacks {absent}. Publish the version again.")
        try:
            self.inputs: tuple[str, ...] = tuple(json.loads(metadata["inputs"]))
            self.members: tuple[str, ...] = tuple(json.loads(metadata["members"]))
            self.rules = RuleCalibration.from_dict(json.loads(metadata["rules"]))
            self.rules.predict_one(50.0, 1.0, 1)  # what is damaged shows now
            self._novelty = (
                NoveltyScorer(NoveltyModel.from_dict(json.loads(metadata[GRAPH_ENTRY])))
                if GRAPH_ENTRY in metadata
                else None
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactRefused(f"{GRAPH_FILE}: its metadata is damaged: {_first_line(error)}") from error
        self.feature_set_version = metadata["feature_set_version"]
        self.label_version = metadata["label_version"]
        self.procedure_id = metadata["procedure_id"]
        self.n_bytes = len(onnx_bytes)
        self._place = {name: i for i, name in enumerate(self.inputs)}
        self._novelty_places = self._places_of_novelty()
        self._warm_up()

    @property
    def has_novelty(self) -> bool:
        return self._novelty is not None

    def matrix(self, rows: list[Mapping[str, Any]]) -> np.ndarray:
        """Return float64 (n_rows, n_inputs) from mappings of input names to numbers.

        NaN is missing: what is absent or None, and what float32 cannot hold, as ``models.preprocessing`` has it.
        """
        # None becomes NaN; the shape is said for no rows at all.
        X = np.array([[row.get(name) for name in self.inputs] for row in rows], dtype=np.float64)
        X = X.reshape(len(rows), len(self.inputs))
        X[np.abs(X) > _LARGEST] = np.nan
        return X

    def score(self, X: np.ndarray) -> list[Score]:
        """Score rows of inputs as `matrix` makes them, (n_rows, n_inputs)."""
        p, p_members = self._session.run([OUTPUT_P, OUTPUT_P_MEMBERS], {INPUT: X.astype(np.float32)})
        # Plain floats from here on: requests have one row, and numpy takes longer over one number than Python.
        novelty = self._novelty.score(X[:, self._novelty_places]).tolist() if self._novelty else [math.nan] * len(X)
        return [
            Score(p_ml if 0.0 <= p_ml <= 1.0 else math.nan, spread_of_members(members), novelty_p)
            for p_ml, members, novelty_p in zip(p.reshape(-1).tolist(), p_members.tolist(), novelty, strict=True)
        ]

    def why_novel(self, row: np.ndarray) -> str:
        """Which input of a row (n_inputs,) is most unusual, its value and the usual ones, in words."""
        if self._novelty is None:
            return ""
        values = row[None, self._novelty_places]
        column = int(self._novelty.most_unusual(values)[0])
        value = values[0, column]
        shown = "missing" if np.isnan(value) else f"{value:.4g}"
        return f"{self._novelty.columns[column]} is {shown}, usual are {self._novelty.usual(column)}"

    def _places_of_novelty(self) -> np.ndarray:
        if self._novelty is None:
            return np.empty(0, dtype=np.int64)
        absent = [name for name in self._novelty.columns if name not in self._place]
        if absent:
            raise ArtifactRefused(
                f"{GRAPH_FILE}: its novelty looks at {absent}, which are no inputs. Publish the version again."
            )
        return np.array([self._place[name] for name in self._novelty.columns], dtype=np.int64)

    def _warm_up(self) -> None:
        """Answer two rows: what fails here would fail a caller later."""
        rows = np.full((2, len(self.inputs)), np.nan)
        rows[1] = 0.0
        try:
            scores = self.score(rows)
        except Exception as error:
            raise ArtifactRefused(f"{GRAPH_FILE}: it does not answer: {_first_line(error)}") from error
        if any(math.isnan(score.p) for score in scores):
            raise ArtifactRefused(
                f"{GRAPH_FILE}: its first answers {[score.p for score in scores]} are no probabilities."
            )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]

"""A verified version made ready to answer: the ONNX session, what its metadata says, its rule arm and its novelty.

Immutable once built. Nothing here knows where the bytes came from; that they are whole and signed was checked before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.models.graph_names import INPUT, OUTPUT_P, OUTPUT_P_MEMBERS, single_thread_session
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.quality.novelty import GRAPH_ENTRY, NoveltyModel, NoveltyScorer
from catalyst_ml.trial.blending import member_spread

GRAPH_FILE = "model.onnx"
_REQUIRED = ("inputs", "members", "rules", "base_rate", "feature_set_version", "label_version", "procedure_id")


class Scores(NamedTuple):
    """What a version says of rows, (n_rows,) each; NaN in ``p`` where the graph gave no probability.

    ``spread`` is the standard deviation of the members that spoke; ``novelty_p`` is NaN without a novelty model and
    ``odd_column`` then -1.
    """

    p: np.ndarray
    p_rules: np.ndarray
    spread: np.ndarray
    novelty_p: np.ndarray
    odd_column: np.ndarray


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
        self._score_at, self._agreement_at = self._place.get("rule_score"), self._place.get("rule_agreement")
        self._novelty_places = self._places_of_novelty()
        self._warm_up()

    @property
    def has_novelty(self) -> bool:
        return self._novelty is not None

    def matrix(self, rows: list[Mapping[str, Any]]) -> np.ndarray:
        """Return float64 (n_rows, n_inputs) from mappings of input names to numbers; absent or None is missing."""
        X = np.full((len(rows), len(self.inputs)), np.nan)
        for i, row in enumerate(rows):
            for name, value in row.items():
                at = self._place.get(name)
                if at is not None and value is not None:
                    X[i, at] = value
        return X

    def score(self, X: np.ndarray) -> Scores:
        """Score raw inputs (n_rows, n_inputs) float64, NaN for missing."""
        with np.errstate(over="ignore"):
            narrow = X.astype(np.float32)
        narrow[~np.isfinite(narrow)] = np.nan  # as models.preprocessing.as_model_matrix
        p, p_members = self._session.run([OUTPUT_P, OUTPUT_P_MEMBERS], {INPUT: narrow})
        p = np.asarray(p, dtype=np.float64).reshape(-1)
        p = np.where((p >= 0.0) & (p <= 1.0), p, np.nan)
        novelty_p, odd = self._score_novelty(X)
        return Scores(p, self.rule_probability(X), member_spread(p_members), novelty_p, odd)

    def rule_probability(self, X: np.ndarray) -> np.ndarray:
        """The rules' calibrated probability (n_rows,) from the score and agreement among the inputs."""
        if self._score_at is None or self._agreement_at is None:
            return np.full(len(X), self.rules.base_rate)
        stance = X[:, self._agreement_at]
        return self.rules.predict_arrays(X[:, self._score_at], np.where(np.isnan(stance), 0.0, stance))

    def why_novel(self, column: int, value: float) -> str:
        """Which input is unusual, its value and the usual ones, in words."""
        if self._novelty is None or column < 0:
            return ""
        shown = "missing" if np.isnan(value) else f"{value:.4g}"
        return f"{self._novelty.columns[column]} is {shown}, usual are {self._novelty.usual(column)}"

    def novelty_value(self, X: np.ndarray, row: int, column: int) -> float:
        """Value of a novelty column in a row of inputs."""
        return float(X[row, self._novelty_places[column]])

    def _places_of_novelty(self) -> np.ndarray:
        if self._novelty is None:
            return np.empty(0, dtype=np.int64)
        absent = [name for name in self._novelty.columns if name not in self._place]
        if absent:
            raise ArtifactRefused(
                f"{GRAPH_FILE}: its novelty looks at {absent}, which are no inputs. Publish the version again."
            )
        return np.array([self._place[name] for name in self._novelty.columns], dtype=np.int64)

    def _score_novelty(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._novelty is None:
            return np.full(len(X), np.nan), np.full(len(X), -1)
        values = X[:, self._novelty_places]
        return self._novelty.score(np.where(np.isinf(values), np.nan, values))

    def _warm_up(self) -> None:
        """Answer two rows: what fails here would fail a caller later."""
        rows = np.full((2, len(self.inputs)), np.nan)
        rows[1] = 0.0
        try:
            scores = self.score(rows)
        except Exception as error:
            raise ArtifactRefused(f"{GRAPH_FILE}: it does not answer: {_first_line(error)}") from error
        if np.isnan(scores.p).any():
            raise ArtifactRefused(f"{GRAPH_FILE}: its first answers {scores.p.tolist()} are no probabilities.")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]

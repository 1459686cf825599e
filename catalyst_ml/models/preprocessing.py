"""From feature columns to model matrices: float32 first, then imputation, indicators and robust scaling.

The cast to float32 comes before anything is learned, so training, evaluation and the served graph see the
same values. Tree members take the matrix with its NaN; ``logistic`` and ``net`` take the scaled one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from catalyst_ml.errors import DataContractError
from catalyst_ml.models.graph_builder import GraphBuilder

if TYPE_CHECKING:
    import pandas as pd

IQR_PER_SD = 1.3489795
"""Interquartile range of a normal distribution with standard deviation 1."""


def model_matrix(rows: pd.DataFrame, inputs: tuple[str, ...]) -> np.ndarray:
    """Return the inputs of ``rows`` as float32 (n_rows, n_inputs) in the given order.

    Infinite values, and values beyond the range of float32, become NaN: an impossible number is a missing
    one. The features' own quality checks report them; the model must only survive them.

    Raises
    ------
    DataContractError
        If an input column is absent or not numeric.
    """
    absent = [name for name in inputs if name not in rows.columns]
    if absent:
        raise DataContractError(
            f"training set: model inputs {absent} are missing. Compute the features of this feature set version again."
        )
    from pandas.api.types import is_numeric_dtype

    odd = [name for name in inputs if not is_numeric_dtype(rows[name].dtype)]
    if odd:
        raise DataContractError(f"training set: model inputs {odd} are not numeric; expected float64 columns.")
    return as_model_matrix(rows.loc[:, list(inputs)].to_numpy(dtype="float64", na_value=np.nan))


def as_model_matrix(values: np.ndarray) -> np.ndarray:
    """Cast (n_rows, n_inputs) to float32 and turn what is not finite into NaN."""
    with np.errstate(over="ignore"):
        X = np.array(values, dtype=np.float32)
    X[~np.isfinite(X)] = np.nan
    return X


@dataclass(frozen=True)
class Preprocessing:
    """Imputation, missing indicators and robust scaling, learned from training rows only.

    Columns that are constant or wholly missing in training carry nothing and are left out (``kept``); columns
    with some missing values get an indicator (``indicated``). Both are column numbers of the model matrix.
    """

    kept: np.ndarray  # (n_kept,) int64
    indicated: np.ndarray  # (n_indicated,) int64
    centre: np.ndarray  # (n_kept,) float32, the median: also the value imputed
    inverse_scale: np.ndarray  # (n_kept,) float32
    clip: float

    @classmethod
    def fit(cls, X: np.ndarray, *, clip: float = 5.0) -> Preprocessing:
        """Learn from a float32 matrix (n_rows, n_inputs) without infinities."""
        kept, centres, scales, indicated = [], [], [], []
        for column in range(X.shape[1]):
            values = X[:, column]
            present = values[~np.isnan(values)].astype("float64")
            if 0 < len(present) < len(values):
                indicated.append(column)
            scale = _robust_scale(present)
            if scale > 0.0:
                kept.append(column)
                centres.append(np.median(present))
                scales.append(1.0 / scale)
        with np.errstate(over="ignore", under="ignore"):
            return cls(
                kept=np.array(kept, dtype=np.int64),
                indicated=np.array(indicated, dtype=np.int64),
                centre=np.array(centres, dtype=np.float32),
                inverse_scale=np.minimum(np.array(scales), np.finfo(np.float32).max).astype(np.float32),
                clip=float(np.float32(clip)),
            )

    @property
    def n_outputs(self) -> int:
        """Width of the scaled matrix."""
        return len(self.kept) + len(self.indicated)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return (n_rows, n_outputs) float32: inputs in [-clip, clip], then 0/1 indicators; never NaN."""
        values = X[:, self.kept]
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.clip((values - self.centre) * self.inverse_scale, -self.clip, self.clip)
        scaled[np.isnan(values)] = 0.0  # the median, scaled
        return np.hstack([scaled, np.isnan(X[:, self.indicated]).astype(np.float32)])

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        """Add the same arithmetic as nodes; return the name of the (n_rows, n_outputs) tensor."""
        missing = graph.node("IsNaN", [features])
        columns = graph.node("Gather", [features, graph.constant(self.kept)], axis=1)
        centred = graph.node("Sub", [columns, graph.constant(self.centre[None, :])])
        scaled = graph.node("Mul", [centred, graph.constant(self.inverse_scale[None, :])])
        bound = np.float32(self.clip)
        clipped = graph.node("Clip", [scaled, graph.constant(-bound), graph.constant(bound)])
        is_absent = graph.node("Gather", [missing, graph.constant(self.kept)], axis=1)
        imputed = graph.node("Where", [is_absent, graph.constant(np.float32(0.0)), clipped])
        flags = graph.node("Gather", [missing, graph.constant(self.indicated)], axis=1)
        indicators = graph.node("Cast", [flags], to=graph.FLOAT)
        return graph.node("Concat", [imputed, indicators], axis=1)


def _robust_scale(present: np.ndarray) -> float:
    """Interquartile range in standard deviations; the plain one where more than half the values are equal."""
    if len(present) < 2 or present.min() == present.max():
        return 0.0
    low, high = np.quantile(present, [0.25, 0.75])
    return float((high - low) / IQR_PER_SD) or float(present.std())

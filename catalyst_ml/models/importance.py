"""Permutation importance of the whole ensemble, per group of inputs, on rows it has not seen.

Importance is the rise in log-loss when a group's columns are shuffled together between rows: what the
ensemble would lose without the link between these inputs and the outcome. Below zero within its interval
means: it leans on noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.evaluation.record import daily_sums, log_losses
from catalyst_ml.evaluation.significance import stationary_bootstrap_counts
from catalyst_ml.models.final_fit import FittedEnsemble, fit_final
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure


@dataclass(frozen=True)
class GroupImportance:
    """Rise in log-loss (nats per row) when the group is shuffled; interval over sessions at ``level``."""

    group: str
    inputs: tuple[str, ...]
    importance: float
    low: float
    high: float
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Return the importance as JSON."""
        return {**asdict(self), "inputs": list(self.inputs)}


@dataclass(frozen=True)
class ImportanceReport:
    """Groups in falling order, and the rows they were measured on: all after ``fitted_as_of``."""

    groups: tuple[GroupImportance, ...]
    n_rows: int
    n_sessions: int
    fitted_as_of: pd.Timestamp

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "groups": [group.to_dict() for group in self.groups],
            "n_rows": self.n_rows,
            "n_sessions": self.n_sessions,
            "fitted_as_of": self.fitted_as_of.isoformat(),
        }


def importance_on_newest(
    training_set: pd.DataFrame,
    procedure: Procedure,
    oof: pd.DataFrame,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    n_sessions: int = 20,
    n_threads: int,
) -> ImportanceReport:
    """Fit the ensemble as it was before the newest ``n_sessions`` settled sessions and measure it on them.

    Raises
    ------
    InsufficientHistory
        If there are not more than ``n_sessions`` sessions.
    """
    sessions = np.unique(training_set["session"].to_numpy())
    if len(sessions) <= n_sessions:
        raise InsufficientHistory(
            f"importance on the newest {n_sessions} sessions needs older ones to train on; "
            f"got {len(sessions)} in all. Import more history."
        )
    newest = training_set.loc[(training_set["session"].to_numpy() >= sessions[-n_sessions])]
    # One microsecond before the first decision: an outcome known at that very close is not known before it.
    as_of = newest["ts"].min() - pd.Timedelta(1, "us")
    fitted = fit_final(training_set, procedure, oof, as_of=as_of, n_threads=n_threads)
    return permutation_importance(fitted, newest, groups=groups)


def permutation_importance(
    fitted: FittedEnsemble,
    rows: pd.DataFrame,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    n_repeats: int = 3,
    level: float = 0.9,
    n_boot: int = 1_000,
) -> ImportanceReport:
    """Shuffle each group's columns together between rows and measure the rise in log-loss.

    Parameters
    ----------
    rows
        Training set rows decided after ``fitted.as_of``.
    groups
        Inputs by group name; by default each input is its own group.
    n_repeats
        Shuffles per group; their mean is reported.

    Raises
    ------
    DataContractError
        If a row was decided at or before the fit: its outcome may have been trained on.
    ConfigurationError
        If a group names something that is not a model input.

    Notes
    -----
    Intervals are percentiles of the stationary bootstrap over sessions: they know days, not the refit.
    """
    if rows.empty or rows["ts"].min() <= fitted.as_of:
        raise DataContractError(
            f"importance: expected rows decided after the fit of {fitted.as_of.isoformat()}, got "
            f"{len(rows)} from {rows['ts'].min()}. Use an ensemble fitted before them (importance_on_newest)."
        )
    columns = _columns_of_groups(groups, fitted.procedure.inputs)
    X = model_matrix(rows, fitted.procedure.inputs)
    y = rows["y"].to_numpy()
    straight = log_losses(y, fitted.predict(X).p)
    rng = np.random.default_rng(fitted.procedure.seed)
    rises = {name: _mean_rise(fitted, X, y, straight, numbers, n_repeats, rng) for name, numbers in columns.items()}
    per_session = rows.groupby("session").size().to_numpy(dtype="float64")
    counts = stationary_bootstrap_counts(len(per_session), n_boot=n_boot, seed=fitted.procedure.seed)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    measured = []
    for name, rise in rises.items():
        daily = daily_sums(rise, rows["session"]).to_numpy()
        low, high = np.quantile((counts @ daily) / (counts @ per_session), tails)
        inputs = tuple(fitted.procedure.inputs[k] for k in columns[name])
        measured.append(GroupImportance(name, inputs, float(rise.mean()), float(low), float(high), level))
    measured.sort(key=lambda group: -group.importance)
    return ImportanceReport(tuple(measured), len(rows), len(per_session), fitted.as_of)


def _columns_of_groups(groups: Mapping[str, Sequence[str]] | None, inputs: tuple[str, ...]) -> dict[str, list[int]]:
    wanted = {name: (name,) for name in inputs} if groups is None else groups
    number = {name: k for k, name in enumerate(inputs)}
    unknown = sorted({name for members in wanted.values() for name in members if name not in number})
    if unknown:
        raise ConfigurationError(f"importance groups name {unknown}, which are not model inputs {list(inputs)}.")
    return {group: [number[name] for name in members] for group, members in wanted.items() if members}


def _mean_rise(
    fitted: FittedEnsemble,
    X: np.ndarray,
    y: np.ndarray,
    straight: np.ndarray,
    columns: list[int],
    n_repeats: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rise in each row's log-loss (n_rows,), mean over shuffles."""
    rise = np.zeros(len(X))
    for _ in range(n_repeats):
        shuffled = X.copy()
        shuffled[:, columns] = X[rng.permutation(len(X))][:, columns]
        rise += log_losses(y, fitted.predict(shuffled).p) - straight
    return rise / n_repeats

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

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.evaluation.intervals import mean_interval
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.record_fits import RecordFit, require_unseen, side_by_side

N_REPEATS = 3


@dataclass(frozen=True)
class GroupImportance:
    """Rise in log-loss (nats per row) when the group is shuffled; interval over sessions at ``level``.

    Without an interval (``low`` and ``high`` are None) there were fewer than 20 sessions.
    """

    group: str
    inputs: tuple[str, ...]
    importance: float
    low: float | None
    high: float | None
    level: float


@dataclass(frozen=True)
class ImportanceReport:
    """Groups in falling order, and what they were measured on: rows decided after the fit that was asked."""

    groups: tuple[GroupImportance, ...]
    n_rows: int
    n_sessions: int
    n_fits: int

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return asdict(self) | {"groups": [{**asdict(g), "inputs": list(g.inputs)} for g in self.groups]}


def permutation_importance(
    fits: Sequence[RecordFit],
    groups: Mapping[str, Sequence[str]],
    *,
    n_repeats: int = N_REPEATS,
    level: float = 0.9,
    at_most: int = 1,
) -> ImportanceReport:
    """Shuffle each group's columns together between the rows of each fit and measure the rise in log-loss.

    Parameters
    ----------
    fits
        Fits of one procedure with rows decided after them (`record_fits.refit_record`).
    groups
        Inputs by group name (`features.input_groups`).
    n_repeats
        Shuffles per group and fit; their mean is reported.
    at_most
        Fits looked at side by side, in threads.

    Raises
    ------
    DataContractError
        If a row was decided at or before its fit: its outcome may have been trained on.
    ConfigurationError
        If there is no fit, or a group names something that is not a model input.

    Notes
    -----
    Intervals cluster by session and know the serial dependence between sessions; several fits are pooled, so how
    much one week's fit differs from another's is in them as far as the fits span it.
    """
    if not fits:
        raise ConfigurationError("importance: no fit was handed in; expected at least one (refit_record).")
    require_unseen(fits)
    columns = columns_of_groups(groups, fits[0].fitted.procedure.inputs)

    def rises(fit: RecordFit) -> np.ndarray:
        X, y = model_matrix(fit.rows, fit.fitted.procedure.inputs), fit.rows["y"].to_numpy()
        straight = log_losses(y, fit.fitted.predict(X).p)
        rng = np.random.default_rng(fit.fitted.procedure.seed)
        return np.column_stack([_mean_rise(fit, X, y, straight, own, n_repeats, rng) for own in columns.values()])

    rise = np.concatenate(side_by_side(rises, fits, at_most=at_most))  # (n_rows, n_groups)
    session = np.concatenate([fit.rows["session"].to_numpy() for fit in fits])
    measured = []
    for k, (name, numbers) in enumerate(columns.items()):
        found = mean_interval(rise[:, k], session, level=level)
        inputs = tuple(fits[0].fitted.procedure.inputs[number] for number in numbers)
        measured.append(GroupImportance(name, inputs, float(rise[:, k].mean()), found.low, found.high, level))
    measured.sort(key=lambda group: -group.importance)
    return ImportanceReport(tuple(measured), len(rise), len(np.unique(session)), len(fits))


def columns_of_groups(groups: Mapping[str, Sequence[str]], inputs: Sequence[str]) -> dict[str, list[int]]:
    """Column numbers of each group that is not empty.

    Raises
    ------
    ConfigurationError
        If a group names something that is not a model input.
    """
    number = {name: k for k, name in enumerate(inputs)}
    unknown = sorted({name for members in groups.values() for name in members if name not in number})
    if unknown:
        raise ConfigurationError(f"input groups name {unknown}, which are not model inputs {list(inputs)}.")
    return {group: [number[name] for name in members] for group, members in groups.items() if members}


def _mean_rise(
    fit: RecordFit,
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
        rise += log_losses(y, fit.fitted.predict(shuffled).p) - straight
    return rise / n_repeats

"""The walk-forward: each fold's members see only what was known before it, and so do weights and calibration.

`fit_fold` is a pure function of its rows and can run in a task of its own; `combine_folds` needs all folds,
in order.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.base_rates import BaseRate, PatternBaseRate
from catalyst_ml.evaluation.record import (
    MEMBER_PREFIX,
    P_BASE_RATE,
    P_CHALLENGER,
    P_PATTERN_BASE_RATE,
    P_RULES,
)
from catalyst_ml.evaluation.splits import Fold, test_rows, train_rows
from catalyst_ml.evaluation.weights import sample_weights
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.models.calibration import Calibrator, choose_calibrator
from catalyst_ml.models.catalyst_weights import add_catalyst
from catalyst_ml.models.ensemble import EnsembleWeights, choose_weights, effective_row_weights
from catalyst_ml.models.member import TrainedOn
from catalyst_ml.models.members import FittedMembers, fit_members
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import CATALYST, Procedure
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.models.session_effects import session_groups
from catalyst_ml.models.training_device import ON_CPU, TrainingDevice

logger = logging.getLogger(__name__)

CARRIED_COLUMNS: tuple[str, ...] = (
    *EVENT_KEY,
    "session",
    "y",
    "net_return",
    "label_end",
    "rule_score",
    "rule_action",
)


FEW_ROWS = 200_000
"""Training sets up to this size train faster on one thread each, side by side (docs/decisions/0020)."""


class ThreadShare(NamedTuple):
    """How many folds are fitted at a time, and how many threads the trainers of each may use."""

    side_by_side: int
    of_each: int


class Learned(NamedTuple):
    """Members with the rows they learned from and the weights of those (n_rows,)."""

    known: pd.DataFrame
    weight: np.ndarray
    fitted: FittedMembers


@dataclass(frozen=True)
class FoldPredictions:
    """Out-of-fold predictions of one fold, in the order of the training set.

    ``rows`` hold `CARRIED_COLUMNS`, ``fold``, the arms that need no model and ``p_member_<name>``, NaN where the
    catalyst predictor abstains. ``note`` says why members were replaced by the base rate; empty otherwise.
    ``trained_on`` says where each member was really trained.
    """

    fold: Fold
    rows: pd.DataFrame
    fit_seconds: dict[str, float]
    n_train: int
    note: str = ""
    trained_on: dict[str, TrainedOn] = field(default_factory=dict)


@dataclass(frozen=True)
class EnsembleStep:
    """Weights and calibration used in one record fold, and how much was known when they were chosen."""

    fold: str
    weights: EnsembleWeights
    calibrator: Calibrator
    n_known: int


@dataclass(frozen=True)
class CombinedFolds:
    """``record``: rows of record folds with ``p_challenger``; ``oof``: rows of all folds, burn-in too."""

    record: pd.DataFrame
    oof: pd.DataFrame
    steps: tuple[EnsembleStep, ...]


def share_threads(n_threads: int, *, n_rows: int, device: TrainingDevice = ON_CPU) -> ThreadShare:
    """Share ``n_threads`` among folds and the trainers within them.

    A GPU takes one fold at a time; its trainers have the threads they would have without it, so that what continues
    on the CPU has the bits of a CPU run.

    A trainer on one thread has nobody to wait for: small folds run side by side, one thread each. Large ones take all
    threads and memory for themselves, one after the other: several trainers with several threads each spin for
    minutes on their locks.
    """
    of_each = 1 if n_rows <= FEW_ROWS else n_threads
    return ThreadShare(n_threads if of_each == 1 and device.device == "cpu" else 1, of_each)


def fit_fold(
    training_set: pd.DataFrame,
    fold: Fold,
    procedure: Procedure,
    *,
    n_threads: int,
    device: TrainingDevice = ON_CPU,
) -> FoldPredictions:
    """Fit every member and arm on the rows known before the fold and predict the fold's rows.

    Parameters
    ----------
    training_set
        The training set frame with labels, sorted by (ts, symbol, direction). Rows outside the fold's windows
        are not looked at.
    n_threads
        Threads of one trainer; they run one after another.
    device
        The run's choice; what fails there continues on the CPU.

    Raises
    ------
    DataContractError
        If no row was known before the fold, or a model input is missing.
    """
    asked = training_set.loc[test_rows(training_set, fold)]
    known, weight, fitted = learn_fold(training_set, fold, procedure, n_threads=n_threads, device=device)
    p_members = fitted.predict(model_matrix(asked, procedure.inputs))
    base = BaseRate.fit(known, weight)
    rules = RuleCalibration.fit(known, weight, base_rate=base.rate)
    rows = asked.loc[:, list(CARRIED_COLUMNS)].reset_index(drop=True)
    rows = rows.assign(
        fold=pd.Series(fold.name, index=rows.index, dtype="str"),
        **{
            P_BASE_RATE: base.predict(asked),
            P_PATTERN_BASE_RATE: PatternBaseRate.fit(known, weight).predict(asked),
            P_RULES: rules.predict(asked),
        },
        **{MEMBER_PREFIX + name: p_members[:, k] for k, name in enumerate(procedure.members)},
    )
    logger.info(
        "fold %s: trained on %d rows, predicted %d in %.1f s",
        fold.name,
        len(known),
        len(asked),
        sum(fitted.fit_seconds.values()),
    )
    return FoldPredictions(fold, rows, fitted.fit_seconds, len(known), fitted.note, fitted.trained_on)


def learn_fold(
    training_set: pd.DataFrame,
    fold: Fold,
    procedure: Procedure,
    *,
    n_threads: int,
    device: TrainingDevice = ON_CPU,
) -> Learned:
    """Fit every member on the rows known before the fold; the same rows, procedure and threads give the same fit.

    Raises
    ------
    DataContractError
        If no row was known before the fold, or a model input is missing.
    """
    known = training_set.loc[train_rows(training_set, fold)]
    if known.empty:
        raise DataContractError(
            f"fold {fold.name}: no row between {fold.train_start:%Y-%m-%d} and "
            f"{fold.known_before:%Y-%m-%d} has a known outcome. Import earlier bars or ask for fewer folds."
        )
    return learn(known, procedure, as_of=fold.known_before, n_threads=n_threads, device=device)


def learn(
    known: pd.DataFrame,
    procedure: Procedure,
    *,
    as_of: pd.Timestamp,
    n_threads: int,
    device: TrainingDevice = ON_CPU,
) -> Learned:
    """Fit every member on ``known`` rows, all of them, weighted as seen from ``as_of``."""
    weight = sample_weights(known, as_of=as_of, half_life_days=procedure.half_life_days)
    fitted = fit_members(
        model_matrix(known, procedure.inputs),
        known["y"].to_numpy(),
        weight,
        procedure,
        groups=session_groups(known),
        session=known["session"].to_numpy(),
        n_threads=n_threads,
        device=device,
    )
    return Learned(known, weight, fitted)


def combine_folds(folds: Sequence[FoldPredictions], procedure: Procedure) -> CombinedFolds:
    """Add the challenger's probability to every record fold, from what earlier folds had taught by then.

    Parameters
    ----------
    folds
        In time order, burn-in first; test windows do not overlap.

    Returns
    -------
    CombinedFolds
        For each record fold, weights and calibration were chosen on OOF rows of earlier folds whose outcome
        was known before the fold (``label_end < known_before``). The record's order is that of the training
        set.

    Raises
    ------
    DataContractError
        If the folds are not in time order or there is none.
    """
    starts = [f.fold.test_start for f in folds]
    if not folds or starts != sorted(starts):
        raise DataContractError(
            f"walk-forward: expected folds in time order, got {[f.fold.name for f in folds]}. Sort them by test_start."
        )
    oof = pd.concat([f.rows for f in folds], ignore_index=True)
    ends = np.cumsum([len(f.rows) for f in folds])
    steps: list[EnsembleStep] = []
    scored: list[pd.DataFrame] = []
    for predicted, end in zip(folds, ends, strict=True):
        if predicted.fold.kind != "record":
            continue
        earlier = oof.iloc[: end - len(predicted.rows)]
        known = earlier.loc[(earlier["label_end"] < predicted.fold.known_before).to_numpy()]
        weights, calibrator = fit_combination(known, procedure)
        p_raw = weights.combine(member_matrix(predicted.rows, procedure), procedure.members)
        scored.append(predicted.rows.assign(**{P_CHALLENGER: calibrator.predict(p_raw)}))
        steps.append(EnsembleStep(predicted.fold.name, weights, calibrator, len(known)))
    record = pd.concat(scored, ignore_index=True) if scored else oof.iloc[:0].assign(**{P_CHALLENGER: np.empty(0)})
    return CombinedFolds(record, oof, tuple(steps))


def fit_combination(known_oof: pd.DataFrame, procedure: Procedure) -> tuple[EnsembleWeights, Calibrator]:
    """Choose weights, then the calibrator of the weighted probability, on OOF rows with known outcomes.

    Notes
    -----
    The calibrator is fitted on the weighted probability of the same rows that taught the weights:
    four free numbers against thousands of rows, and both choices were confirmed on later sessions.
    """
    p_members = member_matrix(known_oof, procedure)
    y = known_oof["y"].to_numpy()
    session = known_oof["session"].to_numpy()
    steady = [procedure.members.index(name) for name in procedure.steady_members]
    weights = choose_weights(p_members[:, steady], procedure.steady_members, y, session, procedure.ensemble)
    if CATALYST in procedure.members:
        weights = add_catalyst(
            weights, p_members, procedure.members, y, session, ensemble=procedure.ensemble, settings=procedure.catalyst
        )
    calibrator = choose_calibrator(
        weights.combine(p_members, procedure.members),
        y,
        effective_row_weights(session, procedure.ensemble),
        session,
        procedure.calibration,
    )
    return weights, calibrator


def member_matrix(oof: pd.DataFrame, procedure: Procedure) -> np.ndarray:
    """Member probabilities (n_rows, n_members) of an OOF frame, in the procedure's order."""
    return oof[[MEMBER_PREFIX + name for name in procedure.members]].to_numpy(dtype="float64")

"""The version to deploy: members on all labels known now, weights and calibration from all OOF rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.base_rates import BaseRate, PatternBaseRate
from catalyst_ml.models.calibration import Calibrator
from catalyst_ml.models.catalyst import SilentMember
from catalyst_ml.models.direction_level import NO_LEVEL, DirectionLevel
from catalyst_ml.models.ensemble import EnsembleWeights
from catalyst_ml.models.member import FittedMember, TrainedOn
from catalyst_ml.models.members import predict_members
from catalyst_ml.models.procedure import CATALYST, Procedure
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.models.training_device import ON_CPU, TrainingDevice
from catalyst_ml.models.walk_forward import Learned, fit_combination, learn


@dataclass(frozen=True)
class EnsemblePrediction:
    """Calibrated ``p`` (n,), weighted ``p_raw`` (n,), and kept members' ``p_members`` (n, m); float64.

    Only the catalyst predictor abstains: NaN in its column of ``p_members``, the others' probability in the rest.
    """

    p: np.ndarray
    p_raw: np.ndarray
    p_members: np.ndarray


@dataclass(frozen=True)
class FittedEnsemble:
    """One week's fit of a procedure. ``members`` are the kept ones, in the order of ``p_members``, moved by ``level``.

    The arms without a model (``rules``, ``base_rate``, ``pattern_base_rate``) were fitted on the same rows;
    the server blends and compares with them.
    """

    procedure: Procedure
    members: dict[str, FittedMember]
    weights: EnsembleWeights
    calibrator: Calibrator
    rules: RuleCalibration
    base_rate: BaseRate
    pattern_base_rate: PatternBaseRate
    as_of: pd.Timestamp
    n_train: int
    fit_seconds: dict[str, float]
    note: str = ""
    trained_on: dict[str, TrainedOn] = field(default_factory=dict)
    level: DirectionLevel = NO_LEVEL

    @property
    def n_tree_nodes(self) -> int:
        """Tree nodes of the served file."""
        return sum(member.n_tree_nodes for member in self.members.values())

    def predict(self, X: np.ndarray) -> EnsemblePrediction:
        """Predict a float32 matrix (n_rows, n_inputs) made by `preprocessing.as_model_matrix`."""
        n_shared = len(self.procedure.shared_inputs)
        p_members = predict_members(self.members, X, n_shared=n_shared, level=self.level)
        p_raw = self.weights.combine(p_members, list(self.members))
        return EnsemblePrediction(self.calibrator.predict(p_raw), p_raw, p_members)


def fit_final(
    training_set: pd.DataFrame,
    procedure: Procedure,
    oof: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    n_threads: int,
    device: TrainingDevice = ON_CPU,
) -> FittedEnsemble:
    """Fit all members on what is known at ``as_of``.

    Parameters
    ----------
    training_set
        The training set frame; rows with ``label_end <= as_of`` decided within the training window are used.
    oof
        Out-of-fold rows of the same procedure (`CombinedFolds.oof`); those known at ``as_of`` teach the
        weights.
    device
        The run's choice; what fails there continues on the CPU.

    Raises
    ------
    InsufficientHistory
        If no outcome is known at ``as_of``.
    """
    known = training_set.loc[known_rows(training_set, procedure, as_of=as_of)]
    if known.empty:
        raise InsufficientHistory(f"no outcome is known at {as_of.isoformat()}. Import earlier bars.")
    learned = learn(known, procedure, as_of=as_of, n_threads=n_threads, device=device)
    return assemble_ensemble(learned, procedure, oof.loc[(oof["label_end"] <= as_of).to_numpy()], as_of=as_of)


def assemble_ensemble(
    learned: Learned, procedure: Procedure, known_oof: pd.DataFrame, *, as_of: pd.Timestamp
) -> FittedEnsemble:
    """Weigh and calibrate fitted members by out-of-fold rows whose outcome was known at ``as_of``."""
    known, weight, fitted = learned
    weights, calibrator = fit_combination(known_oof, procedure)
    if isinstance(fitted.members.get(CATALYST), SilentMember):
        weights = weights.without_news(fitted.abstains)
    base = BaseRate.fit(known, weight)
    return FittedEnsemble(
        procedure=procedure,
        members={name: fitted.members[name] for name in procedure.members if name in weights.members},
        weights=weights,
        calibrator=calibrator,
        rules=RuleCalibration.fit(known, weight, base_rate=base.rate),
        base_rate=base,
        pattern_base_rate=PatternBaseRate.fit(known, weight),
        as_of=as_of,
        n_train=len(known),
        fit_seconds=fitted.fit_seconds,
        note=fitted.note,
        trained_on=fitted.trained_on,
        level=fitted.level,
    )


def known_rows(training_set: pd.DataFrame, procedure: Procedure, *, as_of: pd.Timestamp) -> np.ndarray:
    """Mask (n_rows,) of rows decided within the training window whose outcome is known at ``as_of``."""
    is_recent = training_set["ts"] >= as_of - pd.Timedelta(days=procedure.training_days)
    return (is_recent & (training_set["label_end"] <= as_of)).to_numpy(dtype=bool)

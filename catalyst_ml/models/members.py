"""Fit all members of a procedure on one training side, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.models.member import (
    TRAINED_ON_CPU,
    BaseRateMember,
    FittedMember,
    TrainedOn,
    TrainingSide,
    smoothed_rate,
)
from catalyst_ml.models.preprocessing import Preprocessing
from catalyst_ml.models.procedure import MAX_TREE_NODES, Procedure
from catalyst_ml.models.session_effects import shared_log_odds
from catalyst_ml.models.training_device import ON_CPU, TrainingDevice


@dataclass(frozen=True)
class FittedMembers:
    """Members by name in the procedure's order, with the seconds each fit took.

    ``note`` is empty unless members were replaced by the base rate; then it says why. ``trained_on`` says where each
    was really trained.
    """

    members: dict[str, FittedMember]
    fit_seconds: dict[str, float]
    note: str = ""
    trained_on: dict[str, TrainedOn] = field(default_factory=dict)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of all members (n_rows, n_members), float64."""
        if len(X) == 0:
            return np.empty((0, len(self.members)))
        return np.column_stack([member.predict_proba1(X) for member in self.members.values()])


def fit_members(
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray,
    procedure: Procedure,
    *,
    groups: np.ndarray | None = None,
    n_threads: int,
    device: TrainingDevice = ON_CPU,
) -> FittedMembers:
    """Fit every member on rows in time order.

    Two OpenMP trainers side by side on two cores spin; so the members run one at a time, each on all threads.

    Parameters
    ----------
    groups
        Code of each row's session and direction (n_rows,), for the effects that all its rows share; None for none.
    device
        The run's choice (`training_device.choose_device`). What fails there continues on the CPU and says so.

    Raises
    ------
    ConfigurationError
        If the trees together exceed the deployable size.

    Notes
    -----
    With fewer than ``min_training_rows`` rows, one outcome only, or no input that varies, every member is the
    base rate and ``note`` says so; with no rows at all that rate is 1/2.
    """
    preprocessing = Preprocessing.fit(X, clip=procedure.preprocessing.clip)
    note = _why_not_trainable(y, preprocessing, procedure)
    if note:
        constant = BaseRateMember(smoothed_rate(y, sample_weight))
        constants: dict[str, FittedMember] = dict.fromkeys(procedure.members, constant)
        return FittedMembers(constants, dict.fromkeys(procedure.members, 0.0), note)
    offset = shared_log_odds(y, sample_weight, groups if procedure.absorb_session_effects else None)
    side = TrainingSide(X, y, sample_weight, preprocessing, offset, procedure.seed, n_threads, device.device)
    members: dict[str, FittedMember] = {}
    seconds: dict[str, float] = {}
    for name in procedure.members:
        started = time.perf_counter()
        members[name] = _FITS[name](side, procedure)
        seconds[name] = time.perf_counter() - started
    _check_size(members)
    # Members without a form on a device have nothing to say of it.
    trained_on = {name: getattr(member, "trained_on", TRAINED_ON_CPU) for name, member in members.items()}
    return FittedMembers(members, seconds, trained_on=trained_on)


def _why_not_trainable(y: np.ndarray, preprocessing: Preprocessing, procedure: Procedure) -> str:
    if len(y) < procedure.min_training_rows:
        return f"{len(y)} training rows, {procedure.min_training_rows} needed: every member is the base rate"
    if y.min() == y.max():
        return f"all {len(y)} training rows have outcome {int(y[0])}: every member is the base rate"
    if preprocessing.n_outputs == 0:
        return f"no model input varies in {len(y)} training rows: every member is the base rate"
    return ""


def _check_size(members: dict[str, FittedMember]) -> None:
    nodes = {name: member.n_tree_nodes for name, member in members.items() if member.n_tree_nodes}
    if sum(nodes.values()) > MAX_TREE_NODES:
        raise ConfigurationError(
            f"tree nodes {nodes} exceed {MAX_TREE_NODES:,} in all. Use fewer or shallower trees in the procedure."
        )


# Each trainer is imported by its own fit: a cached weekly run must not pay for torch or XGBoost.
def _fit_logistic(side: TrainingSide, procedure: Procedure) -> FittedMember:
    from catalyst_ml.models.logistic import LogisticMember

    return LogisticMember.fit(side, procedure.logistic)


def _fit_boosting(side: TrainingSide, procedure: Procedure) -> FittedMember:
    from catalyst_ml.models.boosting import fit_boosting

    return fit_boosting(side, procedure.boosting)


def _fit_forest(side: TrainingSide, procedure: Procedure) -> FittedMember:
    from catalyst_ml.models.forest import fit_forest

    return fit_forest(side, procedure.forest)


def _fit_net(side: TrainingSide, procedure: Procedure) -> FittedMember:
    from catalyst_ml.models.net import NetMember

    return NetMember.fit(side, procedure.net)


_FITS: dict[str, Callable[[TrainingSide, Procedure], FittedMember]] = {
    "base_rate": lambda side, _: BaseRateMember.fit(side),
    "logistic": _fit_logistic,
    "xgboost": _fit_boosting,
    "forest": _fit_forest,
    "net": _fit_net,
}

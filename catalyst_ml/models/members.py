"""Fit all members of a procedure on one training side, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.models.catalyst import CatalystMember, SilentMember, has_news, why_silent
from catalyst_ml.models.direction_level import NO_LEVEL, DirectionLevel
from catalyst_ml.models.member import (
    TRAINED_ON_CPU,
    BaseRateMember,
    FittedMember,
    TrainedOn,
    TrainingSide,
    smoothed_rate,
)
from catalyst_ml.models.preprocessing import Preprocessing
from catalyst_ml.models.procedure import CATALYST, MAX_TREE_NODES, Procedure
from catalyst_ml.models.session_effects import shared_log_odds
from catalyst_ml.models.training_device import ON_CPU, TrainingDevice


@dataclass(frozen=True)
class FittedMembers:
    """Members by name in the procedure's order, with the seconds each fit took.

    ``n_shared`` is the number of leading inputs that all members read; the catalyst predictor reads the rest too.
    ``note`` is empty unless members were replaced by the base rate, ``abstains`` unless the catalyst predictor abstains
    on every row; then they say why. ``trained_on`` says where each was really trained. ``level`` moves the answers of
    all of them.
    """

    members: dict[str, FittedMember]
    fit_seconds: dict[str, float]
    n_shared: int
    note: str = ""
    abstains: str = ""
    trained_on: dict[str, TrainedOn] = field(default_factory=dict)
    level: DirectionLevel = NO_LEVEL

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of all members (n_rows, n_members), float64; NaN where the catalyst predictor abstains."""
        return predict_members(self.members, X, n_shared=self.n_shared, level=self.level)

    def n_read_by(self, name: str) -> int | None:
        """How many leading columns of the model matrix the member reads; None for all of them."""
        return None if name == CATALYST else self.n_shared


def predict_members(
    members: Mapping[str, FittedMember], X: np.ndarray, *, n_shared: int, level: DirectionLevel
) -> np.ndarray:
    """Ask each member with the inputs it reads (n_rows, n_inputs); returns (n_rows, n_members), moved by ``level``."""
    if len(X) == 0:
        return np.empty((0, len(members)))
    shared = X[:, :n_shared]
    p = np.column_stack([member.predict_proba1(X if name == CATALYST else shared) for name, member in members.items()])
    return level.move(p, X)


def fit_members(
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray,
    procedure: Procedure,
    *,
    groups: np.ndarray | None = None,
    session: np.ndarray | None = None,
    n_threads: int,
    device: TrainingDevice = ON_CPU,
) -> FittedMembers:
    """Fit every member on rows in time order.

    Two OpenMP trainers side by side on two cores spin; so the members run one at a time, each on all threads.

    Parameters
    ----------
    groups
        Code of each row's session and direction (n_rows,), for the effects that all its rows share; None for none.
    session
        Session of each row (n_rows,), for the level of the directions and for the sessions with news that the catalyst
        predictor needs; None leaves the level out and does not count them.
    device
        The run's choice (`training_device.choose_device`). What fails there continues on the CPU and says so.

    Raises
    ------
    ConfigurationError
        If the trees together exceed the deployable size.

    Notes
    -----
    With fewer than ``min_training_rows`` rows, one outcome only, or no input that varies, every member is the
    base rate and ``note`` says so; with no rows at all that rate is 1/2. The catalyst predictor then abstains, as it
    does with too few events with news. The others never see its inputs, so it changes none of their bits.
    """
    n_shared = len(procedure.shared_inputs)
    shared = X[:, :n_shared]
    preprocessing = Preprocessing.fit(shared, clip=procedure.preprocessing.clip)
    note = _why_not_trainable(y, preprocessing, procedure)
    if note:
        constant = BaseRateMember(smoothed_rate(y, sample_weight))
        constants: dict[str, FittedMember] = {
            name: SilentMember() if name == CATALYST else constant for name in procedure.members
        }
        return FittedMembers(constants, dict.fromkeys(procedure.members, 0.0), n_shared, note, note)
    level = NO_LEVEL
    if procedure.absorb_session_effects and procedure.direction_level and session is not None:
        level = DirectionLevel.fit(shared, y, sample_weight, session, procedure.shared_inputs)
    side = training_side(
        shared,
        y,
        sample_weight,
        procedure,
        groups=groups,
        n_threads=n_threads,
        device=device,
        preprocessing=preprocessing,
        level=level,
    )
    members: dict[str, FittedMember] = {}
    seconds: dict[str, float] = {}
    abstains = ""
    for name in procedure.members:
        started = time.perf_counter()
        if name == CATALYST:
            start = members.get("logistic", BaseRateMember(side.base_rate))
            members[name], abstains = _fit_catalyst(replace(side, X=X), session, procedure, start)
        else:
            members[name] = fit_member(name, side, procedure)
        seconds[name] = time.perf_counter() - started
    _check_size(members)
    # Members without a form on a device have nothing to say of it.
    trained_on = {name: getattr(member, "trained_on", TRAINED_ON_CPU) for name, member in members.items()}
    return FittedMembers(members, seconds, n_shared, abstains=abstains, trained_on=trained_on, level=level)


def training_side(
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray,
    procedure: Procedure,
    *,
    groups: np.ndarray | None = None,
    n_threads: int,
    device: TrainingDevice = ON_CPU,
    preprocessing: Preprocessing | None = None,
    level: DirectionLevel = NO_LEVEL,
) -> TrainingSide:
    """Return the rows as every member but the catalyst predictor wants them, from the shared inputs alone.

    What ``level`` says of a row's direction is taken out with the session's effect: members do not learn it again.
    """
    prepared = preprocessing or Preprocessing.fit(X, clip=procedure.preprocessing.clip)
    expected = level.move(np.full((len(y), 1), smoothed_rate(y, sample_weight)), X)[:, 0]
    offset = shared_log_odds(y, sample_weight, groups if procedure.absorb_session_effects else None, expected=expected)
    return TrainingSide(X, y, sample_weight, prepared, offset, procedure.seed, n_threads, device.device)


def fit_member(name: str, side: TrainingSide, procedure: Procedure) -> FittedMember:
    """Fit one member, not the catalyst predictor, by the settings of ``procedure``."""
    return _FITS[name](side, procedure)


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


def _fit_catalyst(
    side: TrainingSide, session: np.ndarray | None, procedure: Procedure, start: FittedMember
) -> tuple[FittedMember, str]:
    """Fit the catalyst predictor, or return a silent one with the reason."""
    is_news = has_news(side.X, procedure.inputs)
    n_sessions = None if session is None else len(np.unique(session[is_news]))
    silent = why_silent(int(is_news.sum()), n_sessions, procedure.catalyst)
    if silent:
        return SilentMember(), silent
    return CatalystMember.fit(side, procedure.catalyst, procedure.inputs, start=start), ""


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

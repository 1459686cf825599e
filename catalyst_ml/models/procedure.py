"""The procedure: what is re-fitted every week, as opposed to one week's fit.

The gate judges a procedure, so everything that changes its predictions is in here and in its id: inputs, rule arm,
members, their budgets, events, training window, weighting of rows, ensemble and calibration rules, seed. Thread
counts and dates are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.features.catalysts import NEWS_FLAG
from catalyst_ml.models.identity import as_json, short_id

REVISION = 1
"""Raised by hand when code changes the predictions of an unchanged set of parameters."""

MEMBERS: tuple[str, ...] = ("base_rate", "logistic", "xgboost", "forest", "net")
CATALYST = "catalyst"
"""The member that speaks on events with news and abstains elsewhere; see ``models.catalyst``."""
RowChoice = Literal["all", "rule_fired"]
"""Which events are trained on and judged: all, or those whose side the rules would trade (meta-labelling)."""
MAX_TREE_NODES = 300_000
"""Deployable size of one version, all tree members together: about 12 MB of ONNX (design, section 8)."""


@dataclass(frozen=True)
class PreprocessingSettings:
    """Inputs of ``logistic`` and ``net`` are cut at ``clip`` robust standard deviations."""

    clip: float = 5.0


@dataclass(frozen=True)
class LogisticSettings:
    """Penalty ``l2``/2·|β|² on scaled inputs, against the summed log-loss of all rows.

    About 25 rows of one day are worth one, so 3,000 is a prior of standard deviation 0.09 on each coefficient.
    """

    l2: float = 3_000.0


@dataclass(frozen=True)
class BoostingSettings:
    """Shallow, slow, strongly regularised trees: on real bars the signal is tiny."""

    n_trees: int = 150
    max_depth: int = 3
    learning_rate: float = 0.03
    min_leaf_share: float = 0.01
    subsample: float = 0.5
    colsample_bytree: float = 0.5
    reg_lambda: float = 200.0
    max_bin: int = 64


@dataclass(frozen=True)
class ForestSettings:
    """Bagged trees, averaged in log-odds. ``max_samples`` 0.632 is the share a bootstrap sample sees."""

    n_trees: int = 100
    max_depth: int = 7
    min_leaf_share: float = 0.002
    max_samples: float = 0.632
    colsample_bynode: float = 0.3
    reg_lambda: float = 10.0
    max_bin: int = 64


@dataclass(frozen=True)
class CatalystSettings(BoostingSettings):
    """Boosting on the events with news alone: a tenth of the rows, hence fewer and shallower trees.

    It abstains altogether with fewer than ``min_rows`` events with news or ``min_sessions`` sessions of them in
    training. It gets a weight once mixing it in is better than the other members alone, at level ``alpha`` on at least
    ``min_known_sessions`` sessions with news.
    """

    n_trees: int = 100
    max_depth: int = 2
    min_leaf_share: float = 0.03
    min_rows: int = 400
    min_sessions: int = 100
    min_known_sessions: int = 60
    alpha: float = 0.10


@dataclass(frozen=True)
class NetSettings:
    """A small multi-layer perceptron; ``n_seeds`` fits are averaged in log-odds.

    The budget is counted in steps, not epochs, so that a small training set is not under-trained.
    """

    hidden: tuple[int, ...] = (32, 16)
    n_steps: int = 100
    batch_size: int = 2_048
    learning_rate: float = 0.003
    weight_decay: float = 1.0
    dropout: float = 0.1
    n_seeds: int = 2


@dataclass(frozen=True)
class EnsembleSettings:
    """Rules of the convex weights.

    ``effective_rows_per_session`` turns rows into information: 76,000 real events of about 520 sessions are
    worth about 2,800 independent ones, hence 5 a session. ``kl_rows`` is the strength of the pull to equal
    weights in the same unit. Learned weights need ``min_sessions`` known sessions and must beat equal weights
    on the last ``later_share`` of them at level ``alpha``.
    """

    kl_rows: float = 5.0
    effective_rows_per_session: float = 5.0
    min_sessions: int = 60
    later_share: float = 0.4
    alpha: float = 0.10
    idle_share: float = 0.01
    max_correlation: float = 0.99


@dataclass(frozen=True)
class CalibrationSettings:
    """Rules of the calibrator: candidates in order of simplicity; the later block decides, raw wins ties.

    Not ``beta``: its level follows which of the last hundred days were good, as members did before session effects were
    absorbed, and costs more than the shape brings (docs/benchmarks/models.md).
    """

    candidates: tuple[str, ...] = ("temperature",)
    min_sessions: int = 60
    later_share: float = 0.4
    prior_rows: float = 50.0


@dataclass(frozen=True)
class Procedure:
    """Everything that is re-fitted weekly. Two equal procedures give the same predictions on the same rows.

    ``inputs`` are columns of the training set in the order of the served graph; NaN means missing. ``rule_arm`` is the
    version of the rules whose score and agreement are among them (``market.rules``); empty in procedures kept from
    before it was recorded.
    ``absorb_session_effects``: members learn what sets rows of one session and direction apart, not which days
    were good (docs/decisions/0009). ``direction_level``: what of it lasts, the difference of the two directions, moves
    their answers (docs/decisions/0034); without effect where the direction is no input.
    """

    inputs: tuple[str, ...]
    feature_set_version: str
    label_version: str
    rule_arm: str = ""
    catalyst_inputs: tuple[str, ...] = ()
    rows: RowChoice = "all"
    members: tuple[str, ...] = MEMBERS
    training_days: int = 730
    half_life_days: float = 365.0
    min_training_rows: int = 300
    absorb_session_effects: bool = True
    direction_level: bool = True
    seed: int = 20_261_122
    preprocessing: PreprocessingSettings = field(default_factory=PreprocessingSettings)
    logistic: LogisticSettings = field(default_factory=LogisticSettings)
    boosting: BoostingSettings = field(default_factory=BoostingSettings)
    forest: ForestSettings = field(default_factory=ForestSettings)
    net: NetSettings = field(default_factory=NetSettings)
    catalyst: CatalystSettings = field(default_factory=CatalystSettings)
    ensemble: EnsembleSettings = field(default_factory=EnsembleSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)

    def __post_init__(self) -> None:
        known = (*MEMBERS, CATALYST)
        unknown = [m for m in self.members if m not in known]
        if unknown or "base_rate" not in self.members or len(set(self.members)) != len(self.members):
            raise ConfigurationError(
                f"members {list(self.members)}: expected distinct names of {list(known)}, 'base_rate' among them."
            )
        n_shared = len(self.inputs) - len(self.catalyst_inputs)
        if self.catalyst_inputs != self.inputs[n_shared:] or (CATALYST in self.members) != bool(self.catalyst_inputs):
            raise ConfigurationError(
                f"catalyst inputs {list(self.catalyst_inputs)}: expected the last ones of the procedure's inputs, and "
                f"any exactly if {CATALYST!r} is a member. Build the procedure with default_procedure."
            )
        if CATALYST in self.members and NEWS_FLAG not in self.shared_inputs:
            raise ConfigurationError(
                f"member {CATALYST!r} needs the input {NEWS_FLAG!r} to know when to speak; got {list(self.inputs)}."
            )
        if not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise ConfigurationError(f"a procedure needs at least one input, each named once; got {len(self.inputs)}.")

    @property
    def shared_inputs(self) -> tuple[str, ...]:
        """What every member reads: all inputs but those of the catalyst predictor alone, in order."""
        return self.inputs[: len(self.inputs) - len(self.catalyst_inputs)]

    @property
    def steady_members(self) -> tuple[str, ...]:
        """The members that never abstain."""
        return tuple(name for name in self.members if name != CATALYST)

    @property
    def procedure_id(self) -> str:
        """Twelve hexadecimal digits that change with anything that changes predictions."""
        return short_id(self.to_dict(), revision=REVISION)

    def to_dict(self) -> dict[str, Any]:
        """Return the procedure as JSON; tuples become lists."""
        return as_json(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Procedure:
        """Inverse of `to_dict`."""
        parts: dict[str, Any] = {name: _as_tuples(value) for name, value in stored.items()}
        # Procedures kept from before it was a setting had none.
        parts.setdefault("direction_level", False)
        for name, settings in _PARTS.items():
            parts[name] = settings(**{k: _as_tuples(v) for k, v in stored[name].items()})
        return cls(**parts)


_PARTS: dict[str, Any] = {
    "preprocessing": PreprocessingSettings,
    "logistic": LogisticSettings,
    "boosting": BoostingSettings,
    "forest": ForestSettings,
    "net": NetSettings,
    "catalyst": CatalystSettings,
    "ensemble": EnsembleSettings,
    "calibration": CalibrationSettings,
}


def default_procedure(
    inputs: tuple[str, ...],
    *,
    feature_set_version: str,
    label_version: str,
    rule_arm: str = "",
    catalyst_inputs: tuple[str, ...] = (),
    rows: RowChoice = "all",
    profile: Literal["full", "fast", "strong"] = "full",
    training_days: int = 730,
    seed: int = 20_261_122,
) -> Procedure:
    """Build the standing procedure; with ``catalyst_inputs`` the catalyst predictor is a member and reads them too.

    ``fast`` is the same procedure with smaller budgets (fewer trees, one small net), for
    simulations of hundreds of markets; ``strong`` has larger ones, for histories with more to learn than a line can say
    (docs/benchmarks/weekly-fit.md holds what each costs and brings). Each has its own id.
    """
    if profile == "full":
        budgets: dict[str, Any] = {}
    elif profile == "fast":
        budgets = {
            "boosting": BoostingSettings(n_trees=60, learning_rate=0.08, max_bin=32),
            "forest": ForestSettings(n_trees=50, max_depth=6, max_bin=32),
            "net": NetSettings(hidden=(16,), n_steps=100, batch_size=2_048, n_seeds=1),
            "catalyst": CatalystSettings(n_trees=50, learning_rate=0.06, max_bin=32),
        }
    elif profile == "strong":
        # Trees of at most 400 * 511 + 1,500 * 31 nodes: below the deployable size whatever the number of rows.
        budgets = {
            "boosting": BoostingSettings(
                n_trees=1_500, max_depth=4, learning_rate=0.02, min_leaf_share=0.003, max_bin=128
            ),
            "forest": ForestSettings(
                n_trees=400, max_depth=8, min_leaf_share=0.001, colsample_bynode=0.6, reg_lambda=5.0
            ),
            "net": NetSettings(n_steps=1_000, weight_decay=2.0, dropout=0.2, n_seeds=4),
        }
    else:
        raise ConfigurationError(f"profile {profile!r} is unknown; expected 'full', 'fast' or 'strong'.")
    return Procedure(
        inputs=(*inputs, *catalyst_inputs),
        catalyst_inputs=tuple(catalyst_inputs),
        rows=rows,
        members=(*MEMBERS, CATALYST) if catalyst_inputs else MEMBERS,
        feature_set_version=feature_set_version,
        label_version=label_version,
        rule_arm=rule_arm,
        training_days=training_days,
        seed=seed,
        **budgets,
    )


def _as_tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

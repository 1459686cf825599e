"""Searches the members' settings on purged blocks of time, and adopts what is clearly better on a later one.

The budget counts configurations, never seconds, so that a search can be repeated. What the record will be judged
on is out of reach: every row used here had its outcome before the record began.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.evaluation.significance import har_t_test
from catalyst_ml.evaluation.splits import Fold, search_blocks, test_rows, train_rows
from catalyst_ml.evaluation.weights import sample_weights
from catalyst_ml.models.member import TrainingSide
from catalyst_ml.models.members import fit_member, training_side
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import BoostingSettings, Procedure
from catalyst_ml.models.search_space import (
    ROUNDS,
    SPACES,
    MemberSettings,
    as_trial,
    drawer,
    searched_values,
    settings_of,
    with_settings,
)
from catalyst_ml.models.session_effects import session_groups

logger = logging.getLogger(__name__)

MIN_SESSIONS = 20
"""Fewer sessions in the confirming block and nothing is adopted: the test needs them."""


@dataclass(frozen=True)
class SearchBudget:
    """How much is tried: ``n_configurations`` of each member, the standing one among them.

    ``n_blocks`` blocks of ``block_weeks`` weeks end where the search ends; all but the last choose, the last one
    confirms at level ``alpha``.
    """

    n_configurations: int
    n_blocks: int = 4
    block_weeks: int = 8
    alpha: float = 0.10

    def __post_init__(self) -> None:
        if self.n_configurations < 1 or self.n_blocks < 2 or self.block_weeks < 4 or not 0.0 < self.alpha < 1.0:
            raise ConfigurationError(
                f"search budget {asdict(self)}: expected at least 1 configuration, 2 blocks of 4 weeks, and alpha "
                "between 0 and 1."
            )


@dataclass(frozen=True)
class Attempt:
    """One configuration that was evaluated: log-loss on the choosing blocks, and how it compares.

    ``gain`` is the standing configuration's log-loss minus this one's, nats per event; positive is better.
    """

    member: str
    number: int
    settings: dict[str, Any]
    log_loss: float
    gain: float
    n_rows: int
    n_sessions: int


@dataclass(frozen=True)
class MemberChoice:
    """What became of the search of one member. ``p_value`` is that of the confirming block, None without one."""

    member: str
    settings: dict[str, Any]
    is_adopted: bool
    p_value: float | None
    reason: str


@dataclass(frozen=True)
class SearchOutcome:
    """The procedure to go on with, every attempt in order, and the choice per member."""

    procedure: Procedure
    attempts: tuple[Attempt, ...]
    choices: tuple[MemberChoice, ...]
    first_tested: pd.Timestamp
    ended: pd.Timestamp

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON."""
        return {
            "procedure": self.procedure.to_dict(),
            "attempts": [asdict(attempt) for attempt in self.attempts],
            "choices": [asdict(choice) for choice in self.choices],
            "first_tested": self.first_tested.isoformat(),
            "ended": self.ended.isoformat(),
        }


@dataclass(frozen=True)
class _Block:
    """One block: the rows a fit may learn from, ready for any member, and the rows that judge it."""

    side: TrainingSide
    X: np.ndarray
    y: np.ndarray
    session: np.ndarray


def search_settings(
    training_set: pd.DataFrame,
    procedure: Procedure,
    *,
    before: pd.Timestamp,
    budget: SearchBudget,
    n_threads: int,
) -> SearchOutcome:
    """Search every member of ``procedure`` on rows whose outcome was known before ``before``.

    Parameters
    ----------
    training_set
        The training set frame with labels, sorted by (ts, symbol, direction).
    procedure
        The standing one: its settings are the first configuration of each member, and stay unless beaten.
    before
        UTC. Nothing decided or known at or after it is looked at; the record to be judged starts later.
    n_threads
        Threads of one trainer; configurations are fitted one after another.

    Returns
    -------
    SearchOutcome
        A member's best configuration on the choosing blocks is adopted if its daily log-loss on the confirming
        block, which did not choose it, is smaller by the one-sided HAR t-test at ``alpha``.

    Raises
    ------
    InsufficientHistory
        If the blocks or the first training window lie before the data.

    Notes
    -----
    Configurations are drawn by Optuna's tree-structured Parzen estimator, seeded by the procedure.

    References
    ----------
    Bergstra, Bardenet, Bengio & Kégl (2011), Algorithms for hyper-parameter optimization, NeurIPS 24.
    """
    folds = search_blocks(
        before=before,
        n_blocks=budget.n_blocks,
        block_weeks=budget.block_weeks,
        training_days=procedure.training_days,
        history_start=training_set["ts"].min(),
    )
    blocks = [_block(training_set, fold, procedure, before=before, n_threads=n_threads) for fold in folds]
    attempts: list[Attempt] = []
    choices: list[MemberChoice] = []
    found = procedure
    for member in procedure.members:
        if member not in SPACES:
            continue
        tried = list(_attempts(member, procedure, blocks[:-1], budget))
        attempts += [attempt for attempt, _ in tried]
        choice, settings = _choose(member, procedure, tried, blocks[-1], budget)
        choices.append(choice)
        found = with_settings(found, member, settings)
        logger.info("search of %s: %d configurations, %s", member, len(tried), choice.reason)
    return SearchOutcome(found, tuple(attempts), tuple(choices), folds[0].test_start, before)


def _block(
    training_set: pd.DataFrame, fold: Fold, procedure: Procedure, *, before: pd.Timestamp, n_threads: int
) -> _Block:
    known = training_set.loc[train_rows(training_set, fold)]
    # The last block's newest rows settle after it: those are left out, the record may hold their outcome.
    judging = training_set.loc[test_rows(training_set, fold) & (training_set["label_end"] < before).to_numpy()]
    weight = sample_weights(known, as_of=fold.known_before, half_life_days=procedure.half_life_days)
    side = training_side(
        model_matrix(known, procedure.shared_inputs),
        known["y"].to_numpy(),
        weight,
        procedure,
        groups=session_groups(known),
        n_threads=n_threads,
    )
    X = model_matrix(judging, procedure.shared_inputs)
    return _Block(side, X, judging["y"].to_numpy(), judging["session"].to_numpy())


def _attempts(
    member: str, procedure: Procedure, blocks: Sequence[_Block], budget: SearchBudget
) -> Iterator[tuple[Attempt, MemberSettings]]:
    """Yield each configuration with its settings, the standing one first."""
    standing = settings_of(procedure, member)
    n_rows = sum(len(block.y) for block in blocks)
    n_sessions = sum(len(np.unique(block.session)) for block in blocks)
    reference = math.nan
    for number, (settings, tell) in enumerate(_proposals(member, standing, budget, seed=procedure.seed)):
        candidates = _with_rounds(settings) if number else [settings]
        losses = _losses(member, procedure, candidates, blocks)
        best = int(np.argmin(losses))
        reference = losses[best] if number == 0 else reference
        tell(losses[best])
        chosen = candidates[best]
        attempt = Attempt(member, number, asdict(chosen), losses[best], reference - losses[best], n_rows, n_sessions)
        yield attempt, chosen


def _proposals(
    member: str, standing: MemberSettings, budget: SearchBudget, *, seed: int
) -> Iterator[tuple[MemberSettings, Any]]:
    """Yield the standing settings, then what the sampler proposes, each with a function that hears its log-loss."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))
    draw = drawer(member)
    study.enqueue_trial(as_trial(searched_values(standing, member), member))
    for number in range(budget.n_configurations):
        trial = study.ask()
        values = draw(trial)
        settings = replace(standing, **values) if number else standing

        def tell(loss: float, trial: Any = trial) -> None:
            study.tell(trial, loss)

        yield settings, tell


def _with_rounds(settings: MemberSettings) -> list[MemberSettings]:
    """Boosting is looked at after several numbers of rounds of one fit; other members as they are."""
    if isinstance(settings, BoostingSettings):
        return [replace(settings, n_trees=n) for n in ROUNDS]
    return [settings]


def _losses(
    member: str, procedure: Procedure, candidates: Sequence[MemberSettings], blocks: Sequence[_Block]
) -> list[float]:
    """Mean log-loss of each candidate over the rows of the blocks. Candidates differ in boosting rounds at most."""
    summed = np.zeros(len(candidates))
    for block in blocks:
        for k, p in enumerate(_predictions(member, procedure, candidates, block)):
            summed[k] += float(log_losses(block.y, p).sum())
    n_rows = sum(len(block.y) for block in blocks)
    return [float(loss) / n_rows for loss in summed]


def _predictions(
    member: str, procedure: Procedure, candidates: Sequence[MemberSettings], block: _Block
) -> Iterator[np.ndarray]:
    fitted: Any = fit_member(member, block.side, with_settings(procedure, member, candidates[-1]))
    if len(candidates) == 1:
        yield fitted.predict_proba1(block.X)
        return
    for settings in candidates:
        yield fitted.predict_after(block.X, n_rounds=asdict(settings)["n_trees"])


def _choose(
    member: str,
    procedure: Procedure,
    tried: Sequence[tuple[Attempt, MemberSettings]],
    confirming: _Block,
    budget: SearchBudget,
) -> tuple[MemberChoice, MemberSettings]:
    standing = settings_of(procedure, member)
    best, settings = min(tried, key=lambda pair: pair[0].log_loss)
    sessions, day = np.unique(confirming.session, return_inverse=True)

    def keep(reason: str, p_value: float | None = None) -> tuple[MemberChoice, MemberSettings]:
        return MemberChoice(member, asdict(standing), False, p_value, reason), standing

    if best.number == 0:
        return keep(f"the standing settings were the best of {len(tried)}")
    if len(sessions) < MIN_SESSIONS:
        return keep(f"{len(sessions)} settled sessions to confirm on, {MIN_SESSIONS} needed")
    losses = [
        log_losses(confirming.y, next(_predictions(member, procedure, [given], confirming)))
        for given in (standing, settings)
    ]
    test = har_t_test(np.bincount(day, weights=losses[0] - losses[1]))
    told = (
        f"best of {len(tried)}: {best.gain:+.5f} a row where it was chosen, t {test.t:.2f} on the block that confirms"
    )
    if test.p_value > budget.alpha:
        return keep(f"{told}: not clearly better, the standing settings stay", test.p_value)
    return MemberChoice(member, asdict(settings), True, test.p_value, f"{told}: adopted"), settings


def searched_procedure(stored: Mapping[str, Any]) -> Procedure:
    """Return the procedure of a stored `SearchOutcome.to_dict`."""
    return Procedure.from_dict(stored["procedure"])

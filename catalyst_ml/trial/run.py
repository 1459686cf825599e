"""The trial from its first session to ``as_of``: books, evidence, guardrails and stages, from frames alone.

Whoever keeps the signals calls this: the daily flow on the real ledger, the replay on a back-test's record. It knows
no clock and keeps no state: run on any earlier ``as_of`` it gives the same rows, as far as they go (tested), so a trial
can be told again from the ledger at any time and an interrupted day is simply run once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.gate_checks import GateCheck
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.trial.books import COVERAGE, P_ML, Books, differences_by_version, keep_books, take_positions
from catalyst_ml.trial.guardrails import DailyHealth, GuardPolicy, Guardrail, watch
from catalyst_ml.trial.sequential import bet_on, detect_change, mean_bounds, predictable_scale
from catalyst_ml.trial.signals import known_at, refuse_unmarked
from catalyst_ml.trial.stages import (
    PROMOTE,
    ROLLBACK,
    SHARES,
    VERDICTS,
    SessionFacts,
    StageMove,
    StagePolicy,
    StageState,
    advance,
)

DAY_COLUMNS = (
    "session", "profit_ml", "profit_rules", "difference", "stake", "wanted_ml", "wanted_rules", "open_ml", "open_rules",
    "bet", "log_e_up", "log_e_down", "log_e_loss", "log_e_fresh", "low_bps", "high_bps",
    "version_id", "alarms", "stage", "share",
)  # fmt: skip


class TrialPolicy(BaseModel):
    """Everything the trial may be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    coverage: float = Field(default=COVERAGE, gt=0, le=1, description="Share of events that each arm trades.")
    label_sessions: int = Field(
        default=5, ge=0, le=60, description="Sessions after which every outcome of a day is known; 0 for intraday bars."
    )
    stages: StagePolicy = StagePolicy()
    guards: GuardPolicy = GuardPolicy()


@dataclass(frozen=True)
class TrialRun:
    """A trial told up to ``as_of``.

    ``days``: one row a session, columns `DAY_COLUMNS`: both matched books (notionals of one stake), their difference,
    the share the bettor staked on it, the natural logarithms of the e-values for "ML is better" (``log_e_up``), "ML is
    worse" (``log_e_down``), "ML is worse from some day on" (``log_e_loss``) and "ML is better" since the last demotion
    (``log_e_fresh``), the 90 % anytime-valid interval of the mean difference in basis points of one stake a session
    (infinite while nothing is excluded), the names of the guardrails that fired, and the stage in force *during* the
    session. ``moves`` were decided at the close of their
    session. ``checks``: the guardrails after the newest session. ``state``: what is in force from the next session on.
    """

    days: pd.DataFrame
    moves: tuple[StageMove, ...]
    checks: tuple[GateCheck, ...]
    state: StageState

    def better_since(self, policy: TrialPolicy) -> pd.Timestamp | None:
        """Session whose close first allowed the sentence "ML is better"; None if none has."""
        reached = self.days["log_e_up"].to_numpy() >= math.log(policy.stages.needed[-1])
        return pd.Timestamp(self.days["session"].iloc[int(reached.argmax())]) if reached.any() else None


def run_trial(
    signals: pd.DataFrame,
    marks: pd.DataFrame,
    verdicts: pd.DataFrame,
    health: pd.DataFrame,
    policy: TrialPolicy,
    *,
    as_of: pd.Timestamp,
    with_interval: bool = True,
) -> TrialRun:
    """Tell the trial from its first session to ``as_of``.

    Parameters
    ----------
    signals
        Columns `signals.SIGNAL_COLUMNS`: one row per event in time order, ``session`` a naive midnight, ``fold`` the
        week in which no threshold moves (rows of a fold stand together), ``version_id`` the version behind p_ml,
        ``p_ml`` missing where the model gave no answer, ``y`` and ``label_end`` missing until settled.
    marks : MARKS
        Of these events' trades.
    verdicts
        ``as_of`` (UTC) and ``verdict``: the gate's, or ``rollback`` when production went back to the rules.
    health
        ``session``, ``n_novel`` and ``n_novel_of`` (events judged novel, of how many), ``model_age_days``; missing
        rows or values are not measured.
    as_of : Timestamp, UTC
        A session's close. Later signals, marks, outcomes and verdicts do not exist.
    with_interval
        Without it ``low_bps`` and ``high_bps`` stay infinite; they take most of the time on long trials.

    Returns
    -------
    TrialRun
        Begins with the first session in which both arms have a threshold; no rows before that.

    Raises
    ------
    DataContractError
        If a column is missing, signals are not in time order or come twice, a probability is none, a verdict is
        unknown, or the marks are not those of these signals.
    """
    signals, marks = known_at(signals, marks, as_of)
    positions = take_positions(signals, coverage=policy.coverage)
    if positions.empty:
        return TrialRun(pd.DataFrame(columns=list(DAY_COLUMNS)), (), (), StageState())
    decided = signals["session"].to_numpy()
    held = marks.loc[(marks["session"] >= positions["session"].min()).to_numpy(), "session"].to_numpy()
    sessions = pd.DatetimeIndex(np.union1d(decided[decided >= positions["session"].min()], held))
    books = keep_books(positions, marks, sessions)
    refuse_unmarked(books)
    difference = books.difference
    scale = predictable_scale(difference)
    up, down = bet_on(difference, scale), bet_on(-difference, scale)
    loss = detect_change(-difference, scale)
    low, high = (
        mean_bounds(difference, scale)
        if with_interval
        else (np.full(len(difference), -np.inf), np.full(len(difference), np.inf))
    )
    version = _version_in_service(signals, sessions)
    guards = watch(
        _daily_health(signals, positions, health, sessions, difference), policy.guards,
        label_sessions=policy.label_sessions,
    )  # fmt: skip
    story = _Story(
        sessions=sessions,
        difference=difference,
        scale=scale,
        log_e=up.log_e,
        log_e_loss=loss,
        log_e_version=_evidence_against_version(books, version, scale),
        guards=guards,
        verdicts=_verdict_by_session(verdicts, sessions, signals, marks, as_of),
    )
    stages, fresh, moves, state = _tell(story, policy.stages)
    days = books.daily[["session", "profit_ml", "profit_rules"]].assign(
        difference=difference,
        **{name: books.daily[name] for name in ("stake", "wanted_ml", "wanted_rules", "open_ml", "open_rules")},
        bet=up.bet,
        log_e_up=up.log_e,
        log_e_down=down.log_e,
        log_e_loss=loss,
        log_e_fresh=fresh,
        low_bps=1e4 * low,
        high_bps=1e4 * high,
        version_id=version,
        alarms=[", ".join(g.name for g in guards if g.fired[t]) for t in range(len(sessions))],
        stage=stages,
        share=[SHARES[stage] for stage in stages],
    )
    checks = tuple(guard.check_at(len(sessions) - 1) for guard in guards)
    return TrialRun(days[list(DAY_COLUMNS)], moves, checks, state)


@dataclass(frozen=True)
class _Story:
    """What the stages are told from; arrays (n_sessions,)."""

    sessions: pd.DatetimeIndex
    difference: np.ndarray
    scale: np.ndarray
    log_e: np.ndarray
    log_e_loss: np.ndarray
    log_e_version: np.ndarray
    guards: tuple[Guardrail, ...]
    verdicts: list[str | None]


def _tell(story: _Story, policy: StagePolicy) -> tuple[list[str], list[float], tuple[StageMove, ...], StageState]:
    """Walk through the sessions.

    Returns the stage in force during each session, the evidence for ML since the last demotion as it was after each,
    the moves, and the state after the last session.
    """
    state, stages, fresh, moves = StageState(), [], [], []
    log_e_fresh = story.log_e
    for t, session in enumerate(story.sessions):
        stages.append(str(state.stage))
        fresh.append(float(log_e_fresh[t]))
        alarms = tuple(guard.check_at(t).reason for guard in story.guards if guard.fired[t])
        facts = SessionFacts(
            session=session,
            log_e=float(story.log_e[t]),
            log_e_fresh=fresh[-1],
            log_e_loss=float(story.log_e_loss[t]),
            log_e_version=float(story.log_e_version[t]),
            alarms=alarms,
            verdict=story.verdicts[t],
        )
        state, move = advance(state, facts, policy)
        if move is not None:
            moves.append(move)
            if move.to_stage == "shadow":
                # Begun anew at the demotion: sessions before it stake nothing.
                after = np.where(np.arange(len(story.sessions)) > t, story.difference, 0.0)
                log_e_fresh = bet_on(after, story.scale).log_e
    return stages, fresh, tuple(moves), state


def _daily_health(
    signals: pd.DataFrame,
    positions: pd.DataFrame,
    health: pd.DataFrame,
    sessions: pd.DatetimeIndex,
    difference: np.ndarray,
) -> DailyHealth:
    n = len(sessions)
    at = sessions.get_indexer(signals["session"])
    inside = at >= 0
    p = signals[P_ML].to_numpy(dtype="float64")
    y = signals["y"].to_numpy()
    predicted = inside & ~np.isnan(p)
    settled = predicted & ~np.isnan(y)
    sized = signals[list(EVENT_KEY)].merge(positions[[*EVENT_KEY, "wanted_ml"]], on=list(EVENT_KEY), how="left")
    size = sized["wanted_ml"].fillna(0.0).to_numpy()

    def per_session(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.bincount(at[mask], weights=values[mask], minlength=n)

    ones = np.ones(len(signals))
    n_settled = per_session(settled, ones)
    day_mean = per_session(settled, y) / np.maximum(n_settled, 1.0)
    if health["session"].duplicated().any():
        raise DataContractError("trial: health reports a session twice; expected one row a session.")
    reported = health.set_index("session").reindex(sessions)
    return DailyHealth(
        difference=difference,
        n_events=per_session(inside, ones),
        n_predicted=per_session(predicted, ones),
        n_settled=n_settled,
        gap=per_session(settled, y - p),
        hits=per_session(settled, size * (y - day_mean[at])),
        taken=per_session(settled, size),
        n_novel=reported["n_novel"].to_numpy(dtype="float64", na_value=np.nan),
        n_novel_of=reported["n_novel_of"].to_numpy(dtype="float64", na_value=np.nan),
        model_age_days=reported["model_age_days"].to_numpy(dtype="float64", na_value=np.nan),
    )


def _version_in_service(signals: pd.DataFrame, sessions: pd.DatetimeIndex) -> np.ndarray:
    """Version that answered last in each session; without an answer the one before stays."""
    answered = signals[signals["version_id"].notna().to_numpy()]
    last = answered.groupby("session")["version_id"].last()
    return last.reindex(sessions.union(last.index)).ffill().reindex(sessions).astype("object").to_numpy()


def _evidence_against_version(books: Books, version: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Logarithm of the e-value of "the version in service is worse than the rules", from its own trades alone."""
    names, differences = differences_by_version(books)
    if not len(names):
        return np.zeros(len(version))
    log_e = bet_on(-differences, np.broadcast_to(scale, differences.shape)).log_e  # (n_versions, n_sessions)
    place = pd.Index(names).get_indexer(pd.Index(version))
    return np.where(place >= 0, log_e[place, np.arange(len(version))], 0.0)


def _verdict_by_session(
    verdicts: pd.DataFrame,
    sessions: pd.DatetimeIndex,
    signals: pd.DataFrame,
    marks: pd.DataFrame,
    as_of: pd.Timestamp,
) -> list[str | None]:
    """Newest verdict by the close of each session and after the one before; a rollback outlasts a promotion."""
    unknown = sorted(set(verdicts["verdict"]) - VERDICTS)
    if unknown:
        raise DataContractError(f"trial: verdicts {unknown} are not known; expected some of {sorted(VERDICTS)}.")
    moments = pd.concat([signals[["session", "ts"]], marks[["session", "mark_ts"]].rename(columns={"mark_ts": "ts"})])
    closes = moments.groupby("session")["ts"].max().reindex(sessions)
    by_session: list[str | None] = [None] * len(sessions)
    known = verdicts[(verdicts["as_of"] <= as_of).to_numpy()].sort_values("as_of", kind="stable")
    at = np.searchsorted(pd.DatetimeIndex(closes).asi8, pd.DatetimeIndex(known["as_of"]).as_unit("us").asi8)
    for place, verdict in zip(at, known["verdict"], strict=True):
        if place < len(sessions) and (verdict in (PROMOTE, ROLLBACK)) and by_session[place] != ROLLBACK:
            by_session[place] = str(verdict)
    return by_session

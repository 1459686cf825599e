"""Trials of a line and the moves of their stages, kept for good: who decided what after which close, and why.

A trial is one test from its first session on. The same rules against the same label are one trial for life, whatever
version the channel holds; other rules begin a further one, and each further one may spend less error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from catalyst_ml.errors import DataContractError
from catalyst_ml.registry.versions import ModelLine
from catalyst_ml.store.engine import database_errors
from catalyst_ml.trial.ledger import lock_line
from catalyst_ml.trial.sequential import spent_alpha


@dataclass(frozen=True)
class Trial:
    """One trial: ``number`` k among those of the dataset and timeframe, and the error ``alpha`` it may spend.

    All trials there will ever be spend 5 % together (``sequential.spent_alpha``).
    """

    number: int
    line: ModelLine
    rule_arm: str
    alpha: float
    began: date
    is_replay: bool
    reason: str


@dataclass(frozen=True)
class KeptMove:
    """One move of the stage: decided after the close of ``session``, in force from the next session on."""

    number: int
    session: date
    from_share: float
    to_share: float
    reason: str
    evidence: dict[str, Any]
    actor: str
    at: datetime
    run_id: str


@dataclass(frozen=True)
class StageHistory:
    """Trials and stage moves of one line."""

    engine: Engine
    line: ModelLine

    def begin(self, *, rule_arm: str, session: date, is_replay: bool, run_id: str) -> Trial:
        """Return the trial that ``session`` belongs to, and write it down if these rules begin a new one.

        Idempotent. A session before the newest trial began belongs to the one that stood then; where that had other
        rules, or none stood yet, the session counts for no trial of these rules.

        Raises
        ------
        DataContractError
            If ``session`` lies before the newest trial began and no earlier one has these rules.
        """
        values = {**self.line._asdict(), "rule_arm": rule_arm, "session": session}
        with database_errors(self.engine), self.engine.begin() as connection:
            # Numbers run over all labels of a dataset, so that is what is locked.
            _lock_numbers(connection, self.line)
            trials = self._trials(connection)
            standing = [trial for trial in trials if trial.began <= session]
            if standing and (standing[-1].rule_arm == rule_arm or standing[-1] is not trials[-1]):
                return self._of_rules(standing[-1], rule_arm, session)
            if trials and not standing:
                return self._of_rules(trials[0], rule_arm, session)
            number = int(connection.execute(text(_NEXT_NUMBER), values).scalar_one())
            reason = f"the rules are {rule_arm}, before {trials[-1].rule_arm}" if trials else "the first of this label"
            values |= {"number": number, "alpha": spent_alpha(number), "is_replay": is_replay, "reason": reason}
            values |= {"run_id": run_id, "at": datetime.now(UTC)}
            connection.execute(text(_INSERT_TRIAL), values)
        return Trial(number, self.line, rule_arm, spent_alpha(number), session, is_replay, reason)

    def at(self, session: date, *, rule_arm: str) -> Trial | None:
        """Return the trial of these rules that stood at ``session``; None if there was none."""
        standing = [trial for trial in self.trials() if trial.began <= session]
        return standing[-1] if standing and standing[-1].rule_arm == rule_arm else None

    def trials(self) -> list[Trial]:
        """Return the trials of the line, oldest first."""
        with database_errors(self.engine), self.engine.connect() as connection:
            return self._trials(connection)

    def moves(self, *, number: int | None = None, before: date | None = None) -> list[KeptMove]:
        """Return the moves, oldest first; of one trial, and decided before the session ``before``, if asked."""
        values = {**self.line._asdict(), "number": number, "before": before}
        with database_errors(self.engine), self.engine.connect() as connection:
            return [_move(row) for row in connection.execute(text(_MOVES), values)]

    def share_at(self, session: date, *, number: int) -> float:
        """Return the share of trial ``number`` in force at the close of ``session``; 0 before its first move."""
        moves = self.moves(number=number, before=session)
        return moves[-1].to_share if moves else 0.0

    def record(
        self,
        number: int,
        *,
        session: date,
        from_share: float,
        to_share: float,
        reason: str,
        evidence: Mapping[str, Any],
        actor: str,
        run_id: str,
        first: Callable[[], object] | None = None,
    ) -> bool:
        """Write a move down unless trial ``number`` has one of this session or a later one; True if it was written.

        What followed was decided on what was kept then, so a past range that is evaluated again moves no stage.

        ``first`` is done before the row is written and only if it will be: the channel's move of a demotion. It must
        bear repeating: killed in between, the next run does it again and then writes the row.
        """
        values = {**self.line._asdict(), "number": number, "session": session}
        with database_errors(self.engine), self.engine.begin() as connection:
            lock_line(connection, self.line)
            if connection.execute(text(_HAS_MOVE), values).scalar():
                return False
            if first is not None:
                first()
            values |= {"from_share": from_share, "to_share": to_share, "reason": reason.strip(), "actor": actor}
            values |= {"evidence": dict(evidence), "run_id": run_id, "at": datetime.now(UTC)}
            connection.execute(_INSERT_MOVE, values)
        return True

    def _trials(self, connection: Connection) -> list[Trial]:
        rows = connection.execute(text(_TRIALS), self.line._asdict())
        return [Trial(r.number, self.line, r.rule_arm, r.alpha, r.began, r.is_replay, r.reason) for r in rows]

    def _of_rules(self, trial: Trial, rule_arm: str, session: date) -> Trial:
        if trial.rule_arm != rule_arm:
            raise DataContractError(
                f"{self.line}: session {session} belongs to trial {trial.number} of rules {trial.rule_arm}, this run "
                f"asks for {rule_arm}. The past is not scored again with other rules; begin with a later session."
            )
        return trial


def _lock_numbers(connection: Connection, line: ModelLine) -> None:
    key = f"trials/{line.dataset}/{line.timeframe}"
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


def _move(row: Row[Any]) -> KeptMove:
    return KeptMove(
        number=row.number,
        session=row.session,
        from_share=row.from_share,
        to_share=row.to_share,
        reason=row.reason,
        evidence=row.evidence,
        actor=row.actor,
        at=row.at.astimezone(UTC),
        run_id=row.run_id,
    )


_OF_LINE = "dataset = :dataset AND timeframe = :timeframe AND label_version = :label_version"
_TRIALS = f"SELECT * FROM catalyst_ml.trials WHERE {_OF_LINE} ORDER BY number"  # noqa: S608 - constants
_NEXT_NUMBER = (
    "SELECT coalesce(max(number), 0) + 1 FROM catalyst_ml.trials WHERE dataset = :dataset AND timeframe = :timeframe"
)
_INSERT_TRIAL = """
    INSERT INTO catalyst_ml.trials
        (dataset, timeframe, number, label_version, rule_arm, alpha, began, is_replay, reason, at, run_id)
    VALUES (:dataset, :timeframe, :number, :label_version, :rule_arm, :alpha, :session, :is_replay, :reason, :at,
        :run_id)"""
_MOVES = f"""
    SELECT * FROM catalyst_ml.stage_moves WHERE {_OF_LINE}
    AND (CAST(:number AS int) IS NULL OR number = :number)
    AND (CAST(:before AS date) IS NULL OR session < :before) ORDER BY number, session"""  # noqa: S608 - constants
_HAS_MOVE = f"""
    SELECT 1 FROM catalyst_ml.stage_moves WHERE {_OF_LINE} AND number = :number AND session >= :session LIMIT 1
"""  # noqa: S608 - constants
_INSERT_MOVE = text(
    "INSERT INTO catalyst_ml.stage_moves (dataset, timeframe, number, label_version, session, from_share, to_share, "
    "reason, evidence, actor, at, run_id) VALUES (:dataset, :timeframe, :number, :label_version, :session, "
    ":from_share, :to_share, :reason, :evidence, :actor, :at, :run_id)"
).bindparams(bindparam("evidence", type_=JSONB))

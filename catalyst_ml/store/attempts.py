"""The ledger of attempts: what was ever evaluated on a line, so that the best of many is not taken for skill.

Rows are added and never changed. The same configuration on the same data and window is one attempt, however often
and by whichever run it was evaluated; on other data, or another window, it is a further one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Engine, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from catalyst_ml.errors import DataContractError
from catalyst_ml.store.engine import database_errors

Kind = Literal["search", "record", "backtest", "idea"]
"""A member's configuration tried by the search; a procedure's record judged by the gate, or in a back-test; an idea."""


@dataclass(frozen=True)
class NewAttempt:
    """Something that was evaluated.

    ``subject`` is the member or procedure. ``value`` is ``metric`` over ``n_rows`` rows of ``n_sessions``
    sessions decided from ``first_tested`` to ``ended`` (both aware); ``sharpe`` per session, None without trades.
    ``daily_profit`` by session (ISO date, rising) are the profits it was computed from.
    """

    kind: Kind
    subject: str
    configuration: Mapping[str, Any]
    data_fingerprint: str
    first_tested: datetime
    ended: datetime
    metric: str
    value: float
    n_rows: int
    n_sessions: int
    sharpe: float | None = None
    is_adopted: bool = False
    daily_profit: Mapping[str, float] | None = None

    @property
    def content(self) -> str:
        """SHA-256 of what makes two attempts the same."""
        facts = {
            "configuration": dict(self.configuration),
            "data": self.data_fingerprint,
            "window": [self.first_tested.isoformat(), self.ended.isoformat()],
            "metric": self.metric,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class KeptAttempt:
    """A row of the ledger."""

    attempt_id: int
    dataset: str
    timeframe: str
    label_version: str
    kind: Kind
    subject: str
    configuration: dict[str, Any]
    first_tested: datetime
    ended: datetime
    metric: str
    value: float
    sharpe: float | None
    n_rows: int
    n_sessions: int
    is_adopted: bool
    run_id: str
    evaluated_at: datetime


@dataclass(frozen=True)
class KeptTrial:
    """The newest attempt of a procedure or idea whose trades were looked at; how often it was, and its profits."""

    subject: str
    kind: Kind
    sharpe: float
    daily_profit: dict[str, float] | None
    times: int


@dataclass(frozen=True)
class AttemptLine:
    """The attempts of one line: dataset, timeframe and label."""

    engine: Engine
    dataset: str
    timeframe: str
    label_version: str

    def write(self, attempts: Sequence[NewAttempt], *, run_id: str) -> int:
        """Add what is not there yet, in one transaction; return how many that were.

        Raises
        ------
        DataContractError
            If a value is not finite or a window ends before it begins: nothing is written.
        """
        for attempt in attempts:
            _refuse_bad(attempt)
        if not attempts:
            return 0
        rows = [self._row(attempt, run_id) for attempt in attempts]
        added = 0
        with database_errors(self.engine), self.engine.begin() as connection:
            for row in rows:
                added += connection.execute(_INSERT, row).rowcount
        return added

    def read(self, *, kind: Kind | None = None, limit: int | None = None) -> list[KeptAttempt]:
        """Return the attempts, newest first."""
        return read_attempts(
            self.engine,
            dataset=self.dataset,
            timeframe=self.timeframe,
            label_version=self.label_version,
            kind=kind,
            limit=limit,
        )

    def adopted_before(self, moment: datetime) -> dict[str, dict[str, Any]]:
        """Return, per member, the configuration adopted by the latest search that ended before ``moment``."""
        values = self._key() | {"moment": moment}
        with database_errors(self.engine), self.engine.connect() as connection:
            return {subject: configuration for subject, configuration in connection.execute(_ADOPTED, values)}

    def trials(self) -> list[KeptTrial]:
        """Return every procedure or idea with a Sharpe ratio once, with its newest record; by name.

        The same procedure judged week after week is one trial: its records share most of their sessions.
        """
        with database_errors(self.engine), self.engine.connect() as connection:
            return [KeptTrial(*row) for row in connection.execute(_TRIALS, self._key())]

    def counts(self) -> dict[Kind, int]:
        """Return how many attempts of each kind the ledger holds."""
        with database_errors(self.engine), self.engine.connect() as connection:
            return {kind: n for kind, n in connection.execute(_COUNTS, self._key())}

    def _row(self, attempt: NewAttempt, run_id: str) -> dict[str, Any]:
        return self._key() | {
            "kind": attempt.kind,
            "subject": attempt.subject,
            "configuration": dict(attempt.configuration),
            "content": attempt.content,
            "first_tested": attempt.first_tested,
            "ended": attempt.ended,
            "metric": attempt.metric,
            "value": attempt.value,
            "sharpe": attempt.sharpe,
            "n_rows": attempt.n_rows,
            "n_sessions": attempt.n_sessions,
            "is_adopted": attempt.is_adopted,
            "daily_profit": None if attempt.daily_profit is None else dict(attempt.daily_profit),
            "run_id": run_id,
        }

    def _key(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "timeframe": self.timeframe, "label_version": self.label_version}


def read_attempts(
    engine: Engine,
    *,
    dataset: str | None = None,
    timeframe: str | None = None,
    label_version: str | None = None,
    kind: Kind | None = None,
    limit: int | None = None,
) -> list[KeptAttempt]:
    """Return attempts, newest first, of the lines and kind asked for; None means any."""
    values = {
        "dataset": dataset,
        "timeframe": timeframe,
        "label_version": label_version,
        "kind": kind,
        "limit": limit,
    }
    with database_errors(engine), engine.connect() as connection:
        return [KeptAttempt(*row) for row in connection.execute(_READ, values)]


def _refuse_bad(attempt: NewAttempt) -> None:
    numbers = [attempt.value, *([] if attempt.sharpe is None else [attempt.sharpe])]
    numbers += (attempt.daily_profit or {}).values()
    if not all(abs(number) < float("inf") for number in numbers):
        raise DataContractError(
            f"attempt {attempt.kind} of {attempt.subject}: {attempt.metric} is {attempt.value}, Sharpe "
            f"{attempt.sharpe}; expected finite numbers, daily profits too. Nothing was written."
        )
    if attempt.ended <= attempt.first_tested:
        raise DataContractError(
            f"attempt {attempt.kind} of {attempt.subject}: its window ends {attempt.ended} and begins "
            f"{attempt.first_tested}. Nothing was written."
        )


_INSERT = text(
    "INSERT INTO catalyst_ml.attempts (dataset, timeframe, label_version, kind, subject, configuration, content, "
    "first_tested, ended, metric, value, sharpe, n_rows, n_sessions, is_adopted, daily_profit, run_id) "
    "VALUES (:dataset, :timeframe, :label_version, :kind, :subject, :configuration, :content, :first_tested, :ended, "
    ":metric, :value, :sharpe, :n_rows, :n_sessions, :is_adopted, :daily_profit, :run_id) ON CONFLICT DO NOTHING"
).bindparams(bindparam("configuration", type_=JSONB), bindparam("daily_profit", type_=JSONB(none_as_null=True)))
_READ = text(
    "SELECT attempt_id, dataset, timeframe, label_version, kind, subject, configuration, first_tested, ended, metric, "
    "value, sharpe, n_rows, n_sessions, is_adopted, run_id, evaluated_at FROM catalyst_ml.attempts "
    "WHERE (CAST(:dataset AS text) IS NULL OR dataset = :dataset) "
    "AND (CAST(:timeframe AS text) IS NULL OR timeframe = :timeframe) "
    "AND (CAST(:label_version AS text) IS NULL OR label_version = :label_version) "
    "AND (CAST(:kind AS text) IS NULL OR kind = :kind) ORDER BY attempt_id DESC LIMIT CAST(:limit AS bigint)"
)
_TRIALS = text(
    "SELECT DISTINCT ON (subject) subject, kind, sharpe, daily_profit, count(*) OVER (PARTITION BY subject) "
    "FROM catalyst_ml.attempts "
    "WHERE dataset = :dataset AND timeframe = :timeframe AND label_version = :label_version AND sharpe IS NOT NULL "
    "ORDER BY subject, ended DESC, attempt_id DESC"
)
_COUNTS = text(
    "SELECT kind, count(*) FROM catalyst_ml.attempts "
    "WHERE dataset = :dataset AND timeframe = :timeframe AND label_version = :label_version GROUP BY kind ORDER BY kind"
)
_ADOPTED = text(
    "SELECT DISTINCT ON (subject) subject, configuration FROM catalyst_ml.attempts "
    "WHERE dataset = :dataset AND timeframe = :timeframe AND label_version = :label_version AND kind = 'search' "
    "AND is_adopted AND ended < :moment ORDER BY subject, ended DESC, attempt_id DESC"
)

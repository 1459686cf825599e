"""The table of served answers: written once each, never changed, whatever is sent twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from catalyst_ml.store.engine import database_errors

_INSERT = """
INSERT INTO catalyst_ml.served_signals (
    answer_id, answered_at, dataset, timeframe, label_version, channel, symbol, ts, direction, action, arm,
    probability, p_ml, p_rules, rule_score, weight, abstained, reason, fallback_reason, novelty, version_id,
    sequence, stage, source, answer)
SELECT a.answer_id, a.answered_at, a.dataset, a.timeframe, a.label_version, a.channel, a.symbol, a.ts, a.direction,
    a.action, a.arm, a.probability, a.p_ml, a.p_rules, a.rule_score, a.weight, a.abstain, a.reason,
    a.fallback_reason, a.novelty, a.version_id, a.sequence, a.stage, a.source, d.document
FROM jsonb_array_elements(CAST(:documents AS jsonb)) AS d (document),
    jsonb_to_record(d.document) AS a (
        answer_id uuid, answered_at timestamptz, dataset text, timeframe text, label_version text, channel text,
        symbol text, ts timestamptz, direction smallint, action text, arm text, probability double precision,
        p_ml double precision, p_rules double precision, rule_score double precision, weight double precision,
        abstain boolean, reason text, fallback_reason text, novelty double precision, version_id text,
        sequence bigint, stage text, source text)
ON CONFLICT (answer_id) DO NOTHING
"""


def write_served(engine: Engine, answers: Sequence[Mapping[str, Any]]) -> int:
    """Insert answers (``Signal.to_dict`` with line and time); return how many were new.

    Idempotent by ``answer_id``, in one transaction.

    Raises
    ------
    SourceUnavailable
        If the database does not answer; nothing is written then.
    """
    if not answers:
        return 0
    # NUL cannot be stored in PostgreSQL's text: one in a reason must not stop the ledger.
    documents = json.dumps([_without_nul(answer) for answer in answers], allow_nan=False)
    with database_errors(engine), engine.begin() as connection:
        return connection.execute(text(_INSERT), {"documents": documents}).rowcount


def _without_nul(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.replace("\0", "") if isinstance(value, str) else value for key, value in answer.items()}


def count_served(engine: Engine, *, since: datetime | None = None) -> int:
    """Return how many answers are kept, from ``since`` on."""
    query = """
        SELECT count(*) FROM catalyst_ml.served_signals
        WHERE CAST(:since AS timestamptz) IS NULL OR answered_at >= :since
    """
    with database_errors(engine), engine.connect() as connection:
        return int(connection.execute(text(query), {"since": since}).scalar_one())

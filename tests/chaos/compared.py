"""What a killed and an uninterrupted run must agree on: every row of the evidence, times and run ids apart."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Engine, text

_VERSIONS = """
    SELECT version_id, as_of, (
        SELECT f ->> 'sha256' FROM jsonb_array_elements(manifest -> 'files') f WHERE f ->> 'name' = 'model.onnx'
    ) AS graph FROM catalyst_ml.versions ORDER BY as_of, created_at"""
_TABLES: dict[str, str] = {
    "signals": "SELECT to_jsonb(s) - '{signal_id,scored_at,run_id}'::text[] FROM catalyst_ml.signals s",
    "settlements": (
        "SELECT to_jsonb(t) - '{signal_id,settled_at,run_id}'::text[] || "
        "jsonb_build_object('of', array[s.dataset, s.label_version, s.symbol, s.ts::text, s.direction::text]) "
        "FROM catalyst_ml.settlements t JOIN catalyst_ml.signals s USING (signal_id)"
    ),
    "trials": "SELECT to_jsonb(t) - '{at,run_id}'::text[] FROM catalyst_ml.trials t",
    "stage_moves": "SELECT to_jsonb(m) - '{move_id,at,actor,run_id}'::text[] FROM catalyst_ml.stage_moves m",
    "channels": "SELECT to_jsonb(c) - '{updated_at}'::text[] FROM catalyst_ml.channels c",
    "channel_history": "SELECT to_jsonb(h) - '{id,at,actor,gate}'::text[] FROM catalyst_ml.channel_history h",
    "detections": (
        "SELECT to_jsonb(d) - '{detection_id,line_id,symbol_id,stored_at}'::text[] FROM catalyst_ml.named_detections d"
    ),
    "labels": (
        "SELECT to_jsonb(l) - '{detection_id,settled_at}'::text[] || "
        "jsonb_build_object('of', array[d.dataset, d.symbol, d.ts::text, d.direction::text]) "
        "FROM catalyst_ml.named_labels l JOIN catalyst_ml.named_detections d USING (detection_id)"
    ),
}
"""Of each table the rows as JSON; what may differ between two runs is taken out."""


def evidence(engine: Engine) -> dict[str, list[str]]:
    """Return the rows of each table as sorted JSON texts; versions are named by what they are, not by their id.

    A version's id contains the latency that was measured on the way, so two runs of the same week differ in it; the
    bytes of their graphs may not.
    """
    with engine.connect() as connection:
        versions = connection.execute(text(_VERSIONS)).all()
        names = {row.version_id: f"{row.as_of.isoformat()} {row.graph}" for row in versions}
        found = {name: connection.execute(text(query)).scalars().all() for name, query in _TABLES.items()}
    rows = {name: sorted(_as_text(row, names) for row in table) for name, table in found.items()}
    return rows | {"versions": sorted(names.values())}


def differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> list[str]:
    """Name the rows that are in only one of the two, a few of each table; empty if all agree."""
    found = []
    for table in one:
        for rows, missing, where in ((one, other, "the uninterrupted"), (other, one, "the killed")):
            only = _beyond(rows[table], missing[table])
            found += [f"{table}: only in {where} run, {len(only)} rows, e.g. {row[:600]}" for row in only[:2]]
    return found


def _beyond(rows: list[str], others: list[str]) -> list[str]:
    """Rows that come more often here than there: a row written twice is a difference too."""
    left = list(others)
    beyond = []
    for row in rows:
        if row in left:
            left.remove(row)
        else:
            beyond.append(row)
    return beyond


def _as_text(row: dict[str, Any], versions: dict[str, str]) -> str:
    """JSON of a row; a version's id stands in reasons too, so it is replaced wherever it stands."""
    text_ = json.dumps(row, sort_keys=True)
    for version_id, name in versions.items():
        text_ = text_.replace(version_id, name)
    return text_

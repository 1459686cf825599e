"""Which version speaks for the ML arm at an event: what stood in a channel before it, and nothing that came after.

The arm is the procedure, whoever of its weekly fits is in charge: the version in production, and while production is on
the rules the one in the shadow.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import pandas as pd
from sqlalchemy import Engine

from catalyst_ml.registry import channels
from catalyst_ml.registry.versions import ModelLine, VersionRecord, list_versions
from catalyst_ml.trial.stages import PROMOTE, ROLLBACK

ACTOR = "parallel-evaluation"
"""How the moves of the trial itself are signed; its own demotions are no rollback by somebody else."""


class Speaker(NamedTuple):
    """A version and the channel it spoke from."""

    version: VersionRecord
    channel: str


def find_speaker(engine: Engine, line: ModelLine, ts: datetime, *, is_replay: bool) -> Speaker | None:
    """Return what spoke for the ML arm at ``ts``: production's version, else the shadow's; None if neither had one.

    Parameters
    ----------
    ts : datetime
        Decision time, aware.
    is_replay : bool
        Channels move by the clock on the wall. In a replay the past is scored as if live: a version counts from its
        own ``as_of`` on, in the order in which the channel held them.

    Notes
    -----
    A version never speaks on an event decided at or before its own ``as_of``: it may have been trained on it.
    """
    versions = {version.version_id: version for version in list_versions(engine, **line._asdict())}
    for channel in (channels.PRODUCTION, channels.SHADOW):
        held: str | None = None
        for move in channels.history(engine, line, channel=channel):
            if move.version_id is not None and versions[move.version_id].as_of >= ts:
                continue
            if is_replay or move.at <= ts:
                held = move.version_id
        if held is not None:
            return Speaker(versions[held], channel)
    return None


def verdicts_of(engine: Engine, line: ModelLine, *, is_replay: bool) -> pd.DataFrame:
    """Return when the gate promoted, and when production was rolled back: ``as_of`` (UTC) and ``verdict``, in order.

    Forced promotions are nobody's evidence. A promotion counts from the moment it was made; in a replay from just
    after its version's ``as_of``, and rollbacks, which bear no date of the replayed market, do not count there.
    """
    versions = {version.version_id: version.as_of for version in list_versions(engine, **line._asdict())}
    found: list[tuple[datetime, str]] = []
    for move in channels.history(engine, line, channel=channels.PRODUCTION):
        if move.action == "promote" and not move.forced and move.version_id is not None:
            found.append((versions[move.version_id] + timedelta(seconds=1) if is_replay else move.at, PROMOTE))
        elif move.action == "rollback" and not is_replay and not move.actor.startswith(ACTOR):
            found.append((move.at, ROLLBACK))
    found.sort(key=lambda pair: pair[0])
    return pd.DataFrame(
        {
            "as_of": pd.DatetimeIndex(pd.to_datetime([at for at, _ in found], utc=True)).as_unit("us"),
            "verdict": pd.Series([verdict for _, verdict in found], dtype="str"),
        }
    )

"""Which version the drift watch looks after: what serves, or what would serve next."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine

from catalyst_ml.registry import channels
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.versions import get_version, list_versions


class Watched(NamedTuple):
    """A version and where it stands: ``production``, ``shadow`` or ``newest`` (in no channel)."""

    version_id: str
    where: str


def find_watched(engine: Engine, line: ModelLine, *, as_of: datetime) -> Watched | None:
    """Return the version in production, else the one in the shadow, else the newest registered one.

    A version made after ``as_of`` does not count, so that a backdated run compares with what was known then. None
    if the line has no version.
    """
    for channel in (channels.PRODUCTION, channels.SHADOW):
        held = channels.current(engine, line, channel=channel).version_id
        if held is not None and get_version(engine, held).as_of <= as_of:
            return Watched(held, channel)
    for version in list_versions(engine, **line._asdict()):
        if version.as_of <= as_of:
            return Watched(version.version_id, "newest")
    return None

"""Options that several commands share, with the help they show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

MOMENT_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]

Dataset = Annotated[str, typer.Option(help="Name of the data lineage, e.g. real-daily.")]
Timeframe = Annotated[str, typer.Option(help="Length of a bar: 1d, 1h, 5m ...")]
DateFormat = Annotated[str | None, typer.Option(help="For dates that prove no order, e.g. '%d/%m/%Y'.")]
CheckAsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=MOMENT_FORMATS,
        help="Check what was known then, e.g. 2016-05-27T20:00:00+0000; a bare date means the end of that day in New "
        "York. Default: now.",
    ),
]


def moment_asked(as_of: datetime | None, now: datetime) -> datetime:
    """The moment, UTC, that ``--as-of`` asks for: a bare date is the end of that day in New York, nothing is ``now``.

    The end of the day and not of its session, because news and results of the evening belong to the day too. Of today
    and later days it is ``now``: nothing more is known.
    """
    if as_of is None:
        return now
    if as_of.tzinfo is not None:
        return as_of.astimezone(UTC)
    following = (as_of + timedelta(days=1)).replace(tzinfo=ZoneInfo("America/New_York"))
    return min(following.astimezone(UTC) - timedelta(microseconds=1), now)

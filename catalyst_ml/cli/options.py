"""Options that several commands share, with the help they show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

MOMENT_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]

Dataset = Annotated[str, typer.Option(help="Name of the data lineage, e.g. real-daily.")]
Timeframe = Annotated[str, typer.Option(help="Length of a bar: 1d, 1h, 5m ...")]
DateFormat = Annotated[str | None, typer.Option(help="For dates that prove no order, e.g. '%d/%m/%Y'.")]
CheckAsOf = Annotated[
    datetime | None, typer.Option(formats=MOMENT_FORMATS, help="Check what was known then; UTC. Default: now.")
]


def moment_to_check(as_of: datetime | None, now: datetime) -> datetime:
    """The moment that a check is asked for: a bare date is its midnight, UTC; nothing is ``now``."""
    if as_of is None:
        return now
    return as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
